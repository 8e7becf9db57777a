"""VQ-VAE with finite scalar quantisation (Mentzer et al. 2024, arXiv 2309.15505): a number of z takes one of a few values.

There is no codebook to learn, so none can collapse, and no loss beside the nll. The encoder's numbers are bounded (the
paper's appendix A.1) and rounded, and the gradient passes the rounding as if it were not there. The levels repeat over the
latent: with [8, 5, 5, 5] and 32 numbers, a molecule is 8 codes of one in a thousand each, 79.7 bits.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE


@MODELS.register("fsq_vae")
class FSQVAE(SequenceVAE):
    """A VAE whose latents lie on a grid.

    levels: values that the numbers of a code can take; `latent` is a multiple of their count. The other settings are the
    plain VAE's; the rate is the same for all molecules, the logarithm of the number of codes, so beta changes nothing.
    Latents that do not lie on the grid (a search's, or an interpolation's) are decoded as their nearest neighbours there.
    """

    def __init__(self, vocabulary_size: int, *, levels: tuple[int, ...] = (8, 5, 5, 5), **vae: Any) -> None:
        super().__init__(vocabulary_size, **vae)
        if not levels or min(levels) < 2 or self.latent_size % len(levels):
            raise ConfigError(
                f"latent must be a multiple of the number of levels, each of them 2 or more, not {self.latent_size} with "
                f"levels {list(levels)}."
            )
        self.bottleneck = nn.Linear(self.encoder.summary_size, self.latent_size)
        with torch.no_grad():
            # Or all molecules begin on the middle values, and those that share a code never part: 40 of 64 learned, not 64.
            self.bottleneck.weight.mul_(4.0)
        self.levels = levels
        counts = torch.tensor(levels, dtype=torch.float32).repeat(self.latent_size // len(levels))
        self.register_buffer("counts", counts, persistent=False)

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids (B, T) -> the grid point, (B, 1, D) float32, each number in [-1, 1], and a log variance of 0.

        There is no posterior variance: a unit one makes distances plain where latents are compared.
        """
        raw = self.bottleneck(self.encoder(ids)).float()[:, None]
        half = (self.counts - 1) * (1 + 1e-3) / 2
        offset = 0.5 * (1 - self.counts % 2)  # an even number of levels lies beside 0
        bounded = torch.tanh(raw + torch.atanh(offset / half)) * half - offset
        grid = _through(bounded.round(), bounded) / (self.counts // 2)
        return grid, torch.zeros_like(grid)

    def infer(self, ids: Tensor, noise: Tensor | None = None) -> Inferred:
        """The grid points of ids (B, T). `noise` changes nothing. kl: log of the number of values, by dimension."""
        grid, log_var = self.posterior(ids)
        return Inferred(grid, grid, log_var, self.counts.log().expand(len(grid), -1))

    def log_ratio(self, inferred: Inferred) -> Tensor:
        """(B,) minus the logarithm of the number of codes: q is sure of its code, and to p all are alike."""
        return -inferred.kl.sum(1)

    def memory(self, z: Tensor) -> Tensor:
        """The grid points nearest to latents z (B, 1, D)."""
        whole = self.counts // 2
        nearest = torch.minimum(torch.maximum((z * whole).round(), -whole), self.counts - 1 - whole) / whole
        return _through(nearest, z)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, 1, D) grid points, all equally likely."""
        whole = (self.counts // 2).cpu()
        drawn = (torch.rand(n, 1, self.latent_size, generator=generator) * self.counts.cpu()).floor()
        return ((drawn - whole) / whole).to(self.device)

    def code_vectors(self) -> Tensor:
        """(C, d) float32 the grid of one code, C the product of the d levels."""
        values = [(torch.arange(count) - count // 2) / (count // 2) for count in self.levels]
        return torch.cartesian_prod(*values).view(-1, len(self.levels))

    def bits(self) -> float:
        """Bits that a molecule's code takes."""
        return float(self.counts.log().sum()) / math.log(2)


def _through(value: Tensor, gradient_of: Tensor) -> Tensor:
    """`value`, with the gradient of another tensor (straight-through, Bengio et al. 2013)."""
    return gradient_of + (value - gradient_of).detach()
