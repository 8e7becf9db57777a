"""Spellings: every drug's SELFIES comes back from brackets and marks, and what is badly spelled is named.

Expected strings are worked out by hand from the SELFIES grammar (Krenn et al. 2020): a branch symbol is followed by its
length less one, a ring symbol by the number of atoms between its ends, as digits of base 16.
"""

import pytest
import selfies
from drugs import DRUGS
from rdkit import Chem

from molvae.chem import canonical
from molvae.errors import ConfigError
from molvae.strings.spelling import from_marks, selfies_symbols, to_marks
from molvae.strings.tokens import BOS, EOS, Vocabulary, split

BY_HAND = {
    "[C][=Branch1][C][=O][O]": "[C][=(][=O][)][O]",  # acetic acid's end: a branch of one symbol ([C] is digit 0)
    "[C][C][C][Ring1][Ring1]": "[C][%][C][C][%0]",  # cyclopropane: one atom between the ends ([Ring1] is digit 1)
    "[C][Branch1][=Branch1][C][Branch1][C][F][F][F]": "[C][(][C][(][F][)][F][)][F]",  # [=Branch1] is digit 4
    "[C][C][C][Ring1][Ring1][Ring1][Ring1]": "[C][%][%][C][C][%0][%0]",  # two rings to one atom
}


@pytest.mark.parametrize("text", BY_HAND)
def test_short_strings_are_spelled_as_worked_out_by_hand(text):
    assert to_marks(split(text)) == split(BY_HAND[text])
    assert from_marks(to_marks(split(text))) == (split(text), "")


@pytest.mark.parametrize("name", DRUGS)
def test_every_drug_is_spelled_and_read_back(name):
    symbols = list(selfies.split_selfies(selfies.encoder(Chem.CanonSmiles(DRUGS[name]))))
    spelled = to_marks(symbols)
    assert not [symbol for symbol in spelled if "Ring" in symbol or "Branch" in symbol]
    assert from_marks(spelled) == (symbols, "")
    assert set(symbols) <= set(selfies_symbols(spelled))


def test_long_branches_and_wide_rings_need_more_digits():
    for text in ("C(" + "C" * 20 + ")N", "C1" + "C" * 20 + "1", "C1(" + "C" * 300 + ")" + "C" * 3 + "1"):
        symbols = list(selfies.split_selfies(selfies.encoder(text)))
        assert from_marks(to_marks(symbols)) == (symbols, "")


@pytest.mark.parametrize(
    "text",
    [
        "[C][Branch1][Ring2][C]",  # a branch of three symbols, but one follows
        "[C][Branch1]",  # no length
        "[C][Ring1][Ring2]",  # back to before the first atom
        "[Ring1][C]",  # a ring before any atom
        "[C][Branch1][F][C][C]",  # [F] is no digit
    ],
)
def test_counts_that_point_outside_have_no_spelling(text):
    assert to_marks(split(text)) is None


@pytest.mark.parametrize(
    ("spelled", "selfies_text", "fault"),
    [
        ("[C][(][C][C]", "[C][Branch1][Ring1][C][C]", "a branch that never ended"),
        ("[C][)][O]", "[C][O]", "the end of a branch that never began"),
        ("[C][(][)][O]", "[C][O]", "an empty branch"),
        ("[C][%][C][O]", "[C][C][O]", "a ring that never closed"),
        ("[C][C][%0][O]", "[C][C][O]", "a ring closed that never began"),
        ("[C][%][%0][O]", "[C][O]", "a ring of one atom"),
    ],
)
def test_bad_spelling_is_read_as_far_as_it_goes_and_named(spelled, selfies_text, fault):
    assert from_marks(split(spelled)) == (split(selfies_text), fault)


def test_a_vocabulary_of_marks_round_trips_and_reports_faults():
    written = [selfies.encoder(Chem.CanonSmiles(smiles)) for smiles in DRUGS.values()]
    vocabulary = Vocabulary.build(written, words=40, spelling="marks")
    for smiles in DRUGS.values():
        ids, reason = vocabulary.encode(smiles)
        decoded = vocabulary.decode([BOS, *ids, EOS])
        assert reason == "" and decoded.faithful and decoded.smiles == canonical(smiles)
    open_ring = [vocabulary.ids[symbol] for symbol in ("[C]", "[%]", "[C]", "[O]")]
    decoded = vocabulary.decode(open_ring)
    assert (decoded.smiles, decoded.faithful, decoded.reason) == ("CCO", False, "a ring that never closed")
    assert decoded.selfies == "[C][C][O]"


def test_the_spelling_is_part_of_the_vocabulary_and_its_file(tmp_path):
    marks = Vocabulary.build(["[C][=Branch1][C][=O][O]"], spelling="marks")
    assert marks != Vocabulary(marks.tokens[3:])
    marks.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == marks
    with pytest.raises(ConfigError, match="spelling is one of selfies, marks"):
        Vocabulary(["[C]"], spelling="smiles")
