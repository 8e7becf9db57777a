"""What latents tell of properties: `molvae probe` on ZINC250k test rows, ESOL and lipophilicity.

    python benchmarks/probe.py --data FOLDER                     # five minutes on one core

FOLDER holds ZINC250k and its split, and `esol.csv.gz` and `lipo.csv.gz` (MoleculeNet, Wu et al. 2018). logP, QED, SA, TPSA
and MW are computed for random test rows; descriptors contain these, but for SA, so their figures say nothing there. A
Gaussian process only on the two measured properties. Published anchor on lipophilicity: CDDD with a support vector machine,
R2 0.731 +- 0.029 (Winter et al. 2019, the README of their repository), on splits of their own.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv, zinc_split

import molvae
from molvae.benchmark.tabulate import spread
from molvae.chem import canonical, parse, properties
from molvae.files import file_hash
from molvae.randomness import stream
from molvae.uses.probing import SPLITS, Labelled, probe, read_labelled

COMPUTED = ("logP", "QED", "SA", "TPSA", "MW")
MEASURED = {"ESOL": ("esol.csv.gz", "measured log solubility in mols per litre"), "lipophilicity": ("lipo.csv.gz", "exp")}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--molecules", type=int, default=2000, help="ZINC250k test rows")
    parser.add_argument("--seeds", type=int, default=3, help="splits of each kind")
    parser.add_argument("--gp-rows", type=int, default=1000, help="training rows of the Gaussian process")
    parser.add_argument("--only", choices=("ZINC250k", *MEASURED), help="one data set")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "probe.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    split = zinc_split(args.data)
    model = molvae.load(args.model, device="cpu")
    sets: list[tuple[str, str, str, Labelled, int]] = []  # data set, target, hash, rows, rows of the Gaussian process
    if args.only in (None, "ZINC250k"):
        order = stream(0, "probe", "test").permutation(len(split.test))[: args.molecules]
        smiles = list(dict.fromkeys(text for i in order if (text := canonical(split.test[i])) is not None))
        values = np.array([list(properties(parse(text), COMPUTED).values()) for text in smiles])
        sets += [
            ("ZINC250k", name, split.hash, Labelled(smiles, values[:, i], Counter()), 0) for i, name in enumerate(COMPUTED)
        ]
    for name, (file, target) in MEASURED.items():
        if args.only in (None, name):
            path = Path(args.data) / file
            sets.append((name, name, file_hash(path), read_labelled(path, target), args.gp_rows))
    rows: list[dict[str, object]] = []
    for name, target, data, labelled, gp_rows in sets:
        labelled = replace(labelled, left_out=Counter())
        bar = show_progress(target)
        found = probe(
            labelled, model=model, seeds=args.seeds, gp_rows=gp_rows, splits=SPLITS,
            progress=lambda stage, done, total, bar=bar: bar(done, total),
        )  # fmt: skip
        origin = provenance("probe", data=data, seed=f"0 to {args.seeds - 1}", budget=f"{len(labelled.smiles)} molecules")
        rows += [
            {
                "set": name,
                "target": target,
                "split": one.split,
                "representation": one.representation,
                "regressor": one.regressor,
                "r2": float(np.mean(one.r2)),
                "r2_sd": float(np.std(one.r2, ddof=1)) if len(one.r2) > 1 else None,
                "rmse": float(np.mean(one.rmse)),
                "rmse_sd": float(np.std(one.rmse, ddof=1)) if len(one.rmse) > 1 else None,
                "n_train": one.n_train,
                "n_test": one.n_test,
                "unencodable": labelled.left_out["the model cannot encode it"],
                "shown": spread(one.r2, 3),
                **origin,
                "model": model.weights_hash,
            }
            for one in found
        ]
    write_csv(args.out, [{key: value for key, value in row.items() if key != "shown"} for row in rows])
    ways = list(dict.fromkeys((row["representation"], row["regressor"]) for row in rows))
    lines: dict[tuple[object, object], dict[str, object]] = {}
    for row in rows:
        line = lines.setdefault((row["target"], row["split"]), {"R2 of": row["target"], "split": row["split"]})
        line[f"{row['representation']}, {row['regressor']}"] = row["shown"]
    print(table(list(lines.values()), ["R2 of", "split", *(f"{a}, {b}" for a, b in ways)]))


if __name__ == "__main__":
    run_script(main)
