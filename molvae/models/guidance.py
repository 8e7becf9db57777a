"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598; for strings Sanchez et al. 2023, arXiv 2306.17806)."""

from __future__ import annotations

from torch import Tensor

from molvae.models.networks import Decoder, State


class Guided:
    """A decoder whose logits go from what it writes unasked towards what it writes when told, and beyond.

    logits = free + guidance * (told - free): with guidance 0 it writes unasked, with 1 as told, above 1 the more so.
    """

    def __init__(self, decoder: Decoder, guidance: float) -> None:
        self.decoder, self.guidance = decoder, guidance

    def start(self, told: Tensor, free: Tensor, max_length: int) -> State:
        """The state before the first token, of both memories (B, K, D)."""
        both = {"told": self.decoder.start(told, max_length), "free": self.decoder.start(free, max_length)}
        return {f"{way} {name}": value for way, state in both.items() for name, value in state.items()}

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """As a decoder's: ids (B,) -> logits (B, V), and the new state."""
        logits, new = {}, {}
        for way in ("told ", "free "):
            own = {name.removeprefix(way): value for name, value in state.items() if name.startswith(way)}
            logits[way], after = self.decoder.step(ids, own)
            new |= {way + name: value for name, value in after.items()}
        told, free = (one.float() for one in logits.values())
        return free + self.guidance * (told - free), new
