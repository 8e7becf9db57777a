"""Every search strategy on the two tasks that PMO's authors tune on: zaleplon_mpo and perindopril_mpo, 1,000 calls, 3 seeds.

    python benchmarks/search_smoke.py --work FOLDER                                          # all runs that are missing
    python benchmarks/search_smoke.py --work FOLDER --task zaleplon_mpo --strategy genetic   # a share of them
    python benchmarks/search_smoke.py --work FOLDER --table                                  # no run, only the table

Each run is a run directory under --work; one that was killed is resumed and one that is finished is not run again. After
every run the CSV and the table are written from all finished runs that --work holds. AUC top-10 is PMO's (see
molvae.evaluation.search), with the number of calls as its budget. `random` (molecules drawn from the prior) is the floor.
The whole benchmark of one strategy, all tasks, is `molvae benchmark pmo`; the runs are made and read by the same code.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import pandas as pd
from common import RESULTS, machine, markdown, run_script, write_csv

from molvae.benchmark.results import run_rows
from molvae.benchmark.runs import Run, make_runs
from molvae.benchmark.tabulate import spread
from molvae.errors import RunError
from molvae.search.strategies.base import STRATEGIES

TASKS = ("zaleplon_mpo", "perindopril_mpo")
SEEDS = (0, 1, 2)
DIGITS = {"auc_top10": 3, "top10": 3, "top1": 3, "scaffolds_of_top10": 1, "seconds": 0}  # of the table's cells


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run directories; give it again to go on")
    parser.add_argument("--task", action="append", help=f"repeatable; default: {', '.join(TASKS)}")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default: 0, 1, 2")
    parser.add_argument("--strategy", action="append", help="repeatable; default: all that are registered")
    parser.add_argument("--calls", type=int, default=1000, help="oracle calls a run")
    parser.add_argument("--model", default="zinc250k", help="name of a shipped model, or a checkpoint folder")
    parser.add_argument("--workers", type=int, default=0, help="runs side by side, a process each; 0: one after the other")
    parser.add_argument("--table", action="store_true", help="run nothing; write the CSV and the table")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "search_smoke.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not args.table:
        runs = [
            Run(
                args.work / f"{task}-{strategy}-{seed}-{args.calls}",
                task=task,
                seed=seed,
                strategy=strategy,
                budget=args.calls,
                model=args.model,
                script="search_smoke",
            )
            for seed in args.seed or SEEDS
            for task in args.task or TASKS
            for strategy in args.strategy or STRATEGIES.names()
        ]

        def ended(run: Run) -> None:
            print(f"done: {run.folder.name}", flush=True)
            write_csv(args.out, run_rows(args.work, args.calls))

        failures = make_runs(runs, args.workers, ended=ended)
        if failures:
            raise RunError(f"{len(failures)} runs failed; {failures[0].run.folder.name}: {failures[0].reason}")
    write_csv(args.out, run_rows(args.work, args.calls))
    print(table(args.out))


def table(path: Path) -> str:
    """Mean and spread over seeds, best AUC first, and each strategy's gain over random screening."""
    if not path.read_text(encoding="utf-8").strip():
        return "no finished run yet"
    rows = pd.read_csv(path)
    lines = []
    for task, group in rows.groupby("task", sort=False):
        floor = group.loc[group["strategy"] == "random", "auc_top10"].mean()
        by_strategy = sorted(group.groupby("strategy"), key=lambda item: -item[1]["auc_top10"].mean())
        for strategy, runs in by_strategy:
            sources = Counter(_first_source(text) for text in runs["sources_of_top10"].dropna()).most_common(1)
            gain = runs["auc_top10"].mean() - floor
            cells = [spread(runs[column].tolist(), digits) for column, digits in DIGITS.items()]
            over = "" if gain != gain else f"{gain:+.3f}"
            lines.append([task, strategy, len(runs), *cells, over, sources[0][0] if sources else ""])
    header = (
        "task",
        "strategy",
        "seeds",
        "AUC top-10",
        "top-10",
        "top-1",
        "scaffolds",
        "seconds",
        "over random",
        "most from",
    )
    return f"{machine()}\n\n" + markdown(header, lines)


def _first_source(counts: str) -> str:
    return counts.split(", ")[0].rsplit(" ", 1)[0]


if __name__ == "__main__":
    run_script(main)
