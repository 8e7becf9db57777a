"""GRU or Transformer, words or symbols: what each has learned after the same molecules, and after the same processor time.

    python benchmarks/architectures.py --data FOLDER

Every variant sees the same molecules of the GDSS training split in the same order with the settings of the shipped model
(train_zinc250k.toml), on one thread. The clock is the process's own processor time, so a busy machine does not change it.
nll and exact reconstruction are of 2,000 held-out training-split molecules, with averaged weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, data_option, markdown, provenance, run_script, write_csv, zinc_split

from molvae.config import override, read_toml, settings
from molvae.data.datasets import tokenise
from molvae.models.sequence_vae import MODELS
from molvae.randomness import stream
from molvae.training.experiment import health
from molvae.training.loop import Examples, TrainSettings, fit

CONFIG = Path(__file__).with_name("train_zinc250k.toml")
HELD_OUT = 2000
TRANSFORMER = [
    "model.encoder=transformer",
    "model.encoder_settings={}",
    "model.decoder=transformer",
    "model.decoder_settings={}",
]
VARIANTS = {
    "GRU, 400 words": [],
    "Transformer (4 + 4 layers of 256), 400 words": TRANSFORMER,
    "GRU, symbols": ["data.words=0"],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--molecules", type=int, default=100_000, help="molecules shown to each variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "architectures.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    split = zinc_split(args.data)
    chosen = stream(args.seed, "architectures").permutation(len(split.train))[: args.molecules // 2 + HELD_OUT]
    smiles = [split.train[i] for i in chosen.tolist()]
    origin = provenance("architectures", data=split.hash, seed=args.seed, budget=f"{args.molecules} molecules shown")
    rows = []
    for name, changes in VARIANTS.items():
        rows += [{"variant": name, **row, **origin} for row in learn(smiles, changes, args.molecules, args.seed)]
        write_csv(args.out, rows)
    shown = ("variant", "parameters", "molecules", "cpu_seconds", "nll", "rate", "exact_mean", "exact_sample")
    print(markdown(shown, [[row[k] for k in shown] for row in rows]))


def learn(smiles: list[str], changes: list[str], molecules: int, seed: int) -> list[dict[str, object]]:
    """One row an evaluation, five in all."""
    table = override(read_toml(CONFIG), changes)
    training = {**table["training"], "molecules": molecules, "evaluate_every": molecules // 5, "seed": seed}
    tokens = tokenise(smiles, words=table["data"]["words"])
    order = torch.from_numpy(np.arange(len(tokens.smiles)))
    held, shown = Examples(tokens.table.select(order[:HELD_OUT])), Examples(tokens.table.select(order[HELD_OUT:]))
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    model = MODELS.build(table["model"].pop("name"), table["model"], len(tokens.vocabulary))
    known = set(tokens.smiles[HELD_OUT:])
    rows: list[dict[str, object]] = []
    spent = 0.0
    begun = time.process_time()

    def evaluate(model, seen: int) -> dict[str, float]:
        nonlocal spent, begun
        spent += time.process_time() - begun  # the clock stands still while evaluating
        metrics = health(model, held, tokens.vocabulary, known, seed)
        parameters = sum(p.numel() for p in model.parameters())
        rows.append({"parameters": parameters, "molecules": seen, "cpu_seconds": round(spent, 1), **metrics})
        begun = time.process_time()
        return metrics

    with tempfile.TemporaryDirectory() as folder:
        fit(model, shown, settings(TrainSettings, training, "[training]"), folder, evaluate=evaluate)
    return rows


if __name__ == "__main__":
    run_script(main)
