"""The trade-offs of a goal with several terms: molecules that no other beats in one term without losing in another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from molvae.history import Evaluation, term_headings
from molvae.objective import VIOLATION
from molvae.oracles.modifiers import build_modifier
from molvae.report.run_files import Run


@dataclass(frozen=True)
class TradeOffs:
    """The Pareto set of a search, by call.

    terms: names of what is traded.  compared: the calls with a value of each, and every bound met.  undominated: those of
    them that none is at least as good as in all terms, and better in one; the highest score first.
    """

    terms: list[str]
    compared: list[Evaluation]
    undominated: list[Evaluation]

    def sentence(self) -> str:
        """What there is, for a reader."""
        return (
            f"{len(self.undominated)} of {len(self.compared)} molecules are undominated: none is better in one of "
            f"{', '.join(self.terms)} without being worse in another."
        )

    def columns(self) -> dict[str, list[Any]]:
        """The undominated molecules as a table, raw values."""
        found = self.undominated
        values = [[e.components[name] for e in found] for name in self.terms]
        about = {"score": [e.score for e in found], "call": [e.call for e in found], "source": [e.source for e in found]}
        about_first = {"smiles": [e.smiles for e in found]}
        headings = term_headings(self.terms, [*about_first, *about])
        return {**about_first, **dict(zip(headings, values, strict=True)), **about}


def trade_offs(run: Run) -> TradeOffs | None:
    """Those of a run; None for a goal of one term, or if nothing meets the bounds. Weights do not enter, transforms do."""
    terms = run.config.get("objective", {}).get("terms", [])
    names = [term["name"] for term in terms]
    compared = [
        e for e in run.evaluations if not e.failed and set(names) <= e.components.keys() and not e.components.get(VIOLATION)
    ]
    if len(terms) < 2 or not compared:
        return None
    goodness = np.array([[_goodness(term, e.components[term["name"]]) for term in terms] for e in compared])
    found = [compared[i] for i in undominated(goodness)]
    return TradeOffs(names, compared, sorted(found, key=lambda e: (-e.score, e.call)))


def _goodness(term: dict[str, Any], value: float) -> float:
    """As `objective.Term.goodness`, from a run's file, whose oracle may be gone."""
    settings = dict(term.get("transform", {"name": "identity"}))
    transformed = build_modifier(settings.pop("name"), settings)(value)
    return -transformed if term.get("direction") == "minimise" else transformed


def undominated(values: np.ndarray | Sequence[Sequence[float]]) -> list[int]:
    """The rows of (N, K) finite values, larger is better, that no other row dominates, in their order; equal rows all stay.

    A row that dominates another comes before it when rows are sorted, so one pass compares with the front alone.
    """
    values = np.asarray(values, float)
    front: list[int] = []
    for i in np.lexsort(-values.T[::-1]).tolist():
        others = values[front]
        if not ((others >= values[i]).all(1) & (others > values[i]).any(1)).any():
            front.append(i)
    return sorted(front)
