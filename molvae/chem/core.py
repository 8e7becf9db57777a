"""The part of a molecule that a search may not touch: a substructure that every molecule must hold."""

from __future__ import annotations

import re

from rdkit import Chem, rdBase

from molvae.chem.molecules import parse
from molvae.errors import ConfigError


class Core:
    """A substructure, given as SMILES or SMARTS. What both could be is read as SMILES, with its Kekule rings made aromatic.

    A SMILES matches its atoms and bonds with whatever hangs on them, its hydrogens left open; `*` is any heavy atom. Stereo
    marks must match where they are given. text: as it was given.  language: "SMILES" or "SMARTS", as it was read.

    Raises ConfigError for what is neither, or holds no atom.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        with rdBase.BlockLogs():
            mol = None if _only_smarts(self.text) else parse(self.text)
            self.language = "SMARTS" if mol is None else "SMILES"
            query = Chem.MolFromSmarts(self.text) if mol is None else Chem.AdjustQueryProperties(mol, _open())
        if query is None or not query.GetNumAtoms():
            raise ConfigError(
                f"the core {text!r} is neither a SMILES nor a SMARTS. Give the part to keep, e.g. c1ccc2[nH]ccc2c1."
            )
        self.query = query

    def atoms(self, mol: Chem.Mol) -> tuple[int, ...]:
        """The atoms of a molecule that are the core, in its order, where it is found first; none if it is not in it."""
        return tuple(mol.GetSubstructMatch(self.query, useChirality=True))

    def is_in(self, smiles: str) -> bool:
        """Whether a molecule holds it; one that cannot be parsed does not."""
        mol = parse(smiles)
        return mol is not None and bool(self.atoms(mol))


def _only_smarts(text: str) -> bool:
    """Whether it has atomic numbers, or bonds written as aromatic or any: RDKit would take these in a SMILES, too, and make
    something else of them."""
    return "[#" in text or bool(re.search("[:~]", re.sub(r"\[[^]]*\]", "", text)))


def _open() -> Chem.AdjustQueryParameters:
    """Attachment points as wildcards, and nothing asked of how an atom is substituted."""
    parameters = Chem.AdjustQueryParameters.NoAdjustments()
    parameters.makeDummiesQueries = True
    return parameters
