"""VQ-VAE with a learned codebook (van den Oord et al. 2017, arXiv 1711.00937).

    loss = nll + commitment |z_e(x) - sg[e]|^2                                                       (eq. 3)

The codebook follows the encoder as an exponential moving average (appendix A.1). A code that nothing has chosen for a while
is moved to where the encoder is, or much of the codebook dies in the first steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE


@dataclass(frozen=True)
class Quantised(Inferred):
    """Latents on codes. said: (B, 1, D) what the encoder said before."""

    said: Tensor


@MODELS.register("vq_vae")
class VQVAE(SequenceVAE):
    """A VAE whose latent is a few vectors of one codebook.

    codes: vectors in the codebook.  parts: of the latent, each one code; `latent` is a multiple of it.
    commitment: weight of the squared distance between what the encoder says and its code.  decay: of the moving average.
    dead: a code is moved when its moving count of choices falls below this. The other settings are the plain VAE's; the rate
    is the same for all molecules, so beta changes nothing. Latents are decoded as the codes nearest to their parts.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        codes: int = 512,
        parts: int = 8,
        commitment: float = 0.25,
        decay: float = 0.99,
        dead: float = 0.05,
        **vae: Any,
    ) -> None:
        super().__init__(vocabulary_size, **vae)
        if codes < 2 or parts < 1 or self.latent_size % parts:
            raise ConfigError(
                f"latent must be a multiple of parts, and codes 2 or more, not {self.latent_size}, {parts} and {codes}."
            )
        self.parts, self.commitment, self.decay, self.dead = parts, commitment, decay, dead
        self.bottleneck = nn.Linear(self.encoder.summary_size, self.latent_size)
        size = self.latent_size // parts
        self.register_buffer("codebook", torch.randn(codes, size, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codebook.clone())
        self._chosen: list[tuple[Tensor, Tensor]] = []  # of this step: vectors of the encoder, and the codes they chose

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids (B, T) -> the chosen codes, (B, 1, D) float32, and a log variance of 0, there being no posterior variance."""
        inferred = self.infer(ids)
        return inferred.mean, inferred.log_var

    def infer(self, ids: Tensor, noise: Tensor | None = None) -> Inferred:
        """The codes of ids (B, T). `noise` changes nothing. kl: log of the number of codes, by part."""
        said = self.bottleneck(self.encoder(ids)).float()[:, None]
        number, code = self._nearest(said)
        if self.training and torch.is_grad_enabled():
            self._chosen.append((said.detach().view(len(number), -1), number))
        z = said + (code - said).detach()
        kl = said.new_full((len(said), self.parts), math.log(len(self.codebook)))
        return Quantised(z, code, torch.zeros_like(code), kl, said)

    def regularisers(self, inferred: Inferred, generator: torch.Generator) -> dict[str, Tensor]:
        """`commitment`, weighted: the squared distance summed over a molecule's latent."""
        assert isinstance(inferred, Quantised)
        distance = (inferred.said - inferred.mean).square().flatten(1).sum(1)
        return {"commitment": self.commitment * distance.mean()}

    @torch.no_grad()
    def after_step(self, terms: Mapping[str, float]) -> None:
        """Move the codebook to what the encoder said in this step."""
        super().after_step(terms)
        if not self._chosen:
            return
        said, number = (torch.cat(both) for both in zip(*self._chosen, strict=True))
        self._chosen = []
        counts = torch.bincount(number, minlength=len(self.codebook)).to(said.dtype)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, number, said), 1 - self.decay)
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-6)[:, None])
        unused = (self.counts < self.dead).nonzero()[:, 0][: len(said)]
        if len(unused):
            # Vectors that are far from their code first: that is where one is missing.
            far = (said - self.codebook[number]).square().sum(1).argsort(descending=True, stable=True)[: len(unused)]
            self.codebook[unused], self.counts[unused] = said[far], 1.0
            self.sums[unused] = said[far]

    def log_ratio(self, inferred: Inferred) -> Tensor:
        """(B,) minus the logarithm of the number of codes: q is sure of its code, and to p all are alike."""
        return -inferred.kl.sum(1)

    def memory(self, z: Tensor) -> Tensor:
        """The codes nearest to the parts of latents z (B, 1, D)."""
        return z + (self._nearest(z)[1] - z).detach()

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, 1, D) codes, all equally likely."""
        number = torch.randint(len(self.codebook), (n, self.parts), generator=generator).to(self.device)
        return self.codebook[number].view(n, 1, self.latent_size)

    def code_vectors(self) -> Tensor:
        """(C, d) float32 the codebook."""
        return self.codebook

    def _nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B parts,) and vectors (B, 1, D) of the codes nearest to the parts of z (B, 1, D)."""
        parts = z.detach().reshape(-1, self.codebook.shape[1])
        number = torch.cdist(parts, self.codebook).argmin(1)
        return number, self.codebook[number].view_as(z)
