"""What a search knows: proposals, evaluations, and the history of completed rounds.

A strategy sees nothing but a History and a seed, so whatever it needs (a trust-region length, the credit of a proposal
source) is recomputed from the rounds below, and a killed run goes on exactly where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Proposal:
    """A molecule a strategy would like to have measured.

    Attributes
    ----------
    smiles: any SMILES; the ledger writes it canonically.
    source: what made it ("prior", "graph_crossover", ...), for credit and for the report.
    z: (D,) float32 latent vector it was decoded from, or None if it came from elsewhere.
    """

    smiles: str
    source: str
    z: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One oracle call.

    Attributes
    ----------
    call: number of the call, from 1, in the order of the proposals.
    smiles: canonical isomeric SMILES.
    score: value of the objective, always to be maximised; NaN if the measurement failed.
    reason: why it failed; '' if it did not.
    components: raw values of the objective's parts by name.
    source: what proposed the molecule.
    round: number of the round, from 0.
    z: (D,) float32 latent vector the molecule was decoded from, or None.
    """

    call: int
    smiles: str
    score: float
    reason: str = ""
    components: dict[str, float] = field(default_factory=dict)
    source: str = ""
    round: int = 0
    z: np.ndarray | None = None

    @property
    def failed(self) -> bool:
        """Whether the measurement gave no value."""
        return math.isnan(self.score)


class History:
    """The evaluations of all completed rounds, in call order.

    Attributes
    ----------
    evaluations, smiles, sources: lists of length N. Treat them as read-only.
    n_rounds: completed rounds, those that brought nothing new included.
    in_flight: canonical SMILES that are being measured while this history is looked at, and have no value yet.
    """

    def __init__(
        self, evaluations: Iterable[Evaluation] = (), n_rounds: int | None = None, in_flight: Sequence[str] = ()
    ) -> None:
        self.evaluations: list[Evaluation] = []
        self.smiles: list[str] = []
        self.sources: list[str] = []
        self.n_rounds = 0
        self.in_flight = tuple(in_flight)
        self._known = set(in_flight)
        self._scores: list[float] = []
        self._rounds: list[int] = []
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None
        self._extend(evaluations)
        self.n_rounds = n_rounds if n_rounds is not None else max(self._rounds, default=-1) + 1

    def append_round(self, evaluations: Sequence[Evaluation]) -> None:
        """Add one completed round (possibly empty); its evaluations must carry the number `n_rounds`."""
        assert all(e.round == self.n_rounds for e in evaluations), "a round's evaluations carry its number"
        self._extend(evaluations)
        self.n_rounds += 1

    @property
    def scores(self) -> np.ndarray:
        """(N,) float64, read-only; NaN where the measurement failed."""
        return self._columns()[0]

    @property
    def rounds(self) -> np.ndarray:
        """(N,) int64, read-only: the round of each evaluation."""
        return self._columns()[1]

    @property
    def known(self) -> AbstractSet[str]:
        """Canonical SMILES that are measured or in flight: what need not be proposed. Read-only."""
        return self._known

    @property
    def incumbent(self) -> Evaluation | None:
        """The best evaluation (the earliest of equals), or None if nothing has a finite score."""
        best = self.best(1)
        return best[0] if best else None

    @property
    def scores_differ(self) -> bool:
        """Whether two molecules have different finite scores: until then nothing is known of what makes one better."""
        finite = self.scores[np.isfinite(self.scores)]
        return bool(len(finite)) and bool(finite.min() < finite.max())

    def best(self, k: int) -> list[Evaluation]:
        """Up to `k` evaluations with finite scores, best first; equal scores in call order."""
        order = np.argsort(-self.scores, kind="stable")  # NaN sorts last
        return [self.evaluations[i] for i in order[:k] if not self.evaluations[i].failed]

    def round(self, number: int) -> list[Evaluation]:
        """The evaluations of one round, in call order."""
        start, stop = np.searchsorted(self.rounds, [number, number + 1])
        return self.evaluations[start:stop]

    def before(self, n_rounds: int) -> History:
        """The history as it was after `n_rounds` completed rounds, for replays."""
        stop = int(np.searchsorted(self.rounds, n_rounds))
        return History(self.evaluations[:stop], n_rounds=min(n_rounds, self.n_rounds))

    def without_latents(self) -> History:
        """The same rounds for a model of other weights, in whose latent space the molecules lie elsewhere."""
        return History([replace(e, z=None) for e in self.evaluations], self.n_rounds, self.in_flight)

    def awaiting(self, in_flight: Sequence[str]) -> History:
        """The same rounds, while these molecules are being measured."""
        return History(self.evaluations, self.n_rounds, in_flight)

    def __len__(self) -> int:
        return len(self.evaluations)

    def _extend(self, evaluations: Iterable[Evaluation]) -> None:
        for evaluation in evaluations:
            assert not self._rounds or evaluation.round >= self._rounds[-1], "rounds come in order"
            assert evaluation.smiles not in self._known, "a molecule is measured once"
            self._known.add(evaluation.smiles)
            self.evaluations.append(evaluation)
            self.smiles.append(evaluation.smiles)
            self.sources.append(evaluation.source)
            self._scores.append(evaluation.score)
            self._rounds.append(evaluation.round)
        self._arrays = None

    def _columns(self) -> tuple[np.ndarray, np.ndarray]:
        if self._arrays is None:
            self._arrays = np.array(self._scores, dtype=np.float64), np.array(self._rounds, dtype=np.int64)
            for array in self._arrays:
                array.setflags(write=False)
        return self._arrays


def term_headings(terms: Sequence[str], taken: Sequence[str]) -> list[str]:
    """What the columns of an objective's terms are called: NAME, or "NAME (term)" beside another column of that name."""
    return [f"{name} (term)" if name in taken else name for name in terms]  # `score` is the name of many a function
