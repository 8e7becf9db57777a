"""The measured half of a checkpoint's card: reconstruction of the GDSS test rows, and 10,000 samples from every prior.

Protocol (GDSS, Jo et al. 2022, with the reference's stereo kept): ZINC250k, 24,887 test rows. Reconstruction: exact match of
isomeric canonical SMILES, greedy, from the posterior mean and from a sample of it, on all test rows. Samples: 10,000 from
each prior of the model; faithful, sane, unique, novel, and the FCD to all test rows; once with the decoder kept to what can
be read (`molvae.strings.grammar`, the default everywhere), and once without. Beside them stand the best that is possible
(10,000 random training molecules scored by the same code) and n-gram models of SELFIES, which are always valid.

    python benchmarks/model_card.py zinc250k --data FOLDER --write-card
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from common import (
    RESULTS,
    data_option,
    model_hash,
    provenance,
    run_script,
    show_progress,
    table,
    write_csv,
    zinc_split,
)
from sample_sets import Samples, fcd, known_to, ngrams, perfect_sampler, rates, rows_of, smiles_of

from molvae.checkpoint import find
from molvae.chem import canonical
from molvae.data.datasets import tokenise
from molvae.evaluation.fcd import reference_activations
from molvae.evaluation.reconstruction import reconstruction
from molvae.files import write_json
from molvae.generation.model import pick_device


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="zinc250k", help="name of a shipped model, or a checkpoint folder")
    data_option(parser)
    parser.add_argument(
        "--samples", type=int, default=10_000, help="molecules from each prior (FCDs compare at 10,000 only)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-rows", type=int, help="reconstruct only the first N test rows, for a quick look")
    parser.add_argument("--beams", type=int, default=16, help="beams of consistent decoding, reported beside greedy")
    parser.add_argument("--prior", action="append", help="measure only this prior, and replace its rows (repeatable)")
    parser.add_argument("--no-baselines", action="store_true", help="leave out the perfect sampler and the n-gram models")
    parser.add_argument("--write-card", action="store_true", help="store the result as the section `measured` of card.json")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="extra processes for RDKit work")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "molvae-benchmarks")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "model_card.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    import molvae

    device = str(pick_device(args.device))
    model = molvae.load(args.checkpoint, device=device, workers=args.workers)
    split = zinc_split(args.data)
    test = split.test[: args.test_rows]
    print(f"{args.checkpoint}: {len(split.train):,} training and {len(split.test):,} test rows, {args.samples:,} samples")

    # 1. Does a molecule come back?
    rows: list[dict[str, object]] = []
    for kind, beams in [] if args.prior else itertools.product(("mean", "sample"), (0, args.beams)):
        started = time.perf_counter()
        name = f"reconstruction from the {kind}, " + (f"{beams} beams" if beams else "greedy")
        found = reconstruction(
            model, test, sample=kind == "sample", seed=args.seed, beams=beams, progress=show_progress(name)
        )
        rows.append({"set": name, **asdict(found), "seconds": time.perf_counter() - started})
        print(f"{name}: {found.exact:.4f} ({found.stereo_free:.4f} without stereo)", flush=True)

    # 2. What comes out of each prior, beside the best possible and the n-gram floor?
    reference = reference_activations(
        [text for text in map(canonical, split.test) if text],
        args.cache,
        device=device,
        progress=show_progress("test FCD"),
    )
    priors = args.prior or list(dict.fromkeys([*model.priors, "normal"]))
    free = molvae.load(args.checkpoint, device=device, workers=args.workers, constrained=False)
    sets: dict[str, Samples] = {f"prior {name}": model.sample(args.samples, seed=args.seed, prior=name) for name in priors}
    if model.grammar is not None:
        sets |= {f"prior {name}, unconstrained": free.sample(args.samples, seed=args.seed, prior=name) for name in priors}
    if not args.no_baselines and not args.prior:
        train = tokenise(split.train, words=0, workers=args.workers, progress=show_progress("training set"))
        sets["perfect sampler"] = perfect_sampler(split, args.samples, args.seed)
        sets |= ngrams(train.vocabulary, rows_of(train.table), args.samples, args.seed)
    for name, samples in sets.items():
        started = time.perf_counter()
        figures = rates(samples, known_to(model), model.ring_systems)
        distance = fcd(smiles_of(samples), reference, device, name)
        rows.append({"set": name, **figures, "fcd": distance, "seconds": time.perf_counter() - started})
        print(", ".join(f"{k} {rows[-1][k]:.4f}" for k in ("fcd", "faithful", "sane", "unique", "novel")), f"<- {name}")

    # 3. The table, and the card.
    origin = provenance("model_card", data=split.hash, seed=args.seed, budget=f"{args.samples} samples")
    origin["model"] = model_hash(args.checkpoint)
    now = [{**row, **origin} for row in rows]
    write_csv(args.out, _with(now, list(csv.DictReader(args.out.open(newline="")))) if args.prior else now)
    columns = ("set", "n", "exact", "stereo_free", "fcd", "valid", "faithful", "sane", "unique", "novel", "diversity")
    print(table(rows, columns))
    if args.write_card:
        path = find(args.checkpoint) / "card.json"
        card = json.loads(path.read_text(encoding="utf-8"))
        measured = {"rows": _finite(rows), "provenance": origin}
        if args.prior:
            measured = {**card["measured"], "rows": _with(_finite(rows), card["measured"]["rows"])}
        write_json(path, {**card, "measured": measured})
        print(f"written: {path}")


def _with(rows: list[dict[str, object]], earlier: list[dict[str, object]]) -> list[dict[str, object]]:
    """Earlier rows in their order, with these in the places of those of the same set, or behind them."""
    new = {row["set"]: row for row in rows}
    return [new.pop(row["set"], row) for row in earlier] + list(new.values())


def _finite(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The rows for JSON, which has no NaN: what was not measured is left out."""
    return [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items() if value == value}
        for row in rows
    ]


if __name__ == "__main__":
    run_script(main)
