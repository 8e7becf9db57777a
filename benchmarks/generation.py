"""One table of the whole family: every variant trained alike on ZINC250k, and what each of its priors generates.

    python benchmarks/generation.py train --variant fsq_vae -o runs/fsq_vae --data FOLDER       # again to go on, or to refit
    python benchmarks/generation.py measure runs/* -o benchmarks/results/generation.csv --data FOLDER

`train` is the recipe of the shipped model (train_zinc250k.toml) with one recombined molecule for each training molecule and
2,000,000 molecules shown, and the variant's own settings from VARIANTS. Run on a finished run directory it trains nothing,
and fits the priors anew. `language` is the decoder alone: nearly as many parameters as the whole VAE, and z hidden but for
about one molecule in a hundred, of which no figure is taken.

`measure` reads run directories and checkpoints, one row a model and prior. Reconstruction is greedy, on all 24,887 test
rows of the GDSS split, by isomeric canonical SMILES and without stereo; nll, rate and active units on the same rows; the
bound on -log p(x) by 50 importance samples on the first 1,000; of models of codes how many of the codes are used, and the
bits of a molecule under codes that are equally likely and under the learned prior. Each prior draws 10,000 molecules,
decoded greedily: `normal` is N(0, I), or the prior the variant was trained with (`own`); `language` draws strings without
z and encodes them; `strings` are such strings themselves, with no latent space in between; `posteriors` are posterior
samples of 10,000 training molecules, the ceiling of every learned prior. Beside them stand the perfect sampler (those
training molecules) and n-gram models. FCDs are to all test rows: with stereo (GDSS), and stripped from both sides.
MOSES's figures are to the same rows. What the file has already is not measured again; each row is written when it is
done. What others have published stands in results/published_generation.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, Split, data_option, provenance, run_script, show_progress, table, write_csv, zinc_split
from sample_sets import Reference, Samples, compared, known_to, ngrams, perfect_sampler, rates, rows_of
from torch import Tensor
from train_zinc250k import CONFIG, learn, training_options

from molvae.checkpoint import find
from molvae.config import override, read_toml
from molvae.data.datasets import tokenise
from molvae.errors import ConfigError
from molvae.evaluation.channel import channel, code_usage, importance_bound
from molvae.evaluation.reconstruction import reconstruction
from molvae.generation.model import Model, load, pick_device
from molvae.models.priors.codes import nearest_codes
from molvae.models.sequence_vae import SequenceVAE
from molvae.randomness import torch_stream

RECIPE = ["data.recombined=1", "training.molecules=2000000"]
#: Their rate is a constant, so there is nothing to steer.
CODES = ["model.kl_weight=fixed", "model.kl_settings={}"]
VARIANTS: dict[str, list[str]] = {
    "vae": [],
    "info_vae": ["model.name=info_vae"],
    "tc_vae": ["model.name=tc_vae"],
    "vamp_vae": ["model.name=vamp_vae"],
    "aae": ["model.name=aae"],
    "vae_gan": ["model.name=vae_gan"],
    "ladder_vae": ["model.name=ladder_vae", "model.levels=4"],
    "nvae": ["model.name=nvae", "model.latent=120"],  # 10 positions of 12 numbers
    "fsq_vae": ["model.name=fsq_vae", "model.latent=48", *CODES],  # 12 codes of 1,000
    "vq_vae": ["model.name=vq_vae", "model.codes=256", "model.parts=16", *CODES],
    "cvae": ["model.name=cvae", 'data.properties=["logP", "QED", "SA", "MW", "TPSA"]'],
    "language": [
        "data.recombined=0",  # these are for the autoencoder
        "model.unconditional=0.99",
        "model.latent=8",
        "model.encoder_settings={embedding = 16, hidden = 16}",
        "model.decoder_settings={embedding = 128, hidden = 800}",
        "model.kl_weight=fixed",
        "model.kl_settings={beta = 0.0}",
    ],
}
IMPORTANCE, BOUNDED = 50, 1000  # samples of the bound on -log p(x), and test rows that it is measured on
ONLY_LANGUAGE = 0.9  # a share of hidden z above which a model is measured as a language model and nothing else
SHOWN = (
    "model",
    "prior",
    "exact_mean",
    "exact_sample",
    "rate",
    "faithful",
    "sane",
    "novel",
    "fcd",
    "fcd_stripped",
    "scaffolds",
)
Row = dict[str, object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    trainer = verbs.add_parser("train", help="train one variant, or go on")
    trainer.add_argument("--variant", required=True, choices=sorted(VARIANTS))
    training_options(trainer)
    measurer = verbs.add_parser("measure", help="measure trained models and their priors")
    measurer.add_argument("models", nargs="+", help="run directories, checkpoint folders, or names of shipped models")
    measurer.add_argument("-o", "--out", type=Path, default=RESULTS / "generation.csv")
    data_option(measurer)
    measurer.add_argument("--samples", type=int, default=10_000, help="molecules of each set (FCDs compare at 10,000 only)")
    measurer.add_argument("--rows", type=int, help="only the first N test rows, everywhere, for a quick look")
    measurer.add_argument("--prior", action="append", help="only this set (repeatable); its name in the table")
    measurer.add_argument("--no-baselines", action="store_true", help="leave out the perfect sampler and the n-gram models")
    measurer.add_argument("--seed", type=int, default=0)
    measurer.add_argument("--device", default="auto")
    measurer.add_argument("--workers", type=int, default=0, help="extra processes for RDKit work")
    measurer.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "molvae-benchmarks")
    options = parser.parse_args()
    if options.verb == "train":
        learn(override(read_toml(CONFIG), [*RECIPE, *VARIANTS[options.variant], *options.set]), options)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measure what the file does not have yet, model by model."""
    device = str(pick_device(options.device))
    for name in options.models:
        find(name)  # a wrong one is told before the work on the others
    split = zinc_split(options.data)
    test = split.test[: options.rows]
    reference = Reference.of(test, options.cache, device=device, workers=options.workers)
    done = {(row["weights"], row["prior"], row["budget"], row["seed"]) for row in stored(options.out)}
    budget = f"{options.samples} samples, {len(test)} test rows"

    def add(row: Row, weights: str) -> None:
        origin = provenance("generation", data=split.hash, seed=options.seed, budget=budget)
        write_csv(options.out, [*stored(options.out), {**row, **origin, "weights": weights}])  # others may write there, too
        print(table([row], SHOWN).splitlines()[-1], flush=True)

    def wanted(prior: str, weights: str) -> bool:
        new = (weights, prior, budget, str(options.seed)) not in done
        return new and (not options.prior or prior in options.prior)

    first: Model | None = None
    for name in options.models:
        model = load(name, device=device, workers=options.workers)
        first = first or model
        sets = {k: v for k, v in sets_of(model, split, options).items() if wanted(k, model.weights_hash)}
        if not sets:
            continue
        about = described(model, name) | latent_figures(model, test, options.seed)
        for prior, draw in sets.items():
            samples, speed = timed(draw)
            figures = measured(samples, model, reference, options, f"{model.name}, {prior}")
            add({**about, "prior": prior, **figures, **speed}, model.weights_hash)
    if not options.no_baselines and first is not None:
        for prior, samples in baselines(split, options, lambda prior: wanted(prior, "")):
            figures = measured(samples, first, reference, options, prior)
            add({"model": "baseline", "prior": prior, **figures}, "")
    print(table(stored(options.out), SHOWN))


def stored(path: Path) -> list[Row]:
    """The rows of an earlier call."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [dict(row) for row in csv.DictReader(stream)]
    if rows and not {"weights", "prior", "budget", "seed"} <= rows[0].keys():
        raise ConfigError(f"{path} is no table of this script. Name another file with -o.")
    return rows


def described(model: Model, name: str) -> Row:
    """What a model is, and how fast it was trained: the median of its evaluations, wall clock."""
    folder = find(name)
    log = (folder.parent if folder.name == "checkpoint" else folder) / "events.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    speeds = [line["molecules_per_second"] for line in lines if line.get("molecules_per_second")]
    return {
        "model": model.name,
        "variant": model.checkpoint.config["name"],
        "parameters": sum(p.numel() for p in model.vae.parameters()),
        "molecules_shown": model.card.get("molecules_shown", ""),
        "training_molecules_per_second": statistics.median(speeds) if speeds else "",
    }


def is_language_model(model: Model) -> bool:
    """Whether hardly any z was seen in training, so that its latents mean nothing."""
    return model.vae.unconditional > ONLY_LANGUAGE


def latent_figures(model: Model, test: Sequence[str], seed: int) -> Row:
    """Reconstruction, nll, rate and active units on the test rows."""
    carried = channel(model, test, seed=seed)
    if is_language_model(model):
        return {"language_nll": carried.language_nll}
    found: Row = {}
    for kind in ("mean", "sample"):
        report = show_progress(f"{model.name}: reconstruction from the {kind}")
        result = reconstruction(model, test, sample=kind == "sample", seed=seed, progress=report)
        found |= {f"exact_{kind}": result.exact, f"stereo_free_{kind}": result.stereo_free}
    found |= {key: getattr(carried, key) for key in ("nll", "rate", "active_units", "language_nll")}
    report = show_progress(f"{model.name}: bound by {IMPORTANCE} samples")
    found[f"bound_{IMPORTANCE}"] = importance_bound(model, test[:BOUNDED], IMPORTANCE, seed=seed, progress=report)
    return found | code_figures(model, carried.means)


def code_figures(model: Model, latents: Tensor) -> Row:
    """How much of its codebook a model of codes uses, and the bits of a molecule's codes: all equally likely, and under the
    learned prior."""
    vectors = model.vae.code_vectors()
    if vectors is None:
        return {}
    numbers = nearest_codes(latents, vectors.cpu())
    used, perplexity = code_usage(numbers, len(vectors))
    found: Row = {"codes": len(vectors), "codes_used": used, "code_perplexity": perplexity}
    found["code_bits_uniform"] = numbers.shape[1] * math.log2(len(vectors))
    if "codes" in model.checkpoint.priors:
        log_p = model.checkpoint.priors["codes"].log_prob(latents)
        found["code_bits_learned"] = -float(log_p.double().mean()) / math.log(2)
    return found


def sets_of(model: Model, split: Split, options: argparse.Namespace) -> dict[str, Callable[[], Samples]]:
    """How to draw each set of a model, by its name in the table."""
    n, seed = options.samples, options.seed

    def strings() -> Samples:
        rows = model._language_rows(n, torch_stream(seed, "language strings"))
        return [model.vocabulary.decode(ids) for ids in rows]

    def posteriors() -> Samples:
        z = model.encode(perfect_sampler(split, n, seed), sample=True, seed=seed)
        return model.decode(z[~np.isnan(z[:, 0])])

    own = "normal" if type(model.vae).sample_prior is SequenceVAE.sample_prior else "own"
    names = dict.fromkeys([*model.priors, "normal"])
    sets: dict[str, Callable[[], Samples]] = {
        own if name == "normal" else name: lambda name=name: model.sample(n, seed=seed, prior=name) for name in names
    }
    written = {"strings": strings} if model.vae.unconditional else {}
    return written if is_language_model(model) else {**sets, **written, "posteriors": posteriors}


def timed(draw: Callable[[], Samples]) -> tuple[Samples, Row]:
    """What was drawn, and molecules a second by the clock and by the processor time of all processes."""
    begun, before = time.perf_counter(), os.times()
    samples = draw()
    after, seconds = os.times(), time.perf_counter() - begun
    spent = sum(after[:4]) - sum(before[:4])
    return samples, {
        "samples_per_second": len(samples) / seconds,
        "samples_per_cpu_second": len(samples) / spent if spent else "",
    }


def measured(samples: Samples, model: Model, reference: Reference, options: argparse.Namespace, name: str) -> Row:
    """Every figure of one set; what is known of the training set, a model tells."""
    figures = rates(samples, known_to(model), model.ring_systems)
    distances = compared(samples, reference, str(model.vae.device), name, options.workers)
    return {**figures, **distances}


def baselines(split: Split, options: argparse.Namespace, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Samples]]:
    """The perfect sampler, and the n-gram models of SELFIES if any of them is wanted."""
    if wanted("perfect sampler"):
        yield "perfect sampler", perfect_sampler(split, options.samples, options.seed)
    if any(wanted(f"SELFIES {name}") for name in ("unigram", "trigram")):
        report = show_progress("training set")
        train = tokenise(split.train[: options.rows], words=0, spelling="selfies", workers=options.workers, progress=report)
        sets = ngrams(train.vocabulary, rows_of(train.table), options.samples, options.seed)
        yield from ((name, samples) for name, samples in sets.items() if wanted(name))


if __name__ == "__main__":
    run_script(main)
