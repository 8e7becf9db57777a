"""How to train, and how to fine-tune: the tables [training] and [fine_tuning] of a configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass

from molvae.errors import ConfigError

PRECISIONS = ("auto", "bfloat16", "float32")


@dataclass(frozen=True)
class TrainSettings:
    """How to train. `molecules` counts every molecule shown, repeats included.

    molecules: how many to show in all.
    batch_size: molecules that one process takes at once.  accumulate: such passes a step. A step is batch_size *
    accumulate * processes molecules; where memory runs out, passes get smaller and more, and the step stays what it was.
    learning_rate: peak.  warmup: steps in which it rises to the peak.  decay: share of training, the last, in which it falls
    as a cosine.
    weight_decay, clip: AdamW's decay, and the largest gradient norm (loss in nats per molecule).
    ema: decay of the averaged weights, which are what is evaluated and shipped.
    precision: "auto" (bfloat16 where the hardware multiplies it), "bfloat16" or "float32".
    compile: torch.compile on CUDA.  evaluate_every: molecules between evaluations.  save_every: seconds between state files.
    patience: evaluations without a lower held-out nll after which training ends with the best averaged weights; 0 trains to
    the end and keeps the last ones.  tensorboard: write TensorBoard files to the run directory, too.
    seed: of everything random.
    """

    molecules: int = 4_000_000
    batch_size: int = 256
    accumulate: int = 1
    learning_rate: float = 1e-3
    warmup: int = 500
    decay: float = 1.0
    weight_decay: float = 0.01
    clip: float = 50.0
    ema: float = 0.999
    precision: str = "auto"
    compile: bool = True
    evaluate_every: int = 250_000
    save_every: float = 120.0
    patience: int = 0
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "molecules": self.molecules >= 1, "batch_size": self.batch_size >= 1, "learning_rate": self.learning_rate > 0,
            "warmup": self.warmup >= 0, "decay": 0 <= self.decay <= 1, "weight_decay": self.weight_decay >= 0,
            "clip": self.clip > 0, "ema": 0 <= self.ema < 1, "precision": self.precision in PRECISIONS,
            "accumulate": self.accumulate >= 1, "patience": self.patience >= 0, "evaluate_every": self.evaluate_every >= 1,
            "save_every": self.save_every >= 0,
        }  # fmt: skip
        for name, holds in bounds.items():
            if not holds:
                raise ConfigError(f"[training] {name} cannot be {getattr(self, name)!r}.")

    @property
    def step_size(self) -> int:
        """Molecules a step."""
        return self.batch_size * self.accumulate

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return math.ceil(self.molecules / self.step_size)

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, constant, then a cosine to zero over the last `decay` share."""
        start = self.steps * (1.0 - self.decay)
        fall = 1.0 if step < start else 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - start) / (self.steps - start))))
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup)) * fall


@dataclass(frozen=True)
class FineTuneSettings:
    """What fine-tuning does beside training.

    replay: molecules drawn from the base model for each one given. They are learned to be reconstructed, never to be
    generated: so the latent space keeps the rest of chemistry while the samples move to the new molecules.
    samples: molecules drawn for the memorisation report.
    """

    replay: float = 1.0
    samples: int = 1000

    def __post_init__(self) -> None:
        if not 0.0 <= self.replay <= 100.0:
            raise ConfigError(f"[fine_tuning] replay must be from 0 to 100, not {self.replay}.")
        if self.samples < 1:
            raise ConfigError(f"[fine_tuning] samples must be 1 or more, not {self.samples}.")
