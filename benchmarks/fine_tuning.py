"""Fine-tuning on one chemical family: what share of the samples belongs to it, what is copied, and what is forgotten.

    python benchmarks/fine_tuning.py --data FOLDER

The family is the sulfonyl piperazines (a sulfonamide whose nitrogen is in a piperazine): 500 of the 1,225 in ZINC250k, most
of them training rows of the shipped model, which writes one such molecule in two thousand. One row before tuning, one after
it, one after tuning without replay. Samples: 2,000 of the preferred prior. Reconstruction, from the mean: the 500, the other
molecules of the family, and 1,000 GDSS test molecules that are not of the family.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from common import RESULTS, data_option, model_hash, provenance, run_script, show_progress, table, write_csv, zinc_split
from rdkit import Chem

import molvae
from molvae.chem import parse
from molvae.evaluation.reconstruction import reconstruction
from molvae.evaluation.samples import sample_metrics
from molvae.generation.model import Model
from molvae.randomness import stream
from molvae.training.memorisation import memorisation

FAMILY = Chem.MolFromSmarts("[#6]S(=O)(=O)N1CCNCC1")
VARIANTS = {"tuned": {}, "tuned without replay": {"replay": 0.0}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k")
    parser.add_argument("--molecules", type=int, default=500)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "fine_tuning.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    split = zinc_split(args.data)
    family = [text for text in [*split.train, *split.test] if "S(=O)(=O)" in text and is_family(text)]
    order = stream(args.seed, "family").permutation(len(family)).tolist()
    own, rest = ([family[i] for i in part] for part in (order[: args.molecules], order[args.molecules :]))
    others = [text for text in split.test if not is_family(text)][:1000]
    origin = provenance("fine_tuning", data=split.hash, seed=args.seed, budget=f"{args.samples} samples")
    origin["model"] = model_hash(args.model)
    base = molvae.load(args.model)
    rows = []
    for name, tuning in {"before": None, **VARIANTS}.items():
        with tempfile.TemporaryDirectory() as folder:
            model = base
            if tuning is not None:
                report = show_progress(name)
                model = molvae.train(
                    own,
                    folder,
                    fine_tune=args.model,
                    config={"fine_tuning": {**tuning, "samples": 10}, "training": {"seed": args.seed}},
                    progress=lambda done, total, _, report=report: report(done, total),
                )
            rows.append({"model_is": name, "molecules": len(own), **measured(model, own, rest, others, args), **origin})
        write_csv(args.out, rows)
    shown = [key for key in rows[0] if key not in origin]
    print(table(rows, shown))


def is_family(smiles: str) -> bool:
    """Whether a molecule has the sulfonyl piperazine."""
    mol = parse(smiles)
    return mol is not None and mol.HasSubstructMatch(FAMILY)


def measured(
    model: Model, own: list[str], rest: list[str], others: list[str], args: argparse.Namespace
) -> dict[str, object]:
    """The columns of one model."""
    samples = model.sample(args.samples, seed=args.seed + 1)
    smiles = [decoded.smiles for decoded in samples if decoded.smiles]
    metrics = sample_metrics(samples, ring_systems=model.ring_systems)
    known = [Chem.CanonSmiles(text) for text in own]
    copied = asdict(memorisation(smiles, known))
    return {
        "prior": model.priors[0],
        "shown": model.card["molecules_shown"],
        "family": sum(map(is_family, smiles)) / len(smiles),
        "faithful": metrics.faithful,
        "sane": metrics.sane,
        "unique": metrics.unique,
        "diversity": metrics.diversity,
        "exact_copies": copied["exact"],
        "near_copies": copied["near"],
        "median_similarity": copied["median_similarity"],
        "reconstruction_own": reconstruction(model, own).exact,
        "reconstruction_family": reconstruction(model, rest[:1000]).exact,
        "reconstruction_others": reconstruction(model, others).exact,
    }


if __name__ == "__main__":
    run_script(main)
