"""What the way through the latent space costs and carries, on molecules that may be new to the model.

nll          = mean of -log p(x|z) with z ~ q(z|x), in nats a molecule, the end token included
rate         = mean of KL(q(z|x) || p(z)) in nats; for the plain VAE 1/2 sum_d (mu_d^2 + sigma_d^2 - 1 - ln sigma_d^2)
active units = #{d : variance of mu_d over molecules > 0.01}       (Burda et al. 2016, arXiv:1509.00519, section 5.2)
language nll = mean of -log p(x|z = 0), where the decoder has learned to write without z
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from molvae.data.datasets import TokenTable
from molvae.errors import DataError
from molvae.models.sequence_vae import active_units
from molvae.randomness import torch_stream

if TYPE_CHECKING:
    from molvae.generation.model import Model

BATCH = 512


@dataclass(frozen=True)
class Channel:
    """Means over the `n` molecules that can be encoded; `language_nll` is NaN where the model has no such decoder.

    means: (n, D) float32 posterior means, by length of the token row and not in the order given.
    """

    n: int
    nll: float
    rate: float
    active_units: float
    language_nll: float
    means: torch.Tensor = field(repr=False)


@torch.inference_mode()
def channel(model: Model, smiles: Sequence[str], *, seed: int = 0) -> Channel:
    """The figures above of a model on molecules; those it cannot encode are left out.

    seed: of the posterior samples. Raises DataError if it can encode none of them.
    """
    table, vae = _encodable(model, smiles), model.vae
    nll = rate = language = 0.0
    means = []
    for batch, rows in enumerate(table.lengths.argsort(stable=True).split(BATCH)):
        ids = table.batch(rows).to(vae.device)
        noise = torch.randn(len(ids), vae.latent_tokens, vae.latent_size, generator=torch_stream(seed, "channel", batch))
        inferred = vae.infer(ids, noise.to(vae.device))
        nll += float(vae.nll(vae.decoder(ids[:, :-1], vae.memory(inferred.z)), ids).double().sum())
        if vae.unconditional:
            language += float(vae.nll(vae.decoder(ids[:, :-1], vae.hidden(len(ids))), ids).double().sum())
        rate += float(inferred.kl.double().sum())
        # Where latents have levels, what is sampled above moves the means below: ask for those of all levels at their means.
        mean = vae.posterior(ids)[0] if vae.levels_of(inferred.kl) else inferred.mean
        means.append(mean.flatten(1).cpu())
    n, every = len(table), torch.cat(means)
    return Channel(
        n=n,
        nll=nll / n,
        rate=rate / n,
        active_units=float(active_units(every) if n > 1 else 0),
        language_nll=language / n if vae.unconditional else math.nan,
        means=every,
    )


@torch.inference_mode()
def importance_bound(
    model: Model, smiles: Sequence[str], k: int, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> float:
    """The bound above on -log p(x), nats a molecule: nll + rate on average if k = 1, and the nearer to -log p(x) the more
    samples there are. x is the one token row that the model makes of a molecule.

    seed: of the samples.  progress: called with (molecules done, all). Raises DataError if it can encode none of them.
    """
    table, vae = _encodable(model, smiles), model.vae
    total, done = 0.0, 0
    for batch, rows in enumerate(table.lengths.argsort(stable=True).split(BATCH)):
        ids, generator = table.batch(rows).to(vae.device), torch_stream(seed, "importance", batch)
        found = []
        for _ in range(k):
            noise = torch.randn(len(ids), vae.latent_tokens, vae.latent_size, generator=generator).to(vae.device)
            inferred = vae.infer(ids, noise)
            nll = vae.nll(vae.decoder(ids[:, :-1], vae.memory(inferred.z)), ids)
            found.append((vae.log_ratio(inferred) - nll).double())
        total -= float((torch.stack(found).logsumexp(0) - math.log(k)).sum())
        done += len(ids)
        if progress:
            progress(done, len(table))
    return total / len(table)


def code_usage(numbers: torch.Tensor, codes: int) -> tuple[float, float]:
    """(share of the codes that occur at any place, perplexity): how much of a codebook molecules use.

    numbers: (n, P) int64, which of the `codes` each of P parts is. The perplexity exp(-sum_k p_k ln p_k) of a part is the
    number of codes that would be used as evenly; it is averaged over the parts, and at most the number of codes.
    """
    shares = torch.stack([part.bincount(minlength=codes) for part in numbers.t()]).double() / len(numbers)
    perplexities = torch.special.entr(shares).sum(1).exp()
    return float((shares.sum(0) > 0).double().mean()), float(perplexities.mean())


def _encodable(model: Model, smiles: Sequence[str]) -> TokenTable:
    table = TokenTable.from_rows([ids for ids, _ in model.encode_ids(smiles) if ids])
    if not len(table):
        raise DataError(f"{model.name} can encode none of the {len(smiles):,} molecules of the test set.")
    return table
