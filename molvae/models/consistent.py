"""Consistent decoding: of several likely strings, the one whose own latent lies nearest to the latent that was asked for.

Greedy decoding trusts the decoder alone, and one wrong token early on is never taken back. The encoder knows better: a
candidate x is right for z if q(z|x) is high. So a beam search proposes strings by p(x|z), and log q(z|x) chooses among
them. (The idea of inversion in latent-space optimization, decode(z) = x, turned round: here x is searched, not z.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from molvae.models.decoding import write
from molvae.models.networks import keep_rows
from molvae.models.sequence_vae import SequenceVAE
from molvae.strings.grammar import Grammar
from molvae.strings.tokens import BOS, EOS, MAX_LENGTH, PAD

EXACT = 1e-4  # squared distance to z, in posterior variances a dimension, below which a string is z's own


@torch.inference_mode()
def beam_search(model: SequenceVAE, z: Tensor, width: int, max_length: int = MAX_LENGTH) -> Tensor:
    """z (B, K, D) -> ids (B, width, max_length) int64: the strings of highest log p(x|z) that a beam finds, likeliest first.

    A row leaves the search when all its beams have ended.
    """
    result = torch.full((len(z), width, max_length), PAD, dtype=torch.long, device=z.device)
    alive = torch.arange(len(z), device=z.device)
    state = model.decoder.start(model.memory(z).repeat_interleave(width, 0), max_length)
    last = torch.full((len(z), width), BOS, dtype=torch.long, device=z.device)
    score = torch.full((len(z), width), float("-inf"), device=z.device)
    score[:, 0] = 0.0  # all beams are equal at first: only one may branch
    for t in range(max_length):
        logits, state = model.decoder.step(last.flatten(), state)
        logits = logits.float()
        logits[:, [PAD, BOS]] = float("-inf")
        ended = ((last == EOS) | (last == PAD)).flatten()
        log_p = logits.log_softmax(-1)
        log_p[ended] = float("-inf")
        log_p[ended, PAD] = 0.0
        score, best = (score[..., None] + log_p.view(len(alive), width, -1)).flatten(1).topk(width, dim=1)
        beam, last = best // log_p.shape[1], best % log_p.shape[1]
        row = torch.arange(len(alive), device=z.device)[:, None]
        result[alive] = result[alive][row, beam]
        result[alive, :, t] = last
        going = ((last != EOS) & (last != PAD)).any(1).nonzero()[:, 0]
        if not len(going):
            break
        state = keep_rows(state, (row * width + beam)[going].flatten())
        score, last, alive = score[going], last[going], alive[going]
    return result


@torch.inference_mode()
def log_posterior(model: SequenceVAE, written: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """written (B, T), z (B, K, D) -> log q(z|x) up to a constant, and squared distance in variances a dimension; (B,)."""
    begin = torch.full((len(written), 1), BOS, dtype=torch.long, device=written.device)
    mean, log_var = model.posterior(torch.cat([begin, written], 1))
    square = ((z - mean).square() / log_var.exp()).flatten(1)
    return -0.5 * (square + log_var.flatten(1)).sum(1), square.mean(1)


@torch.inference_mode()
def write_consistent(
    model: SequenceVAE, z: Tensor, width: int, max_length: int = MAX_LENGTH, grammar: Grammar | None = None
) -> Tensor:
    """z (B, K, D) -> ids (B, max_length) int64 on the CPU. A greedy string that is z's own is kept; where it is not, the
    best of `width` beams and the greedy string by log q(z|x) takes its place.

    grammar: what the greedy string must keep to; beams that break its rules are left out."""
    z = z.to(model.device)
    result = write(model, z, max_length=max_length, grammar=grammar)
    greedy = result.to(model.device)
    score, distance = log_posterior(model, greedy, z)
    others = (distance > EXACT).nonzero()[:, 0]
    for rows in others.split(max(1, 4096 // width)) if len(others) else ():
        beams = beam_search(model, z[rows], width, max_length)
        longest = int((beams != PAD).sum(2).max())
        scores, _ = log_posterior(model, beams[..., :longest].flatten(0, 1), z[rows].repeat_interleave(width, 0))
        if grammar is not None:
            kept = torch.tensor([grammar.allows(beam) for beam in beams.flatten(0, 1).tolist()])
            scores = scores.masked_fill(~kept.to(scores.device), float("-inf"))
        every = torch.cat([score[rows, None], scores.view(len(rows), width)], 1)
        chosen = torch.cat([greedy[rows, None], beams], 1)[torch.arange(len(rows)), every.argmax(1)]
        result[rows.cpu()] = chosen.cpu()
    return result
