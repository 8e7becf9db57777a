"""Graph edits: children are molecules a chemist could draw, made of their parents, the same for the same seed."""

from collections import Counter

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from molvae.randomness import stream
from molvae.search.proposals import graph_edits
from molvae.search.proposals.editable import Editable, finish
from molvae.search.proposals.graph_edits import crossover, mutate, offspring

PARENTS = [
    "CC(=O)Oc1ccccc1C(=O)O",  # aspirin
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",  # (S)-ibuprofen
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",  # caffeine
    "O=[N+]([O-])c1ccc(N2CCOCC2)cc1",  # a nitro group
    "C[NH+]1CCC(c2c[nH]c3ccccc23)CC1",  # a charged amine and a pyrrole NH
    "CS(=O)(=O)c1ccc(/C=C/C#N)cc1",  # a sulfone, a double bond with stereo, a nitrile
    "FC(F)(F)c1cccc(Br)c1Cl",  # halogens only
    "CCOP(=O)(OCC)C1CC1",  # phosphorus
]
MOLS = [Chem.MolFromSmiles(s) for s in PARENTS]


def draw(edit: graph_edits.Edit, smiles: str, n: int = 60) -> set[str]:
    """Canonical SMILES of what `n` draws of one edit make of a molecule."""
    rng, parent = stream(0, edit.__name__), Editable(Chem.MolFromSmiles(smiles))
    edited = [edit(parent, rng) for _ in range(n)]
    mols = [finish(child, 60) for child in edited if child is not None]
    return {Chem.CanonSmiles(Chem.MolToSmiles(mol)) for mol in mols if mol is not None}


def assert_sane(mol: Chem.Mol, max_atoms: int) -> None:
    """Written with RDKit's own queries, not with those of the package."""
    again = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    assert again is not None, Chem.MolToSmiles(mol)
    assert mol.GetNumAtoms() <= max_atoms
    assert len(Chem.GetMolFrags(mol)) == 1
    assert sum(a.GetNumRadicalElectrons() for a in again.GetAtoms()) == 0, Chem.MolToSmiles(mol)
    rings = again.GetRingInfo().AtomRings()
    assert max(map(len, rings), default=0) <= 8
    for ring in rings:
        doubles = Counter()
        for i in ring:
            for bond in again.GetAtomWithIdx(i).GetBonds():
                if bond.IsInRing():
                    assert bond.GetBondTypeAsDouble() < 3
                    doubles[i] += bond.GetBondTypeAsDouble() == 2
        assert max(doubles.values()) < 2, f"a cumulene in a ring of {Chem.MolToSmiles(mol)}"
    for bond in again.GetBonds():
        pair = {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()}
        assert not (pair & {"F", "Cl", "Br", "I"} and pair & {"N", "O"}), Chem.MolToSmiles(mol)


def test_crossover_children_are_sane_and_made_of_their_parents() -> None:
    rng, made = stream(1), 0
    for a in MOLS:
        for b in MOLS:
            for _ in range(6):
                child = crossover(a, b, rng, max_atoms=25)
                if child is not None:
                    made += 1
                    assert_sane(child, 25)
                    elements = {atom.GetSymbol() for mol in (a, b) for atom in mol.GetAtoms()}
                    assert {atom.GetSymbol() for atom in child.GetAtoms()} <= elements
    assert made > 200


def test_single_cut_crossover_of_two_known_molecules() -> None:
    # Ethane and methylamine have one acyclic bond each: the halves are CH3, CH3 and CH3, NH2.
    rng = stream(2)
    children = [crossover(Chem.MolFromSmiles("CC"), Chem.MolFromSmiles("CN"), rng) for _ in range(40)]
    assert {Chem.MolToSmiles(child) for child in children if child is not None} == {"CC", "CN"}


def test_ring_cut_joins_parts_of_two_rings() -> None:
    # Both parents are only a ring, so a child can only come from cutting both rings in two places.
    rng = stream(3)
    children = [crossover(Chem.MolFromSmiles("C1CCCCC1"), Chem.MolFromSmiles("C1CCNCC1"), rng) for _ in range(60)]
    found = {Chem.MolToSmiles(child) for child in children if child is not None}
    assert "C1CCNCC1" in found
    assert {"C1CCCC1", "C1CCCCCC1"} & found, "rings of other sizes"
    assert all(rdMolDescriptors.CalcNumRings(Chem.MolFromSmiles(s)) == 1 for s in found)


def test_mutants_are_sane() -> None:
    rng, made = stream(4), 0
    for mol in MOLS:
        before = Chem.MolToSmiles(mol)
        for _ in range(60):
            child = mutate(mol, rng, max_atoms=22)
            if child is not None:
                made += 1
                assert_sane(child, 22)
        assert Chem.MolToSmiles(mol) == before, "the parent is not touched"
    assert made > 400


def test_nitro_groups_stay_whole_or_go_whole() -> None:
    nitro, half = Chem.MolFromSmarts("[N+](=O)[O-]"), Chem.MolFromSmarts("[N+;!$([N+](=O)[O-])]")
    rng, kept = stream(5), 0
    for _ in range(200):
        child = mutate(MOLS[3], rng)
        if child is not None:
            kept += child.HasSubstructMatch(nitro)
            assert not child.HasSubstructMatch(half), Chem.MolToSmiles(child)
    assert kept > 100


# What one edit can make of small molecules, enumerated by hand.
@pytest.mark.parametrize(
    ("edit", "smiles", "expected"),
    [
        (graph_edits._insert_atom, "CC", {"CCC", "CNC", "COC", "CSC", "CPC"}),
        (graph_edits._delete_atom, "CCO", {"CO", "CC"}),
        (graph_edits._change_bond_order, "CC", {"C=C", "C#C"}),
        (graph_edits._change_bond_order, "C1CC1", {"C1=CC1"}),
        (graph_edits._change_bond_order, "C=O", {"CO"}),
        (graph_edits._make_ring, "CCC", {"C1CC1"}),
        (graph_edits._break_ring, "C1CCC1", {"CCCC"}),
        (graph_edits._break_ring, "c1ccccc1", {"C=CC=CC=C", "CC=CC=CC"}),
        (graph_edits._break_ring, "CCC", set()),
        (graph_edits._swap_groups, "FCCO", {"OCCF"}),
        (graph_edits._swap_groups, "OCCC(F)Cl", {"OCC(Cl)CF", "OC(Cl)CCF", "OCC(F)CCl", "OC(F)CCCl", "OCCC(F)Cl"}),
        (graph_edits._change_atom, "C#C", {"C#N", "C#P"}),
        (graph_edits._move_group, "CCCF", {"CCCF", "CC(C)F"}),
        (graph_edits._move_group, "C1CC1", set()),
        (graph_edits._exchange_atoms, "CCO", {"COC", "CCO"}),
        (graph_edits._exchange_atoms, "CC=O", {"C=CO"}),
        (graph_edits._exchange_atoms, "CCC", set()),
        (graph_edits._move_unsaturation, "C=CCC", {"CC=CC", "C=CCC"}),
        (graph_edits._move_unsaturation, "CC=O", {"C=CO"}),
    ],
)
def test_one_edit_by_hand(edit: graph_edits.Edit, smiles: str, expected: set[str]) -> None:
    found, expected = draw(edit, smiles, 400), {Chem.CanonSmiles(s) for s in expected}
    missing_rare = {s for s in expected if "P" in s}  # phosphorus is drawn 3 times in 1000
    assert expected - missing_rare <= found <= expected


def test_append_gives_every_common_element() -> None:
    found = draw(graph_edits._append_atom, "C", 300)
    assert {"CC", "C=C", "CN", "C=N", "CO", "C=O", "CF", "CS", "CCl"} <= found
    assert all(Chem.MolFromSmiles(s).GetNumAtoms() == 2 for s in found)


def test_swapping_groups_keeps_the_formula() -> None:
    smiles = "OC(F)CC(N)Cl"
    formulas = {CalcMolFormula(Chem.MolFromSmiles(s)) for s in draw(graph_edits._swap_groups, smiles, 200)}
    assert formulas == {CalcMolFormula(Chem.MolFromSmiles(smiles))}


@pytest.mark.parametrize(
    "edit", [graph_edits._move_group, graph_edits._exchange_atoms, graph_edits._move_unsaturation], ids=lambda e: e.__name__
)
def test_rearrangements_keep_the_formula(edit: graph_edits.Edit) -> None:
    smiles = "CCN(C(C)=O)c1cccc(-c2ccnc3c(C#N)cnn23)c1"  # zaleplon: amide, nitrile, aromatic and fused rings
    found = draw(edit, smiles, 300)
    assert {CalcMolFormula(Chem.MolFromSmiles(s)) for s in found} == {CalcMolFormula(Chem.MolFromSmiles(smiles))}
    assert len(found) > 5


def test_offspring_are_distinct_new_canonical_and_small_enough() -> None:
    children = offspring(PARENTS, 300, stream(6), max_atoms=24)
    assert len(children) == len(set(children)) == 300
    assert not set(children) & {Chem.CanonSmiles(s) for s in PARENTS}
    for smiles in children:
        mol = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(mol) == smiles
        assert_sane(mol, 24)


def test_offspring_depend_on_the_arguments_alone() -> None:
    first = offspring(PARENTS, 50, stream(7))
    offspring(PARENTS[::-1], 50, stream(8))  # fills caches in another order
    assert offspring(PARENTS, 50, stream(7)) == first
    assert offspring(PARENTS, 50, stream(9)) != first


def test_known_molecules_and_unlikely_parents_are_left_out() -> None:
    first = set(offspring(PARENTS, 50, stream(10)))
    assert not first & set(offspring(PARENTS, 50, stream(10), known=first))
    only = offspring(["CCO", "FC(F)(F)c1ccccc1"], 30, stream(11), weights=[1, 0])
    assert not any("F" in s and "c1" in s for s in only)


def test_too_few_possible_children_end_the_search_for_them() -> None:
    # Mutations of methane with at most one heavy atom: only another element.
    children = offspring(["C"], 50, stream(12), max_atoms=1, crossover_rate=0.0)
    assert set(children) <= {"N", "O", "F", "S", "Cl", "Br", "P", "I"}
    assert len(children) >= 5
    assert offspring(["not a molecule"], 5, np.random.default_rng(0)) == []


def test_offspring_may_be_rearrangements_alone() -> None:
    smiles = "CCN(C(C)=O)c1cccc(-c2ccnc3c(C#N)cnn23)c1"
    children = offspring([smiles], 20, stream(12), crossover_rate=0.0, edits=graph_edits.REARRANGEMENTS)
    assert len(children) == 20
    assert {CalcMolFormula(Chem.MolFromSmiles(s)) for s in children} == {"C17H15N5O"}  # zaleplon's, as the literature has it
