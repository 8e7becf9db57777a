"""What a proposal source is: one way of making new molecules out of good ones, and the registry of all of them.

Every file of this folder holds one family of sources. The search puts the children of all sources into one pool, scores
the pool with a surrogate, and credits each source with what it found, so a source may be cheap and wrong, but never slow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from molvae.history import History, Proposal
from molvae.registry import Registry

if TYPE_CHECKING:
    from molvae.search.space import SearchSpace

PROPOSALS: Registry[ProposalSource] = Registry("proposal source", "molvae.search.proposals")


class ProposalSource(ABC):
    """Makes molecules from parents. The constructor takes the search space and keyword-only settings.

    `name` is what `source` says in the ledger; it equals the name under which the class is registered.
    """

    name: str = ""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

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
