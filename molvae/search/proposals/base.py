"""What a proposal source is: one way of making new molecules out of good ones, and the registry of all of them.

Every file of this folder holds one family of sources. The search puts the children of all sources into one pool, scores
the pool with a surrogate, and credits each source with what it found, so a source may be cheap and wrong, but never slow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from molvae.errors import ConfigError
from molvae.history import History, Proposal
from molvae.oracles.base import call_syntax
from molvae.registry import Registry

if TYPE_CHECKING:
    from molvae.search.space import SearchSpace

PROPOSALS: Registry[ProposalSource] = Registry("proposal source", "molvae.search.proposals")


def build_sources(specs: Sequence[str], space: SearchSpace) -> dict[str, ProposalSource]:
    """Sources by name, in order, each spec "name" or "name(setting=value, ...)".

    Raises UnknownName with the nearest name, and ConfigError for a malformed spec, a wrong setting, or a name given twice:
    credit goes by name.
    """
    sources: dict[str, ProposalSource] = {}
    for spec in specs:
        name, settings = call_syntax(spec, "proposal source")
        if name in sources:
            raise ConfigError(f"sources has {name!r} twice; a search gives credit by name, so keep one.")
        sources[name] = PROPOSALS.build(name, settings, space)
    return sources


class ProposalSource(ABC):
    """Makes molecules from parents. The constructor takes the search space and keyword-only settings.

    `name` is what `source` says in the ledger; it equals the name under which the class is registered.
    """

    name: str = ""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def require_positive(self, **settings: int) -> None:
        """Raise ConfigError for the first of these settings that is below 1."""
        for setting, value in settings.items():
            if value < 1:
                raise ConfigError(f"proposal source {self.name!r}: {setting} is {value}; give at least 1.")

    @abstractmethod
    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        """At most `n` children of `parents`, a non-empty sequence, best first.

        `history`: what is measured, for sources that learn from it; None is as good as an empty one.

        Children carry canonical isomeric SMILES, this source's name, and `z` if they were decoded from a latent.
        Invalid children are left out, so fewer than `n` may come back; children may repeat each other, a parent, or a
        molecule that is already measured: the caller removes these. A pure function of its arguments.
        """
