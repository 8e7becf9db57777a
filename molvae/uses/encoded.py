"""What the uses that look at latents begin with: the latents of the molecules that a model can encode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from molvae.errors import DataError
from molvae.generation.model import Model


def encoded(
    model: Model, smiles: Sequence[str], fewest: int, progress: Callable[[int, int], None] | None = None
) -> tuple[np.ndarray, list[int], Counter[str]]:
    """Latents (N, D) float64 of those molecules that can be encoded, their places, and why the others cannot.

    Raises DataError if there are not `fewest` of them.
    """
    z = model.encode(smiles, progress=progress)
    known = np.flatnonzero(~np.isnan(z[:, 0])).tolist()
    left_out = Counter(model.explain([smiles[i] for i in sorted(set(range(len(z))) - set(known))]))
    if len(known) < fewest:
        raise DataError(f"{fewest} molecules or more are needed; of the {len(smiles)} given, {len(known)} can be encoded.")
    return z[known].astype(np.float64), known, left_out
