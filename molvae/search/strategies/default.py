"""The default search: a Gaussian process on molecular structure, maximised over a pool bred by several proposal sources.

Each round: fit the surrogate (`surrogate.py`), draw parents from the history by rank, breed a pool for a few generations in
which the children of highest upper confidence bound become the parents of the next, and measure a diversified batch from
the pool. Where the surrogate knows too little or is too sure, after the first few start molecules and once a thousand
molecules are known, every other call goes to a child of the best that it has not judged: small rounds of a genetic algorithm
on the same history go where the surrogate sees nothing, and it learns from them.

The surrogate and its use follow Tripp & Hernandez-Lobato (arXiv:2406.07709); that a generative model proposes and a
structural surrogate chooses follows COWBOYS (Moss et al., ICML 2025). Everything that looks like state (credit of the
sources, hyper-parameters) is computed from the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from molvae.errors import ConfigError
from molvae.history import History, Proposal
from molvae.randomness import stream
from molvae.search.acquisition import Acquisition, AcquisitionSettings, best_rank
from molvae.search.credit import source_shares
from molvae.search.features import FEATURES, feature_cache
from molvae.search.proposers import Refits
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy
from molvae.search.strategies.genetic import GeneticAlgorithm
from molvae.search.surrogate import Hyperparameters, StructureGP, active_set, score_units

EVOLUTION = "evolution"  # the source of children that no surrogate has judged
SOURCES = (
    "graph_crossover",
    "graph_mutation",
    "graph_neighbourhood",
    "fragment_swap",
    "latent_step(smallest=0.5)",
    "latent_crossover",
)


@STRATEGIES.register("default")
class Default(Strategy):
    """Structure-space Bayesian optimization with latent and graph proposals.

    Parameters
    ----------
    initial: molecules drawn from the prior to begin with.
    first_batch, batch: molecules a round at the start, and from `ramp` calls on.  ramp: calls over which the batch grows.
    late, growth: calls beyond which the batch grows with every call, by that much: a round of the surrogate costs the same
        at any time, and a long search must not need too many.
    evolved: share of the calls beyond `late` that the genetic algorithm (`strategies.genetic`) has for children of the best;
        of all calls if there are start molecules, but fewer than `initial`: a surrogate that knows three leads sees little
        beside their nearest analogues.
    sources: proposal sources, names of `molvae.search.proposals`, with settings in brackets if need be.
    generations, children: generations of the pool in each round, and children made in each.
    parents, survivors: molecules of the history, and of the pool, that may have children.
    immigrants: unmeasured draws from the prior that join the parents of a round: new rings and groups for crossover, free.
    acquisition: "ucb", "ei" or "thompson".
    ucb_low, ucb_high: range of the confidence bounds' weights, in standard deviations.
    active: most molecules the surrogate is fitted to; the cost of a round stays flat beyond.
    refit: calls between two refits of the model on what was found (`molvae.search.refit`); 0 for none.
    refit_steps, refit_rate: steps of a refit, of 64 molecules each, and their learning rate.
    features: what it compares molecules by, a kernel each: count fingerprints, "descriptors", "latent" (3 ms a candidate).
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        initial: int = 20,
        first_batch: int = 5,
        batch: int = 20,
        ramp: int = 300,
        growth: float = 0.02,
        late: int = 1000,
        evolved: float = 0.5,
        sources: Sequence[str] = SOURCES,
        generations: int = 3,
        children: int = 300,
        parents: int = 100,
        survivors: int = 60,
        immigrants: int = 50,
        acquisition: str = "ucb",
        ucb_low: float = 0.01,
        ucb_high: float = 0.5,
        active: int = 1500,
        refit: int = 0,
        refit_steps: int = 20,
        refit_rate: float = 2e-4,
        features: Sequence[str] = FEATURES,
    ) -> None:
        super().__init__(space, initial=initial, batch=batch)
        if not 0.0 <= evolved < 1.0:
            raise ConfigError(f"strategy setting evolved is {evolved}; give a share of the calls, 0 or more and below 1.")
        self.first_batch, self.ramp, self.growth = first_batch, ramp, growth
        self.late, self.evolved, self._evolution = late, evolved, GeneticAlgorithm(space)
        self._judged = len(space.start) if 0 < len(space.start) < initial else late  # calls that are all the surrogate's
        self.refits = Refits(space, sources, refit, refit_steps, refit_rate)
        self.generations, self.children = generations, children
        self.parents, self.survivors, self.immigrants = parents, survivors, immigrants
        self.acquisition = AcquisitionSettings(acquisition, ucb_low, ucb_high)
        self.active = active
        self._gp = StructureGP(feature_cache(features, space.model))
        self._learned: tuple[tuple, Hyperparameters] | None = None  # of one history prefix: memory, not state

    def batch_size(self, n_calls: int) -> int:
        if n_calls == 0:
            return super().batch_size(0)
        grown = self.first_batch + (self.batch - self.first_batch) * min(1.0, n_calls / self.ramp)
        return max(1, round(grown + self.growth * max(0, n_calls - self.late)))

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        if self.evolved and len(history) > self._judged:
            if owed := self._owed(history):
                children = self._evolution.choose(history, min(n, owed, self._evolution.batch), seed)
                return [replace(child, source=EVOLUTION) for child in children]
            n = max(1, round((1.0 - self.evolved) * n))
        rng = stream(seed, "default")
        self._fit(history)
        shift, scale = score_units(history.scores)
        best = (np.nanmax(history.scores) - shift) / scale
        wanted = self.acquisition.build(n, rng, best)
        pool, mean, variance = self._breed(history, wanted, rng)
        if not pool:
            return []
        rank = best_rank(wanted.values(mean, variance))
        shortlist = [pool[i] for i in np.argsort(rank, kind="stable")[: max(100, 2 * n)]]
        chosen = wanted.choose(*self._gp.joint([p.smiles for p in shortlist]), self._gp.noise)
        # A latent of refitted weights says nothing to those who have the given ones.
        keeps_z = not self.refits.after(history).refitted
        return [shortlist[i] if keeps_z else replace(shortlist[i], z=None) for i in chosen]

    def _owed(self, history: History) -> int:
        """Calls that evolution is behind its share, those before it aside; none after a round that brought nothing new."""
        if history.evaluations[-1].round < history.n_rounds - 1:
            return 0
        shared = history.sources[self._judged :]
        had = shared.count(EVOLUTION)
        return max(0, round((len(shared) - had) * self.evolved / (1.0 - self.evolved)) - had)

    def _fit(self, history: History) -> None:
        shift, scale = score_units(history.scores)
        rows = active_set(history.scores, self.active, stream(self.space.seed, "active set"))
        y = (history.scores[rows] - shift) / scale
        self._gp.fit([history.smiles[i] for i in rows], y, [self._gp.prior(), self._hyperparameters(history)])

    def _hyperparameters(self, history: History) -> Hyperparameters:
        """Learned from the history as it was when it had last grown by `GROWTH`, so that most rounds need not learn."""
        n_calls = last_milestone(history)
        scores = history.scores[:n_calls]
        key = (tuple(history.smiles[:n_calls]), scores.tobytes())
        if self._learned is None or self._learned[0] != key:
            finite = np.flatnonzero(np.isfinite(scores))
            shift, scale = score_units(scores)
            learned = self._gp.learn([history.smiles[i] for i in finite], (scores[finite] - shift) / scale)
            self._learned = key, learned
        return self._learned[1]

    def _breed(
        self, history: History, wanted: Acquisition, rng: np.random.Generator
    ) -> tuple[list[Proposal], np.ndarray, np.ndarray]:
        """The pool of unmeasured candidates with the surrogate's means and variances."""
        proposers = self.refits.after(history)
        if proposers.refitted:
            history = history.without_latents()
        shares = source_shares(history, list(proposers.sources))
        order = np.argsort(-history.scores, kind="stable")[: int(np.isfinite(history.scores).sum())]

        def elites(k: int) -> list[Proposal]:
            # Rank N^u with u uniform: every order of magnitude of ranks gives as many parents.
            ranks = np.unique((len(order) ** rng.random(k)).astype(int) - 1)
            return [Proposal(e.smiles, e.source, e.z) for e in (history.evaluations[order[r]] for r in ranks)]

        pool: dict[str, Proposal] = {}
        mean, variance = np.zeros((2, 0)), np.zeros((2, 0))
        unwanted = self.space.unwanted(history.known)
        immigrants = proposers.prior.propose([], self.immigrants, rng)
        parents = elites(self.parents) + immigrants
        for _ in range(self.generations):
            fresh = {p.smiles: p for p in immigrants if p.smiles not in pool and p.smiles not in unwanted}
            for name, source in proposers.sources.items():
                for child in source.propose(parents, round(shares[name] * self.children), rng, history):
                    if child.smiles not in pool and child.smiles not in unwanted:
                        fresh.setdefault(child.smiles, child)
            if fresh:
                fresh_mean, fresh_variance = self._gp.predict(list(fresh))
                pool.update(fresh)
                mean, variance = np.hstack([mean, fresh_mean]), np.hstack([variance, fresh_variance])
            candidates = list(pool.values())
            rank = best_rank(wanted.values(mean, variance)) if candidates else np.zeros(0)
            survivors = [candidates[i] for i in np.argsort(rank, kind="stable")[: self.survivors]]
            parents = survivors + elites(self.parents // 2) + immigrants
        return list(pool.values()), mean, variance


GROWTH = 1.15


def last_milestone(history: History) -> int:
    """Calls measured at the last round end where the history had grown by `GROWTH` since the milestone before, or the best
    score by a tenth of the scores' range."""
    ends = np.flatnonzero(np.diff(history.rounds)) + 1
    best = np.fmax.accumulate(history.scores)
    milestone = 0
    for end in [*ends.tolist(), len(history)]:
        first = milestone == 0
        jumped = not first and best[end - 1] - best[milestone - 1] > 0.1 * score_units(history.scores[:end])[1]
        if (first and np.isfinite(best[end - 1])) or (not first and (end >= GROWTH * milestone or jumped)):
            milestone = end
    return milestone
