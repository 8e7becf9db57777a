"""train(): from a file of SMILES to a checkpoint folder that can be used, resuming whatever an earlier call left behind."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from molvae.checkpoint import Checkpoint, find, molecule_hashes, save
from molvae.chem import parse, ring_systems
from molvae.config import Table, check_keys, settings, write_toml
from molvae.data import recombination
from molvae.data.datasets import tokenise
from molvae.data.derivation import derive_strings
from molvae.errors import ConfigError, DataError
from molvae.files import file_hash, writable_folder
from molvae.generation.model import Model, load, pick_device
from molvae.models.decoding import strings, write
from molvae.models.sequence_vae import MODELS, SequenceVAE, active_units
from molvae.randomness import stream, torch_stream
from molvae.strings.tokens import PAD, Vocabulary
from molvae.training import fine_tuning
from molvae.training.distributed import Group, local_device, process_group
from molvae.training.examples import Examples, with_extra
from molvae.training.loop import Heard, Progress, TrainSettings, fit
from molvae.training.preparation import RANDOMISED, Data, DataSettings, Prepared, data_hash, describe, left_out, prepare
from molvae.training.scales import rescaled, standardised
from molvae.training.second_stage import LaterPriors, fit_priors
from molvae.training.settings import FineTuneSettings

log = logging.getLogger(__name__)

HELD_OUT = 2000  # molecules kept back for evaluation during training
FEW = 200  # with fewer molecules, none is kept back, and the training molecules themselves are evaluated
PRIOR_SAMPLES = 500
FITTED = ("gaussian", "mixture")


def train(
    data: Data,
    out: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    fine_tune: str | os.PathLike[str] | None = None,
    leave_out: Sequence[int] = (),
    column: str | None = None,
    device: str = "auto",
    workers: int = 0,
    licence: str = "",
    progress: Progress | None = None,
    evaluated: Heard | None = None,
) -> Model:
    """Train a model on a file or list of SMILES; write `out/checkpoint/`, `out/events.jsonl`, and the state to resume from.

    config: tables `model` (with `name`), `training` (TrainSettings), `data` (DataSettings); unknown keys raise ConfigError.
    fine_tune: a shipped model, checkpoint or run directory to go on from, on 50 to 5,000 molecules (`fine_tuning.py`). Then
    `config` may have a table `fine_tuning` (FineTuneSettings), and `out/memorisation.csv` tells what the result copies.
    leave_out: row numbers never trained on (a test split). progress, evaluated: as in `fit`.
    Calling again with the same `out` continues; asking for more `training.molecules` trains on. Under torchrun the processes
    share every step, and the first writes. Raises DataError, ConfigError, RunError, CollapsedModel.
    """
    tables = ("data", "model", "training", *(("fine_tuning",) if fine_tune is not None else ()))
    check_keys(config or {}, tables, "the configuration")
    given = {name: _table(config, name) for name in tables}
    settings(TrainSettings, given["training"], "[training]")  # a mistake is told before any work
    base = None if fine_tune is None else load(fine_tune, device="cpu")
    if base:
        given["data"] = fine_tuning.data_settings(base, given["data"])
        given["model"] = fine_tuning.tuned_design(base.checkpoint, given["model"])
    shape = settings(DataSettings, given["data"], "[data]")
    tuning = settings(FineTuneSettings, given.get("fine_tuning", {}), "[fine_tuning]")
    design = given["model"]
    if design.setdefault("properties", len(shape.properties)) != len(shape.properties):
        raise ConfigError("[model] properties counts the property heads; name the properties in [data] properties.")
    if build(design, 10).needs_properties and not shape.properties:
        raise ConfigError(
            f"[model] name = {design['name']!r} conditions on properties, and [data] properties names none. Name some, such "
            """as --set 'data.properties=["logP","QED","MW"]'."""
        )
    seed = given["training"].get("seed", TrainSettings.seed)
    out = writable_folder(out)
    place = pick_device(local_device(device))

    with process_group(place) as group:
        # 1. Molecules, tokenised once a run, and what to begin with
        with group.first_goes_first():
            prepared = prepare(data, out, shape, leave_out=leave_out, column=column, seed=seed, workers=workers)
            if base:
                prepared = fine_tuning.in_its_words(base, prepared, shape.randomise, seed, workers)
                start = from_base(base, prepared, design, shape, tuning, given["training"], out)
            else:
                plan = settings(TrainSettings, given["training"], "[training]")
                avoid = left_out(data, leave_out, column) if shape.recombined else []
                start = from_scratch(prepared, design, shape, plan, avoid, out, workers)
        start.checkpoint.model.to(place)
        start.checkpoint.card |= {
            "name": out.name,
            "licence": licence or (base.card.get("licence", "") if base else ""),
            "data": {
                "source": describe(data), "sha256": data_hash(data), "rows": len(start.known), "held_out": len(start.held),
            },
            "rejected": dict(prepared.tokens.reasons),
            "training": asdict(start.plan),
        }  # fmt: skip
        if base:
            weights = find(fine_tune) / "model.safetensors"
            start.checkpoint.card["base"] = {"name": base.name, "sha256": file_hash(weights)}
        if group.is_first:
            resolved = {"data": asdict(shape), "model": start.checkpoint.config, "training": asdict(start.plan)}
            write_toml(out / "config.toml", {**resolved, **({"fine_tuning": asdict(tuning)} if base else {})})

        later = LaterPriors.of(out / "checkpoint") if group.is_first else None

        # 2. Training; every evaluation leaves a usable checkpoint
        learn(start, out, group, progress, evaluated)

        # 3. What makes it a product: priors, ring systems, and what it knows by heart
        with group.first_goes_first():
            if not group.is_first:
                return load(out, device=str(place), workers=workers)
            model = Model(start.checkpoint, name=out.name, workers=workers)
            model.checkpoint.ring_systems |= frozenset(r for text in start.known for r in ring_systems(parse(text)))
            model.ring_systems = model.checkpoint.ring_systems
            own = torch.arange(len(start.known))
            of_codes = ("codes",) if start.checkpoint.model.code_vectors() is not None else ()
            fit_priors(start.checkpoint, start.training.table.select(own), seed, (*FITTED, *of_codes))
            if base:
                model.card["fine_tuning"] = fine_tuning.report(base, model, start.known, start.held, tuning, seed, out)
            save(out / "checkpoint", start.checkpoint)
            if later:
                later.put_back(out / "checkpoint", start.checkpoint)
        return model


@dataclass(frozen=True)
class Start:
    """What a run begins with. known, held: canonical SMILES that it learns from, and that it is checked on."""

    checkpoint: Checkpoint
    training: Examples
    checking: Examples
    known: list[str]
    held: list[str]
    plan: TrainSettings


def from_scratch(
    prepared: Prepared,
    design: Table,
    shape: DataSettings,
    plan: TrainSettings,
    avoid: Sequence[str],
    out: Path,
    workers: int,
) -> Start:
    """A new network, and the molecules with their properties standardised, and recombined ones behind them if asked for.

    avoid: canonical SMILES of molecules that recombination must not bring back.
    """
    tokens = prepared.tokens
    shown, held = split(prepared, plan)
    values, scales = standardised(prepared.properties, shape.properties, shown)
    examples = Examples(tokens.table, tokens.sources, values)
    training = examples.select(shown)
    known, kept = ([tokens.smiles[i] for i in rows.tolist()] for rows in (shown, held))
    if shape.recombined:
        n_other = RANDOMISED if shape.randomise else 0
        more = recombination.tokens(
            known, shape.recombined, tokens.vocabulary, out / "recombined.safetensors",
            avoid={*tokens.smiles, *avoid}, randomised=n_other, seed=plan.seed, workers=workers,
        )  # fmt: skip
        training = with_extra(training, *more)
    vae = build(design, len(tokens.vocabulary), plan.seed)
    name = design.get("name", "vae")
    checkpoint = Checkpoint(
        vae,
        tokens.vocabulary,
        {"name": name, **MODELS.defaults(name), **design},
        card={"properties": scales},
        training=molecule_hashes(known),
    )
    return Start(checkpoint, training, examples.select(held) if len(held) else training, known, kept, plan)


def from_base(
    base: Model,
    prepared: Prepared,
    design: Table,
    shape: DataSettings,
    tuning: FineTuneSettings,
    given: Table,
    out: Path,
) -> Start:
    """The base's network, its vocabulary extended, and the molecules with replayed ones behind them.

    given: the [training] table as the user wrote it; what it does not say is `fine_tuning.training_defaults`.
    """
    tokens, seed = prepared.tokens, given.get("seed", TrainSettings.seed)
    wanted = round(tuning.replay * len(tokens.smiles))
    replayed = fine_tuning.replay(base, wanted, seed, out / "replay.json") if wanted else []
    defaults = fine_tuning.training_defaults(len(tokens.smiles) + len(replayed))
    plan = settings(TrainSettings, {**defaults, **given}, "[training]")
    shown, held = split(prepared, plan)
    scales = dict(base.card.get("properties") or {})
    examples = Examples(tokens.table, tokens.sources, rescaled(prepared.properties, scales))
    own = training = examples.select(shown)
    if replayed:
        again = tokenise(replayed, tokens.vocabulary, randomised=RANDOMISED if shape.randomise else 0, seed=seed)
        training = with_extra(own, again.table, again.sources)
    known, kept = ([tokens.smiles[i] for i in rows.tolist()] for rows in (shown, held))
    vae = build(design, len(tokens.vocabulary))
    fine_tuning.adopt(vae, base.vae.state_dict(), seed)
    checkpoint = Checkpoint(
        vae,
        tokens.vocabulary,
        design,
        card={"properties": scales},
        training=np.union1d(base.checkpoint.training, molecule_hashes(known)),
        ring_systems=base.ring_systems,
    )
    return Start(checkpoint, training, examples.select(held) if len(held) else own, known, kept, plan)


def learn(start: Start, out: Path, group: Group, progress: Progress | None, evaluated: Heard | None) -> None:
    """Fit the start's model; `out/checkpoint` holds it after every evaluation."""
    checkpoint, novel = start.checkpoint, set(start.known)

    def evaluate(model: SequenceVAE, seen: int) -> dict[str, float]:
        return health(model, start.checking, checkpoint.vocabulary, novel, start.plan.seed)

    def publish(model: SequenceVAE, seen: int) -> None:
        checkpoint.card["molecules_shown"] = seen
        save(out / "checkpoint", checkpoint)

    fit(
        checkpoint.model, start.training, start.plan, out,
        evaluate=evaluate, progress=progress, evaluated=evaluated, publish=publish, group=group,
    )  # fmt: skip


def build(design: Table, vocabulary_size: int, seed: int = 0) -> SequenceVAE:
    """The network of a [model] table, its first weights drawn from `seed`. Raises ConfigError for whatever it refuses."""
    for key in ("encoder_settings", "decoder_settings", "kl_settings"):
        if not isinstance(design.get(key) or {}, Mapping):
            raise ConfigError(f"[model] {key} = {design[key]!r} is a value, but [model.{key}] is a table of settings.")
    table = {k: v for k, v in design.items() if k != "name"}
    try:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights globally
            torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
            return MODELS.build(design.get("name", "vae"), table, vocabulary_size)
    except (ValueError, TypeError, RuntimeError) as error:  # layers of torch refuse in their own words
        raise ConfigError(f"[model] cannot be built: {str(error).rstrip('.')}.") from error


def split(prepared: Prepared, plan: TrainSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers to learn from and to check on: the data's own validation part, else some drawn at random.

    Raises DataError if a molecule is in both parts, or if patience has nothing to watch.
    """
    smiles, n = prepared.tokens.smiles, len(prepared.tokens.smiles)
    if prepared.validation is not None and len(prepared.validation):
        held = np.asarray(prepared.validation, np.int64)
        shown = np.setdiff1d(np.arange(n), held)
        learned = {smiles[i] for i in shown.tolist()}
        both = [smiles[i] for i in held.tolist() if smiles[i] in learned]
        if both:
            raise DataError(
                f"{len(both)} of {len(held)} validation molecules are training molecules, too, such as {both[0]}. "
                "Remove them from one of the two."
            )
        if not len(shown):
            raise DataError("every molecule is kept for validation. Leave some to learn from.")
        return torch.from_numpy(shown), torch.from_numpy(held)
    keep = min(HELD_OUT, n // 10) if n >= FEW else n // 5 if plan.patience else 0
    if plan.patience and not keep:
        raise DataError(f"{n} molecules are too few to hold any back. Set training.patience=0, or give more.")
    order = stream(plan.seed, "held out").permutation(n)
    held, shown = (torch.from_numpy(np.sort(part)) for part in (order[:keep], order[keep:]))
    return shown, held


def _table(config: Mapping[str, Any] | None, name: str) -> Table:
    table = (config or {}).get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{name} = {table!r} is a value, but [{name}] is a table of settings.")
    return dict(table)


@torch.inference_mode()
def health(model: SequenceVAE, held: Examples, vocabulary: Vocabulary, known: set[str], seed: int) -> dict[str, float]:
    """A model's health on held-out molecules and prior samples, all means.

    nll, rate: nats per molecule, z sampled.  language_nll: without z, if the model has learned to write so.  active_units.
    exact_mean, exact_sample: share of molecules whose every token is the most likely one, which is greedy exact
    reconstruction.  conditional_nll: told all properties, and without z if the model has learned to write so.
    prior_faithful, prior_unique, prior_novel: of 500 greedy decodes of standard normal latents; unique and novel are shares
    of the valid ones.  property_mse: of the property heads, in units of variance, so that 1 is no better than the mean.
    """
    language = ("language_nll",) if model.unconditional else ()
    told = ("conditional_nll",) if model.conditions and held.properties is not None else ()
    sums = dict.fromkeys(("nll", *language, *told, "rate", "exact_mean", "exact_sample"), 0.0)
    means, errors = [], []
    for batch, rows in enumerate(held.table.lengths.argsort(stable=True).split(500)):
        ids = held.table.batch(rows).to(model.device)
        inferred, z = model.infer(ids), model.encode(ids, torch_stream(seed, "health", batch))
        for key, latents in (("exact_mean", inferred.mean), ("exact_sample", z)):
            logits = model.decoder(ids[:, :-1], model.memory(latents))
            sums[key] += float(((logits.argmax(-1) == ids[:, 1:]) | (ids[:, 1:] == PAD)).all(1).sum())
        sums["nll"] += float(model.nll(logits, ids).sum())
        if language:
            sums["language_nll"] += float(model.nll(model.decoder(ids[:, :-1], model.hidden(len(ids))), ids).sum())
        if told and held.properties is not None:
            memory = model.hidden(len(ids)) if language else model.memory(z)
            memory = model.told(memory, held.properties[rows].to(model.device))
            sums["conditional_nll"] += float(model.nll(model.decoder(ids[:, :-1], memory), ids).sum())
        sums["rate"] += float(inferred.kl.sum())
        means.append(inferred.mean.cpu())
        if model.property_heads is not None and held.properties is not None:
            errors.append((model.property_heads(inferred.mean.flatten(1)).cpu() - held.properties[rows]).square())
    z = model.sample_prior(PRIOR_SAMPLES, torch_stream(seed, "health prior"))
    decoded = derive_strings((vocabulary, strings(vocabulary, write(model, z))))
    valid = [d.smiles for d in decoded if d.smiles is not None]
    return {
        **{key: value / len(held) for key, value in sums.items()},
        "active_units": active_units(torch.cat(means)),
        "prior_faithful": sum(d.faithful for d in decoded) / len(decoded),
        "prior_unique": len(set(valid)) / max(1, len(valid)),
        **({"property_mse": float(torch.cat(errors).nanmean())} if errors else {}),
        "prior_novel": sum(s not in known for s in valid) / max(1, len(valid)),
    }
