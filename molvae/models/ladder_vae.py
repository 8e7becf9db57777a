"""Hierarchical VAE: levels of latents, each with a prior that the levels above it give (ladder VAE, Sonderby et al. 2016,
arXiv 1602.02282; the top-down form of Child 2021, arXiv 2011.10650, section 3.1).

    p(z) = p(z_1) prod_l p(z_l | z_<l)        q(z|x) = q(z_1|x) prod_l q(z_l | x, z_<l)
    rate = sum_l KL(q(z_l | x, z_<l) || p(z_l | z_<l))

The latent vector is the levels side by side, the top first. What a level says is relative to what the levels above led to
expect, so the rates by level show what each of them holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE, log_normal


@MODELS.register("ladder_vae")
class LadderVAE(SequenceVAE):
    """The plain VAE with its latent in levels of equal size.

    levels: how many; `latent` is a multiple of it.  width: units of the networks between the levels. The other settings are
    the plain VAE's.
    """

    def __init__(self, vocabulary_size: int, *, levels: int = 3, width: int = 256, **vae: Any) -> None:
        super().__init__(vocabulary_size, **vae)
        if levels < 2 or width < 1 or self.latent_size % levels:
            raise ConfigError(
                f"latent must be a multiple of levels, and levels 2 or more, not {self.latent_size} and {levels}."
            )
        self.levels, size = levels, self.latent_size // levels
        summary = self.encoder.summary_size
        self.bottleneck = nn.Linear(summary, 2 * size)  # the top level's
        self.priors = nn.ModuleList(_network(level * size, width, 2 * size) for level in range(1, levels))
        self.posteriors = nn.ModuleList(_network(summary + level * size, width, 2 * size) for level in range(1, levels))

    def infer(self, ids: Tensor, noise: Tensor | None = None) -> Inferred:
        """Latents of ids (B, T), level after level: what is drawn above decides what is expected below."""
        summary = self.encoder(ids)
        noises = None if noise is None else noise.flatten(1).chunk(self.levels, -1)
        z, means, log_vars, kls = [], [], [], []
        for level in range(self.levels):
            above = torch.cat([summary.new_zeros(len(summary), 0), *z], -1)
            said = self.posteriors[level - 1](torch.cat([summary, above], -1)) if level else self.bottleneck(summary)
            expected_mean, expected_log_var = self._expected(level, above)
            change, log_var = _moments(said)
            mean = expected_mean + change
            means.append(mean)
            log_vars.append(log_var)
            z.append(mean if noises is None else mean + (0.5 * log_var).exp() * noises[level])
            kls.append(kl_normals(mean, log_var, expected_mean, expected_log_var))
        return Inferred(*(torch.cat(parts, -1)[:, None] for parts in (z, means, log_vars)), torch.cat(kls, -1))

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of every level, each (B, 1, D) float32, with the levels above at their means."""
        inferred = self.infer(ids)
        return inferred.mean, inferred.log_var

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, 1, D), drawn level after level from the model's own prior."""
        z: list[Tensor] = []
        for level, noise in enumerate(super().sample_prior(n, generator).flatten(1).chunk(self.levels, -1)):
            mean, log_var = self._expected(level, torch.cat([noise.new_zeros(n, 0), *z], -1))
            z.append((mean + (0.5 * log_var).exp() * noise).detach())
        return torch.cat(z, -1)[:, None]

    def log_prior(self, z: Tensor) -> Tensor:
        """z (B, 1, D) -> (B,) log density, the sum of the levels' given those above them."""
        parts = z.flatten(1).chunk(self.levels, -1)
        above = [torch.cat([z.new_zeros(len(z), 0), *parts[:level]], -1) for level in range(self.levels)]
        return sum(log_normal(part, *self._expected(level, above[level])) for level, part in enumerate(parts))

    def levels_of(self, kl: Tensor) -> Sequence[Tensor]:
        """kl (B, D) -> (B, D / levels) of each level."""
        return kl.chunk(self.levels, -1)

    def _expected(self, level: int, above: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, D / levels) of p(z_l | z_<l)."""
        if not level:
            nothing = above.new_zeros(len(above), self.latent_size // self.levels).float()
            return nothing, nothing
        return _moments(self.priors[level - 1](above))


def _network(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs))


def _moments(said: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_var = said.float().chunk(2, -1)
    return mean, log_var.clamp(-10.0, 4.0)


def kl_normals(mean: Tensor, log_var: Tensor, other_mean: Tensor, other_log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(other_mean, exp(other_log_var))) by element, in nats."""
    square = (mean - other_mean).square() + log_var.exp()
    return 0.5 * (other_log_var - log_var + square / other_log_var.exp() - 1.0)
