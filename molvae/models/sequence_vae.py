"""SequenceVAE: the one composition that every variant is a case of (Kingma & Welling 2014, arXiv 1312.6114).

    ids (B, T) --encoder--> summary (B, S) --bottleneck--> z (B, K, D), kl (B, K * D) --decoder--> logits (B, T, V)

Both losses are in nats per molecule: nll = cross-entropy summed over the real tokens and the end token, rate = KL(q(z|x) ||
p(z)) summed over dimensions. So `beta`, which multiplies the rate, compares with the literature.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.kl_weight import KL_WEIGHTS
from molvae.models.networks import DECODERS, ENCODERS, require_positive
from molvae.registry import Registry
from molvae.strings.tokens import BOS, PAD

MODELS: Registry[SequenceVAE] = Registry("model", "molvae.models")

ACTIVE_VARIANCE = (
    0.01  # a latent unit is active if its posterior mean varies more than this (Burda et al. 2016, section 5.2)
)


@dataclass(frozen=True)
class Inferred:
    """What the encoder makes of some molecules.

    z: (B, K, D) the latents that are decoded.  mean, log_var: (B, K, D) of the posterior that they are drawn from.
    kl: (B, M) nats by latent dimension; their sum over M is the rate.
    """

    z: Tensor
    mean: Tensor
    log_var: Tensor
    kl: Tensor

    def first(self, n: int) -> Inferred:
        """The same of the first n molecules."""
        return Inferred(self.z[:n], self.mean[:n], self.log_var[:n], self.kl[:n])


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    ids: (B, T) int64 rows `<bos> tokens <eos> <pad>...`, the strings to be written.
    source: (B, T') rows that the encoder reads, if they differ (randomised SMILES in, canonical out).
    properties: (B, P) float32 standardised property values for the property heads and for conditions, NaN where unknown.
    extra: (B,) bool, True for molecules whose z is never hidden: they teach the autoencoder, not the language model.
    """

    ids: Tensor
    source: Tensor | None = None
    properties: Tensor | None = None
    extra: Tensor | None = None


class SequenceVAE(nn.Module):
    """Encoder, Gaussian bottleneck, decoder, and optional heads that predict properties from the posterior mean.

    Parameters
    ----------
    vocabulary_size: V.
    latent: D, numbers in the latent vector (K = 1).
    encoder, decoder: registered networks ("gru", "transformer"), in any pairing.
    encoder_settings, decoder_settings: tables of their own settings.
    kl_weight: registered schedule of beta ("rate_target", "fixed", "cyclical").  kl_settings: table of its own settings.
    word_dropout: share of decoder inputs hidden while training (Bowman et al. 2016, section 3.2).
    unconditional: share of molecules whose z is hidden (set to 0) while training, so that p(x | z = 0) becomes a language
        model of the training set, as guidance hides conditions (Ho & Salimans 2022, arXiv 2207.12598).
    properties: number of property heads.  property_weight: nats that their mean squared error weighs.
    """

    #: Whether a regulariser compares the molecules of a batch with each other, so that the loss is no mean over molecules.
    compares_molecules = False
    #: Whether it is pointless without [data] properties.
    needs_properties = False
    #: Properties that its writing can be conditioned on.
    conditions = 0

    def __init__(
        self,
        vocabulary_size: int,
        *,
        latent: int = 128,
        encoder: str = "gru",
        encoder_settings: Mapping[str, Any] | None = None,
        decoder: str = "gru",
        decoder_settings: Mapping[str, Any] | None = None,
        kl_weight: str = "rate_target",
        kl_settings: Mapping[str, Any] | None = None,
        word_dropout: float = 0.0,
        unconditional: float = 0.0,
        properties: int = 0,
        property_weight: float = 1.0,
    ) -> None:
        super().__init__()
        require_positive(latent=latent)
        for setting, share in (("word_dropout", word_dropout), ("unconditional", unconditional)):
            if not 0.0 <= share < 1.0:
                raise ConfigError(f"{setting} is a share from 0 to below 1, not {share}.")
        self.latent_tokens, self.latent_size = 1, latent
        self.encoder = ENCODERS.build(encoder, encoder_settings, vocabulary_size)
        self.decoder = DECODERS.build(decoder, decoder_settings, vocabulary_size, self.latent_tokens, latent)
        self.bottleneck = nn.Linear(self.encoder.summary_size, 2 * latent)
        self.kl_weight = KL_WEIGHTS.build(kl_weight, kl_settings)
        self.word_dropout, self.unconditional = word_dropout, unconditional
        self.property_weight = property_weight
        self.property_heads = (
            nn.Sequential(nn.Linear(latent, 256), nn.GELU(), nn.Linear(256, properties)) if properties else None
        )

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.bottleneck.weight.device

    def posterior(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids (B, T) -> mean and log variance of q(z|x), each (B, K, D) float32."""
        return self.moments(self.encoder(ids))

    def moments(self, summary: Tensor) -> tuple[Tensor, Tensor]:
        """summary (B, S) -> mean and log variance of the posterior that is made of it, each (B, K, D) float32."""
        mean, log_var = self.bottleneck(summary).float().unflatten(-1, (2, self.latent_tokens, -1)).unbind(1)
        # exp(-10) is a standard deviation of 0.007: far below any decoder's resolution, far from underflow.
        return mean, log_var.clamp(-10.0, 4.0)

    def infer(self, ids: Tensor, noise: Tensor | None = None) -> Inferred:
        """Latents of ids (B, T) and what they cost. noise: (B, K, D) from N(0, I) for a sample of the posterior, or None."""
        mean, log_var = self.posterior(ids)
        z = mean if noise is None else mean + (0.5 * log_var).exp() * noise
        return Inferred(z, mean, log_var, self.kl(mean, log_var))

    def encode(self, ids: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """z (B, K, D): the posterior mean, or a sample of the posterior if a CPU generator is given."""
        shape = len(ids), self.latent_tokens, self.latent_size
        return self.infer(ids, None if generator is None else self._noise(shape, generator)).z

    def memory(self, z: Tensor) -> Tensor:
        """What the decoder reads of latents z (B, K, D), of the same shape: z itself, here."""
        return z

    def hidden(self, n: int) -> Tensor:
        """(n, K, D) what the decoder reads where z is hidden from it: zeros."""
        return torch.zeros(n, self.latent_tokens, self.latent_size, device=self.device)

    def told(self, memory: Tensor, values: Tensor) -> Tensor:
        """What the decoder reads where it is told property values (B, P) as well: as it was, for it cannot be told any."""
        return memory

    def asked(self, batch: Batch, generator: torch.Generator) -> Tensor | None:
        """(B, P) the property values that the decoder is told while training, or None if it is told none."""
        return None

    def code_vectors(self) -> Tensor | None:
        """(C, d) float32 the vectors that latents are made of, K * D / d of them side by side; None where they are not."""
        return None

    def kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """(B, K * D) KL(q(z|x) || N(0, I)) by dimension, in nats (Kingma & Welling 2014, appendix B)."""
        return 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).flatten(1)

    def nll(self, logits: Tensor, ids: Tensor) -> Tensor:
        """(B,) cross-entropy of ids[:, 1:] under logits (B, T - 1, V), summed over the tokens that are not padding."""
        losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD, reduction="none")
        return losses.view(len(ids), -1).sum(1)

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        """The parameter sets that take turns, each on its own loss. One for a plain VAE, two for adversarial variants."""
        return {"vae": self.parameters()}

    def losses(
        self, batch: Batch, step: int, player: str, generator: torch.Generator, rows: slice = slice(None)
    ) -> dict[str, Tensor]:
        """The terms of one player's loss; `loss` is what it minimises, the others are for the log. Batch means, in nats.

        rows: a part of the batch. What is random is drawn for the whole batch and every mean divides by the whole batch's
        count, so the terms (and gradients) of the parts add up to those of the batch. Two things know only their part:
        dropout inside the networks, and what compares the molecules of a batch with each other (free bits, and some
        variants' regularisers).
        """
        n, ids = len(batch.ids), batch.ids[rows]
        seen = self._seen(n, generator)
        if batch.extra is not None:
            seen = seen | batch.extra.cpu()
        n_seen, before, here = int(seen.sum()), int(seen[: rows.start or 0].sum()), seen[rows]
        shown, hidden = (mask.nonzero()[:, 0].to(self.device) for mask in (here, ~here))
        read = ids if batch.source is None else batch.source[rows]
        noise = self._noise((n_seen, self.latent_tokens, self.latent_size), generator)[before : before + len(shown)]
        # No network likes an empty batch; one molecule is read in its place, and forgotten.
        inferred = self.infer(read[shown], noise) if len(shown) else self.infer(read[:1]).first(0)
        given = self.memory(inferred.z)
        memory = self.hidden(len(ids)).to(given.dtype)  # which autocast may have narrowed
        memory[shown] = given
        asked = self.asked(batch, generator)
        if asked is not None:
            memory = self.told(memory, asked[rows])
        nll = self.nll(self.decoder(self._hide_words(batch.ids[:, :-1], generator)[rows], memory), ids)
        terms = {"nll": nll[shown].sum() / n_seen, "rate": inferred.kl.sum(1).sum() / n_seen}
        for number, part in enumerate(self.levels_of(inferred.kl.detach()), 1):
            terms[f"rate_{number}"] = part.sum() / n_seen
        loss = nll.sum() / n
        if len(shown):
            loss = loss + len(shown) / n * self.kl_weight.beta(step) * self.kl_weight.penalty(self.balanced(inferred.kl))
            for name, term in self.regularisers(inferred, generator).items():
                terms[name] = len(shown) / n_seen * term
                loss = loss + len(shown) / n * term
        if n_seen < n:
            terms["language_nll"] = nll[hidden].sum() / (n - n_seen)
        if self.property_heads is not None and batch.properties is not None:
            n_known = (~batch.properties[seen.to(self.device)].isnan()).sum().clamp(min=1)
            wanted = batch.properties[rows][shown]
            error = (self.property_heads(inferred.mean.flatten(1)) - wanted.nan_to_num()).square() * ~wanted.isnan()
            terms["property_mse"] = error.sum() / n_known
            loss = loss + self.property_weight * terms["property_mse"]
        return {"loss": loss, **terms}

    def levels_of(self, kl: Tensor) -> Sequence[Tensor]:
        """kl (B, M) by level, for the log: each level's own rate must stay alive. A flat latent has no levels."""
        return ()

    def balanced(self, kl: Tensor) -> Tensor:
        """kl (B, M) as beta weighs it: as it is, here."""
        return kl

    def regularisers(self, inferred: Inferred, generator: torch.Generator) -> dict[str, Tensor]:
        """What a variant adds to the loss, by name, weighted: means over the molecules that were read. Nothing, here."""
        return {}

    def after_step(self, terms: Mapping[str, float]) -> None:
        """Hear what the step measured; the rate controller lives on it."""
        self.kl_weight.observe(terms["rate"])

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """z (n, K, D) from the model's own prior, the standard normal."""
        return self._noise((n, self.latent_tokens, self.latent_size), generator)

    def log_prior(self, z: Tensor) -> Tensor:
        """z (B, K, D) -> (B,) log density of the model's own prior there, in nats."""
        return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))

    def log_ratio(self, inferred: Inferred) -> Tensor:
        """(B,) log p(z) - log q(z|x) at the latents that were drawn, in nats; minus the rate on average over draws."""
        return self.log_prior(inferred.z) - log_normal(inferred.z, inferred.mean, inferred.log_var)

    def _noise(self, shape: Iterable[int], generator: torch.Generator) -> Tensor:
        return torch.randn(tuple(shape), generator=generator).to(self.device)

    def _seen(self, n: int, generator: torch.Generator) -> Tensor:
        """(n,) bool on the CPU: the molecules whose z the decoder sees, the first always among them."""
        if not self.unconditional:
            return torch.ones(n, dtype=torch.bool)
        seen = torch.rand(n, generator=generator) >= self.unconditional
        seen[0] = True
        return seen

    def _hide_words(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        if not self.word_dropout:
            return ids
        hidden = torch.rand(ids.shape, generator=generator).to(ids.device) < self.word_dropout
        return ids.masked_fill(hidden & (ids != BOS), PAD)  # padding never counts, so its embedding is free to mean "hidden"


def log_normal(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(z; mean, exp(log_var)), summed over all axes but the first: (B, ...) -> (B,) nats."""
    square = (z - mean).square() / log_var.exp()
    return -0.5 * (square + log_var + math.log(2 * math.pi)).flatten(1).sum(1)


def active_units(means: Tensor) -> int:
    """Latent dimensions of posterior means (N, K, D) whose variance over molecules exceeds 0.01."""
    return int((means.flatten(1).var(0) > ACTIVE_VARIANCE).sum())
