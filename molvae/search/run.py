"""`optimize`: one search in one run directory, started, continued after a kill, or extended by a larger budget.

A run directory holds config.toml (every setting, defaults included), ledger.sqlite (every oracle call), events.jsonl (one
line a round) and molecules.csv (one row an oracle call, in order).
"""

from __future__ import annotations

import csv
import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molvae.chem import Core, canonical
from molvae.config import read_toml, to_toml, write_toml
from molvae.errors import ConfigError, InvalidMolecule, MolvaeError, RunError
from molvae.files import EventLog, atomic_path
from molvae.history import Evaluation, History, term_headings
from molvae.ledger import Counters, Ledger
from molvae.objective import Objective
from molvae.search.demands import Demands
from molvae.search.loop import RoundReport, Target, search
from molvae.search.space import LatentModel, SearchSpace, latent_model
from molvae.search.strategies.base import STRATEGIES
from molvae.search.strategies.base import resolved as resolved_strategy
from molvae.workers import make_executor

logger = logging.getLogger(__name__)

_MAY_CHANGE = (
    "budget",
    "workers",
    "time_limit",
    "target",
    "target_count",
)  # settings that do not change which molecules a search chooses
# Settings that early run directories do not have, and what they were then; None if that is not known.
_ONCE_UNKNOWN = {"model_hash": None, "ahead": False, "keep": "", "filters": []}


class Interrupted(MolvaeError):
    """The search was stopped by Ctrl-C; everything measured is saved."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    directory: the run directory.  evaluations: every oracle call, in order.  counters: what was free and what was paid.
    stopped: why: the "budget" is spent, the "target" reached, or the search has "stalled".
    refused: in words, what candidates were refused without a call since the search was last started, and why; "" if none.
    """

    directory: Path
    evaluations: list[Evaluation]
    counters: Counters
    stopped: str
    refused: str = ""

    def best(self, k: int = 10) -> list[Evaluation]:
        """Up to `k` evaluations with the highest scores, best first."""
        return History(self.evaluations).best(k)


def optimize(
    objective: Objective | str,
    *,
    budget: int,
    start: Sequence[str] | None = None,
    keep: str = "",
    filters: Sequence[str] = (),
    strategy: str = "default",
    model: str | LatentModel = "zinc250k",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    workers: int = 0,
    time_limit: float | None = None,
    ahead: bool = False,
    target: float | None = None,
    target_count: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[RoundReport], None] | None = None,
) -> SearchResult:
    """Search for molecules with a high objective, with at most `budget` oracle calls.

    Parameters
    ----------
    objective: an Objective, or the name of an oracle to maximise ("osimertinib_mpo", "dock.py:score").
    budget: oracle calls, those of the start molecules included. Invalid and known molecules cost nothing.
    start: SMILES to begin with, measured first; without them the search begins with draws from the model's prior.
    keep: a substructure, as SMILES or SMARTS, that every molecule must hold (`chem.Core`); those without it cost no calls.
        All start molecules must hold it, and there must be some.
    filters: what a molecule must pass before a call is spent on it, such as ["sane", "alerts", "SA<=4"]
        (`generation.filters.read_filters`); start molecules are measured in any case.
    strategy: a registered name, or one of your own as "mine.py:choose" (`search.strategies.own`).
    settings: those of the strategy, e.g. {"batch": 10}.
    model: name or path of a trained model, or a loaded one.
    seed: the same seed gives the same run, at any number of workers.
    out: the run directory, "runs/<objective>-<strategy>-<seed>" by default. The same call on the same directory continues
        a run that was killed; a larger budget extends one that has finished.
    workers: processes to measure in; 0 for this one.  time_limit: seconds a molecule may take before it counts as failed.
    ahead: choose the next molecules while the workers measure, and learn of every value one round later: for oracles that
        take as long as choosing does. It is another search than without, at any number of workers the same one.
    target, target_count: stop after the round in which so many molecules have at least this score.
    progress: called after each round.

    Raises ConfigError for wrong settings, RunError if the directory belongs to another run or cannot be written, or if no
    molecule passes the filters, InvalidMolecule for a start molecule that cannot be parsed, OracleError if nothing can be
    measured, and Interrupted after Ctrl-C. Whatever was measured before stays in the run directory.
    """
    if budget < 1:
        raise ConfigError(f"budget is {budget}; give the number of oracle calls, at least 1.")
    if ahead and workers < 1:
        raise ConfigError("asking ahead needs processes that measure meanwhile; give a number of workers, at least 1.")
    if target_count < 1:
        raise ConfigError(f"target_count is {target_count}; give the number of molecules that is enough, at least 1.")
    name = objective if isinstance(objective, str) else "search"
    objective = Objective.from_specs(maximise=[objective]) if isinstance(objective, str) else objective
    start = canonical_start(start or ())
    core = _core(keep, start)
    chosen = resolved_strategy(strategy, settings or {})
    loaded = latent_model(model)
    resolved = {
        "seed": seed,
        "budget": budget,
        "model": model if isinstance(model, str) else getattr(model, "name", "") or type(model).__name__,
        "model_hash": getattr(loaded, "weights_hash", ""),  # SHA-256 of its weights
        "workers": workers,
        "time_limit": time_limit,
        "ahead": ahead,
        "target": target,
        "target_count": target_count,
        "start": start,
        "keep": keep,
        "filters": list(filters),
        "strategy": chosen,
        "objective": objective.describe(),
    }
    directory = Path(out) if out is not None else Path("runs") / f"{slug(name)}-{slug(strategy)}-{seed}"
    _refuse_other_config(directory, resolved)
    demands = Demands(core, filters, loaded)
    space = SearchSpace(loaded, start=tuple(start), seed=seed, demands=demands or None)
    chooser = STRATEGIES.build(strategy, settings, space)
    executor = make_executor(objective, workers, time_limit)
    with executor, Ledger(directory / "ledger.sqlite", objective, budget, executor) as ledger:
        write_toml(directory / "config.toml", resolved)
        events = EventLog(directory / "events.jsonl")
        events.append("start", calls=ledger.calls, budget=budget)
        try:
            enough = Target(target, target_count) if target is not None else None
            stopped = search(chooser, ledger, events, seed=seed, ahead=ahead, target=enough, progress=progress)
        except KeyboardInterrupt:
            events.append("interrupted", calls=ledger.calls)
            raise Interrupted(
                f"stopped after {ledger.calls - ledger.pending} of {budget} calls; they are saved in {directory}. "
                "Run the same command to continue."
            ) from None
        finally:
            write_molecules(directory / "molecules.csv", ledger.evaluations())
        events.append("stop", reason=stopped, calls=ledger.calls)
        if not ledger.calls and demands.n_refused:
            raise RunError(f"nothing was measured: {demands.told()}. Loosen the filters, or give molecules to start from.")
        return SearchResult(directory, ledger.evaluations(), ledger.counters, stopped, demands.told())


def write_molecules(path: str | os.PathLike[str], evaluations: Sequence[Evaluation]) -> None:
    """One row an oracle call, in order: call, smiles, score, source, round, the components, and why a call failed.

    Scores and components are written in full, so that reading them back gives the same numbers; a missing one is empty.
    A component that has the name of another column, such as score, is called "score (term)".
    """
    components = list(dict.fromkeys(name for e in evaluations for name in e.components))
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        before, after = ["call", "smiles", "score", "source", "round"], ["reason"]
        table.writerow([*before, *term_headings(components, [*before, *after]), *after])
        for e in evaluations:
            parts = [_cell(e.components.get(name)) for name in components]
            table.writerow([e.call, e.smiles, _cell(e.score), e.source, e.round, *parts, e.reason])


def canonical_start(start: Sequence[str]) -> list[str]:
    """The start molecules as distinct canonical SMILES. Raises InvalidMolecule for the first that cannot be parsed."""
    found: dict[str, None] = {}
    for position, smiles in enumerate(start, 1):
        written = canonical(smiles)
        if written is None:
            raise InvalidMolecule(
                f"start molecule {position} ({smiles!r}) is not a valid SMILES. Correct it or leave it out."
            )
        found.setdefault(written)
    return list(found)


def slug(name: str) -> str:
    """A name that is safe as a part of a path."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60] or "search"


def _core(keep: str, start: Sequence[str]) -> Core | None:
    if not keep:
        return None
    core = Core(keep)
    if not start:
        raise ConfigError(f"to keep {keep} a search needs molecules to start from that hold it. Give some with --start.")
    for smiles in start:
        if not core.is_in(smiles):
            raise ConfigError(
                f"start molecule {smiles} does not hold {keep} (read as {core.language}). Leave it out, or keep less."
            )
    return core


def _refuse_other_config(directory: Path, resolved: Mapping[str, Any]) -> None:
    """Raise RunError if the directory holds a run with other settings, naming the first that differs."""
    path = directory / "config.toml"
    if not path.exists():
        return
    before, now = dict(_flat(read_toml(path))), dict(_flat(tomllib.loads(to_toml(resolved))))
    for key in [*before, *now]:
        had = before.get(key, _ONCE_UNKNOWN.get(key))
        if key in _MAY_CHANGE or (key in _ONCE_UNKNOWN and had is None):
            continue
        if key == "strategy.file_hash" and had is not None and now.get(key) is not None:
            if had != now[key]:
                logger.warning("the strategy's file has changed; from here on the new one chooses")
            continue
        if had != now.get(key):
            raise RunError(
                f"{directory} holds a run with {key} = {had!r}, and this one has {now.get(key)!r}. "
                "Use the same settings to continue it, or another directory with -o."
            )


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _cell(value: float | None) -> str:
    return "" if value is None or value != value else repr(float(value))
