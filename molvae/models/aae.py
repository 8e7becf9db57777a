"""Adversarial autoencoder (Makhzani et al. 2016, arXiv 1511.05644): a critic in the place of the KL term.

    critic: max  E log D(z ~ p) + E log(1 - D(z ~ q))          autoencoder: min  nll - weight E log D(z ~ q)

The two take turns on every step. The autoencoder's term is the non-saturating one (Goodfellow et al. 2014, section 3). The
KL term stays as an option, and its value is logged as the rate either way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Batch, Inferred, SequenceVAE

CRITIC = "critic"


@MODELS.register("aae")
class AdversarialAutoencoder(SequenceVAE):
    """The plain VAE with a critic that tells latents from draws of N(0, I).

    adversarial: nats that a nat of the critic's judgement weighs.  critic: units of its two hidden layers. The other
    settings are the plain VAE's; `kl_weight = "fixed"` with `beta = 0` leaves the prior to the critic alone.
    """

    def __init__(self, vocabulary_size: int, *, adversarial: float = 0.1, critic: int = 256, **vae: Any) -> None:
        if adversarial < 0 or critic < 1:
            raise ConfigError(f"adversarial must be 0 or more and critic 1 or more, not {adversarial} and {critic}.")
        super().__init__(vocabulary_size, **vae)
        self.adversarial = adversarial
        size = self.latent_tokens * self.latent_size
        self.critic = nn.Sequential(
            nn.Linear(size, critic), nn.LeakyReLU(0.2), nn.Linear(critic, critic), nn.LeakyReLU(0.2), nn.Linear(critic, 1)
        )

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        """The autoencoder and its critic."""
        return two_players(self, self.critic)

    def losses(
        self, batch: Batch, step: int, player: str, generator: torch.Generator, rows: slice = slice(None)
    ) -> dict[str, Tensor]:
        """The autoencoder's terms, or the critic's: its loss in nats, and its accuracy, 0.5 if it is fooled."""
        if player != CRITIC:
            return super().losses(batch, step, player, generator, rows)
        n, read = len(batch.ids), (batch.ids if batch.source is None else batch.source)[rows]
        noise, prior = (self._noise((n, self.latent_tokens, self.latent_size), generator)[rows] for _ in range(2))
        with torch.no_grad():
            z = self.infer(read, noise).z
        of_prior, of_molecules = (self.critic(latents.flatten(1))[:, 0] for latents in (prior, z))
        loss = (F.softplus(-of_prior) + F.softplus(of_molecules)).sum() / (2 * n)
        right = ((of_prior > 0).float() + (of_molecules < 0).float()).sum() / (2 * n)
        return {"loss": loss, "accuracy": right}

    def regularisers(self, inferred: Inferred, generator: torch.Generator) -> dict[str, Tensor]:
        """`adversarial`: what it costs that the critic knows the latents."""
        return {"adversarial": self.adversarial * F.softplus(-self.critic(inferred.z.flatten(1))[:, 0]).mean()}


def two_players(model: nn.Module, critic: nn.Module) -> dict[str, Iterable[nn.Parameter]]:
    """The parameters of a model without those of its critic, and those of the critic, which is one of its parts."""
    of_critic = {id(p) for p in critic.parameters()}
    return {"vae": [p for p in model.parameters() if id(p) not in of_critic], CRITIC: list(critic.parameters())}
