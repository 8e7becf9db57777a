"""InfoVAE (Zhao et al. 2019, arXiv 1706.02262) and, with beta 0, the Wasserstein autoencoder (Tolstikhin et al. 2018,
arXiv 1711.01558, section 4, WAE-MMD).

    loss = nll + beta KL(q(z|x) || p(z)) + weight MMD^2(q(z), p(z))

The KL term asks every molecule's posterior to look like the prior, and so takes information from z; the maximum mean
discrepancy asks that only of all molecules together. Its kernel is the sum of inverse multiquadratics
k(a, b) = C / (C + |a - b|^2) with C = 2 D scale over some scales (WAE, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@MODELS.register("info_vae")
class InfoVAE(SequenceVAE):
    """The plain VAE with an MMD between the sampled latents of a batch and as many draws from N(0, I).

    mmd: nats that one unit of the squared discrepancy weighs. The other settings are those of the plain VAE;
    `kl_weight = "fixed"` with `beta = 0` makes it a Wasserstein autoencoder.
    """

    compares_molecules = True

    def __init__(self, vocabulary_size: int, *, mmd: float = 10.0, **vae: Any) -> None:
        if mmd < 0:
            raise ConfigError(f"mmd must be 0 or more, not {mmd}.")
        super().__init__(vocabulary_size, **vae)
        self.mmd = mmd

    def regularisers(self, inferred: Inferred, generator: torch.Generator) -> dict[str, Tensor]:
        """`mmd`: the weighted squared discrepancy; 0 of a single molecule, of which there is no pair."""
        z = inferred.z.flatten(1)
        if len(z) < 2:
            return {"mmd": 0.0 * z.sum()}
        return {"mmd": self.mmd * squared_mmd(z, self._noise(z.shape, generator))}


def squared_mmd(a: Tensor, b: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Unbiased estimate of MMD^2 between the rows of a and b, both (N, D), N > 1 (Gretton et al. 2012, eq. 3); a scalar."""
    n, size = a.shape
    between = torch.cdist(a, b).square()
    within = torch.cdist(a, a).square(), torch.cdist(b, b).square()
    total = a.new_zeros(())
    for scale in scales:
        c = 2.0 * size * scale
        inside = sum(((c / (c + d)).sum() - n) / (n * (n - 1)) for d in within)  # a point and itself are left out
        total = total + inside - 2.0 * (c / (c + between)).mean()
    return total
