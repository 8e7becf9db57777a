"""What the surrogate expects of molecules, and how far it is to be trusted: each measured molecule told from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from molvae.history import History
from molvae.objective import Objective
from molvae.oracles.modifiers import IDENTITY
from molvae.randomness import stream
from molvae.search.features import FEATURES, feature_cache
from molvae.search.surrogate import StructureGP, active_set, score_units

FEWEST = 5  # values that the surrogate needs before anything is expected of it
ACTIVE = 1500  # most molecules that it learns from
DIGITS = 4


@dataclass(frozen=True)
class Check:
    """How well the surrogate tells each measured molecule from the others (leave one out, the same hyper-parameters).

    of: what it predicts: the name of the one column that is maximised or minimised as it is, else "score".
    n: molecules with a value.  rank_correlation: Spearman's, of predicted and measured.
    error: root mean squared error, in the unit of the values.  error_of_mean: that of the mean of the others.
    """

    of: str
    n: int
    rank_correlation: float
    error: float
    error_of_mean: float


@dataclass(frozen=True)
class Expectation:
    """mean, sd: of each molecule, NaN while there are too few values.  check: None then."""

    mean: list[float]
    sd: list[float]
    check: Check | None


def expect(history: History, smiles: Sequence[str], objective: Objective, seed: int = 0) -> Expectation:
    """What a Gaussian process on the history expects to measure for molecules, in the unit that `Check.of` says.

    The deviations are those of the process, noise included; if those of the measured molecules are too small, times the
    factor that makes them right: the root mean square of (measured - left out) / deviation. They are never made smaller:
    what a search suggests is farther from the measured molecules than these are from each other.
    """
    rows = active_set(history.scores, ACTIVE, stream(seed, "active set"))
    if len(rows) < FEWEST or not history.scores_differ:
        return Expectation([math.nan] * len(smiles), [math.nan] * len(smiles), None)
    shift, scale = score_units(history.scores)
    known, y = [history.smiles[i] for i in rows], (history.scores[rows] - shift) / scale
    gp = StructureGP(feature_cache(FEATURES))
    gp.fit(known, y, [gp.learn(known, y)])
    (left_out,), (variance,) = gp.leave_one_out()
    factor = max(1.0, float(np.sqrt(np.mean((y - left_out) ** 2 / variance))))
    (mean,), (noise_free,) = gp.predict(smiles) if len(smiles) else np.zeros((2, 1, 0))
    term = objective.terms[0]
    is_plain = len(objective.terms) == 1 and term.transform == IDENTITY and not objective.constraints
    sign = -1.0 if is_plain and term.direction == "minimise" else 1.0
    check = Check(
        of=term.name if is_plain else "score",
        n=len(rows),
        rank_correlation=float(spearmanr(left_out, y).statistic),
        error=float(np.sqrt(np.mean((left_out - y) ** 2))) * scale,
        error_of_mean=float(y.std()) * scale * len(y) / (len(y) - 1),
    )
    expected = sign * (mean * scale + shift)
    spread = factor * np.sqrt(noise_free + gp.noise) * scale
    return Expectation(expected.round(DIGITS).tolist(), spread.round(DIGITS).tolist(), check)
