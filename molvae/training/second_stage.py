"""The second stage: priors fitted to the latents of a model that stays as it is."""

from __future__ import annotations

import copy
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from molvae.checkpoint import Checkpoint, load_priors, save, save_priors
from molvae.chem import canonical
from molvae.data.datasets import CHUNK, TokenTable, read_smiles
from molvae.data.derivation import measure_properties
from molvae.data.files import is_dataset, open_dataset
from molvae.errors import CheckpointError, ConfigError, DataError, DivergedModel, RunError
from molvae.files import file_hash, writable_folder
from molvae.generation.model import Model, load
from molvae.models.priors.base import PRIORS, Prior
from molvae.processes import in_processes
from molvae.randomness import torch_stream
from molvae.training.preparation import Data, data_hash, describe
from molvae.training.scales import standardised

Progress = Callable[[str, int, int], None]
log = logging.getLogger(__name__)

FEW = 16  # draws of a fitted prior that must be finite
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
    `molvae.chem.PROPERTIES` that it can then be asked for, which needs a prior that takes them (`flow`).  out: a new
    checkpoint folder, or the model's own, whose weights stay as they are (also the run directory that it is in).

    Molecules that cannot be encoded are left out and counted in the card. Raises UnknownName, ConfigError, DataError,
    RunError if `out` holds anything but this model, and DivergedModel if the fit fails.
    """
    if isinstance(properties, str) or len(set(properties)) < len(properties):
        raise ConfigError(f"properties are {properties!r}; give a list of names, each of them once.")
    if prior == "normal":
        raise ConfigError("the prior 'normal' is N(0, I), which has nothing to fit. Every model has it.")
    built = PRIORS.build(prior, dict(settings or {}))
    if properties and not built.takes_properties:
        able = ", ".join(name for name in PRIORS.names() if PRIORS.get(name).takes_properties)
        raise ConfigError(f"the prior {prior!r} cannot be asked for properties. One that can: {able}.")
    model = model if isinstance(model, Model) else load(model, device=device, workers=workers)
    measure_properties((tuple(properties), ["C"]))  # a wrong name is told before the work
    smiles = _molecules(data, column)
    tell = progress or (lambda stage, done, total: None)
    with _target(out, model) as folder:
        checkpoint = _fitted(model, built, prior, smiles, data, properties, settings, workers, seed, tell)
        if folder is not None:
            (save_priors if (folder / "model.safetensors").exists() else save)(folder, checkpoint)
    return model.with_checkpoint(checkpoint)


@contextmanager
def _target(out: str | os.PathLike[str] | None, model: Model) -> Iterator[Path | None]:
    """The checkpoint folder to write: a new one, which is gone again if nothing comes of it, or the model's own."""
    if out is None:
        yield None
        return
    folder = Path(out) / "checkpoint" if (Path(out) / "checkpoint").is_dir() else Path(out)
    weights, is_new = folder / "model.safetensors", not folder.exists()
    if folder.is_dir() and any(folder.iterdir()):
        if not weights.is_file():
            raise RunError(f"{folder} holds other files, and no model. Choose another place with -o.")
        if file_hash(weights) != model.weights_hash:
            raise RunError(
                f"{folder} holds another model than {model.name or 'this one'}. Give that one to fit a prior to it, "
                "or choose another place with -o."
            )
    try:
        yield writable_folder(folder)
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _fitted(
    model: Model,
    built: Prior,
    prior: str,
    smiles: Sequence[str],
    data: Data,
    properties: Sequence[str],
    settings: Mapping[str, Any] | None,
    workers: int,
    seed: int,
    tell: Progress,
) -> Checkpoint:
    """The model's checkpoint with the prior fitted to these molecules, and a card that says so."""
    latents = model.encode(smiles, progress=lambda done, total: tell("latents", done, total))
    here = np.flatnonzero(~np.isnan(latents[:, 0]))
    if len(here) < LEAST:
        reasons = Counter(reason for ids, reason in model.encode_ids(smiles[:1000]) if ids is None)
        why = f" Most often: {reasons.most_common(1)[0][0]}." if reasons else ""
        raise DataError(f"{len(here)} of {len(smiles)} molecules can be encoded; a prior needs {LEAST}. Give more.{why}")

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
    return checkpoint


def fit_priors(checkpoint: Checkpoint, table: TokenTable, seed: int, names: Sequence[str]) -> None:
    """Fit the named priors to the posterior means of a token table, with their default settings."""
    latents = torch.from_numpy(np.ascontiguousarray(Model(checkpoint)._encode_table(table, False, seed).numpy()))
    for name in names:
        checkpoint.priors[name] = PRIORS.build(name)
        _fit(checkpoint.priors[name], checkpoint, latents, seed)


def _fit(prior: Prior, checkpoint: Checkpoint, latents: torch.Tensor, seed: int) -> None:
    prior.codebook = checkpoint.model.code_vectors()
    prior.fit(latents, seed)
    if not prior.sample(FEW, torch_stream(seed, "fitted prior")).isfinite().all():
        raise DivergedModel("the fitted prior draws what are no finite numbers. Lower its learning_rate, if it has one.")


def _molecules(data: Data, column: str | None) -> list[str]:
    if is_dataset(data):
        if column is not None:
            raise ConfigError(f"{data} is a prepared data set, which has one column. Leave out --smiles-col.")
        return list(open_dataset(data).read(("train",)).smiles)
    return read_smiles(data, column) if isinstance(data, (str, os.PathLike)) else list(data)


def _measured(
    smiles: Sequence[str], names: Sequence[str], workers: int, progress: Progress
) -> tuple[torch.Tensor, dict[str, dict[str, float]]]:
    """The properties of encodable molecules, (N, P) standardised, and their scales."""
    jobs = [(tuple(names), list(smiles[i : i + CHUNK])) for i in range(0, len(smiles), CHUNK)]
    rows = in_processes(_of_canonical, jobs, workers, lambda done: progress("properties", done, len(smiles)))
    values = torch.tensor(rows, dtype=torch.float64)
    unknown = [name for name, column in zip(names, values.T, strict=True) if bool(column.isnan().all())]
    if unknown:
        raise DataError(f"{unknown[0]} could not be computed of any of the {len(smiles)} molecules.")
    for name, column in zip(names, values.T, strict=True):
        known = column[~column.isnan()]
        if bool((known == known[0]).all()):
            raise DataError(f"{name} is {float(known[0]):g} of all molecules: there is nothing to ask for.")
    scaled, scales = standardised(values, names, torch.arange(len(values)))
    assert scaled is not None
    return scaled, scales


def _of_canonical(job: tuple[tuple[str, ...], list[str]]) -> list[list[float]]:
    names, block = job
    return measure_properties((names, [canonical(text) or text for text in block]))


@dataclass(frozen=True)
class LaterPriors:
    """Priors that were fitted to a finished model, while `train` writes it once more: they stay, if its weights do.

    weights: SHA-256 of the file that they were fitted to.
    """

    weights: str
    priors: dict[str, Prior]
    about: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> LaterPriors | None:
        """Those of a checkpoint folder; None if there are none, or nothing that can be read."""
        try:
            priors, card = load_priors(folder)
        except CheckpointError:
            return None
        about = card.get("priors", {})
        kept = {name: prior for name, prior in priors.items() if name in about}
        return cls(file_hash(folder / "model.safetensors"), kept, about) if kept else None

    def put_back(self, folder: Path, checkpoint: Checkpoint) -> None:
        """Into the checkpoint just saved in that folder, or a warning that they are gone."""
        if file_hash(folder / "model.safetensors") != self.weights:
            log.warning("the priors %s were of other weights and are gone; fit them again", ", ".join(self.priors))
            return
        checkpoint.priors |= self.priors
        checkpoint.card["priors"] = self.about
        save_priors(folder, checkpoint)
