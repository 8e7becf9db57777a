"""Sanity reasons, ring systems and alerts on molecules whose answer a chemist knows."""

import pytest
from rdkit import Chem

from molvae.chem import SANITY_REASONS, alerts, canonical, parse, problems, ring_systems
from molvae.chem.filters import (
    FRAGMENTS,
    LARGE_RING,
    RADICAL,
    RING_CUMULENE,
    RING_TRIPLE_BOND,
    TOO_LARGE,
    TOO_SMALL,
    UNSEEN_RING_SYSTEM,
)
from molvae.errors import UnknownName


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", []),
        ("CCC#N", []),
        ("CC=C=CC", []),  # an open-chain allene is a stable molecule
        ("C1CCC#CCCCC1", [LARGE_RING]),
        ("C1#CCCCC1", [RING_TRIPLE_BOND]),
        ("C1=C=CCCC1", [RING_CUMULENE]),
        ("c1ccc2c(c1)N=S=NC2", []),
        ("CC[CH2]", [RADICAL]),
        ("CCO.CCN", [FRAGMENTS]),
        ("CC", [TOO_SMALL]),
        ("C" * 71, [TOO_LARGE]),
        ("C1CCCCCCCCCCC1", [LARGE_RING]),
        ("C1CCCCCCC1", []),
    ],
)
def test_problems(smiles, expected):
    assert problems(parse(smiles)) == expected
    assert set(expected) <= set(SANITY_REASONS)


def test_a_ring_system_is_unseen_only_against_a_reference():
    indole = parse("c1ccc2[nH]ccc2c1")
    assert problems(indole) == []
    assert problems(indole, frozenset({"c1ccccc1"})) == [UNSEEN_RING_SYSTEM]
    assert problems(indole, frozenset(ring_systems(indole))) == []
    assert problems(parse("CCCC"), frozenset()) == []


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CCCC", []),
        ("Cn1cccc1C(=O)Nc1ccccc1", ["c1cc[nH]c1", "c1ccccc1"]),  # an N-methyl group becomes hydrogen
        ("c1ccc(-c2ccccc2)cc1", ["c1ccccc1", "c1ccccc1"]),
        ("CN1CCC2(CC1)CCCC2", ["C1CCC2(C1)CCNCC2"]),  # spiro rings are one system
        ("O=c1cccc[nH]1", ["O=c1cccc[nH]1"]),  # the double-bonded oxygen stays
        ("COc1ccc2c(c1)CC[C@@H]1[C@@H]2CC[C@]2(C)C(O)CC[C@@H]12", ["c1ccc2c(c1)CCC1C3CCCC3CCC21"]),  # estrane
        ("C[n+]1ccccc1", ["c1cc[nH+]cc1"]),
        ("O=S1(=O)CCN(c2ccccc2)C1", ["O=S1(=O)CCNC1", "c1ccccc1"]),
        ("C1CCCCC1=C1CCCC1", ["C=C1CCCC1", "C=C1CCCCC1"]),
    ],
)
def test_ring_systems(smiles, expected):
    assert ring_systems(parse(smiles)) == sorted(canonical(e) for e in expected)


def test_ring_systems_do_not_depend_on_how_the_molecule_is_written():
    mol = parse("CC(C)(C)NC[C@H](O)c1cc2c(cc1F)OC(=O)C2=Cc1c[nH]c2ccccc12")
    assert len({tuple(ring_systems(parse(Chem.MolToSmiles(mol, doRandom=True)))) for _ in range(30)}) == 1


def test_alerts_name_the_catalogue_the_paper_and_the_atoms():
    rhodanine = parse("O=C1NC(=S)SC1=Cc1ccccc1")
    found = alerts(rhodanine, ["PAINS"])
    assert [(a.name, a.catalogue) for a in found] == [("ene_rhod_A(235)", "PAINS")]
    assert "Baell" in found[0].reference
    assert set(found[0].atoms) >= {rhodanine.GetSubstructMatch(Chem.MolFromSmarts("C=S"))[0]}
    nitro = parse("O=[N+]([O-])c1ccccc1")
    assert "nitro_group" in {a.name for a in alerts(nitro, ["BRENK"])}
    assert alerts(parse("Cc1ccccc1CO"), ["PAINS", "BRENK", "NIH"]) == []


def test_an_unknown_catalogue_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'PAINS'"):
        alerts(parse("CCO"), ["PAIN"])
