"""How much of what a model writes is its training set, or nearly so.

    exact = #{outputs that are training molecules} / n
    near  = #{outputs whose largest Tanimoto coefficient to a training molecule is at least 0.9} / n, the exact ones included

Tanimoto coefficients of Morgan bits (radius 2, 2048 bits, no chirality). A model tuned on a narrow family is near to it
without copying: so the same two shares of molecules that were held back say how much nearness the family has by nature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from molvae.chem import parse
from molvae.chem.fingerprints import count_fingerprints

NEAR = 0.9
BLOCK = 1000


@dataclass(frozen=True)
class Memorisation:
    """Shares by the formulas above, and the median of the largest coefficients; NaN if there are no outputs."""

    n: int
    exact: float
    near: float
    median_similarity: float


def nearest_similarity(smiles: Sequence[str], training: Sequence[str]) -> np.ndarray:
    """(N,) float32: the largest Tanimoto coefficient of each molecule to one of `training`; canonical SMILES, none empty."""
    found = np.zeros(len(smiles), np.float32)
    for start in range(0, len(training), BLOCK):
        known = _bits(training[start : start + BLOCK])
        sizes = known.sum(1)
        for first in range(0, len(smiles), BLOCK):
            bits = _bits(smiles[first : first + BLOCK])
            shared = bits @ known.T
            either = bits.sum(1)[:, None] + sizes[None, :] - shared
            similarity = np.divide(shared, either, where=either > 0, out=np.ones_like(shared))
            found[first : first + BLOCK] = np.maximum(found[first : first + BLOCK], similarity.max(1))
    return found


def memorisation(smiles: Sequence[str], training: Sequence[str]) -> Memorisation:
    """What share of canonical SMILES is in `training` (canonical, too), or near to one of it.

    >>> memorisation(["CCO", "CCN"], ["CCO", "c1ccccc1"])
    Memorisation(n=2, exact=0.5, near=0.5, median_similarity=0.6666666865348816)
    """
    if not len(smiles):
        return Memorisation(0, math.nan, math.nan, math.nan)
    similarity, known = nearest_similarity(smiles, training), set(training)
    exact = np.array([text in known for text in smiles])
    return Memorisation(
        len(smiles), float(exact.mean()), float((exact | (similarity >= NEAR)).mean()), float(np.median(similarity))
    )


def _bits(smiles: Sequence[str]) -> np.ndarray:
    return (count_fingerprints([parse(text) for text in smiles], "morgan2") > 0).astype(np.float32)
