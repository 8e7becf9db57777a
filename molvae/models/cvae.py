"""Conditional VAE: the decoder is told some properties of the molecule that it writes (Sohn et al. 2015; for molecules Lim
et al. 2018, arXiv 1806.05805).

    c = (v_1 m_1, ..., v_P m_P, m_1, ..., m_P)      v: standardised values; m: 1 where a value is told, else 0
    e(c) = network(c), or 0 where nothing is told    p(x | z, c) = decoder(z, e(c))

Each molecule is shown a subset of its properties, drawn at random, so any subset may be asked for, and none: then e is 0 and
the model is the plain VAE. A latent vector that holds the molecule leaves a condition little to add. Where z is hidden
(`unconditional`), p(x | z = 0, c) is a language model of the molecules that have these properties: the prior to draw from
when something is asked for, and `guidance.py` sharpens it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from molvae.errors import ConfigError
from molvae.models.networks import DECODERS, require_positive
from molvae.models.sequence_vae import MODELS, Batch, SequenceVAE


@MODELS.register("cvae")
class ConditionalVAE(SequenceVAE):
    """The plain VAE whose decoder reads, beside z, what it is told of the molecule's properties (`[data] properties`).

    condition: numbers that stand for what is told.  masked: share of properties that training hides, each by itself.
    condition_dropout: share of molecules of which it hides all. The other settings are the plain VAE's; with `unconditional`
    above 0 there is the language model that draws best under a condition.
    """

    needs_properties = True

    def __init__(
        self, vocabulary_size: int, *, condition: int = 128, masked: float = 0.5, condition_dropout: float = 0.1, **vae: Any
    ) -> None:
        super().__init__(vocabulary_size, **vae)
        require_positive(condition=condition)
        for setting, share in (("masked", masked), ("condition_dropout", condition_dropout)):
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{setting} is a share from 0 to below 1, not {share}.")
        self.masked, self.condition_dropout = masked, condition_dropout
        self.conditions: int = vae.get("properties", 0)
        self.condition_size = condition if self.conditions else 0
        if self.conditions:
            decoder, table = vae.get("decoder", "gru"), vae.get("decoder_settings")
            width = self.latent_size + condition
            self.decoder = DECODERS.build(decoder, table, vocabulary_size, self.latent_tokens, width)
            self.condition_network = nn.Sequential(
                nn.Linear(2 * self.conditions, 2 * condition), nn.GELU(), nn.Linear(2 * condition, condition)
            )

    def memory(self, z: Tensor) -> Tensor:
        """z (B, K, D) with nothing told: (B, K, D + C), zeros behind z."""
        return torch.cat([z, z.new_zeros(*z.shape[:2], self.condition_size)], -1)

    def hidden(self, n: int) -> Tensor:
        """(n, K, D + C) zeros: neither z nor a condition."""
        return self.memory(super().hidden(n))

    def told(self, memory: Tensor, values: Tensor) -> Tensor:
        """The memory (B, K, D + C) with values (B, P) or (1, P) told, standardised and NaN where unknown."""
        known = ~values.isnan()
        read = torch.cat([values.nan_to_num(), known.to(values.dtype)], -1)
        said = self.condition_network(read).to(memory.dtype) * known.any(-1, keepdim=True)
        said = said[:, None].expand(len(memory), self.latent_tokens, -1)
        return torch.cat([memory[..., : self.latent_size], said], -1)

    def asked(self, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """What the decoder is told of each molecule, (B, P): its properties, many of them masked (NaN)."""
        if not self.conditions or batch.properties is None:
            return None
        hide = torch.rand(batch.properties.shape, generator=generator) < self.masked
        hide |= torch.rand(len(hide), 1, generator=generator) < self.condition_dropout
        return batch.properties.masked_fill(hide.to(batch.properties.device), torch.nan)
