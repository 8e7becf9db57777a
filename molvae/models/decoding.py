"""Writing token strings from latents: greedy, by temperature, or from the nucleus (top-p, Holtzman et al. 2020).

All rows are written together, one token a step, with cached states. Finished rows leave the batch, so a long molecule does
not hold the short ones. The network never runs molecule by molecule; a grammar, if there is one, reads each row's token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from molvae.errors import ConfigError
from molvae.models.guidance import Guided
from molvae.models.networks import Decoder, keep_rows
from molvae.models.sequence_vae import SequenceVAE
from molvae.strings.grammar import Grammar, Prefix
from molvae.strings.tokens import BOS, CUT, EOS, MAX_LENGTH, PAD, Vocabulary


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
    z: Tensor | None,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    max_length: int = MAX_LENGTH,
    copies: int = 1,
    grammar: Grammar | None = None,
    condition: Tensor | None = None,
    guidance: float = 1.0,
) -> Tensor:
    """z (B, K, D) -> ids (B * copies, max_length) int64 on the CPU, padded after the end token.

    z: None hides it, once: the decoder writes as the language model that it is without.
    copies: rows drawn at each z, one after the other. Those that have begun alike share a state, so that their first tokens
    cost little.
    grammar: tokens that it refuses are not written; the choice is then made among the others.
    condition: standardised property values (1, P) or (B, P) that the decoder is told, NaN where unknown, and `guidance`, how
    hard it is pulled towards them (`Guided`). Only for a model that can be conditioned.
    A row that has no end token after `max_length` tokens was cut there. Raises ConfigError for a temperature or top_p that
    makes no distribution.
    """
    if not (temperature >= 0.0 and 0.0 < top_p <= 1.0):
        raise ConfigError(f"temperature must be 0 or more and top_p in (0, 1], not {temperature} and {top_p}.")
    memory = model.hidden(1) if z is None else model.memory(z.to(model.device))
    written = torch.full((len(memory) * copies, max_length), PAD, dtype=torch.long)
    alive = torch.arange(len(written), device=model.device)
    told = memory if condition is None else model.told(memory, condition.to(model.device))
    if condition is None or guidance == 1.0:
        decoder: Decoder | Guided = model.decoder
        state = model.decoder.start(told, max_length)
    else:
        decoder = Guided(model.decoder, guidance)
        state = decoder.start(told, memory, max_length)
    last = torch.full((len(memory),), BOS, dtype=torch.long, device=model.device)
    of = alive // copies  # the state of each row
    begun: list[Prefix | None] = [Prefix() for _ in range(len(written) if grammar else 0)]
    for t in range(max_length):
        logits, state = decoder.step(last, state)
        logits = logits if copies == 1 else logits[of]
        chosen = choose(logits, temperature, top_p, generator)
        if grammar is not None:
            before = written[:, :t]
            chosen = _legal(grammar, begun, before, alive, chosen, logits, temperature, top_p, generator)
        written[alive.cpu(), t] = chosen.cpu()
        going = chosen != EOS
        if not bool(going.any()):
            break
        if grammar is not None:
            begun = [prefix for prefix, goes in zip(begun, going.tolist(), strict=True) if goes]
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


def _legal(
    grammar: Grammar,
    begun: list[Prefix | None],
    before: Tensor,
    alive: Tensor,
    chosen: Tensor,
    logits: Tensor,
    temperature: float,
    top_p: float,
    generator: torch.Generator | None,
) -> Tensor:
    """The tokens (B,) with those that the grammar refuses chosen again, and `begun` brought up to date in place.

    before (N, t): the tokens written so far.  alive (B,): the rows of them that go on. Refused tokens are taken away one by
    one: the draw is then that of the distribution over the allowed ones. Where a vocabulary has none that is allowed, the
    first choice stands, and the row's prefix is None: no rule is left to keep.
    """
    tokens = chosen.tolist()
    refused = {
        row: token
        for row, (prefix, token) in enumerate(zip(begun, tokens, strict=True))
        if prefix is not None and not grammar.extend(prefix, token)
    }
    if not refused:
        return chosen
    prefixes = {row: grammar.begun(before[alive[row]].tolist()) for row in refused}
    left = logits.float().clone()
    while refused:
        rows = list(refused)
        left[rows, list(refused.values())] = float("-inf")
        left[rows, PAD] = left[rows, BOS] = float("-inf")
        again = choose(left[rows], temperature, top_p, generator).tolist()
        some = left[rows].isfinite().any(-1).tolist()
        refused = {}
        for row, token, is_possible in zip(rows, again, some, strict=True):
            begun[row] = grammar.after(prefixes[row], token) if is_possible else None
            if begun[row] is not None:
                tokens[row] = token
            elif is_possible:
                refused[row] = token
    return torch.tensor(tokens, dtype=torch.long, device=chosen.device)


def strings(vocabulary: Vocabulary, written: Tensor) -> list[str]:
    """The SELFIES of rows that `write` made (B, T); one that was cut ends in "<cut>", which no reader takes for faithful."""
    return [vocabulary.text(row) + ("" if EOS in row else CUT) for row in written.tolist()]
