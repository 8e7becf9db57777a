"""Pieces of molecules as MOSES counts them: BRICS fragments, and scaffolds of at least two rings.

BRICS: Degen et al., ChemMedChem 3:1503, 2008. Scaffolds: Bemis & Murcko, J. Med. Chem. 39:2887, 1996. MOSES: Polykovskiy et
al., Front. Pharmacol. 11:565644, 2020.
"""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem.rdmolops import FragmentOnBRICSBonds
from rdkit.Chem.Scaffolds import MurckoScaffold

from molvae.chem.molecules import Mol


def brics_fragments(mol: Mol) -> list[str]:
    """SMILES of the pieces of `mol` after all BRICS bonds are cut, with repetitions; `[4*]` marks a cut and its kind.

    >>> from molvae.chem import parse
    >>> sorted(brics_fragments(parse("CCOc1ccccc1")))
    ['[16*]c1ccccc1', '[3*]O[3*]', '[4*]CC']
    """
    with rdBase.BlockLogs():
        return Chem.MolToSmiles(FragmentOnBRICSBonds(mol)).split(".")


def ring_scaffold(mol: Mol, min_rings: int = 2) -> str | None:
    """The Bemis-Murcko scaffold with its stereo marks, or None if it has fewer than `min_rings` rings.

    `chem.scaffold` leaves stereo out and knows no least number of rings; this is what MOSES compares.
    """
    with rdBase.BlockLogs():
        scaffold = MurckoScaffold.GetScaffoldForMol(mol)
        if scaffold.GetRingInfo().NumRings() < min_rings:
            return None
        return Chem.MolToSmiles(scaffold) or None
