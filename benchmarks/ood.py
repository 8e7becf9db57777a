"""How well `molvae ood` tells foreign molecules: ZINC250k test rows against QM9, BBBP and molecules of random SELFIES.

    python benchmarks/ood.py --data FOLDER                       # two minutes on one core

FOLDER holds ZINC250k and its split, and `qm9.csv.gz` and `bbbp.csv.gz` with a column `smiles` (MoleculeNet, Wu et al. 2018).
The detector is fitted on random training rows. Random SELFIES: symbols of the model's vocabulary drawn uniformly, as many as
a random test row has heavy atoms. AUROC: how often a foreign molecule scores above a test row. AUPR: foreign is positive.
FPR@95: share of the test rows above the score that 95 % of the foreign molecules exceed. Trivial baselines: |heavy atoms -
mean| and |weight - mean| over the reference, and 1 - the largest Tanimoto similarity (ECFP4 bits) to a reference molecule.

Molecules that cannot be encoded are left out of every row, the baselines' too; columns say how many they were. Whoever takes
them for foreign does better than the rows say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv, zinc_split
from sklearn.metrics import average_precision_score, roc_auc_score

import molvae
from molvae.chem import canonical, parse, properties
from molvae.data.tables import read_molecules
from molvae.generation.model import Model
from molvae.randomness import stream
from molvae.training.memorisation import nearest_similarity
from molvae.uses.ood import METHODS


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--reference", type=int, default=5000, help="training rows that the detector is fitted on")
    parser.add_argument("--molecules", type=int, default=2000, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "ood.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    split = zinc_split(args.data)
    model = molvae.load(args.model, device="cpu")

    def some(rows: list[str], n: int, name: str) -> list[str]:
        order = stream(args.seed, "ood", name).permutation(len(rows))[:n]
        return [text for text in (canonical(rows[i]) for i in order.tolist()) if text is not None]

    reference = some(split.train, args.reference, "reference")
    test = some(split.test, args.molecules, "test")
    foreign = {
        name: some(read_molecules(args.data / f"{name.lower()}.csv.gz").smiles, args.molecules, name)
        for name in ("QM9", "BBBP")
    }
    foreign["random SELFIES"] = random_molecules(model, test, args.seed)
    detector = molvae.fit_detector(reference, model=model, seed=args.seed, progress=show_progress("fit"))
    sizes = measures(reference).mean(0)

    def scores(smiles: list[str]) -> tuple[dict[str, np.ndarray], int]:
        found = detector.score(smiles, model, show_progress("score"))
        usable = np.array([not reason for reason in found.reasons])
        known = [text for text, good in zip(smiles, usable, strict=True) if good]
        atoms, weight = np.abs(measures(known) - sizes).T
        trivial = {"heavy atoms": atoms, "weight": weight, "ECFP4 nearest": 1.0 - nearest_similarity(known, reference)}
        return {method: found.scores[method][usable] for method in METHODS} | trivial, len(smiles) - len(known)

    usual, n_missing = scores(test)
    origin = provenance("ood", data=split.hash, seed=args.seed, budget=f"{len(reference)} reference molecules")
    origin["model"] = model.weights_hash
    rows: list[dict[str, object]] = []
    for name, smiles in foreign.items():
        strange, n_strange_missing = scores(smiles)
        for method, high in strange.items():
            both = np.concatenate([usual[method], high])
            label = np.repeat([0, 1], [len(usual[method]), len(high)])
            rows.append(
                {
                    "foreign": name,
                    "method": method,
                    "auroc": float(roc_auc_score(label, both)),
                    "aupr": float(average_precision_score(label, both)),
                    "fpr_at_95": float((usual[method] >= np.quantile(high, 0.05)).mean()),
                    "n_test": len(usual[method]),
                    "test_unencodable": n_missing,
                    "n_foreign": len(high),
                    "foreign_unencodable": n_strange_missing,
                }
            )
    write_csv(args.out, [row | origin for row in rows])
    print(table(rows))


def random_molecules(model: Model, like: list[str], seed: int) -> list[str]:
    """Molecules of random SELFIES strings, as many symbols as those of `like` have heavy atoms; empty ones left out."""
    draw, symbols = stream(seed, "ood", "random SELFIES"), sorted(model.vocabulary.symbols)
    made = []
    for n in (parse(text).GetNumHeavyAtoms() for text in like):
        derived = model.vocabulary.reads("".join(draw.choice(symbols, n)))
        made.append(canonical(derived) if derived else None)
    return [text for text in made if text is not None]


def measures(smiles: list[str]) -> np.ndarray:
    """(N, 2) heavy atoms and molecular weight."""
    return np.array([list(properties(parse(text), ["heavy_atoms", "MW"]).values()) for text in smiles]).reshape(-1, 2)


if __name__ == "__main__":
    run_script(main)
