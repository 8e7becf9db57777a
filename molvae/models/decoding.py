"""Writing token strings from latents: greedy, by temperature, or from the nucleus (top-p, Holtzman et al. 2020).

All rows are written together, one token a step, with cached states. Finished rows leave the batch, so a long molecule does
not hold the short ones. No loop runs over molecules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from molvae.errors import ConfigError
from molvae.models.networks import keep_rows
from molvae.models.sequence_vae import SequenceVAE
from molvae.tokens import BOS, CUT, EOS, MAX_LENGTH, PAD, Vocabulary


def choose(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> Tensor:
    """(B, V) logits -> (B,) token ids; greedy at temperature 0, otherwise drawn from the smallest set of tokens whose
    probability reaches `top_p`. Padding and begin are never written."""
    logits = logits.float().clone()
    logits[:, PAD] = logits[:, BOS] = float("-inf")
    if temperature == 0.0:
        return logits.argmax(-1)
    probability = (logits / temperature).softmax(-1)
    if top_p < 1.0:
        ordered, index = probability.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0.0
        probability = torch.zeros_like(probability).scatter_(-1, index, ordered)
    # By the inverse of the distribution function: one random number a row, where torch.multinomial draws one a token.
    reached = probability.cumsum(-1)
    whole = reached[:, -1:]
    wanted = torch.rand(len(logits), 1, generator=generator).to(logits.device) * whole
    return torch.searchsorted(reached, torch.minimum(wanted, whole.nextafter(torch.zeros_like(whole))), right=True)[:, 0]


@torch.inference_mode()
def write(
    model: SequenceVAE,
    z: Tensor,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    max_length: int = MAX_LENGTH,
    copies: int = 1,
) -> Tensor:
    """z (B, K, D) -> ids (B * copies, max_length) int64 on the CPU, padded after the end token.

    copies: rows drawn at each z, one after the other. Those that have begun alike share a state, so that their first tokens
    cost little.
    A row that has no end token after `max_length` tokens was cut there. Raises ConfigError for a temperature or top_p that
    makes no distribution.
    """
    if not (temperature >= 0.0 and 0.0 < top_p <= 1.0):
        raise ConfigError(f"temperature must be 0 or more and top_p in (0, 1], not {temperature} and {top_p}.")
    z = z.to(model.device)
    written = torch.full((len(z) * copies, max_length), PAD, dtype=torch.long)
    alive = torch.arange(len(written), device=model.device)
    state = model.decoder.start(z, max_length)
    last = torch.full((len(z),), BOS, dtype=torch.long, device=model.device)
    of = alive // copies  # the state of each row
    for t in range(max_length):
        logits, state = model.decoder.step(last, state)
        chosen = choose(logits if copies == 1 else logits[of], temperature, top_p, generator)
        written[alive.cpu(), t] = chosen.cpu()
        going = chosen != EOS
        if not bool(going.any()):
            break
        if copies > 1:
            size = logits.shape[1]
            beginnings, of = (of[going] * size + chosen[going]).unique(return_inverse=True)
            state, last, alive = keep_rows(state, beginnings // size), beginnings % size, alive[going]
        elif not bool(going.all()):
            rows = going.nonzero()[:, 0]
            state, last, alive = keep_rows(state, rows), chosen[rows], alive[rows]
        else:
            last = chosen
    return written


def strings(vocabulary: Vocabulary, written: Tensor) -> list[str]:
    """The SELFIES of rows that `write` made (B, T); one that was cut ends in "<cut>", which no reader takes for faithful."""
    return [vocabulary.text(row) + ("" if EOS in row else CUT) for row in written.tolist()]
