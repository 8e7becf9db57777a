"""How the learned priors are fitted: AdamW with a warm-up and a cosine to zero, and weights averaged on the way."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from molvae.errors import DivergedModel
from molvae.randomness import child_seed

log = logging.getLogger(__name__)

DECAY = 0.999  # of the average, once it has seen as many steps
TOLD_EVERY = 500


def learn(
    weights: Mapping[str, Tensor],
    loss: Callable[[torch.Generator], Tensor],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    name: str,
    warmup: int = 200,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """The average of `weights`, leaf tensors that are changed in place, while `steps` steps minimise `loss`.

    loss: a scalar for a generator that is the step's own; it draws the batch, too.  name: of the prior, for streams and log.
    warmup: steps in which the learning rate rises.  progress: called with (steps done, steps).
    """
    averaged = {key: value.detach().clone() for key, value in weights.items()}
    optimizer = torch.optim.AdamW(weights.values(), learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    generator = torch.Generator()
    for step in range(steps):
        generator.manual_seed(child_seed(seed, name, step))
        now = loss(generator)
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / warmup) * fall
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        with torch.no_grad():
            decay = min(DECAY, (1 + step) / (10 + step))
            for key, value in weights.items():
                averaged[key].lerp_(value, 1 - decay)
        if progress and (step % 10 == 9 or step + 1 == steps):
            progress(step + 1, steps)
        if step % TOLD_EVERY == 0:
            log.info("%s prior: step %d of %d, loss %.4f", name, step, steps, float(now.detach()))
    if not all(bool(value.isfinite().all()) for value in averaged.values()):
        raise DivergedModel(f"the {name} prior diverged: its weights are no finite numbers. Lower its learning_rate.")
    return averaged
