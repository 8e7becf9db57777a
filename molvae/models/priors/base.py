"""Priors over latents, fitted after training: what `sample` draws from. A fitted prior closes the gap between the standard
normal and the aggregated posterior (Dai & Wipf 2019, arXiv 1903.05789)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from molvae.registry import Registry

PRIORS: Registry[Prior] = Registry("prior", "molvae.models.priors")


class Prior(ABC):
    """A density over flat latents (D,). Its state is a table of tensors, so that it is saved without pickle."""

    tensors: dict[str, Tensor]
    #: Whether it is of codes: of latents made of the vectors of a codebook, which is to be set before it is fitted.
    needs_codebook = False
    #: (C, d) float32, the vectors; P of them side by side are a latent of D = P d numbers.
    codebook: Tensor | None = None

    @abstractmethod
    def fit(self, latents: Tensor, seed: int) -> None:
        """Fit to latents (N, D) float32."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """z (N, D) -> (N,) log density in nats; of a prior of codes the log probability."""
