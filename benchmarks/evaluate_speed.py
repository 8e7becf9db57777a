"""How long `molvae evaluate` takes: 30,000 molecules against the 24,887 test rows of ZINC250k, by stage.

    python benchmarks/evaluate_speed.py --data FOLDER            # with one worker process a core
    python benchmarks/evaluate_speed.py --data FOLDER --workers 0

The library is random training rows. Each stage has its wall-clock seconds and its CPU seconds; what worker processes used is
known when they have ended, and counts in the stage after, and in `all`. CPU seconds of `all`, divided by the cores, are the
least that the same work can take. Peak memory is that of this process. The figures themselves are in the rows `figure`.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

from common import RESULTS, data_option, provenance, run_script, table, write_csv, zinc_split

from molvae.cli.running import n_cores
from molvae.evaluation.evaluate import evaluate
from molvae.randomness import stream

Row = dict[str, object]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--molecules", type=int, default=30_000, help="molecules of the library")
    parser.add_argument("--test-rows", type=int, help="compare with the first N test rows only, for a quick look")
    parser.add_argument("--no-fcd", action="store_true", help="leave the Frechet ChemNet distance out")
    parser.add_argument("--workers", type=int, default=n_cores(), help="processes for the RDKit work (default: one a core)")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch decides)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "evaluate_speed.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    split = zinc_split(args.data)
    size = min(args.molecules, len(split.train))
    picked = stream(args.seed, "evaluate speed").choice(len(split.train), size, replace=False)
    clock = Clock()
    card = evaluate(
        [split.train[i] for i in picked],
        reference=split.test[: args.test_rows],
        fcd=not args.no_fcd,
        workers=args.workers,
        progress=lambda stage, done, total: clock.enter(stage),
    )
    rows = clock.rows()
    rows.append({"what": "peak memory", "MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)})
    rows += [{"what": f"figure {name}", "value": value} for name, value in card.values.items() if value == value]
    budget = f"{len(picked)} molecules against {card.about['reference']}"
    origin = provenance("evaluate_speed", data=split.hash, seed=args.seed, budget=budget) | {"workers": args.workers}
    write_csv(args.out, [{**row, **origin} for row in rows])
    columns = ("what", "seconds", "cpu_seconds", "MiB", "value")
    print(table(rows, columns))


class Clock:
    """Seconds that pass in each stage, from when it is first heard of to when the next is."""

    def __init__(self) -> None:
        self.stage, self.began = "start", time.perf_counter()
        self.since, self.since_cpu = self.began, _cpu()
        self.found: dict[str, list[float]] = {}

    def enter(self, stage: str) -> None:
        """Time up to now belongs to the stage before: the first word of a stage comes with its first result."""
        now, cpu = time.perf_counter(), _cpu()
        spent = self.found.setdefault(stage, [0.0, 0.0])
        spent[0] += now - self.since
        spent[1] += cpu - self.since_cpu
        self.stage, self.since, self.since_cpu = stage, now, cpu

    def rows(self) -> list[Row]:
        """One row a stage, and `all`."""
        rows: list[Row] = [
            {"what": name, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
            for name, (seconds, cpu) in self.found.items()
        ]
        total = time.perf_counter() - self.began
        return [*rows, {"what": "all", "seconds": round(total, 1), "cpu_seconds": round(_cpu(), 1)}]


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    run_script(main)
