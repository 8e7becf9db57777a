"""Proposals from the latent space: steps around good molecules, crossover of their latents, and draws from the prior.

Steps are preconditioned Crank-Nicolson moves (Cotter et al., Stat. Sci. 28:424, 2013), z' = m + sqrt(1 - s^2) (z - m) + s e
with m the mean of the model's prior and m + e a draw from it: if the prior is a Gaussian, it stays as it is at any step size
s in (0, 1], so that children do not leave the region where the decoder was trained. Plain Gaussian steps do, in many
dimensions.

Children of steps and crossovers may be molecules that the SELFIES grammar had to repair: they are what their latent decodes
to, and the surrogate judges the molecule. Draws from the prior are faithful, because they are measured unjudged.

Shapes: N parents, D latent dimensions, n children.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from molvae.chem.filters import problems
from molvae.chem.molecules import parse
from molvae.errors import ConfigError
from molvae.history import History, Proposal
from molvae.randomness import child_seed
from molvae.search.proposals.base import PROPOSALS, ProposalSource
from molvae.search.space import SearchSpace

_PRIOR_DRAWS = 1024  # latents that the prior's mean and variance are taken from


class LatentSource(ProposalSource):
    """What latent sources share: the latents of parents, and molecules of latents."""

    @cached_property
    def prior_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the model's prior, both (D,) float64."""
        z = self.space.model.sample_latents(_PRIOR_DRAWS, seed=child_seed(self.space.seed, "prior moments"))
        return z.mean(axis=0, dtype=np.float64), z.std(axis=0, dtype=np.float64)

    def latents(
        self, parents: Sequence[Proposal], history: History | None = None, *, keep_missing: bool = False
    ) -> np.ndarray:
        """(N', D) float64, in order: each parent's own latent, else the encoder's.

        Parents that cannot be encoded are left out, or rows of NaN if `keep_missing`.
        """
        without = [p.smiles for p in parents if p.z is None]
        encoded = self.space.latents.of(without, None if history is None else (history.n_rounds, len(history)))
        rows = [p.z if p.z is not None else encoded[p.smiles] for p in parents]
        z = np.asarray(rows, dtype=np.float64).reshape(len(rows), self.space.model.latent_size)
        return z if keep_missing else z[np.isfinite(z).all(axis=1)]

    def decoded(self, z: np.ndarray, *, repaired: bool) -> list[Proposal]:
        """The molecules of (n, D) latents, each with its latent; rows without a valid molecule are left out.

        So are unfaithful molecules, or with `repaired` only those of them that are not sane.
        """
        children = []
        z = np.asarray(z, dtype=np.float32)
        for row, decoded in zip(z, self.space.model.decode(z), strict=True):
            if decoded.smiles is not None and (decoded.faithful or (repaired and _sane(decoded.smiles))):
                children.append(Proposal(decoded.smiles, self.name, row))
        return children


@lru_cache(maxsize=20_000)
def _sane(smiles: str) -> bool:
    mol = parse(smiles)
    return mol is not None and not problems(mol)


@PROPOSALS.register("latent_step")
class LatentStep(LatentSource):
    """Crank-Nicolson steps of random size from random parents.

    Parameters
    ----------
    smallest, largest: step sizes are drawn log-uniformly between these, in units of the prior's standard deviation.
    """

    name = "latent_step"

    def __init__(self, space: SearchSpace, *, smallest: float = 0.1, largest: float = 0.7) -> None:
        super().__init__(space)
        if not 0.0 < smallest <= largest <= 1.0:
            raise ConfigError(f"latent_step: steps from {smallest} to {largest}; give 0 < smallest <= largest <= 1.")
        self.smallest, self.largest = smallest, largest

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        z = self.latents(parents, history)
        if not len(z):
            return []
        mean, _ = self.prior_moments
        centre = z[rng.integers(len(z), size=n)]
        step = np.exp(rng.uniform(np.log(self.smallest), np.log(self.largest), size=(n, 1)))
        noise = self.space.model.sample_latents(n, seed=int(rng.integers(2**62))) - mean
        return self.decoded(mean + np.sqrt(1.0 - step**2) * (centre - mean) + step * noise, repaired=True)


@PROPOSALS.register("latent_crossover")
class LatentCrossover(LatentSource):
    """A point on, or a little beyond, the line between the latents of two parents."""

    name = "latent_crossover"

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        z = self.latents(parents, history)
        if len(z) < 2:
            return []
        first = rng.integers(len(z), size=n)
        second = (first + rng.integers(1, len(z), size=n)) % len(z)  # never the same parent
        share = rng.uniform(-0.1, 0.6, size=(n, 1))
        return self.decoded(z[first] + share * (z[second] - z[first]), repaired=True)


@PROPOSALS.register("prior")
class PriorSample(LatentSource):
    """Fresh draws from the model's fitted prior: new scaffolds, whatever the parents."""

    name = "prior"

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        return self.decoded(self.space.model.sample_latents(n, seed=int(rng.integers(2**62))), repaired=False)
