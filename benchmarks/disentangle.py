"""Does one latent coordinate mean one property? MIG and DCI of ZINC250k test rows by the shipped model.

    python benchmarks/disentangle.py --data FOLDER               # a minute and a half on one core

`molvae disentangle` on random test rows: latents beside their principal components, random rotations of them, and principal
components of ECFP4. A forest asks five times as much work of a row as a lasso, so that it is given fewer of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv, zinc_split

import molvae
from molvae.chem import canonical
from molvae.randomness import stream
from molvae.uses.disentanglement import Disentangled


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--molecules", type=int, default=5000, help="test rows")
    parser.add_argument("--forest-molecules", type=int, default=1500, help="test rows of the forest; 0 leaves it out")
    parser.add_argument("--rotations", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "disentangle.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    split = zinc_split(args.data)
    model = molvae.load(args.model, device="cpu")
    order = stream(args.seed, "disentangle", "test").permutation(len(split.test))[: args.molecules]
    smiles = list(dict.fromkeys(text for i in order.tolist() if (text := canonical(split.test[i])) is not None))
    rows: list[dict[str, object]] = []
    shown: list[dict[str, object]] = []
    for importance, n, rotations in (("lasso", len(smiles), args.rotations), ("forest", args.forest_molecules, 1)):
        if not n:
            continue
        bar = show_progress(importance)
        found = molvae.disentangle(
            smiles[:n], model=model, importance=importance, rotations=rotations, seed=args.seed,
            progress=lambda _, done, total, bar=bar: bar(done, total),
        )  # fmt: skip
        origin = provenance("disentangle", data=split.hash, seed=args.seed, budget=f"{found.n} molecules")
        origin["model"] = model.weights_hash
        rows += [
            {"importance": importance, "representation": one.representation, "codes": one.codes, **row, **origin}
            for one in found.rows for row in one.by_property()
        ]  # fmt: skip
        shown += [{"importance": importance, "representation": one.representation, **means(one)} for one in found.rows]
    write_csv(args.out, rows)
    print(table(shown))


def means(one: Disentangled) -> dict[str, float]:
    """The four figures of a representation."""
    return {
        "MIG": one.mig,
        "disentanglement": one.disentanglement,
        "completeness": float(np.mean(one.completeness)),
        "R2": float(np.mean(one.r2)),
    }


if __name__ == "__main__":
    run_script(main)
