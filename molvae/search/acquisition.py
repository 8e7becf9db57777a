"""Acquisition: which candidates are worth measuring, given the surrogate's mean and variance.

Upper confidence bounds with weights drawn log-uniformly (as in Tripp & Hernandez-Lobato, arXiv:2406.07709), expected
improvement (Jones et al., J. Glob. Optim. 13:455, 1998), and Thompson sampling (Biometrika 25:285, 1933). Batches are
diversified by conditioning the variance on what is already chosen (GP-BUCB: Desautels et al., JMLR 15:3873, 2014), those of
Thompson sampling by joint draws.

Shapes: C candidates, B members of a batch, M surrogates; member b asks surrogate b % M.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from molvae.errors import UnknownName, nearest


class Acquisition(ABC):
    """What a round wants: the worth of candidates to each of the B members of its batch, and the batch."""

    @abstractmethod
    def values(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """(B, C): worth of each candidate to each member; mean and variance (M, C)."""

    @abstractmethod
    def choose(self, mean: np.ndarray, covariance: np.ndarray, noise: float) -> list[int]:
        """Positions of at most B candidates, none twice; mean (M, C), covariance (M, C, C) of the noise-free scores."""


class ConfidenceBounds(Acquisition):
    """Upper confidence bounds with `n` weights from `low` to `high`, in standard deviations."""

    def __init__(self, n: int, rng: np.random.Generator, low: float, high: float) -> None:
        self.weights = ucb_weights(n, rng, low, high)

    def values(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return upper_confidence_bounds(mean, variance, self.weights)

    def choose(self, mean: np.ndarray, covariance: np.ndarray, noise: float) -> list[int]:
        return choose_batch(mean, covariance, self.weights, noise)


class ExpectedImprovement(Acquisition):
    """Expected amount by which a score exceeds `best`, the same for all members of the batch."""

    def __init__(self, n: int, best: float) -> None:
        self.n, self.best = n, best

    def values(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return expected_improvement(mean, variance, self.best)[np.arange(self.n) % len(mean)]

    def choose(self, mean: np.ndarray, covariance: np.ndarray, noise: float) -> list[int]:
        def worth(b: int, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
            return expected_improvement(mean, np.maximum(sd, 1e-9) ** 2, self.best)

        return _one_by_one(mean, covariance, self.n, worth, noise)


class ThompsonSampling(Acquisition):
    """A posterior sample for each member, which takes the sample's best candidate that is left.

    `values` draws each candidate by itself, which is enough to choose parents by and needs no covariance of a large pool.
    """

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng

    def values(self, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        member = np.arange(self.n) % len(mean)
        return mean[member] + np.sqrt(variance)[member] * self.rng.standard_normal((self.n, mean.shape[1]))

    def choose(self, mean: np.ndarray, covariance: np.ndarray, noise: float) -> list[int]:
        jitter = noise * np.eye(mean.shape[1])
        roots = np.linalg.cholesky(covariance + jitter)
        chosen: list[int] = []
        for b in range(min(self.n, mean.shape[1])):
            sample = mean[b % len(mean)] + roots[b % len(mean)] @ self.rng.standard_normal(mean.shape[1])
            sample[chosen] = -np.inf
            chosen.append(int(np.argmax(sample)))
        return chosen


@dataclass(frozen=True)
class AcquisitionSettings:
    """Which acquisition a search uses: "ucb", "ei" or "thompson"; `low` and `high` are of "ucb". Raises UnknownName."""

    name: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.name not in ACQUISITIONS:
            known = ", ".join(ACQUISITIONS)
            raise UnknownName(f"no acquisition named {self.name!r}.{nearest(self.name, ACQUISITIONS)} Known: {known}.")

    def build(self, n: int, rng: np.random.Generator, best: float) -> Acquisition:
        """That of a round of `n` molecules, `best` the highest score so far in the surrogate's units."""
        if self.name == "ei":
            return ExpectedImprovement(n, best)
        return ThompsonSampling(n, rng) if self.name == "thompson" else ConfidenceBounds(n, rng, self.low, self.high)


ACQUISITIONS = ("ucb", "ei", "thompson")


def ucb_weights(n: int, rng: np.random.Generator, low: float = 0.01, high: float = 1.0) -> np.ndarray:
    """(n,) weights of the standard deviation, log-uniform in [low, high] and stratified, in random order.

    Stratified: each of n equal parts of the logarithmic range gives one weight, so that every batch holds bold and
    cautious members.
    """
    exponents = np.log10(low) + (np.log10(high) - np.log10(low)) * (np.arange(n) + rng.random(n)) / n
    return rng.permutation(10.0**exponents)


def upper_confidence_bounds(mean: np.ndarray, variance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, C): mean + weight * standard deviation under B weights; weight b asks surrogate b % M of the (M, C) given."""
    member = np.arange(len(weights)) % len(mean)
    return mean[member] + np.asarray(weights)[:, None] * np.sqrt(variance)[member]


def expected_improvement(mean: np.ndarray, variance: np.ndarray, best: float) -> np.ndarray:
    """(C,): expected amount by which the score exceeds `best`."""
    sd = np.sqrt(variance)
    u = (mean - best) / sd
    return sd * (norm.pdf(u) + u * norm.cdf(u))


def best_rank(bounds: np.ndarray) -> np.ndarray:
    """(C,): the best place (0 is first) that each candidate takes under any of the B rows of `bounds`, (B, C)."""
    order = np.argsort(-bounds, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(bounds.shape[1])[None, :], axis=1)
    return ranks.min(axis=0)


def choose_batch(mean: np.ndarray, covariance: np.ndarray, weights: np.ndarray, noise: float = 1e-4) -> list[int]:
    """Positions of a batch, one candidate for each of the weights, without repetition.

    Candidates are chosen one by one at the largest mean + weight * sd, choice b under surrogate b % M of mean (M, C) and
    covariance (M, C, C). After each choice all covariances are conditioned on it (means stay), so that near-copies of a
    chosen molecule lose their bonus.
    """
    return _one_by_one(mean, covariance, len(weights), lambda b, mean, sd: mean + weights[b] * sd, noise)


def _one_by_one(
    mean: np.ndarray,
    covariance: np.ndarray,
    n: int,
    worth: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
    noise: float,
) -> list[int]:
    covariance = covariance.copy()
    chosen: list[int] = []
    for b in range(min(n, mean.shape[1])):
        member = b % len(mean)
        value = worth(b, mean[member], np.sqrt(np.maximum(np.diag(covariance[member]), 0.0)))
        value[chosen] = -np.inf
        pick = int(np.argmax(value))
        chosen.append(pick)
        column = covariance[:, :, pick].copy()
        own = np.maximum(column[:, pick], 0.0)[:, None, None] + noise
        covariance -= column[:, :, None] * column[:, None, :] / own
    return chosen
