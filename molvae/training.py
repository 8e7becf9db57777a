"""fit(): the one visible training loop, for every variant.

Everything random in step s is drawn from a stream named after s, so no generator state is saved and a killed run, resumed
from its last state file, gives the same weights as one that was never killed (bit for bit on a CPU with one thread).
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from molvae.datasets import TokenTable, length_batches
from molvae.errors import CheckpointError, CollapsedModel, ConfigError, DivergedModel
from molvae.files import EventLog, atomic_path
from molvae.models.precision import autocast
from molvae.models.sequence_vae import Batch, SequenceVAE
from molvae.randomness import child_seed, torch_stream

log = logging.getLogger(__name__)

MIN_ACTIVE_UNITS = 2
PRECISIONS = ("auto", "bfloat16", "float32")


@dataclass(frozen=True)
class TrainSettings:
    """How to train. One step is one batch; `molecules` counts every molecule shown, repeats included.

    molecules: how many to show in all.  batch_size: rows a step.
    learning_rate: peak, after `warmup` steps; it falls as a cosine over the last `decay` share of training.
    weight_decay, clip: AdamW's decay, and the largest gradient norm (loss in nats per molecule).
    ema: decay of the averaged weights, which are what is evaluated and shipped.
    precision: "auto" (bfloat16 where the hardware multiplies it), "bfloat16" or "float32".
    compile: torch.compile on CUDA.  evaluate_every: molecules between evaluations.  save_every: seconds between state files.
    """

    molecules: int = 4_000_000
    batch_size: int = 256
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
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "molecules": self.molecules >= 1, "batch_size": self.batch_size >= 1, "learning_rate": self.learning_rate > 0,
            "warmup": self.warmup >= 0, "decay": 0 <= self.decay <= 1, "weight_decay": self.weight_decay >= 0,
            "clip": self.clip > 0, "ema": 0 <= self.ema < 1, "precision": self.precision in PRECISIONS,
        }  # fmt: skip
        for name, holds in bounds.items():
            if not holds:
                raise ConfigError(f"[training] {name} cannot be {getattr(self, name)!r}.")

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return math.ceil(self.molecules / self.batch_size)

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, constant, then a cosine to zero over the last `decay` share."""
        start = self.steps * (1.0 - self.decay)
        fall = 1.0 if step < start else 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - start) / (self.steps - start))))
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup)) * fall


@dataclass(frozen=True)
class Examples:
    """What a model learns from, one row a molecule.

    table: the strings to be written.
    sources: writings that the encoder may read, equally many for each molecule, the first being the table's own.
    properties: (n, P) float32 standardised values, NaN where unknown.
    """

    table: TokenTable
    sources: TokenTable | None = None
    properties: Tensor | None = None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def writings(self) -> int:
        """Writings a molecule that the encoder may read."""
        return 1 if self.sources is None else len(self.sources) // len(self.table)

    def select(self, rows: Tensor) -> Examples:
        """Some molecules with all that belongs to them."""
        blocks = (rows[:, None] * self.writings + torch.arange(self.writings)).flatten()
        return Examples(
            self.table.select(rows),
            None if self.sources is None else self.sources.select(blocks),
            None if self.properties is None else self.properties[rows],
        )

    def to(self, device: torch.device) -> Examples:
        """The same on another device."""
        return Examples(
            self.table.to(device),
            None if self.sources is None else self.sources.to(device),
            None if self.properties is None else self.properties.to(device),
        )

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The batch of some rows (B,), on their device. With a generator the encoder reads another writing half the time."""
        source = None
        if self.sources is not None and generator is not None:
            other = torch.randint(1, self.writings, (len(rows),), generator=generator)
            which = other.where(torch.rand(len(rows), generator=generator) < 0.5, 0)
            source = self.sources.batch(rows * self.writings + which.to(rows.device))
        return Batch(self.table.batch(rows), source, None if self.properties is None else self.properties[rows])


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that no state is saved of which half has made the step."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def refuse_divergence(terms: Mapping[str, float], step: int) -> None:
    """Raise DivergedModel before a gradient that is not finite reaches the weights; the last state file stays good."""
    if not math.isfinite(terms["gradient_norm"]):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
        raise DivergedModel(f"training diverged at step {step} ({shown}). Lower learning_rate or clip, then resume.")


def batches_from(table: TokenTable, settings: TrainSettings, step: int) -> Iterator[Tensor]:
    """Row numbers of the batches from `step` on, epoch after epoch; each epoch's order depends on (seed, epoch) only."""
    per_epoch = math.ceil(len(table) / settings.batch_size)
    epoch, skip = divmod(step, per_epoch)
    while True:
        order = length_batches(table.lengths, settings.batch_size, torch_stream(settings.seed, "order", epoch))
        yield from order[skip:]
        epoch, skip = epoch + 1, 0


class TrainState:
    """Everything a training run needs to go on: weights, averaged weights, optimizer moments, step."""

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
        self.step = 0

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

    def save(self, path: Path) -> None:
        """Write `state.safetensors` atomically."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"averaged.{k}": v for k, v in self.averaged.items()}
        for player, optimizer in self.optimizers.items():
            for i, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{player}.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
        with atomic_path(path) as partial:
            save_file(
                {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, partial, {"step": str(self.step)}
            )

    def load(self, path: Path) -> None:
        """Read `state.safetensors`. Raises CheckpointError if it is torn or belongs to another model."""
        from safetensors import safe_open

        try:
            tensors = load_file(path)
            with safe_open(path, "pt") as stream:
                self.step = int(stream.metadata()["step"])
            self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        except (SafetensorError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise CheckpointError(
                f"cannot resume from {path}: it is torn, or of another model ({str(error).splitlines()[0]}). "
                "Remove it to start again."
            ) from error
        for name, value in tensors.items():
            if name.startswith("averaged."):
                self.averaged[name[9:]].copy_(value)
        for player, optimizer in self.optimizers.items():
            table = optimizer.state_dict()
            for name, value in tensors.items():
                if name.startswith(f"optimizer.{player}."):
                    i, key = name.split(".")[2:]
                    table["state"].setdefault(int(i), {})[key] = value
            optimizer.load_state_dict(table)


Evaluate = Callable[[SequenceVAE, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]


def fit(
    model: SequenceVAE,
    examples: Examples,
    settings: TrainSettings,
    folder: str | Path,
    *,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
    publish: Callable[[SequenceVAE, int], None] | None = None,
) -> SequenceVAE:
    """Train `model` on `examples`, resuming from `folder/state.safetensors` if it is there; return it with averaged weights.

    evaluate(model, molecules) -> metrics, and publish(model, molecules), are called with the averaged weights in place, at
    every evaluation and at the end. progress(molecules, total, terms) is called every step.
    Writes `folder/events.jsonl` and `folder/state.safetensors`. KeyboardInterrupt saves the state and is raised again.
    Raises CollapsedModel if at the end fewer than two latent units are active, DivergedModel if a gradient is not finite,
    CheckpointError for a bad state file.
    """
    # 1. Where we are
    folder = Path(folder)
    device, events, state_file = model.device, EventLog(folder / "events.jsonl"), folder / "state.safetensors"
    state = TrainState(model, settings)
    if state_file.exists():
        state.load(state_file)
    examples = examples.to(device)
    compiled = torch.compile(model.losses) if settings.compile and device.type == "cuda" else model.losses
    events.append("train", step=state.step, settings=asdict(settings), device=str(device), rows=len(examples))
    terms: dict[str, float] = {}
    metrics: Mapping[str, float] = {}
    looked_at = -1
    saved = begun = time.monotonic()
    begun_at = state.step

    def look() -> None:
        nonlocal metrics, looked_at
        model.eval()
        with state.averaged_weights():
            seen = state.step * settings.batch_size
            metrics = evaluate(model, seen) if evaluate else {}
            if publish:
                publish(model, seen)
        model.train()
        looked_at = state.step
        speed = (state.step - begun_at) * settings.batch_size / max(time.monotonic() - begun, 1e-9)
        events.append(
            "evaluation",
            step=state.step,
            molecules=seen,
            molecules_per_second=round(speed, 1),
            step_terms=terms,
            **metrics,
        )

    # 2. The loop
    model.train()
    every = max(1, settings.evaluate_every // settings.batch_size)
    try:
        for rows in batches_from(examples.table, settings, state.step):
            if state.step >= settings.steps:
                break
            batch = examples.batch(rows.to(device), torch_stream(settings.seed, "writing", state.step))
            generator = torch_stream(settings.seed, "noise", state.step)
            with uninterrupted(), torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(child_seed(settings.seed, "dropout", state.step))  # dropout knows no other generator
                for player, optimizer in state.optimizers.items():
                    for group in optimizer.param_groups:
                        group["lr"] = settings.rate_at(state.step)
                    with autocast(device, settings.precision):
                        losses = compiled(batch, state.step, player, generator)
                    optimizer.zero_grad()
                    losses["loss"].backward()
                    norm = nn.utils.clip_grad_norm_((p for g in optimizer.param_groups for p in g["params"]), settings.clip)
                    terms = {**terms, **{k: float(v.detach()) for k, v in losses.items()}, "gradient_norm": float(norm)}
                    refuse_divergence(terms, state.step)
                    optimizer.step()
                model.after_step(terms)
                terms["beta"] = model.kl_weight.beta(state.step)
                state.step += 1
                state.average(settings.ema)

            # 3. Now and then: report, evaluate, save
            if progress:
                progress(min(state.step * settings.batch_size, settings.molecules), settings.molecules, terms)
            if state.step % every == 0:
                look()
            if time.monotonic() - saved > settings.save_every:
                state.save(state_file)
                saved = time.monotonic()
    except KeyboardInterrupt:
        state.save(state_file)
        raise

    # 4. The end: averaged weights, a last look, the collapse alarm
    state.save(state_file)
    if looked_at != state.step:
        look()
    model.load_state_dict(state.averaged)
    model.eval()
    if metrics.get("active_units", MIN_ACTIVE_UNITS) < MIN_ACTIVE_UNITS:
        events.append("collapsed", step=state.step)
        raise CollapsedModel(
            f"the model collapsed: {metrics['active_units']:.0f} active units, rate {metrics.get('rate', 0.0):.2f} nats. "
            'Use kl_weight = "rate_target", or a smaller beta.'
        )
    return model
