"""A trust region: a box around the incumbent that grows with successes and shrinks with failures (TuRBO).

Eriksson et al., "Scalable Global Optimization via Local Bayesian Optimization", NeurIPS 2019, section 2 and supplement. The
region is a frozen value; `replay` recomputes it from the history, so nothing has to be saved with a run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from molvae.history import History

HALF_WIDTH = 4.0  # standard deviations of the prior on either side of its mean
PERTURBED = 20  # coordinates of a candidate that differ from the centre, on average


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


def replay_source(history: History, source: str, top: int, region: TrustRegion) -> TrustRegion:
    """The trust region of one proposal source among others; `region` is the state that it begins with, and again after a
    collapse.

    Rounds without a molecule of the source count for nothing. Others are a success if one of its molecules is better than
    what was the `top`-th best before the round, with the margin of `TrustRegion.update`, and count for nothing as long as
    fewer than `top` molecules have a value.
    """
    current, best = region, []
    for number in range(history.n_rounds):
        evaluations = history.round(number)
        own = [e.score for e in evaluations if e.source == source]
        if own:
            mark = best[-1] if len(best) == top else -math.inf
            finite = [score for score in own if score == score]
            current = replace(current, best=mark).update(max(finite) if finite else math.nan)
            current = region if current.collapsed else current
        best = sorted([*best, *(e.score for e in evaluations if not e.failed)], reverse=True)[:top]
    return current


def to_box(z: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(N, D) latents in the units of the trust region, where the prior's mean +- `HALF_WIDTH` of its `sd` is [0, 1]^D."""
    return 0.5 + (z - mean) / (2.0 * HALF_WIDTH * sd)


def from_box(x: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """The latents (N, D) that `to_box` brings to x."""
    return mean + (x - 0.5) * 2.0 * HALF_WIDTH * sd


def sparse_perturbations(centre: np.ndarray, side: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, D) points of the box of sides `side` (D,) around `centre`, cut to [0, 1]^D; each differs from the centre in a
    random subset of coordinates, each with chance min(20 / D, 1) and at least one."""
    d = len(centre)
    low, high = np.clip(centre - side / 2.0, 0.0, 1.0), np.clip(centre + side / 2.0, 0.0, 1.0)
    moved = rng.random((n, d)) < min(PERTURBED / d, 1.0)
    still = np.flatnonzero(~moved.any(axis=1))
    moved[still, rng.integers(d, size=len(still))] = True
    return np.where(moved, low + (high - low) * rng.random((n, d)), centre)
