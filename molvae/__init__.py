"""molvae: a molecular design toolkit around a SELFIES VAE. The public verbs; each loads what it needs when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_VERBS = {
    "load": "molvae.generation.model",
    "prepare": "molvae.data.building",
    "train": "molvae.training.experiment",
    "fit_prior": "molvae.training.second_stage",
    "generate": "molvae.generation.library",
    "optimize": "molvae.search.run",
    "suggest": "molvae.search.suggestion",
    "evaluate": "molvae.evaluation.evaluate",
    "fit_detector": "molvae.uses.ood",
    "load_detector": "molvae.uses.ood",
    "compress": "molvae.uses.compression",
    "decompress": "molvae.uses.compression",
    "probe": "molvae.uses.probing",
    "latent_map": "molvae.uses.latent_map",
    "augment": "molvae.uses.augmentation",
    "disentangle": "molvae.uses.disentanglement",
}

__all__ = ["__version__", *_VERBS]


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'molvae' has no attribute {name!r}")
    return getattr(import_module(_VERBS[name]), name)
