"""beta-TC-VAE (Chen et al. 2018, arXiv 1802.04942): the rate taken apart, and its total correlation weighed apart.

    E KL(q(z|x) || p(z)) = I(x; z)  +  KL(q(z) || prod_d q(z_d))  +  sum_d KL(q(z_d) || p(z_d))
                           index code   total correlation            dimension-wise KL                     (eq. 2)

A latent whose dimensions say independent things has a total correlation of 0. q(z) is here the mixture of the posteriors of
one batch, which is what its minibatch estimate (section 4.1) comes to but for a constant.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Generator, Tensor

from molvae.errors import ConfigError
from molvae.models.sequence_vae import MODELS, Inferred, SequenceVAE


@MODELS.register("tc_vae")
class TCVAE(SequenceVAE):
    """The plain VAE with an extra weight on the total correlation.

    total_correlation: nats that a nat of it weighs, beside what beta weighs already. The other settings are the plain VAE's.
    """

    compares_molecules = True

    def __init__(self, vocabulary_size: int, *, total_correlation: float = 0.1, **vae: Any) -> None:
        if total_correlation < 0:
            raise ConfigError(f"total_correlation must be 0 or more, not {total_correlation}.")
        super().__init__(vocabulary_size, **vae)
        self.weight = total_correlation

    def regularisers(self, inferred: Inferred, generator: Generator) -> dict[str, Tensor]:
        """`total_correlation`, weighted."""
        parts = (part.flatten(1) for part in (inferred.z, inferred.mean, inferred.log_var))
        return {"total_correlation": self.weight * total_correlation(*parts)}


def total_correlation(z: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """E [log q(z) - sum_d log q(z_d)] in nats over samples z (N, D), q being the mixture of the N posteriors
    N(mean, exp(log_var)) that they were drawn from; a scalar."""
    square = (z[:, None] - mean[None]).square() / log_var.exp()[None]
    by_pair = -0.5 * (square + log_var[None] + math.log(2 * math.pi))  # (N, N, D)
    joint = by_pair.sum(-1).logsumexp(1) - math.log(len(z))
    product = (by_pair.logsumexp(1) - math.log(len(z))).sum(-1)
    return (joint - product).mean()
