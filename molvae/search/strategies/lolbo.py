"""LOL-BO: trust-region Bayesian optimization in a latent space that is trained together with the surrogate.

Maus et al., "Local Latent Space Bayesian Optimization over Structured Inputs", NeurIPS 2022 (arXiv:2201.11872). A trust
region around the best molecule's latent with Thompson sampling, as in `turbo`; and whenever the search stands still,
end-to-end training of the VAE and the Gaussian process on the best and the newest molecules (`joint_training.py`), after
which all molecules are encoded anew and the best decoded again from where they have moved to ("recentering"): what is new
among these is measured, and counts. The shared model is never changed; the search trains a copy of its own.

Nothing is saved: when and on what the copy is trained depends on the history alone, so that a resumed run trains it again
from the shipped weights. That costs what the updates had cost (they become rarer as the history grows) and gives the same
weights, bit for bit on a CPU.

Beside the GP (exact: why stands in `joint_training.py`) three things differ from the authors' program. The GP reads the
encoder's latents at all times, never the proposed ones, so that a latent always belongs to the present weights; decoding is
greedy; and molecules, not strings, are compared with what is known. Shapes: N molecules, D latent dimensions.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import numpy as np

from molvae.errors import ConfigError
from molvae.history import History, Proposal
from molvae.randomness import child_seed
from molvae.search.proposals.latent import LatentSource, PriorSample
from molvae.search.space import SearchSpace, trainable
from molvae.search.strategies.base import STRATEGIES, Strategy, from_prior
from molvae.search.strategies.turbo import thompson_picks
from molvae.search.trust_region import TrustRegion, from_box, replay, to_box

logger = logging.getLogger(__name__)

BLOCK = 64  # molecules encoded together


@dataclass(frozen=True, eq=False)
class Epoch:
    """The time from one update of the model to the next.

    number: updates so far.  key: the history that they were made from.  source: decodes with the weights of this time.
    recentred: what the best molecules decoded to after the last update, best first, known ones included.
    """

    number: int
    key: tuple[object, ...]
    source: LatentSource
    recentred: tuple[str, ...] = ()
    _encoded: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def latents(self, smiles: list[str]) -> np.ndarray:
        """(N, D) float64 of the molecules of a history, from the first on; rows of NaN for those that cannot be encoded.

        They are encoded in blocks that depend on their order alone: in other company a latent has other last digits, and a
        resumed search would not be the same.
        """
        blocks = [tuple(smiles[first : first + BLOCK]) for first in range(0, len(smiles), BLOCK)]
        for block in blocks:
            if block not in self._encoded:
                self._encoded[block] = self.source.space.model.encode(block).astype(np.float64)
        return np.concatenate([self._encoded[block] for block in blocks])


@STRATEGIES.register("lolbo")
class Lolbo(Strategy):
    """A trust region in a latent space that is trained with the surrogate, end to end, whenever the search stands still.

    A model without a network (any object that encodes and decodes) cannot be trained: its latent space is searched as it is.

    Parameters
    ----------
    initial: molecules drawn from the prior to begin with. batch: molecules a round.
    candidates: latents on which a posterior sample is drawn.
    active: most molecules the GP is fitted to, those nearest to the centre.
    patience, growth: calls without an improvement, or an update, after which the model is trained: at least `patience`, and
        at least this share of all calls.
    top, newest: molecules that it is trained on, and of which the best are decoded again.
    steps, learning_rate: of an update; every step sees all of them.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        initial: int = 50,
        batch: int = 10,
        candidates: int = 1000,
        active: int = 256,
        patience: int = 30,
        growth: float = 0.05,
        top: int = 50,
        newest: int = 50,
        steps: int = 10,
        learning_rate: float = 2e-4,
    ) -> None:
        super().__init__(space, initial=initial, batch=batch)
        for name, value in (("patience", patience), ("top", top), ("newest", newest), ("steps", steps)):
            if value < 1:
                raise ConfigError(f"strategy setting {name} is {value}; give at least 1.")
        if learning_rate <= 0.0 or growth < 0.0:
            raise ConfigError(f"learning_rate must be above 0 and growth at least 0, not {learning_rate} and {growth}.")
        self.candidates, self.active = candidates, active
        self.patience, self.growth = patience, growth
        self.top, self.newest = top, newest
        self.steps, self.learning_rate = steps, learning_rate
        self._shipped = Epoch(0, (), PriorSample(space))
        self._epoch = self._shipped  # the last one asked for: memory, not state

    @property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the shipped model's prior: the units of the trust region, whatever the copy learns."""
        return self._shipped.source.prior_moments

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        epoch = self._trained(history)
        unwanted = self.space.unwanted(history.known)
        fresh = {s: Proposal(s, "recentering") for s in epoch.recentred if s not in unwanted}
        missing = n - len(fresh)
        if missing > 0:
            picks = from_box(self._picks(history, epoch, missing, seed), *self._moments)
            for child in epoch.source.decoded(picks, repaired=True):
                if child.smiles not in unwanted:
                    # A latent of trained weights says nothing to those who have the shipped ones.
                    z = child.z if epoch is self._shipped else None
                    fresh.setdefault(child.smiles, Proposal(child.smiles, "lolbo", z))
        # A region whose molecules are all known has nothing more to give; draws from the prior keep the search moving.
        missing = n - len(fresh)
        known = history.known | fresh.keys()
        return [*list(fresh.values())[:n], *(from_prior(self.space, missing, seed, known) if missing > 0 else [])]

    def _picks(self, history: History, epoch: Epoch, n: int, seed: int) -> np.ndarray:
        """(4 n, D) points of the trust region, in its units; none if fewer than two molecules have a latent."""
        z = epoch.latents(history.smiles)
        have = np.isfinite(history.scores) & np.isfinite(z).all(axis=1)
        x, y = np.clip(to_box(z[have], *self._moments), 0.0, 1.0), history.scores[have]
        if len(y) < 2:
            return np.zeros((0, self.space.model.latent_size))
        tolerance = math.ceil(max(4.0, x.shape[1]) / self.batch)
        # Unlike TuRBO's, a region that begins anew keeps its centre and its data: it is only wide again.
        region, _ = replay(history, TrustRegion(failure_tolerance=max(2, tolerance)))
        centre = x[np.argmax(y)]
        near = np.sort(np.argsort(((x - centre) ** 2).sum(axis=1), kind="stable")[: self.active])
        return thompson_picks(x[near], y[near], centre, region.length, 4 * n, self.candidates, child_seed(seed, "lolbo"))

    def _trained(self, history: History) -> Epoch:
        """The epoch after all updates that the history has seen; those that memory has not are made (again)."""
        ends = update_calls(history, self.patience, self.growth) if trainable(self.space.model) else []
        done = self._epoch.number
        if done > len(ends) or self._epoch.key != _key(history, ends[done - 1] if done else 0):
            self._epoch, done = self._shipped, 0
        if len(ends) - done > 1:
            logger.info("training the model again as in the %d updates of this search so far", len(ends) - done)
        for number in range(done, len(ends)):
            self._epoch = self._updated(self._epoch, history, ends[number])
        return self._epoch

    def _updated(self, before: Epoch, history: History, n_calls: int) -> Epoch:
        from molvae.search.joint_training import jointly_trained  # heavy

        scores = history.scores[:n_calls]
        finite = np.flatnonzero(np.isfinite(scores))
        best = finite[np.argsort(-scores[finite], kind="stable")[: self.top]]
        rows = np.union1d(best, finite[-self.newest :])
        model = jointly_trained(
            before.source.space.model,
            [history.smiles[i] for i in rows],
            scores[rows],
            self._moments,
            steps=self.steps,
            learning_rate=self.learning_rate,
            seed=child_seed(self.space.seed, "joint training", before.number),
        )
        # As the authors' program does, from samples of the posterior: the means mostly give what is known.
        seed = child_seed(self.space.seed, "recentering", before.number)
        z = model.encode([history.smiles[i] for i in best], sample=True, seed=seed)
        source = PriorSample(SearchSpace(model))
        moved = source.decoded(z[np.isfinite(z).all(axis=1)], repaired=True)
        recentred = tuple(dict.fromkeys(child.smiles for child in moved))
        return Epoch(before.number + 1, _key(history, n_calls), source, recentred)


def update_calls(history: History, patience: int, growth: float) -> list[int]:
    """Numbers of calls, ends of rounds, after which the model is trained.

    That is when neither an improvement nor an update has come for max(patience, growth * calls) calls. Before the first
    finite score there is nothing to train on.
    """
    found: list[int] = []
    best, since = -math.inf, 0
    ends = [*(np.flatnonzero(np.diff(history.rounds)) + 1).tolist(), len(history)] if len(history) else []
    for start, end in zip([0, *ends], ends, strict=False):
        now = max((score for score in history.scores[start:end].tolist() if not math.isnan(score)), default=-math.inf)
        if now > best or best == -math.inf:
            best, since = max(best, now), end
        elif end - since >= max(patience, growth * end):
            found.append(end)
            since = end
    return found


def _key(history: History, n_calls: int) -> tuple[object, ...]:
    """What the updates after `n_calls` depend on; () before the first."""
    if not n_calls:
        return ()
    parts = history.scores[:n_calls].tobytes(), history.rounds[:n_calls].tobytes()
    return (tuple(history.smiles[:n_calls]), *parts)
