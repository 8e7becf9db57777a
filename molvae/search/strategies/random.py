"""Random screening: molecules drawn from the model's prior. The floor that every other strategy is compared with."""

from __future__ import annotations

from molvae.history import History, Proposal
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy, from_prior


@STRATEGIES.register("random")
class RandomScreening(Strategy):
    """Measures what the model draws, and learns nothing.

    initial, batch: molecules of the first and of each later round.
    """

    def __init__(self, space: SearchSpace, *, initial: int = 50, batch: int = 50) -> None:
        super().__init__(space, initial=initial, batch=batch)

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        return from_prior(self.space, n, seed, history.known)
