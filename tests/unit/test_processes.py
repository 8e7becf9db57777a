"""Jobs in worker processes: in order, few ahead, and no process left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import molvae
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


KILLED = """
import itertools, os, signal
from molvae.processes import in_order
if __name__ == "__main__":
    for pid in in_order(eval, itertools.repeat("__import__('os').getpid()"), 1):
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    here = {**os.environ, "PYTHONPATH": str(Path(molvae.__file__).parents[1])}
    ended = subprocess.run([sys.executable, program], stdout=subprocess.PIPE, text=True, check=False, env=here)
    assert ended.returncode == -signal.SIGKILL
    worker = int(ended.stdout)
    deadline = time.monotonic() + 30
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(worker)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
