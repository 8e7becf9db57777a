"""Children of molecules by edits of their SELFIES symbols, as in STONED (Nigam et al., Chem. Sci. 12:7079, 2021).

A parent is written from a random atom in a random order, and one to three of its symbols are replaced, inserted or deleted.
Every such string is some molecule; the sanity rules of the graph edits keep out what the grammar's repairs make of it, which
STONED does not do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Sequence
from functools import cache, lru_cache
from itertools import accumulate

import numpy as np
import selfies
from rdkit import Chem, rdBase

from molvae.chem.molecules import Mol, canonical, parse
from molvae.history import History, Proposal
from molvae.search.proposals.base import PROPOSALS, ProposalSource
from molvae.search.proposals.editable import finish
from molvae.search.proposals.graph_edits import MAX_ATOMS
from molvae.search.space import SearchSpace
from molvae.strings.tokens import Vocabulary, constraint_table

_ORDERS = 5  # ways a parent is written; encoding costs more than editing
_TRIES_PER_CHILD = 20  # strings written for each child wanted before fewer are returned


def selfies_offspring(
    parents: Sequence[str],
    n: int,
    rng: np.random.Generator,
    *,
    vocabulary: Vocabulary,
    by_use: bool = True,
    max_edits: int = 3,
    max_atoms: int = MAX_ATOMS,
    known: Container[str] = (),
) -> list[str]:
    """Up to `n` distinct children of `parents` as canonical SMILES; a pure function of its arguments.

    Parameters
    ----------
    parents: canonical SMILES; those that do not parse, or that SELFIES cannot say, have no children.
    vocabulary: its symbols are what may be written.
    by_use: whether symbols that the parents use often are written more often; else all with equal chances, as in STONED.
    max_edits: symbol edits of a child, from 1 to this number with equal chances.
    max_atoms: heavy atoms a child may have.
    known: molecules not wanted; parents are never returned.
    """
    mols = [mol for mol in map(_parsed, parents) if mol is not None]
    if not mols:
        return []
    symbols, cumulative = _symbol_chances(mols if by_use else (), vocabulary)
    unwanted = set(parents)
    orders: dict[tuple[int, int], list[str] | None] = {}
    children: dict[str, None] = {}
    for _ in range(_TRIES_PER_CHILD * n):
        if len(children) >= n:
            break
        parent, order = int(rng.random() * len(mols)), int(rng.random() * _ORDERS)
        if (parent, order) not in orders:
            orders[parent, order] = write_in_random_order(mols[parent], rng, vocabulary)
        written = orders[parent, order]
        if written is None:
            continue
        for _ in range(1 + int(rng.random() * max_edits)):
            draw = rng.random() * cumulative[-1]
            written = edit(written, symbols[min(bisect_right(cumulative, draw), len(symbols) - 1)], rng)
        smiles = vocabulary.derive("".join(written)).smiles
        if smiles is not None and smiles not in unwanted and smiles not in known and _is_sane(smiles, max_atoms):
            children.setdefault(smiles)
    return list(children)


@PROPOSALS.register("selfies_mutation")
class SelfiesMutation(ProposalSource):
    """One or a few symbols of a parent's SELFIES replaced, inserted or deleted, the symbols drawn as parents use them.

    Stereo marks of parents are dropped, as in STONED.

    Parameters
    ----------
    max_edits: symbols edited in a child, from 1 to this number.
    """

    name = "selfies_mutation"

    def __init__(self, space: SearchSpace, *, max_edits: int = 3) -> None:
        super().__init__(space)
        self.require_positive(max_edits=max_edits)
        self.max_edits = max_edits

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        flat = list(dict.fromkeys(s for s in (without_stereo(p.smiles) for p in parents) if s is not None))
        children = selfies_offspring(flat, n, rng, vocabulary=vocabulary_for(flat), max_edits=self.max_edits)
        return [Proposal(smiles, self.name) for smiles in children]


def vocabulary_for(parents: Sequence[str]) -> Vocabulary:
    """SELFIES' robust alphabet, and the symbols that `parents` (canonical SMILES) are written with beside it."""
    robust = Vocabulary.build([robust_symbols()])
    written = (robust.to_selfies(smiles)[0] for smiles in parents)
    return robust.extended(text for text in written if text is not None)


@cache
def robust_symbols() -> str:
    """SELFIES' own alphabet under its default constraints, as one string: every string of these symbols is a molecule."""
    with constraint_table(selfies.get_preset_constraints("default")):
        return "".join(sorted(selfies.get_semantic_robust_alphabet()))


def without_stereo(smiles: str) -> str | None:
    """Canonical SMILES without stereo marks, None if there is no molecule: SELFIES of centres take symbols of their own."""
    mol = parse(smiles)
    return None if mol is None else canonical(Chem.MolToSmiles(mol, isomericSmiles=False))


def write_in_random_order(mol: Mol, rng: np.random.Generator, vocabulary: Vocabulary) -> list[str] | None:
    """SELFIES symbols of `mol`, its atoms numbered at random first; None if SELFIES or the vocabulary cannot say it.

    RDKit's own random writer draws from a generator that cannot be given.
    """
    shuffled = Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist())
    string, _ = vocabulary.to_selfies(Chem.MolToSmiles(shuffled, canonical=False))
    if string is None:
        return None
    symbols = list(selfies.split_selfies(string))
    return symbols if set(symbols) <= set(vocabulary.symbols) else None


def edit(symbols: Sequence[str], symbol: str, rng: np.random.Generator) -> list[str]:
    """A copy with `symbol` in place of a random one, inserted at a random place, or with a random one deleted.

    A string of one symbol is not made empty: there the symbol is replaced.
    """
    position, kind = int(rng.random() * len(symbols)), int(rng.random() * 3)
    if kind == 0 and len(symbols) > 1:
        return [*symbols[:position], *symbols[position + 1 :]]
    if kind == 1:
        position = int(rng.random() * (len(symbols) + 1))
        return [*symbols[:position], symbol, *symbols[position:]]
    return [*symbols[:position], symbol, *symbols[position + 1 :]]


def _symbol_chances(mols: Sequence[Mol], vocabulary: Vocabulary) -> tuple[list[str], list[float]]:
    """The vocabulary's symbols, and their cumulative chances: one more than how often the parents use them."""
    used: Counter[str] = Counter()
    for mol in mols:
        string, _ = vocabulary.to_selfies(Chem.MolToSmiles(mol))
        used.update(selfies.split_selfies(string) if string is not None else ())
    symbols = list(vocabulary.symbols)
    return symbols, list(accumulate(1.0 + used[symbol] for symbol in symbols))


def _is_sane(smiles: str, max_atoms: int) -> bool:
    mol = parse(smiles)
    if mol is None or any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return False
    with rdBase.BlockLogs():
        return finish(Chem.RWMol(mol), max_atoms) is not None


@lru_cache(maxsize=4096)
def _parsed(smiles: str) -> Mol | None:
    return parse(smiles)
