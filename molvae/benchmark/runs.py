"""Many searches, each in its own run directory, made side by side: none is repeated, a killed one goes on.

A run is one task, one seed and one strategy, made by the search loop of users (`molvae.search.run.optimize`). When it has
ended, a file in its directory says so, with where it comes from. Everything that a table shows is read from the
directories (`molvae.benchmark.results`), so it does not matter how often, or in how many processes, they were made.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from molvae.benchmark.provenance import model_hash, provenance
from molvae.errors import ConfigError, MolvaeError
from molvae.files import write_json
from molvae.processes import begin_worker

DONE = "benchmark.json"  # written into a run directory when its run has ended
# One thread a process: runs side by side fill the cores, and threads that wait for each other only slow them down.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Run:
    """One search of a benchmark.

    folder: its run directory.  task: a registered oracle, maximised.  budget: oracle calls.  settings: of the strategy.
    model: name or path of a trained model.  script: what asked for it, for the record.  target, target_count: it ends early
    when so many molecules have at least this score.  start: SMILES to start from; none to start from the prior.
    """

    folder: Path
    task: str
    seed: int
    strategy: str
    budget: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = "zinc250k"
    script: str = "benchmark"
    target: float | None = None
    target_count: int = 1
    start: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether it has spent its budget, or stopped earlier because nothing was left to find."""
        about = read_done(self.folder)
        return about is not None and (about["budget"] >= self.budget or about["stopped"] != "budget")


@dataclass(frozen=True)
class Failure:
    """A run that did not end well, and why, as a sentence."""

    run: Run
    reason: str


def read_done(folder: Path) -> dict[str, Any] | None:
    """What the file says that a finished run leaves: task, strategy, settings, seed, budget, stopped, model, origin."""
    try:
        return json.loads((folder / DONE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def perform(run: Run, heard: Callable[[int], None] | None = None) -> None:
    """Make, continue or extend one run in this process. `heard` gets the calls spent, after each round."""
    from molvae.search.run import optimize

    result = optimize(
        run.task,
        budget=run.budget,
        start=run.start or None,
        strategy=run.strategy,
        settings=run.settings,
        model=run.model,
        seed=run.seed,
        out=run.folder,
        target=run.target,
        target_count=run.target_count,
        progress=(lambda report: heard(report.calls)) if heard is not None else None,
    )
    origin = provenance(run.script, data=model_hash(run.model), seed=run.seed, budget=f"{run.budget} calls")
    about = {"task": run.task, "strategy": run.strategy, "settings": dict(run.settings), "seed": run.seed}
    about |= {"budget": run.budget, "stopped": result.stopped, "model": run.model, "origin": origin}
    write_json(run.folder / DONE, about)


def make_runs(
    runs: Sequence[Run],
    workers: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
    ended: Callable[[Run], None] | None = None,
) -> list[Failure]:
    """Make all runs that are not done; in `workers` processes side by side, or in this one, one after the other, if 0.

    Returns the runs that failed; the others are made all the same. `progress` hears calls spent and calls in all, those of
    runs that were done before included; `ended` hears each run that has just ended well. Raises ConfigError for a setting
    that is wrong, which is wrong for every run, and for a negative number of workers. When it is left early, by Ctrl-C or
    an error, the processes are ended; what they measured is saved.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}; give 0 (work in this process) or a number of processes.")
    missing = [run for run in runs if not run.is_done]
    spent = {run.folder: run.budget for run in runs if run.is_done}
    total = sum(run.budget for run in runs)

    def hear(run: Run, calls: int) -> None:
        spent[run.folder] = calls
        if progress is not None:
            progress(sum(spent.values()), total)

    failures = []
    for run, outcome in _in_turn(missing, hear) if not workers else _side_by_side(missing, workers, hear):
        if isinstance(outcome, ConfigError):
            raise outcome
        if outcome is not None:
            failures.append(Failure(run, str(outcome)))
        hear(run, run.budget)
        if outcome is None and ended is not None:
            ended(run)
    return failures


def _in_turn(runs: Sequence[Run], hear: Callable[[Run, int], None]) -> Iterator[tuple[Run, MolvaeError | None]]:
    from molvae.search.run import Interrupted

    for run in runs:
        try:
            perform(run, lambda calls, run=run: hear(run, calls))
        except Interrupted:
            raise
        except MolvaeError as error:
            yield run, error
        else:
            yield run, None


def _side_by_side(
    runs: Sequence[Run], workers: int, hear: Callable[[Run, int], None]
) -> Iterator[tuple[Run, MolvaeError | None]]:
    """Each run in a spawned process of its own, so that no run inherits another's memory, or dies of another's fault."""
    waiting = list(runs)
    active: dict[Connection, tuple[Run, Any]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                run = waiting.pop(0)
                connection, process = _start(run)
                active[connection] = run, process
            for connection in wait(list(active)):
                run, process = active[connection]
                try:
                    kind, value = connection.recv()
                except EOFError:
                    process.join()
                    kind, value = "failed", f"its process ended with code {process.exitcode}, perhaps for want of memory."
                if kind == "calls":
                    hear(run, value)
                    continue
                del active[connection]
                connection.close()
                process.join()
                yield run, {"setting": ConfigError, "failed": MolvaeError}[kind](value) if kind != "done" else None
    finally:
        for connection, (_, process) in active.items():
            process.kill()  # every value it had is in its ledger
            process.join()
            connection.close()


def _start(run: Run) -> tuple[Connection, multiprocessing.context.SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, run), daemon=True, name="molvae-benchmark")
    with _one_thread():
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return ours, process


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started inside use one thread: numerical libraries ask the environment once, when they are loaded."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(connection: Connection, run: Run) -> None:
    """A worker process: one run, told of as ("calls", n), then ("done", None), ("setting", text) or ("failed", text)."""
    begin_worker()
    try:
        perform(run, lambda calls: connection.send(("calls", calls)))
        told = ("done", None)
    except ConfigError as error:
        told = ("setting", str(error))
    except MolvaeError as error:
        told = ("failed", str(error))
    with suppress(BrokenPipeError):
        connection.send(told)
