"""train(): from a file of SMILES to a checkpoint folder that can be used, resuming whatever an earlier call left behind."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from molvae.checkpoint import Checkpoint, molecule_hashes, save
from molvae.chem import parse, ring_systems
from molvae.config import check_keys, settings, write_toml
from molvae.datasets import Tokenised, TokenTable, file_hash, read_smiles, tokenise
from molvae.derivation import derive_strings
from molvae.errors import ConfigError, DataError, RunError
from molvae.files import atomic_path, write_json
from molvae.generation import Model, pick_device
from molvae.models.decoding import write
from molvae.models.priors.base import PRIORS
from molvae.models.sequence_vae import MODELS, SequenceVAE, active_units, rows_of
from molvae.randomness import stream, torch_stream
from molvae.tokens import PAD, Vocabulary
from molvae.training import Progress, TrainSettings, fit

log = logging.getLogger(__name__)

HELD_OUT = 2000  # molecules kept back for evaluation during training
PRIOR_SAMPLES = 500
FITTED = ("normal", "gaussian", "mixture")


def train(
    data: str | os.PathLike[str] | Sequence[str],
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

    config: tables `model` (with `name`), `training` (TrainSettings), `data` (`words`); unknown keys raise ConfigError.
    leave_out: row numbers never trained on (a test split). Calling again with the same `out` continues; asking for more
    `training.molecules` trains on. Raises DataError, ConfigError, RunError, CollapsedModel.
    """
    out = Path(out)
    table = {name: dict((config or {}).get(name, {})) for name in ("data", "model", "training")}
    check_keys(config or {}, table, "the configuration")
    check_keys(table["data"], ["words"], "[data]")
    plan = settings(TrainSettings, table["training"], "[training]")
    name = table["model"].pop("name", "vae")

    # 1. Molecules, tokenised once a run
    tokens = _tokens(data, out, leave_out, column, table["data"].get("words", 400), workers)
    table["data"] |= {"words": table["data"].get("words", 400)}
    if len(tokens.smiles) < 2:
        raise DataError(f"only {len(tokens.smiles)} usable molecules in the data. Give more.")
    keep = min(HELD_OUT, len(tokens.smiles) // 10)
    order = stream(plan.seed, "held out").permutation(len(tokens.smiles))
    held, shown = (torch.from_numpy(np.sort(part)) for part in (order[:keep], order[keep:]))
    training, checking = tokens.table.select(shown), tokens.table.select(held)

    # 2. The network
    torch.manual_seed(int(stream(plan.seed, "weights").integers(2**31)))  # layers draw their first weights globally
    vae = MODELS.build(name, table["model"], len(tokens.vocabulary)).to(pick_device(device))
    described = {"name": name, **MODELS.defaults(name), **table["model"]}
    write_toml(out / "config.toml", {"data": table["data"], "model": described, "training": asdict(plan)})
    known = [tokens.smiles[i] for i in shown.tolist()]
    checkpoint = Checkpoint(
        vae,
        tokens.vocabulary,
        described,
        card={
            "name": out.name,
            "licence": licence,
            "data": {"source": _source(data), "sha256": _hash(data), "rows": len(shown), "held_out": len(held)},
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
    fit_priors(checkpoint, training, plan.seed)
    save(out / "checkpoint", checkpoint)
    return model


def fit_priors(checkpoint: Checkpoint, table: TokenTable, seed: int, names: Sequence[str] = FITTED) -> None:
    """Fit the named priors to the posterior means of a token table."""
    latents = torch.from_numpy(np.ascontiguousarray(Model(checkpoint)._encode_table(table, False, seed).numpy()))
    for name in names:
        prior = PRIORS.build(name)
        prior.fit(latents, seed)
        checkpoint.priors[name] = prior


@torch.inference_mode()
def health(model: SequenceVAE, table: TokenTable, vocabulary: Vocabulary, known: set[str], seed: int) -> dict[str, float]:
    """A model's health on held-out molecules and prior samples, all means.

    nll, rate: nats per molecule, z sampled.  active_units.  exact_mean, exact_sample: share of molecules whose every token
    is the most likely one, which is greedy exact reconstruction.  prior_faithful, prior_unique, prior_novel: of 500 greedy
    decodes of standard normal latents; unique and novel are shares of the valid ones.
    """
    sums = dict.fromkeys(("nll", "rate", "exact_mean", "exact_sample"), 0.0)
    means = []
    for batch, rows in enumerate(table.lengths.argsort(stable=True).split(500)):
        ids = table.batch(rows).to(model.device)
        mean, log_var = model.posterior(ids)
        noise = torch.randn(mean.shape, generator=torch_stream(seed, "health", batch)).to(model.device)
        sampled = mean + (0.5 * log_var).exp() * noise
        for key, z in (("exact_mean", mean), ("exact_sample", sampled)):
            logits = model.decoder(ids[:, :-1], z)
            sums[key] += float(((logits.argmax(-1) == ids[:, 1:]) | (ids[:, 1:] == PAD)).all(1).sum())
        sums["nll"] += float(model.nll(logits, ids).sum())
        sums["rate"] += float(model.kl(mean, log_var).sum())
        means.append(mean.cpu())
    z = model.sample_prior(PRIOR_SAMPLES, torch_stream(seed, "health prior"))
    written = ["".join(vocabulary.tokens[i] for i in row) for row in rows_of(write(model, z))]
    decoded = derive_strings((vocabulary, written))
    valid = [d.smiles for d in decoded if d.smiles is not None]
    return {
        **{key: value / len(table) for key, value in sums.items()},
        "active_units": active_units(torch.cat(means)),
        "prior_faithful": sum(d.faithful for d in decoded) / len(decoded),
        "prior_unique": len(set(valid)) / max(1, len(valid)),
        "prior_novel": sum(s not in known for s in valid) / max(1, len(valid)),
    }


def _tokens(
    data: str | os.PathLike[str] | Sequence[str],
    out: Path,
    leave_out: Sequence[int],
    column: str | None,
    words: int,
    workers: int,
) -> Tokenised:
    """The tokenised data of a run, read from `out` if an earlier call left it there."""
    cache, about = out / "tokens.safetensors", out / "tokens.json"
    source = {"sha256": _hash(data), "left_out": len(leave_out), "words": words}
    if about.exists():
        stored = json.loads(about.read_text(encoding="utf-8"))
        if stored["source"] != source:
            raise RunError(f"{out} holds a run on other data or words. Choose another directory with -o.")
        tensors = load_file(cache)
        table = TokenTable(tensors["tokens"], tensors["offsets"])
        return Tokenised(stored["smiles"], table, tensors["rows"].numpy(), Vocabulary.load(out / "vocabulary.json"), [])
    smiles = read_smiles(data, column) if isinstance(data, (str, os.PathLike)) else list(data)
    if leave_out and not 0 <= min(leave_out) <= max(leave_out) < len(smiles):
        raise ConfigError(
            f"the row numbers to leave out reach {max(leave_out)}, but the data has {len(smiles)} rows (from 0)."
        )
    dropped = set(leave_out)
    tokens = tokenise([s for i, s in enumerate(smiles) if i not in dropped], words=words, workers=workers)
    for reason, count in tokens.reasons.most_common(5):
        log.warning("%d molecules rejected: %s", count, reason)
    out.mkdir(parents=True, exist_ok=True)
    tokens.vocabulary.save(out / "vocabulary.json")
    with atomic_path(cache) as partial:
        save_file(
            {"tokens": tokens.table.tokens, "offsets": tokens.table.offsets, "rows": torch.from_numpy(tokens.rows)}, partial
        )
    write_json(about, {"source": source, "rejected": tokens.rejected, "smiles": tokens.smiles})
    return tokens


def _source(data: str | os.PathLike[str] | Sequence[str]) -> str:
    return Path(data).name if isinstance(data, (str, os.PathLike)) else f"a list of {len(data)} molecules"


def _hash(data: str | os.PathLike[str] | Sequence[str]) -> str:
    if isinstance(data, (str, os.PathLike)):
        if not Path(data).is_file():
            raise DataError(f"no file {data}. Check the path.")
        return file_hash(data)
    import hashlib

    return hashlib.sha256("\n".join(data).encode()).hexdigest()
