"""VampPrior (Tomczak & Welling 2018, arXiv 1705.07120): the prior is a mixture of the encoder's own posteriors.

    p(z) = 1/K sum_k q(z | u_k)                                                                          (eq. 9)

The pseudo-inputs u_k are learned with the rest. Molecules are tokens, which nothing can be learned by gradient of, so a u_k
stands in the place of the encoder's summary, and only the bottleneck maps it to a posterior. The rate is the bound

    KL(q || p) <= -log 1/K sum_k exp(-KL(q || q(. | u_k)))

which has a closed form, where the paper samples: the ELBO stays one, and the rate controller sees no noise.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from molvae.models.ladder_vae import kl_normals
from molvae.models.networks import require_positive
from molvae.models.sequence_vae import MODELS, SequenceVAE, log_normal


@MODELS.register("vamp_vae")
class VampVAE(SequenceVAE):
    """The plain VAE with a mixture of posteriors in the place of N(0, I).

    components: K, the pseudo-inputs. The other settings are the plain VAE's.
    """

    def __init__(self, vocabulary_size: int, *, components: int = 256, **vae: Any) -> None:
        require_positive(components=components)
        super().__init__(vocabulary_size, **vae)
        self.pseudo = nn.Parameter(0.5 * torch.randn(components, self.encoder.summary_size))

    def mixture(self) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the components, each (K, D) float32."""
        return tuple(part[:, 0] for part in self.moments(self.pseudo))

    def kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """(B, 1) the bound on the rate, in nats: it does not fall apart by dimension."""
        others = self.mixture()
        by_pair = kl_normals(mean, log_var, *(part[None] for part in others)).sum(-1)  # (B, 1, D) and (1, K, D)
        return math.log(len(self.pseudo)) - (-by_pair).logsumexp(1, keepdim=True)

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, 1, D): one component each, all equally likely."""
        mean, log_var = (part.detach() for part in self.mixture())
        chosen = torch.randint(len(mean), (n,), generator=generator).to(self.device)
        noise = super().sample_prior(n, generator)[:, 0]
        return (mean[chosen] + (0.5 * log_var[chosen]).exp() * noise)[:, None]

    def log_prior(self, z: Tensor) -> Tensor:
        """z (B, 1, D) -> (B,) log density of the mixture."""
        mean, log_var = self.mixture()
        by_component = torch.stack([log_normal(z[:, 0], m[None], v[None]) for m, v in zip(mean, log_var, strict=True)], 1)
        return by_component.logsumexp(1) - math.log(len(mean))
