"""Jobs in worker processes: results in the order of the jobs, few jobs in flight, and no process left behind.

Workers are spawned, not forked: a fork of a process that uses threads can deadlock.
"""

from __future__ import annotations

import gc
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing import get_context
from typing import Any, TypeVar

from molvae.errors import ConfigError, RunError

AHEAD = 4  # jobs in flight a worker: none waits for the reader, and memory stays bounded

J = TypeVar("J")
R = TypeVar("R")


def in_order(function: Callable[[J], R], jobs: Iterable[J], workers: int) -> Iterator[R]:
    """The results of all jobs in their order; in `workers` processes, or in this one if 0.

    At most `AHEAD` jobs a worker are read ahead of the result that is yielded next. Close the iterator to end the workers
    early. Raises RunError if a worker dies, ConfigError for a negative number of workers.
    """
    if workers < 0:
        raise ConfigError(f"workers is {workers}; give 0 (work in this process) or a number of processes.")
    if not workers:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    waiting: deque[Future[R]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError("a worker process died, perhaps for want of memory. Use fewer --workers.") from error
    finally:
        pool.shutdown(cancel_futures=True)


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


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    gc.freeze()  # what the imports left is never searched for garbage again
