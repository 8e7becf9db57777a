"""Where one molecule differs from another."""

from __future__ import annotations

from rdkit import Chem, rdBase
from rdkit.Chem import rdRascalMCES

SECONDS = 2  # that the search for what is common may take; then the largest part found so far counts
_LEAST = 3  # atoms of a common piece: single bonds that also occur elsewhere say nothing


def changed_atoms(mol: Chem.Mol, other: Chem.Mol) -> tuple[int, ...]:
    """The atoms of `mol`, in its order, that are in no piece which both molecules have.

    Pieces are those of the maximum common edge subgraph, which may fall apart (RASCAL; Raymond et al., Comput. J. 45:631,
    2002); ring bonds match ring bonds, stereo is not looked at. All atoms, if nothing is common.
    """
    options = rdRascalMCES.RascalOptions()
    options.similarityThreshold, options.timeout = 0.0, SECONDS
    options.ringMatchesRingOnly, options.minFragSize = True, _LEAST
    with rdBase.BlockLogs():
        found = rdRascalMCES.FindMCES(mol, other, options)
    kept = {atom for atom, _ in found[0].atomMatches()} if found else set()
    return tuple(atom.GetIdx() for atom in mol.GetAtoms() if atom.GetIdx() not in kept)
