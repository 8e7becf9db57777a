"""STONED: random edits of the SELFIES symbols of the best molecules so far (Nigam et al., Chem. Sci. 12:7079, 2021).

No model of molecules and none of the score: a population of the best, their strings in random atom orders, and symbols of
SELFIES' robust alphabet written into them with equal chances. As published, stereo marks of the parents are dropped. The
rules for what is sane are those of the other strategies here; STONED has none.
"""

from __future__ import annotations

from molvae.history import History, Proposal
from molvae.randomness import child_seed, stream
from molvae.search.proposals.graph_edits import MAX_ATOMS
from molvae.search.proposals.selfies_edits import selfies_offspring, vocabulary_for, without_stereo
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy, from_prior


@STRATEGIES.register("stoned")
class Stoned(Strategy):
    """SELFIES mutations of the best molecules, measured without any model of the score.

    Parameters
    ----------
    initial: molecules drawn from the prior to begin with. batch: children a round.
    population: how many of the best molecules may have children, with equal chances.
    max_edits: symbols replaced, inserted or deleted in a child, from 1 to this number.
    max_atoms: heavy atoms a child may have.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        initial: int = 50,
        batch: int = 10,
        population: int = 10,
        max_edits: int = 1,
        max_atoms: int = MAX_ATOMS,
    ) -> None:
        super().__init__(space, initial=initial, batch=batch)
        self.population = population
        self.max_edits = max_edits
        self.max_atoms = max_atoms

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        flat = (without_stereo(evaluation.smiles) for evaluation in history.best(self.population))
        parents = list(dict.fromkeys(smiles for smiles in flat if smiles is not None))
        children = selfies_offspring(
            parents,
            n,
            stream(seed, "stoned"),
            vocabulary=vocabulary_for(parents),
            by_use=False,
            max_edits=self.max_edits,
            max_atoms=self.max_atoms,
            known=self.space.unwanted(history.known),
        )
        proposals = [Proposal(smiles, "selfies") for smiles in children]
        if not proposals:  # parents that SELFIES cannot say: new blood instead of a search that stands still
            proposals = from_prior(self.space, n, child_seed(seed, "immigrants"), history.known)
        return proposals
