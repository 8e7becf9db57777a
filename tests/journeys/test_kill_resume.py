"""Killed at any moment, a search continues: the same final ledger, and nothing that had returned is measured again."""

import csv
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from fakes import Counted, FakeModel, Similarity

from molvae.errors import ConfigError, InvalidMolecule, OracleError, RunError
from molvae.files import EventLog
from molvae.history import History, Proposal
from molvae.ledger import Ledger
from molvae.randomness import stream
from molvae.search.loop import search
from molvae.search.run import SearchResult, optimize
from molvae.search.space import SearchSpace
from molvae.search.strategies.genetic import GeneticAlgorithm
from molvae.workers import make_executor

BUDGET = 60
SETTINGS = {"initial": 20, "batch": 10}
TESTS = Path(__file__).parents[1]


def run_here(out: Path, budget: int = BUDGET, **options: object) -> SearchResult:
    return optimize(
        Similarity(), budget=budget, strategy="genetic", model=FakeModel(), out=out, **{"settings": SETTINGS, **options}
    )


def start(out: Path, workers: int, seconds: float, *, ahead: bool = False) -> subprocess.Popen[str]:
    """The same search in a process of its own."""
    path = os.pathsep.join([str(TESTS), *sys.path])
    arguments = [str(out), str(BUDGET), str(workers), str(seconds), "ahead" if ahead else "in turn"]
    return subprocess.Popen(
        [sys.executable, str(TESTS / "journeys" / "search_program.py"), *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def begun(out: Path) -> list[str]:
    """Molecules in the order in which their measurement began, in all processes so far."""
    path = Path(str(out) + ".calls")
    return [line.split()[1] for line in path.read_text().splitlines()] if path.exists() else []


def journal(out: Path) -> tuple[list[tuple], list[tuple]]:
    """Every row of the ledger."""
    database = sqlite3.connect(out / "ledger.sqlite")
    rows = database.execute("SELECT * FROM evaluations ORDER BY call").fetchall()
    rounds = database.execute("SELECT * FROM rounds ORDER BY round").fetchall()
    database.close()
    return rows, rounds


def returned(out: Path) -> set[str]:
    if not (out / "ledger.sqlite").exists():
        return set()
    database = sqlite3.connect(out / "ledger.sqlite")
    found = {smiles for (smiles,) in database.execute("SELECT smiles FROM evaluations WHERE state = 'done'")}
    database.close()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody disturbed, measured in this process."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run_here(out).stopped == "budget"
    return out


@pytest.fixture(scope="module")
def whole_ahead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run that asks ahead."""
    out = tmp_path_factory.mktemp("whole_ahead") / "run"
    assert run_here(out, workers=2, ahead=True).stopped == "budget"
    return out


@pytest.mark.parametrize(("workers", "kills", "ahead"), [(0, 3, False), (2, 2, False), (2, 2, True)])
def test_sigkill_at_random_moments(
    tmp_path: Path, request: pytest.FixtureRequest, workers: int, kills: int, ahead: bool
) -> None:
    whole: Path = request.getfixturevalue("whole_ahead" if ahead else "whole")
    out, rng = tmp_path / "run", stream(workers, "kills")
    seen, done_before = 0, set()
    for _ in range(kills):
        process = start(out, workers, seconds=0.02, ahead=ahead)
        enough = len(begun(out)) + int(rng.integers(4, 16))  # more than are in flight
        while len(begun(out)) < enough and process.poll() is None:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0.0, 0.02)))
        process.kill()
        process.communicate()
        time.sleep(0.3)  # orphaned workers end themselves
        before, done = len(begun(out)), returned(out)
        assert done, "each sitting measures something"
        assert not set(begun(out)[seen:]) & done_before, "what had returned is measured again"
        seen, done_before = before, done
    process = start(out, workers, seconds=0.0, ahead=ahead)
    _, sentence = process.communicate(timeout=60)
    assert process.returncode == 0, sentence
    assert not set(begun(out)[seen:]) & done_before
    assert journal(out) == journal(whole)
    assert (out / "molecules.csv").read_bytes() == (whole / "molecules.csv").read_bytes()
    in_flight = max(1, workers)
    repeated = sum(n - 1 for n in Counter(begun(out)).values())
    assert repeated <= kills * in_flight


def test_ctrl_c_saves_and_says_how_to_continue(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    process = start(out, workers=1, seconds=0.02)
    while len(begun(out)) < 25 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, sentence = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in sentence
    assert f"of {BUDGET} calls; they are saved in {out}. Run the same command to continue." in sentence
    saved = list(csv.DictReader((out / "molecules.csv").open()))
    assert {row["smiles"] for row in saved} == returned(out)
    run_here(out)
    assert journal(out) == journal(whole)


def test_a_larger_budget_continues_as_if_it_had_been_there(tmp_path: Path, whole: Path) -> None:
    out = tmp_path / "run"
    run_here(out, budget=33)
    assert len(returned(out)) == 33, "a budget in the middle of a round is met exactly"
    run_here(out, budget=BUDGET)
    assert journal(out) == journal(whole)
    with pytest.raises(ConfigError, match="already spent 60"):
        run_here(out, budget=50)


def test_asking_ahead_is_the_same_search_however_it_is_cut_and_another_than_in_turn(
    tmp_path: Path, whole: Path, whole_ahead: Path
) -> None:
    out = tmp_path / "run"
    for budget in (20, 33, 50, BUDGET):
        run_here(out, budget=budget, workers=1, ahead=True)
    assert journal(out) == journal(whole_ahead)
    # The rounds that wait for each other are those in turn; what comes later has seen less.
    in_turn, ahead = journal(whole)[0], journal(whole_ahead)[0]
    assert in_turn[:30] == ahead[:30]
    assert in_turn[30:40] != ahead[30:40]


def test_the_next_round_is_chosen_while_the_workers_measure(tmp_path: Path) -> None:
    moments: list[str] = []

    class Watched(GeneticAlgorithm):
        def propose(self, history: History, n: int, seed: int) -> list[Proposal]:
            moments.append("asked")
            return super().propose(history, n, seed)

    objective = Counted(tmp_path / "calls", 0.05)
    strategy = Watched(SearchSpace(FakeModel(), seed=0), **SETTINGS)
    with (
        make_executor(objective, 1, None) as executor,
        Ledger(tmp_path / "ledger.sqlite", objective, 40, executor) as ledger,
    ):
        search(
            strategy,
            ledger,
            EventLog(tmp_path / "events.jsonl"),
            seed=0,
            ahead=True,
            progress=lambda report: moments.append("told"),
        )
    # Rounds of 20, 10 and 10 molecules: the third is asked for before the second is told of.
    assert moments == ["asked", "told", "asked", "asked", "told", "told"]


def test_a_finished_run_measures_nothing_more(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for _ in range(2):
        objective = Counted(Path(str(out) + ".calls"))
        result = optimize(objective, budget=30, strategy="genetic", model=FakeModel(), out=out, settings=SETTINGS)
        assert len(result.evaluations) == 30
    assert len(begun(out)) == 30


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"seed": 5}, "seed"),
        ({"settings": {**SETTINGS, "population": 7}}, "strategy.population"),
        ({"start": ["CCO"]}, "start"),
        ({"workers": 1, "ahead": True}, "ahead"),
    ],
)
def test_other_settings_in_the_same_directory_are_refused(tmp_path: Path, options: dict, key: str) -> None:
    run_here(tmp_path / "run", budget=20)
    before = journal(tmp_path / "run")
    with pytest.raises(RunError, match=f"holds a run with {key} ="):
        run_here(tmp_path / "run", budget=40, **options)
    assert journal(tmp_path / "run") == before


def test_the_weights_of_the_model_are_recorded_and_must_stay(tmp_path: Path) -> None:
    out, model = tmp_path / "run", FakeModel()
    model.weights_hash = "a1b2"
    optimize(Similarity(), budget=20, strategy="genetic", model=model, out=out, settings=SETTINGS)
    config = out / "config.toml"
    assert tomllib.loads(config.read_text())["model_hash"] == "a1b2"
    model.weights_hash = "c3d4"
    with pytest.raises(RunError, match="holds a run with model_hash = 'a1b2', and this one has 'c3d4'"):
        optimize(Similarity(), budget=30, strategy="genetic", model=model, out=out, settings=SETTINGS)
    # A run from before the hash was recorded goes on, and from then on it is recorded.
    config.write_text("".join(line for line in config.read_text().splitlines(True) if not line.startswith("model_hash")))
    optimize(Similarity(), budget=30, strategy="genetic", model=model, out=out, settings=SETTINGS)
    assert tomllib.loads(config.read_text())["model_hash"] == "c3d4"


def test_molecules_csv_has_one_row_a_call_in_order(whole: Path) -> None:
    table = list(csv.DictReader((whole / "molecules.csv").open()))
    assert list(table[0]) == ["call", "smiles", "score", "source", "round", "similarity", "reason"]
    assert [int(row["call"]) for row in table] == list(range(1, BUDGET + 1))
    rows, _ = journal(whole)
    assert [float(row["score"]) for row in table] == [row[5] for row in rows], "scores are written in full"


def test_events_tell_every_round(whole: Path) -> None:
    events = EventLog(whole / "events.jsonl").read()
    rounds = [event for event in events if event["event"] == "round"]
    assert [event["round"] for event in rounds] == [0, 1, 2, 3, 4]
    assert [event["calls"] for event in rounds] == [20, 30, 40, 50, 60]
    assert events[-1]["event"] == "stop"
    assert events[-1]["reason"] == "budget"


def test_start_molecules_are_counted_and_come_first(tmp_path: Path) -> None:
    result = run_here(tmp_path / "run", budget=15, start=["OCC", "CCO", "c1ccccc1"])
    assert [(e.smiles, e.source) for e in result.evaluations[:2]] == [("CCO", "start"), ("c1ccccc1", "start")]
    assert len(result.evaluations) == 15
    with pytest.raises(InvalidMolecule, match="start molecule 2"):
        run_here(tmp_path / "other", start=["CCO", "C1CC"])


def test_a_target_ends_the_search_after_its_round_and_without_it_the_search_goes_on(tmp_path: Path, whole: Path) -> None:
    scores = [float(row["score"]) for row in csv.DictReader((whole / "molecules.csv").open())]
    target = sorted(scores[:40])[-3]  # three of the first 40 molecules have it, so it is reached after 40 at the latest
    rounds = [n for n in (20, 30, 40) if sum(score >= target for score in scores[:n]) >= 3]
    result = run_here(tmp_path / "run", target=target, target_count=3)
    assert (result.stopped, len(result.evaluations)) == ("target", rounds[0])
    assert run_here(tmp_path / "run", target=2.0).stopped == "budget"
    assert journal(tmp_path / "run") == journal(whole)


def test_a_search_without_news_stops_and_says_so(tmp_path: Path) -> None:
    class OneMolecule(FakeModel):
        def decode(self, z, *, temperature=0.0, seed=0):
            return super().decode(z * 0.0)

    result = optimize(Similarity(), budget=20, strategy="random", model=OneMolecule(), out=tmp_path / "run")
    assert result.stopped == "stalled"
    assert len(result.evaluations) == 1


def test_an_oracle_that_never_answers_is_told_after_one_round(tmp_path: Path) -> None:
    class Broken(Similarity):
        def measure(self, smiles):
            raise FileNotFoundError("receptor.pdbqt")

    with pytest.raises(OracleError, match=r"all 20 .*FileNotFoundError: receptor\.pdbqt"):
        optimize(Broken(), budget=100, strategy="genetic", model=FakeModel(), out=tmp_path / "run", settings=SETTINGS)
    assert len(returned(tmp_path / "run")) == 20, "no more calls are spent"


def test_bad_arguments_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="budget is 0"):
        run_here(tmp_path / "run", budget=0)
    with pytest.raises(ConfigError, match="Did you mean 'population'"):
        run_here(tmp_path / "run", settings={"populatoin": 5})
    with pytest.raises(ConfigError, match="workers, at least 1"):
        run_here(tmp_path / "run", ahead=True)
    with pytest.raises(ConfigError, match="target_count is 0"):
        run_here(tmp_path / "run", target=0.5, target_count=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        run_here(tmp_path / "file" / "run")
