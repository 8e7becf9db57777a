"""Several processes that train one model: what they have to tell one another, and nothing where there is only one.

`torchrun --nproc-per-node 2 -m molvae train ...` starts the processes and names each in its environment. Gradients are sums
over molecules of one step, so the processes add what their shares give (gloo on CPUs, NCCL on GPUs); the weights stay equal
because every process then takes the same step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from molvae.errors import RunError

PATIENCE = timedelta(hours=3)  # the others wait while the first evaluates, or prepares a large file


@dataclass(frozen=True)
class Group:
    """The processes of a run. rank: this one, from 0; only the first writes files.  size: how many."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates, writes and talks."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The rows of a batch of n that are this process's own."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in one message."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _lost_process():
            torch.distributed.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()

    def agree(self, value: bool, device: torch.device) -> bool:
        """What the first process says."""
        if self.size == 1:
            return value
        said = torch.tensor([int(value)], device=device)
        with _lost_process():
            torch.distributed.broadcast(said, 0)
        return bool(said.item())

    @contextlib.contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Run a block in the first process, then in the others, which find the files that it left."""
        if self.size > 1 and not self.is_first:
            with _lost_process():
                torch.distributed.barrier()
        yield
        if self.size > 1 and self.is_first:
            with _lost_process():
                torch.distributed.barrier()


@contextlib.contextmanager
def _lost_process() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:  # torch.distributed's own errors, and its words for a bad environment
        raise RunError(
            "another process of this run has ended, or cannot be reached. Run the same command to go on from the last state."
        ) from error


def local_device(device: str) -> str:
    """The device of this process of several: "auto" and "cuda" become the process's own GPU."""
    if device in ("auto", "cuda") and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the processes that torchrun started; alone if it started none. Raises RunError if they cannot be reached."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2 or "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        yield Group()
        return
    # Its functions take the group that there is when they are imported as a default, and torch's optimizers import them:
    # while a group lives, that would keep its threads past destroy_process_group, to abort the process as Python winds up.
    import torch.distributed.nn.functional

    with _lost_process():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        yield Group(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()
