"""Credit: how much of the pool each proposal source may fill, by what it found; replayed from the history."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from molvae.history import History

TOP = 20  # a molecule is a win if it is among the best this many when it is measured
HALF_LIFE = 200  # calls after which a trial and a win count half
FLOOR = 0.5  # share of the pool that is spread evenly, so that no source is forgotten


def source_shares(history: History, sources: Sequence[str]) -> dict[str, float]:
    """Shares of the pool, adding up to 1: a floor for each source, the rest by discounted wins among the molecules tried.

    The rate (wins + 1) / (trials + 2) and not the number of wins, which would feed whatever has the largest share already.
    """
    wins: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    best: list[float] = []
    n_calls = len(history)
    for call, (source, score) in enumerate(zip(history.sources, history.scores.tolist(), strict=True)):
        weight = 0.5 ** ((n_calls - call) / HALF_LIFE)
        trials[source] += weight
        if not math.isnan(score) and (len(best) < TOP or score > best[0]):
            (heapq.heappush if len(best) < TOP else heapq.heapreplace)(best, score)
            wins[source] += weight
    rates = {name: (1.0 + wins[name]) / (2.0 + trials[name]) for name in sources}
    total = sum(rates.values())
    return {name: FLOOR / len(sources) + (1.0 - FLOOR) * rates[name] / total for name in sources}


def rank_weights(n: int, k: float) -> np.ndarray:
    """(n,) chances by rank, best first, adding up to 1: w_r in proportion to 1 / (k n + r)."""
    weights = 1.0 / (k * n + np.arange(n))
    return weights / weights.sum()
