"""The surrogate: an exact Gaussian process on the decoded molecule, in natural units of the score.

Kernel: a weighted sum of min-max Tanimoto kernels on count fingerprints and, for every vector (descriptors, and the latent
if asked for), an RBF with a length for each of its entries. Prior mean 0 and noise 1e-4 are fixed, as in the plain GP of
Tripp & Hernandez-Lobato (arXiv:2406.07709), which stands beside the best published searches. Weights and lengths are the
most probable ones under log-normal priors: which descriptors a score depends on shows after some tens of molecules, and is
worth more than any one kernel (benchmarks/README.md has the numbers).

Shapes: N training molecules, C candidates, M sets of hyper-parameters, K kernels (counts first, then vectors), P entries of
all vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse
from scipy.spatial.distance import cdist

from molvae.search.features import FeatureBatch, FeatureCache

if TYPE_CHECKING:
    from botorch.posteriors import GPyTorchPosterior

NOISE = 1e-4
WEIGHT_SD, LENGTH_SD = 2.0, 1.2  # of the log-normal priors


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """`weights`: (K,) variance of each kernel, squared units of the score. `lengths`: (P,) of the vectors' entries."""

    weights: np.ndarray
    lengths: np.ndarray


def count_kernels(a: FeatureBatch, b: FeatureBatch, kinds: Sequence[str]) -> np.ndarray:
    """(len(kinds), A, B) float32: the min-max Tanimoto kernel of each kind; 1 between equal counts."""
    kernels = [_min_max(a.counts[kind], b.counts[kind], *b.columns[kind]) for kind in kinds]
    return np.stack(kernels) if kernels else np.zeros((0, len(a), len(b)), dtype=np.float32)


def _min_max(a: scipy.sparse.csr_matrix, b: scipy.sparse.csr_matrix, columns: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """(A, B) float32 min-max Tanimoto of written-out counts; 1 between two molecules without features.

    columns, entries: of b, as in `FeatureBatch.columns`.
    """
    n_common = np.searchsorted(columns, a.shape[1])
    shared = np.asarray(a[:, columns[:n_common]] @ entries[:n_common], dtype=np.float32)
    total = np.diff(a.indptr)[:, None].astype(np.float32) + np.diff(b.indptr)[None, :].astype(np.float32)
    return np.where(total == 0.0, np.float32(1.0), shared / np.maximum(total - shared, 1.0))


def _rbf(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * cdist(a, b, "sqeuclidean"))


class _Member:
    """One Gaussian process: hyper-parameters, and the Cholesky factor and weights of the training data under them."""

    def __init__(self, hyperparameters: Hyperparameters, noise: float) -> None:
        self.hyperparameters = hyperparameters
        self.noise = noise

    def mix(self, counts: np.ndarray, a: FeatureBatch, b: FeatureBatch) -> np.ndarray:
        """(A, B) float64 covariance from the count kernels, one (A, B) each, and the vectors."""
        mixed, first = np.zeros((len(a), len(b))), 0
        for name, weight in zip(a.vectors, self.hyperparameters.weights[len(counts) :], strict=True):
            x, other = a.vectors[name], b.vectors[name]
            lengths = self.hyperparameters.lengths[first : first + x.shape[1]]
            mixed += weight * _rbf(x / lengths, other / lengths)
            first += x.shape[1]
        for weight, kernel in zip(self.hyperparameters.weights, counts, strict=False):
            mixed += weight * kernel
        return mixed

    def fit(self, covariance: np.ndarray, y: np.ndarray) -> None:
        covariance[np.diag_indices(len(y))] += self.noise
        self.cholesky = np.linalg.cholesky(covariance)
        self.alpha = scipy.linalg.cho_solve((self.cholesky, True), y, check_finite=False)

    def half(self, cross: np.ndarray) -> np.ndarray:
        """(N, C): the factor of what the data takes from the prior covariance of C candidates."""
        return scipy.linalg.solve_triangular(self.cholesky, cross.T, lower=True, check_finite=False)


class StructureGP:
    """Exact GPs on molecules, one for each of M sets of hyper-parameters, sharing features and kernels.

    `fit` it to measured scores; `predict`, `joint` and `posterior` answer for candidates.

    Parameters
    ----------
    features: the cache of molecular features; each of its kinds and vectors has a kernel.
    noise: variance of the measurement noise, in squared units of the score.

    Example
    -------
    >>> gp = StructureGP(FeatureCache()).fit(["CCO", "CCN"], np.array([1.0, 0.0]))
    >>> mean, variance = gp.predict(["CCO", "CCCO"])  # (1, 2) each
    """

    def __init__(self, features: FeatureCache, *, noise: float = NOISE) -> None:
        self.features = features
        self.noise = noise
        self._gram_smiles: list[str] = []
        self._gram = np.zeros((len(features.kinds), 0, 0), dtype=np.float32)

    def prior(self) -> Hyperparameters:
        """The prior medians: equal weights that sum to one, and equal lengths within a vector."""
        vectors = self.features.vectors.values()
        n_kernels = len(self.features.kinds) + len(vectors)
        lengths = [np.full(vector.size, vector.length) for vector in vectors]
        return Hyperparameters(np.full(n_kernels, 1.0 / n_kernels), np.concatenate([np.zeros(0), *lengths]))

    def learn(self, smiles: Sequence[str], y: np.ndarray) -> Hyperparameters:
        """The most probable hyper-parameters for N molecules and their scores, from at most 300 of them."""
        y = np.asarray(y, dtype=np.float64)
        rows = evidence_rows(y)
        batch = self.features.batch([smiles[i] for i in rows])
        kernels = count_kernels(batch, batch, self.features.kinds)
        return learn_hyperparameters(kernels, list(batch.vectors.values()), y[rows], self.prior(), self.noise)

    def fit(self, smiles: Sequence[str], y: np.ndarray, members: Sequence[Hyperparameters] | None = None) -> StructureGP:
        """Condition on N molecules and their scores, (N,) finite; M N^3/3 multiplications once the features are known."""
        self._y = np.asarray(y, dtype=np.float64)
        assert len(smiles) == len(self._y) and np.isfinite(self._y).all(), "failed measurements are left out before fitting"
        self._train = self.features.batch(smiles)
        counts = self._gram_of(list(smiles))
        self.members = [_Member(h, self.noise) for h in (members or [self.prior()])]
        for member in self.members:
            member.fit(member.mix(counts, self._train, self._train), self._y)
        return self

    def predict(self, smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means and variances of the noise-free score, both (M, C) float64, variances at least 1e-12."""
        batch = self.features.batch(smiles)
        counts = count_kernels(batch, self._train, self.features.kinds)
        mean, variance = np.empty((2, len(self.members), len(batch)))
        for m, member in enumerate(self.members):
            cross = member.mix(counts, batch, self._train)
            half = member.half(cross)
            mean[m] = cross @ member.alpha
            variance[m] = member.hyperparameters.weights.sum() - np.einsum("nc,nc->c", half, half)
        return mean, np.maximum(variance, 1e-12)

    def joint(self, smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Posterior means (M, C) and covariances (M, C, C) of the noise-free scores, float64."""
        batch = self.features.batch(smiles)
        counts = count_kernels(batch, self._train, self.features.kinds)
        among = count_kernels(batch, batch, self.features.kinds)
        means, covariances = [], []
        for member in self.members:
            cross = member.mix(counts, batch, self._train)
            half = member.half(cross)
            means.append(cross @ member.alpha)
            covariances.append(member.mix(among, batch, batch) - half.T @ half)
        return np.array(means), np.array(covariances)

    def posterior(self, smiles: Sequence[str], member: int = 0) -> GPyTorchPosterior:
        """One member's joint posterior as BoTorch's class, double precision, for its samplers and acquisitions."""
        import torch
        from botorch.posteriors import GPyTorchPosterior
        from gpytorch.distributions import MultivariateNormal

        means, covariances = self.joint(smiles)
        covariance = covariances[member] + 1e-8 * np.eye(len(smiles))
        return GPyTorchPosterior(MultivariateNormal(torch.from_numpy(means[member]), torch.from_numpy(covariance)))

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances, both (M, N), of each measurement, its noise included, given all the others under the same
        hyper-parameters (Rasmussen & Williams 2006, equation 5.12)."""
        one = np.eye(len(self._y))
        inverses = [scipy.linalg.cho_solve((m.cholesky, True), one, check_finite=False) for m in self.members]
        variance = np.array([1.0 / np.diag(inverse) for inverse in inverses])
        return self._y - np.array([m.alpha for m in self.members]) * variance, variance

    def log_evidence(self) -> np.ndarray:
        """(M,): log marginal likelihood of the scores, nats (Rasmussen & Williams 2006, equation 2.30)."""
        log_dets = np.array([2.0 * np.log(np.diag(m.cholesky)).sum() for m in self.members])
        fits = np.array([self._y @ m.alpha for m in self.members])
        return -0.5 * (fits + log_dets + len(self._y) * np.log(2 * np.pi))

    def _gram_of(self, smiles: list[str]) -> np.ndarray:
        """The count kernels, (N, N) each; only rows of molecules that the last call did not have are computed."""
        had = {s: i for i, s in enumerate(self._gram_smiles)}
        old = np.array([i for i, s in enumerate(smiles) if s in had], dtype=np.int64)
        new = np.array([i for i, s in enumerate(smiles) if s not in had], dtype=np.int64)
        kept = np.array([had[smiles[i]] for i in old], dtype=np.int64)
        gram = np.empty((len(self.features.kinds), len(smiles), len(smiles)), dtype=np.float32)
        gram[:, old[:, None], old[None, :]] = self._gram[:, kept[:, None], kept[None, :]]
        if len(new):
            fresh = count_kernels(self._train.take(new), self._train, self.features.kinds)
            gram[:, new, :] = fresh
            gram[:, :, new] = fresh.transpose(0, 2, 1)
        self._gram_smiles, self._gram = smiles, gram
        return gram


def evidence_rows(y: np.ndarray, limit: int = 300) -> np.ndarray:
    """Rows the kernel weights are learned from: the better half of `limit` from the top, the rest spread over the others."""
    order = np.argsort(-y, kind="stable")
    if len(y) <= limit:
        return order
    top = limit // 2
    return np.concatenate([order[:top], order[top:][np.linspace(0, len(y) - top - 1, limit - top).astype(int)]])


def learn_hyperparameters(
    kernels: np.ndarray,
    vectors: Sequence[np.ndarray],
    y: np.ndarray,
    prior: Hyperparameters,
    noise: float,
    n_steps: int = 30,
) -> Hyperparameters:
    """Kernel weights and lengths of largest log evidence plus log prior (MAP), by L-BFGS.

    Parameters
    ----------
    kernels: count kernels, (N, N) each. vectors: (N, P_k) each. y: (N,).
    prior: medians of the log-normal priors.
    noise: variance of the measurement noise.

    The gradient of the log evidence for a parameter t is sum((alpha alpha' - C^-1) * dC/dt) / 2 (Rasmussen & Williams
    2006, equation 5.9).
    """
    kernels, n_kernels, n = kernels.astype(np.float64), len(kernels) + len(vectors), len(y)
    ends = np.cumsum([x.shape[1] for x in vectors])
    spans = [slice(end - x.shape[1], end) for x, end in zip(vectors, ends, strict=True)]
    squares = [x**2 for x in vectors]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_w, log_l = parameters[:n_kernels], parameters[n_kernels:]
        weights = prior.weights * np.exp(log_w)
        scale = np.exp(-log_l) / prior.lengths
        scaled = [x * scale[span] for x, span in zip(vectors, spans, strict=True)]
        rbfs = [weight * _rbf(x, x) for x, weight in zip(scaled, weights[len(kernels) :], strict=True)]
        counted = weights[: len(kernels), None, None] * kernels
        covariance = counted.sum(0) + sum(rbfs)
        covariance[np.diag_indices(n)] += noise
        factor = scipy.linalg.cho_factor(covariance, lower=True, check_finite=False)
        alpha = scipy.linalg.cho_solve(factor, y)
        inverse = scipy.linalg.cho_solve(factor, np.eye(n), check_finite=False)
        outer = 0.5 * (np.outer(alpha, alpha) - inverse)
        value = -0.5 * y @ alpha - np.log(np.diag(factor[0])).sum()
        by_rbf = [outer * rbf for rbf in rbfs]
        by_weight = [*np.einsum("ij,kij->k", outer, counted), *(part.sum() for part in by_rbf)]
        # d rbf_ij / d log l_p = rbf_ij (x_ip - x_jp)^2 / l_p^2, summed over i, j without an (N, N, P) array
        by_length = [
            2.0 * scale[span] ** 2 * (part.sum(1) @ square - np.einsum("ip,ip->p", x, part @ x))
            for x, span, part, square in zip(vectors, spans, by_rbf, squares, strict=True)
        ]
        value -= 0.5 * (log_w @ log_w) / WEIGHT_SD**2 + 0.5 * (log_l @ log_l) / LENGTH_SD**2
        gradient = np.concatenate([by_weight, *by_length])
        gradient -= np.concatenate([log_w / WEIGHT_SD**2, log_l / LENGTH_SD**2])
        return -value, -gradient

    start = np.zeros(n_kernels + len(prior.lengths))
    found = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-7.0, 7.0)] * len(start), options={"maxiter": n_steps}
    )
    return Hyperparameters(prior.weights * np.exp(found.x[:n_kernels]), prior.lengths * np.exp(found.x[n_kernels:]))


def active_set(scores: np.ndarray, cap: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted positions of at most `cap` finite scores: the best half, the most recent quarter, the rest at random.

    The rest have the lowest of random numbers that stay with their positions: from the same `rng`, the set of a longer
    history differs from that of a shorter one by little, and little of the kernel matrix is new.
    """
    finite = np.flatnonzero(np.isfinite(scores))
    if len(finite) <= cap:
        return finite
    best = finite[np.argsort(-scores[finite], kind="stable")[: cap // 2]]
    recent = np.setdiff1d(finite, best)[-(cap // 4) :]
    others = np.setdiff1d(finite, np.concatenate([best, recent]))
    chosen = others[np.argsort(rng.random(len(scores))[others], kind="stable")[: cap - len(best) - len(recent)]]
    return np.sort(np.concatenate([best, recent, chosen]))


def score_units(scores: np.ndarray) -> tuple[float, float]:
    """Shift and scale that bring scores into the surrogate's units: (score - shift) / scale.

    Scores within [0, 1] are taken as they are: 0 is then the natural pessimistic prior mean. Others are measured from their
    5 % quantile, in units of the distance to the best. NaNs are ignored.
    """
    finite = scores[np.isfinite(scores)]
    if not len(finite) or (finite.min() >= 0.0 and finite.max() <= 1.0):
        return 0.0, 1.0
    low, high = float(np.quantile(finite, 0.05)), float(finite.max())
    return low, (high - low) or 1.0
