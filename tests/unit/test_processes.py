"""Jobs in worker processes: in order, few ahead, and no process left."""

import multiprocessing
import os
from contextlib import closing

import pytest

from molvae.errors import ConfigError, RunError
from molvae.processes import AHEAD, in_order, in_processes


def double(value: int) -> int:
    return 2 * value


def doubles(values: list[int]) -> list[int]:
    return [2 * value for value in values]


def die(value: int) -> None:
    os._exit(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order(workers: int) -> None:
    assert list(in_order(double, range(50), workers)) == list(range(0, 100, 2))
    heard: list[int] = []
    assert in_processes(doubles, [[1], [2, 3]], workers, heard.append) == [2, 4, 6]
    assert heard == [1, 3]


def test_jobs_are_read_as_they_are_needed_and_workers_end_early() -> None:
    read: list[int] = []

    def jobs():
        for value in range(1000):
            read.append(value)
            yield value

    with closing(in_order(double, jobs(), 1)) as results:
        assert [next(results), next(results)] == [0, 2]
        assert len(read) <= 2 + AHEAD
    assert not multiprocessing.active_children()


def test_a_dead_worker_is_a_sentence() -> None:
    with pytest.raises(RunError, match="a worker process died"):
        list(in_order(die, [1], 1))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers is -1"):
        next(in_order(double, [1], -1))
