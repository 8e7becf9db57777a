"""One seed, many named child streams: nothing in molvae draws from a global random state.

`stream(seed, "optimize", round)` is the same generator on every machine and at every worker count, so a killed run that
repeats a round repeats its draws, and no generator state has to be saved.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def child_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed that depends on `seed` and on every element of `path`."""
    text = "/".join([str(int(seed)), *(str(part) for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """A NumPy generator for the named child stream."""
    return np.random.default_rng(child_seed(seed, *path))


def torch_stream(seed: int, *path: str | int) -> torch.Generator:
    """A CPU torch generator for the named child stream. Draw on the CPU and move: GPUs give other numbers."""
    import torch

    return torch.Generator().manual_seed(child_seed(seed, *path))
