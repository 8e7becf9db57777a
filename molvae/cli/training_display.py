"""What `molvae train` shows: a bar with speed, nll, rate and beta, and a line for every evaluation."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from molvae.cli.terminal import say

Progress = Callable[[int, int, Mapping[str, float]], None]
Heard = Callable[[int, Mapping[str, float]], None]

LINES = 20  # lines in all where there is no terminal
SHOWN = (
    ("nll", "nll", "{:.2f}"), ("language_nll", "language nll", "{:.2f}"), ("conditional_nll", "conditional nll", "{:.2f}"),
    ("rate", "rate", "{:.1f} nats"), ("active_units", "active units", "{:.0f}"), ("exact_mean", "exact", "{:.1%}"),
    ("exact_sample", "sampled", "{:.1%}"), ("prior_faithful", "prior faithful", "{:.1%}"),
    ("property_mse", "property mse", "{:.3f}"),
)  # fmt: skip


def terms_text(terms: Mapping[str, float], speed: float) -> str:
    """The numbers beside the bar.

    >>> terms_text({"nll": 12.345, "rate": 48.21, "beta": 0.021, "loss": 13.0}, 1234.5)
    '1,234 molecules/s  nll 12.35  rate 48.2 nats  beta 0.0210'
    """
    parts = [f"{speed:,.0f} molecules/s"] if speed else []
    parts += [f"nll {terms['nll']:.2f}"] if "nll" in terms else []
    parts += [f"rate {terms['rate']:.1f} nats"] if "rate" in terms else []
    parts += [f"beta {terms['beta']:.4f}"] if "beta" in terms else []
    return "  ".join(parts)


def evaluation_text(molecules: int, metrics: Mapping[str, float]) -> str:
    """The line of an evaluation on held-out molecules.

    >>> evaluation_text(250000, {"nll": 3.2, "rate": 60.0, "active_units": 64, "exact_mean": 0.5})
    'held out, after 250,000: nll 3.20, rate 60.0 nats, active units 64, exact 50.0%'
    """
    parts = [
        f"{name} {form.format(metrics[key])}" for key, name, form in SHOWN if not math.isnan(metrics.get(key, math.nan))
    ]
    return f"held out, after {molecules:,}: " + ", ".join(parts)


@contextmanager
def training_display(silent: bool = False) -> Iterator[tuple[Progress, Heard]]:
    """Yield what `train` calls after every step and after every evaluation; on stderr, a bar if that is a terminal."""
    began: list[tuple[float, int]] = []

    def speed(done: int) -> float:
        if not began:
            began.append((time.monotonic(), done))
        seconds = time.monotonic() - began[0][0]
        return (done - began[0][1]) / seconds if seconds > 0.5 else 0.0

    if silent:
        yield lambda done, total, terms: None, lambda molecules, metrics: None
        return
    if not sys.stderr.isatty():
        milestone = [0.0]

        def line(done: int, total: int, terms: Mapping[str, float]) -> None:
            now = speed(done)
            if done >= milestone[0] or done >= total:
                say(f"{done:>10,}/{total:,}  {terms_text(terms, now)}")
                milestone[0] = done + total / LINES

        yield line, lambda molecules, metrics: say(evaluation_text(molecules, metrics))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, text="")

        def update(done: int, total: int, terms: Mapping[str, float]) -> None:
            bar.update(task, completed=done, total=total, text=terms_text(terms, speed(done)))

        def evaluated(molecules: int, metrics: Mapping[str, float]) -> None:
            bar.console.print(evaluation_text(molecules, metrics), highlight=False, soft_wrap=True)

        yield update, evaluated
