"""Fragment swaps: a substituent or a linker of a good molecule exchanged for one that measured molecules have.

Searches that join fragments of high score are among the best published (f-RAG, Lee et al., NeurIPS 2024; GenMol, Lee et al.,
ICML 2025), but take their fragments from a quarter of a million molecules scored beforehand. Here the only fragments are
those of molecules that were measured and counted. A fragment is worth what the molecules are that have it: the mean of
w(rank) = 1 / (k N + rank) over these, for N molecules and rank 0 the best (Tripp et al., NeurIPS 2020, arXiv:2006.09191),
and is drawn in proportion.

Cut are acyclic single bonds: one bond gives a substituent, two a linker, the part between them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, combinations

import numpy as np
from rdkit import Chem, rdBase

from molvae.chem.molecules import parse
from molvae.history import History, Proposal
from molvae.search.proposals.base import PROPOSALS, ProposalSource
from molvae.search.proposals.editable import Editable, Half, finish, write
from molvae.search.proposals.graph_edits import MAX_ATOMS, join, prepared
from molvae.search.space import SearchSpace

RANK_K = 0.01  # the k of the weights: the best of 300 weighs 4 times as much as the tenth, and 100 times the last
_TRIES_PER_CHILD = 20


@dataclass(frozen=True)
class Piece:
    """A part of a molecule that one or two cuts set free.

    atoms: its atoms.  cuts: (atom of the piece, atom of the rest) of each bond cut.
    """

    atoms: frozenset[int]
    cuts: tuple[tuple[int, int], ...]


def pieces(p: Editable, largest: int) -> list[Piece]:
    """The substituents, then the linkers, of at most `largest` atoms, in a fixed order."""
    sides = [(_side(p, i, j), (i, j)) for b in p.cuttable for i, j in (p.bonds[b][:2], p.bonds[b][1::-1])]
    found = [Piece(atoms, (cut,)) for atoms, cut in sides if len(atoms) <= largest]
    # Two sides that lie outside each other: what is between them is the linker.
    for (first, (i, j)), (second, (k, m)) in combinations(sides, 2):
        size = p.n_atoms - len(first) - len(second)
        if 0 < size <= largest and j not in second and m not in first and not first & second:
            found.append(Piece(frozenset(range(p.n_atoms)) - first - second, ((j, i), (m, k))))
    return found


def _side(p: Editable, start: int, barred: int) -> frozenset[int]:
    """The atoms that are reached from `start` without going through `barred`."""
    seen, front = {start}, [start]
    while front:
        for j in p.neighbours[front.pop()]:
            if j != barred and j not in seen:
                seen.add(j)
                front.append(j)
    return frozenset(seen)


def without(p: Editable, piece: Piece) -> Half:
    """What is left of the molecule, with an open end for each cut; two parts if the piece was a linker."""
    rest = Chem.RWMol(p.mol)
    for i in sorted(piece.atoms, reverse=True):
        rest.RemoveAtom(i)
    return Half(rest, tuple((outer - sum(i < outer for i in piece.atoms), 1) for _, outer in piece.cuts))


@lru_cache(maxsize=2048)
def fragments(smiles: str, largest: int) -> tuple[str, ...]:
    """Canonical SMILES of the distinct pieces of a molecule, a `*` at each cut; sorted."""
    mol, record = parse(smiles), prepared(smiles)
    if mol is None or record is None:
        return ()
    found = set()
    with rdBase.BlockLogs():
        for piece in pieces(record, largest):
            bonds = [mol.GetBondBetweenAtoms(*cut).GetIdx() for cut in piece.cuts]
            cut_up = Chem.FragmentOnBonds(mol, bonds, dummyLabels=[(0, 0)] * len(bonds))
            inner = next(iter(piece.atoms))
            atoms = next(part for part in Chem.GetMolFrags(cut_up) if inner in part)
            found.add(Chem.MolFragmentToSmiles(cut_up, atoms))
    return tuple(sorted(found))


@lru_cache(maxsize=2048)
def opened(fragment: str) -> Half | None:
    """The fragment without its `*`, with open ends where they were; None if it does not parse."""
    mol = parse(fragment)
    if mol is None:
        return None
    kekule = Editable(mol)
    marks = [i for i, atom in enumerate(kekule.atoms) if atom.GetAtomicNum() == 0]
    return without(kekule, Piece(frozenset(marks), tuple((i, kekule.neighbours[i][0]) for i in marks)))


@dataclass(frozen=True)
class Library:
    """Fragments with as many ends each, and the sums of their weights so far, for draws in proportion."""

    fragments: tuple[str, ...]
    cumulative: tuple[float, ...]

    def draw(self, rng: np.random.Generator) -> str:
        """One fragment."""
        place = bisect_right(self.cumulative, rng.random() * self.cumulative[-1])
        return self.fragments[min(place, len(self.fragments) - 1)]


@lru_cache(maxsize=4)
def libraries(donors: tuple[str, ...], largest: int) -> dict[int, Library]:
    """Fragments of `donors` (SMILES, best first) by the number of their ends, with the weights of this file's equation."""
    weights = defaultdict(list)
    for rank, smiles in enumerate(donors):
        for fragment in fragments(smiles, largest):
            weights[fragment].append(1.0 / (RANK_K * len(donors) + rank))
    by_ends: dict[int, dict[str, float]] = defaultdict(dict)
    for fragment, found in weights.items():
        by_ends[fragment.count("*")][fragment] = sum(found) / len(found)
    return {ends: Library(tuple(means), tuple(accumulate(means.values()))) for ends, means in by_ends.items()}


@PROPOSALS.register("fragment_swap")
class FragmentSwap(ProposalSource):
    """A substituent or linker of a parent, at most half of it, exchanged for a fragment of the best measured molecules.

    Without measured molecules there are no fragments and no children.

    Parameters
    ----------
    donors: measured molecules, the best ones, whose fragments are used.
    largest: heavy atoms of a fragment.
    linkers: share of children in which a linker is exchanged, where the parent has one.
    """

    name = "fragment_swap"

    def __init__(self, space: SearchSpace, *, donors: int = 300, largest: int = 15, linkers: float = 0.3) -> None:
        super().__init__(space)
        self.require_positive(donors=donors, largest=largest)
        self.donors, self.largest, self.linkers = donors, largest, linkers

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        donors = tuple(e.smiles for e in history.best(self.donors)) if history is not None else ()
        library = libraries(donors, self.largest)
        unwanted = {p.smiles for p in parents} | (history.known if history is not None else set())
        records = [record for record in (prepared(p.smiles) for p in parents) if record is not None]
        if not library or not records:
            return []
        children: dict[str, None] = {}
        with rdBase.BlockLogs():
            for _ in range(_TRIES_PER_CHILD * n):
                if len(children) >= n:
                    break
                child = self._swapped(records[int(rng.random() * len(records))], library, rng)
                if child is not None and child not in unwanted:
                    children.setdefault(child)
        return [Proposal(child, self.name) for child in children]

    def _swapped(self, parent: Editable, library: dict[int, Library], rng: np.random.Generator) -> str | None:
        options = replaceable(parent.smiles, self.largest)
        ends = 2 if options[2] and 2 in library and rng.random() < self.linkers else 1
        if not options[ends] or ends not in library:
            return None
        piece = options[ends][int(rng.random() * len(options[ends]))]
        fragment = opened(library[ends].draw(rng))
        if fragment is None or parent.n_atoms - len(piece.atoms) + fragment.n_atoms > MAX_ATOMS:
            return None
        child = finish(join(without(parent, piece), fragment, rng), MAX_ATOMS)
        return write(child) if child is not None else None


@lru_cache(maxsize=512)
def replaceable(smiles: str, largest: int) -> dict[int, list[Piece]]:
    """Pieces of a molecule by the number of their ends: those of at most `largest` atoms and at most half the molecule."""
    record = prepared(smiles)
    found = pieces(record, min(largest, record.n_atoms // 2)) if record is not None else []
    return {ends: [piece for piece in found if len(piece.cuts) == ends] for ends in (1, 2)}
