"""Similarity within and between sets of molecules, from packed Morgan bits (radius 2).

With x and y bits of two molecules, the Tanimoto coefficient is T(x, y) = |x and y| / |x or y|; 1 for two empty ones.
SNN and internal diversity: MOSES (Polykovskiy et al. 2020, Front. Pharmacol. 11:565644), which uses 1024 bits. Nearest
molecules of one set: GuacaMol (Brown et al. 2019, J. Chem. Inf. Model. 59:1096), which uses 4096.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from molvae.chem import Mol, count_fingerprints

BITS = 1024
_BLOCK = 512  # rows and columns at once: the coefficients of a block stay in the processor's cache
_RARE = 0.03  # a bit that is set in a smaller share of the molecules is rare
Progress = Callable[[int, int], None] | None


def morgan_bits(mols: Sequence[Mol], size: int = BITS) -> np.ndarray:
    """(n, size / 8) uint8: packed Morgan bits of radius 2. Memory is 16 times that for a moment; give chunks."""
    return np.packbits(count_fingerprints(mols, "morgan2", size) > 0, axis=1)


def nearest_neighbour_similarity(bits: np.ndarray, reference: np.ndarray, progress: Progress = None) -> float:
    """Similarity to the nearest neighbour, SNN(G, R) = 1/|G| sum_{x in G} max_{y in R} T(x, y). NaN for an empty set.

    bits, reference: packed bits of the two sets, (n, B) and (m, B) uint8. Repetitions in G count, as in MOSES.
    """
    if not len(bits) or not len(reference):
        return math.nan
    nearest = np.zeros(len(bits))
    blocks = math.ceil(len(bits) / _BLOCK)
    for rows, columns, shares in _coefficients(bits, reference):
        np.maximum(nearest[rows], shares.max(axis=1), out=nearest[rows])
        if progress and columns.stop >= len(reference):
            progress(rows.start // _BLOCK + 1, blocks)
    return float(nearest.mean())


def internal_diversity(bits: np.ndarray, progress: Progress = None) -> tuple[float, float]:
    """IntDiv_1 and IntDiv_2 of a set G given as packed bits (n, B) uint8; NaN for an empty one.

        IntDiv_p(G) = 1 - 1/|G| sum_{x in G} ( 1/|G| sum_{y in G} T(x, y)^p )^(1/p)

    Self-pairs and repetitions count. MOSES's paper writes the root around the mean over all pairs; its code takes the root
    molecule by molecule, before the outer mean, and so does this. (For p = 1 they agree.)
    """
    if not len(bits):
        return math.nan, math.nan
    first, second = np.zeros(len(bits)), np.zeros(len(bits))
    for rows, columns, shares in _coefficients(bits, bits, symmetric=True):
        for sums, power in ((first, shares), (second, shares * shares)):
            sums[rows] += power.sum(axis=1, dtype=np.float64)
            if columns.start > rows.start:  # the mirror image of the block
                sums[columns] += power.sum(axis=0, dtype=np.float64)
        if progress and columns.stop >= len(bits):
            progress(rows.stop, len(bits))
    n = len(bits)
    return float(1 - (first / n).mean()), float(1 - np.sqrt(second / n).mean())


def nearest_of_its_own(bits: np.ndarray, progress: Progress = None) -> np.ndarray:
    """(n,) float64: max_{j != i} T(x_i, x_j) for each molecule of a set given as packed bits; 0 for a set of one."""
    nearest = np.zeros(len(bits))
    for rows, columns, shares in _coefficients(bits, bits, symmetric=True):
        if columns.start == rows.start:
            np.fill_diagonal(shares, 0.0)
        np.maximum(nearest[rows], shares.max(axis=1), out=nearest[rows])
        np.maximum(nearest[columns], shares.max(axis=0), out=nearest[columns])
        if progress and columns.stop >= len(bits):
            progress(rows.stop, len(bits))
    return nearest


def _coefficients(
    bits: np.ndarray, others: np.ndarray, *, symmetric: bool = False
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Blocks of Tanimoto coefficients, float32, with their rows and columns; the upper triangle of blocks if symmetric.

    Most bits are set in few molecules: those are counted in a sparse product, and only the others in a dense one.
    """
    left_sizes, right_sizes = _sizes(bits), _sizes(others)
    strips = 8 * _BLOCK  # unpacked once for many blocks
    common = np.unpackbits(others[:strips], axis=1).mean(axis=0) > _RARE
    for top in range(0, len(bits), strips):
        left, left_rare = _unpacked(bits[top : top + strips], common)
        for strip in range(top if symmetric else 0, len(others), strips):
            right, right_rare = _unpacked(others[strip : strip + strips], common)
            for first in range(top, min(top + strips, len(bits)), _BLOCK):
                rows = slice(first, min(first + _BLOCK, len(bits)))
                here = slice(first - top, rows.stop - top)
                begin = max(0, first - strip) if symmetric else 0
                shared_strip = left[here] @ right[begin:].T
                rare = (left_rare[here] @ right_rare[begin:].T).tocoo()
                shared_strip[rare.row, rare.col] += rare.data
                for start in range(0, shared_strip.shape[1], _BLOCK):
                    shared = shared_strip[:, start : start + _BLOCK]
                    columns = slice(strip + begin + start, strip + begin + start + shared.shape[1])
                    either = left_sizes[rows, None] + right_sizes[None, columns] - shared
                    empty = either == 0
                    if empty.any():
                        yield rows, columns, np.where(empty, np.float32(1), shared / np.where(empty, np.float32(1), either))
                    else:
                        yield rows, columns, shared / either


def _unpacked(bits: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, csr_matrix]:
    """(n, number of common bits) float32, and the other bits as a sparse matrix; both exact: the numbers are small."""
    n, width = len(bits), len(common)
    rows, columns = np.divmod(np.flatnonzero(np.unpackbits(bits).view(bool)), width)
    is_common = common[columns]
    dense = np.zeros((n, common.sum()), np.float32)
    dense[rows[is_common], (common.cumsum() - 1)[columns[is_common]]] = 1
    rare = rows[~is_common], columns[~is_common]
    return dense, csr_matrix((np.ones(len(rare[0]), np.float32), rare), (n, width))


def _sizes(bits: np.ndarray) -> np.ndarray:
    """Number of set bits of each row, float32 (exact: there are at most 4096)."""
    return np.bitwise_count(bits).sum(axis=1, dtype=np.uint16).astype(np.float32)
