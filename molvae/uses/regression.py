"""The two regressors that latents are probed with: ridge regression, and a Gaussian process with one length scale.

ridge  w = (X'X + a n 1)^-1 X'y, X and y centred; a is the best of ALPHAS on a fifth of the training rows that is held back.
       Predictions stay in the range of the training values, which a molecule with an outlandish descriptor would leave.
gp     k(x, x') = s^2 exp(-|x - x'|^2 / 2 l^2) + o^2 [x = x']; s, l and o maximise the marginal likelihood (Rasmussen &
       Williams 2006, equations 2.25, 2.30 and 5.9).

Features are taken as they are; `scaled` brings columns to mean 0 and variance 1 first.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky
from scipy.optimize import minimize

from molvae.randomness import stream

ALPHAS = tuple(10.0**k for k in range(-5, 4))
LARGEST = 5.0  # standard deviations that a scaled feature may be from its mean; descriptors have wild tails


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D), (m, D) with the training rows' mean 0 and variance 1, cut at 5 standard deviations, float64.

    What is not finite becomes the training median; columns without spread are left out.
    """
    train, test = train.astype(np.float64), test.astype(np.float64)
    columns = [np.where(np.abs(part) < 1e30, part, np.nan) for part in (train, test)]
    known = ~np.isnan(columns[0]).all(0)
    train, test = (part[:, known] for part in columns)
    middle = np.nanmedian(train, axis=0)
    train, test = (np.where(np.isnan(part), middle, part) for part in (train, test))
    mean, spread = train.mean(0), train.std(0)
    varied = spread > 1e-9 * np.maximum(np.abs(mean), 1.0)
    train, test = ((part - mean)[:, varied] / spread[varied] for part in (train, test))
    return np.clip(train, -LARGEST, LARGEST), np.clip(test, -LARGEST, LARGEST)


def ridge(train: np.ndarray, y: np.ndarray, test: np.ndarray, *, seed: int) -> np.ndarray:
    """(m,) predictions for test (m, D) from train (n, D) and y (n,). seed: which rows are held back to choose a."""
    held_back = np.zeros(len(y), bool)
    held_back[stream(seed, "ridge").permutation(len(y))[: max(1, len(y) // 5)]] = True
    tried = ridges(train[~held_back], y[~held_back], train[held_back], ALPHAS)
    errors = [np.square(found - y[held_back]).mean() for found in tried]
    return ridges(train, y, test, (ALPHAS[int(np.argmin(errors))],))[0]


def ridges(train: np.ndarray, y: np.ndarray, test: np.ndarray, alphas: tuple[float, ...]) -> list[np.ndarray]:
    """The (m,) predictions of ridge regression with each penalty."""
    mean, level = train.mean(0), y.mean()
    x, products = train - mean, (train - mean).T @ (train - mean)
    wanted, found = x.T @ (y - level), []
    for alpha in alphas:
        weighted = products.copy()
        weighted.flat[:: len(products) + 1] += alpha * len(y)
        weights = cho_solve(cho_factor(weighted, lower=True, overwrite_a=True), wanted)
        found.append(np.clip((test - mean) @ weights + level, y.min(), y.max()))
    return found


def gaussian_process(train: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """(m,) posterior means for test (m, D) from train (n, D) and y (n,); n^3 operations a step of the fit."""
    level, spread = y.mean(), y.std() or 1.0
    target, distances = (y - level) / spread, _squares(train, train)
    scale = np.sqrt(np.median(distances[np.triu_indices(len(y), 1)])) or 1.0
    # In units of the median distance, so that the bounds mean the same for all features.
    bounds = [(np.log(0.05), np.log(100.0)), (np.log(0.05), np.log(100.0)), (np.log(1e-3), np.log(3.0))]
    start, relative = np.log([1.0, 1.0, 0.3]), distances / scale**2
    best = minimize(
        _evidence, start, (relative, target), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}
    )
    length, signal, noise = np.exp(best.x)
    kernel = signal**2 * np.exp(-0.5 * relative / length**2)
    kernel.flat[:: len(y) + 1] += noise**2
    weights = cho_solve(cho_factor(kernel, lower=True), target)
    between = signal**2 * np.exp(-0.5 * _squares(test, train) / (scale * length) ** 2)
    return between @ weights * spread + level


def _evidence(log: np.ndarray, distances: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The negative log marginal likelihood of y (n,) and its gradient by the logs of length, signal and noise."""
    length, signal, noise = np.exp(log)
    smooth = signal**2 * np.exp(-0.5 * distances / length**2)
    kernel = smooth.copy()
    kernel.flat[:: len(y) + 1] += noise**2
    try:
        lower = cholesky(kernel, lower=True)
    except LinAlgError:
        return 1e25, np.zeros(3)
    inverse = cho_solve((lower, True), np.eye(len(y)))
    weights = inverse @ y
    value = 0.5 * y @ weights + np.log(np.diag(lower)).sum() + 0.5 * len(y) * np.log(2 * np.pi)
    outer = np.outer(weights, weights) - inverse
    gradient = (
        0.5 * np.sum(outer * smooth * distances) / length**2,
        np.sum(outer * smooth),
        noise**2 * np.trace(outer),
    )
    return float(value), -np.array(gradient)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) squared Euclidean distances."""
    found = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2.0 * a @ b.T
    return np.maximum(found, 0.0)
