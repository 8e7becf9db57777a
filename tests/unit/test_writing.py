"""Our SELFIES of a SMILES string are those of the package `selfies`, or none."""

import pytest
import selfies
from drugs import SMILES
from rdkit import Chem

from molvae.chem import parse, random_smiles
from molvae.strings.writing import to_selfies

CONSTRAINTS = selfies.get_preset_constraints("default")

UNUSUAL = [
    "F/C=C/1CCCC1",  # a direction on a ring bond
    "C1=CC=CC=C1",
    "C=1CCCCC=1",
    "C%12CC%12",
    "c1ccc2cc3ccccc3cc2c1",
    "c1ccc(-c2ccccc2)cc1",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "O=S1(=O)C=CC=C1",
    "C12C3C4C1C5C2C3C45",
    "N[C@H](C)C(=O)O",
    "C[C@@]12CCC(CC1)C2",
    "[C@]1(F)(Cl)CCC[C@H]1O",
    "C[N@@+]1(CC)CCC1",
    "[2H]C([2H])O",
    "[O-][N+](=O)c1ccccc1",
    "[13CH4]",
    "[Na+]",
    "C[C@H]1CC[C@@](C)(O1)/C=C/C",
]
LEFT = [
    "",
    "C.C",
    "C(",
    "C)",
    "1CC1",
    "C(1CC)C1",
    "C1CC",
    "C=1CC#1",
    "C12CC12",
    "cccc1",
    "c1ccc1c",
    "CC(C)(C)(C)C",
    "C[Xx]",
    "c1cc[nH+]cc1",
    "C[Si](C)(C)C",
    "C*",
]


@pytest.mark.parametrize("smiles", [Chem.MolToSmiles(parse(text)) for text in SMILES] + UNUSUAL)
def test_it_writes_what_the_package_writes(smiles: str) -> None:
    expected = selfies.encoder(smiles)
    assert to_selfies(smiles, CONSTRAINTS) in (expected, None)
    if smiles in UNUSUAL:
        assert to_selfies(smiles, CONSTRAINTS) == expected


def test_it_writes_most_molecules_in_any_order_of_atoms() -> None:
    written = [text for i, smiles in enumerate(SMILES) for text in random_smiles(parse(smiles), 5, i)]
    ours = [to_selfies(text, CONSTRAINTS) for text in written]
    wrong = [text for text, our in zip(written, ours, strict=True) if our not in (None, selfies.encoder(text))]
    assert not wrong
    assert sum(our is not None for our in ours) > 0.9 * len(ours)


@pytest.mark.parametrize("smiles", LEFT)
def test_it_leaves_faults_and_charged_aromatic_atoms_to_the_package(smiles: str) -> None:
    assert to_selfies(smiles, CONSTRAINTS) is None


def test_it_keeps_to_the_constraint_table() -> None:
    assert to_selfies("CS(=O)(=O)C", CONSTRAINTS) == selfies.encoder("CS(=O)(=O)C")
    assert to_selfies("CS(=O)(=O)C", CONSTRAINTS | {"S": 4}) is None
    assert to_selfies("C[NH+](C)C", CONSTRAINTS | {"N+1": 3}) is None
