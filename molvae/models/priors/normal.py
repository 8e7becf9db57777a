"""The standard normal, and one Gaussian with the full covariance of the latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from molvae.models.priors.base import PRIORS, Prior


@PRIORS.register("normal")
class StandardNormal(Prior):
    """N(0, I): the prior that the VAE was trained against."""

    def __init__(self) -> None:
        self.tensors = {}

    def fit(self, latents: Tensor, seed: int) -> None:
        """Only the dimension is taken from the latents."""
        self.tensors = {"size": torch.tensor(latents.shape[1])}

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""
        return torch.randn(n, int(self.tensors["size"]), generator=generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log density in nats."""
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


@PRIORS.register("gaussian")
class FullGaussian(Prior):
    """N(m, S) with the latents' mean and covariance."""

    def __init__(self) -> None:
        self.tensors = {}

    def fit(self, latents: Tensor, seed: int) -> None:
        """Maximum likelihood; a jitter of 1e-6 keeps unused dimensions invertible."""
        x = latents.double()
        covariance = x.T.cov() + 1e-6 * torch.eye(x.shape[1], dtype=torch.float64)
        self.tensors = {"mean": x.mean(0), "root": torch.linalg.cholesky(covariance)}

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""
        noise = torch.randn(n, len(self.tensors["mean"]), generator=generator, dtype=torch.float64)
        return (self.tensors["mean"] + noise @ self.tensors["root"].T).float()

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log density in nats."""
        return torch.distributions.MultivariateNormal(self.tensors["mean"], scale_tril=self.tensors["root"]).log_prob(
            z.double()
        )
