"""How fast molvae is: training, sampling, encoding, decoding to canonical SMILES, and what a search adds to an oracle call.

    python benchmarks/speed.py --data FOLDER            # on the CPU, and on the GPU if there is one

Training: molecules and tokens (end marks included) a second in molvae.training.loop.fit with its defaults, for a GRU and a
Transformer, first steps left out. Decoding: latents in, canonical isomeric SMILES and the faithful check out. Generate
and verbs: a whole command from the start of its process to the file it writes, on all cores, `generate` with its
properties, once for each of several seeds. Search: the time in which a strategy proposes its next batch, divided by the
batch, when it already knows 100, 1,000 or 5,000 molecules (training rows, with their QED as score); measuring itself is
not part of it. Times are wall-clock seconds. Sources: what a proposal source costs for each distinct, new and sane
molecule, in processor time, when it is asked three times for 75 children of the best 50 of 300 known training rows; what
it has to know of the parents is there already, as in a search.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, data_option, provenance, run_script, table, write_csv, zinc_split

from molvae.checkpoint import find
from molvae.chem import canonical, parse
from molvae.chem.filters import problems
from molvae.chem.properties import properties
from molvae.data.datasets import tokenise
from molvae.history import Evaluation, History, Proposal
from molvae.models.sequence_vae import MODELS
from molvae.randomness import stream
from molvae.search.proposals.base import PROPOSALS, build_sources
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy
from molvae.search.strategies.default import EVOLUTION
from molvae.training.loop import Examples, TrainSettings, fit

Row = dict[str, object]
PARTS = ("train", "model", "generate", "verbs", "search", "sources")
WARM_UP = 5  # steps; the first ones allocate memory, and compile on a GPU


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data_option(parser)
    parser.add_argument("--model", default="zinc250k", help="name of a shipped model, or a checkpoint folder")
    parser.add_argument("--device", action="append", help="cpu, cuda (repeatable; default: cpu, and cuda if there is one)")
    parser.add_argument("--part", action="append", choices=PARTS, help="repeatable; default: all")
    parser.add_argument("--steps", type=int, default=30, help="training steps that are timed")
    parser.add_argument("--samples", type=int, default=10_000, help="molecules that are sampled, encoded and decoded")
    parser.add_argument("--repeats", type=int, default=7, help="times that `molvae generate` is run, with other seeds")
    parser.add_argument("--calls", type=int, nargs="+", default=[100, 1000, 5000], help="sizes of the search history")
    parser.add_argument("--strategy", action="append", help="repeatable; default: all that are registered")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch decides)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "speed.csv")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    devices = args.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    parts = args.part or PARTS
    split = zinc_split(args.data)
    rows: list[Row] = []
    for device in devices:
        kind = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        found: list[Iterator[Row]] = []
        if "train" in parts:
            found.append(training(split.train[:20_000], device, args.steps, args.seed))
        if "model" in parts:
            found.append(model_speed(args.model, split.train, device, args.samples, args.seed))
        if "generate" in parts and device == devices[0]:
            found.append(generating(args.model, args.samples, args.seed, args.repeats))
        if "verbs" in parts and device == devices[0]:
            found.append(verbs(args.model, split.train, args.samples, args.seed))
        if "search" in parts:
            found.append(search_overhead(args.model, split.train, device, args.calls, args.strategy, args.seed))
        if "sources" in parts:
            found.append(source_costs(args.model, split.train, device, args.seed))
        for row in (row for part in found for row in part):
            rows.append({**row, "device": kind})
            print(table([row]).splitlines()[-1], flush=True)
    origin = provenance("speed", data=split.hash, seed=args.seed, budget=f"{args.steps} steps, {args.samples} molecules")
    write_csv(args.out, [{**row, **origin} for row in rows])
    print(table(rows, ("what", "value", "unit", "device")))


def training(smiles: list[str], device: str, steps: int, seed: int) -> Iterator[Row]:
    """Molecules and tokens a second of a training step, from the time between two progress calls."""
    data = tokenise(smiles)
    settings = TrainSettings(seed=seed, molecules=(steps + WARM_UP) * TrainSettings.batch_size, evaluate_every=10**9)
    per_molecule = float(data.table.lengths.float().mean()) + 1
    for network in ("gru", "transformer"):
        torch.manual_seed(seed)  # initial weights
        model = MODELS.build("vae", {"encoder": network, "decoder": network}, len(data.vocabulary)).to(device)
        clock: list[float] = []

        def tick(*_: object, clock: list[float] = clock) -> None:
            _wait(device)
            clock.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as folder:
            fit(model, Examples(data.table), settings, folder, progress=tick)
        speed = settings.batch_size * (len(clock) - WARM_UP) / (clock[-1] - clock[WARM_UP - 1])
        size = sum(p.numel() for p in model.parameters())
        yield {"what": f"train {network} ({size:,} parameters)", "value": round(speed, 1), "unit": "molecules/s"}
        yield {"what": f"train {network}", "value": round(speed * per_molecule), "unit": "tokens/s"}


def model_speed(name: str, train: list[str], device: str, n: int, seed: int) -> Iterator[Row]:
    """Molecules a second of the public methods of a model, each warmed up with a small batch."""
    import molvae

    model = molvae.load(name, device=device)
    picked = [train[i] for i in stream(seed, "speed").choice(len(train), min(n, len(train)), replace=False)]
    z = model.sample_latents(n, seed=seed)
    for what, call in (
        ("sample latents", lambda k: model.sample_latents(k, seed=seed)),
        ("encode SMILES", lambda k: model.encode(picked[:k])),
        ("decode to canonical SMILES", lambda k: model.decode(z[:k])),
        ("decode with 8 beams", lambda k: model.decode(z[: max(1, k // 10)], beams=8)),
        ("sample molecules", lambda k: model.sample(k, seed=seed)),
    ):
        call(64)
        made = []
        seconds = _timed(device, lambda call=call, made=made: made.extend(call(n)))
        yield {"what": what, "value": round(len(made) / seconds, 1), "unit": "molecules/s"}


def generating(name: str, n: int, seed: int, repeats: int) -> Iterator[Row]:
    """Seconds of `molvae generate` by the clock, and of all its processes, once for each of several seeds."""
    for repeat in range(repeats):
        asked = ["generate", "-n", str(n), "--seed", str(seed + repeat), "-o", "made.csv"]
        with tempfile.TemporaryDirectory() as folder:
            used = _processor_seconds()
            seconds, said = _command(folder, name, asked)
            used = _processor_seconds() - used
        drawn = re.search(r"^drawn +([\d,]+)", said, flags=re.MULTILINE)
        yield {
            "what": f"generate to CSV, {n:,} molecules, seed {seed + repeat}",
            "value": round(seconds, 2),
            "unit": "s",
            "processor_seconds": round(used, 2),
            "drawn": int(drawn.group(1).replace(",", "")) if drawn else None,
        }


def verbs(name: str, train: list[str], n: int, seed: int) -> Iterator[Row]:
    """Wall-clock seconds of `molvae encode` and `decode`, and what they are in molecules a minute.

    `encode` is timed on ten times as many molecules, too.
    """
    many = min(10 * n, len(train))
    picked = [train[i] for i in stream(seed, "speed").choice(len(train), many, replace=False)]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "few.smi").write_text("\n".join(picked[:n]) + "\n", encoding="utf-8")
        Path(folder, "many.smi").write_text("\n".join(picked) + "\n", encoding="utf-8")
        for what, size, arguments in (
            ("encode to Parquet", n, ["encode", "few.smi", "-o", "z.parquet"]),
            ("encode to Parquet", many, ["encode", "many.smi", "-o", "many.parquet"]),
            ("decode to CSV", n, ["decode", "z.parquet", "-o", "decoded.csv"]),
        ):
            seconds, _ = _command(folder, name, arguments)
            yield {"what": f"{what}, {size:,} molecules", "value": round(seconds, 2), "unit": "s"}
            yield {"what": f"{what}, {size:,} at once", "value": round(60 * size / seconds), "unit": "molecules/min"}


def _processor_seconds() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _command(folder: str, model: str, arguments: list[str]) -> tuple[float, str]:
    """Wall-clock seconds of a whole command, and what it says on stderr."""
    command = [sys.executable, "-m", "molvae", *arguments, "--model", str(find(model).resolve())]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stderr


def search_overhead(
    name: str, train: list[str], device: str, sizes: list[int], strategies: list[str] | None, seed: int
) -> Iterator[Row]:
    """Seconds that one proposal costs, by strategy and length of the history."""
    import molvae

    model = molvae.load(name, device=device)
    space = SearchSpace(model, (), seed)
    order = stream(seed, "history").permutation(len(train))
    smiles = list(dict.fromkeys(text for i in order[: max(sizes) + 100] if (text := canonical(train[i]))))[: max(sizes)]
    scores = [properties(parse(text), ["QED"])["QED"] for text in smiles]
    z = model.encode(smiles)
    for strategy_name in strategies or STRATEGIES.names():
        for size in sizes:
            strategy = STRATEGIES.build(strategy_name, None, space)
            history = history_of(smiles[:size], scores, z, strategy)
            # A running search has cached what it computed for the round before; so has this one.
            before = history.before(history.n_rounds - 1)
            strategy.propose(before, strategy.batch_size(len(before)), seed)
            n = strategy.batch_size(size)
            proposed: list[Proposal] = []
            seconds = _timed(
                device, lambda s=strategy, h=history, n=n, out=proposed: out.extend(rounds_of(s, h, n, seed + 1))
            )
            yield {
                "what": f"{strategy_name} after {size:,} calls",
                "value": round(1000 * seconds / max(1, len(proposed)), 2),
                "unit": "ms/call",
                "batch": n,
                "proposed": len(proposed),
            }


def source_costs(name: str, train: list[str], device: str, seed: int, asked: int = 75, times: int = 3) -> Iterator[Row]:
    """Processor milliseconds of each proposal source for a distinct molecule that is new and without `problems`."""
    import molvae

    space = SearchSpace(molvae.load(name, device=device), (), seed)
    rows = stream(seed, "sources").permutation(len(train))[:310]
    known = list(dict.fromkeys(text for i in rows if (text := canonical(train[i]))))[:300]
    history = History(
        [Evaluation(i, s, properties(parse(s), ["QED"])["QED"], source="prior") for i, s in enumerate(known, 1)]
    )
    parents = [Proposal(e.smiles, e.source) for e in history.best(50)]
    for spec in (*PROPOSALS, *(f"latent_step(smallest={step}, largest={step})" for step in (0.3, 0.4, 0.5, 0.6, 0.7))):
        (source,) = build_sources([spec], space).values()
        source.propose(parents, 5, stream(seed, "warm-up"), history)
        children: list[Proposal] = []
        started = time.process_time()
        for k in range(times):
            children += source.propose(parents, asked, stream(seed, "children", k), history)
        milliseconds = 1000 * (time.process_time() - started)
        new = {child.smiles for child in children} - history.known.keys()
        kept = sum(not problems(parse(smiles)) for smiles in new)
        yield {
            "what": f"source {spec}",
            "value": round(milliseconds / max(1, kept), 2),
            "unit": "processor ms/candidate",
            "asked": asked * times,
            "proposed": len(children),
            "distinct, new and sane": kept,
        }


def rounds_of(strategy: Strategy, history: History, n: int, seed: int) -> list[Proposal]:
    """At least n proposals, or all of ten rounds: the default changes between what its surrogate has judged and what not."""
    proposed: list[Proposal] = []
    for _ in range(10):
        if len(proposed) >= n:
            break
        found = strategy.propose(history, n, seed)
        calls = range(len(history) + 1, len(history) + len(found) + 1)
        history.append_round(
            [
                Evaluation(call, p.smiles, 0.0, "", {}, p.source, history.n_rounds, p.z)
                for call, p in zip(calls, found, strict=True)
            ]
        )
        proposed += found
    return proposed


def history_of(smiles: list[str], scores: list[float], z: np.ndarray, strategy: Strategy) -> History:
    """A history of these molecules in rounds of the strategy's own batch sizes, as if every other one had come from the
    prior, and the others from evolution."""
    history = History()
    while len(history) < len(smiles):
        first = len(history)
        round_ = []
        for i in range(first, min(len(smiles), first + strategy.batch_size(first))):
            latent = None if np.isnan(z[i]).any() else z[i]
            source = EVOLUTION if i % 2 else "prior"
            round_.append(Evaluation(i + 1, smiles[i], scores[i], source=source, round=history.n_rounds, z=latent))
        history.append_round(round_)
    return history


def _timed(device: str, call) -> float:
    _wait(device)
    started = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    run_script(main)
