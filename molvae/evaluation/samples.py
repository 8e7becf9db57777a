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
from molvae.chem.fingerprints import count_fingerprints
from molvae.tokens import Decoded


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
    reasons = Counter(f"unfaithful: {_kind(s.reason)}" for s in decoded if not s.faithful)
    n_sane = 0
    for text in valid:
        found = problems(parse(text), ring_systems)
        n_sane += not found
        reasons.update(f"not sane: {reason}" for reason in found)
    distinct = dict.fromkeys(valid)
    return SampleMetrics(
        n=n,
        valid=len(valid) / n,
        faithful=sum(s.faithful for s in decoded) / n if len(decoded) == n else math.nan,
        sane=n_sane / n,
        unique=len(distinct) / len(valid) if valid else math.nan,
        novel=sum(not is_training(text) for text in distinct) / len(distinct) if distinct and is_training else math.nan,
        diversity=internal_diversity(valid[:diversity_of]),
        reasons=reasons,
    )


def internal_diversity(smiles: Sequence[str], *, block: int = 1000) -> float:
    """1 - mean Tanimoto coefficient over all ordered pairs, self-pairs included (MOSES IntDiv_1); NaN for no molecules.

    smiles: valid SMILES. Memory is (block, N) float32.
    """
    if not smiles:
        return math.nan
    bits = np.concatenate(
        [
            (count_fingerprints([parse(text) for text in smiles[i : i + block]], "morgan2") > 0).astype(np.float32)
            for i in range(0, len(smiles), block)
        ]
    )
    sizes = bits.sum(axis=1)
    total = 0.0
    for i in range(0, len(bits), block):
        shared = bits[i : i + block] @ bits.T
        either = sizes[i : i + block, None] + sizes[None, :] - shared
        total += float(np.divide(shared, either, where=either > 0, out=np.ones_like(shared)).sum(dtype=np.float64))
    return 1 - total / len(bits) ** 2


def _kind(reason: str) -> str:
    """A reason without its numbers and tokens, so that alike reasons are counted together."""
    return reason.split(":")[0] if ":" in reason else " ".join(word for word in reason.split() if not word.isdigit())
