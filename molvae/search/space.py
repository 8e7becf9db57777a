"""Where a search looks: a latent model that turns vectors into molecules, and the molecules to start from."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from molvae.strings.tokens import Decoded


class LatentModel(Protocol):
    """What a search asks of a trained model (`molvae.load`). Every method is a pure function of its arguments."""

    latent_size: int

    def encode(self, smiles: Sequence[str]) -> np.ndarray:
        """(N, D) float32 posterior means; a row of NaN where a molecule cannot be encoded."""
        ...

    def decode(self, z: np.ndarray, *, temperature: float = 0.0, seed: int = 0) -> list[Decoded]:
        """One molecule for each row of z (N, D); the likeliest tokens at temperature 0."""
        ...

    def sample_latents(self, n: int, *, seed: int) -> np.ndarray:
        """(n, D) float32 draws from the fitted prior."""
        ...

    def sample(self, n: int, *, seed: int, temperature: float = 0.0) -> list[Decoded]:
        """`n` decoded draws from the fitted prior."""
        ...


@dataclass(frozen=True)
class SearchSpace:
    """What a strategy is built on.

    model: proposes and decodes.
    start: canonical isomeric SMILES of the molecules the user starts from; empty to start from the model's prior.
    seed: the run's seed. A round's seed is given to `propose`; this one is for what must not change between rounds.
    demands: whether a molecule may be proposed, a function of its canonical SMILES; None if every one may.
    """

    model: LatentModel
    start: tuple[str, ...] = ()
    seed: int = 0
    demands: Callable[[str], bool] | None = None

    def wants(self, smiles: str) -> bool:
        """Whether a molecule may be measured."""
        return self.demands is None or self.demands(smiles)

    def unwanted(self, known: Container[str]) -> Container[str]:
        """What need not be proposed: what is known, and what may not be measured."""
        return known if self.demands is None else _Unwanted(self, known)

    @cached_property
    def latents(self) -> RoundLatents:
        """Latents of parents, shared by all that ask in a round."""
        return RoundLatents(self.model)


@dataclass(frozen=True)
class _Unwanted:
    space: SearchSpace
    known: Container[str]

    def __contains__(self, smiles: object) -> bool:
        return smiles in self.known or not self.space.wants(str(smiles))


class RoundLatents:
    """Latents of molecules that were not decoded from one, kept for the rest of a round and no longer: their last digits
    depend on the molecules that they were encoded with, and a search that was killed and goes on must find the same ones."""

    def __init__(self, model: LatentModel) -> None:
        self.model = model
        self._known: dict[str, np.ndarray] = {}
        self._round: object = None

    def of(self, smiles: Sequence[str], in_round: object) -> dict[str, np.ndarray]:
        """The (D,) float32 latent of each molecule, NaN where it cannot be encoded. in_round: what tells rounds apart; None
        remembers nothing."""
        if in_round is None or in_round != self._round:
            self._known, self._round = {}, in_round
        unknown = list(dict.fromkeys(s for s in smiles if s not in self._known))
        if unknown:
            self._known.update(zip(unknown, self.model.encode(unknown), strict=True))
        return self._known


def latent_model(model: str | LatentModel) -> LatentModel:
    """A model by name or path, or as it is. Raises CheckpointError for one that cannot be loaded."""
    if not isinstance(model, str):
        return model
    from molvae.generation.model import load  # heavy

    return load(model)


def trainable(model: LatentModel) -> bool:
    """Whether it has a network that can be trained: whether it is a `molvae.generation.model.Model`."""
    from molvae.generation.model import Model  # heavy

    return isinstance(model, Model)
