"""train(): from a file of SMILES to a checkpoint folder that can be used, resuming whatever an earlier call left behind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from molvae.checkpoint import Checkpoint, molecule_hashes, save
from molvae.chem import parse, ring_systems
from molvae.config import Table, check_keys, settings, write_toml
from molvae.datasets import TokenTable
from molvae.derivation import derive_strings
from molvae.errors import ConfigError
from molvae.files import writable_folder
from molvae.generation import Model, pick_device
from molvae.models.decoding import strings, write
from molvae.models.priors.base import PRIORS
from molvae.models.sequence_vae import MODELS, SequenceVAE, active_units
from molvae.preparation import Data, DataSettings, data_hash, describe, prepare
from molvae.randomness import stream, torch_stream
from molvae.tokens import PAD, Vocabulary
from molvae.training import Examples, Progress, TrainSettings, fit

HELD_OUT = 2000  # molecules kept back for evaluation during training
FEW = 200  # with fewer molecules, none is kept back, and the training molecules themselves are evaluated
PRIOR_SAMPLES = 500
FITTED = ("gaussian", "mixture")


def train(
    data: Data,
    out: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    leave_out: Sequence[int] = (),
    column: str | None = None,
    device: str = "auto",
    workers: int = 0,
    licence: str = "",
    progress: Progress | None = None,
) -> Model:
    """Train a model on a file or list of SMILES; write `out/checkpoint/`, `out/events.jsonl`, and the state to resume from.

    config: tables `model` (with `name`), `training` (TrainSettings), `data` (DataSettings); unknown keys raise ConfigError.
    leave_out: row numbers never trained on (a test split). Calling again with the same `out` continues; asking for more
    `training.molecules` trains on. Raises DataError, ConfigError, RunError, CollapsedModel.
    """
    check_keys(config or {}, ("data", "model", "training"), "the configuration")
    plan = settings(TrainSettings, _table(config, "training"), "[training]")
    shape = settings(DataSettings, _table(config, "data"), "[data]")
    design = _table(config, "model")
    name = design.pop("name", "vae")
    if design.setdefault("properties", len(shape.properties)) != len(shape.properties):
        raise ConfigError("[model] properties counts the property heads; name the properties in [data] properties.")
    out = writable_folder(out)

    # 1. Molecules, tokenised once a run
    prepared = prepare(data, out, shape, leave_out=leave_out, column=column, seed=plan.seed, workers=workers)
    tokens = prepared.tokens
    keep = min(HELD_OUT, len(tokens.smiles) // 10) if len(tokens.smiles) >= FEW else 0
    order = stream(plan.seed, "held out").permutation(len(tokens.smiles))
    held, shown = (torch.from_numpy(np.sort(part)) for part in (order[:keep], order[keep:]))
    values, scales = standardised(prepared.properties, shape.properties, shown)
    examples = Examples(tokens.table, tokens.sources, values)
    training = examples.select(shown)
    checking = examples.select(held) if keep else training

    # 2. The network
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights globally
        torch.manual_seed(int(stream(plan.seed, "weights").integers(2**31)))
        vae = MODELS.build(name, design, len(tokens.vocabulary)).to(pick_device(device))
    described = {"name": name, **MODELS.defaults(name), **design}
    write_toml(out / "config.toml", {"data": asdict(shape), "model": described, "training": asdict(plan)})
    known = [tokens.smiles[i] for i in shown.tolist()]
    checkpoint = Checkpoint(
        vae,
        tokens.vocabulary,
        described,
        card={
            "name": out.name,
            "licence": licence,
            "data": {"source": describe(data), "sha256": data_hash(data), "rows": len(shown), "held_out": len(held)},
            "rejected": dict(tokens.reasons),
            "properties": scales,
            "training": asdict(plan),
        },
        training=molecule_hashes(known),
    )

    # 3. Training; every evaluation leaves a usable checkpoint
    novel = set(known)

    def evaluate(model: SequenceVAE, seen: int) -> dict[str, float]:
        return health(model, checking, tokens.vocabulary, novel, plan.seed)

    def publish(model: SequenceVAE, seen: int) -> None:
        checkpoint.card["molecules_shown"] = seen
        save(out / "checkpoint", checkpoint)

    fit(vae, training, plan, out, evaluate=evaluate, progress=progress, publish=publish)

    # 4. What makes it a product: priors, ring systems
    checkpoint.ring_systems = frozenset(r for s in known for r in ring_systems(parse(s)))
    model = Model(checkpoint, name=out.name, workers=workers)
    fit_priors(checkpoint, training.table, plan.seed, FITTED)
    save(out / "checkpoint", checkpoint)
    return model


def _table(config: Mapping[str, Any] | None, name: str) -> Table:
    table = (config or {}).get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{name} = {table!r} is a value, but [{name}] is a table of settings.")
    return dict(table)


def standardised(
    values: torch.Tensor | None, names: Sequence[str], rows: torch.Tensor
) -> tuple[torch.Tensor | None, dict[str, dict[str, float]]]:
    """Property values (n, P) as float32 with mean 0 and standard deviation 1 over `rows`, and by name what undoes it."""
    if values is None:
        return None, {}
    shown = values[rows].numpy()
    mean, sd = np.nanmean(shown, 0), np.nanstd(shown, 0)
    sd[sd == 0.0] = 1.0
    scales = {name: {"mean": float(m), "sd": float(s)} for name, m, s in zip(names, mean, sd, strict=True)}
    return ((values - torch.from_numpy(mean)) / torch.from_numpy(sd)).float(), scales


def fit_priors(checkpoint: Checkpoint, table: TokenTable, seed: int, names: Sequence[str]) -> None:
    """Fit the named priors to the posterior means of a token table."""
    latents = torch.from_numpy(np.ascontiguousarray(Model(checkpoint)._encode_table(table, False, seed).numpy()))
    for name in names:
        prior = PRIORS.build(name)
        prior.fit(latents, seed)
        checkpoint.priors[name] = prior


@torch.inference_mode()
def health(model: SequenceVAE, held: Examples, vocabulary: Vocabulary, known: set[str], seed: int) -> dict[str, float]:
    """A model's health on held-out molecules and prior samples, all means.

    nll, rate: nats per molecule, z sampled.  active_units.  exact_mean, exact_sample: share of molecules whose every token
    is the most likely one, which is greedy exact reconstruction.  prior_faithful, prior_unique, prior_novel: of 500 greedy
    decodes of standard normal latents; unique and novel are shares of the valid ones.  property_mse: of the property heads,
    in units of variance, so that 1 is no better than the mean.
    """
    sums = dict.fromkeys(("nll", "rate", "exact_mean", "exact_sample"), 0.0)
    means, errors = [], []
    for batch, rows in enumerate(held.table.lengths.argsort(stable=True).split(500)):
        ids = held.table.batch(rows).to(model.device)
        mean, log_var = model.posterior(ids)
        noise = torch.randn(mean.shape, generator=torch_stream(seed, "health", batch)).to(model.device)
        sampled = mean + (0.5 * log_var).exp() * noise
        for key, z in (("exact_mean", mean), ("exact_sample", sampled)):
            logits = model.decoder(ids[:, :-1], z)
            sums[key] += float(((logits.argmax(-1) == ids[:, 1:]) | (ids[:, 1:] == PAD)).all(1).sum())
        sums["nll"] += float(model.nll(logits, ids).sum())
        sums["rate"] += float(model.kl(mean, log_var).sum())
        means.append(mean.cpu())
        if model.property_heads is not None and held.properties is not None:
            errors.append((model.property_heads(mean.flatten(1)).cpu() - held.properties[rows]).square())
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
