"""Children of molecules by edits of the molecular graph: crossover and mutation on RDKit molecules.

In the spirit of the graph-based genetic algorithm of Jensen (Chem. Sci. 10:3567, 2019); own implementation. Parents are
prepared once and kept (`editable`), because a search draws thousands of children from a few hundred parents.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Container, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TypeVar

import numpy as np
from rdkit import Chem, rdBase

from molvae.chem.molecules import Mol, parse
from molvae.search.proposals import operations
from molvae.search.proposals.editable import BOND_TYPES, Editable, Half, finish, write
from molvae.search.proposals.operations import ELEMENTS, VALENCE

T = TypeVar("T")
Edit = Callable[[Editable, np.random.Generator], Chem.RWMol | None]
Edits = tuple[tuple[Edit, float], ...]  # with the weights they are drawn with

MAX_ATOMS = 60
_ATTEMPTS = 4  # draws of one crossover or mutation before it gives up
_TRIES_PER_CHILD = 20  # draws for each child wanted before `offspring` returns fewer


def crossover(mol_a: Mol, mol_b: Mol, rng: np.random.Generator, *, max_atoms: int = MAX_ATOMS) -> Mol | None:
    """A child with one part from each parent: an acyclic single bond, or two bonds of a ring, are cut in both.

    Returns a sanitised molecule of at most `max_atoms` heavy atoms, or None if a few draws gave none that is sane.
    """
    with rdBase.BlockLogs():
        return _crossover(Editable(mol_a), Editable(mol_b), rng, max_atoms)


def mutate(mol: Mol, rng: np.random.Generator, *, max_atoms: int = MAX_ATOMS) -> Mol | None:
    """A copy with one random edit: an atom appended, inserted, deleted or changed, a bond order changed, a ring made or
    broken, or two substituents swapped.

    Returns a sanitised molecule of at most `max_atoms` heavy atoms, or None if a few draws gave none that is sane.
    """
    with rdBase.BlockLogs():
        return _mutate(Editable(mol), rng, max_atoms)


def offspring(
    parents: Sequence[str],
    n: int,
    rng: np.random.Generator,
    *,
    weights: Sequence[float] | None = None,
    max_atoms: int = MAX_ATOMS,
    crossover_rate: float = 0.7,
    mutation_rate: float = 0.2,
    known: Container[str] = (),
    edits: Edits | None = None,
) -> list[str]:
    """Up to `n` distinct children of `parents` as canonical SMILES; a pure function of its arguments.

    Parameters
    ----------
    parents: SMILES; those that do not parse are left out.
    rng: a generator, e.g. `randomness.stream(seed, "offspring", round)`.
    weights: (len(parents),) non-negative chances of being drawn; equal by default.
    max_atoms: heavy atoms a child may have.
    crossover_rate: share of children made from two parents; the others are one parent's mutation.
    mutation_rate: share of the crossover children that are mutated as well.
    known: molecules not wanted, by canonical SMILES; parents are never returned.
    edits: what a mutation may do; EDITS by default.

    Fewer than `n` come back when the parents are too few or too small to have that many children.
    """
    records, chances = [], []
    for smiles, weight in zip(parents, weights if weights is not None else [1.0] * len(parents), strict=True):
        record = prepared(smiles)
        if record is not None and weight > 0:
            records.append(record)
            chances.append(float(weight))
    if not records:
        return []
    cumulative = list(accumulate(chances))
    own = {record.smiles for record in records}
    children: dict[str, None] = {}

    def draw() -> Editable:
        return records[min(bisect_right(cumulative, rng.random() * cumulative[-1]), len(records) - 1)]

    with rdBase.BlockLogs():
        for _ in range(_TRIES_PER_CHILD * n):
            if len(children) >= n:
                break
            if rng.random() < crossover_rate:
                child = _crossover(draw(), draw(), rng, max_atoms)
                if child is not None and rng.random() < mutation_rate:
                    child = _mutate(Editable(child), rng, max_atoms, edits)
            else:
                child = _mutate(draw(), rng, max_atoms, edits)
            smiles = write(child) if child is not None else None
            if smiles is not None and smiles not in own and smiles not in known:
                children.setdefault(smiles)
    return list(children)


@lru_cache(maxsize=512)
def prepared(smiles: str) -> Editable | None:
    """The prepared parent, kept: elites are drawn many times a round and stay elites for many rounds."""
    mol = parse(smiles)
    return Editable(mol) if mol is not None else None


# ---- crossover ------------------------------------------------------------------------------------------------------


def _crossover(a: Editable, b: Editable, rng: np.random.Generator, max_atoms: int) -> Mol | None:
    for _ in range(_ATTEMPTS):
        # Half the cuts go through a ring when both parents have one, as in the paper.
        through_ring = bool(a.ring_cuts and b.ring_cuts) and rng.random() < 0.5
        half_a, half_b = _draw_half(a, rng, through_ring), _draw_half(b, rng, through_ring)
        if half_a is None or half_b is None or half_a.n_atoms + half_b.n_atoms > max_atoms:
            continue
        child = finish(join(half_a, half_b, rng), max_atoms)
        if child is not None:
            return child
    return None


def _draw_half(parent: Editable, rng: np.random.Generator, through_ring: bool) -> Half | None:
    if through_ring:
        halves = parent.halves(_pick(rng, parent.ring_cuts))
    else:
        halves = parent.halves((_pick(rng, parent.cuttable),)) if parent.cuttable else ()
    return _pick(rng, halves) if halves else None


def join(a: Half, b: Half, rng: np.random.Generator) -> Chem.RWMol:
    child = Chem.RWMol(Chem.CombineMols(a.mol, b.mol))
    ends_b = b.ends if len(b.ends) == 1 or rng.random() < 0.5 else b.ends[::-1]
    for (i, order_a), (j, order_b) in zip(a.ends, ends_b, strict=True):
        # Both atoms have this much free valence, because they gave up bonds of these orders.
        order = min(order_a, order_b)
        if child.GetBondBetweenAtoms(i, a.n_atoms + j) is None:  # two ends may sit on one atom
            child.AddBond(i, a.n_atoms + j, BOND_TYPES[order])
    return child


# ---- mutation -------------------------------------------------------------------------------------------------------


def _mutate(parent: Editable, rng: np.random.Generator, max_atoms: int, edits: Edits | None = None) -> Mol | None:
    for _ in range(_ATTEMPTS):
        edited = _weighted(rng, edits or EDITS)(parent, rng)
        child = finish(edited, max_atoms) if edited is not None else None
        if child is not None:
            return child
    return None


def _append_atom(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A new atom in place of one or more hydrogens."""
    if not p.open_atoms:
        return None
    i = _pick(rng, p.open_atoms)
    number = _element(rng, least_valence=1)
    order = min(p.hydrogens[i], VALENCE[number], _weighted(rng, ((1, 0.75), (2, 0.2), (3, 0.05))))
    return operations.append_atom(p, i, number, order)


def _insert_atom(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A new atom inside a bond; a multiple bond becomes two single ones."""
    if not p.editable_bonds:
        return None
    b = _pick(rng, p.editable_bonds)
    return operations.insert_atom(p, b, _element(rng, least_valence=2))


def _delete_atom(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """An end atom removed, or an atom between two others removed and these two joined."""
    i = int(rng.random() * p.n_atoms)
    return operations.delete_atom(p, i) if operations.can_delete(p, i) else None


def _change_atom(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """Another element, uncharged, where the bonds of the atom allow it."""
    i = int(rng.random() * p.n_atoms)
    if i in p.fixed:
        return None
    used = p.used[i]
    number = _element(rng, least_valence=used) if used <= 4 else None
    if number is None or (number == p.atoms[i].GetAtomicNum() and not p.charges[i]):
        return None
    return operations.change_atoms(p, {i: number})


def _change_bond_order(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A single, double or triple bond turned into another of these, as far as hydrogens allow."""
    if not p.editable_bonds:
        return None
    b = _pick(rng, p.editable_bonds)
    choices = operations.other_orders(p, b)
    return operations.set_orders(p, {b: _pick(rng, choices)}) if choices else None


def _make_ring(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A bond between two atoms with hydrogens; the size of the new ring is drawn, mostly 5 or 6."""
    if len(p.open_atoms) < 2:
        return None
    size = _weighted(rng, ((3, 0.05), (4, 0.05), (5, 0.4), (6, 0.4), (7, 0.1)))
    i = _pick(rng, p.open_atoms)
    others = [j for j in p.open_atoms if p.distances[i, j] == size - 1]
    return operations.join_atoms(p, i, _pick(rng, others)) if others else None


def _break_ring(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A bond of a ring removed."""
    cyclic = [b for b in p.editable_bonds if b in p.ring_bonds]
    return operations.remove_bond(p, _pick(rng, cyclic)) if cyclic else None


def _swap_groups(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """Two substituents, each behind an acyclic single bond, change places."""
    if len(p.cuttable) < 2:
        return None
    first, second = p.bonds[_pick(rng, p.cuttable)], p.bonds[_pick(rng, p.cuttable)]
    ends = {*first[:2], *second[:2]}
    if len(ends) < 4:
        return None
    # On a path first-...-second the inner ends stay, the outer ends are exchanged.
    _, core_1, core_2 = min((p.distances[i, j], i, j) for i in first[:2] for j in second[:2])
    group_1, group_2 = sum(first[:2]) - core_1, sum(second[:2]) - core_2
    edited = Chem.RWMol(p.mol)
    edited.RemoveBond(core_1, group_1)
    edited.RemoveBond(core_2, group_2)
    edited.AddBond(core_1, group_2, BOND_TYPES[1])
    edited.AddBond(core_2, group_1, BOND_TYPES[1])
    return edited


def _move_group(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """A substituent behind an acyclic single bond, on another atom of the rest."""
    if not p.cuttable:
        return None
    ends = p.bonds[_pick(rng, p.cuttable)][:2]
    core, group = ends if rng.random() < 0.5 else ends[::-1]
    others = [k for k in p.open_atoms if p.distances[k, core] < p.distances[k, group] and k != core]
    if not others:
        return None
    edited = Chem.RWMol(p.mol)
    edited.RemoveBond(core, group)
    edited.AddBond(_pick(rng, others), group, BOND_TYPES[1])
    return edited


def _exchange_atoms(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """Two atoms of different elements, uncharged, in each other's place, where the bonds of both places allow it."""
    i = int(rng.random() * p.n_atoms)
    others = [k for k in range(p.n_atoms) if operations.can_exchange(p, i, k)]
    if not others:
        return None
    j = _pick(rng, others)
    return operations.change_atoms(p, {i: p.atoms[j].GetAtomicNum(), j: p.atoms[i].GetAtomicNum()})


def _move_unsaturation(p: Editable, rng: np.random.Generator) -> Chem.RWMol | None:
    """One order of a multiple bond, to another bond whose two atoms have hydrogens to give."""
    multiple = [b for b in p.editable_bonds if p.bonds[b][2] > 1]
    if not multiple:
        return None
    lowered = _pick(rng, multiple)
    free = dict(enumerate(p.hydrogens))
    for k in p.bonds[lowered][:2]:
        free[k] += 1
    others = [
        b for b in p.editable_bonds if b != lowered and p.bonds[b][2] < 3 and free[p.bonds[b][0]] and free[p.bonds[b][1]]
    ]
    if not others:
        return None
    raised = _pick(rng, others)
    return operations.set_orders(p, {lowered: p.bonds[lowered][2] - 1, raised: p.bonds[raised][2] + 1})


# Equal chances as in the paper, except for swaps, which only rearrange.
EDITS: Edits = (
    (_append_atom, 0.15),
    (_insert_atom, 0.14),
    (_delete_atom, 0.15),
    (_change_atom, 0.15),
    (_change_bond_order, 0.14),
    (_make_ring, 0.10),
    (_break_ring, 0.07),
    (_swap_groups, 0.10),
)
# What keeps the formula: a score that asks for one is lost by every other edit.
REARRANGEMENTS: Edits = ((_move_group, 0.15), (_exchange_atoms, 0.10), (_move_unsaturation, 0.05))


# ---- draws ----------------------------------------------------------------------------------------------------------


def _pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def _weighted(rng: np.random.Generator, items: Sequence[tuple[T, float]]) -> T:
    draw = rng.random() * math.fsum(weight for _, weight in items)
    for item, weight in items:
        draw -= weight
        if draw < 0:
            return item
    return items[-1][0]


def _element(rng: np.random.Generator, least_valence: int) -> int:
    return _weighted(rng, [(number, weight) for number, valence, weight in ELEMENTS if valence >= least_valence])
