"""NVAE for strings (Vahdat & Kautz 2020, arXiv 2007.03898): groups of residual normal latents at several scales.

    q(z_g | x, z_<g) = N(mu_p + d_mu, sigma_p^2 d_sigma^2)        p(z_g | z_<g) = N(mu_p, sigma_p^2)        (section 3.2)

A trunk of residual cells runs from one position to several: at each scale some groups of latents are drawn from what the
trunk expects and what the encoder adds, and go back into it. The decoder reads the trunk's end, by a linear map.

The encoder gives one summary a molecule, not a sequence of states, so the scales are the trunk's own: the paper's bottom-up
path has no counterpart here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.ladder_vae import kl_normals
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE, log_normal


@MODELS.register("nvae")
class NVAE(SequenceVAE):
    """Groups of residual normals at several scales, joined by residual cells.

    scales: positions of the trunk at each scale, each a multiple of the one before.  groups: of latents at each scale.
    width: channels of the trunk.  balance: whether the groups' rates are weighed against each other. `latent` is divided
    over the positions of all groups, and must be a multiple of their sum. The other settings are the plain VAE's.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        scales: tuple[int, ...] = (1, 4),
        groups: int = 2,
        width: int = 128,
        balance: bool = True,
        **vae: Any,
    ) -> None:
        super().__init__(vocabulary_size, **vae)
        positions = [scale for scale in scales for _ in range(groups)]
        grows = all(b % a == 0 for a, b in pairwise(scales))
        if not positions or groups < 1 or min(positions) < 1 or not grows or self.latent_size % sum(positions):
            raise ConfigError(
                "each of scales must be a multiple of the one before it, and latent one of the positions of all groups "
                f"({sum(positions)}), not {list(scales)} and {self.latent_size}."
            )
        self.positions, self.channels, self.balance = positions, self.latent_size // sum(positions), balance
        self.sizes = [n * self.channels for n in positions]
        self.first = nn.Parameter(0.1 * torch.randn(1, width, positions[0]))
        summary = self.encoder.summary_size
        self.bottleneck = nn.Linear(summary, width)  # what the encoder says, for every group to read
        self.expects = nn.ModuleList(nn.Conv1d(width, 2 * self.channels, 1) for _ in positions[1:])
        self.adds = nn.ModuleList(nn.Conv1d(2 * width, 2 * self.channels, 1) for _ in positions)
        self.enters = nn.ModuleList(nn.Conv1d(self.channels, width, 1) for _ in positions)
        self.places = nn.ParameterList(nn.Parameter(0.1 * torch.randn(1, width, n)) for n in positions)
        self.cells = nn.ModuleList(Cell(width) for _ in positions)
        self.out = nn.Linear(width * positions[-1], self.latent_size)

    def infer(self, ids: Tensor, noise: Tensor | None = None) -> Inferred:
        """Latents of ids (B, T), group after group; kl is by latent dimension, groups side by side."""
        said = self.bottleneck(self.encoder(ids)).float()[..., None]
        noises = None if noise is None else noise.flatten(1).split(self.sizes, -1)
        z, means, log_vars, kls = [], [], [], []
        for group, trunk, mean, log_var in self._descend(len(ids), z):
            pair = torch.cat([trunk, said.expand(-1, -1, trunk.shape[-1])], 1)
            change, log_ratio = _bounded(self.adds[group](pair))
            q_mean, q_log_var = mean + change, log_var + log_ratio
            means.append(q_mean.flatten(1))
            log_vars.append(q_log_var.flatten(1))
            kls.append(kl_normals(q_mean, q_log_var, mean, log_var).flatten(1))
            drawn = 0.0 if noises is None else (0.5 * log_vars[-1]).exp() * noises[group]
            z.append(means[-1] + drawn)
        return Inferred(*(torch.cat(parts, -1)[:, None] for parts in (z, means, log_vars)), torch.cat(kls, -1))

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of every group, each (B, 1, D) float32, with the groups above at their means."""
        inferred = self.infer(ids)
        return inferred.mean, inferred.log_var

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, 1, D), drawn group after group from the model's own prior."""
        noises = super().sample_prior(n, generator).flatten(1).split(self.sizes, -1)
        z: list[Tensor] = []
        for group, _, mean, log_var in self._descend(n, z):
            z.append((mean + (0.5 * log_var).exp() * noises[group].view_as(mean)).flatten(1).detach())
        return torch.cat(z, -1)[:, None]

    def log_prior(self, z: Tensor) -> Tensor:
        """z (B, 1, D) -> (B,) log density, the sum of the groups' given those before them."""
        parts = z.flatten(1).split(self.sizes, -1)
        expected = self._descend(len(z), parts)
        return sum(log_normal(parts[group].view_as(mean), mean, log_var) for group, _, mean, log_var in expected)

    def memory(self, z: Tensor) -> Tensor:
        """(B, 1, D): the end of the trunk that latents z (B, 1, D) lead to."""
        given = list(z.flatten(1).split(self.sizes, -1))
        trunk = self.first.expand(len(z), -1, -1)
        for group, part in enumerate(given):
            trunk = self._enter(group, self._rescaled(group, trunk), part)
        return self.out(trunk.flatten(1))[:, None]

    def balanced(self, kl: Tensor) -> Tensor:
        """kl (B, D) with each group weighted by its rate over its size, the weights' mean being one (NVAE, appendix A).

        So a group that carries much for its size pays more, and a silent one is left to grow.
        """
        if not (self.balance and self.training):
            return kl
        rates = torch.stack([part.sum(1).mean() for part in self.levels_of(kl.detach())])
        weights = (rates + 1e-3) / rates.new_tensor(self.sizes)
        by_dimension = (weights / weights.mean()).repeat_interleave(torch.tensor(self.sizes, device=kl.device))
        return kl * by_dimension

    def levels_of(self, kl: Tensor) -> Sequence[Tensor]:
        """kl (B, D) -> the part of each group."""
        return kl.split(self.sizes, -1)

    def _descend(self, n: int, z: Sequence[Tensor]) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """(group, trunk, mean and log variance of p(z_g | z_<g)) of every group. `z` must hold a group's latents by the time
        that the next group is asked for."""
        trunk = self.first.expand(n, -1, -1)
        for group, size in enumerate(self.positions):
            trunk = self._rescaled(group, trunk)
            if group:
                mean, log_var = _bounded(self.expects[group - 1](trunk))
            else:
                mean = log_var = trunk.new_zeros(n, self.channels, size).float()
            yield group, trunk, mean, log_var
            trunk = self._enter(group, trunk, z[group])

    def _rescaled(self, group: int, trunk: Tensor) -> Tensor:
        """The trunk (B, W, positions of the last group) at the positions of this one."""
        return trunk.repeat_interleave(self.positions[group] // trunk.shape[-1], -1) + self.places[group]

    def _enter(self, group: int, trunk: Tensor, part: Tensor) -> Tensor:
        return self.cells[group](trunk + self.enters[group](part.view(len(part), self.channels, -1)))


class Cell(nn.Module):
    """A residual cell of the generative path (NVAE, figure 3a): wide, a depthwise convolution over 5 positions, a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.wide = nn.Conv1d(width, 3 * width, 1)
        self.near = nn.Conv1d(3 * width, 3 * width, 5, padding=2, groups=3 * width)
        self.narrow = nn.Conv1d(3 * width, width, 1)
        self.gate = nn.Sequential(nn.Linear(width, width // 4 or 1), nn.ReLU(), nn.Linear(width // 4 or 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, W, n) -> (B, W, n)."""
        y = self.narrow(F.silu(self.near(F.silu(self.wide(self.norm(x))))))
        return x + torch.sigmoid(self.gate(y.mean(-1)))[..., None] * y


def _bounded(said: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance, both softly kept within 5 (as the paper's code does: a runaway value ends a deep model)."""
    mean, log_var = (5.0 * torch.tanh(said.float() / 5.0)).chunk(2, 1)
    return mean, log_var
