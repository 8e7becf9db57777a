"""What the runs of a benchmark gave: a row a run, a row a task, and tables of several benchmarks beside published scores.

All figures of a run are computed from its ledger and its rounds, at any budget up to the one it had: a search does not know
its budget, so its first 1,000 calls are what it would have done with 1,000.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from molvae.benchmark.pmo import ABOUT, EXTRA_NOTE, EXTRA_TASKS, TASKS, Published, published
from molvae.benchmark.runs import DONE, read_done
from molvae.benchmark.tabulate import markdown, spread
from molvae.chem.molecules import parse
from molvae.chem.properties import properties
from molvae.config import read_toml
from molvae.errors import RunError
from molvae.evaluation.search import auc_top_k, best_molecules, distinct_scaffolds, top_k
from molvae.files import EventLog
from molvae.ledger import read_evaluations

Row = dict[str, object]
TOP = 10  # winners of a run: the molecules whose sources, scaffolds, SA and QED are shown
# Published methods shown beside ours unless all are asked for: the best ones, and those that are nearest to what we do.
SHOWN = (
    "screening", "SELFIES-VAE BO", "STONED", "Graph GA", "REINVENT", "Genetic GFN", "Tanimoto GP", "InVirtuoGen", "GenMol",
    "InVirtuoGen prescreened",
)  # fmt: skip


def run_row(folder: Path, budget: int) -> Row | None:
    """One finished run at `budget` calls; None if it is not finished, or had a smaller budget and would have gone on.

    extra: what must be known of an extra task, "" for PMO's.
    auc_top1, auc_top10, auc_top100: PMO's areas. top1, top10, top100: means of the best at the end. scaffolds_of_top10:
    distinct ones. sa_of_top10, qed_of_top10: means. sources_of_top10: what proposed them. seconds: choosing and measuring.
    processor_seconds: of the search's own process, which others on the machine do not lengthen; NaN if a round did not say.
    ms_choosing_per_call: the search's own cost. Then what made the run, and where it comes from.
    """
    about = read_done(folder)
    if about is None or (about["budget"] < budget and about["stopped"] == "budget"):
        return None
    evaluations = read_evaluations(folder / "ledger.sqlite")[:budget]
    smiles, scores = [e.smiles for e in evaluations], np.array([e.score for e in evaluations])
    best = best_molecules(smiles, scores, TOP)
    source = {e.smiles: e.source for e in evaluations}
    values = [properties(mol, ("SA", "QED")) for mol in map(parse, best) if mol is not None]
    rounds = [event for event in EventLog(folder / "events.jsonl").read() if event["event"] == "round"]
    rounds = [event for event in rounds if event["calls"] - event["new"] < budget]
    choosing = sum(event["ask_seconds"] for event in rounds)
    return {
        "task": about["task"],
        "extra": EXTRA_NOTE if about["task"] in EXTRA_TASKS else "",
        "strategy": about["strategy"],
        "settings": ", ".join(f"{key}={value}" for key, value in about["settings"].items()),
        "seed": about["seed"],
        "calls": len(evaluations),
        **{f"auc_top{k}": auc_top_k(scores, k=k, budget=budget) for k in (1, 10, 100)},
        **{f"top{k}": top_k(scores, k) for k in (1, 10, 100)},
        "scaffolds_of_top10": distinct_scaffolds(best),
        "sa_of_top10": fmean(v["SA"] for v in values) if values else math.nan,
        "qed_of_top10": fmean(v["QED"] for v in values) if values else math.nan,
        "sources_of_top10": ", ".join(f"{name} {n}" for name, n in Counter(source[s] for s in best).most_common()),
        "seconds": round(choosing + sum(event["measure_seconds"] for event in rounds), 1),
        "processor_seconds": round(sum(event.get("processor_seconds", math.nan) for event in rounds), 1),
        "ms_choosing_per_call": 1000 * choosing / max(1, len(evaluations)),
        "best_smiles": best[0] if best else "",
        "model": Path(about["model"]).name,  # where it lay says nothing to others; `data` is the hash of its weights
        **{key: value for key, value in about["origin"].items() if key != "seed"},
    }


def run_rows(folder: Path, budget: int) -> list[Row]:
    """A row for each finished run in the subfolders of `folder`, by task and seed."""
    rows = [row for done in folder.glob(f"*/{DONE}") if (row := run_row(done.parent, budget)) is not None]
    return sorted(rows, key=lambda row: (str(row["task"]), str(row["strategy"]), int(str(row["seed"]))))


def source_counts(rows: Sequence[Row]) -> Counter[str]:
    """How many of the winners of all these runs each source proposed."""
    counts: Counter[str] = Counter()
    for row in rows:
        for part in filter(None, str(row["sources_of_top10"]).split(", ")):
            name, n = part.rsplit(" ", 1)
            counts[name] += int(n)
    return counts


AVERAGED = (
    "auc_top1", "auc_top10", "auc_top100", "top1", "top10", "top100", "scaffolds_of_top10", "sa_of_top10", "qed_of_top10",
    "seconds", "processor_seconds", "ms_choosing_per_call",
)  # fmt: skip
SUMMED = ("auc_top1", "auc_top10", "auc_top100", "top1", "top10", "top100")


def task_rows(rows: Sequence[Row]) -> list[Row]:
    """A row a task: means over seeds, their sample standard deviations (`_sd`), shares of the winners; then the sum.

    The sum row holds sums over tasks of the scores, and means of the rest. Its standard deviations are of the sums of
    single seeds, those seeds that have every task. Extra tasks are not in it; their rows come after it, and say so.
    """
    summed = of_the_sum(rows)
    tasks = list(dict.fromkeys(str(row["task"]) for row in summed))
    found = [_task_row(summed, task) for task in tasks]
    if found:
        total: Row = {"task": f"sum of {len(tasks)}", "seeds": len(_whole_seeds(summed, tasks))}
        for name in AVERAGED:
            if name in SUMMED:
                total[name] = sum(_number(line[name]) for line in found)
                total[f"{name}_sd"] = _sd(seed_sums(summed, tasks, name))
            else:
                total[name] = fmean(_number(line[name]) for line in found)
        found.append(total | {"sources_of_top10": shares(source_counts(summed))})
    extra = [_task_row(rows, task) for task in EXTRA_TASKS if any(row["task"] == task for row in rows)]
    return found + [line | {"task": f"{line['task']} ({EXTRA_NOTE})"} for line in extra]


def of_the_sum(rows: Sequence[Row]) -> list[Row]:
    """The rows of all but the extra tasks."""
    return [row for row in rows if row["task"] not in EXTRA_TASKS]


def _task_row(rows: Sequence[Row], task: str) -> Row:
    runs = [row for row in rows if row["task"] == task]
    line: Row = {"task": task, "seeds": len(runs)}
    for name in AVERAGED:
        line |= _mean_and_sd(name, [_number(run[name]) for run in runs])
    return line | {"sources_of_top10": shares(source_counts(runs))}


def seed_sums(rows: Sequence[Row], tasks: Sequence[str], name: str) -> list[float]:
    """The sum over `tasks` of one figure, for each seed that has all of them."""
    return [
        sum(_number(row[name]) for row in rows if row["seed"] == seed and row["task"] in tasks)
        for seed in _whole_seeds(rows, tasks)
    ]


def shares(counts: Counter[str]) -> str:
    """Whole percentages, largest first: "graph_mutation 62 %, latent_step 38 %"."""
    total = max(1, counts.total())
    return ", ".join(f"{name} {100 * n / total:.0f} %" for name, n in counts.most_common())


def _whole_seeds(rows: Sequence[Row], tasks: Sequence[str]) -> list[int]:
    have = {(row["seed"], row["task"]) for row in rows}
    return [seed for seed in sorted({int(str(row["seed"])) for row in rows}) if all((seed, task) in have for task in tasks)]


def _mean_and_sd(name: str, values: list[float]) -> Row:
    return {name: fmean(values), f"{name}_sd": _sd(values)}


def _sd(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan


def _number(value: object) -> float:
    assert isinstance(value, float | int), "a figure is a number"
    return float(value)


@dataclass(frozen=True)
class Benchmark:
    """The finished runs of one folder of `molvae benchmark pmo`, at one budget."""

    label: str
    about: Mapping[str, object]
    rows: list[Row]

    def of_task(self, task: str, name: str = "auc_top10") -> list[float]:
        """One figure of all seeds of a task."""
        return [_number(row[name]) for row in self.rows if row["task"] == task]


def whole_budget(folder: Path) -> int:
    """The largest budget of the finished runs in a folder. Raises RunError if there are none."""
    budgets = [about["budget"] for done in folder.glob(f"*/{DONE}") if (about := read_done(done.parent)) is not None]
    if not budgets:
        raise RunError(
            f"{folder} holds no finished run of `molvae benchmark pmo`. Check the path, or wait for the first one."
        )
    return max(budgets)


def read_benchmark(folder: Path, budget: int) -> Benchmark:
    """Raises RunError if `folder` is none of `molvae benchmark pmo`, or has no run that is finished at this budget."""
    if not (folder / ABOUT).exists():
        raise RunError(f"{folder} is not a folder of `molvae benchmark pmo` (it has no {ABOUT}). Check the path.")
    rows = run_rows(folder, budget)
    if not rows:
        raise RunError(
            f"{folder} has no run that has finished {budget} calls. Wait for the first one, or give a smaller --budget."
        )
    return Benchmark(folder.resolve().name, read_toml(folder / ABOUT), rows)


def score_table(benchmarks: Sequence[Benchmark], *, all_published: bool = False) -> str:
    """AUC top-10 by task, ours (mean ± sample standard deviation over seeds) and published, in Markdown.

    Sums are over the tasks that every benchmark has, for published methods over the same ones. "" if there is no task of
    PMO's 20; the extra tasks are in `extra_table`.
    """
    others = shown_methods(all_published)
    tasks = [task for task in TASKS if any(b.of_task(task) for b in benchmarks)]
    if not tasks:
        return ""
    common = [task for task in tasks if all(b.of_task(task) for b in benchmarks)]
    lines = [
        [task, *(spread(b.of_task(task), 3) for b in benchmarks), *(f"{p.scores[task]:.3f}" for p in others)]
        for task in tasks
    ]
    if common:
        sums = [_sum_cell(b, common) for b in benchmarks]
        lines.append([f"sum of {len(common)}", *sums, *(f"{sum(p.scores[t] for t in common):.3f}" for p in others)])
    return markdown(["task", *(b.label for b in benchmarks), *map(_heading, others)], lines)


def extra_table(benchmarks: Sequence[Benchmark]) -> str:
    """AUC top-10 of the extra tasks, ours alone, under a line that says what they are, in Markdown; "" if there are none."""
    tasks = [task for task in EXTRA_TASKS if any(b.of_task(task) for b in benchmarks)]
    lines = [[task, *(spread(b.of_task(task), 3) for b in benchmarks)] for task in tasks]
    header = [EXTRA_NOTE, *(b.label for b in benchmarks)]
    return markdown(header, lines) if lines else ""


def about_table(benchmarks: Sequence[Benchmark]) -> str:
    """What each benchmark is and cost, and what its winners are like, in Markdown; over those of PMO's tasks it has."""
    header = (
        "benchmark", "strategy", "settings", "tasks", "seeds", "AUC top-1", "AUC top-10", "AUC top-100", "top-10 at the end",
        "top 10 by source", "scaffolds", "SA", "QED", "seconds a run", "processor s", "ms choosing a call",
    )  # fmt: skip
    lines = []
    for b in benchmarks:
        rows = of_the_sum(b.rows)
        if not rows:
            continue
        total = task_rows(rows)[-1]
        tasks = {str(row["task"]) for row in rows}
        means = {name: _number(total[name]) for name in _DIGITS}
        sums = [f"{_number(total[name]):.3f}" for name in ("auc_top1", "auc_top10", "auc_top100", "top10")]
        seeds = sorted({int(str(row["seed"])) for row in rows})
        lines.append([
            b.label, b.about["strategy"], rows[0]["settings"], len(tasks), " ".join(map(str, seeds)), *sums,
            total["sources_of_top10"],
            *("" if math.isnan(value) else f"{value:.{_DIGITS[name]}f}" for name, value in means.items()),
        ])  # fmt: skip
    return markdown(header, lines) if lines else ""


_DIGITS = {"scaffolds_of_top10": 1, "sa_of_top10": 2, "qed_of_top10": 2, "seconds": 0, "processor_seconds": 0,
           "ms_choosing_per_call": 1}  # fmt: skip


def shown_methods(all_published: bool = False) -> list[Published]:
    """The published methods that stand beside ours, those that prescreened last."""
    kept = [p for p in published() if all_published or p.method in SHOWN]
    return sorted(kept, key=lambda p: p.prescreened)


def sources_of_published(all_published: bool = False) -> str:
    """Where the published columns stand, a line for each source."""
    by_source: dict[str, list[str]] = {}
    for p in shown_methods(all_published):
        by_source.setdefault(p.source, []).append(p.method)
    return "\n".join(f"{', '.join(methods)}: {source}." for source, methods in by_source.items())


def _heading(p: Published) -> str:
    return p.method + (" *" if p.prescreened else "")


def _sum_cell(benchmark: Benchmark, tasks: Sequence[str]) -> str:
    sums = seed_sums(benchmark.rows, tasks, "auc_top10")
    whole = sum(fmean(benchmark.of_task(task)) for task in tasks)
    return f"{whole:.3f}" + (f" ± {_sd(sums):.3f}" if len(sums) > 1 else "")
