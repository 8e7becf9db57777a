"""The vocabulary: round trips of drugs, the constraint table that never leaks, and faithful decoding by example.

Expected molecules come from reading the SELFIES grammar (Krenn et al. 2020, tables 1-3), not from running this code.
"""

import json
import threading
from importlib.metadata import version
from itertools import pairwise

import pytest
import selfies
from drugs import DRUGS, SMILES
from rdkit import Chem

from molvae.chem import canonical
from molvae.errors import CheckpointError
from molvae.strings.tokens import BOS, CUT, EOS, MAX_LENGTH, PAD, SPECIALS, Vocabulary, constraint_table, split

HYPERVALENT = selfies.get_preset_constraints("hypervalent")


@pytest.fixture(scope="module")
def written():
    """SELFIES of every drug, by the package itself."""
    return [selfies.encoder(Chem.CanonSmiles(s)) for s in SMILES]


@pytest.fixture(scope="module")
def vocabulary(written):
    return Vocabulary.build(written, words=40)


# -- ids


def test_special_ids_come_first_and_tokens_are_distinct(vocabulary):
    assert (PAD, BOS, EOS) == (0, 1, 2) and vocabulary.tokens[:3] == SPECIALS
    assert len(set(vocabulary.tokens)) == len(vocabulary) == len(vocabulary.ids)


def test_symbols_are_all_that_occur_and_words_are_made_of_them(vocabulary, written):
    occurring = {symbol for text in written for symbol in selfies.split_selfies(text)}
    assert set(vocabulary.symbols) == occurring == selfies.get_alphabet_from_selfies(written)
    words = [token for token in vocabulary.tokens[3:] if token not in occurring]
    assert len(words) == 40
    assert all(set(selfies.split_selfies(word)) <= occurring for word in words)


@pytest.mark.parametrize("name", DRUGS)
def test_every_drug_comes_back_exactly_and_is_faithful(vocabulary, name):
    ids, reason = vocabulary.encode(DRUGS[name])
    assert reason == "" and ids
    decoded = vocabulary.decode([BOS, *ids, EOS, PAD, PAD])
    assert decoded.smiles == canonical(DRUGS[name])
    assert decoded.faithful and decoded.reason == ""
    # Not only the same string: the same molecule by InChI, which RDKit computes by other code.
    assert Chem.MolToInchiKey(Chem.MolFromSmiles(decoded.smiles)) == Chem.MolToInchiKey(Chem.MolFromSmiles(DRUGS[name]))


def test_all_ways_of_writing_a_molecule_encode_alike_unless_taken_as_written(vocabulary):
    assert vocabulary.encode("OCC") == vocabulary.encode("C(O)C") == vocabulary.encode("CCO")
    assert vocabulary.encode("OCC", as_written=True) != vocabulary.encode("CCO", as_written=True)
    assert vocabulary.decode(vocabulary.encode("OCC", as_written=True)[0]).selfies == "[O][C][C]"


def test_words_shorten_and_the_longest_token_is_read_first():
    vocabulary = Vocabulary(["[C]", "[O]", "[C][C]", "[C][C][C]"])
    assert vocabulary.segment("[C][C][C][C][C][O]")[0] == [vocabulary.ids[t] for t in ("[C][C][C]", "[C][C]", "[O]")]
    assert vocabulary.symbols == ("[C]", "[O]")


def test_a_row_is_read_up_to_its_first_end_or_padding(vocabulary):
    c, o = vocabulary.ids["[C]"], vocabulary.ids["[O]"]
    for row in ([c, o], [BOS, c, o], [c, o, EOS, c], [BOS, c, o, PAD, c, EOS]):
        assert vocabulary.text(row) == "[C][O]"
    assert vocabulary.decode([BOS, EOS]).reason == "empty string"


def test_symbols_only_the_encoder_reads_are_included_without_words():
    vocabulary = Vocabulary.build(["[C][C]"] * 3, words=5, also=["[O][C]", "[N][N]"])
    assert vocabulary.tokens[3:] == ("[C]", "[N]", "[O]", "[C][C]")


def test_tokens_must_be_distinct_and_not_special():
    for tokens in (["[C]", "[C]"], ["[C]", "<eos>"]):
        with pytest.raises(ValueError, match="distinct"):
            Vocabulary(tokens)


# -- rejects


@pytest.mark.parametrize(
    "smiles, reason",
    [
        ("C[Te]C", "symbol [Te] is not in the vocabulary"),
        ("C[13CH3]", "symbol [13CH3] is not in the vocabulary"),
        ("CCO.Cl", "several fragments (a salt or a mixture); keep one of them"),
        ("[Na+].[Cl-]", "several fragments (a salt or a mixture); keep one of them"),
        ("CC*", "SELFIES cannot say it: unrecognized symbol '*'"),
        ("CC[*]", "SELFIES cannot say it: unrecognized symbol '*'"),
        ("CI(C)(C)(C)C", "SELFIES cannot say it: I with 5 bond(s) - a max. of 1 bond(s) was specified"),
        ("[Xx]", "not a valid SMILES"),
        ("C1CC", "not a valid SMILES"),
        ("c1cccc1", "not a valid SMILES"),
        ("CC(C)(C)(C)C", "not a valid SMILES"),
        ("banana", "not a valid SMILES"),
        ("", "not a valid SMILES"),
        ("   ", "not a valid SMILES"),
    ],
)
def test_what_cannot_be_encoded_has_a_reason(vocabulary, smiles, reason):
    assert vocabulary.encode(smiles) == (None, reason)


def test_a_molecule_beyond_the_decoders_reach_is_rejected():
    vocabulary = Vocabulary(["[C]"])
    assert len(vocabulary.encode("C" * (MAX_LENGTH - 1))[0]) == MAX_LENGTH - 1  # with the end token, just what is written
    assert vocabulary.encode("C" * 500) == (None, "500 tokens, more than the 127 that a decoder writes")


@pytest.mark.parametrize("text", ["[C", "C", "[C]C", "[C]..[C]", ".[C]"])
def test_text_that_is_not_selfies_is_refused(vocabulary, text):
    assert split(text) is None
    assert vocabulary.segment(text) == (None, "not a SELFIES string")
    decoded = vocabulary.derive(text)
    assert decoded.smiles is None and not decoded.faithful and decoded.reason == "not a SELFIES string"


# -- faithful


@pytest.mark.parametrize(
    "text, smiles",
    [
        ("[C][C][O]", "CCO"),
        ("[C][=C][C][=C][C][=C][Ring1][=Branch1]", "c1ccccc1"),  # 5 atoms back: index [=Branch1] is 4
        ("[C][C][Branch1][C][C][C]", "CC(C)C"),
        ("[C][C][C][Ring1][Ring1]", "C1CC1"),
        ("[N][C@@H1][Branch1][C][C][C][=Branch1][C][=O][O]", "C[C@H](N)C(=O)O"),  # alanine
        ("[F][/C][=C][/F]", "F/C=C/F"),
        ("[C][N+1][Branch1][C][C][Branch1][C][C][C]", "C[N+](C)(C)C"),
    ],
)
def test_strings_that_say_what_they_mean(vocabulary, text, smiles):
    decoded = vocabulary.derive(text)
    assert (decoded.smiles, decoded.faithful, decoded.reason) == (Chem.CanonSmiles(smiles), True, "")


@pytest.mark.parametrize(
    "text, smiles, reason",
    [
        ("[C][F][C]", "CF", "1 of 3 symbols unused"),  # fluorine is saturated: what follows is dropped
        ("[C][O][=C]", "COC", "repaired: [=C] became [C]"),  # one bond left on oxygen
        ("[C][#O]", "C=O", "repaired: [#O] became [=O]"),
        ("[=C][C]", "CC", "repaired: [=C] became [C]"),  # a first bond to nothing
        ("[C][nop][C]", "CC", "1 of 3 symbols unused"),
        (
            "[C][C][Ring1]",
            "C=C",
            "1 of 3 symbols unused",
        ),  # without index, to the neighbour: a second bond
        ("[C][Ring1][C]", "C", "2 of 3 symbols unused"),  # a ring from the first atom to nothing
        ("[C][C][C][Ring1][Branch1]", "C1CC1", "repaired: [Branch1] became [Ring1]"),  # 4 atoms back where there are 2
        ("[C][C][Branch1]", "CC", "1 of 3 symbols unused"),  # a branch without its index
        ("[C][C][Branch1][Branch2][O]", "CCO", "2 of 5 symbols unused"),  # a branch of 8 symbols that ends after one
        ("[C@@H1][Branch1][C][C][Branch1][C][C][C]", "CC(C)C", "1 stereo marks on atoms that are no stereocentres"),
        ("[C].[C]", "C.C", "several fragments"),
        ("[C][/C][=C]", "C=CC", "direction marks on bonds beside no stereo double bond"),
    ],
)
def test_repairs_are_noticed(vocabulary, text, smiles, reason):
    decoded = vocabulary.derive(text)
    assert (decoded.smiles, decoded.faithful, decoded.reason) == (Chem.CanonSmiles(smiles), False, reason)


def test_reading_gives_the_molecule_too(vocabulary, written):
    for text in [*written[:20], "[C][=C][F][C]", "[C][O<fault>"]:
        [(decoded, mol)] = vocabulary.read([text])
        assert decoded == vocabulary.derive(text)
        assert (mol is None) == (decoded.smiles is None)
        assert mol is None or Chem.MolToSmiles(mol) == decoded.smiles
        assert mol is None or Chem.MolToSmiles(Chem.MolFromSmiles(decoded.smiles)) == decoded.smiles


def test_strings_are_read_together_as_they_are_one_by_one(vocabulary, written):
    strings = ["[C][O<fault>", "", *written[:10], "[C].[C]", "no SELFIES", "[C][=C][F][C]", *written[10:20]]
    assert [decoded for decoded, _ in vocabulary.read(strings)] == [vocabulary.derive(text) for text in strings]
    assert vocabulary.read([]) == []


def test_one_symbol_too_many_shows_on_any_drug(vocabulary, written):
    """Symbols that cannot act, added to true strings: none may pass for faithful."""
    for text in written:
        symbols = list(selfies.split_selfies(text))
        for more in ("[nop]", "[Branch1]", "[Ring3]"):
            assert not vocabulary.derive("".join([*symbols, more])).faithful
        assert not vocabulary.derive("".join([symbols[0], "[nop]", *symbols[1:]])).faithful


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty string"),
        ("[nop]", "not a valid molecule"),
        ("[foo]", "SELFIES cannot derive a molecule: invalid symbol '[foo]'"),
    ],
)
def test_strings_without_a_molecule(vocabulary, text, reason):
    decoded = vocabulary.derive(text)
    assert (decoded.smiles, decoded.faithful, decoded.reason) == (None, False, reason)


def test_a_string_cut_at_the_limit_is_not_faithful(vocabulary):
    decoded = vocabulary.derive("[C][C][O]" + CUT)
    assert decoded.selfies == "[C][C][O]" and decoded.smiles == "CCO"
    assert not decoded.faithful and decoded.reason == "cut at the length limit"
    assert vocabulary.derive(CUT).smiles is None


# -- the constraint table


def test_the_callers_table_is_left_alone(vocabulary):
    selfies.set_semantic_constraints("hypervalent")
    try:
        vocabulary.encode("CCO")
        vocabulary.derive("[C][#O]")
        vocabulary.to_selfies("C1CC")  # raises inside
        assert selfies.get_semantic_constraints() == HYPERVALENT
        with pytest.raises(RuntimeError), constraint_table(vocabulary.constraints):
            assert selfies.get_semantic_constraints() == vocabulary.constraints
            raise RuntimeError
        assert selfies.get_semantic_constraints() == HYPERVALENT
    finally:
        selfies.set_semantic_constraints()


def test_a_vocabulary_means_the_same_under_any_table(vocabulary):
    iodine = "CI(C)(C)(C)C"  # legal with the hypervalent table only
    hyper = Vocabulary(vocabulary.tokens[3:], HYPERVALENT)
    assert vocabulary.to_selfies(iodine)[0] is None and hyper.to_selfies(iodine)[0] is not None
    text = "[C][I][C]"  # iodine(I) is saturated by the first carbon; iodine(III) is not
    assert [v.derive(text).smiles for v in (vocabulary, hyper)] == ["CI", "C[IH]C"]


def test_threads_with_different_tables_do_not_disturb_each_other(vocabulary):
    hyper = Vocabulary(vocabulary.tokens[3:], HYPERVALENT)
    wrong = []

    def work(owner, expected):
        for _ in range(150):
            smiles = owner.derive("[C][I][C]").smiles
            if smiles != expected:
                wrong.append((smiles, expected))

    threads = [threading.Thread(target=work, args=pair) for pair in [(vocabulary, "CI"), (hyper, "C[IH]C")] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert selfies.get_semantic_constraints() == selfies.get_preset_constraints("default")


# -- files


def test_a_saved_vocabulary_is_equal(vocabulary, tmp_path):
    custom = Vocabulary(vocabulary.tokens[3:], HYPERVALENT)
    for kept in (vocabulary, custom):
        kept.save(tmp_path / "vocabulary.json")
        assert Vocabulary.load(tmp_path / "vocabulary.json") == kept
    assert custom != vocabulary
    assert json.loads((tmp_path / "vocabulary.json").read_text())["selfies"] == version("selfies")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot read .*No such file"),
        ("{", "torn or foreign"),
        ("[]", "torn or foreign"),
        ('{"format": 1}', "torn or foreign"),
        ('{"format": 1, "tokens": [1, 2], "constraints": {}}', "torn or foreign"),
        ('{"format": 1, "tokens": ["[C]", "[C]"], "constraints": {}}', "torn or foreign"),
        ('{"format": 99, "tokens": [], "constraints": {}}', "has format 99, this molvae reads up to 2. Upgrade"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, content, message):
    path = tmp_path / "vocabulary.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        Vocabulary.load(path)


def test_encoding_a_prefix_of_words_is_not_greedy_past_the_end():
    vocabulary = Vocabulary(["[C]", "[O]", "[C][O][C]"])
    for text in ("[C][O]", "[C]", "[C][O][C][C]"):
        assert vocabulary.text(vocabulary.segment(text)[0]) == text
    lengths = [len(vocabulary.segment("[C]" + "[O][C]" * n)[0]) for n in range(5)]
    assert all(b >= a for a, b in pairwise(lengths))
