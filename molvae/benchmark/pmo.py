"""The tasks of the Practical Molecular Optimization benchmark (PMO: Gao et al. 2022, arXiv:2206.12411); published scores.

20 of PMO's 23 tasks need nothing but RDKit; the other three (drd2, gsk3b, jnk3) are classifiers that must be downloaded. So
sums are over these 20, for published methods too. `gsk3b` and `jnk3` are here as extra tasks with classifiers of our own
(`molvae.oracles.activity`), in no sum and beside no published score.

Rules: 10,000 oracle calls, the molecules that a search starts from included; no look at scores outside of them
("prescreening"); one setting for all tasks. The score of a run is the area under the mean of its ten best molecules
(`molvae.evaluation.search.auc_top_k`).
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from molvae.benchmark.provenance import model_hash
from molvae.benchmark.runs import Run
from molvae.config import read_toml, to_toml, write_toml
from molvae.errors import ConfigError, RunError, UnknownName, nearest
from molvae.search.strategies.base import resolved

TASKS = (
    "albuterol_similarity",
    "amlodipine_mpo",
    "celecoxib_rediscovery",
    "deco_hop",
    "fexofenadine_mpo",
    "isomers_c7h8n2o2",
    "isomers_c9h10n2o2pf2cl",
    "median1",
    "median2",
    "mestranol_similarity",
    "osimertinib_mpo",
    "perindopril_mpo",
    "qed",
    "ranolazine_mpo",
    "scaffold_hop",
    "sitagliptin_mpo",
    "thiothixene_rediscovery",
    "troglitazone_rediscovery",
    "valsartan_smarts",
    "zaleplon_mpo",
)
EXTRA_TASKS = ("gsk3b", "jnk3")
EXTRA_NOTE = "extra: classifier of our own, not comparable with published columns"
BUDGET, SEEDS = 10_000, 3
# No task scores higher than 1, and no figure looks beyond the 100 best: a run that has so many of 1 need not go on.
HIGHEST, COUNTED = 1.0, 100
ABOUT = "benchmark.toml"  # in a benchmark's folder: what all of its runs have in common


@dataclass(frozen=True)
class Published:
    """Published AUC top-10 at 10,000 calls of one method.

    prescreened: whether it scored all of ZINC250k with the task's oracle before the calls that were counted. source: where
    the numbers stand.  scores: task -> AUC, those of PMO's 23 tasks.
    """

    method: str
    prescreened: bool
    source: str
    scores: dict[str, float]


def published() -> list[Published]:
    """The published methods, as in the two CSV files beside this one."""
    folder = files("molvae.benchmark")
    with (folder / "published.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "published_sources.csv").open(encoding="utf-8", newline="") as stream:
        return [
            Published(
                about["method"],
                about["prescreened"] == "yes",
                about["source"],
                {row["task"]: float(row[about["method"]]) for row in rows},
            )
            for about in csv.DictReader(stream)
        ]


def chosen_tasks(names: Sequence[str] | None, extra: bool = False) -> list[str]:
    """The tasks named, in PMO's order, or the 20; with `extra`, the extra tasks too. Raises UnknownName for another name."""
    known = (*TASKS, *EXTRA_TASKS)
    for name in names or ():
        if name not in known:
            raise UnknownName(f"no PMO task named {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    wanted = {*(names or TASKS), *(EXTRA_TASKS if extra else ())}
    return [name for name in known if name in wanted]


def pmo_runs(
    folder: Path,
    strategy: str,
    *,
    tasks: Sequence[str] | None = None,
    extra: bool = False,
    seeds: Sequence[int] = tuple(range(SEEDS)),
    budget: int = BUDGET,
    settings: Mapping[str, Any] | None = None,
    model: str = "zinc250k",
) -> list[Run]:
    """One run for each task and seed, seeds outermost, in `folder/TASK-SEED`; the folder's file says what they share.

    A run ends when its budget is spent, or its 100 best molecules have the highest score there is.

    tasks: some of the tasks, by default PMO's 20.  extra: the extra tasks as well.

    Raises ConfigError for a strategy, task, budget or seeds that do not exist, and RunError if the folder holds the runs of
    another strategy, model or settings.
    """
    chosen_strategy = resolved(strategy, {})
    if budget < 1 or not seeds:
        raise ConfigError(f"budget is {budget} and the number of seeds {len(seeds)}; give at least 1 of each.")
    settings = dict(settings or {})
    chosen = chosen_tasks(tasks, extra)
    about = {"benchmark": "pmo", "strategy": strategy, "model": model_hash(model), "settings": settings}
    about |= {key: value for key, value in chosen_strategy.items() if key == "file_hash"}
    _claim(folder, about)
    return [
        Run(folder / f"{task}-{seed}", task, seed, strategy, budget, settings, model, "benchmark pmo", HIGHEST, COUNTED)
        for seed in seeds
        for task in chosen
    ]


def _claim(folder: Path, about: dict[str, Any]) -> None:
    path = folder / ABOUT
    if not path.exists():
        write_toml(path, about)
        return
    before = read_toml(path)
    for key, value in tomllib.loads(to_toml(about)).items():
        if before.get(key) == value:
            continue
        if key == "file_hash" and before["strategy"] == about["strategy"]:
            raise RunError(
                f"the file of {about['strategy']} has changed since the benchmark in {folder} began, and all of its runs "
                "are to be of one method. Use another directory with -o."
            )
        raise RunError(
            f"{folder} holds a benchmark with {key} = {before.get(key)!r}, and this one has {value!r}. "
            "Use another directory with -o."
        )
