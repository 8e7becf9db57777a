"""Standardised molecules: main fragment, neutral form, canonical tautomer, no stereo; with a reason on failure.

The steps are RDKit's MolStandardize (a port of Swain's MolVS); the result is the stable SMILES of `molecules.canonical`.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

from molvae.chem.molecules import Mol, canonical, parse

INVALID = "not a valid SMILES"


def standardise(
    smiles: str,
    *,
    fragment: bool = True,
    neutralise: bool = False,
    tautomer: bool = False,
    stereo: Literal["keep", "drop"] = "keep",
) -> tuple[str | None, str]:
    """The standardised canonical SMILES and "", or None and the reason why there is none.

    Parameters
    ----------
    fragment: keep only the largest organic fragment (salts and solvents go).
    neutralise: remove charges by adding or removing protons where that is possible.
    tautomer: replace the molecule by RDKit's canonical tautomer (slow: milliseconds to seconds a molecule).
    stereo: "keep" or "drop" tetrahedral and double-bond stereo.

    >>> standardise("[Na+].CC(=O)[O-]", neutralise=True)
    ('CC(=O)O', '')
    """
    mol, reason = standard_molecule(smiles, fragment=fragment, neutralise=neutralise, tautomer=tautomer, stereo=stereo)
    if mol is None:
        return None, reason
    written = canonical(mol)
    return (written, "") if written else (None, "its standardised form is not a valid molecule")


def standard_molecule(
    smiles: str, *, fragment: bool, neutralise: bool, tautomer: bool, stereo: Literal["keep", "drop"]
) -> tuple[Mol | None, str]:
    """The standardised molecule and "", or None and the reason; see `standardise`."""
    mol = parse(smiles)
    if mol is None:
        return None, INVALID
    with rdBase.BlockLogs():
        try:
            if fragment and len(Chem.GetMolFrags(mol)) > 1:
                mol = _largest_fragment().choose(mol)
            if neutralise:
                mol = _uncharger().uncharge(mol)
            if tautomer:
                mol = _tautomers().Canonicalize(mol)
        except (Chem.MolSanitizeException, RuntimeError, ValueError) as error:
            return None, f"RDKit could not standardise it: {_first_line(error)}"
        if stereo == "drop":
            mol = Chem.Mol(mol)
            Chem.RemoveStereochemistry(mol)
    return mol, ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@cache
def _largest_fragment() -> rdMolStandardize.LargestFragmentChooser:
    return rdMolStandardize.LargestFragmentChooser(preferOrganic=True)


@cache
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


@cache
def _tautomers() -> rdMolStandardize.TautomerEnumerator:
    return rdMolStandardize.TautomerEnumerator()
