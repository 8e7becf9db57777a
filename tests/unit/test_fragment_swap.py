"""Fragment swaps: fragments cut by hand, weights by their formula, children made of counted molecules and nothing else."""

import math

import numpy as np
import pytest
from rdkit import Chem

from molvae.history import Evaluation, History, Proposal
from molvae.search.proposals.fragments import FragmentSwap, fragments, libraries, opened, pieces, without
from molvae.search.proposals.graph_edits import prepared

DRUGS = [
    "CCN(C(C)=O)c1cccc(-c2ccnc3c(C#N)cnn23)c1",  # zaleplon
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",  # (S)-ibuprofen
    "O=[N+]([O-])c1ccc(N2CCOCC2)cc1",  # a nitro group
    "C[NH+]1CCC(c2c[nH]c3ccccc23)CC1",  # a charged amine and a pyrrole NH
    "CS(=O)(=O)c1ccc(/C=C/C#N)cc1",  # a sulfone, a double bond with stereo, a nitrile
]
DRUGS = [Chem.CanonSmiles(s) for s in DRUGS]


def measured(*smiles: str, scores: list[float] | None = None) -> History:
    values = scores or [1.0 - i / 100.0 for i in range(len(smiles))]
    return History([Evaluation(i, s, v) for i, (s, v) in enumerate(zip(smiles, values, strict=True), 1)])


def swapped(parents: list[str], history: History | None, n: int = 40, seed: int = 0, **settings: float) -> list[str]:
    source = FragmentSwap(None, **settings)
    children = source.propose([Proposal(s, "start") for s in parents], n, np.random.default_rng(seed), history)
    assert {child.source for child in children} <= {"fragment_swap"}
    return [child.smiles for child in children]


def canonical(smiles: str) -> set[str]:
    return {Chem.CanonSmiles(s) for s in smiles.split()}


@pytest.mark.parametrize(("smiles", "largest", "expected"), [
    ("COc1ccccc1", 7, "*C *OC *O* *c1ccccc1 *Oc1ccccc1"),
    ("COc1ccccc1", 2, "*C *OC *O*"),
    ("CCO", 9, "*C *CO *C* *O *CC"),
    ("c1ccncc1", 9, ""),
    ("Cn1cccc1", 9, "*C *n1cccc1"),
    ("CN1CCN(F)CC1", 6, "*C *F *N1CCN(*)CC1"),
    ("C[N+](=O)[O-]", 9, "*C *[N+](=O)[O-]"),
    ("CC#CC", 9, "*C *C#CC *C#C*"),
    ("C=CC(C)C", 1, "*C"),
])  # fmt: skip
def test_fragments_by_hand(smiles: str, largest: int, expected: str) -> None:
    assert set(fragments(Chem.CanonSmiles(smiles), largest)) == canonical(expected)


def test_a_piece_and_the_rest_are_the_whole() -> None:
    for smiles in DRUGS:
        molecule = prepared(smiles)
        for piece in pieces(molecule, 12):
            rest = without(molecule, piece)
            assert rest.n_atoms + len(piece.atoms) == molecule.n_atoms
            # Bonds are conserved, too: those inside the piece, those of the rest, and one for each cut.
            inside = sum(i in piece.atoms and j in piece.atoms for i, j, _ in molecule.bonds)
            assert inside + rest.mol.GetNumBonds() + len(piece.cuts) == len(molecule.bonds)


def test_an_opened_fragment_keeps_its_atoms_and_ends() -> None:
    half = opened("*c1cccc(N(*)CC)c1")
    assert half.n_atoms == 9
    assert sorted(half.mol.GetAtomWithIdx(i).GetSymbol() for i, _ in half.ends) == ["C", "N"]
    assert {order for _, order in half.ends} == {1}


def test_weights_are_means_over_the_molecules_that_have_a_fragment() -> None:
    library = libraries(("COc1ccccc1", "CCl", "CBr"), 2)
    # Three donors and k = 0.01: ranks 0, 1, 2 weigh 1/0.03, 1/1.03, 1/2.03. All three have a methyl.
    weights = dict(zip(library[1].fragments, np.diff([0.0, *library[1].cumulative]), strict=True))
    expected = {"*OC": 1 / 0.03, "*Cl": 1 / 1.03, "*Br": 1 / 2.03, "*C": (1 / 0.03 + 1 / 1.03 + 1 / 2.03) / 3}
    expected = {Chem.CanonSmiles(fragment): weight for fragment, weight in expected.items()}
    assert weights == pytest.approx(expected)
    assert library[2].fragments == (Chem.CanonSmiles("*O*"),)


def test_fragments_are_drawn_in_proportion_to_their_weights() -> None:
    library = libraries(("FCC(F)(F)F", "BrCl"), 1)[1]  # *F weighs 1/0.02, *Br and *Cl 1/1.02 each
    rng, n = np.random.default_rng(0), 4000
    drawn = [library.draw(rng) for _ in range(n)]
    chance = (1 / 1.02) / (1 / 0.02 + 2 / 1.02)
    for fragment in ("*Br", "*Cl"):
        found = drawn.count(Chem.CanonSmiles(fragment)) / n
        assert abs(found - chance) < 4 * math.sqrt(chance / n)


def test_a_substituent_by_hand() -> None:
    # Fragments of bromomethane: methyl and Br. Toluene's only piece of one atom is its methyl.
    assert swapped(["Cc1ccccc1"], measured("CBr"), largest=1) == ["Brc1ccccc1"]


def test_a_linker_by_hand() -> None:
    # The linker of one atom of dimethyl ether is O; diphenylmethane's is its CH2, and it has no smaller substituents.
    assert swapped(["c1ccc(Cc2ccccc2)cc1"], measured("COC"), largest=1, linkers=1.0) == ["c1ccc(Oc2ccccc2)cc1"]
    assert swapped(["c1ccc(Cc2ccccc2)cc1"], measured("COC"), largest=1, linkers=0.0) == []


def test_a_linker_goes_in_both_ways_round() -> None:
    # Of an ester's fragments with two ends and two atoms or more, -C(=O)O- is the one of three.
    found = swapped(["Fc1ccc(Cc2ccccc2)cc1"], measured("Nc1ccccc1C(=O)OC1CCCC1"), largest=3, linkers=1.0)
    assert canonical("Fc1ccc(C(=O)Oc2ccccc2)cc1 Fc1ccc(OC(=O)c2ccccc2)cc1") <= set(found)


def test_fragments_come_from_measured_molecules_only() -> None:
    # The parent's chlorine is not measured: no child has more than one, and none has another halogen.
    children = swapped(["CCCc1ccc(Cl)cc1CO"], measured(*DRUGS))
    assert len(children) == 40
    assert max(child.count("Cl") for child in children) == 1
    assert not any(mark in child for child in children for mark in ("F", "Br", "I"))
    assert swapped(["CCCc1ccc(Cl)cc1CO"], None) == []
    assert swapped(["CCCc1ccc(Cl)cc1CO"], measured("CBr", scores=[math.nan])) == []


def test_only_the_best_molecules_give_fragments() -> None:
    history = measured("CBr", "CF", "CI", scores=[0.1, 0.9, 0.5])
    children = swapped(["Cc1ccccc1"], history, largest=1, donors=2)
    assert set(children) == canonical("Fc1ccccc1 Ic1ccccc1")


def test_children_are_new_sane_and_canonical() -> None:
    history = measured(*DRUGS)
    first = swapped(DRUGS, history, 150)
    assert len(first) == len(set(first)) == 150
    assert not set(first) & set(DRUGS)
    half = Chem.MolFromSmarts("[N+;!$([N+](=O)[O-]);!$([NH+])]")
    for child in first:
        mol = Chem.MolFromSmiles(child)
        assert Chem.MolToSmiles(mol) == child
        assert len(Chem.GetMolFrags(mol)) == 1
        assert not any(atom.GetNumRadicalElectrons() or atom.GetAtomicNum() == 0 for atom in mol.GetAtoms())
        assert not mol.HasSubstructMatch(half), child
    later = swapped(DRUGS, measured(*DRUGS, *first), 50)
    assert not set(later) & set(first)


def test_at_least_half_of_a_parent_stays() -> None:
    # A chain of twelve carbons in which only an end of up to six is exchanged, for at most two atoms of the donor.
    for child in swapped(["C" * 12], measured("NCl"), linkers=0.0):
        assert child.count("C") - child.count("Cl") >= 6


def test_parents_without_cuts_have_no_children() -> None:
    assert swapped(["c1ccncc1", "not a molecule"], measured(*DRUGS)) == []
