"""Fine-tuning: a trained model learns 50 to 5,000 molecules of one kind without forgetting the rest of chemistry.

Replay: molecules that the base model writes are learned beside the new ones (Robins 1995, Connect. Sci. 7:123; generative
replay, Shin et al. 2017, arXiv 1705.08690), but only to be reconstructed. New SELFIES symbols get rows of their own in every
embedding and output layer, which start at the mean of the others, so that the first predictions change by a bounded amount
(Hewitt 2021, "Initializing new word embeddings for pretrained language models").
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from molvae.checkpoint import Checkpoint
from molvae.config import Table
from molvae.data.datasets import tokenise
from molvae.data.derivation import derive_strings
from molvae.errors import CheckpointError, ConfigError, DataError, RunError
from molvae.files import write_json, write_text
from molvae.generation.model import Model
from molvae.models.decoding import strings, write
from molvae.models.sequence_vae import SequenceVAE
from molvae.randomness import child_seed, torch_stream
from molvae.strings.tokens import SPECIALS, Decoded, Vocabulary
from molvae.training.memorisation import memorisation, nearest_similarity
from molvae.training.preparation import RANDOMISED, Prepared
from molvae.training.settings import FineTuneSettings

log = logging.getLogger(__name__)

FEW = 50  # below this, a warning
PASSES, PATIENCE = 40, 5  # over the molecules at most; without an improvement
DRAWS = 20  # strings drawn from the base model for each molecule to replay, at most
FIXED = ("name", "latent", "encoder", "encoder_settings", "decoder", "decoder_settings", "properties")


def training_defaults(rows: int) -> Table:
    """What [training] is when nothing is said, for so many rows (replay included): small steps, and a look every pass."""
    return {
        "molecules": PASSES * rows, "batch_size": 32 if rows < 1000 else 64, "learning_rate": 3e-4, "warmup": 50,
        "ema": 0.99, "evaluate_every": rows, "patience": PATIENCE,
    }  # fmt: skip


def tuned_design(base: Checkpoint, given: Table) -> Table:
    """The [model] table of the tuned model: the base's, with what does not change the shape of its weights.

    beta stays where the base's rate controller left it: a target for the rate of all molecules is none for a narrow family,
    and would squeeze it. Raises ConfigError for another architecture.
    """
    for key in FIXED:
        if key in given and given[key] != base.config.get(key):
            raise ConfigError(
                f"[model] {key} cannot be changed when fine-tuning: it is {base.config.get(key)!r} in the base model."
            )
    design = {**base.config, **given}
    if design.get("kl_weight", "rate_target") == "rate_target" and "kl_settings" not in given:
        reached = dict(base.config.get("kl_settings") or {})
        if later := sorted(reached.pop("later", ())):
            reached["rate"] = later[-1][1]
        design["kl_settings"] = {**reached, "gain": 0.0}
    return design


def extended(vocabulary: Vocabulary, smiles: Sequence[str]) -> Vocabulary:
    """The vocabulary with the SELFIES symbols that canonical `smiles` need beside its own, at the end, in sorted order."""
    return vocabulary.extended(text for text, _ in map(vocabulary.to_selfies, smiles) if text)


def in_its_words(base: Model, prepared: Prepared, randomise: bool, seed: int, workers: int) -> Prepared:
    """The same molecules in the base's tokens and the symbols it lacks; what cannot be said is rejected, with reasons.

    Warns if there are few. Raises DataError if fewer than two are left.
    """
    was = prepared.tokens
    vocabulary = extended(base.vocabulary, was.smiles)
    if new := vocabulary.tokens[len(base.vocabulary) :]:
        log.warning("%d new symbols beside the base model's: %s", len(new), " ".join(new))
    tokens = tokenise(was.smiles, vocabulary, randomised=RANDOMISED if randomise else 0, seed=seed, workers=workers)
    rejected = was.rejected + [(int(was.rows[row]), text, reason) for row, text, reason in tokens.rejected]
    if len(tokens.smiles) < 2:
        raise DataError(f"only {len(tokens.smiles)} of {len(was.smiles)} molecules can be used. Give more molecules.")
    if len(tokens.smiles) < FEW:
        log.warning("%d molecules are few to tune on: see what memorisation.csv says", len(tokens.smiles))
    return Prepared(
        replace(tokens, rows=was.rows[tokens.rows], rejected=rejected),
        None if prepared.properties is None else prepared.properties[torch.from_numpy(tokens.rows)],
        None if prepared.validation is None else np.flatnonzero(np.isin(tokens.rows, prepared.validation)),
    )


@torch.no_grad()
def adopt(model: SequenceVAE, weights: Mapping[str, Tensor], seed: int) -> None:
    """Copy the weights of a base model into `model`, whose vocabulary may be longer.

    A new row is the mean of the old tokens' rows, plus a tenth of their standard deviation as noise where it tells new
    symbols apart (embeddings). Weights that only `model` has (of another KL schedule) keep their first values.
    Raises CheckpointError if a shape differs in anything but the length of the vocabulary.
    """
    own = model.state_dict()
    embeddings = {f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Embedding)}
    differing = [name for name, value in weights.items() if name in own and own[name].shape != value.shape]
    added = {len(own[name]) - len(weights[name]) for name in differing}
    if len(added) > 1 or (added and min(added) < 0):
        raise CheckpointError("the base model's weights do not fit the model to be tuned. Leave [model] as it is.")
    for name, value in own.items():
        old = weights.get(name)
        if old is None:
            continue
        old = old.to(value.device)
        if old.shape == value.shape:
            value.copy_(old)
            continue
        tokens, n = old[len(SPECIALS) :], len(value) - len(old)
        value[: len(old)] = old
        value[len(old) :] = tokens.mean(0)
        if name in embeddings:
            noise = torch.randn(n, *value.shape[1:], generator=torch_stream(seed, "new symbols", name)).to(value.device)
            value[len(old) :] += 0.1 * tokens.std(0) * noise


def replay(base: Model, n: int, seed: int, path: Path) -> list[str]:
    """n distinct molecules that the base model writes, kept in `path` so that a resumed run replays the same.

    Strings come from its language prior if it has one, else they are decoded from its preferred prior; only those that say
    what they mean (faithful) count. Fewer, and a warning, if 20 draws for each do not suffice. Raises RunError if `path` is
    of another base model, number or seed.
    """
    asked = {"base": base.name, "molecules": n, "seed": seed}
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            smiles, known = list(stored.pop("smiles")), stored
        except (ValueError, KeyError, AttributeError) as error:
            raise RunError(f"{path} is torn. Remove it to draw the replayed molecules again.") from error
        if known != asked:
            raise RunError(f"{path.parent} holds a run with other replay ({known}). Choose another directory with -o.")
        return smiles
    found: dict[str, None] = {}
    size = max(1, min(2 * n, 2000))
    for draw in range(-(-DRAWS * n // size)):
        if base.vae.unconditional:
            draws = torch_stream(seed, "replay", draw)
            ids = write(base.vae, None, temperature=1.0, generator=draws, copies=size, grammar=base.grammar)
            written = derive_strings((base.vocabulary, strings(base.vocabulary, ids)))
        else:
            written = base.sample(size, seed=child_seed(seed, "replay", draw))
        found |= dict.fromkeys(d.smiles for d in written if d.faithful and d.smiles)
        if len(found) >= n:
            break
    smiles = list(found)[:n]
    if len(smiles) < n:
        log.warning("the base model wrote only %d of %d molecules to replay; the others are left out", len(smiles), n)
    write_json(path, {**asked, "smiles": smiles})
    return smiles


def data_settings(base: Model, given: Mapping[str, Any]) -> Table:
    """The [data] table of a fine-tuning run: the base's words and property heads stay."""
    heads = list(base.card.get("properties") or {})
    for key, own in (("words", 0), ("properties", heads)):
        if key in given and list(np.atleast_1d(given[key])) != list(np.atleast_1d(own)):
            raise ConfigError(f"[data] {key} cannot be set when fine-tuning: the base model's own are kept.")
    return {**given, "words": 0, "properties": heads}


def report(
    base: Model,
    model: Model,
    known: Sequence[str],
    held: Sequence[str],
    settings: FineTuneSettings,
    seed: int,
    out: Path,
) -> dict[str, Any]:
    """Memorisation of samples before and after tuning, and of the held-out molecules; the samples go to `memorisation.csv`.

    known: the new training molecules.  held: those held back, which say how near to it the family is by nature.
    """
    drawn = {name: valid(m.sample(settings.samples, seed=seed)) for name, m in (("before", base), ("after", model))}
    nearness = nearest_similarity(drawn["after"], known)
    training = set(known)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("smiles", "nearest_similarity", "is_training_molecule"))
    writer.writerows((s, f"{x:.4f}", str(s in training).lower()) for s, x in zip(drawn["after"], nearness, strict=True))
    write_text(out / "memorisation.csv", text.getvalue())
    return {
        "samples": settings.samples,
        **{name: asdict(memorisation(smiles, known)) for name, smiles in drawn.items()},
        **({"held_out": asdict(memorisation(held, known))} if held else {}),
    }


def valid(decoded: Sequence[Decoded]) -> list[str]:
    """The SMILES of those that are molecules."""
    return [d.smiles for d in decoded if d.smiles]
