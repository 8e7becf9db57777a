"""A search in sentences: what it found, how it compares with random screening, and which source found the best."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from molvae.report.run_files import Run, best_so_far, top_so_far

TOP = 10


def written(score: float) -> str:
    """A score for a reader: four decimals, or five digits of a large one; "" for NaN."""
    if score != score:
        return ""
    return f"{score:.4f}" if abs(score) < 10 else f"{score:.5g}"


@dataclass(frozen=True)
class SourceCredit:
    """What one source of proposals did: molecules measured, failures, the mean and the best score, its share of the top."""

    source: str
    calls: int
    failed: int
    mean: float
    best: float
    in_top: int


@dataclass(frozen=True)
class Summary:
    """The figures of a search; NaN where nothing has a value, None where there was no random screening.

    overtaken: the first call at which the search's ten best were at least as good as those of the whole random screening.
    """

    calls: int
    failed: int
    best: float
    top: float
    n_top: int
    floor_calls: int
    floor_best: float | None
    floor_top: float | None
    overtaken: int | None
    sources: list[SourceCredit]

    def sentences(self) -> list[str]:
        """The summary as a reader wants it, one thought a line."""
        failed = f", {self.failed} of them failed" if self.failed else ""
        found = f"Best score {written(self.best)}, mean of the best {self.n_top}: {written(self.top)}."
        lines = [f"{self.calls} oracle calls{failed}. {found}"]
        if self.floor_top is None:
            lines.append("Random screening of the same budget was not measured.")
        else:
            verdict = (
                f"the search passed that after {self.overtaken} calls."
                if self.overtaken is not None
                else "the search did not reach that."
            )
            lines.append(
                f"Random screening, {self.floor_calls} molecules drawn from the model: best {written(self.floor_best)}, "
                f"mean of the best {TOP}: {written(self.floor_top)}; {verdict}"
            )
        credit = ", ".join(f"{source.source} {source.in_top}" for source in self.sources if source.in_top)
        if credit:
            lines.append(f"The best {self.n_top} came from: {credit}.")
        return lines


def summarise(run: Run) -> Summary:
    """The figures of a run."""
    top = run.best(TOP)
    in_top = Counter(e.source for e in top)
    sources = []
    for source, calls in Counter(e.source for e in run.evaluations).items():
        scores = np.array([e.score for e in run.evaluations if e.source == source and not e.failed])
        mean, best = (float(scores.mean()), float(scores.max())) if len(scores) else (np.nan, np.nan)
        sources.append(SourceCredit(source, calls, calls - len(scores), mean, best, in_top[source]))
    curve = top_so_far(run.scores)
    floor_best = floor_top = overtaken = None
    if run.floor is not None and np.isfinite(run.floor).any():
        floor_best, floor_top = float(best_so_far(run.floor)[-1]), float(top_so_far(run.floor)[-1])
        # Fewer than ten values have a mean, too, but not one of ten.
        reached = (curve >= floor_top) & (np.cumsum(np.isfinite(run.scores)) >= TOP)
        overtaken = int(np.argmax(reached)) + 1 if reached.any() else None
    return Summary(
        calls=len(run.evaluations),
        failed=sum(e.failed for e in run.evaluations),
        best=top[0].score if top else np.nan,
        top=float(curve[-1]),
        n_top=len(top),
        floor_calls=0 if run.floor is None else len(run.floor),
        floor_best=floor_best,
        floor_top=floor_top,
        overtaken=overtaken,
        sources=sorted(sources, key=lambda s: (-s.in_top, -s.calls)),
    )
