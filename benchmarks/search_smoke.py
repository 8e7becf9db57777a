"""Every search strategy on the two tasks that PMO's authors tune on: zaleplon_mpo and perindopril_mpo, 1,000 calls, 3 seeds.

    python benchmarks/search_smoke.py --work FOLDER                                          # all runs that are missing
    python benchmarks/search_smoke.py --work FOLDER --task zaleplon_mpo --strategy genetic   # a share of them
    python benchmarks/search_smoke.py --work FOLDER --table                                  # no run, only the table

Each run is a run directory under --work; one that was killed is resumed and one that is finished is not run again. After
every run the CSV and the table are written from all finished runs that --work holds. AUC top-10 is PMO's (see
molvae.evaluation.search), with the number of calls as its budget. `random` (molecules drawn from the prior) is the floor.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
from common import RESULTS, machine, markdown, model_hash, provenance, run_script, write_csv

from molvae.evaluation.search import auc_top_k, best_molecules, distinct_scaffolds, top_k
from molvae.files import EventLog, write_json

TASKS = ("zaleplon_mpo", "perindopril_mpo")
SEEDS = (0, 1, 2)
DONE = "search_smoke.json"  # written into a run directory when its run has ended
DIGITS = {"auc_top10": 3, "top10": 3, "top1": 3, "scaffolds_of_top10": 1, "seconds": 0}  # of the table's cells


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run directories; give it again to go on")
    parser.add_argument("--task", action="append", help=f"repeatable; default: {', '.join(TASKS)}")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default: 0, 1, 2")
    parser.add_argument("--strategy", action="append", help="repeatable; default: all that are registered")
    parser.add_argument("--calls", type=int, default=1000, help="oracle calls a run")
    parser.add_argument("--model", default="zinc250k", help="name of a shipped model, or a checkpoint folder")
    parser.add_argument("--table", action="store_true", help="run nothing; write the CSV and the table")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "search_smoke.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not args.table:
        from molvae.search.strategies.base import STRATEGIES

        for seed in args.seed or SEEDS:
            for task in args.task or TASKS:
                for strategy in args.strategy or STRATEGIES.names():
                    run(args.work, task, strategy, seed, args.calls, args.model)
                    summarise(args.work, args.calls, args.out)
    summarise(args.work, args.calls, args.out)
    print(table(args.out))


def run(work: Path, task: str, strategy: str, seed: int, calls: int, model: str) -> None:
    """Make or finish one run, and leave the file that says it is done."""
    from molvae.search.run import optimize

    folder = work / f"{task}-{strategy}-{seed}-{calls}"
    if (folder / DONE).exists():
        return
    optimize(task, budget=calls, seed=seed, strategy=strategy, model=model, out=folder)
    origin = provenance("search_smoke", data=model_hash(model), seed=seed, budget=f"{calls} calls")
    write_json(folder / DONE, {"task": task, "strategy": strategy, "calls_asked": calls, "model": model, "origin": origin})
    print(f"done: {folder.name}", flush=True)


def summarise(work: Path, calls: int, out: Path) -> None:
    """The CSV: one row for each finished run of this many calls under `work`, from its molecules.csv."""
    rows = []
    for done in sorted(work.glob(f"*/{DONE}")):
        about = json.loads(done.read_text(encoding="utf-8"))
        if about["calls_asked"] != calls:
            continue
        found = pd.read_csv(done.parent / "molecules.csv").sort_values("call")
        smiles, scores = found["smiles"].tolist(), found["score"].to_numpy(float)
        best = best_molecules(smiles, scores, 10)
        source = dict(zip(smiles, found["source"], strict=True))
        rounds = [event for event in EventLog(done.parent / "events.jsonl").read() if event["event"] == "round"]
        rows.append({
            "task": about["task"],
            "strategy": about["strategy"],
            "seed": about["origin"]["seed"],
            "calls": len(found),
            "auc_top10": auc_top_k(scores, k=10, budget=calls),
            "top10": top_k(scores, 10),
            "top1": top_k(scores, 1),
            "scaffolds_of_top10": distinct_scaffolds(best),
            "seconds": round(sum(event["ask_seconds"] + event["measure_seconds"] for event in rounds), 1),
            "seconds_choosing": round(sum(event["ask_seconds"] for event in rounds), 1),
            "best_source": source[best[0]] if best else "",
            "best_smiles": best[0] if best else "",
            "model": about["model"],
            **about["origin"],
        })  # fmt: skip
    write_csv(out, rows)


def table(path: Path) -> str:
    """Mean and spread over seeds, best AUC first, and each strategy's gain over random screening."""
    if not path.stat().st_size:
        return "no finished run yet"
    rows = pd.read_csv(path)
    lines = []
    for task, group in rows.groupby("task", sort=False):
        floor = group.loc[group["strategy"] == "random", "auc_top10"].mean()
        by_strategy = sorted(group.groupby("strategy"), key=lambda item: -item[1]["auc_top10"].mean())
        for strategy, runs in by_strategy:
            sources = Counter(runs["best_source"]).most_common(1)[0][0]
            gain = runs["auc_top10"].mean() - floor
            cells = [_spread(runs[column].tolist(), digits) for column, digits in DIGITS.items()]
            lines.append([task, strategy, len(runs), *cells, "" if gain != gain else f"{gain:+.3f}", sources])
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
        "best from",
    )
    return f"{machine()}\n\n" + markdown(header, lines)


def _spread(values: list[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


if __name__ == "__main__":
    run_script(main)
