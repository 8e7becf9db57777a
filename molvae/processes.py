"""Jobs in worker processes: results in the order of the jobs, few jobs in flight, and no process left behind.

Workers are spawned, not forked: a fork of a process that uses threads can deadlock.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, Self, TypeVar

from molvae.errors import ConfigError, RunError

AHEAD = 4  # jobs in flight a worker: none waits for the reader, and memory stays bounded

J = TypeVar("J")
R = TypeVar("R")


class Pool:
    """Worker processes that several streams of jobs share; with 0 of them, jobs are done in this process.

    Leaving the context ends the workers. Raises ConfigError for a negative number.
    """

    def __init__(self, workers: int) -> None:
        check_workers(workers)
        self._workers = workers
        self._executor = (
            ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=begin_worker) if workers else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def in_order(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """The results of all jobs in their order.

        At most `AHEAD` jobs a worker are read ahead of the result that is yielded next. The jobs may be made of results of
        the same pool. Raises RunError if a worker dies.
        """
        if not self._executor:
            yield from map(function, jobs)
            return
        waiting: deque[Future[R]] = deque()
        try:
            for job in jobs:
                waiting.append(self._executor.submit(function, job))
                if len(waiting) >= AHEAD * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise RunError("a worker process died, perhaps for want of memory. Use fewer --workers.") from error


def check_workers(workers: int) -> None:
    """Raise ConfigError for a negative number of worker processes."""
    if workers < 0:
        raise ConfigError(f"workers is {workers}; give 0 (work in this process) or a number of processes.")


def in_order(function: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    """`Pool.in_order` with a pool of its own, which ends with the iterator. Close it to end the workers early."""
    with Pool(workers) as pool:
        yield from pool.in_order(function, jobs)


def in_processes(
    function: Callable[[Any], list[Any]], jobs: Sequence[Any], workers: int, done: Callable[[int], None] | None = None
) -> list[Any]:
    """The results of all jobs in order, joined into one list. `done` hears how long the list is."""
    results: list[Any] = []
    with closing(in_order(function, jobs, workers)) as parts:  # type: ignore[type-var]
        for part in parts:
            results += part
            if done:
                done(len(results))
    return results


def begin_worker() -> None:
    """What a worker process does first: it leaves Ctrl-C, which reaches the whole group, to its parent, and ends with it.

    A parent that is killed cannot end its workers, and they would wait for the next job for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent := parent_process():
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    gc.freeze()  # what the imports left is never searched for garbage again


def begin_yielding_worker() -> None:
    """`begin_worker`, for work that a busy parent feeds: where cores are fewer than processes, the parent goes first.

    A parent that shared its core evenly would fall behind, and its workers would then wait for it with nothing to do.
    """
    begin_worker()
    if hasattr(os, "nice"):
        os.nice(10)


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
