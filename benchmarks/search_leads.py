"""Short searches from a few leads: 60 calls, three drugs to start from, on the two tasks that PMO's authors tune on.

    python benchmarks/search_leads.py --work FOLDER            # all runs that are missing, then the table

Compared are the default, the default without children that no surrogate has judged (`evolved=0`), `genetic` and `random`,
which starts from the same drugs and then draws from the prior. The leads: zolpidem, zopiclone and paracetamol for
zaleplon_mpo, enalapril, lisinopril and captopril for perindopril_mpo. A killed run is resumed, a finished one not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from common import RESULTS, machine, markdown, run_script, write_csv

from molvae.benchmark.results import run_rows
from molvae.benchmark.runs import Run, make_runs
from molvae.benchmark.tabulate import spread
from molvae.errors import RunError

CALLS, SEEDS = 60, range(5)
LEADS = {
    "zaleplon_mpo": (
        "Cc1ccc(cc1)-c1nc2ccc(C)cn2c1CC(=O)N(C)C",
        "CN1CCN(CC1)C(=O)OC1c2nccnc2C(=O)N1c1ccc(Cl)cn1",
        "CC(=O)Nc1ccc(O)cc1",
    ),
    "perindopril_mpo": (
        "CCOC(=O)C(CCc1ccccc1)NC(C)C(=O)N1CCCC1C(=O)O",
        "NCCCCC(NC(CCc1ccccc1)C(=O)O)C(=O)N1CCCC1C(=O)O",
        "CC(CS)C(=O)N1CCCC1C(=O)O",
    ),
}
SEARCHES = {
    "default": ("default", {}),
    "judged": ("default", {"evolved": 0.0}),
    "genetic": ("genetic", {}),
    "random": ("random", {}),
}
DIGITS = {"top10": 3, "top1": 3, "scaffolds_of_top10": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the run directories; give it again to go on")
    parser.add_argument("--model", default="zinc250k", help="name of a shipped model, or a checkpoint folder")
    parser.add_argument("--workers", type=int, default=0, help="runs side by side, a process each; 0: one after the other")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "search_leads.csv")
    args = parser.parse_args()
    runs = [
        Run(
            args.work / f"{task}-{name}-{seed}",
            task,
            seed,
            strategy,
            CALLS,
            settings,
            args.model,
            "search_leads",
            start=leads,
        )
        for task, leads in LEADS.items()
        for name, (strategy, settings) in SEARCHES.items()
        for seed in SEEDS
    ]
    if failures := make_runs(runs, args.workers):
        raise RunError(f"{len(failures)} runs failed; {failures[0].run.folder.name}: {failures[0].reason}")
    write_csv(args.out, run_rows(args.work, CALLS))
    print(f"{machine()}\n\n{table(pd.read_csv(args.out))}")


def table(rows: pd.DataFrame) -> str:
    """Means and spreads over seeds: the ten best at the end, the best, distinct scaffolds of the ten best."""
    lines = [
        [*names, *(spread(runs[column].tolist(), digits) for column, digits in DIGITS.items())]
        for names, runs in rows.fillna({"settings": ""}).groupby(["task", "strategy", "settings"], sort=False)
    ]
    return markdown(("task", "strategy", "settings", "top-10", "top-1", "scaffolds of the ten best"), lines)


if __name__ == "__main__":
    run_script(main)
