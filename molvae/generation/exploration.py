"""What latents are for: molecules on the way between two, and the neighbours of one at a wanted similarity.

Similarity is Tanimoto's on count Morgan fingerprints of radius 2 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from molvae.chem import Core, canonical, parse, sparse_counts, tanimoto
from molvae.errors import ConfigError, InvalidMolecule, nearest
from molvae.randomness import stream
from molvae.strings.tokens import Decoded

MODES = ("linear", "spherical")
_SCALES = tuple(0.05 * 1.5**k for k in range(12))  # noise that is tried for a wanted similarity: 0.05 to 4.3
_TRIED = 48  # latents decoded at each
_NEAR = 0.1  # difference of similarities, in the sense of a standard deviation


class Coder(Protocol):
    """What is asked of a model: `molvae.load` gives one."""

    def encode(self, smiles: Sequence[str]) -> np.ndarray: ...

    def explain(self, smiles: Sequence[str]) -> list[str]: ...

    def decode(self, z: np.ndarray) -> list[Decoded]: ...


@dataclass(frozen=True)
class Waypoint:
    """A place between two molecules.

    position: 0 at the first, 1 at the last.  decoded: the molecule there.  similarity_first, similarity_last: its
    similarity to either end, NaN where there is no valid molecule.
    """

    position: float
    decoded: Decoded
    similarity_first: float
    similarity_last: float


@dataclass(frozen=True)
class Neighbour:
    """A molecule near another: what was decoded, from which latent (D,) float32, and how similar the two are."""

    decoded: Decoded
    z: np.ndarray
    similarity: float


def interpolate(
    model: Coder, first: str, last: str, *, steps: int = 10, mode: str = "linear", unique: bool = True
) -> list[Waypoint]:
    """Molecules at `steps` even points from `first` to `last`, both ends included.

    mode: "linear", or "spherical" (White 2016, arXiv 1609.04468).  unique: leave out points whose molecule was met before on
    the way, and those without one.
    Raises InvalidMolecule for an end that has no latent, ConfigError for another mode or fewer than two steps.
    """
    if mode not in MODES:
        raise ConfigError(f"no interpolation mode {mode!r}.{nearest(mode, MODES)} Use linear or spherical.")
    if steps < 2:
        raise ConfigError(f"steps is {steps}; both ends are steps, so give at least 2.")
    a, b = _encoded(model, [first, last])
    t = np.linspace(0.0, 1.0, steps, dtype=np.float32)[:, None]
    if mode == "linear":
        points = (1 - t) * a + t * b
    else:
        cosine = float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))
        angle = max(float(np.arccos(cosine)), 1e-6)
        points = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    to_first, to_last = _Likeness(first), _Likeness(last)
    path, met = [], set()
    for position, decoded in zip(t[:, 0].tolist(), model.decode(points), strict=True):
        if unique and (decoded.smiles is None or decoded.smiles in met):
            continue
        met.add(decoded.smiles)
        path.append(Waypoint(position, decoded, to_first(decoded.smiles), to_last(decoded.smiles)))
    return path


def neighbours(
    model: Coder,
    smiles: str,
    n: int,
    *,
    similarity: float = 0.6,
    sigma: float | None = None,
    seed: int = 0,
    rounds: int = 10,
    keep: str = "",
) -> list[Neighbour]:
    """Up to n distinct valid molecules other than `smiles`, decoded from its posterior mean plus Gaussian noise.

    similarity: how similar they should be. Of a ladder of standard deviations that one is taken at which the most molecules
    are about so similar, and of all that were met the n nearest to it come back, most similar first. A model may write
    nothing that is so similar.
    sigma: the standard deviation itself; then they come back in the order in which they were met.
    rounds: draws of 2 n latents at most; fewer than n molecules come back if these find no more.
    keep: a core that all of them hold, as SMILES or SMARTS (`chem.Core`); others count as never met.
    Raises InvalidMolecule for a molecule that has no latent, ConfigError for a similarity outside (0, 1), a sigma below 0,
    or a core that the molecule itself does not hold.
    """
    if not 0.0 < similarity < 1.0:
        raise ConfigError(f"similarity is {similarity}; give a Tanimoto similarity between 0 and 1, such as 0.6.")
    if sigma is not None and not sigma > 0.0:
        raise ConfigError(f"sigma is {sigma}; give a standard deviation above 0.")
    search = _Neighbourhood(model, smiles, seed, Core(keep) if keep else None)
    scale = search.scale_for(similarity) if sigma is None else sigma
    for _ in range(rounds):
        near = (
            search.found if sigma is not None else [m for m in search.found if abs(m.similarity - similarity) <= _NEAR / 2]
        )
        if len(near) >= n:
            break
        search.draw(scale, 2 * n)
    if sigma is not None:
        return search.found[:n]
    best = sorted(search.found, key=lambda m: abs(m.similarity - similarity))[:n]
    return sorted(best, key=lambda m: -m.similarity)


class _Neighbourhood:
    """The neighbours of one molecule that have been met so far, in order."""

    def __init__(self, model: Coder, smiles: str, seed: int, core: Core | None = None) -> None:
        self._model, self._seed, self._draws, self._core = model, seed, 0, core
        (self._centre,) = _encoded(model, [smiles])
        if core is not None and not core.is_in(smiles):
            raise ConfigError(f"{smiles} does not hold the core {core.text}. Give a part of it, as SMILES or SMARTS.")
        self._likeness = _Likeness(smiles)
        self._smiles = canonical(smiles)
        self._similarity: dict[str, float] = {}
        self.found: list[Neighbour] = []

    def draw(self, scale: float, n: int) -> set[str]:
        """Decode n latents around the centre; keep what is new, and return every other molecule that was written."""
        noise = stream(self._seed, "neighbours", self._draws).standard_normal((n, len(self._centre)), np.float32)
        self._draws += 1
        points = self._centre + np.float32(scale) * noise
        written = set()
        for decoded, point in zip(self._model.decode(points), points, strict=True):
            if decoded.smiles is None or decoded.smiles == self._smiles:
                continue
            if self._core is not None and not self._core.is_in(decoded.smiles):
                continue
            written.add(decoded.smiles)
            if decoded.smiles not in self._similarity:
                self._similarity[decoded.smiles] = self._likeness(decoded.smiles)
                self.found.append(Neighbour(decoded, point, self._similarity[decoded.smiles]))
        return written

    def scale_for(self, similarity: float) -> float:
        """The noise, of those tried, that writes the most molecules of about this similarity."""

        def n_near(scale: float) -> float:
            apart = [self._similarity[smiles] - similarity for smiles in sorted(self.draw(scale, _TRIED))]
            return sum(math.exp(-0.5 * (d / _NEAR) ** 2) for d in apart)

        return max(_SCALES, key=n_near)


class _Likeness:
    """Similarity to one molecule; NaN for what is none."""

    def __init__(self, smiles: str) -> None:
        self._counts: Any = sparse_counts(parse(smiles), "morgan2")

    def __call__(self, smiles: str | None) -> float:
        return math.nan if smiles is None else tanimoto(self._counts, sparse_counts(parse(smiles), "morgan2"))


def _encoded(model: Coder, smiles: Sequence[str]) -> np.ndarray:
    z = model.encode(smiles)
    if np.isnan(z).any():
        text, reason = next((s, why) for s, why in zip(smiles, model.explain(smiles), strict=True) if why)
        raise InvalidMolecule(f"cannot encode {text!r}: {reason}.")
    return z
