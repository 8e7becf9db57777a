"""How well a training run uses its machine: molecules a second, share of the measured matmul ceiling, peak memory.

The ceiling is what one large square product reaches on the same device in the same number type, not the vendor's figure.
"""

from __future__ import annotations

import copy
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from molvae.models.precision import autocast
from molvae.models.sequence_vae import Batch, SequenceVAE

SIDE = {"cuda": 8192, "cpu": 768}  # of the square matrices: enough to fill the device
FEW_ROWS = 8


def matmul_ceiling(device: torch.device, precision: str, seconds: float = 0.05) -> float:
    """FLOP/s of a large square matrix product on `device` in the training's number type: the best of several, 2 n^3 / t."""
    side = SIDE.get(device.type, 2048)
    a = torch.ones(side, side, device=device)
    with autocast(device, precision):
        dtype = (a[:1] @ a).dtype
        a = a.to(dtype)
        best, spent = float("inf"), 0.0
        while spent < seconds:
            _wait(device)
            begun = time.perf_counter()
            a @ a
            _wait(device)
            took = time.perf_counter() - begun
            best, spent = min(best, took), spent + took
    return 2 * side**3 / best


def training_flops(model: SequenceVAE, batch: Batch, generator: torch.Generator) -> float:
    """FLOP of a forward and backward pass for each padded token of `batch`; a multiply-add counts two.

    Counted on a copy on the CPU, with few rows, because fused GPU kernels do not say what they compute. Draws from the
    global generator if there is dropout.
    """
    few = Batch(*(value if value is None else value[:FEW_ROWS].cpu() for value in vars(batch).values()))
    twin = copy.deepcopy(model).cpu()
    with FlopCounterMode(display=False) as counter:
        for player in twin.players():
            twin.losses(few, 0, player, generator)["loss"].backward()
    return counter.get_total_flops() / few.ids.numel()


def peak_memory(device: torch.device) -> float:
    """MiB: the most that this process had allocated on a GPU, or the largest it has been in main memory; NaN if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Meter:
    """Speed since the last evaluation, and what share of the machine that is. The first step compiles and does not count."""

    def __init__(self, device: torch.device, precision: str, flops_a_token: float) -> None:
        self.device, self.flops_a_token = device, flops_a_token
        self.ceiling = matmul_ceiling(device, precision)
        self.steps = self.molecules = self.tokens = 0
        self.seconds, self._begun = 0.0, time.monotonic()

    def count(self, molecules: int, tokens: int) -> None:
        """Note a step, of all processes together."""
        self.steps += 1
        if self.steps == 1:
            _wait(self.device)
            self._begun = time.monotonic()
            return
        self.molecules, self.tokens = self.molecules + molecules, self.tokens + tokens

    def pause(self) -> None:
        """Stop the clock, for an evaluation."""
        _wait(self.device)
        self.seconds = time.monotonic() - self._begun

    def go_on(self) -> None:
        """Count anew."""
        self.molecules = self.tokens = 0
        self._begun = time.monotonic()

    def figures(self, processes: int = 1) -> dict[str, float]:
        """molecules_per_second; matmul_share, of the ceilings of all devices; matmul_ceiling_tflops; peak_memory_mib."""
        seconds = max(self.seconds, 1e-9)
        return {
            "molecules_per_second": round(self.molecules / seconds, 1),
            "matmul_share": round(self.tokens * self.flops_a_token / seconds / (self.ceiling * processes), 4),
            "matmul_ceiling_tflops": round(self.ceiling / 1e12, 4),
            "peak_memory_mib": round(peak_memory(self.device), 1),
        }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
