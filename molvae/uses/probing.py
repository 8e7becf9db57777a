"""What do latents know? A property is predicted from them, beside fingerprints and descriptors, on the same splits.

    R2   = 1 - sum (y - f)^2 / sum (y - mean y)^2 over the test rows
    RMSE = sqrt(mean (y - f)^2), in the unit of the property

latents      posterior means of the model, (N, D)
ecfp4        Morgan bits of radius 2, 2,048 of them (Rogers & Hahn 2010)
descriptors  all of RDKit's 2-D descriptors, about 210. logP, QED, TPSA and weight are among them, so that predicting these
             from descriptors says nothing
mean         the mean of the training rows, which every regressor must beat
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from molvae.chem import canonical, parse, scaffold
from molvae.chem.fingerprints import count_fingerprints
from molvae.data.derivation import text_hashes
from molvae.data.splits import TEST, random_split, scaffold_split
from molvae.data.tables import Layout, read_rows, stated_layout
from molvae.errors import ConfigError, DataError, nearest
from molvae.generation.model import Model, load
from molvae.processes import in_processes
from molvae.randomness import child_seed, stream
from molvae.uses.regression import gaussian_process, ridge, scaled

SPLITS = ("scaffold", "random")
FEWEST = 50  # molecules with a value
SHARE = 100  # molecules a job

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Probed:
    """One regressor on one representation and split: test R2 and RMSE of every seed.

    n_train: rows that it learned from.  n_test: rows of the test part; both of the first seed.
    """

    representation: str
    regressor: str
    split: str
    r2: tuple[float, ...]
    rmse: tuple[float, ...]
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Labelled:
    """Molecules with values: canonical SMILES, each once, (N,) float64 values, and why other rows were left out."""

    smiles: list[str]
    values: np.ndarray
    left_out: Counter[str]


def read_labelled(path: str | os.PathLike[str], target: str, column: str | None = None) -> Labelled:
    """The molecules of a table (.csv, .tsv, .parquet) and their values in the column `target`.

    Of a molecule that occurs twice, the first row counts. Raises DataError if there is no such column, or no number in it.
    """
    rows = read_rows(path, label_layout(path, target, column))
    values, left_out = distinct(((row.text, number(row.name)) for row in rows), "no number in the target's column")
    if not values:
        raise DataError(f"no row of {path} has a molecule and a number in {target!r}. Check the column.")
    return Labelled(list(values), np.array(list(values.values())), left_out)


def distinct(rows: Iterable[tuple[str, Any]], missing: str = "no label") -> tuple[dict[str, Any], Counter[str]]:
    """Canonical SMILES -> label of the first of the (SMILES, label) rows that has both, and why other rows are left out.

    A label that is None, "" or NaN is `missing`.
    """
    labels: dict[str, Any] = {}
    left_out: Counter[str] = Counter()
    for text, label in rows:
        written = canonical(text)
        if label is None or label == "" or (isinstance(label, Real) and math.isnan(label)):
            left_out[missing] += 1
        elif written is None:
            left_out["not a valid SMILES"] += 1
        elif written in labels:
            left_out["a molecule that was there before"] += 1
        else:
            labels[written] = label
    return labels, left_out


def label_layout(path: str | os.PathLike[str], label: str, column: str | None, option: str = "--target") -> Layout:
    """How to read a table of molecules (`column`) whose names are the values of the column `label`.

    option: how the command line names it.  Raises DataError if there is none, ConfigError for a file without columns.
    """
    layout = stated_layout(path, column)
    if layout.header is None:
        raise ConfigError(f"{path} has no columns with names. Give a table: .csv, .tsv or .parquet.")
    if label not in layout.header:
        has = ", ".join(layout.header[:12])
        raise DataError(f"no column {label!r} in {path} (has: {has}).{nearest(label, layout.header)} Name it with {option}.")
    return replace(layout, names=layout.header.index(label))


def probe(
    data: str | os.PathLike[str] | Labelled,
    target: str = "",
    *,
    model: str | os.PathLike[str] | Model = "zinc250k",
    splits: Sequence[str] = SPLITS,
    seeds: int = 5,
    test: float = 0.2,
    gp_rows: int = 1000,
    progress: Progress | None = None,
) -> list[Probed]:
    """Probe latents and the representations beside them.

    data: a table with a column `target`, or molecules with values.  seeds: splits of each kind.  test: share of the test
    part.  gp_rows: training rows of the Gaussian process, a random subset; 0 for none.
    progress: called with (stage, done, all).
    Raises ConfigError for a wrong setting, DataError if fewer than 50 molecules can be used.
    """
    for split in splits:
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}.{nearest(split, SPLITS)} Use {' or '.join(SPLITS)}.")
    if seeds < 1 or not 0.0 < test < 1.0 or gp_rows < 0:
        raise ConfigError(
            f"seeds is {seeds}, test {test}, gp_rows {gp_rows}: give 1 or more, a share between 0 and 1, and 0 or more."
        )
    labelled = data if isinstance(data, Labelled) else read_labelled(data, target)
    model = model if isinstance(model, Model) else load(model)
    say = progress or (lambda stage, done, total: None)
    z = model.encode(labelled.smiles, progress=lambda done, total: say("encoding", done, total))
    known = np.flatnonzero(~np.isnan(z[:, 0]))
    labelled.left_out["the model cannot encode it"] += len(z) - len(known)
    if len(known) < FEWEST:
        raise DataError(f"only {len(known)} molecules have a value and can be encoded. Give {FEWEST} or more.")
    smiles, y = [labelled.smiles[i] for i in known], labelled.values[known]
    if not y.std():
        raise DataError(f"all {len(y)} values of the target are {y[0]:g}: there is nothing to predict.")
    mols = [parse(text) for text in smiles]
    representations = {
        "latents": z[known],
        "ecfp4": (count_fingerprints(mols, "morgan2") > 0).astype(np.float64),
        "descriptors": descriptors(smiles, model.workers, lambda done: say("descriptors", done, len(smiles))),
    }
    hashes = text_hashes(scaffold(mol) for mol in mols) if "scaffold" in splits else None
    regressors = ("ridge", "gp") if gp_rows else ("ridge",)
    names = [("mean", "-"), *((name, regressor) for regressor in regressors for name in representations)]
    results, done = [], 0
    for split in splits:
        found: dict[tuple[str, str], list[tuple[float, float, int, int]]] = {name: [] for name in names}
        for seed in range(seeds):
            parts = (
                random_split(len(y), 0.0, test, seed) if hashes is None or split == "random"
                else scaffold_split(hashes, 0.0, test, seed)
            )  # fmt: skip
            chosen = parts == TEST
            for name, regressor in names:
                predicted, n_train = _predict(name, regressor, representations, y, chosen, seed, gp_rows)
                found[name, regressor].append((*scores(y[chosen], predicted), n_train, int(chosen.sum())))
                done += 1
                say("regression", done, len(splits) * seeds * len(names))
        for (name, regressor), rows in found.items():
            r2, rmse, n_train, n_test = zip(*rows, strict=True)
            results.append(Probed(name, regressor, split, r2, rmse, n_train[0], n_test[0]))
    return results


def scores(y: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """R2 and RMSE of predictions (m,) of y (m,)."""
    error = float(np.square(y - predicted).mean())
    return 1.0 - error / float(y.var()) if y.var() else math.nan, math.sqrt(error)


def descriptors(smiles: Sequence[str], workers: int = 0, done: Callable[[int], None] | None = None) -> np.ndarray:
    """(N, P) float64 of RDKit's 2-D descriptors, in the order of its names; NaN or infinite where RDKit has no number."""
    jobs = [list(smiles[i : i + SHARE]) for i in range(0, len(smiles), SHARE)]
    return np.array(in_processes(_describe, jobs, workers, done), np.float64)


def _describe(smiles: Sequence[str]) -> list[list[float]]:
    from rdkit import rdBase
    from rdkit.Chem import Descriptors

    with rdBase.BlockLogs():
        return [
            list(Descriptors.CalcMolDescriptors(parse(text), missingVal=math.nan, silent=True).values()) for text in smiles
        ]


def _predict(
    name: str, regressor: str, representations: dict[str, Any], y: np.ndarray, chosen: np.ndarray, seed: int, gp_rows: int
) -> tuple[np.ndarray, int]:
    """Predictions for the chosen rows from the others, and how many were learned from."""
    learned = np.flatnonzero(~chosen)
    if name == "mean":
        return np.full(int(chosen.sum()), y[learned].mean()), len(learned)
    if regressor == "gp":
        learned = np.sort(stream(seed, "probe").permutation(learned)[:gp_rows])
    x = representations[name]
    train, test = x[learned].astype(np.float64), x[chosen].astype(np.float64)
    if name != "ecfp4":  # bits are of one scale, and rare ones should not count more
        train, test = scaled(train, test)
    if regressor == "gp":
        return gaussian_process(train, y[learned], test), len(learned)
    return ridge(train, y[learned], test, seed=child_seed(seed, "probe")), len(learned)


def number(text: str) -> float:
    """The number that a cell holds; NaN for anything else, an infinite one too."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
