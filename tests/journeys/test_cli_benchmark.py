"""`molvae benchmark` as its users meet it: runs made once and continued, tables, mistakes in a sentence."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from molvae.benchmark import results, runs
from molvae.benchmark.pmo import EXTRA_TASKS, TASKS, chosen_tasks, published
from molvae.cli import main
from molvae.evaluation.search import auc_top_k

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--strategy", "genetic", "--set", "initial=8", "--set", "batch=8")


@pytest.fixture
def benchmark(molvae):
    """Run `molvae benchmark` in this process, in an empty directory; gives an Outcome."""
    return lambda *arguments: molvae("benchmark", *arguments)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished benchmark: two tasks, two seeds, 24 calls each. Do not write to it."""
    folder = tmp_path_factory.mktemp("benchmarks") / "small"
    command = ["benchmark", "pmo", *SMALL, "--seeds", "2", "--budget", "24", "--tasks", "qed,median1"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--model", str(tiny_model), "-o", str(folder)])
    assert not end.value.code
    return folder


def command_of(made: Path, tiny_model: Path, out: object, *more: object) -> tuple[object, ...]:
    return ("pmo", *SMALL, "--seeds", 2, "--tasks", "median1,qed", "--model", tiny_model, "-o", out, *more)


def test_runs_and_tasks_as_csv(made: Path) -> None:
    assert {p.name for p in made.iterdir()} == {
        "benchmark.toml", "runs.csv", "tasks.csv", "median1-0", "median1-1", "qed-0", "qed-1",
    }  # fmt: skip
    by_run = {(row["task"], row["seed"]): row for row in rows(made / "runs.csv")}
    assert set(by_run) == {("median1", "0"), ("median1", "1"), ("qed", "0"), ("qed", "1")}
    areas = []
    for (task, seed), row in by_run.items():
        scores = [float(r["score"]) for r in rows(made / f"{task}-{seed}" / "molecules.csv")]
        assert len(scores) == int(row["calls"]) == 24
        # Below the first hundred calls the area is one triangle: half of the mean of the best.
        for k in (1, 10, 100):
            best = sorted(scores)[-k:]
            assert float(row[f"auc_top{k}"]) == pytest.approx(sum(best) / len(best) / 2, rel=1e-5)
        assert sum(int(part.rsplit(" ", 1)[1]) for part in row["sources_of_top10"].split(", ")) == 10
        assert row["commit"] and row["versions"] and len(row["data"]) == 64
        assert float(row["processor_seconds"]) >= 0.0, "a number; so short a run may round to 0"
        areas.append(float(row["auc_top10"]))
    by_task = {row["task"]: row for row in rows(made / "tasks.csv")}
    assert list(by_task) == ["median1", "qed", "sum of 2"]
    assert float(by_task["qed"]["auc_top10"]) == pytest.approx((areas[2] + areas[3]) / 2, rel=1e-5)
    assert float(by_task["sum of 2"]["auc_top10"]) == pytest.approx(sum(areas) / 2, rel=1e-5)
    # Two seeds: the sample standard deviation of their sums is the difference over the root of two.
    difference = abs(areas[0] + areas[2] - areas[1] - areas[3]) / 2**0.5
    assert float(by_task["sum of 2"]["auc_top10_sd"]) == pytest.approx(difference, rel=1e-4)


def test_the_table_stands_beside_published_scores(benchmark, made: Path) -> None:
    outcome = benchmark("table", made)
    assert outcome.code == 0, outcome.err
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in outcome.out.splitlines() if "|" in line]
    cells = {line[0]: line[1:] for line in lines}
    header = cells["task"]
    assert header[0] == "small"
    assert re.fullmatch(r"0\.\d{3} ± 0\.\d{3}", cells["qed"][0])
    # From PMO's own sheet, and InVirtuoGen's table: QED and median1 of REINVENT, and of InVirtuoGen without prescreening.
    assert [cells[task][header.index("REINVENT")] for task in ("qed", "median1", "sum of 2")] == ["0.941", "0.357", "1.298"]
    assert cells["median1"][header.index("InVirtuoGen")] == "0.342"
    assert header.index("InVirtuoGen prescreened *") == len(header) - 1
    assert "arXiv:2206.12411" in outcome.out


def test_a_method_of_a_users_own_stands_in_the_table(benchmark, tiny_model: Path) -> None:
    method = "def choose(smiles, scores, n, seed, *, mark='C'):\n    return [mark + one for one in smiles]\n"
    Path("mine.py").write_text(method)
    command = ("pmo", "--strategy", "mine.py:choose", "--seeds", 1, "--tasks", "qed", "--model", tiny_model, "--budget", 30)
    command = (*command, "--set", "initial=8", "--set", "mark=N")
    outcome = benchmark(*command, "--workers", 1)
    assert outcome.code == 0, outcome.err
    (row,) = rows(Path("runs/pmo-mine_py_choose/runs.csv"))
    assert row["strategy"] == "mine.py:choose" and "choose" in row["sources_of_top10"] and int(row["calls"]) == 30
    assert "| qed |" in outcome.out and "REINVENT" in outcome.out
    Path("mine.py").write_text(method.replace("mark + one", "one + mark"))
    outcome = benchmark(*command)
    assert outcome.code == 1 and "the file of mine.py:choose has changed" in outcome.err


def test_the_first_calls_of_a_longer_run_are_a_shorter_one(benchmark, made: Path) -> None:
    outcome = benchmark("table", made, "--budget", 16)
    assert outcome.code == 0, outcome.err
    scores = {s: [float(r["score"]) for r in rows(made / f"qed-{s}" / "molecules.csv")][:16] for s in (0, 1)}
    mean = sum(auc_top_k(values, budget=16) for values in scores.values()) / 2
    assert f"| qed | {mean:.3f} ± " in outcome.out


def test_a_run_that_reached_its_target_counts_for_any_budget(made: Path, tmp_path: Path) -> None:
    """PMO goes on with the last value: of 48 calls, 24 rise from 0 to the mean of the best, 24 stay there."""
    shutil.copytree(made / "qed-0", tmp_path / "qed-0")
    assert results.run_row(tmp_path / "qed-0", 48) is None, "it ended with its budget, and would have gone on"
    about = json.loads((tmp_path / "qed-0" / "benchmark.json").read_text())
    (tmp_path / "qed-0" / "benchmark.json").write_text(json.dumps(about | {"stopped": "target"}))
    row = results.run_row(tmp_path / "qed-0", 48)
    best = sorted(float(r["score"]) for r in rows(made / "qed-0" / "molecules.csv"))[-10:]
    assert row is not None
    assert row["auc_top10"] == pytest.approx(0.75 * sum(best) / 10, rel=1e-9)


def test_finished_runs_are_not_repeated_and_a_larger_budget_extends(
    benchmark, made: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    shutil.copytree(made, again)
    shutil.rmtree(again / "qed-1")
    performed: list[str] = []
    perform = runs.perform
    monkeypatch.setattr(runs, "perform", lambda run, heard=None: (performed.append(run.folder.name), perform(run, heard)))
    outcome = benchmark(*command_of(made, tiny_model, again, "--budget", 24))
    assert outcome.code == 0, outcome.err
    assert performed == ["qed-1"]
    assert "4 runs of 24 calls, strategy genetic; 3 are done" in outcome.err
    assert (again / "qed-1" / "molecules.csv").read_bytes() == (made / "qed-1" / "molecules.csv").read_bytes()
    outcome = benchmark(*command_of(made, tiny_model, again, "--budget", 32))
    assert outcome.code == 0, outcome.err
    assert len(performed) == 5
    longer = rows(again / "median1-0" / "molecules.csv")
    assert longer[:24] == rows(made / "median1-0" / "molecules.csv") and len(longer) == 32


def test_processes_side_by_side_go_on_after_a_kill(benchmark, made: Path, tiny_model: Path, tmp_path: Path) -> None:
    command = [*command_of(made, tiny_model, "side", "--budget", 24), "--tasks", "qed", "--workers"]
    program = [sys.executable, "-m", "molvae", "benchmark", *map(str, command), "1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    first = subprocess.Popen(program, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    side = tmp_path / "side"
    for _ in range(600):  # until a run has begun
        if list(side.glob("*/ledger.sqlite")) or first.poll() is not None:
            break
        time.sleep(0.1)
    first.kill()
    first.wait()
    outcome = benchmark(*command, 2)
    assert outcome.code == 0, outcome.err
    for name in ("qed-0", "qed-1"):
        assert (side / name / "molecules.csv").read_bytes() == (made / name / "molecules.csv").read_bytes()
        assert json.loads((side / name / runs.DONE).read_text())["budget"] == 24


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--strategy", "genetics"), "Did you mean 'genetic'?"),
        (("--tasks", "qed,zaleplon"), "Did you mean 'zaleplon_mpo'?"),
        (("--tasks", "gsk3"), "Did you mean 'gsk3b'?"),
        (("--set", "bach=5"), "Did you mean 'batch'?"),
        (("--strategy", "default", "--set", 'sources=["graph_mutations"]'), "Did you mean 'graph_mutation'?"),
        (("--budget", 0), "budget is 0"),
        (("--seeds", 0), "at least 1"),
        (("--workers", -1), "workers is -1"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_end_in_a_sentence(benchmark, tiny_model: Path, options: tuple[object, ...], sentence: str) -> None:
    command = ("pmo", "--strategy", "genetic", "--tasks", "qed", "--model", tiny_model, "--budget", 8, "-o", "b")
    outcome = benchmark(*command, *options)
    assert outcome.code == 2 or "nowhere" in options
    assert outcome.code != 0
    assert sentence in outcome.err and "Traceback" not in outcome.err


def test_a_folder_is_of_one_strategy(benchmark, made: Path, tiny_model: Path) -> None:
    before = (made / "benchmark.toml").read_bytes()
    outcome = benchmark("pmo", "--strategy", "random", "--budget", 24, "--model", tiny_model, "-o", made)
    assert outcome.code == 1
    assert "strategy = 'genetic'" in outcome.sentence and "another directory" in outcome.sentence
    assert (made / "benchmark.toml").read_bytes() == before


def test_a_run_that_fails_does_not_stop_the_others(benchmark, made: Path, tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(made, broken)
    for name in ("median1-0", "qed-0"):
        (broken / name / runs.DONE).unlink()
    (broken / "median1-0" / "ledger.sqlite").write_bytes(b"not a ledger")
    outcome = benchmark(*command_of(made, tiny_model, broken, "--budget", 24))
    assert outcome.code == 1
    assert "median1-0 failed: " in outcome.err and "1 of 4 runs failed" in outcome.sentence
    assert (broken / "qed-0" / runs.DONE).exists()
    assert len(rows(broken / "runs.csv")) == 3


@pytest.fixture(scope="module")
def with_extra(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished benchmark of one task and both extra tasks, 16 calls each. Do not write to it."""
    folder = tmp_path_factory.mktemp("benchmarks") / "more"
    command = ["benchmark", "pmo", *SMALL, "--seeds", "1", "--budget", "16", "--tasks", "qed", "--extra"]
    with pytest.raises(SystemExit) as end:
        main([*command, "--model", str(tiny_model), "-o", str(folder)])
    assert not end.value.code
    return folder


def test_extra_tasks_are_marked_and_in_no_sum(benchmark, with_extra: Path) -> None:
    note = "classifier of our own, not comparable with published columns"
    by_run = {row["task"]: row for row in rows(with_extra / "runs.csv")}
    assert set(by_run) == {"qed", "gsk3b", "jnk3"}
    assert by_run["qed"]["extra"] == "" and note in by_run["gsk3b"]["extra"] and note in by_run["jnk3"]["extra"]
    by_task = {row["task"]: row for row in rows(with_extra / "tasks.csv")}
    assert list(by_task) == ["qed", "sum of 1", f"gsk3b (extra: {note})", f"jnk3 (extra: {note})"]
    assert by_task["sum of 1"]["auc_top10"] == by_task["qed"]["auc_top10"] == by_run["qed"]["auc_top10"]
    scores = [float(r["score"]) for r in rows(with_extra / "gsk3b-0" / "molecules.csv")]
    assert len(scores) == 16 and all(0 <= score <= 1 for score in scores)
    assert float(by_run["gsk3b"]["auc_top10"]) == pytest.approx(sum(sorted(scores)[-10:]) / 20, rel=1e-5)

    outcome = benchmark("table", with_extra)
    assert outcome.code == 0, outcome.err
    published_part, extra_part = outcome.out.split(f"| extra: {note} | more |")
    assert "sum of 1" in published_part and "gsk3b" not in published_part and "jnk3" not in published_part
    lines = [line for line in extra_part.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines] == ["| ---", "| gsk3b", "| jnk3"]
    assert all(len(line.strip("| ").split(" | ")) == 2 for line in lines)  # no published column


def test_a_table_of_extra_tasks_alone(benchmark, with_extra: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(with_extra, alone)
    shutil.rmtree(alone / "qed-0")
    outcome = benchmark("table", alone)
    assert outcome.code == 0, outcome.err
    assert "| gsk3b |" in outcome.out and "sum of" not in outcome.out and "| task |" not in outcome.out
    # Beside a benchmark that lacks them, their cells are empty; its sums are those of the tasks that both have.
    outcome = benchmark("table", alone, with_extra)
    assert outcome.code == 0, outcome.err


def test_extra_tasks_are_chosen_by_name_or_all() -> None:
    assert chosen_tasks(None) == list(TASKS) and len(TASKS) == 20 and not {*TASKS} & {*EXTRA_TASKS}
    assert chosen_tasks(None, extra=True) == [*TASKS, *EXTRA_TASKS]
    assert chosen_tasks(["jnk3", "qed"]) == ["qed", "jnk3"]
    assert chosen_tasks(["qed"], extra=True) == ["qed", "gsk3b", "jnk3"]


def test_tables_of_nothing(benchmark, made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, sentence in (
        ((tmp_path / "empty",), "no finished run"),
        ((made, "--budget", 25), "no run that has finished 25 calls"),
        ((made, "--budget", 0), "budget is 0"),
    ):
        outcome = benchmark("table", *arguments)
        assert outcome.code != 0
        assert sentence in outcome.sentence


def test_published_numbers_add_up_to_the_published_sums() -> None:
    # Sums over all 23 tasks as their sources print them, of numbers in three digits.
    printed = {
        "REINVENT": 14.196, "Graph GA": 13.751, "GP BO": 13.156, "SELFIES-VAE BO": 8.887, "screening": 8.635,
        "Genetic GFN": 16.213, "Mol GA": 14.708, "f-RAG": 16.928, "GenMol": 18.362, "InVirtuoGen": 16.676,
    }  # fmt: skip
    methods = {p.method: p for p in published()}
    for name, total in printed.items():
        assert sum(methods[name].scores.values()) == pytest.approx(total, abs=0.004), name
    assert {p.method for p in published() if p.prescreened} == {"f-RAG", "GenMol", "InVirtuoGen prescreened"}
    assert all(len(p.scores) == 23 and set(TASKS) < set(p.scores) and p.source for p in published())
