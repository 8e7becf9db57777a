"""A graph-based genetic algorithm (Jensen, Chem. Sci. 10:3567, 2019): crossover and mutation of the best molecules so far.

Parents are drawn by rank: the molecule of rank r (0 is the best) among N with a chance in proportion to 1 / (k N + r), the
weighting of Tripp et al. (NeurIPS 2020, arXiv:2006.09191), k as there. Only the order of scores matters, not their scale.
"""

from __future__ import annotations

from molvae.history import History, Proposal
from molvae.randomness import child_seed, stream
from molvae.search.credit import rank_weights
from molvae.search.proposals.graph_edits import EDITS, MAX_ATOMS, REARRANGEMENTS, offspring
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy, from_prior


@STRATEGIES.register("genetic")
class GeneticAlgorithm(Strategy):
    """Children of the best molecules, measured without any model of the score.

    Parameters
    ----------
    initial: molecules drawn from the prior to begin with. batch: children a round; small rounds learn sooner.
    population: how many of the best molecules may have children.
    rank_k: how evenly parents are drawn; 0.01 gives the best of fifty a third of the chances, 1 is nearly uniform.
    crossover_rate: share of children with two parents; the others are mutations of one.
    mutation_rate: share of the children of two that are mutated as well.
    rearrange: whether mutations may also be edits that keep the formula, which the paper has not.
    max_atoms: heavy atoms a child may have.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        initial: int = 50,
        batch: int = 10,
        population: int = 50,
        rank_k: float = 0.01,
        crossover_rate: float = 0.7,
        mutation_rate: float = 0.2,
        rearrange: bool = True,
        max_atoms: int = MAX_ATOMS,
    ) -> None:
        super().__init__(space, initial=initial, batch=batch)
        self.population = population
        self.rank_k = rank_k
        self.crossover_rate = crossover_rate
        self.mutation_rate = mutation_rate
        self.rearrange = rearrange
        self.max_atoms = max_atoms

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        parents = [evaluation.smiles for evaluation in history.best(self.population)]
        children = offspring(
            parents,
            n,
            stream(seed, "genetic"),
            weights=rank_weights(len(parents), self.rank_k),
            max_atoms=self.max_atoms,
            crossover_rate=self.crossover_rate,
            mutation_rate=self.mutation_rate,
            known=self.space.unwanted(history.known),
            edits=EDITS + REARRANGEMENTS if self.rearrange else EDITS,
        )
        proposals = [Proposal(smiles, "graph") for smiles in children]
        if not proposals:  # parents without children, e.g. single atoms: new blood instead of a search that stands still
            proposals = from_prior(self.space, n, child_seed(seed, "immigrants"), history.known)
        return proposals
