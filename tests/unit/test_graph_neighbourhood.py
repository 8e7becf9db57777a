"""The exhaustive neighbourhood: sets enumerated by hand, and everything that random single edits find."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from molvae.history import Evaluation, History, Proposal
from molvae.randomness import stream
from molvae.search.proposals.graph_edits import EDITS, _swap_groups, offspring
from molvae.search.proposals.neighbourhood import SUBSTITUENTS, GraphNeighbourhood, neighbourhood

PARENTS = [
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",  # caffeine
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",  # (S)-ibuprofen
    "O=[N+]([O-])c1ccc(N2CCOCC2)cc1",  # a nitro group
    "C[NH+]1CCC(c2c[nH]c3ccccc23)CC1",  # a charged amine and a pyrrole NH
    "CS(=O)(=O)c1ccc(/C=C/C#N)cc1",  # a sulfone, a double bond with stereo, a nitrile
]
PARENTS = [Chem.CanonSmiles(s) for s in PARENTS]


def canonical(smiles: str) -> set[str]:
    return {Chem.CanonSmiles(s) for s in smiles.split()}


def n_rings(mol: Chem.Mol) -> int:
    """Independent rings of a connected molecule (Euler)."""
    return mol.GetNumBonds() - mol.GetNumAtoms() + 1


def around(smiles: str) -> set[str]:
    edits = neighbourhood(Chem.CanonSmiles(smiles))
    return {child for child in map(edits.__getitem__, range(len(edits))) if child is not None}


def proposed(parents: list[str], n: int, seed: int = 0, measured: tuple[str, ...] = (), **settings: int) -> list[str]:
    history = History([Evaluation(i, s, 0.5) for i, s in enumerate(measured, 1)])
    source = GraphNeighbourhood(None, **settings)
    children = source.propose([Proposal(s, "start") for s in parents], n, np.random.default_rng(seed), history)
    assert {child.source for child in children} <= {"graph_neighbourhood"}
    return [child.smiles for child in children]


def test_all_of_methane_by_hand() -> None:
    replaced = canonical("N O F S Cl Br")
    added = canonical("CC C=C C#C CN C=N C#N CO C=O CF CS C=S CCl CBr")
    assert around("C") == replaced | added | {Chem.CanonSmiles(f"C{group}") for group in SUBSTITUENTS}


def test_all_of_cyclopropane_by_hand() -> None:
    replaced = canonical("C1CN1 C1CO1 C1CS1")
    added = canonical("CC1CC1 NC1CC1 OC1CC1 FC1CC1 SC1CC1 ClC1CC1 BrC1CC1")
    added |= canonical("C=C1CC1 N=C1CC1 O=C1CC1 S=C1CC1")
    inserted = canonical("C1CCC1 C1CNC1 C1COC1 C1CSC1")
    bonds = canonical("C1=CC1 CCC")
    groups = {Chem.CanonSmiles(f"C1CC1{group}") for group in SUBSTITUENTS}
    assert around("C1CC1") == replaced | added | inserted | bonds | groups


def test_rings_of_six_around_pyridine() -> None:
    six = {s for s in around("c1ccncc1") if Chem.MolFromSmiles(s).GetNumAtoms() == 6 and s.islower() and "2" not in s}
    assert six == canonical("c1ccccc1 c1ccncn1 c1cnccn1 c1ccnnc1")


def test_a_nitrogen_goes_round_its_ring() -> None:
    picolines = canonical("Cc1ccccn1 Cc1cccnc1 Cc1ccncc1")
    for smiles in picolines:
        assert picolines - {smiles} <= around(smiles)


def test_a_chain_closes_to_rings_of_three_to_seven() -> None:
    rings = {s for s in around("CCCCCCCC") if "1" in s and Chem.MolFromSmiles(s).GetNumAtoms() == 8}
    three, four = "CCCCCC1CC1 CCCCC1CC1C CCCC1CC1CC", "CCCCC1CCC1 CCCC1CCC1C CCC1CCC1CC"
    assert rings == canonical(f"{three} {four} CCCC1CCCC1 CCC1CCCC1C CCC1CCCCC1 CC1CCCCC1C CC1CCCCCC1")


def test_it_holds_what_any_random_single_edit_finds() -> None:
    single = tuple((edit, weight) for edit, weight in EDITS if edit is not _swap_groups)
    for smiles in PARENTS:
        random = offspring([smiles], 80, stream(0), crossover_rate=0.0, edits=single)
        assert len(random) == 80
        assert {s for s in random if "P" not in s.upper() and "I" not in s} <= around(smiles)


def test_rare_elements_stay_where_they_are() -> None:
    assert not any("P" in s.upper() or "I" in s for s in around("CCO"))
    assert canonical("PCP PCCP PPC CPC IC") & around("CP") == canonical("PCP PPC CPC")


@pytest.mark.parametrize("smiles", PARENTS)
def test_neighbours_are_sane_and_near(smiles: str) -> None:
    parent = Chem.MolFromSmiles(smiles)
    neighbours = around(smiles)
    assert smiles not in neighbours
    assert len(neighbours) > 150
    for child in neighbours:
        mol = Chem.MolFromSmiles(child)
        assert Chem.MolToSmiles(mol) == child
        assert len(Chem.GetMolFrags(mol)) == 1
        assert not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
        assert max(map(len, mol.GetRingInfo().AtomRings()), default=0) <= 8
        assert -1 <= mol.GetNumAtoms() - parent.GetNumAtoms() <= 5  # the largest substituents have five atoms
        assert abs(n_rings(mol) - n_rings(parent)) <= 1


def test_groups_with_charges_stay_whole() -> None:
    half = Chem.MolFromSmarts("[N+;!$([N+](=O)[O-])]")
    assert not any(Chem.MolFromSmiles(s).HasSubstructMatch(half) for s in around(PARENTS[2]))
    assert Chem.CanonSmiles("O=[N+]([O-])c1ccccc1") in around("c1ccccc1")


def test_a_source_asked_for_enough_gives_everything_in_one_order() -> None:
    first = proposed(PARENTS, 10_000, seed=0)
    assert set(first) == set().union(*map(around, PARENTS)) - set(PARENTS)
    assert len(first) == len(set(first))
    assert proposed(PARENTS, 10_000, seed=1) == first


def test_a_source_asked_for_few_gives_all_edits_their_turn() -> None:
    everything = around("c1ccoc1")
    rounds = [proposed(["c1ccoc1"], 40, seed=seed) for seed in range(60)]
    assert all(len(set(children)) == 40 for children in rounds)
    # One of at most 150 neighbours is missed by 60 draws of 40 with a chance below (1 - 40/150)^60 = 1e-8.
    assert len(everything) <= 150
    assert set().union(*rounds) == everything


def test_what_is_measured_is_left_out() -> None:
    everything = proposed(PARENTS[:1], 10_000)
    measured = tuple(everything[::2])
    assert proposed(PARENTS[:1], 10_000, measured=measured) == everything[1::2]
    assert proposed(PARENTS[:1], 10, measured=tuple(everything)) == []


def test_only_the_first_parents_have_neighbours() -> None:
    assert set(proposed(["CCO", "CCO", "c1ccccc1", "FC(F)F"], 10_000, incumbents=2)) == (
        around("CCO") | around("c1ccccc1")
    ) - {"FC(F)F"}
    assert proposed(["not a molecule"], 10) == []


def test_exchanges_in_a_ring_by_hand() -> None:
    # 4-methylisoxazole: N changes places with C3 or C5. O cannot bear three bonds, and N not the four of the methylated C.
    smiles = Chem.CanonSmiles("Cc1cnoc1")
    formula = CalcMolFormula(Chem.MolFromSmiles(smiles))
    isomers = {s for s in around(smiles) if CalcMolFormula(Chem.MolFromSmiles(s)) == formula and "c" in s}
    assert isomers == canonical("Cc1cocn1 Cc1ccon1")
