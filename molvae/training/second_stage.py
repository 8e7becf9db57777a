"""The second stage: priors fitted to the latents of a model that stays as it is."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from molvae.checkpoint import Checkpoint, save
from molvae.chem import canonical
from molvae.data.datasets import CHUNK, TokenTable, read_smiles
from molvae.data.derivation import measure_properties
from molvae.data.files import is_dataset, open_dataset
from molvae.errors import ConfigError, DataError
from molvae.files import writable_folder
from molvae.generation.model import Model, load
from molvae.models.priors.base import PRIORS, Prior
from molvae.processes import in_processes
from molvae.training.preparation import Data, data_hash, describe
from molvae.training.scales import standardised

Progress = Callable[[str, int, int], None]
LEAST = 100  # molecules: with fewer, nothing can be said of a density in so many dimensions


def fit_prior(
    model: Model | str | os.PathLike[str],
    data: Data,
    prior: str = "flow",
    *,
    out: str | os.PathLike[str] | None = None,
    properties: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    column: str | None = None,
    device: str = "auto",
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Fit a prior to the latents of molecules, and return the model with it; the given one stays as it was.

    data: a file, a list of SMILES, or a prepared data set, whose training part is used; best the molecules that the model
    was trained on.  prior: one of `molvae.models.priors`, and `settings` its settings.  properties: names of
    `molvae.chem.PROPERTIES` that it can then be asked for, which needs a prior that takes them (`flow`).  out: a checkpoint
    folder to write; of a run directory, the checkpoint in it is replaced.

    Molecules that cannot be encoded are left out and counted in the card. Raises UnknownName, ConfigError, DataError.
    """
    built = PRIORS.build(prior, dict(settings or {}))
    if properties and not built.takes_properties:
        able = ", ".join(name for name in PRIORS.names() if PRIORS.get(name).takes_properties)
        raise ConfigError(f"the prior {prior!r} cannot be asked for properties. One that can: {able}.")
    folder = None if out is None else writable_folder(out)
    model = model if isinstance(model, Model) else load(model, device=device, workers=workers)
    measure_properties((tuple(properties), ["C"]))  # a wrong name is told before the work
    smiles = _molecules(data, column)
    tell = progress or (lambda stage, done, total: None)

    latents = model.encode(smiles, progress=lambda done, total: tell("latents", done, total))
    here = np.flatnonzero(~np.isnan(latents[:, 0]))
    if len(here) < LEAST:
        reasons = Counter(reason for ids, reason in model.encode_ids(smiles[:1000]) if ids is None)
        why = f" Most often: {reasons.most_common(1)[0][0]}." if reasons else ""
        raise DataError(f"{len(here)} of {len(smiles)} molecules can be encoded; a prior needs {LEAST}.{why}")

    checkpoint = replace(model.checkpoint, priors=dict(model.checkpoint.priors), card=copy.deepcopy(model.card))
    about: dict[str, Any] = {
        "data": {"source": describe(data), "sha256": data_hash(data), "rows": len(here)},
        "left_out": len(smiles) - len(here),
        "settings": dict(settings or {}),
        "seed": seed,
    }
    if properties:
        built.properties, about["properties"] = _measured([smiles[i] for i in here], properties, workers, tell)
    built.progress = lambda done, total: tell(f"{prior} prior", done, total)
    _fit(built, checkpoint, torch.from_numpy(latents[here]), seed)
    built.properties = built.progress = None
    checkpoint.priors[prior] = built
    checkpoint.card.setdefault("priors", {})[prior] = about
    if folder is not None:
        save(folder / "checkpoint" if (folder / "checkpoint").is_dir() else folder, checkpoint)
    return model.with_checkpoint(checkpoint)


def fit_priors(checkpoint: Checkpoint, table: TokenTable, seed: int, names: Sequence[str]) -> None:
    """Fit the named priors to the posterior means of a token table, with their default settings."""
    latents = torch.from_numpy(np.ascontiguousarray(Model(checkpoint)._encode_table(table, False, seed).numpy()))
    for name in names:
        checkpoint.priors[name] = PRIORS.build(name)
        _fit(checkpoint.priors[name], checkpoint, latents, seed)


def _fit(prior: Prior, checkpoint: Checkpoint, latents: torch.Tensor, seed: int) -> None:
    prior.codebook = checkpoint.model.code_vectors()
    prior.fit(latents, seed)


def _molecules(data: Data, column: str | None) -> list[str]:
    if is_dataset(data):
        return list(open_dataset(data).read(("train",)).smiles)
    return read_smiles(data, column) if isinstance(data, (str, os.PathLike)) else list(data)


def _measured(
    smiles: Sequence[str], names: Sequence[str], workers: int, progress: Progress
) -> tuple[torch.Tensor, dict[str, dict[str, float]]]:
    """The properties of encodable molecules, (N, P) standardised, and their scales."""
    written = [canonical(text) or text for text in smiles]
    blocks = [written[i : i + CHUNK] for i in range(0, len(written), CHUNK)]
    jobs = [(tuple(names), block) for block in blocks]
    values = torch.tensor(in_processes(measure_properties, jobs, workers), dtype=torch.float64)
    unknown = [name for name, column in zip(names, values.T, strict=True) if bool(column.isnan().all())]
    if unknown:
        raise DataError(f"{unknown[0]} could not be computed of any of the {len(smiles)} molecules.")
    scaled, scales = standardised(values, names, torch.arange(len(values)))
    assert scaled is not None
    return scaled, scales
