"""Where measurements run: in this process, or in worker processes that may hang, crash or be killed.

Both executors yield `(position, Measurement)` as values return, in any order. A measurement that raises, dies or takes
longer than its time limit costs a NaN with a reason, never the run. An objective that says `chunk` gets up to so many
molecules at once, as many as it measures in a second or two: a command is not started for each molecule, and little is in
flight. What raises, dies or is late in company is measured again alone, so that no molecule pays for another.

Workers are spawned, not forked (a fork of a process that uses threads can deadlock), and end themselves when the process
that started them is gone.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Protocol

from molvae.errors import ConfigError, OracleError, error_text
from molvae.oracles.base import Measurement

logger = logging.getLogger(__name__)

_START_LIMIT = 300.0  # seconds for a worker to import and unpickle the objective; a cold disk and torch take a minute
_START_TRIES = 2  # starts of a worker that end before it is ready, one after the other, until the run is refused


_BRIEF, _LONG = 1.0, 3.0  # seconds: chunks that take less grow, chunks that take more shrink


class Measurable(Protocol):
    """Anything with `measure`: an objective or an oracle. It may have `chunk`, the most molecules that it takes at once."""

    def measure(self, smiles: Sequence[str]) -> list[Measurement]: ...


class Executor(ABC):
    """Runs one objective over molecules. A context manager; `close` ends what it started."""

    @abstractmethod
    def measure(self, smiles: Sequence[str]) -> Iterator[tuple[int, Measurement]]:
        """Yield `(position in smiles, Measurement)` for each molecule once, as they complete."""

    @abstractmethod
    def close(self) -> None:
        """End the workers, if there are any."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_executor(objective: Measurable, workers: int = 0, time_limit: float | None = None) -> Executor:
    """The executor for `workers` processes (0: this process) and a limit of `time_limit` seconds a molecule (None: none).

    A time limit needs a process that can be killed, so with one there is at least one worker.
    Raises ConfigError for a negative number.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}; give 0 (measure in this process) or a number of processes.")
    if time_limit is not None and not time_limit > 0:
        raise ConfigError(f"time_limit is {time_limit}; give the seconds a molecule may take, or leave it out for no limit.")
    if workers == 0 and time_limit is None:
        return InProcess(objective)
    return ProcessPool(objective, workers=max(1, workers), time_limit=time_limit)


def measure_all(objective: Measurable, smiles: Sequence[str]) -> list[Measurement]:
    """One measurement a molecule; whatever the objective raises or returns wrongly becomes a NaN with a reason."""
    try:
        values = objective.measure(smiles)
        reason = f"the objective returned {len(values)} values for {len(smiles)} molecule{'s' if len(smiles) > 1 else ''}"
    except Exception as error:  # noqa: BLE001 - user code: its text is the reason
        values, reason = [], error_text(error)
    if len(values) == len(smiles):
        return values
    if len(smiles) == 1:
        return [Measurement.failed(reason)]
    return [measure_all(objective, [one])[0] for one in smiles]


class _Pace:
    """How many molecules are handed over at once: one at first, then twice or half as many, by the time that it takes."""

    def __init__(self, objective: Measurable) -> None:
        self._most = max(1, int(getattr(objective, "chunk", 1)))
        self._size = 1

    def share(self, n_waiting: int, n_takers: int = 1) -> int:
        """How many of those that wait one taker gets, so that the others have work too."""
        return min(self._size, -(-n_waiting // n_takers))

    def took(self, n: int, seconds: float) -> None:
        """Hear how long n molecules took."""
        if seconds > _LONG:
            self._size = max(1, n // 2)
        elif n == self._size and seconds < _BRIEF:
            self._size = min(self._most, 2 * n)

    def stumbled(self) -> None:
        """Hear that a chunk came to nothing."""
        self._size = 1


class InProcess(Executor):
    """Measures in the calling process, chunk by chunk, so that each is on disk before the next is computed."""

    def __init__(self, objective: Measurable) -> None:
        self._objective = objective
        self._pace = _Pace(objective)

    def measure(self, smiles: Sequence[str]) -> Iterator[tuple[int, Measurement]]:
        at = 0
        while at < len(smiles):
            part = list(smiles[at : at + self._pace.share(len(smiles) - at)])
            began = time.monotonic()
            values = measure_all(self._objective, part)
            self._pace.took(len(part), time.monotonic() - began)
            yield from enumerate(values, at)
            at += len(part)

    def close(self) -> None:
        """Nothing was started."""


_Outcome = tuple[list[int], list[Measurement] | None]
_NOTHING_YET: _Outcome = ([], [])


class ProcessPool(Executor):
    """Measures in `workers` spawned processes, one molecule or chunk at a time each.

    Parameters
    ----------
    objective: must be picklable, as every registered oracle is.
    workers: number of processes, at least 1; they start at the first measurement.
    time_limit: seconds a molecule may take before its worker is killed; None for no limit. Starting up does not count. A
        chunk has the time of all its molecules; when that is over, each is measured again alone, with its own limit.

    `measure` raises OracleError if the objective cannot be sent to or loaded in a worker.
    """

    def __init__(self, objective: Measurable, *, workers: int, time_limit: float | None = None) -> None:
        assert workers >= 1, "a pool has workers"
        try:
            self._payload = pickle.dumps(objective)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise OracleError(
                f"the objective cannot be sent to worker processes ({error_text(error)}). Put the function into a file and "
                "name it as FILE.py:FUNCTION, or measure without workers and time limit."
            ) from error
        self._time_limit = time_limit
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker | None] = [None] * workers
        self._failed_starts = 0
        self._pace = _Pace(objective)

    def measure(self, smiles: Sequence[str]) -> Iterator[tuple[int, Measurement]]:
        waiting, alone = deque(range(len(smiles))), deque[int]()
        try:
            while waiting or alone or any(w is not None and w.job for w in self._workers):
                self._hand_out(waiting, alone, smiles)
                for slot in self._ready_slots():
                    job, values = self._collect(slot)
                    if values is None:
                        alone.extend(job)
                    else:
                        yield from zip(job, values, strict=True)
        finally:
            # Left early (Ctrl-C, an error): what still runs belongs to a batch nobody waits for.
            for slot, worker in enumerate(self._workers):
                if worker is not None and worker.job:
                    self._drop(slot)

    def close(self) -> None:
        for slot, worker in enumerate(self._workers):
            if worker is not None:
                self._drop(slot)

    def _hand_out(self, waiting: deque[int], alone: deque[int], smiles: Sequence[str]) -> None:
        for slot in range(len(self._workers)):
            if not waiting and not alone:
                return
            worker = self._workers[slot]
            if worker is not None and not worker.job and not worker.process.is_alive():
                self._drop(slot)  # it ended between two jobs, which is no molecule's fault
                worker = None
            if worker is None:
                worker = self._workers[slot] = _Worker(self._context, self._payload)
            if not worker.job:
                n = 0 if alone else self._pace.share(len(waiting), len(self._workers))
                job = [waiting.popleft() for _ in range(n)] or [alone.popleft()]
                worker.give(job, [smiles[i] for i in job], self._time_limit)

    def _ready_slots(self) -> list[int]:
        """Slots of busy workers that have something to say, have ended, or are past their deadline."""
        busy = {slot: worker for slot, worker in enumerate(self._workers) if worker is not None and worker.job}
        now = time.monotonic()
        patience = min(worker.deadline for worker in busy.values()) - now
        timeout = None if math.isinf(patience) else max(0.0, patience)
        talking = wait([worker.connection for worker in busy.values()], timeout=timeout)
        now = time.monotonic()
        return [slot for slot, worker in busy.items() if worker.connection in talking or worker.deadline <= now]

    def _collect(self, slot: int) -> _Outcome:
        """What a worker has now: the positions of its job and their values, or no values if each is to be measured alone."""
        worker = self._workers[slot]
        assert worker is not None and worker.job, "only busy workers are collected"
        job = worker.job
        try:
            if not worker.connection.poll():
                return self._late(slot, job)
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            return self._dead(slot, job)
        if kind == "ready":
            self._failed_starts = 0
            worker.start_clock(self._time_limit)
            return _NOTHING_YET
        if kind == "broken":
            raise OracleError(f"a worker process cannot load the objective: {value}")
        self._pace.took(len(job), time.monotonic() - worker.began)
        worker.job = []
        worker.deadline = math.inf
        return job, value

    def _late(self, slot: int, job: list[int]) -> _Outcome:
        worker = self._workers[slot]
        started = worker is not None and worker.started
        self._drop(slot)
        if not started:
            raise OracleError(f"a worker process was not ready after {_START_LIMIT:g} s. Try fewer workers.")
        if len(job) > 1:
            self._pace.stumbled()
            return job, None
        logger.warning("a worker was killed at the time limit of %g s", self._time_limit)
        return job, [Measurement.failed(f"time limit: no value within {self._time_limit:g} s")]

    def _dead(self, slot: int, job: list[int]) -> _Outcome:
        worker = self._workers[slot]
        assert worker is not None, "a dead worker is still in its slot"
        code = worker.exit_code()
        started, smiles = worker.started, worker.smiles
        self._drop(slot)
        if started and len(job) > 1:
            self._pace.stumbled()
            return job, None
        if started:
            logger.warning("a worker %s", code)
            return job, [Measurement.failed(f"the worker process {code}")]
        self._failed_starts += 1
        if self._failed_starts >= _START_TRIES:
            raise OracleError(
                f"worker processes do not start: the last one {code}; its own message is above. A script that uses workers "
                "must call molvae under `if __name__ == '__main__':`."
            )
        replacement = self._workers[slot] = _Worker(self._context, self._payload)
        replacement.give(job, smiles, self._time_limit)
        return _NOTHING_YET

    def _drop(self, slot: int) -> None:
        worker, self._workers[slot] = self._workers[slot], None
        if worker is not None:
            worker.kill()


class _Worker:
    """One process with its pipe; `job` holds the positions it works on, `deadline` is the moment when it is killed."""

    def __init__(self, context: multiprocessing.context.SpawnContext, payload: bytes) -> None:
        self.connection, theirs = context.Pipe(duplex=True)
        self.process = context.Process(target=_work, args=(theirs, payload), daemon=True, name="molvae-oracle")
        self.process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        self.started = False
        self.job: list[int] = []
        self.smiles: list[str] = []
        self.began, self.deadline = 0.0, math.inf

    def give(self, job: list[int], smiles: list[str], time_limit: float | None) -> None:
        self.job, self.smiles = job, smiles
        if self.started:
            self.start_clock(time_limit)
        else:
            self.deadline = time.monotonic() + _START_LIMIT
        try:
            self.connection.send(smiles)
        except OSError:
            logger.debug("a worker ended between two jobs")  # the pipe says so when the result is collected

    def start_clock(self, time_limit: float | None) -> None:
        self.started, self.began = True, time.monotonic()
        self.deadline = math.inf if time_limit is None else self.began + time_limit * len(self.job)

    def exit_code(self) -> str:
        """How the process ended, as the rest of a sentence."""
        self.process.join(timeout=5)
        code = self.process.exitcode
        if code is None:
            return "closed its pipe"
        if code < 0:
            return f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"ended with exit code {code}"

    def kill(self) -> None:
        """End the process and the programs it has started."""
        _kill_group(self.process.pid)
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(connection: Connection, payload: bytes) -> None:
    """The worker process: load the objective once, then answer one list of molecules after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # a group of its own, so that a docking program ends together with the worker that waits for it
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        objective = pickle.loads(payload)  # noqa: S301 - made by our own parent process a moment ago
    except Exception as error:  # noqa: BLE001 - importing user code: its text is the message
        connection.send(("broken", error_text(error)))
        return
    connection.send(("ready", None))
    while True:
        try:
            smiles = connection.recv()
        except EOFError:
            return
        connection.send(("value", measure_all(objective, smiles)))


def end_with_parent() -> None:
    """End this process at once when its parent is gone, even in the middle of a measurement that hangs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        _kill_group(os.getpid())
        os._exit(1)


def _kill_group(pid: int | None) -> None:
    """Kill a worker's process group, if it has made one and the system has groups."""
    if pid is not None and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
