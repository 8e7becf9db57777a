"""What a set of generated molecules is worth. Definitions: MOSES (Polykovskiy et al. 2020, Front. Pharmacol. 11:565644).

    valid     = #{a molecule came out} / n
    faithful  = #{the string says what the decoder wrote} / n
    sane      = #{valid and no structural problem found} / n
    unique    = #{distinct canonical isomeric SMILES} / #{valid}
    novel     = #{distinct, not in the training set} / #{distinct}
    diversity = 1 - mean over all pairs (i, j), i = j included, of the Tanimoto coefficient of Morgan bits (radius 2)

Validity proves nothing for SELFIES, whose grammar repairs every string into a molecule; faithful and sane are the numbers
to look at, and the three of MOSES are here for comparison. `diversity` is MOSES' IntDiv_1 on 2048 bits in place of 1024.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from molvae.chem import canonical, parse
from molvae.chem.filters import problems
from molvae.evaluation.similarity import internal_diversity, morgan_bits
from molvae.strings.tokens import Decoded

BITS = 2048  # of `diversity`


@dataclass(frozen=True)
class SampleMetrics:
    """Rates in [0, 1] by the formulas above, NaN where the question was not asked or no molecule is left to ask it of.

    reasons: how many of the samples are not faithful or not sane, by reason ("unfaithful: ...", "not sane: ...").
    """

    n: int
    valid: float
    faithful: float
    sane: float
    unique: float
    novel: float
    diversity: float
    reasons: Counter[str] = field(default_factory=Counter)


def sample_metrics(
    samples: Sequence[Decoded | str | None],
    *,
    is_training: Callable[[str], bool] | None = None,
    ring_systems: frozenset[str] | None = None,
    diversity_of: int = 10_000,
) -> SampleMetrics:
    """Metrics of decoded strings or of SMILES.

    Parameters
    ----------
    samples: what a model decoded, or SMILES from elsewhere (None or an invalid string counts as an invalid sample).
    is_training: whether a canonical isomeric SMILES is in the training set (`known.__contains__` of a set will do);
        without it `novel` is NaN.
    ring_systems: ring systems of the training set, for `sane`; without it unseen ring systems are not a problem.
    diversity_of: pairs are taken among this many first valid samples (all pairs: the cost is quadratic).

    `faithful` is NaN if a sample is a plain string, because nobody knows what its decoder wrote. Raises ValueError if empty.
    """
    if not samples:
        raise ValueError("no samples to measure")
    n = len(samples)
    smiles = [s.smiles if isinstance(s, Decoded) else canonical(s) if s else None for s in samples]
    decoded = [s for s in samples if isinstance(s, Decoded)]
    valid = [text for text in smiles if text is not None]
    reasons = Counter(f"unfaithful: {kind_of_reason(s.reason)}" for s in decoded if not s.faithful)
    n_sane = 0
    for text in valid:
        found = problems(parse(text), ring_systems)
        n_sane += not found
        reasons.update(f"not sane: {reason}" for reason in found)
    return SampleMetrics(
        n=n,
        valid=len(valid) / n,
        faithful=sum(s.faithful for s in decoded) / n if len(decoded) == n else math.nan,
        sane=n_sane / n,
        unique=uniqueness(valid),
        novel=novelty(valid, is_training) if is_training else math.nan,
        diversity=internal_diversity(_bits(valid[:diversity_of]))[0],
        reasons=reasons,
    )


def uniqueness(smiles: Sequence[str], k: int | None = None) -> float:
    """#{distinct among the first k} / #{the first k}, of canonical SMILES of the valid samples; MOSES's unique@k.

    k: all if None. With fewer than k, all there are, as in MOSES. NaN if there is none.
    """
    first = smiles[:k]
    return len(set(first)) / len(first) if first else math.nan


def novelty(smiles: Sequence[str], is_training: Callable[[str], bool]) -> float:
    """#{distinct, not in the training set} / #{distinct}, of canonical SMILES of the valid samples. NaN if there is none.

    MOSES compares with the strings of its training file as they are written there; here both sides are canonical.
    """
    distinct = dict.fromkeys(smiles)
    return sum(not is_training(text) for text in distinct) / len(distinct) if distinct else math.nan


def _bits(smiles: Sequence[str]) -> np.ndarray:
    """(n, 256) uint8, packed Morgan bits."""
    parts = [morgan_bits([parse(text) for text in smiles[i : i + 1000]], BITS) for i in range(0, len(smiles), 1000)]
    return np.concatenate([np.zeros((0, BITS // 8), np.uint8), *parts])


def kind_of_reason(reason: str) -> str:
    """A reason without its numbers and tokens, so that alike reasons are counted together."""
    return reason.split(":")[0] if ":" in reason else " ".join(word for word in reason.split() if not word.isdigit())
