"""Executors: a measurement that raises, hangs or dies costs a NaN with a reason, never the run."""

import math
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes import Misbehaving

from molvae.errors import ConfigError, OracleError
from molvae.oracles.base import Measurement
from molvae.workers import InProcess, ProcessPool, make_executor


class CannotBeLoaded:
    """Pickles, and raises when it is read back in the worker."""

    def __reduce__(self) -> tuple:
        return (_raise, ("licence server not reached",))

    def measure(self, smiles: list[str]) -> list[Measurement]:
        return []


def _raise(message: str) -> None:
    raise RuntimeError(message)


class DiesOnLoading(CannotBeLoaded):
    def __reduce__(self) -> tuple:
        return (os._exit, (3,))


class ProcessIds:
    """Measures the number of the process that measures."""

    def measure(self, smiles: list[str]) -> list[Measurement]:
        return [Measurement(float(os.getpid())) for _ in smiles]


@dataclass(frozen=True)
class CallsAProgram:
    """Starts a program that takes an hour, notes its process number, and waits for it."""

    path: Path

    def measure(self, smiles: list[str]) -> list[Measurement]:
        program = subprocess.Popen(["sleep", "3600"])
        self.path.write_text(str(program.pid))
        return [Measurement(float(program.wait()))]


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie that nobody has collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_program_ends_with_the_worker_that_waits_for_it(tmp_path: Path) -> None:
    with ProcessPool(CallsAProgram(tmp_path / "pid"), workers=1, time_limit=1.0) as pool:
        ((_, late),) = pool.measure(["C"])
    assert late.reason.startswith("time limit")
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if not is_running(pid):
            return
        time.sleep(0.01)
    pytest.fail("the program outlived its worker")


def test_a_pool_survives_every_fault_and_gives_the_rest(tmp_path: Path) -> None:
    faults = {"C": "die", "CC": "hang", "CCC": "raise", "CCCC": "exit", "CCCCC": "short"}
    smiles = ["N", *faults, "CN", "CCN"]
    with ProcessPool(Misbehaving(faults), workers=2, time_limit=1.0) as pool:
        found = dict(pool.measure(smiles))
        again = dict(pool.measure(["CCO"]))
    assert sorted(found) == list(range(len(smiles))), "every position exactly once"
    by_smiles = {smiles[i]: m for i, m in found.items()}
    assert [by_smiles[s].value for s in ("N", "CN", "CCN")] == [0.0, 1.0, 2.0]
    assert all(math.isnan(by_smiles[s].value) for s in faults)
    assert by_smiles["C"].reason == "the worker process was killed by signal 9 (Killed)"
    assert by_smiles["CC"].reason == "time limit: no value within 1 s"
    assert by_smiles["CCC"].reason == "ValueError: no pose found"
    assert by_smiles["CCCC"].reason == "the worker process ended with exit code 7"
    assert by_smiles["CCCCC"].reason == "the objective returned 0 values for 1 molecule"
    assert again[0].value == 2.0


@dataclass(frozen=True)
class Chunks(Misbehaving):
    """`Misbehaving` that takes many at once, and notes how many each time."""

    path: Path
    chunk: int = 8
    seconds: float = 0.0

    def measure(self, smiles: list[str]) -> list[Measurement]:
        with self.path.open("a") as stream:
            stream.write(f"{len(smiles)}\n")
        time.sleep(self.seconds * len(smiles))
        return super().measure(smiles)


def sizes(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.mark.parametrize("workers", [0, 1])
def test_chunks_grow_while_they_are_brief(tmp_path: Path, workers: int) -> None:
    smiles = ["C" * n for n in range(1, 31)]
    with make_executor(Chunks({}, tmp_path / "sizes"), workers) as executor:
        found = dict(executor.measure(smiles))
    assert [found[i].value for i in range(30)] == [float(n) for n in range(1, 31)]
    assert sizes(tmp_path / "sizes") == [1, 2, 4, 8, 8, 7]


def test_slow_molecules_are_measured_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.workers._BRIEF", 0.02)
    monkeypatch.setattr("molvae.workers._LONG", 0.05)
    with make_executor(Chunks({}, tmp_path / "sizes", seconds=0.03)) as executor:
        assert len(dict(executor.measure(["C"] * 5))) == 5
    assert sizes(tmp_path / "sizes") == [1] * 5


def test_one_bad_molecule_of_a_chunk_costs_only_itself(tmp_path: Path) -> None:
    faults = {"CC": "die", "CCCCC": "hang", "CCCCCCC": "raise", "CCCCCCCCC": "short"}
    smiles = ["C" * n for n in range(1, 13)]
    with ProcessPool(Chunks(faults, tmp_path / "sizes"), workers=1, time_limit=0.4) as pool:
        found = list(pool.measure(smiles))
    assert sorted(position for position, _ in found) == list(range(12)), "every position exactly once"
    by_smiles = {smiles[i]: m for i, m in found}
    assert {s: m.value for s, m in by_smiles.items() if s not in faults} == {
        s: float(len(s)) for s in smiles if s not in faults
    }
    reasons = [by_smiles[s].reason for s in faults]
    assert reasons[0] == "the worker process was killed by signal 9 (Killed)"
    assert reasons[1] == "time limit: no value within 0.4 s"
    assert reasons[2:] == ["ValueError: no pose found", "the objective returned 0 values for 1 molecule"]
    assert max(sizes(tmp_path / "sizes")) > 1


def test_two_workers_share_what_waits(tmp_path: Path) -> None:
    with ProcessPool(Chunks({}, tmp_path / "sizes", chunk=64), workers=2) as pool:
        list(pool.measure(["C"] * 64))
        before = len(sizes(tmp_path / "sizes"))
        list(pool.measure(["C"] * 4))
    assert sorted(sizes(tmp_path / "sizes")[before:]) == [1, 1, 2], "half of what waits for each that asks"


def test_workers_are_other_processes_and_are_kept() -> None:
    with ProcessPool(ProcessIds(), workers=1) as pool:
        first = {m.value for _, m in pool.measure(["C", "CC"])}
        second = {m.value for _, m in pool.measure(["C"])}
    assert first == second
    assert float(os.getpid()) not in first


def test_leaving_early_ends_the_worker_that_still_measures() -> None:
    with ProcessPool(Misbehaving({"C": "hang"}), workers=2) as pool:
        for position, _ in pool.measure(["C", "CC"]):
            assert position == 1
            processes = [w.process for w in pool._workers if w is not None]
            break
    assert not any(p.is_alive() for p in processes)


def test_a_worker_killed_between_two_batches_is_replaced() -> None:
    with ProcessPool(ProcessIds(), workers=1) as pool:
        ((_, before),) = pool.measure(["C"])
        os.kill(int(before.value), 9)
        while pool._workers[0].process.is_alive():
            time.sleep(0.01)
        ((_, after),) = pool.measure(["CC"])
    assert after.value != before.value
    assert not after.reason


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [(CannotBeLoaded(), "RuntimeError: licence server not reached"), (DiesOnLoading(), "ended with exit code 3")],
)
def test_an_objective_that_no_worker_can_load_stops_the_run(objective: object, sentence: str) -> None:
    with ProcessPool(objective, workers=1) as pool, pytest.raises(OracleError, match=sentence):
        list(pool.measure(["C"]))


def test_what_cannot_be_pickled_is_told_at_once() -> None:
    objective = ProcessIds()
    objective.local = lambda smiles: smiles
    with pytest.raises(OracleError, match=r"FILE\.py:FUNCTION"):
        ProcessPool(objective, workers=1)


def test_in_process_measures_one_after_the_other() -> None:
    found = InProcess(Misbehaving({"CC": "raise"})).measure(["C", "CC", "CCC"])
    assert next(found) == (0, Measurement(1.0))
    position, failed = next(found)
    assert (position, failed.reason) == (1, "ValueError: no pose found")
    assert next(found)[1].value == 3.0


def test_the_executor_fits_the_settings() -> None:
    assert isinstance(make_executor(ProcessIds()), InProcess)
    with make_executor(ProcessIds(), time_limit=5.0) as executor:
        assert isinstance(executor, ProcessPool), "a limit needs a process that can be killed"
    with pytest.raises(ConfigError, match="workers is -1"):
        make_executor(ProcessIds(), workers=-1)
    with pytest.raises(ConfigError, match="time_limit is 0"):
        make_executor(ProcessIds(), time_limit=0)
