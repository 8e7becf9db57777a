"""How good a search was, by the definitions of the PMO benchmark (Gao et al. 2022, arXiv:2206.12411).

The curve of a search is t(c), the mean of the k best scores among its first c oracle calls. Its area by PMO's rules:

    AUC = 1/B * [ sum_j (c_j - c_{j-1}) * (t(c_j) + t(c_{j-1})) / 2  +  (B - n) * t(n) ]

with c_0 = 0 and t(0) = 0, c_j = 100, 200, ... below n, and a last point at n, the number of calls made (at most the budget
B). The last term is the flat padding of a search that stopped early because it had finished; it is left out for a search
that was cut off, whose remaining area counts as 0.

An oracle call is one new molecule. A failed measurement (NaN) is a call, but never among the k best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from molvae.chem import parse, scaffold


def top_k(scores: npt.ArrayLike, k: int = 10) -> float:
    """Mean of the `k` highest finite scores; of all finite ones if there are fewer; NaN if there is none."""
    values = np.asarray(scores, dtype=np.float64)
    best = np.sort(values[~np.isnan(values)])[::-1][:k]
    return float(best.mean()) if len(best) else float("nan")


def auc_top_k(scores: npt.ArrayLike, *, k: int = 10, budget: int = 10_000, step: int = 100, finished: bool = True) -> float:
    """Area under the top-k curve, divided by the budget (the formula is at the head of this file).

    Parameters
    ----------
    scores: (N,) values to be maximised, in call order, one for each distinct molecule; NaN where a measurement failed.
        Calls beyond `budget` are not counted.
    finished: whether a search with N < budget stopped by its own decision (flat padding) or was cut off (no padding).

    Returns a number on the scale of the scores; 0 for no calls. As long as every call has failed the curve stays at the
    0 it starts from.

    >>> auc_top_k([1.0] * 100, k=10, budget=100, step=100)
    0.5
    """
    values = np.asarray(scores, dtype=np.float64)[:budget]
    n_calls = len(values)
    area = previous = 0.0
    called = 0
    for calls in [*range(step, n_calls, step), n_calls]:
        now = top_k(values[:calls], k)
        now = 0.0 if np.isnan(now) else now
        area += (calls - called) * (now + previous) / 2
        previous, called = now, calls
    if finished:
        area += (budget - n_calls) * previous
    return float(area / budget)


def first_calls(smiles: Sequence[str], scores: npt.ArrayLike) -> tuple[list[str], np.ndarray]:
    """The molecules and scores of a journal with repeats, each molecule at its first call only: repeats are free.

    smiles: (N,) canonical isomeric SMILES in call order. scores: (N,). Raises ValueError if the lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    if len(values) != len(smiles):
        raise ValueError(f"{len(smiles)} molecules but {len(values)} scores")
    position = {text: i for i, text in reversed(list(enumerate(smiles)))}
    kept = sorted(position.values())
    return [smiles[i] for i in kept], values[kept]


def best_molecules(smiles: Sequence[str], scores: npt.ArrayLike, k: int = 10) -> list[str]:
    """The `k` molecules with the highest finite scores, best first; of equals, the one measured first."""
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")  # NaN sorts last
    return [smiles[i] for i in order[:k] if not np.isnan(values[i])]


def distinct_scaffolds(smiles: Sequence[str]) -> int:
    """Number of different Bemis-Murcko scaffolds (J. Med. Chem. 39:2887, 1996), stereo ignored.

    All acyclic molecules share one (empty) scaffold. Strings that are not molecules are not counted.
    """
    return len({scaffold(mol) for mol in map(parse, smiles) if mol is not None})
