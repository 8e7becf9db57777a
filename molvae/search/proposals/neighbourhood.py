"""The exhaustive neighbourhood of the best molecules: every single edit of each, in a fixed order.

A random mutation finds the one edit that is missing only sooner or later; here each is looked at once. Edits: an atom
replaced, added, inserted, or removed; a bond's order changed, a ring closed or opened; two atoms of a ring exchanged; and a
hydrogen replaced by a substituent of a fixed list. Rare elements (P, I) are written only into molecules that have them.

What edits there are is known from valences alone. The molecule of an edit is made when it is first asked for, and kept: the
best molecules stay the best for many rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import combinations

import numpy as np
from rdkit import Chem, rdBase

from molvae.history import History, Proposal
from molvae.search.proposals import operations
from molvae.search.proposals.base import PROPOSALS, ProposalSource
from molvae.search.proposals.editable import Editable, Half, finish, write
from molvae.search.proposals.graph_edits import MAX_ATOMS, prepared
from molvae.search.proposals.operations import ELEMENTS
from molvae.search.space import SearchSpace

RING_SIZES = (3, 4, 5, 6, 7)  # of rings that a new bond may close
# The first atom is the one that is bound; single atoms are among the atoms added.
SUBSTITUENTS = (
    "CC", "C(C)C", "C1CC1", "C(F)(F)F", "C(F)F", "C#N", "CO", "CN", "C=C", "C#C", "C(C)=O", "C(N)=O", "C(=O)O", "OC", "OCC",
    "OC(F)(F)F", "NC", "N(C)C", "NC(C)=O", "[N+](=O)[O-]", "S(C)(=O)=O", "S(N)(=O)=O", "SC",
)  # fmt: skip
_COMMON = 0.01  # weight of an element from which on it is written into any molecule
_KEPT = 64  # neighbourhoods in memory, each up to a thousand edits and their molecules


class Neighbourhood:
    """The edits of one molecule, numbered from 0 in a fixed order, and the molecules they give.

    Attributes
    ----------
    smiles: canonical isomeric SMILES of the molecule itself.
    """

    def __init__(self, parent: Editable) -> None:
        self.smiles = parent.smiles
        self._edits = list(edits(parent))
        self._made: dict[int, str | None] = {}

    def __len__(self) -> int:
        return len(self._edits)

    def __getitem__(self, number: int) -> str | None:
        """Canonical isomeric SMILES of what an edit gives; None if that is not sane or is the molecule itself."""
        if number not in self._made:
            with rdBase.BlockLogs():
                child = finish(self._edits[number](), MAX_ATOMS)
                smiles = write(child) if child is not None else None
            self._made[number] = smiles if smiles != self.smiles else None
        return self._made[number]


def edits(p: Editable) -> Iterator[Callable[[], Chem.RWMol]]:
    """Every single edit of `p`, each as a function that makes the edited copy."""
    present = {atom.GetAtomicNum() for atom in p.atoms}
    elements = [(number, valence) for number, valence, weight in ELEMENTS if weight >= _COMMON or number in present]
    for i in range(p.n_atoms):
        if i not in p.fixed:
            for number, valence in elements:
                if p.used[i] <= valence and (number != p.atoms[i].GetAtomicNum() or p.charges[i]):
                    yield partial(operations.change_atoms, p, {i: number})
        if operations.can_delete(p, i):
            yield partial(operations.delete_atom, p, i)
    for i in p.open_atoms:
        for number, valence in elements:
            for order in range(1, min(p.hydrogens[i], valence, 3) + 1):
                yield partial(operations.append_atom, p, i, number, order)
        for group in _groups():
            yield partial(operations.append_group, p, i, group)
    for b in p.editable_bonds:
        for number, valence in elements:
            if valence > 1:
                yield partial(operations.insert_atom, p, b, number)
        for order in operations.other_orders(p, b):
            yield partial(operations.set_orders, p, {b: order})
        if b in p.ring_bonds:
            yield partial(operations.remove_bond, p, b)
    for i, j in combinations(p.open_atoms, 2):
        if p.distances[i, j] + 1 in RING_SIZES:
            yield partial(operations.join_atoms, p, i, j)
    for i, j in _pairs_in_rings(p):
        if operations.can_exchange(p, i, j):
            first, second = p.atoms[i].GetAtomicNum(), p.atoms[j].GetAtomicNum()
            yield partial(operations.change_atoms, p, {i: second, j: first})


def _pairs_in_rings(p: Editable) -> list[tuple[int, int]]:
    """Pairs of atoms that share a ring, in order."""
    rings = ({k for b in ring for k in p.bonds[b][:2]} for ring in p.rings)
    return sorted({pair for ring in rings for pair in combinations(sorted(ring), 2)})


@lru_cache(maxsize=1)
def _groups() -> tuple[Half, ...]:
    return tuple(Half(Editable(Chem.MolFromSmiles(smiles)).mol, ((0, 1),)) for smiles in SUBSTITUENTS)


@lru_cache(maxsize=_KEPT)
def neighbourhood(smiles: str) -> Neighbourhood | None:
    """The neighbourhood of a molecule, kept; None if it does not parse."""
    parent = prepared(smiles)
    return Neighbourhood(parent) if parent is not None else None


@PROPOSALS.register("graph_neighbourhood")
class GraphNeighbourhood(ProposalSource):
    """Molecules one edit away from the best parents, all of them if so many are asked for.

    If fewer are asked for, the edits are taken at random, so that in the rounds of a search all have their turn. What is
    measured is left out. The order is that of the parents and of their edits.

    Parameters
    ----------
    incumbents: parents, the first ones, whose neighbourhoods are looked at.
    """

    name = "graph_neighbourhood"

    def __init__(self, space: SearchSpace, *, incumbents: int = 5) -> None:
        super().__init__(space)
        self.require_positive(incumbents=incumbents)
        self.incumbents = incumbents

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        known = history.known if history is not None else set()
        own = {p.smiles for p in parents}
        best = list(dict.fromkeys(p.smiles for p in parents))[: self.incumbents]
        edited = [around for around in map(neighbourhood, best) if around is not None]
        all_edits = [(around, k) for around in edited for k in range(len(around))]
        found: dict[str, int] = {}
        for place in rng.permutation(len(all_edits)).tolist():
            if len(found) >= n:
                break
            around, k = all_edits[place]
            child = around[k]
            if child is not None and child not in known and child not in own:
                found[child] = min(place, found.get(child, place))
        return [Proposal(child, self.name) for child in sorted(found, key=found.__getitem__)]
