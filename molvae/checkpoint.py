"""Checkpoints: a folder of safetensors, TOML and JSON. Nothing in it can run code, and a bad one is refused in a sentence.

model.safetensors     weights, in half precision unless asked otherwise
priors.safetensors    fitted priors, tensors named "<prior>.<tensor>"
training.safetensors  64-bit hashes of the training molecules, so that "novel" can be answered without the data
config.toml  vocabulary.json  ring_systems.json  card.json
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from molvae.config import Table, read_toml, write_toml
from molvae.data.derivation import text_hashes
from molvae.errors import CheckpointError, ConfigError
from molvae.files import atomic_path, write_json
from molvae.models.priors.base import PRIORS, Prior
from molvae.models.sequence_vae import MODELS, SequenceVAE
from molvae.strings.tokens import Vocabulary

FORMAT = 1
PRETRAINED = Path(__file__).parent / "models" / "pretrained"


@dataclass
class Checkpoint:
    """A trained model and what is needed to use it honestly.

    config: the `[model]` table that rebuilds the network.  card: data hash, versions, licence, measured figures.
    training: sorted int64 hashes of the training molecules.  ring_systems: canonical SMILES of those seen in training.
    """

    model: SequenceVAE
    vocabulary: Vocabulary
    config: Table
    priors: dict[str, Prior] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    training: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    ring_systems: frozenset[str] = frozenset()


def molecule_hashes(smiles: Iterable[str]) -> np.ndarray:
    """Sorted int64 BLAKE2b hashes of canonical SMILES; among 10^6 molecules two collide with probability 3e-8."""
    return np.unique(text_hashes(smiles))


def save(folder: str | os.PathLike[str], checkpoint: Checkpoint, *, half: bool = True) -> None:
    """Write a checkpoint folder, each file atomically and `card.json` last."""
    folder = Path(folder)
    _write_tensors(folder / "model.safetensors", checkpoint.model.state_dict(), half)
    _write_priors(folder, checkpoint, half)
    _write_tensors(folder / "training.safetensors", {"hashes": torch.from_numpy(checkpoint.training)}, False)
    write_json(folder / "ring_systems.json", sorted(checkpoint.ring_systems))
    write_toml(folder / "config.toml", {"model": checkpoint.config})
    checkpoint.vocabulary.save(folder / "vocabulary.json")
    _write_card(folder, checkpoint)


def save_priors(folder: str | os.PathLike[str], checkpoint: Checkpoint, *, half: bool = True) -> None:
    """Write the priors and the card of a checkpoint into the folder of one with the same weights, which stay."""
    _write_priors(Path(folder), checkpoint, half)
    _write_card(Path(folder), checkpoint)


def _write_priors(folder: Path, checkpoint: Checkpoint, half: bool) -> None:
    priors = {f"{name}.{k}": v for name, prior in checkpoint.priors.items() for k, v in prior.tensors.items()}
    _write_tensors(folder / "priors.safetensors", priors, half)


def _write_card(folder: Path, checkpoint: Checkpoint) -> None:
    versions = {name: version(name) for name in ("torch", "rdkit", "selfies")}
    write_json(folder / "card.json", {"format": FORMAT, "versions": versions, **checkpoint.card})


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], half: bool) -> None:
    def shrink(value: Tensor) -> Tensor:
        value = value.detach().cpu().contiguous()
        return value.half() if half and value.is_floating_point() and value.numel() > 1 else value.clone()

    with atomic_path(path) as partial:
        save_file({name: shrink(value) for name, value in tensors.items()}, partial)


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint: a path, a run directory that holds `checkpoint/`, or the name of a shipped model."""
    path = Path(name)
    for candidate in (path, path / "checkpoint", PRETRAINED / path.name if path.name == str(name) else path):
        if (candidate / "card.json").is_file() and (candidate / "config.toml").is_file():
            return candidate
    shipped = ", ".join(sorted(p.parent.name for p in PRETRAINED.glob("*/card.json"))) or "none"
    if path.is_file():
        raise CheckpointError(f"{path} is a file, but a molvae checkpoint is a folder. Pickled models are never loaded.")
    if path.is_dir():
        raise CheckpointError(f"{path} is not a molvae checkpoint: it has no config.toml and card.json.")
    raise CheckpointError(f"no checkpoint {str(name)!r}: not a folder, and not a shipped model (shipped: {shipped}).")


def load(name: str | os.PathLike[str], device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint folder; weights become float32. Raises CheckpointError with what is wrong and where."""
    folder = find(name)
    card = _read_json(folder / "card.json")
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise CheckpointError(f"{folder / 'card.json'} is not a molvae model card.")
    if card["format"] > FORMAT:
        raise CheckpointError(f"{folder} has format {card['format']}; this molvae reads up to {FORMAT}. Upgrade molvae.")
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    try:
        table = dict(read_toml(folder / "config.toml")["model"])
        model = MODELS.build(table["name"], {k: v for k, v in table.items() if k != "name"}, len(vocabulary))
    except (ConfigError, KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # whatever layers raise
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".").replace("\n", " ")
        raise CheckpointError(f"{folder / 'config.toml'} does not describe a model: {why}.") from error
    weights = _read_tensors(folder / "model.safetensors")
    try:
        model.load_state_dict({k: v.float() if v.dtype == torch.float16 else v for k, v in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder / 'model.safetensors'} is of another model than config.toml says. Fetch both again."
        ) from error
    training = _read_tensors(folder / "training.safetensors").get("hashes")
    ring_systems = _read_json(folder / "ring_systems.json")
    if training is None or training.dtype != torch.int64 or not isinstance(ring_systems, list):
        raise CheckpointError(f"{folder} is damaged: training hashes or ring systems are not lists. Fetch it again.")
    priors = _read_priors(folder / "priors.safetensors")
    return Checkpoint(model.to(device).eval(), vocabulary, table, priors, card, training.numpy(), frozenset(ring_systems))


def load_priors(folder: str | os.PathLike[str]) -> tuple[dict[str, Prior], dict[str, Any]]:
    """The fitted priors of a checkpoint folder and its card, without the network. Raises CheckpointError."""
    return _read_priors(Path(folder) / "priors.safetensors"), _read_json(Path(folder) / "card.json")


def _read_priors(path: Path) -> dict[str, Prior]:
    priors: dict[str, Prior] = {}
    for key, value in _read_tensors(path).items():
        name, _, tensor = key.partition(".")
        if name not in PRIORS:
            raise CheckpointError(f"{path} holds a prior {name!r} that this molvae does not know. Upgrade molvae.")
        prior = priors.setdefault(name, PRIORS.build(name))
        prior.tensors[tensor] = value.double() if value.is_floating_point() else value
    return priors


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or torn. Fetch the checkpoint again.") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        head = path.open("rb").read(64) if path.is_file() else b""
        if head.startswith(b"version https://git-lfs"):
            what = "is a git-lfs pointer, not the file itself. Run `git lfs pull`"
        elif head[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"):
            what = "is a pickle or a zip archive, which molvae never loads. Use a safetensors checkpoint"
        elif head:
            what = "is cut short or is not a safetensors file. Fetch the checkpoint again"
        else:
            what = "is missing or empty. Fetch the checkpoint again"
        raise CheckpointError(f"{path} {what}.") from error
