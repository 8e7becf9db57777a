"""A learned prior over codes: p(k_1) p(k_2 | k_1) ... p(k_P | k_<P) by a GRU (van den Oord et al. 2017, arXiv 1711.00937,
section 3.3, which has a PixelCNN there).

A model of codes is trained against codes that are all equally likely, and molecules use few of them. The second stage learns
which go together. A latent counts as the codes that its parts are nearest to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from molvae.errors import ConfigError
from molvae.models.precision import autocast
from molvae.models.priors.base import PRIORS, Prior, check_settings
from molvae.models.priors.learning import learn
from molvae.models.recurrence import GRULayer
from molvae.randomness import stream

BATCH = 256
ROWS = 1024  # latents at once where distances to all codes, or the probabilities of all codes, are in memory


@PRIORS.register("codes")
class Codes(Prior):
    """GRU of `hidden` units over the codes of a molecule, `embedding` numbers a code.

    `steps` of AdamW, or `epochs` over the latents if these are fewer steps, on batches of 256 with cosine decay and averaged
    weights, which are rounded to half precision at the end: they are the same before and after a checkpoint.
    """

    needs_codebook = True

    def __init__(
        self,
        *,
        embedding: int = 64,
        hidden: int = 256,
        steps: int = 3000,
        epochs: int = 20,
        learning_rate: float = 3e-3,
    ) -> None:
        check_settings(embedding=embedding, hidden=hidden, steps=steps, epochs=epochs, learning_rate=learning_rate)
        self.embedding, self.hidden, self.steps, self.epochs = embedding, hidden, steps, epochs
        self.learning_rate = learning_rate
        self.tensors = {}

    def fit(self, latents: Tensor, seed: int) -> None:
        """Maximise the likelihood of the codes; every step draws from its own stream. Raises ConfigError without one."""
        if self.codebook is None:
            raise ConfigError(
                "the prior 'codes' is for models of codes, such as fsq_vae and vq_vae; these latents are none."
            )
        codebook = self.codebook.detach().float().cpu()
        data = nearest_codes(latents, codebook)
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights globally
            torch.manual_seed(int(stream(seed, "codes", "weights").integers(2**31)))
            network = CodeNetwork(len(codebook), data.shape[1], self.embedding, self.hidden)
        counts = torch.stack([part.bincount(minlength=len(codebook)) for part in data.t()])
        with torch.no_grad():
            network.often.copy_((counts + 0.1).log() - (counts + 0.1).log().mean(1, keepdim=True))

        def loss(generator: torch.Generator) -> Tensor:
            numbers = data[torch.randint(len(data), (BATCH,), generator=generator)]
            with autocast(data.device, "auto"):
                logits = network(numbers)
            return F.cross_entropy(logits.float().flatten(0, 1), numbers.flatten()) * data.shape[1]

        steps = min(self.steps, max(100, math.ceil(self.epochs * len(data) / BATCH)))
        weights = dict(network.named_parameters())
        warmup = max(1, min(200, steps // 10))
        averaged = learn(
            weights, loss, steps=steps, learning_rate=self.learning_rate, seed=seed, name="codes", warmup=warmup,
            progress=self.progress,
        )  # fmt: skip
        self.tensors = {key: value.half().float() for key, value in {**averaged, "codebook": codebook}.items()}

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, D) float32 draws."""
        network, codebook = self._restored()
        drawn = [network.sample(min(ROWS, n - first), generator) for first in range(0, n, ROWS)]
        numbers = torch.cat([torch.zeros(0, network.parts, dtype=torch.long), *drawn])
        return codebook[numbers].flatten(1)

    @torch.no_grad()
    def log_prob(self, z: Tensor) -> Tensor:
        """z (N, D) -> (N,) log probability in nats of the codes nearest to its parts."""
        network, codebook = self._restored()
        found = []
        for numbers in nearest_codes(z, codebook).split(ROWS):
            log_p = network(numbers).log_softmax(-1)
            found.append(log_p.gather(-1, numbers[..., None])[..., 0].sum(1))
        return torch.cat([torch.zeros(0), *found])

    def _restored(self) -> tuple[CodeNetwork, Tensor]:
        tensors = {key: value.float() for key, value in self.tensors.items()}
        codebook = tensors.pop("codebook")
        (parts, codes), embedding = tensors["often"].shape, tensors["places"].shape[1]
        network = CodeNetwork(codes, parts, embedding, tensors["head.weight"].shape[1])
        network.load_state_dict(tensors)
        return network.eval(), codebook


class CodeNetwork(nn.Module):
    """Logits of each code given those before it: C codes, P parts."""

    def __init__(self, codes: int, parts: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.parts, self.begin = parts, codes
        self.codes = nn.Embedding(codes + 1, embedding)  # the last one begins
        self.places = nn.Parameter(0.1 * torch.randn(parts, embedding))
        self.layer = GRULayer(embedding, 0, hidden)
        self.head = nn.Linear(hidden, codes)
        self.often = nn.Parameter(torch.zeros(parts, codes))  # how often each code is at each place, as logits

    def forward(self, numbers: Tensor) -> Tensor:
        """numbers (B, P) int64 -> logits (B, P, C); those of a part depend on the parts before it."""
        before = F.pad(numbers[:, :-1], (1, 0), value=self.begin)
        x = (self.codes(before) + self.places).transpose(0, 1)
        nothing, h = x.new_zeros(len(numbers), 0), x.new_zeros(len(numbers), self.layer.hidden)
        return self.head(self.layer(x, nothing, h)).transpose(0, 1) + self.often

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, P) int64 draws."""
        h = torch.zeros(n, self.layer.hidden)
        last = torch.full((n,), self.begin)
        drawn = []
        for place in range(self.parts):
            h = self.layer.step(self.layer.input_gates(self.codes(last) + self.places[place]), h)
            reached = (self.head(h) + self.often[place]).double().softmax(-1).cumsum(-1)
            wanted = torch.rand(n, 1, generator=generator, dtype=torch.float64) * reached[:, -1:]
            last = torch.searchsorted(reached, wanted, right=True)[:, 0].clamp(max=self.begin - 1)
            drawn.append(last)
        return torch.stack(drawn, 1)


def nearest_codes(latents: Tensor, codebook: Tensor) -> Tensor:
    """latents (N, P d), codebook (C, d) -> (N, P) int64 numbers of the codes that the parts are nearest to."""
    parts = latents.float().unflatten(1, (-1, codebook.shape[1]))
    found = [torch.cdist(rows.flatten(0, 1), codebook).argmin(1).view(rows.shape[:2]) for rows in parts.split(ROWS)]
    return torch.cat(found)
