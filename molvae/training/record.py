"""Where the numbers of a training run go: events.jsonl always, TensorBoard if asked for; and the early collapse alarm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molvae.files import EventLog

log = logging.getLogger(__name__)

SCALARS_EVERY = 20  # steps between points of the training curves in TensorBoard
LOW_RATE = 1.0  # nats a molecule: less than one yes-or-no question about it


class Record:
    """The log of one run. `silent` for all processes but the first: nothing is written."""

    def __init__(self, folder: Path, *, tensorboard: bool = False, silent: bool = False) -> None:
        self._events = None if silent else EventLog(folder / "events.jsonl")
        self._writer = open_tensorboard(folder) if tensorboard and not silent else None

    def event(self, name: str, **values: Any) -> None:
        """A line of events.jsonl."""
        if self._events:
            self._events.append(name, **values)

    def scalars(self, group: str, values: Mapping[str, float], step: int, molecules: int) -> None:
        """Points of curves over the molecules shown."""
        if self._writer and (group != "train" or step % SCALARS_EVERY == 0):
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, molecules)

    def close(self) -> None:
        """Write what is left to write."""
        if self._writer:
            self._writer.close()


def open_tensorboard(folder: Path) -> Any:
    """A TensorBoard writer into `folder/tensorboard`, or None, and a warning, if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning(
            "TensorBoard was asked for but is not installed. Run: pip install tensorboard. The same numbers are in %s",
            folder / "events.jsonl",
        )
        return None
    return SummaryWriter(str(folder / "tensorboard"))


class CollapseWatch:
    """Says during training, once, that the latent space seems to carry nothing: the end is too late to learn of it.

    It listens to the rate of every step (an average over about a hundred) and to the active units of every evaluation, and
    says nothing for the first `quiet_steps`.
    """

    def __init__(self, quiet_steps: int, min_active_units: int) -> None:
        self.quiet_steps, self.min_active_units = quiet_steps, min_active_units
        self.mean, self.heard, self.warned = 0.0, 0, False

    def hear(self, rate: float) -> str:
        """A step's rate in nats; returns what to be worried about, or ""."""
        self.heard += 1
        self.mean += (rate - self.mean) / min(self.heard, 100)
        low = self.heard >= self.quiet_steps and self.mean < LOW_RATE
        return self._warn(f"its rate is {self.mean:.2f} nats") if low else ""

    def look(self, metrics: Mapping[str, float]) -> str:
        """An evaluation's figures; returns what to be worried about, or ""."""
        units = metrics.get("active_units", self.min_active_units)
        low = self.heard >= self.quiet_steps and units < self.min_active_units
        return self._warn(f"it has {units:.0f} active units") if low else ""

    def _warn(self, what: str) -> str:
        if self.warned:
            return ""
        self.warned = True
        log.warning(
            'the latent space may be collapsing: %s. If it stays so, use kl_weight = "rate_target", or a smaller beta',
            what,
        )
        return what
