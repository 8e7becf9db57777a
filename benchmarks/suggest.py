"""How good `molvae suggest` is: what it expects of measured molecules, and what short campaigns find.

    python benchmarks/suggest.py --data FOLDER                   # both parts, about 40 minutes on one core
    python benchmarks/suggest.py --data FOLDER --part expected   # a minute

expected: ESOL and lipophilicity (`esol.csv.gz` and `lipo.csv.gz` of MoleculeNet in FOLDER), values that laboratories have
measured. A few molecules are known; the surrogate that `suggest` shows is asked for 300 others.

campaigns: a laboratory is pretended: it measures zaleplon_mpo or perindopril_mpo with a Gaussian error, twelve molecules a
round, five rounds, from the leads of search_leads.py. What counts is the true value of the ten molecules with the highest
measured ones, the leads included. `random` draws from the prior.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import RESULTS, data_option, machine, markdown, model_hash, provenance, run_script, show_progress, write_csv
from probe import MEASURED
from scipy.stats import spearmanr
from search_leads import LEADS

import molvae
from molvae.benchmark.tabulate import spread
from molvae.errors import DataError
from molvae.files import file_hash
from molvae.objective import Objective
from molvae.oracles.base import ORACLES
from molvae.randomness import stream
from molvae.search.expectation import expect
from molvae.search.measured import read_measured
from molvae.uses.probing import read_labelled

KNOWN, OTHERS, SPLITS = (8, 20, 50, 150), 300, range(5)
ROUNDS, BATCH, SEEDS, ERRORS = 5, 12, range(3), (0.0, 0.05)
STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "judged": ("default", {"evolved": 0.0}),
    "genetic": ("genetic", {}),
    "random": ("random", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--part", choices=("expected", "campaigns"), help="one of the two")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the two CSV files")
    args = parser.parse_args()
    if args.part in (None, "expected"):
        rows = expected(args.data)
        write_csv(args.out / "suggest_expected.csv", rows)
        print(f"{machine()}\n\n{expected_table(pd.DataFrame(rows))}\n")
    if args.part in (None, "campaigns"):
        rows = campaigns(args.out / "suggest_campaigns.csv")
        print(f"{machine()}\n\n{campaign_table(pd.DataFrame(rows))}")


def expected(folder: Path | None) -> list[dict[str, object]]:
    """One row a data set, number of known molecules and split."""
    if folder is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    rows: list[dict[str, object]] = []
    for name, (file, target) in MEASURED.items():
        path = Path(folder) / file
        labelled = read_labelled(path, target)
        about = provenance("suggest", data=file_hash(path), seed="", budget=f"{OTHERS} molecules")
        for n in KNOWN:
            for seed in SPLITS:
                drawn = stream(seed, "suggest", name).permutation(len(labelled.smiles))[: n + OTHERS]
                smiles, values = [labelled.smiles[i] for i in drawn], labelled.values[drawn]
                tables = read_measured({"smiles": smiles[:n], "y": values[:n]})
                objective = Objective.from_specs(maximise=["y"], oracles=tables.columns)
                found = expect(tables.history(objective), smiles[n:], objective, seed)
                off = np.abs(np.array(found.mean) - values[n:]) / found.sd
                rows.append(
                    {
                        "set": name,
                        "known": n,
                        "rank_correlation": float(spearmanr(found.mean, values[n:]).statistic),
                        "rank_correlation_told": found.check.rank_correlation,
                        "error": float(np.sqrt(np.mean((np.array(found.mean) - values[n:]) ** 2))),
                        "error_told": found.check.error,
                        "error_of_mean": float(np.sqrt(np.mean((values[:n].mean() - values[n:]) ** 2))),
                        "within_1_sd": float((off < 1).mean()),
                        "within_2_sd": float((off < 2).mean()),
                        **about,
                        "seed": seed,
                    }
                )
    return rows


def campaigns(out: Path) -> list[dict[str, object]]:
    """One row a task, strategy, error and seed; those that the file has already are not run again."""
    rows = pd.read_csv(out).to_dict("records") if out.is_file() else []
    done = {(row["task"], row["strategy"], row["error"], row["seed"]) for row in rows}
    wanted = [(t, s, e, seed) for seed in SEEDS for t in LEADS for e in ERRORS for s in STRATEGIES]
    progress = show_progress("campaigns")
    for number, (task, strategy, error, seed) in enumerate(wanted, 1):
        if (task, strategy, error, seed) not in done:
            about = provenance("suggest", data=model_hash("zinc250k"), seed=seed, budget=f"{ROUNDS * BATCH} measurements")
            figures = campaign(task, strategy, error, seed)
            rows.append({"task": task, "strategy": strategy, "error": error, **figures, **about, "seed": seed})
            write_csv(out, rows)
        progress(number, len(wanted))
    return rows


def campaign(task: str, strategy: str, error: float, seed: int) -> dict[str, float]:
    """Rounds of suggestions that are measured with an error; the truth of what they found."""
    oracle = ORACLES.build(task)
    name, settings = STRATEGIES[strategy]
    truth: dict[str, float] = {}
    measured: dict[str, float] = {}

    def laboratory(smiles: list[str], round_number: int) -> list[float]:
        noise = stream(seed, "laboratory", task, round_number).standard_normal(len(smiles)) * error
        values = np.array([m.value for m in oracle.measure(smiles)])
        truth.update(zip(smiles, values, strict=True))
        measured.update(zip(smiles, values + noise, strict=True))
        return (values + noise).tolist()

    leads = list(LEADS[task])
    tables: list[dict[str, Any]] = [{"smiles": leads, "score": laboratory(leads, 0)}]
    for number in range(1, ROUNDS + 1):
        made = molvae.suggest(tables, n=BATCH, maximise=["score"], strategy=name, settings=settings, seed=seed)
        values = laboratory(made.smiles, number)
        tables.append({"smiles": made.smiles, "score": values, "source": made.columns["source"]})
    best = sorted(measured, key=lambda smiles: -measured[smiles])[:10]
    return {"top10": float(np.mean([truth[s] for s in best])), "top1": truth[best[0]]}


def expected_table(rows: pd.DataFrame) -> str:
    """Means over splits."""
    digits = {
        "rank_correlation": 2, "rank_correlation_told": 2, "error": 2, "error_told": 2, "error_of_mean": 2,
        "within_1_sd": 2, "within_2_sd": 2,
    }  # fmt: skip
    lines = [
        [*names, *(f"{group[column].mean():.{places}f}" for column, places in digits.items())]
        for names, group in rows.groupby(["set", "known"], sort=False)
    ]
    return markdown(["set", "known", *digits], lines)


def campaign_table(rows: pd.DataFrame) -> str:
    """Means and spreads over seeds."""
    lines = [
        [*names, *(spread(group[column].tolist(), 3) for column in ("top10", "top1"))]
        for names, group in rows.groupby(["task", "error", "strategy"], sort=True)
    ]
    return markdown(["task", "error", "strategy", "truth of the ten best", "of the best"], lines)


if __name__ == "__main__":
    run_script(main)
