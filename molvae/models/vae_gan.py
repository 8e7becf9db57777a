"""VAE-GAN for strings (Larsen et al. 2016, arXiv 1512.09300): a critic of what the decoder writes from the prior.

    critic: max  E log D(x) + E log(1 - D(x~))        VAE: min  ELBO's loss - weight E log D(x~)        x~ = decode(z), z ~ p

Larsen's critic reads pictures, through which a gradient passes, and judges reconstructions as well; its features replace the
likelihood. Strings ask for three changes. (1) A token that was chosen has no gradient: the string is written greedily, the
decoder reads it again under teacher forcing, and each token is a one-hot vector with the gradient of its probability
(straight-through, Bengio et al. 2013). So the critic gets strings in the form in which it gets molecules, and cannot know
them by their softness; and writing, the slow part, needs no gradient. What is lost is the effect of a token on those after
it. (2) Decodes of the prior alone are judged: a greedy reconstruction is most often the molecule itself. (3) The likelihood
stays the measure of reconstruction: for tokens, unlike pixels, it is one. Other forms have not been tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.aae import CRITIC, two_players
from molvae.models.decoding import write
from molvae.models.networks import require_positive
from molvae.models.sequence_vae import MODELS, Batch, SequenceVAE
from molvae.strings.tokens import BOS, PAD

LONGEST = 64  # tokens of a string that is judged; one that has not ended by then is judged so far


@MODELS.register("vae_gan")
class VAEGAN(SequenceVAE):
    """The plain VAE with a critic that tells molecules from strings decoded from draws of N(0, I).

    adversarial: nats that a nat of the critic's judgement weighs.  begin: step from which the VAE hears it; the critic
    learns from the first.  every: one molecule in so many is judged, beside one string.  critic: channels of its
    convolutions. The other settings are the plain VAE's.
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        adversarial: float = 1.0,
        begin: int = 2000,
        every: int = 4,
        critic: int = 128,
        **vae: Any,
    ) -> None:
        require_positive(every=every, critic=critic)
        if adversarial < 0 or begin < 0:
            raise ConfigError(f"adversarial and begin must be 0 or more, not {adversarial} and {begin}.")
        super().__init__(vocabulary_size, **vae)
        self.adversarial, self.begin, self.every = adversarial, begin, every
        self.critic = Critic(vocabulary_size, critic)

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        """The VAE and its critic."""
        return two_players(self, self.critic)

    def losses(
        self, batch: Batch, step: int, player: str, generator: torch.Generator, rows: slice = slice(None)
    ) -> dict[str, Tensor]:
        """The VAE's terms, with `adversarial` from step `begin` on: what it costs, unweighted, that the critic knows its
        strings. Or the critic's: its loss in nats, and its accuracy, 0.5 if it is fooled."""
        n = len(batch.ids)
        if player != CRITIC:
            terms = super().losses(batch, step, player, generator, rows)
            if step < self.begin:
                return terms
            _, z, of = self._judged(n, rows, generator)
            fooled = of * F.softplus(-self.critic(*self.soft(z))).sum()
            return {**terms, "adversarial": fooled, "loss": terms["loss"] + self.adversarial * fooled}
        chosen, z, of = self._judged(n, rows, generator)
        molecules = batch.ids[chosen, 1:]
        with torch.no_grad():
            strings, inside = self.soft(z)
        real = self.critic(F.one_hot(molecules, strings.shape[-1]).to(strings.dtype), molecules != PAD)
        fake = self.critic(strings, inside)
        loss = of / 2 * (F.softplus(-real) + F.softplus(fake)).sum()
        return {"loss": loss, "accuracy": of / 2 * ((real > 0).float() + (fake < 0).float()).sum()}

    def _judged(self, n: int, rows: slice, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
        """Of those rows of a batch of n that are judged: their numbers, as many latents of the prior, and the share of the
        whole that each stands for. Where there is none, one that counts nothing."""
        every = torch.arange(0, n, self.every)
        z = self._noise((len(every), self.latent_tokens, self.latent_size), generator)
        first, end, _ = rows.indices(n)
        here = ((every >= first) & (every < end)).nonzero()[:, 0]
        if not len(here):
            return every[:1].to(self.device), z[:1], 0.0
        return every[here].to(self.device), z[here.to(self.device)], 1 / len(every)

    def soft(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, K, D) -> one-hot tokens (B, T, V) of what the decoder writes greedily, with the gradient of its
        probabilities, and (B, T) bool, True up to the end token."""
        # Greedy writing is not compiled. As a decorator, `disable` would import the compiler, a second of every start.
        greedy = torch.compiler.disable(self._written) if torch.compiler.is_compiling() else self._written
        written = greedy(z)
        before = F.pad(written[:, :-1], (1, 0), value=BOS)
        likely = self.decoder(before, self.memory(z)).float().softmax(-1)
        return F.one_hot(written, likely.shape[-1]) + likely - likely.detach(), written != PAD

    def _written(self, z: Tensor) -> Tensor:
        written = write(self, z, max_length=LONGEST)
        longest = int((written != PAD).sum(1).max())
        return written[:, :longest].clone().to(self.device)  # a clone: autograd takes nothing that inference mode made


class Critic(nn.Module):
    """Two convolutions over five tokens each, mean and maximum over the tokens, and a line: above 0 for a molecule."""

    def __init__(self, vocabulary_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(vocabulary_size, width, bias=False)
        nn.init.normal_(self.embedding.weight)
        self.near = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(2))
        self.out = nn.Linear(2 * width, 1)

    def forward(self, tokens: Tensor, inside: Tensor) -> Tensor:
        """tokens (B, T, V) one-hot, inside (B, T) bool, True where there is a token -> (B,); padding changes nothing."""
        mask = inside[:, None]
        x = self.embedding(tokens).transpose(1, 2) * mask
        for layer in self.near:
            x = F.leaky_relu(layer(x), 0.2) * mask
        mean = x.sum(-1) / mask.sum(-1)
        return self.out(torch.cat([mean, x.masked_fill(~mask, float("-inf")).amax(-1)], -1))[:, 0].float()
