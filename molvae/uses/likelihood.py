"""Posterior means and negative log-likelihoods of molecules, in one pass over their tokens.

nll(x) = -log p(x_1 ... x_T, end | z) in nats, summed over the T tokens of x and the end token, with
z = 0      where the decoder has learned to write without z: p(x | z = 0) is its language model;
z = mu(x)  for any other model: only the reconstruction term of the ELBO, which says less about how usual x is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from molvae.data.datasets import TokenTable
from molvae.generation.model import BATCH, Model

ENCODED_AT_ONCE = 16 * BATCH  # molecules sorted by length together, so that little is padding


@dataclass(frozen=True)
class Measured:
    """What the networks say of N molecules; NaN where one cannot be encoded.

    means: (N, D) float32 posterior means.  nll: (N,) float64, nats.  tokens: (N,) int64, the end token included; 0 if none.
    reasons: why a molecule cannot be encoded, "" if it can.
    """

    means: np.ndarray
    nll: np.ndarray
    tokens: np.ndarray
    reasons: list[str]

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: the molecules that can be encoded."""
        return self.tokens > 0

    @property
    def nll_per_token(self) -> np.ndarray:
        """(N,) float64 nats a token."""
        return self.nll / np.maximum(self.tokens, 1)


def has_language_model(model: Model) -> bool:
    """Whether the decoder has learned p(x | z = 0)."""
    return bool(model.vae.unconditional)


@torch.inference_mode()
def measure(model: Model, smiles: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Measured:
    """Posterior means and nll of molecules, in the order given. progress: called with (molecules done, N)."""
    n, hidden = len(smiles), has_language_model(model)
    measured = Measured(
        np.full((n, model.latent_size), np.nan, np.float32), np.full(n, np.nan), np.zeros(n, np.int64), [""] * n
    )
    for first in range(0, n, ENCODED_AT_ONCE):
        part = model.encode_ids(smiles[first : first + ENCODED_AT_ONCE])
        measured.reasons[first : first + len(part)] = [reason for _, reason in part]
        found = {first + i: ids for i, (ids, _) in enumerate(part) if ids}
        places, table = np.array(list(found), np.int64), TokenTable.from_rows(list(found.values()))
        measured.tokens[places] = table.lengths.numpy() + 1
        for rows in table.lengths.argsort(stable=True).split(BATCH) if found else ():
            ids = table.batch(rows).to(model.vae.device)
            z = model.vae.encode(ids)
            read = model.vae.hidden(len(ids)) if hidden else model.vae.memory(z)
            nll = model.vae.nll(model.vae.decoder(ids[:, :-1], read), ids)
            at = places[rows.numpy()]
            measured.means[at], measured.nll[at] = z.flatten(1).cpu().numpy(), nll.double().cpu().numpy()
        if progress:
            progress(first + len(part), n)
    return measured
