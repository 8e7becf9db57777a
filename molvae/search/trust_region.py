"""A trust region: a box around the incumbent that grows with successes and shrinks with failures (TuRBO).

Eriksson et al., "Scalable Global Optimization via Local Bayesian Optimization", NeurIPS 2019, section 2 and supplement. The
region is a frozen value; `replay` recomputes it from the history, so nothing has to be saved with a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from molvae.history import History


@dataclass(frozen=True)
class TrustRegion:
    """Side length of the box, in units of the normalised search space [0, 1]^D, and how it got there.

    Attributes
    ----------
    length: side length; the constants are those of the paper.
    best: best score since this region began; -inf before the first.
    successes, failures: rounds in a row that did, or did not, improve on `best`.
    success_tolerance, failure_tolerance: rounds in a row after which the length doubles, or halves.
    """

    failure_tolerance: int
    success_tolerance: int = 3
    length: float = 0.8
    length_min: float = 0.5**7
    length_max: float = 1.6
    best: float = -math.inf
    successes: int = 0
    failures: int = 0

    @property
    def collapsed(self) -> bool:
        """The box is smaller than `length_min`: this region has found what it can, and another should begin elsewhere."""
        return self.length < self.length_min

    def update(self, score: float) -> TrustRegion:
        """The region after a round whose best score is `score` (NaN if all of it failed, which is a failure).

        A success improves on `best` by more than a thousandth of its size.
        """
        first = self.best == -math.inf
        if first or not score > self.best + 1e-3 * abs(self.best):
            successes, failures = 0, self.failures + (not first)
        else:
            successes, failures = self.successes + 1, 0
        length = self.length
        if successes == self.success_tolerance:
            length, successes = min(2.0 * length, self.length_max), 0
        elif failures == self.failure_tolerance:
            length, failures = length / 2.0, 0
        best = max(self.best, score) if score == score else self.best
        return replace(self, length=length, best=best, successes=successes, failures=failures)


def replay(history: History, region: TrustRegion) -> tuple[TrustRegion, int]:
    """The trust region after the history, and the round in which it began.

    `region` is the state that every region begins with. When one collapses, the next begins with the following round and
    sees only the rounds from there on.
    """
    first_round, current = 0, region
    for number in range(history.n_rounds):
        scores = [e.score for e in history.round(number) if not e.failed]
        current = current.update(max(scores) if scores else np.nan)
        if current.collapsed:
            first_round, current = number + 1, region
    return current, first_round
