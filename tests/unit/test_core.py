"""A core that a search keeps: how it is read, and what holds it. Expected answers by eye, from the drawn structures."""

import pytest

from molvae.chem import Core
from molvae.errors import ConfigError


@pytest.mark.parametrize(
    ("core", "language", "smiles", "holds"),
    [
        ("C1=CC=CC=C1", "SMILES", "Cc1ccccc1", True),  # a Kekule ring is the aromatic one
        ("c1ccccc1", "SMILES", "CC1CCCCC1", False),
        ("[nH]1cccc1", "SMILES", "Cn1cccc1", True),  # hydrogens are places to grow
        ("O=C(N*)c1ccccc1", "SMILES", "CNC(=O)c1ccccc1", True),
        ("O=C(N*)c1ccccc1", "SMILES", "NC(=O)c1ccccc1", False),  # nothing at the attachment point
        ("C[C@H](N)C(=O)O", "SMILES", "C[C@H](N)C(=O)OC", True),
        ("C[C@H](N)C(=O)O", "SMILES", "C[C@@H](N)C(=O)OC", False),
        ("CC(N)C(=O)O", "SMILES", "C[C@H](N)C(=O)OC", True),
        ("[C;R]", "SMARTS", "C1CC1", True),
        ("[C;R]", "SMARTS", "CCC", False),
        ("[#6]1:[#6]:[#7]:[#6]:[#6]:[#6]:1", "SMARTS", "Cc1ccncc1", True),  # RDKit reads this as a SMILES that is in nothing
        ("C~N", "SMARTS", "CC#N", True),
        ("[*:1]N", "SMILES", "CN", True),
        ("C", "SMILES", "not a molecule", False),
    ],
)
def test_what_holds_a_core(core: str, language: str, smiles: str, holds: bool) -> None:
    assert (Core(core).language, Core(core).is_in(smiles)) == (language, holds)


@pytest.mark.parametrize("text", ["", " ", "CC(", "core"])
def test_what_is_neither_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a SMILES nor a SMARTS"):
        Core(text)
