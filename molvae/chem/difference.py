"""Where one molecule differs from another."""

from __future__ import annotations

from collections.abc import Iterable

from rdkit import Chem, rdBase
from rdkit.Chem import rdRascalMCES

SECONDS = 2  # that the search for what is common may take; then the largest part found so far counts
_PAIRS = 5000  # of bonds that may match: large molecules of equal parts have more than the 1,000 of the default
_LEAST = 3  # atoms of a common piece: single bonds that also occur elsewhere say nothing


def changed_atoms(mol: Chem.Mol, other: Chem.Mol) -> tuple[int, ...]:
    """The atoms of `mol`, in its order, that are in no piece which both molecules have.

    Pieces are those of the maximum common edge subgraph, which may fall apart (RASCAL; Raymond et al., Comput. J. 45:631,
    2002); ring bonds match ring bonds, stereo is not looked at. All atoms, if nothing is common.
    """
    if Chem.MolToSmiles(mol, isomericSmiles=False) == Chem.MolToSmiles(other, isomericSmiles=False):
        return ()
    bonded, others = _bonded(mol), _bonded(other)
    if not bonded or not others:
        return _without_ions(mol, other, range(mol.GetNumAtoms()))
    options = rdRascalMCES.RascalOptions()
    options.maxBondMatchPairs = _PAIRS
    options.similarityThreshold, options.timeout = 0.0, SECONDS
    options.ringMatchesRingOnly, options.minFragSize = True, _LEAST
    with rdBase.BlockLogs():
        found = rdRascalMCES.FindMCES(_part(mol, bonded), _part(other, others), options)
    kept = {bonded[atom] for atom, _ in found[0].atomMatches()} if found else set()
    return _without_ions(mol, other, [i for i in range(mol.GetNumAtoms()) if i not in kept])


def _bonded(mol: Chem.Mol) -> list[int]:
    """The atoms with a neighbour: RASCAL goes astray where a single atom, a counter-ion, stands beside a molecule."""
    return [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetDegree()]


def _part(mol: Chem.Mol, atoms: list[int]) -> Chem.Mol:
    """The molecule of these atoms, in this order, which is theirs in `mol`."""
    part = Chem.RWMol(mol)
    for i in sorted(set(range(mol.GetNumAtoms())) - set(atoms), reverse=True):
        part.RemoveAtom(i)
    Chem.GetSymmSSSR(part)
    return part.GetMol()


def _without_ions(mol: Chem.Mol, other: Chem.Mol, changed: Iterable[int]) -> tuple[int, ...]:
    """Without the single atoms that the other molecule has too."""
    there = {(a.GetSymbol(), a.GetFormalCharge()) for a in other.GetAtoms() if not a.GetDegree()}
    return tuple(
        i for i in changed if (a := mol.GetAtomWithIdx(i)).GetDegree() or (a.GetSymbol(), a.GetFormalCharge()) not in there
    )
