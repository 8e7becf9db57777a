"""The proposal sources of a search and the model under them, which a search may refit on what it has found (`refit.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from molvae.errors import ConfigError
from molvae.history import History
from molvae.randomness import child_seed
from molvae.search.proposals.base import ProposalSource, build_sources
from molvae.search.proposals.latent import PriorSample
from molvae.search.space import SearchSpace, trainable


@dataclass(frozen=True, eq=False)
class Proposers:
    """What makes candidates from one refit of the model to the next.

    sources: by name.  prior: draws from the model.  key: the history that the model was refitted to, () for the given one.
    """

    sources: dict[str, ProposalSource]
    prior: PriorSample
    key: tuple = ()

    @property
    def refitted(self) -> bool:
        """Whether the latents are not those of the model that the search was given."""
        return bool(self.key)


class Refits:
    """The proposers of every moment of a search.

    Every refit starts from the given weights and depends on the history alone: a resumed search makes the last one again.

    Parameters
    ----------
    sources: proposal sources, as in `proposals.base.build_sources`.
    every: calls between two refits, 0 for none.  steps, learning_rate: of a refit.

    Raises ConfigError for settings that make no sense, or if the model cannot be trained.
    """

    def __init__(self, space: SearchSpace, sources: Sequence[str], every: int, steps: int, learning_rate: float) -> None:
        if every < 0 or steps < 1 or learning_rate <= 0.0:
            raise ConfigError(
                f"refit is {every}, refit_steps {steps} and refit_rate {learning_rate}; "
                "give 0 or more calls, at least 1 step, and a rate above 0."
            )
        if every and not trainable(space.model):
            raise ConfigError("refit needs a model with a network, shipped or from `molvae train`; leave it at 0.")
        self.space, self.specs = space, tuple(sources)
        self.every, self.steps, self.learning_rate = every, steps, learning_rate
        self._given = Proposers(build_sources(sources, space), PriorSample(space))
        self._last = self._given  # memory, not state

    def after(self, history: History) -> Proposers:
        """The proposers for the round that follows `history`."""
        n_calls = refit_call(history, self.every) if self.every else 0
        key = (tuple(history.smiles[:n_calls]), history.scores[:n_calls].tobytes()) if n_calls else ()
        if key != self._last.key:
            self._last = self._refitted(history, n_calls, key) if key else self._given
        return self._last

    def _refitted(self, history: History, n_calls: int, key: tuple) -> Proposers:
        from molvae.search.refit import refitted  # heavy

        rows = np.flatnonzero(np.isfinite(history.scores[:n_calls]))
        model = refitted(
            self.space.model,
            [history.smiles[i] for i in rows],
            history.scores[rows],
            steps=self.steps,
            learning_rate=self.learning_rate,
            seed=child_seed(self.space.seed, "refit", n_calls),
        )
        space = replace(self.space, model=model)
        return Proposers(build_sources(self.specs, space), PriorSample(space), key)


def refit_call(history: History, every: int) -> int:
    """Calls at the end of the round that was the last to reach another multiple of `every`; 0 before the first."""
    ends = [*(np.flatnonzero(np.diff(history.rounds)) + 1).tolist(), len(history)]
    return max((end for start, end in zip([0, *ends], ends, strict=False) if end // every > start // every), default=0)
