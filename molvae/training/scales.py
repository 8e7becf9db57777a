"""Property values in units of their standard deviation, and what undoes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch


def standardised(
    values: torch.Tensor | None, names: Sequence[str], rows: torch.Tensor
) -> tuple[torch.Tensor | None, dict[str, dict[str, float]]]:
    """Property values (n, P) as float32 with mean 0 and standard deviation 1 over `rows`, and by name what undoes it, and
    the lowest and highest value there."""
    if values is None:
        return None, {}
    shown = values[rows].numpy()
    mean, sd = np.nanmean(shown, 0), np.nanstd(shown, 0)
    sd[np.nanmin(shown, 0) == np.nanmax(shown, 0)] = 1.0  # that of equal numbers need not be 0 when it is computed
    figures = torch.tensor(np.stack([mean, sd, np.nanmin(shown, 0), np.nanmax(shown, 0)], 1)).tolist()
    keys = ("mean", "sd", "low", "high")
    scales = {name: dict(zip(keys, of, strict=True)) for name, of in zip(names, figures, strict=True)}
    return rescaled(values, scales), scales


def rescaled(values: torch.Tensor | None, scales: Mapping[str, Mapping[str, float]]) -> torch.Tensor | None:
    """Property values (n, P) as (value - mean) / sd, float32."""
    if values is None:
        return None
    mean, sd = (torch.tensor([scale[key] for scale in scales.values()], dtype=values.dtype) for key in ("mean", "sd"))
    return ((values - mean) / sd).float()
