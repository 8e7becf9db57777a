"""Proposals by edits of the molecular graph (Jensen, Chem. Sci. 10:3567, 2019): crossover and mutation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from molvae.history import History, Proposal
from molvae.search.proposals.base import PROPOSALS, ProposalSource
from molvae.search.proposals.graph_edits import REARRANGEMENTS, offspring


@PROPOSALS.register("graph_crossover")
class GraphCrossover(ProposalSource):
    """One part from each of two parents; some children are mutated as well."""

    name = "graph_crossover"

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        children = offspring([p.smiles for p in parents], n, rng, crossover_rate=1.0)
        return [Proposal(smiles, self.name) for smiles in children]


@PROPOSALS.register("graph_mutation")
class GraphMutation(ProposalSource):
    """One random edit of a parent."""

    name = "graph_mutation"

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        children = offspring([p.smiles for p in parents], n, rng, crossover_rate=0.0)
        return [Proposal(smiles, self.name) for smiles in children]


@PROPOSALS.register("graph_rearrangement")
class GraphRearrangement(ProposalSource):
    """One edit of a parent that keeps its formula: a group moved, two atoms exchanged, or a double bond moved."""

    name = "graph_rearrangement"

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        children = offspring([p.smiles for p in parents], n, rng, crossover_rate=0.0, edits=REARRANGEMENTS)
        return [Proposal(smiles, self.name) for smiles in children]
