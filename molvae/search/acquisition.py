"""Acquisition: which candidates are worth measuring, given the surrogate's mean and variance.

Upper confidence bounds with weights drawn log-uniformly (as in Tripp & Hernandez-Lobato, arXiv:2406.07709), expected
improvement (Jones et al., J. Glob. Optim. 13:455, 1998), and batches diversified by conditioning the variance on what is
already chosen (GP-BUCB: Desautels et al., JMLR 15:3873, 2014).

Shapes: C candidates, B weights or members of a batch, M surrogates.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm


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
    covariance = covariance.copy()
    chosen: list[int] = []
    for b, weight in enumerate(weights[: mean.shape[1]]):
        member = b % len(mean)
        bound = mean[member] + weight * np.sqrt(np.maximum(np.diag(covariance[member]), 0.0))
        bound[chosen] = -np.inf
        pick = int(np.argmax(bound))
        chosen.append(pick)
        column = covariance[:, :, pick].copy()
        own = np.maximum(column[:, pick], 0.0)[:, None, None] + noise
        covariance -= column[:, :, None] * column[:, None, :] / own
    return chosen
