"""Refits: the model fine-tuned on what a search has found, by rank (Tripp et al., NeurIPS 2020, arXiv:2006.09191).

Half of the molecules of a step are measured ones, drawn with weight 1 / (k N + rank), rank 0 the best of N. The other half
is replay, so that the model forgets nothing: its own draws, because a search has no training set. The loss is the one that
the model was trained with, so a language model inside the decoder learns of the best molecules as well: draws from the prior
come nearer to them.

Strings are not randomised as in Augmented Memory (Guo & Schwaller, JACS Au 2024): the models write canonical forms only.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from molvae.data.datasets import TokenTable
from molvae.errors import DivergedModel
from molvae.generation.model import Model
from molvae.models.sequence_vae import Batch
from molvae.randomness import child_seed, stream, torch_stream
from molvae.search.credit import rank_weights

RANK_K = 0.05  # of 200 molecules the best weighs as much as ranks 11 to 13; the paper's 1e-3 is for tens of thousands
CLIP = 50.0  # as in training
SETTLED = 10**9  # a step at which every schedule of beta has ended its warm-up


def refitted(
    model: Model, smiles: Sequence[str], scores: np.ndarray, *, steps: int, learning_rate: float, seed: int, batch: int = 64
) -> Model:
    """A copy of `model` after `steps` of Adam; `model` itself stays as it is.

    Parameters
    ----------
    smiles, scores: N molecules with their finite scores (N,). Those that cannot be encoded are left out.
    batch: molecules of a step, half of them replay.
    seed: of the draws, the posterior's noise and dropout. The same arguments give the same weights (bit for bit on a CPU).

    Raises DivergedModel if the loss is not finite.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    found = [row for row, _ in model.encode_ids([smiles[i] for i in order]) if row]
    vae = copy.deepcopy(model.vae)
    if not found:
        return model.with_network(vae)
    own, rng = batch // 2, stream(seed, "refit")
    drawn = model.sample((batch - own) * steps, seed=child_seed(seed, "replay"))
    replay = [row for row, _ in model.encode_ids([d.smiles for d in drawn if d.smiles and d.faithful]) if row]
    weights = list(vae.players()[player := next(iter(vae.players()))])
    optimizer = torch.optim.Adam(weights, lr=learning_rate)
    with torch.random.fork_rng([vae.device] if vae.device.type == "cuda" else []):
        torch.manual_seed(child_seed(seed, "dropout"))
        noise = torch_stream(seed, "noise")
        vae.train()
        for step in range(steps):
            picks = rng.choice(len(found), size=own, p=rank_weights(len(found), RANK_K))
            rows = [found[i] for i in picks] + replay[step::steps]
            table = TokenTable.from_rows(rows)
            ids = table.batch(torch.arange(len(table))).to(vae.device)
            loss = vae.losses(Batch(ids), SETTLED, player, noise)["loss"]
            if not loss.isfinite():
                raise DivergedModel(f"a refit diverged at step {step}: the loss is {float(loss)}. Leave the refits out.")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimizer.step()
    return model.with_network(vae.eval())
