"""What a strategy is: a pure function from the history and a round's seed to the molecules to measure next.

Nothing is remembered between rounds. Whatever looks like state (a trust region's length, the credit of a source) is replayed
from the history, so that a killed run asks its interrupted round again and gets the same answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from typing import Any

from molvae.errors import ConfigError
from molvae.files import file_hash
from molvae.history import History, Proposal
from molvae.randomness import child_seed
from molvae.registry import Registry
from molvae.search.space import SearchSpace
from molvae.user_code import in_file

STRATEGIES: Registry[Strategy] = Registry("strategy", "molvae.search.strategies")

_PRIOR_TRIES = 20  # draws of a whole batch before fewer molecules are returned


class Strategy(ABC):
    """Chooses molecules. The constructor takes the search space and keyword-only settings: they are the configuration.

    Parameters
    ----------
    space: the model and the start molecules.
    initial: molecules drawn from the prior in round 0, if there are no start molecules.
    batch: molecules asked for in each later round.
    """

    def __init__(self, space: SearchSpace, *, initial: int, batch: int) -> None:
        for name, value in (("initial", initial), ("batch", batch)):
            if value < 1:
                raise ConfigError(f"strategy setting {name} is {value}; give at least 1.")
        self.space = space
        self.initial = initial
        self.batch = batch

    def batch_size(self, n_calls: int) -> int:
        """How many molecules to ask for when `n_calls` are measured; it must not depend on anything else that changes."""
        if n_calls == 0:
            return len(self.space.start) or self.initial
        return self.batch

    def propose(self, history: History, n: int, seed: int) -> list[Proposal]:
        """At most `n` distinct proposals, best first; a pure function of its arguments.

        Round 0 is the start molecules, or draws from the prior. More draws follow as long as nothing has a value, or,
        without start molecules, as all values are equal: children of molecules that are no better than others (a score
        that is 0 until some group is there) would only drift away from what the prior knows.
        Fewer than `n` proposals, or none, are allowed: the loop stops a search that brings nothing new.
        """
        if history.n_rounds == 0 and self.space.start:
            return [Proposal(smiles, "start") for smiles in self.space.start[:n]]
        if history.incumbent is None or not (self.space.start or history.scores_differ):
            return from_prior(self.space, n, seed, history.known)
        return self.choose(history, n, seed)

    @abstractmethod
    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        """`propose` for a history with at least one finite score."""


def from_prior(space: SearchSpace, n: int, seed: int, known: Container[str] = ()) -> list[Proposal]:
    """Up to `n` distinct faithful molecules decoded from the model's prior that the space wants, none of them in `known`."""
    found: dict[str, Proposal] = {}
    unwanted = space.unwanted(known)
    for attempt in range(_PRIOR_TRIES):
        z = space.model.sample_latents(n, seed=child_seed(seed, "prior", attempt))
        for row, decoded in zip(z, space.model.decode(z), strict=True):
            if decoded.faithful and decoded.smiles is not None and decoded.smiles not in unwanted:
                found.setdefault(decoded.smiles, Proposal(decoded.smiles, "prior", row))
        if len(found) >= n:
            break
    return list(found.values())[:n]


def resolved(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run writes down of its strategy: the name, all settings, and the SHA-256 of the file, if it stands in one.

    Raises UnknownName with the nearest registered name, and ConfigError for a file that cannot be used.
    """
    table = {"name": name, **STRATEGIES.defaults(name), **settings}
    own = in_file(name)
    return table if own is None else table | {"file_hash": file_hash(own[0])}
