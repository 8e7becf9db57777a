"""What a run directory says: settings, oracle calls, rounds, and the random screening beside it. All of it from files."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from molvae.chem import Core
from molvae.config import read_toml
from molvae.errors import RunError
from molvae.files import EventLog
from molvae.history import Evaluation, History
from molvae.ledger import read_evaluations

FLOOR = "random-floor"  # the folder, inside a run, of a random screening with the same budget


@dataclass(frozen=True)
class Run:
    """One search as its files tell it.

    config: the resolved settings.  evaluations: every oracle call, in order.  events: the lines of events.jsonl.
    floor: (M,) float64 scores of random screening in call order, or None if there was none.
    """

    directory: Path
    config: dict[str, Any]
    evaluations: list[Evaluation]
    events: list[dict[str, Any]]
    floor: np.ndarray | None = None

    @cached_property
    def scores(self) -> np.ndarray:
        """(N,) float64 in call order; NaN where the measurement failed."""
        return np.array([e.score for e in self.evaluations], dtype=np.float64)

    @property
    def budget(self) -> int:
        """Oracle calls allowed."""
        return int(self.config.get("budget", len(self.evaluations)))

    @cached_property
    def core(self) -> Core | None:
        """What every molecule keeps, if the search was told to."""
        return Core(keep) if (keep := self.config.get("keep")) else None

    @property
    def goal(self) -> str:
        """What was searched for, in words: "maximise QED, minimise dock, subject to SA<=4"."""
        objective = self.config.get("objective", {})
        terms = objective.get("terms", [])
        parts = [
            f"{term['direction']} " + (f"{term['weight']:g} x " if term["weight"] != 1 else "") + term["name"]
            for term in terms
        ]
        constraints = objective.get("constraints", [])
        goal = ", ".join(parts) + (f", subject to {', '.join(constraints)}" if constraints else "")
        goal += f", keeping {keep}" if (keep := self.config.get("keep")) else ""
        return goal + (f", only what passes {', '.join(filters)}" if (filters := self.config.get("filters")) else "")

    @property
    def title(self) -> str:
        """The names of what is optimised: "osimertinib_mpo"."""
        return ", ".join(term["name"] for term in self.config.get("objective", {}).get("terms", [])) or self.directory.name

    def best(self, k: int) -> list[Evaluation]:
        """Up to k evaluations with the highest scores, best first."""
        return History(self.evaluations).best(k)

    def failures(self) -> list[tuple[str, int]]:
        """Why calls failed, the most frequent reason first."""
        return Counter(e.reason for e in self.evaluations if e.failed).most_common()

    def seconds(self) -> tuple[float, float]:
        """Time spent choosing molecules, and measuring them, over all rounds."""
        rounds = [e for e in self.events if e.get("event") == "round"]
        return sum(e.get("ask_seconds", 0.0) for e in rounds), sum(e.get("measure_seconds", 0.0) for e in rounds)


def read_run(directory: str | os.PathLike[str]) -> Run:
    """Read the run directory of a search; one that is still running may be read as well.

    Raises RunError if it is not one, or holds no value yet.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise RunError(f"no run directory {directory}. Give the directory that `molvae optimize` wrote.")
    if not (directory / "ledger.sqlite").is_file() or not (directory / "config.toml").is_file():
        raise RunError(f"{directory} is not the run directory of a search: it has no config.toml and ledger.sqlite.")
    evaluations = read_evaluations(directory / "ledger.sqlite")
    if not evaluations:
        raise RunError(f"{directory} holds no measured molecule yet. Continue the search first.")
    floor = directory / FLOOR / "ledger.sqlite"
    return Run(
        directory=directory,
        config=read_toml(directory / "config.toml"),
        evaluations=evaluations,
        events=EventLog(directory / "events.jsonl").read(),
        floor=np.array([e.score for e in read_evaluations(floor)], dtype=np.float64) if floor.is_file() else None,
    )


def best_so_far(scores: np.ndarray) -> np.ndarray:
    """(N,) the highest finite score among the first 1, 2, ... calls; NaN before the first one."""
    return np.fmax.accumulate(scores) if len(scores) else scores


def top_so_far(scores: np.ndarray, k: int = 10) -> np.ndarray:
    """(N,) the mean of the k highest finite scores among the first 1, 2, ... calls (of all, while there are fewer)."""
    best: list[float] = []
    curve = np.full(len(scores), math.nan)
    for i, score in enumerate(scores.tolist()):
        if not math.isnan(score) and (len(best) < k or score > best[-1]):
            best = sorted([*best, score], reverse=True)[:k]
        if best:
            curve[i] = sum(best) / len(best)
    return curve
