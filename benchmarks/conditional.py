"""What a conditional model does with what it is asked for: target against achieved, beside trivial ways to get there.

    python benchmarks/conditional.py --model runs/cvae --data FOLDER
    python benchmarks/fit_prior.py runs/vae flow --ask logP QED MW && python benchmarks/conditional.py --model runs/vae

A grid of targets, `--molecules` draws each: one property alone (logP, QED, MW), logP with QED, and all three. Figures of a
property, over the valid draws of all targets of its grid: mean absolute error, Spearman's rank correlation of target and
achieved, and the share within 0.5 (logP), 0.05 (QED), 20 (MW); `all_within` is the share of draws that hit every target of
their condition. Also the shares of draws that are faithful, of faithful ones that are new to the training set, and unique
ones among those of the same target.

    cvae            the model, asked, at each --guidance: its language model, whose strings are encoded
    flow            the same of any model with a flow that was fitted together with properties
    unconditional   the same model, not asked: one set of molecules, held against every target (--unconditional for another)
    nearest         the training molecules nearest the target (in standard deviations), of --pool random ones: none is new
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from common import RESULTS, data_option, provenance, run_script, show_progress, table, write_csv, zinc_split
from scipy.stats import spearmanr

import molvae
from molvae.chem import canonical
from molvae.data.derivation import measure_properties
from molvae.errors import ConfigError
from molvae.generation.conditioning import prior_scales
from molvae.generation.model import Model
from molvae.processes import in_processes
from molvae.randomness import child_seed, stream
from molvae.strings.tokens import Decoded

ALONE = {
    "logP": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    "QED": (0.5, 0.6, 0.7, 0.8, 0.9),
    "MW": (250.0, 300.0, 350.0, 400.0, 450.0),
}
TOGETHER = (
    {"logP": (1.0, 2.5, 4.0), "QED": (0.6, 0.9)},
    {"logP": (1.5, 3.5), "QED": (0.7, 0.85), "MW": (300.0, 400.0)},
)
TOLERANCE = {"logP": 0.5, "QED": 0.05, "MW": 20.0}
SHARE = 500  # molecules a job for a worker

Condition = Mapping[str, float]
Grid = dict[str, list[Condition]]


@dataclass(frozen=True)
class Drawn:
    """What a method gave for one condition. values: (n, 3) logP, QED and MW of the valid ones.  shares: by name."""

    condition: Condition
    values: np.ndarray
    shares: dict[str, float]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", required=True, help="run directory or checkpoint of a model that can be asked")
    parser.add_argument("--unconditional", help="another model for the row `unconditional`")
    parser.add_argument("--molecules", type=int, default=500, help="draws a target")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--pool", type=int, default=50_000, help="training molecules that the nearest are picked from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="processes for the RDKit work")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "conditional.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    split = zinc_split(args.data)
    model = molvae.load(args.model, device=args.device, workers=args.workers)
    plain = molvae.load(args.unconditional, device=args.device, workers=args.workers) if args.unconditional else model
    conditions = grid(model)
    n, rows = args.molecules, []
    origin = provenance("conditional", data=split.hash, seed=args.seed, budget=f"{n} draws a target")
    for method, guidance, draw in methods(args, model, plain, split.train):
        about = {"model": (plain if method == "unconditional" else model).name, "method": method, "guidance": guidance}
        report = show_progress(f"{method} {guidance}")
        for kind, wanted in conditions.items():
            drawn = []
            for done, condition in enumerate(wanted, 1):
                drawn.append(draw(condition))
                report(done, len(wanted))
            rows += [about | {"condition": kind} | row for row in figures(drawn)]
        weights = (plain if method == "unconditional" else model).weights_hash
        write_csv(args.out, [row | origin | {"weights": weights} for row in rows])
    print(table(rows))


def grid(model: Model) -> Grid:
    """Conditions of each kind, of the properties that the model can be conditioned on."""
    known = model.card.get("properties", {}) if model.vae.conditions else flow_properties(model)
    if not known.keys() & ALONE.keys():
        raise ConfigError(f"{model.name} cannot be conditioned on any of {', '.join(ALONE)}. Give a conditional model.")
    found: Grid = {}
    for axes in ({name: targets} for name, targets in ALONE.items()):
        found |= {next(iter(axes)): [{name: value} for name, targets in axes.items() for value in targets]}
    for axes in TOGETHER:
        found[" ".join(axes)] = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    return {kind: wanted for kind, wanted in found.items() if known.keys() >= wanted[0].keys()}


def flow_properties(model: Model) -> Mapping[str, object]:
    """What the flow of a model can be asked for."""
    return prior_scales(model.checkpoint, "flow") if "flow" in model.checkpoint.priors else {}


Draw = Callable[[Condition], Drawn]


def methods(
    args: argparse.Namespace, model: Model, plain: Model, train: Sequence[str]
) -> Iterator[tuple[str, float | str, Draw]]:
    """Name, guidance and the draw of each method."""
    n, seed, workers = args.molecules, args.seed, args.workers

    for guidance in args.guidance:

        def asked(condition: Condition, guidance: float = guidance) -> Drawn:
            own = child_seed(seed, "conditional", repr(sorted(condition.items())))
            return judged(condition, model.sample(n, seed=own, condition=condition, guidance=guidance), model, workers)

        yield "cvae" if model.vae.conditions else "flow", guidance, asked

    free = judged({}, plain.sample(n, seed=seed), plain, workers)
    yield "unconditional", "", lambda condition: Drawn(condition, free.values, free.shares)

    picked = stream(seed, "conditional pool").permutation(len(train))[: args.pool]
    smiles = [text for text in (canonical(train[i]) for i in picked.tolist()) if text]
    pool = measured(smiles, workers)
    sd = np.nanstd(pool, 0)

    def nearest(condition: Condition) -> Drawn:
        target = np.array([condition.get(name, math.nan) for name in ALONE])
        best = np.nansum(((pool - target) / sd) ** 2, 1).argsort(kind="stable")[:n]
        unique = len({smiles[i] for i in best}) / len(best)
        return Drawn(condition, pool[best], {"faithful": 1.0, "novel": 0.0, "unique": unique})

    yield "nearest", "", nearest


def judged(condition: Condition, drawn: Sequence[Decoded], model: Model, workers: int) -> Drawn:
    """The properties and shares of draws."""
    valid = [one.smiles for one in drawn if one.smiles]
    faithful = [one.smiles for one in drawn if one.smiles and one.faithful]
    shares = {
        "faithful": len(faithful) / len(drawn),
        "novel": 1.0 - float(model.is_training_molecule(faithful).mean()) if faithful else math.nan,
        "unique": len(set(valid)) / len(valid) if valid else math.nan,
    }
    return Drawn(condition, measured(valid, workers), shares)


def measured(smiles: Sequence[str], workers: int) -> np.ndarray:
    """(n, 3) logP, QED and MW."""
    jobs = [(tuple(ALONE), smiles[i : i + SHARE]) for i in range(0, len(smiles), SHARE)]
    return np.array(in_processes(measure_properties, jobs, workers), float).reshape(-1, len(ALONE))


def figures(drawn: Sequence[Drawn]) -> list[dict[str, object]]:
    """A row for each property of some conditions of one kind."""
    names = list(drawn[0].condition)
    columns = [list(ALONE).index(name) for name in names]
    target = np.concatenate([np.tile(list(one.condition.values()), (len(one.values), 1)) for one in drawn])
    value = np.concatenate([one.values[:, columns] for one in drawn])
    within = np.abs(value - target) <= [TOLERANCE[name] for name in names]
    shares = {key: float(np.nanmean([one.shares[key] for one in drawn])) for key in drawn[0].shares}
    return [
        {
            "property": name,
            "targets": len({one.condition[name] for one in drawn}),
            "mae": float(np.abs(value[:, i] - target[:, i]).mean()),
            "spearman": float(spearmanr(target[:, i], value[:, i]).statistic),
            "within": float(within[:, i].mean()),
            "all_within": float(within.all(1).mean()),
            **shares,
        }
        for i, name in enumerate(names)
    ]


if __name__ == "__main__":
    run_script(main)
