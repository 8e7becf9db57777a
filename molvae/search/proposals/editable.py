"""Molecules as editable graphs: Kekule forms with their cuts, and the way back from an edited graph to a sane molecule.

Edits work on Kekule forms, where every atom's valence is the sum of its bond orders, so an edit only has to respect free
hydrogens. What the edits ask about a molecule is computed once: a search draws thousands of children from a few hundred
parents (`graph_edits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from rdkit import Chem

from molvae.chem.molecules import Mol, canonical

MAX_RING = 8
BOND_TYPES = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}
# What no chemist would make, and edits do make.
_UNWANTED = tuple(
    Chem.MolFromSmarts(smarts)
    for smarts in (
        "[*;R]=;@[*;R]=;@[*;R]",  # a cumulene in a ring
        "*#;@*",  # a triple bond in a ring
        "[F,Cl,Br,I]~[#7,#8]",  # a halogen on N or O
        "[OX2][OX2]",  # a peroxide
        "[#16;!H0;v3,v4,v5,v6]",  # hydrogen on S(IV) or S(VI): the rest of a sulfone
        "[#15;!H0;v4,v5]",  # hydrogen on P(V)
    )
)


@dataclass(frozen=True)
class Half:
    """A part of a parent with open ends; `ends` are (atom index, order of the bond that was cut)."""

    mol: Mol
    ends: tuple[tuple[int, int], ...]

    @property
    def n_atoms(self) -> int:
        return self.mol.GetNumAtoms()


class Editable:
    """A molecule in Kekule form, with what the edits ask about it computed once.

    `hydrogens[i]` is the number of hydrogens on heavy atom i: the bond orders it can still take up; `used[i]` adds up the
    orders of its bonds.
    `fixed` holds the atoms of charge-separated groups (nitro, N-oxide, azide), which are moved whole, never edited.
    """

    def __init__(self, mol: Mol) -> None:
        self.mol = Chem.RWMol(mol)
        Chem.Kekulize(self.mol, clearAromaticFlags=True)
        for atom in self.mol.GetAtoms():
            if atom.GetNumRadicalElectrons() == 0:
                # Hydrogens are recounted after an edit; else an [nH] or [C@H] would keep its number and become a radical.
                atom.SetNoImplicit(False)
                atom.SetNumExplicitHs(0)
        self.mol.UpdatePropertyCache(False)
        self.smiles = canonical(mol)
        self.atoms = list(self.mol.GetAtoms())
        self.n_atoms = len(self.atoms)
        self.hydrogens = [a.GetTotalNumHs() for a in self.atoms]
        self.charges = [a.GetFormalCharge() for a in self.atoms]
        self.used = [0] * self.n_atoms
        self.neighbours: list[list[int]] = [[] for _ in self.atoms]
        self.bonds: list[tuple[int, int, int]] = []  # (begin, end, order)
        for bond in self.mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            order = int(bond.GetBondTypeAsDouble())
            self.bonds.append((i, j, order))
            self.used[i] += order
            self.used[j] += order
            self.neighbours[i].append(j)
            self.neighbours[j].append(i)
        separated = {
            i for i, charge in enumerate(self.charges) if charge and any(self.charges[j] for j in self.neighbours[i])
        }
        doubly_bound = {k for i, j, order in self.bonds if order > 1 and separated & {i, j} for k in (i, j)}
        self.fixed = frozenset(separated | doubly_bound)
        self.rings = [tuple(ring) for ring in self.mol.GetRingInfo().BondRings()]
        self.ring_bonds = frozenset(b for ring in self.rings for b in ring)
        self.editable_bonds = [b for b, (i, j, _) in enumerate(self.bonds) if i not in self.fixed and j not in self.fixed]
        self._halves: dict[tuple[int, ...], tuple[Half, ...]] = {}

    @cached_property
    def cuttable(self) -> list[int]:
        """Acyclic single bonds outside charge-separated groups."""
        return [
            b
            for b, (i, j, order) in enumerate(self.bonds)
            if order == 1 and b not in self.ring_bonds and not (self.charges[i] and self.charges[j])
        ]

    @cached_property
    def ring_cuts(self) -> list[tuple[int, int]]:
        """Pairs of bonds of one ring, neither shared with another ring and not next to each other."""
        count: dict[int, int] = {}
        for ring in self.rings:
            for b in ring:
                count[b] = count.get(b, 0) + 1
        pairs = []
        for ring in self.rings:
            own = [b for b in ring if count[b] == 1 and b in self._editable_set]
            for n, first in enumerate(own):
                ends = set(self.bonds[first][:2])
                pairs += [(first, second) for second in own[n + 1 :] if not ends & set(self.bonds[second][:2])]
        return pairs

    @cached_property
    def _editable_set(self) -> frozenset[int]:
        return frozenset(self.editable_bonds)

    @cached_property
    def open_atoms(self) -> list[int]:
        """Atoms with a hydrogen to give, outside charge-separated groups."""
        return [i for i, h in enumerate(self.hydrogens) if h and i not in self.fixed]

    @cached_property
    def distances(self) -> np.ndarray:
        """(N, N) topological distances in bonds."""
        return Chem.GetDistanceMatrix(self.mol)

    def halves(self, cut: tuple[int, ...]) -> tuple[Half, ...]:
        """The two parts that are left when the bonds of `cut` are removed; () if that does not give two parts."""
        if cut not in self._halves:
            self._halves[cut] = self._split(cut)
        return self._halves[cut]

    def _split(self, cut: tuple[int, ...]) -> tuple[Half, ...]:
        open_mol = Chem.RWMol(self.mol)
        for b in cut:
            open_mol.RemoveBond(*self.bonds[b][:2])
        where: list[int] = []
        atoms_of: list[tuple[int, ...]] = []
        parts = Chem.GetMolFrags(open_mol, asMols=True, sanitizeFrags=False, frags=where, fragsMolAtomMapping=atoms_of)
        if len(parts) != 2:
            return ()
        ends: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for b in cut:
            i, j, order = self.bonds[b]
            for atom in (i, j):
                ends[where[atom]].append((atoms_of[where[atom]].index(atom), order))
        if len(ends[0]) != len(ends[1]):
            return ()
        return tuple(Half(part, tuple(end)) for part, end in zip(parts, ends, strict=True))


def finish(edited: Chem.RWMol, max_atoms: int) -> Mol | None:
    """The edited graph as a sanitised molecule, or None if valences, size, rings or bonds are not acceptable.

    Callers hold a `rdBase.BlockLogs`: failed valences are expected here.
    """
    if not 0 < edited.GetNumAtoms() <= max_atoms:
        return None
    if Chem.SanitizeMol(edited, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    if any(len(ring) > MAX_RING for ring in edited.GetRingInfo().AtomRings()):
        return None
    return None if any(edited.HasSubstructMatch(pattern) for pattern in _UNWANTED) else edited


def write(mol: Mol) -> str | None:
    """Canonical isomeric SMILES of a child, or None if it is more than one fragment or cannot be read back."""
    smiles = Chem.MolToSmiles(mol)
    if "." in smiles:
        return None
    if not any(mark in smiles for mark in "@/\\"):
        return smiles
    # Stereo marks of a centre that the edit made symmetric go on parsing; one pass settles nearly every string.
    again = Chem.MolFromSmiles(smiles)
    settled = Chem.MolToSmiles(again) if again is not None else None
    return settled if settled == smiles or settled is None else canonical(settled)
