"""Classifiers of activity on GSK3B and JNK3, and how good they are on scaffolds that they have not seen.

    python benchmarks/activity.py --data FOLDER                                   # two minutes of processor time
    python benchmarks/activity.py --labels mine.csv --target active --name mine --write FOLDER       # labels of your own

FOLDER holds `gsk3b_labels.csv.gz` and `jnk3_labels.csv.gz`: SMILES with 0 or 1, from the repository of Jin et al. (ICML
2020, wengong-jin/multiobj-rationale), who have them from Li et al. (J. Cheminform. 10:33, 2018), and those from ExCAPE-DB.
Logistic regression with an L2 penalty on log2(1 + count) of folded Morgan environments (see `molvae.oracles.activity`).

Estimate: scaffold splits (no Bemis-Murcko scaffold in two parts), 70 % training, 10 % validation, 20 % test, a few seeds.
The penalty is chosen by log loss on the validation part; then the classifier learns from both and is tested once. Beside it:

nearest active  the largest Tanimoto similarity (bits of the same fingerprint) to an active that may be learned from
constant        the share of actives that may be learned from

ECE is the expected calibration error in 10 bins of equal width (Guo et al., ICML 2017); the calibration slope is that of a
logistic regression of the label on the logit (Cox, Biometrika 45:562, 1958): 1 is right, less is over-confident.

With --write the classifiers learn from all labels, with the penalty that had the least validation loss over all seeds, and
are written as NAME.safetensors, an oracle as `activity:NAME.safetensors`. Those shipped are in `molvae/oracles`; whoever
replaces them puts the hashes that this script prints into `molvae/oracles/activity.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from molvae.benchmark.tabulate import spread
from molvae.chem import count_fingerprints, parse, scaffold
from molvae.data.derivation import text_hashes
from molvae.data.splits import TEST, VALIDATION, scaffold_split
from molvae.errors import ConfigError, DataError
from molvae.files import file_hash
from molvae.oracles.activity import Classifier, features
from molvae.uses.probing import read_labelled

TARGETS = {"gsk3b": ("gsk3b_labels.csv.gz", "gsk3"), "jnk3": ("jnk3_labels.csv.gz", "jnk3")}
FINGERPRINT, SIZE = "morgan2", 8192  # the best of six kinds on the split with seed 0; hence the splits are from seed 1 on
FIRST_SEED = 1
STRENGTHS = (0.1, 0.2, 0.3, 0.5, 1.0)  # C of scikit-learn: the inverse of the penalty
FIGURES = ("roc_auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope")


@dataclass(frozen=True)
class Labels:
    """What is learned from.

    x: (N, D) features, sparse float64.  y: (N,) 0 or 1.  scaffolds: (N,) int64 hashes.  sha256: of the file of labels.
    """

    x: sparse.csr_matrix
    y: np.ndarray
    scaffolds: np.ndarray
    sha256: str


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--only", choices=TARGETS, help="one of the two")
    parser.add_argument("--labels", type=Path, help="in place of the two: a table of molecules with labels 0 and 1")
    parser.add_argument("--target", help="the column of --labels that holds them")
    parser.add_argument("--name", help="what the classifier of --labels is called")
    parser.add_argument("--seeds", type=int, default=3, help="scaffold splits")
    parser.add_argument("--write", type=Path, help="folder that the classifiers are written to")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "activity.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    rows: list[dict[str, object]] = []
    for name, path, target in chosen(args):
        labels = read_labels(path, target, name)
        found, loss = estimate(labels, args.seeds, name)
        origin = provenance(
            "activity", data=labels.sha256, seed=f"{FIRST_SEED} to {args.seeds}", budget=f"{len(labels.y)} labels"
        )
        rows += [{"target": name} | row | origin for row in found]
        if args.write is not None:
            strength = STRENGTHS[int(np.argmin(loss))]
            model = fit(labels.x, labels.y, strength)
            about = {"labels_sha256": labels.sha256, "labels": len(labels.y), "actives": int(labels.y.sum()), "C": strength}
            about |= {key: found[0][key] for key in ("roc_auc", "average_precision")} | {"versions": origin["versions"]}
            file = args.write / f"{name}.safetensors"
            weights = model.coef_[0].astype(np.float32)
            Classifier(name, FINGERPRINT, weights, float(model.intercept_[0]), about).save(file)
            print(f"{file}: C = {strength}, {file.stat().st_size:,} bytes, SHA-256 {file_hash(file)}")
    write_csv(args.out, [{key: value for key, value in row.items() if key != "shown"} for row in rows])
    print(table([{key: row[key] for key in ("target", "classifier")} | row["shown"] for row in rows]))  # type: ignore[operator]


def chosen(args: argparse.Namespace) -> list[tuple[str, Path, str]]:
    """(name, file, column) of each set of labels. Raises ConfigError for options that do not go together."""
    if args.seeds < 1:
        raise ConfigError(f"seeds is {args.seeds}; give 1 or more.")
    if args.labels is not None:
        if not (args.target and args.name):
            raise ConfigError("--labels needs --target COLUMN and --name NAME.")
        return [(args.name, args.labels, args.target)]
    if args.data is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    return [(name, Path(args.data) / file, column) for name, (file, column) in TARGETS.items() if args.only in (None, name)]


def read_labels(path: Path, target: str, name: str) -> Labels:
    """Each molecule once. Raises DataError for labels other than 0 and 1, or fewer than 10 of either."""
    labelled = read_labelled(path, target)
    y = labelled.values
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(f"{path} has a label {y[~np.isin(y, (0.0, 1.0))][0]:g} in {target!r}; labels are 0 and 1.")
    if min(y.sum(), (1 - y).sum()) < 10:
        raise DataError(f"{path} has {y.sum():g} actives and {(1 - y).sum():g} others; 10 of each are the least.")
    report, rows, scaffolds, n = show_progress(f"{name}: fingerprints"), [], [], len(y)
    for start in range(0, n, 1000):
        mols = [parse(text) for text in labelled.smiles[start : start + 1000]]
        rows.append(sparse.csr_matrix(features(count_fingerprints(mols, FINGERPRINT, SIZE))))
        scaffolds += [scaffold(mol) for mol in mols]
        report(min(start + 1000, n), n)
    return Labels(sparse.vstack(rows).tocsr(), y.astype(np.int64), text_hashes(scaffolds), file_hash(path))


def estimate(labels: Labels, seeds: int, name: str) -> tuple[list[dict[str, object]], np.ndarray]:
    """Figures of the classifier and of what stands beside it, means over the splits; (S,) mean validation log loss."""
    figures: dict[str, list[dict[str, float]]] = {"logistic": [], "nearest active": [], "constant": []}
    losses, sizes, strengths, report = [], [], [], show_progress(f"{name}: splits")
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        parts = scaffold_split(labels.scaffolds, 0.1, 0.2, seed)
        test, held_out = parts == TEST, parts == VALIDATION
        learned, train = ~test, ~(test | held_out)
        x, y = labels.x, labels.y
        losses.append([
            log_loss(y[held_out], fit(x[train], y[train], strength).predict_proba(x[held_out])[:, 1])
            for strength in STRENGTHS
        ])  # fmt: skip
        strengths.append(STRENGTHS[int(np.argmin(losses[-1]))])
        predicted = fit(x[learned], y[learned], strengths[-1]).predict_proba(x[test])[:, 1]
        figures["logistic"].append(ranking(y[test], predicted) | probabilities(y[test], predicted))
        figures["nearest active"].append(ranking(y[test], nearest_active(x[test], x[learned][y[learned] == 1])))
        constant = np.full(int(test.sum()), y[learned].mean())
        figures["constant"].append(ranking(y[test], constant) | probabilities(y[test], constant))
        sizes.append((int(learned.sum()), int(test.sum()), int(y[test].sum())))
        report(len(sizes), seeds)
    rows = []
    for classifier, runs in figures.items():
        row: dict[str, object] = {"classifier": classifier, "split": "scaffold"}
        values = {key: [run[key] for run in runs] for key in FIGURES if key in runs[0]}
        for key, of_seeds in values.items():
            row |= {key: float(np.mean(of_seeds)), f"{key}_sd": float(np.std(of_seeds, ddof=1)) if seeds > 1 else None}
        row |= {"C": " ".join(map(str, strengths)) if classifier == "logistic" else ""}
        row |= dict(zip(("n_learned", "n_test", "actives_test"), sizes[0], strict=True))
        rows.append(row | {"shown": {key: spread(values.get(key, []), 3) for key in FIGURES}})
    return rows, np.mean(losses, axis=0)


def fit(x: sparse.csr_matrix, y: np.ndarray, strength: float) -> LogisticRegression:
    """Logistic regression of y (n,) on x (n, D); the intercept is not penalised."""
    return LogisticRegression(C=strength, max_iter=500).fit(x, y)


def nearest_active(x: sparse.csr_matrix, actives: sparse.csr_matrix) -> np.ndarray:
    """(n,) largest Tanimoto coefficient of the bits of x (n, D) to those of the actives (m, D)."""
    a, b = (x > 0).astype(np.float32), (actives > 0).astype(np.float32)
    sizes, best = np.asarray(b.sum(1)).ravel(), np.zeros(x.shape[0])
    for start in range(0, x.shape[0], 1000):
        rows = a[start : start + 1000]
        shared = (rows @ b.T).toarray()
        best[start : start + 1000] = (shared / np.maximum(np.asarray(rows.sum(1)) + sizes - shared, 1)).max(1)
    return best


def ranking(y: np.ndarray, score: np.ndarray) -> dict[str, float]:
    """How well a score (n,) puts actives first."""
    return {"roc_auc": float(roc_auc_score(y, score)), "average_precision": float(average_precision_score(y, score))}


def probabilities(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """How well probabilities (n,) say how often they are right."""
    bins = np.minimum((10 * p).astype(int), 9)
    gaps = [abs(y[bins == b].mean() - p[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    found = {"log_loss": float(log_loss(y, p)), "brier": float(brier_score_loss(y, p)), "ece": float(sum(gaps))}
    if np.ptp(p) > 0:
        inside = np.clip(p, 1e-12, 1 - 1e-12)
        logit = np.log(inside / (1 - inside))[:, None]
        found["calibration_slope"] = float(LogisticRegression(C=1e9).fit(logit, y).coef_[0, 0])
    return found


if __name__ == "__main__":
    run_script(main)
