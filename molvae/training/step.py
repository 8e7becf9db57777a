"""The gradients of one step, in as many passes as memory needs and in as many processes as there are.

What is random in a step is drawn for the whole batch from a stream named after the step, and each pass takes its rows
(`SequenceVAE.losses`). So neither the number of passes nor that of processes changes what a step learns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from molvae.errors import RunError
from molvae.models.precision import autocast
from molvae.models.sequence_vae import Batch, SequenceVAE
from molvae.randomness import child_seed, torch_stream
from molvae.training.distributed import Group
from molvae.training.settings import TrainSettings

log = logging.getLogger(__name__)

Losses = Callable[..., dict[str, Tensor]]


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out: CUDA has an error of its own for that, the CPU's allocator only words."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in words)


class Passes:
    """`gradients` of steps. `rows`: molecules a pass, at most; halved, and the step begun again, when memory runs out."""

    def __init__(self, model: SequenceVAE, losses: Losses, settings: TrainSettings, group: Group) -> None:
        self.model, self.losses, self.settings, self.group = model, losses, settings, group
        self.rows = settings.batch_size
        self.lead = next(iter(model.players()))

    def gradients(self, batch: Batch, step: int, player: str, parameters: Sequence[nn.Parameter]) -> dict[str, float]:
        """Leave the gradients of a step in `parameters`, on every process; return the batch means of the loss terms.

        Raises RunError if memory does not suffice for one molecule.
        """
        while (terms := self._attempt(batch, step, player)) is None:
            # Outside the handler: an exception holds on to the tensors of the pass that failed.
            self.model.zero_grad(set_to_none=True)
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()
            if self.rows == 1:
                raise RunError("memory runs out with one molecule a pass. Choose a smaller model, or free some memory.")
            self.rows = max(1, min(self.rows, len(batch.ids)) // 2)
            log.warning(
                "memory ran out at step %d: passes of %d molecules from now on; a step stays %d molecules",
                step, self.rows, self.settings.step_size,
            )  # fmt: skip
        for parameter in parameters:
            if parameter.grad is None and self.group.size > 1:
                parameter.grad = torch.zeros_like(parameter)
        self.group.add_up([p.grad for p in parameters if p.grad is not None])
        values = torch.stack(list(terms.values()))
        self.group.add_up([values])
        return dict(zip(terms, values.tolist(), strict=True))

    def _attempt(self, batch: Batch, step: int, player: str) -> dict[str, Tensor] | None:
        """The sums of the terms over this process's passes, or None if memory ran out."""
        own = self.group.share(len(batch.ids))
        if own.start == own.stop:  # a last batch smaller than the number of processes
            with torch.no_grad():
                return {name: 0.0 * value for name, value in self._terms(batch, step, player, slice(0, 1)).items()}
        sums: dict[str, Tensor] = {}
        try:
            for first in range(own.start, own.stop, self.rows):
                terms = self._terms(batch, step, player, slice(first, min(first + self.rows, own.stop)))
                terms["loss"].backward()
                sums = {name: sums.get(name, 0.0) + value.detach().float() for name, value in terms.items()}
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return None
        return sums

    def _terms(self, batch: Batch, step: int, player: str, rows: slice) -> dict[str, Tensor]:
        seed, turn = self.settings.seed, () if player == self.lead else (player,)
        part = (rows.start,) if rows.start else ()
        torch.manual_seed(child_seed(seed, "dropout", step, *turn, *part))  # dropout knows no other generator
        noise = torch_stream(seed, "noise", step, *turn)
        with autocast(self.model.device, self.settings.precision):
            return self.losses(batch, step, player, noise, rows)
