"""TrainState: everything a training run needs to go on, in one file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from molvae.errors import CheckpointError
from molvae.files import atomic_path
from molvae.models.sequence_vae import SequenceVAE
from molvae.training.settings import TrainSettings


class TrainState:
    """Weights, averaged weights, optimizer moments, step, and what early stopping remembers.

    looked: the step of the last evaluation, -1 before the first.  best: the averaged weights of the lowest held-out score.
    best_score: that score.  stale: evaluations since then.
    """

    def __init__(self, model: SequenceVAE, settings: TrainSettings) -> None:
        self.model = model
        self.optimizers = {
            name: torch.optim.AdamW(
                list(parameters), settings.learning_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay,
                fused=model.device.type == "cuda",
            )
            for name, parameters in model.players().items()
        }  # fmt: skip
        self.averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step, self.looked = 0, -1
        self.best: dict[str, Tensor] = {}
        self.best_score, self.stale = math.inf, 0

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the averaged weights towards the model's; early steps use a shorter memory (Polyak averaging)."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                self.averaged[name].lerp_(value, 1.0 - decay)
            else:
                self.averaged[name].copy_(value)

    @contextlib.contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Run a block with the averaged weights in the model."""
        current = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.averaged)
        try:
            yield
        finally:
            self.model.load_state_dict(current)

    def judge(self, score: float) -> bool:
        """Note the score of this step's averaged weights, lower is better; True if it is the best so far."""
        if score < self.best_score:  # NaN is never better
            self.best = {name: value.clone() for name, value in self.averaged.items()}
            self.best_score, self.stale = score, 0
            return True
        self.stale += 1
        return False

    def save(self, path: Path) -> None:
        """Write `state.safetensors` atomically."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for player, optimizer in self.optimizers.items():
            for i, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{player}.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        numbers = {"step": self.step, "looked": self.looked, "best_score": self.best_score, "stale": self.stale}
        with atomic_path(path) as partial:
            save_file(
                {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
                partial,
                {name: str(value) for name, value in numbers.items()},
            )

    def load(self, path: Path) -> None:
        """Read `state.safetensors`. Raises CheckpointError if it is torn or belongs to another model."""
        try:
            tensors = load_file(path)
            with safe_open(path, "pt") as stream:
                numbers = stream.metadata()
            self.step = int(numbers["step"])
            self.looked, self.stale = int(numbers.get("looked", -1)), int(numbers.get("stale", 0))
            self.best_score = float(numbers.get("best_score", "inf"))
            self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise CheckpointError(
                f"cannot resume from {path}: it is torn, or of another model ({str(error).splitlines()[0]}). "
                "Remove it to start again."
            ) from error
        device = self.model.device
        for name, value in tensors.items():
            if name.startswith("averaged."):
                self.averaged[name[9:]].copy_(value)
        self.best = {name[5:]: value.to(device) for name, value in tensors.items() if name.startswith("best.")}
        for player, optimizer in self.optimizers.items():
            table = optimizer.state_dict()
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{player}."):
                    i, key = name.split(".")[2:]
                    table["state"].setdefault(int(i), {})[key] = value
            optimizer.load_state_dict(table)
