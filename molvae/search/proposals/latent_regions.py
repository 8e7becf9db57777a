"""Trust regions in latent space around several good molecules, with sparse perturbations, as a proposal source.

TuRBO (Eriksson et al., NeurIPS 2019) looks for candidates in a box around the best point, moves about twenty coordinates of
it at a time, and lets the side of the box follow success and failure; several boxes at once are its TuRBO-m. Here the
surrogate that judges the candidates is that of the search, on structure; what is taken over is where candidates come from.

A box that has hardly moved from another gives the same candidates twice, so an anchor must lie outside the boxes of the
better ones. Shapes: N elites, D latent dimensions, n children; latents in [0, 1]^D as in `trust_region.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from molvae.errors import ConfigError
from molvae.history import History, Proposal
from molvae.search.proposals.base import PROPOSALS
from molvae.search.proposals.latent import LatentSource
from molvae.search.space import SearchSpace
from molvae.search.trust_region import TrustRegion, from_box, replay_source, sparse_perturbations, to_box


@PROPOSALS.register("latent_trust_region")
class LatentTrustRegion(LatentSource):
    """Points of boxes around the latents of the best measured molecules that differ from these in few coordinates.

    All boxes have one side length. A round in which one of this source's molecules gets among the best `anchors` is a
    success, a round in which it had molecules measured and none did is a failure (`trust_region.replay_source`).

    Parameters
    ----------
    anchors: boxes, at most.
    elites: measured molecules, the best ones, among which anchors are looked for; parents where nothing is measured.
    failure_tolerance: failures in a row after which the side is halved.
    smallest: a side that falls below this is set back to 0.8: smaller boxes mostly decode to their anchors.
    """

    name = "latent_trust_region"

    def __init__(
        self,
        space: SearchSpace,
        *,
        anchors: int = 10,
        elites: int = 100,
        failure_tolerance: int = 5,
        smallest: float = 0.4,
    ) -> None:
        super().__init__(space)
        self.require_positive(anchors=anchors, elites=elites, failure_tolerance=failure_tolerance)
        if not 0.0 < smallest <= TrustRegion.length:
            raise ConfigError(f"{self.name}: smallest is {smallest}; give above 0 and at most {TrustRegion.length}.")
        self.anchors, self.elites = anchors, elites
        self.region = TrustRegion(failure_tolerance, length_min=smallest)

    def propose(
        self, parents: Sequence[Proposal], n: int, rng: np.random.Generator, history: History | None = None
    ) -> list[Proposal]:
        history = history if history is not None else History()
        region = replay_source(history, self.name, self.anchors, self.region)
        best = [Proposal(e.smiles, e.source, e.z) for e in history.best(self.elites)]
        x = np.clip(to_box(self.latents(best or parents, history), *self.prior_moments), 0.0, 1.0)
        if not len(x):
            return []
        centres = x[apart(x, region.length, self.anchors)]
        sides = np.full(x.shape[1], region.length)
        # As many children of each anchor, one more of the best ones.
        counts = [len(range(k, n, len(centres))) for k in range(len(centres))]
        points = [sparse_perturbations(c, sides, m, rng) for c, m in zip(centres, counts, strict=True)]
        return self.decoded(from_box(np.concatenate(points), *self.prior_moments), repaired=True)


def apart(x: np.ndarray, length: float, most: int) -> list[int]:
    """Rows of x (N, D), at most `most`, that lie outside each other's boxes of side `length`; the first row is one."""
    chosen: list[int] = []
    for i, row in enumerate(x):
        if len(chosen) < most and all(np.abs(row - x[k]).max() > length / 2.0 for k in chosen):
            chosen.append(i)
    return chosen
