"""Priors over latents, fitted after training: what `sample` draws from. A fitted prior closes the gap between the standard
normal and the aggregated posterior (Dai & Wipf 2019, arXiv 1903.05789)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from molvae.errors import ConfigError
from molvae.registry import Registry

PRIORS: Registry[Prior] = Registry("prior", "molvae.models.priors")


class Prior(ABC):
    """A density over flat latents (D,). Its state is a table of tensors, so that it is saved without pickle."""

    tensors: dict[str, Tensor]
    #: Whether it is of codes: of latents made of the vectors of a codebook, which is to be set before it is fitted.
    needs_codebook = False
    #: (C, d) float32, the vectors; P of them side by side are a latent of D = P d numbers.
    codebook: Tensor | None = None
    #: Whether it can be fitted together with property values, which are to be set before, and asked for some.
    takes_properties = False
    #: (N, P) float32, of the latents that it is fitted to: standardised, NaN where unknown.
    properties: Tensor | None = None
    #: Called with (steps done, steps in all) by one that is learned step by step.
    progress: Callable[[int, int], None] | None = None

    @property
    def conditions(self) -> int:
        """How many properties it can be asked for."""
        return 0

    def asked(self, values: Tensor, guidance: float = 1.0) -> Prior:
        """The same prior asked for properties (1, P), standardised, NaN where nothing is asked; see `conditions`."""
        raise NotImplementedError(f"{type(self).__name__} knows nothing of properties")

    @abstractmethod
    def fit(self, latents: Tensor, seed: int) -> None:
        """Fit to latents (N, D) float32."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """z (N, D) -> (N,) log density in nats; of a prior of codes the log probability."""


def check_settings(*, learning_rate: float = 1.0, **at_least_one: int) -> None:
    """Raise ConfigError for a number below 1 of what there must be one of, and for a learning rate that is none."""
    for name, value in at_least_one.items():
        if value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1.")
    if not 0.0 < learning_rate < math.inf:
        raise ConfigError(f"learning_rate is {learning_rate}; give a number above 0, such as 0.002.")
