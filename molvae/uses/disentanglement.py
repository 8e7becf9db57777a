"""Does one latent coordinate mean one property? MIG and DCI of latents, beside PCA, random rotations and fingerprints.

MIG, the mutual information gap (Chen et al. 2018, arXiv 1802.04942, equation 6), of codes z_i and properties v_k:

    MIG_k = (I(z_a; v_k) - I(z_b; v_k)) / H(v_k)        a and b the two codes that tell most of v_k;  MIG = mean of the MIG_k

I and H in nats, from counts in bins of equal numbers of molecules. A finite sample makes every I too large, by about
(bins - 1)^2 / 2N, which mostly leaves with the difference.

DCI (Eastwood & Williams 2018, ICLR), of R_ik >= 0, how important code i is to a regressor that predicts property k:

    D_i = 1 - H_K(R_i. / sum_k R_ik)    D = sum_i D_i sum_k R_ik / sum_ik R_ik    disentanglement: a code tells one property
    C_k = 1 - H_N(R_.k / sum_i R_ik)    C = mean of the C_k                       completeness: one code tells a property
    I_k = R2 of property k on test rows I = mean of the I_k                       informativeness (they give the error)

H_b is entropy with logarithms to the base b; K properties, N codes. R is |w| of a lasso on codes and properties of variance
1, its penalty chosen by cross-validation, or the impurity that each code removes in a random forest, both as in the paper.

Both measures take properties for independent factors, which those of molecules are not (heavier ones have more rings): no
representation gets 1, and a figure means something only beside those of other representations of the same molecules.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from molvae.chem import parse, properties, property_named
from molvae.chem.fingerprints import count_fingerprints
from molvae.errors import ConfigError, DataError, nearest
from molvae.generation.model import Model, load
from molvae.randomness import child_seed, stream
from molvae.uses.encoded import encoded
from molvae.uses.probing import scores

PROPERTIES = ("logP", "TPSA", "MW", "QED", "SA", "rings")
IMPORTANCES = ("lasso", "forest")
FEWEST = 200  # molecules; of fewer, mutual information is mostly bias
TEST_SHARE = 0.2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Disentangled:
    """The figures of one representation, NaN for what cannot be told.

    representation: latents, pca, rotation 1, ... or ecfp4 pca.  codes: how many it has.  properties: the K names.
    gaps, completeness, r2: (K,) MIG_k, C_k and I_k.  best: (K,) the code that tells most of each property.
    disentanglement: D.
    """

    representation: str
    codes: int
    properties: tuple[str, ...]
    gaps: np.ndarray
    best: np.ndarray
    disentanglement: float
    completeness: np.ndarray
    r2: np.ndarray

    @property
    def mig(self) -> float:
        """MIG."""
        return float(self.gaps.mean())

    def by_property(self) -> list[dict[str, object]]:
        """A row a property: MIG_k, the code that tells most, C_k, I_k, and D, which belongs to all of them."""
        columns = zip(self.properties, self.gaps, self.best, self.completeness, self.r2, strict=True)
        return [
            {"property": name, "mig": float(gap), "best_code": int(best), "completeness": float(complete), "r2": float(r2),
             "disentanglement": self.disentanglement}
            for name, gap, best, complete, r2 in columns
        ]  # fmt: skip


@dataclass(frozen=True)
class Disentanglement:
    """What `disentangle` found: a row for each representation, how many molecules they are of, and why others are not."""

    rows: list[Disentangled]
    n: int
    left_out: Counter[str]


def disentangle(
    smiles: Sequence[str],
    *,
    model: str | os.PathLike[str] | Model = "zinc250k",
    names: Sequence[str] = PROPERTIES,
    importance: str = "lasso",
    bins: int = 20,
    rotations: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Disentanglement:
    """MIG and DCI of the posterior means of molecules, and beside them of

    pca         the same latents along their principal axes
    rotation i  the same latents turned by a random orthogonal matrix, which changes no distance
    ecfp4 pca   as many principal components of Morgan bits (radius 2, 2,048 bits)

    names: properties of `molvae.chem`.  importance: "lasso" or "forest".  bins: of MIG.  rotations: how many, 0 or more.
    seed: of rotations, test rows and forests.  progress: called with (stage, done, all).
    Raises ConfigError for a wrong setting, DataError if fewer than 200 molecules can be used or a property does not vary.
    """
    if importance not in IMPORTANCES:
        raise ConfigError(f"no importance {importance!r}.{nearest(importance, IMPORTANCES)} Use {' or '.join(IMPORTANCES)}.")
    if bins < 2 or rotations < 0:
        raise ConfigError(f"bins is {bins}, rotations {rotations}: give 2 or more, and 0 or more.")
    names = tuple(dict.fromkeys(names))
    if len(names) < 2:
        raise ConfigError("give two properties or more: whether codes tell them apart is the question.")
    for name in names:
        property_named(name)
    model = model if isinstance(model, Model) else load(model)
    if model.latent_size < 2:
        raise ConfigError(f"{model.name} has one latent coordinate, which there is nothing to tell apart from.")
    say = progress or (lambda stage, done, total: None)
    z, known, left_out = encoded(model, smiles, FEWEST, lambda done, total: say("encoding", done, total))
    mols = [parse(smiles[i]) for i in known]
    factors = np.array([list(properties(mol, names).values()) for mol in mols])
    for name, column in zip(names, factors.T, strict=True):
        if not column.std():
            raise DataError(f"{name} is {column[0]:g} for all {len(column)} molecules. Leave it out of the properties.")
    bits = (count_fingerprints(mols, "morgan2") > 0).astype(np.float64)
    turned = {f"rotation {i + 1}": z @ rotation(z.shape[1], seed, i) for i in range(rotations)}
    kinds = {"latents": z, "pca": principal(z), **turned, "ecfp4 pca": principal(bits, z.shape[1])}
    rows = []
    for done, (kind, codes) in enumerate(kinds.items()):
        say("measuring", done, len(kinds))
        rows.append(_measured(kind, codes, names, factors, importance, bins, seed))
    say("measuring", len(kinds), len(kinds))
    return Disentanglement(rows, len(known), left_out)


def _measured(
    kind: str, codes: np.ndarray, names: tuple[str, ...], factors: np.ndarray, importance: str, bins: int, seed: int
) -> Disentangled:
    gaps, best = information_gaps(codes, factors, bins)
    matrix, r2 = importances(codes, factors, importance, seed=seed)
    apart, complete = dci(matrix)
    return Disentangled(kind, codes.shape[1], names, gaps, best, apart, complete, r2)


# -- other coordinates


def principal(x: np.ndarray, n: int | None = None) -> np.ndarray:
    """(N, n) of (N, D): the n first principal components, by default all; no more than there are."""
    centred = x - x.mean(0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # by growing variance
    return centred @ directions[:, ::-1][:, : min(n or x.shape[1], len(x) - 1)]


def rotation(size: int, seed: int, number: int) -> np.ndarray:
    """(size, size) random orthogonal matrix, uniform over all of them (Mezzadri 2007, arXiv math-ph/0609050)."""
    q, r = np.linalg.qr(stream(seed, "rotation", number).standard_normal((size, size)))
    return q * np.sign(np.diag(r))


# -- MIG


def information_gaps(codes: np.ndarray, factors: np.ndarray, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """(K,) MIG_k of codes (N, D) and factors (N, K), and (K,) which code tells most of each."""
    z = [binned(column, bins) for column in codes.T]
    gaps, best = [], []
    for column in factors.T:
        v = binned(column, bins)
        told = np.array([mutual_information(one, v) for one in z])
        second, first = np.sort(told)[-2:]
        gaps.append((first - second) / entropy(np.bincount(v)))
        best.append(int(told.argmax()))
    return np.array(gaps), np.array(best)


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """(N,) numbers of bins that hold about as many values each; of few distinct values, each has a bin of its own."""
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) <= bins:
        return places
    edges = np.quantile(values, np.arange(1, bins) / bins)
    return np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """I(a; b) in nats of two (N,) arrays of small whole numbers, from their counts."""
    joint = np.bincount(a * (int(b.max()) + 1) + b)
    return entropy(np.bincount(a)) + entropy(np.bincount(b)) - entropy(joint)


def entropy(counts: np.ndarray) -> float:
    """-sum p log p in nats, of counts or weights (n,) that are 0 or more."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


# -- DCI


def importances(codes: np.ndarray, factors: np.ndarray, how: str, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(D, K) importance of codes (N, D) to factors (N, K), and (K,) R2 on a fifth of the rows, which nothing learns from."""
    from sklearn.exceptions import ConvergenceWarning

    order = stream(seed, "disentangle").permutation(len(codes))
    test, train = np.split(order, [max(1, round(TEST_SHARE * len(codes)))])
    x, y = _standard(codes, train), _standard(factors, train)
    columns, r2 = [], []
    for k in range(y.shape[1]):
        regressor = _regressor(how, child_seed(seed, "disentangle", k))
        with warnings.catch_warnings():
            # Where the penalty is almost none; such a lasso is not the one that is chosen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            regressor.fit(x[train], y[train, k])
        columns.append(np.abs(regressor.coef_) if how == "lasso" else regressor.feature_importances_)
        r2.append(scores(y[test, k], regressor.predict(x[test]))[0])
    return np.array(columns).T, np.array(r2)


def _regressor(how: str, seed: int) -> Any:
    if how == "lasso":
        from sklearn.linear_model import LassoCV

        return LassoCV(cv=5)
    from sklearn.ensemble import RandomForestRegressor

    # All codes at each split: where some are left out, others are split that tell little, and seem to matter.
    return RandomForestRegressor(30, min_samples_leaf=5, random_state=seed % 2**32)


def _standard(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the training rows; a column that does not vary is 0."""
    mean, spread = values[train].mean(0), values[train].std(0)
    varied = spread > 1e-9 * np.maximum(np.abs(mean), 1.0)
    return np.where(varied, (values - mean) / np.where(varied, spread, 1.0), 0.0)


def dci(importance: np.ndarray) -> tuple[float, np.ndarray]:
    """D and the (K,) C_k of an importance matrix (D, K), D and K at least 2; NaN for a property to which no code matters."""
    assert min(importance.shape) > 1 and (importance >= 0).all(), "logarithms need a base above 1"
    n_codes, n_factors = importance.shape
    of_code, of_factor = importance.sum(1), importance.sum(0)
    complete = [
        1.0 - entropy(column) / math.log(n_codes) if total > 0 else math.nan
        for column, total in zip(importance.T, of_factor, strict=True)
    ]
    if not of_code.any():
        return math.nan, np.array(complete)
    apart = [1.0 - entropy(row) / math.log(n_factors) if row.any() else 0.0 for row in importance]
    return float(np.dot(apart, of_code) / of_code.sum()), np.array(complete)
