"""Token edits: what they may do to a string, and what children must be."""

import numpy as np
import selfies
from rdkit import Chem

from molvae.history import Proposal
from molvae.randomness import stream
from molvae.search.proposals.selfies_edits import (
    SelfiesMutation,
    edit,
    robust_symbols,
    selfies_offspring,
    without_stereo,
    write_in_random_order,
)
from molvae.strings.tokens import Vocabulary

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)O",  # aspirin
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",  # caffeine
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",  # ibuprofen
    "CC(=O)Nc1ccc(O)cc1",  # paracetamol
]
CANONICAL = [Chem.CanonSmiles(s) for s in DRUGS]
# Every order that RDKit writes them in, so that the symbols of all orders are there, and some symbols they do not have.
WRITTEN = [order for s in CANONICAL for order in Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(s), 100, randomSeed=1)]
VOCABULARY = Vocabulary.build([selfies.encoder(s) for s in [*WRITTEN, "ClCCBr", "FC#N", "NS(=O)(=O)C", "[O-][N+](=O)C"]])


def edit_distance(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance, by the textbook recursion over prefixes."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def test_an_edit_changes_at_most_one_token() -> None:
    tokens = ["[C]", "[N]", "[O]", "[C]"]
    rng = stream(0)
    edited = [edit(tokens, "[F]", rng) for _ in range(300)]
    assert all(edit_distance(tokens, e) == 1 for e in edited)
    assert {len(e) for e in edited} == {3, 4, 5}, "deletion, replacement, insertion"
    assert tokens == ["[C]", "[N]", "[O]", "[C]"]


def test_the_last_token_is_never_deleted() -> None:
    rng = stream(1)
    assert all(edit(["[C]"], "[N]", rng) for _ in range(50))


def test_a_random_order_says_the_same_molecule() -> None:
    rng = stream(2)
    for smiles in CANONICAL:
        written = [write_in_random_order(Chem.MolFromSmiles(smiles), rng, VOCABULARY) for _ in range(20)]
        orders = {"".join(tokens) for tokens in written if tokens is not None}
        assert len(orders) > 5
        assert {Chem.CanonSmiles(selfies.decoder(order)) for order in orders} == {smiles}


def test_children_are_new_sane_canonical_and_the_same_again() -> None:
    children = selfies_offspring(CANONICAL, 60, stream(3), vocabulary=VOCABULARY, max_atoms=20)
    assert len(children) == len(set(children)) == 60
    assert not set(children) & set(CANONICAL)
    for smiles in children:
        mol = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(mol) == smiles
        assert mol.GetNumAtoms() <= 20
        assert max((len(ring) for ring in mol.GetRingInfo().AtomRings()), default=0) <= 8
        assert not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
    assert children == selfies_offspring(CANONICAL, 60, stream(3), vocabulary=VOCABULARY, max_atoms=20)
    assert children != selfies_offspring(CANONICAL, 60, stream(4), vocabulary=VOCABULARY, max_atoms=20)


def test_known_molecules_are_left_out() -> None:
    children = selfies_offspring(CANONICAL, 30, stream(5), vocabulary=VOCABULARY)
    assert not set(children) & set(selfies_offspring(CANONICAL, 30, stream(5), vocabulary=VOCABULARY, known=set(children)))


def test_parents_that_cannot_be_said_have_no_children() -> None:
    assert selfies_offspring(["[Pt]", "not a molecule"], 5, stream(6), vocabulary=VOCABULARY) == []
    assert selfies_offspring([], 5, np.random.default_rng(0), vocabulary=VOCABULARY) == []


def test_the_callers_constraint_table_is_not_touched() -> None:
    before = selfies.get_semantic_constraints()
    other = Vocabulary.build([selfies.encoder("CS(=O)(=O)N")], constraints=selfies.get_preset_constraints("hypervalent"))
    selfies_offspring(["CS(C)(=O)=O"], 5, stream(7), vocabulary=other)
    assert selfies.get_semantic_constraints() == before


def test_symbols_are_written_by_use_or_with_equal_chances() -> None:
    # The parents have no fluorine; one symbol in five of the vocabulary does. By use, carbon is written far more often.
    parents = ["CCCCCCCCCC", "CCCCCCCC"]
    few = Vocabulary.build(["[C][F][N][O][Cl]"])
    share = {}
    for by_use in (True, False):
        found = selfies_offspring(parents, 400, stream(8), vocabulary=few, by_use=by_use, max_edits=1)
        share[by_use] = sum(set("FNO") & set(s.replace("Cl", "F")) != set() for s in found) / len(found)
    assert share[False] > share[True]


def test_the_robust_alphabet_is_selfies_own_and_says_molecules() -> None:
    symbols = list(selfies.split_selfies(robust_symbols()))
    assert set(symbols) == selfies.get_semantic_robust_alphabet()
    rng = stream(9)
    for _ in range(50):
        string = "".join(rng.choice(symbols, 12))
        assert Chem.MolFromSmiles(selfies.decoder(string)) is not None


def test_stereo_marks_are_dropped() -> None:
    assert without_stereo("C[C@@H](C(=O)O)c1ccc(CC(C)C)cc1") == Chem.CanonSmiles("CC(C(=O)O)c1ccc(CC(C)C)cc1")
    assert without_stereo("F/C=C/F") == "FC=CF"
    assert without_stereo("no molecule") is None


def test_the_source_says_parents_without_their_stereo_marks() -> None:
    parents = [Proposal(s, "start") for s in CANONICAL]
    children = SelfiesMutation(None, max_edits=1).propose(parents, 40, stream(14))
    assert len({c.smiles for c in children}) == 40
    assert {c.source for c in children} == {"selfies_mutation"}
    assert not any("@" in c.smiles for c in children)
