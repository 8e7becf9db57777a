"""How far two sets of molecules are apart: in counts of scaffolds and fragments, and in distributions of properties.

Cosine and Wasserstein distances: MOSES (Polykovskiy et al. 2020, Front. Pharmacol. 11:565644). Kullback-Leibler divergences:
GuacaMol (Brown et al. 2019, J. Chem. Inf. Model. 59:1096).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.stats import entropy, gaussian_kde, wasserstein_distance

from molvae.evaluation.profile import DESCRIPTORS, N_CONTINUOUS, Described
from molvae.evaluation.similarity import Progress, nearest_of_its_own

POINTS = 1000  # where continuous densities are compared
BINS = 10  # of a count's histogram
FLOOR = 1e-10  # added to every density, so that a logarithm exists


def cosine_similarity(counts: Counter[str], reference: Counter[str]) -> float:
    """Cosine of two vectors of counts over the union of their names:

        sum_i c_i r_i / ( sqrt(sum_i c_i^2) sqrt(sum_i r_i^2) )

    With BRICS fragments this is MOSES's Frag, with scaffolds of two rings or more its Scaf. NaN if either is empty.
    """
    if not counts or not reference:
        return math.nan
    shared = sum(n * reference[name] for name, n in counts.items() if name in reference)
    norms = math.sqrt(sum(n * n for n in counts.values())) * math.sqrt(sum(n * n for n in reference.values()))
    return shared / norms


def wasserstein(values: np.ndarray, reference: np.ndarray) -> float:
    """Wasserstein-1 distance of two samples of a property, in its unit; F and G are their cumulative distributions:

        W = integral |F(x) - G(x)| dx

    values: (n,), reference: (m,); NaN, a failed measurement, is left out. NaN if nothing is left on either side.
    """
    values, reference = values[~np.isnan(values)], reference[~np.isnan(reference)]
    return float(wasserstein_distance(values, reference)) if len(values) and len(reference) else math.nan


def continuous_divergence(values: np.ndarray, reference: np.ndarray) -> float:
    """KL(P || Q) = sum_i p_i ln(p_i / q_i) of the reference (P) from the values (Q), both as Gaussian kernel densities.

    The densities (Scott's bandwidth) are taken at 1,000 even points from the smallest to the largest value of both sets,
    1e-10 is added to each, and both are normalised to sum 1. NaN if a set has fewer than two distinct values: it has no
    kernel density.
    """
    if min(len(np.unique(values)), len(np.unique(reference))) < 2:
        return math.nan
    both = np.concatenate([reference, values])
    points = np.linspace(both.min(), both.max(), POINTS)
    return float(entropy(gaussian_kde(reference)(points) + FLOOR, gaussian_kde(values)(points) + FLOOR))


def discrete_divergence(values: np.ndarray, reference: np.ndarray) -> float:
    """KL(P || Q) as above, of histograms: ten even bins over the range of the reference (P).

    As in GuacaMol, values (Q) outside that range are not counted; NaN if none is inside.
    """
    p, edges = np.histogram(reference, bins=BINS, density=True)
    if not ((values >= edges[0]) & (values <= edges[-1])).any():
        return math.nan
    q, _ = np.histogram(values, bins=edges, density=True)
    return float(entropy(p + FLOOR, q + FLOOR))


def kl_divergences(molecules: Described, reference: Described, progress: Progress = None) -> dict[str, float]:
    """GuacaMol's ten divergences by name: those of its 9 descriptors, and of the similarity to the nearest other molecule of
    the same set (`internal_similarity`). NaN where one has no value."""
    found = {}
    for i, name in enumerate(DESCRIPTORS):
        divergence = continuous_divergence if i < N_CONTINUOUS else discrete_divergence
        found[name] = divergence(molecules.values[:, i], reference.values[:, i])
    nearest = [nearest_of_its_own(side.bits, progress) for side in (molecules, reference)]
    found["internal_similarity"] = continuous_divergence(*nearest)
    return found


def kl_score(divergences: dict[str, float]) -> float:
    """GuacaMol's KL score: the mean of exp(-KL_i) over the ten divergences; 1 is a perfect match. NaN if one is NaN."""
    return float(np.exp(-np.array(list(divergences.values()))).mean())


def fcd_score(distance: float) -> float:
    """GuacaMol's score of a Frechet ChemNet distance: exp(-0.2 FCD); 1 is a perfect match."""
    return math.exp(-0.2 * distance)


def guacamol_subset(n: int, size: int) -> Sequence[int]:
    """The row numbers that GuacaMol draws from a training set of `n` molecules: `size` of them, or all if n is less."""
    return np.random.RandomState(42).choice(n, size, replace=False).tolist() if n > size else range(n)
