"""TuRBO in the latent space: trust-region Bayesian optimization with Thompson sampling, on BoTorch.

Eriksson et al., NeurIPS 2019, with its sparse perturbations (a candidate differs from the centre in about 20 coordinates),
on the model's latents as in the latent-space line of work (LOL-BO: Maus et al., NeurIPS 2022), without refits of the model.
Nothing here looks at molecules: it is the purely latent peer of the default search.

Shapes: N evaluations, D latent dimensions, C candidates. Latents are normalised to [0, 1]^D, the prior mean +- 4 sd.
"""

from __future__ import annotations

import math

import numpy as np

from molvae.history import History, Proposal
from molvae.randomness import child_seed, stream
from molvae.search.proposals.latent import PriorSample
from molvae.search.space import SearchSpace
from molvae.search.strategies.base import STRATEGIES, Strategy, from_prior
from molvae.search.trust_region import TrustRegion, from_box, replay, sparse_perturbations, to_box


@STRATEGIES.register("turbo")
class Turbo(Strategy):
    """One trust region in latent space, begun anew when it collapses.

    Parameters
    ----------
    initial: molecules drawn from the prior to begin with, and at each new beginning at most a batch of them.
    batch: molecules a round.
    candidates: latents on which a posterior sample is drawn.
    active: most evaluations the GP is fitted to, those nearest to the centre.
    """

    def __init__(
        self, space: SearchSpace, *, initial: int = 50, batch: int = 20, candidates: int = 1000, active: int = 256
    ) -> None:
        super().__init__(space, initial=initial, batch=batch)
        self.candidates = candidates
        self.active = active
        self._latent = PriorSample(space)

    def choose(self, history: History, n: int, seed: int) -> list[Proposal]:
        d = self.space.model.latent_size
        tolerance = math.ceil(max(4.0, d) / self.batch)
        region, first_round = replay(history, TrustRegion(failure_tolerance=max(2, tolerance)))
        x, y = self._data(history, first_round)
        if len(y) < 2:
            return from_prior(self.space, n, seed, history.known)
        centre = x[np.argmax(y)]
        near = np.sort(np.argsort(((x - centre) ** 2).sum(axis=1), kind="stable")[: self.active])
        picks = thompson_picks(x[near], y[near], centre, region.length, 4 * n, self.candidates, child_seed(seed, "turbo"))
        fresh: dict[str, Proposal] = {}
        unwanted = self.space.unwanted(history.known)
        for child in self._latent.decoded(from_box(picks, *self._latent.prior_moments), repaired=True):
            if child.smiles not in unwanted:
                fresh.setdefault(child.smiles, Proposal(child.smiles, "turbo", child.z))
        # A region whose molecules are all known has nothing more to give; draws from the prior keep the search moving.
        missing = n - len(fresh)
        known = history.known | fresh.keys()
        return [*list(fresh.values())[:n], *(from_prior(self.space, missing, seed, known) if missing > 0 else [])]

    def _data(self, history: History, first_round: int) -> tuple[np.ndarray, np.ndarray]:
        """Normalised latents (N, D) and scores (N,) of the measured molecules since `first_round` that have a latent."""
        evaluations = [e for e in history.evaluations if e.round >= first_round and not e.failed]
        parents = [Proposal(e.smiles, e.source, e.z) for e in evaluations]
        z = self._latent.latents(parents, keep_missing=True)
        have = np.isfinite(z).all(axis=1)
        x = to_box(z[have], *self._latent.prior_moments)
        return np.clip(x, 0.0, 1.0), np.array([e.score for e in evaluations])[have]


def thompson_picks(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, length: float, n: int, n_candidates: int, seed: int
) -> np.ndarray:
    """(n, D) maximisers of posterior samples in the trust region around `centre`, best sample value first.

    x: (N, D) in [0, 1], y: (N,) raw scores, centre: (D,). The box is stretched along long length-scales, its volume kept.
    """
    import torch  # heavy, and no other strategy needs BoTorch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs, targets = torch.from_numpy(x), torch.from_numpy(y)[:, None]
        model = SingleTaskGP(inputs, targets, outcome_transform=Standardize(1) if y.std() > 1e-9 else None)
        mll = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(mll, optimizer_kwargs={"options": {"maxiter": 40}})
        scales = model.covar_module.lengthscale.detach().numpy().ravel()
        weights = scales / np.exp(np.log(scales).mean())
        candidates = sparse_perturbations(centre, length * weights, n_candidates, stream(seed, "candidates"))
        with torch.no_grad():
            samples = model.posterior(torch.from_numpy(candidates)).rsample(torch.Size([n]))[..., 0].numpy()
    # Each sample's favourite; a candidate that an earlier sample has taken goes to nobody twice.
    taken: dict[int, None] = {}
    for sample in samples:
        sample[list(taken)] = -np.inf
        taken.setdefault(int(np.argmax(sample)))
    return candidates[list(taken)]
