"""Lineages: when the best molecules stop improving, breed a new family from scratch, then let the families mix.

A search that breeds from its best molecules ends in one family, and which family is decided by luck in its first rounds. A
new lineage starts from draws from the prior and breeds only from its own molecules; the surrogate has learned from all of
them what matters, so it climbs faster than the first did. When it has stopped improving as well, parents come from the whole
history again. As restarts of trust regions do (TuRBO, NeurIPS 2019), this is replayed from the history.
"""

from __future__ import annotations

import heapq
import math

from molvae.history import History

TOP = 10
GAIN = 0.01  # of the scores' scale: a smaller rise of the mean of the ten best ...
PATIENCE = 100  # ... in this many calls is a standstill


def lineage_start(history: History, scale: float = 1.0) -> int:
    """Position of the first evaluation that may have children; 0 while the whole history may.

    `scale`: what counts as one unit of score, see `surrogate.score_units`.
    """
    scores, rounds = history.scores.tolist(), history.rounds.tolist()
    everyone: list[float] = []  # the ten best of the history, and of the present lineage
    lineage: list[float] = []
    start, fresh, mark_call, mark = 0, False, 0, -math.inf
    for call, score in enumerate(scores, 1):
        if not math.isnan(score):
            for best in (everyone, lineage):
                (heapq.heappush if len(best) < TOP else heapq.heappushpop)(best, score)
        if call < len(scores) and rounds[call] == rounds[call - 1]:
            continue
        best = lineage if fresh else everyone
        mean = sum(best) / len(best) if len(best) == TOP else -math.inf
        if mean >= mark + GAIN * scale:
            mark_call, mark = call, mean
        elif call - mark_call >= PATIENCE:
            fresh = not fresh
            start, lineage = (call, []) if fresh else (0, lineage)
            mark_call, mark = call, -math.inf if fresh else sum(everyone) / max(1, len(everyone))
    return start
