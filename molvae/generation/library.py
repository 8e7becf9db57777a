"""generate(): a library of exactly n molecules drawn from a model, each stage of attrition counted, with reasons.

The network draws blocks of strings while worker processes turn the strings of earlier blocks into molecules and properties
(`candidates`).
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from molvae.chem import PROPERTIES, property_named
from molvae.data.molecule_table import MoleculeTable
from molvae.errors import ConfigError
from molvae.generation.candidates import Candidate, Plan, examine, examine_share, prepare
from molvae.generation.conditioning import Achieved, achieved
from molvae.generation.filters import Holds, read_filters
from molvae.processes import begin_yielding_worker
from molvae.randomness import child_seed

if TYPE_CHECKING:
    from molvae.generation.model import Model

DEFAULT_PROPERTIES = ("QED", "logP", "SA", "MW", "TPSA", "HBD", "HBA", "rings", "rotatable_bonds")

_FIRST_BLOCK, _LARGEST_BLOCK = 128, 512  # strings drawn at once; the schedule does not depend on n, so -n 10 begins -n 1000
_SHARE = 64  # strings a job for a worker
_AHEAD = 8  # jobs a worker that the network may be ahead


@dataclass
class Funnel:
    """How many molecules were left after each stage, and why the others went.

    names: the stages in order, "drawn" first.  left: molecules that passed each.  reasons: of those each stage took away.
    """

    names: list[str]
    left: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)

    def passed(self, stage: str) -> None:
        """Count a molecule that passed `stage`."""
        self.left[stage] += 1

    def lost(self, stage: str, reasons: Sequence[str]) -> None:
        """Count a molecule that `stage` took away; it may have several reasons."""
        self.reasons.setdefault(stage, Counter()).update(reasons)

    def lines(self, n_reasons: int = 3) -> list[str]:
        """The funnel as aligned text: stage, molecules left, molecules lost, the most frequent reasons."""
        width = max(map(len, self.names))
        lines, before = [], 0
        for name in self.names:
            line = f"{name:<{width}}  {self.left[name]:>9,}"
            if name != self.names[0] and before > self.left[name]:
                line += f"  -{before - self.left[name]:,}"
                why = [f"{reason} {count:,}" for reason, count in self.reasons.get(name, Counter()).most_common(n_reasons)]
                line += f": {'; '.join(why)}" if why else ""
            lines.append(line)
            before = self.left[name]
        return lines


@dataclass(frozen=True)
class Library(MoleculeTable):
    """What `generate` made.

    columns: name -> values, `smiles` first, one row a molecule.  n_wanted: molecules asked for.  funnel: what was drawn and
    what was dropped.  statement: why there are fewer molecules than asked for; "" if there are not.
    condition: the property values that the model was asked for, if it was.
    """

    columns: dict[str, list[Any]]
    n_wanted: int
    funnel: Funnel
    statement: str = ""
    condition: Mapping[str, float] = field(default_factory=dict)

    @property
    def achieved(self) -> dict[str, Achieved]:
        """Target against achieved, by property of the condition; empty without one."""
        return achieved(self.columns, self.condition)


def generate(
    n: int,
    *,
    model: str | Model = "zinc250k",
    seed: int = 0,
    prior: str | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    unique: bool = False,
    novel: bool = False,
    filters: Sequence[str] = (),
    keep: str = "",
    keep_unfaithful: bool = False,
    properties: Sequence[str] = DEFAULT_PROPERTIES,
    max_draws: int | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    condition: Mapping[str, float] | None = None,
    guidance: float = 1.0,
) -> Library:
    """Draw molecules from a model's prior until n have passed every filter, or `max_draws` are drawn.

    Parameters
    ----------
    model: name or path of a trained model, or a loaded one.  prior: a fitted prior of it, the preferred one by default.
    temperature: 0 writes the likeliest token each time; above 0 tokens are drawn, from the nucleus `top_p`.
    unique: no molecule twice.  novel: none from the training set.  filters: see `filters.read_filters`.
    keep: a core that every molecule must hold, as SMILES or SMARTS (`chem.Core`). Draws know nothing of it: most are lost.
    keep_unfaithful: keep molecules that the SELFIES grammar had to repair; they are dropped otherwise.
    properties: columns to compute (names of `chem.PROPERTIES`).
    max_draws: 50 n + 5,000 by default.  workers: processes for the RDKit work; a script that uses them must call this under
    `if __name__ == "__main__":`. The molecules do not depend on their number, and those of a smaller n come first.
    progress: called with (molecules kept, n).
    condition: property values to ask a conditional model for, in their own units, such as {"logP": 2.5}; each is a column,
    too.  guidance: how hard it is pulled towards them; see `Model.conditioned`.

    Raises ConfigError for wrong settings, CheckpointError for a model that cannot be loaded.

    >>> library = generate(100, seed=7, filters=["sane", "SA<=4"])      # doctest: +SKIP
    >>> library.save("library.csv")                                     # doctest: +SKIP
    """
    if n < 1:
        raise ConfigError(f"n is {n}; ask for at least 1 molecule.")
    if temperature < 0 or not 0 < top_p <= 1:
        raise ConfigError(f"temperature is {temperature} and top_p {top_p}; give temperature >= 0 and 0 < top_p <= 1.")
    if guidance != 1.0 and not condition:
        raise ConfigError(f"guidance {guidance:g} pulls towards a condition, and none is given. Give one, such as logP=2.5.")
    for name in properties:
        property_named(name)
    asked = dict(condition or {})
    properties = tuple(dict.fromkeys([*properties, *(name for name in asked if name in PROPERTIES)]))
    limit = 50 * n + 5000 if max_draws is None else max_draws
    wanted = [*([Holds(keep)] if keep else []), *read_filters(filters)]
    with _started(workers, properties) as pool:
        if isinstance(model, str | os.PathLike):
            from molvae.generation.model import load  # torch: while the workers load RDKit

            model = load(model)
        if asked:
            model = model.conditioned(asked, guidance)
        order = Plan(model.vocabulary, tuple(wanted), tuple(properties), model.ring_systems or None, keep_unfaithful)
        stages = ["drawn", "valid", *([] if keep_unfaithful else ["faithful"])]
        stages += [*(["unique"] if unique else []), *(["novel"] if novel else []), *map(str, wanted)]
        funnel = Funnel(stages)
        kept: list[Candidate] = []
        seen: set[str] = set()

        def draw(block: int, size: int) -> list[str]:
            z = model.sample_latents(size, seed=child_seed(seed, "library", block), prior=prior)
            return model.write(z, temperature=temperature, top_p=top_p, seed=child_seed(seed, "library", block, "decode"))

        def is_enough(n_waiting: int) -> bool:
            """Whether what is drawn already will do, if the share that passes stays as it was."""
            drawn = funnel.left["drawn"]
            return len(kept) + n_waiting * (len(kept) / drawn if drawn else 1.0) >= n

        candidates = _examined(draw, order, limit, pool, workers, is_enough)
        with closing(candidates):
            for candidate in candidates:
                if _passes(candidate, funnel, seen, model.is_training_molecule if novel else None, unique):
                    kept.append(candidate)
                    if progress and (len(kept) % 50 == 0 or len(kept) == n):
                        progress(len(kept), n)
                if len(kept) == n:
                    break
    columns: dict[str, list[Any]] = {"smiles": [c.smiles for c in kept]}
    if keep_unfaithful:
        columns["faithful"] = [c.faithful for c in kept]
    for name in properties:
        columns[name] = [c.properties[name] for c in kept]
    return Library(columns, n, funnel, _shortfall(n, len(kept), funnel), asked)


def _passes(
    candidate: Candidate,
    funnel: Funnel,
    seen: set[str],
    is_training: Callable[[Sequence[str]], np.ndarray] | None,
    unique: bool,
) -> bool:
    """Send one candidate through the stages, counting it at each."""
    for stage in funnel.names:
        reasons: Sequence[str] | None = None
        if stage in candidate.failed:
            reasons = candidate.failed[stage]
        elif stage == "unique" and candidate.smiles in seen:
            reasons = ["drawn before"]
        elif stage == "novel" and is_training is not None and is_training([candidate.smiles])[0]:
            reasons = ["in the training set"]
        if reasons is not None:
            funnel.lost(stage, reasons)
            return False
        funnel.passed(stage)
        if stage == "unique" and unique:
            seen.add(candidate.smiles)
    return True


def _shortfall(n: int, n_kept: int, funnel: Funnel) -> str:
    if n_kept == n:
        return ""
    drawn = funnel.left["drawn"]
    losses = {
        name: funnel.left[before] - funnel.left[name] for before, name in zip(funnel.names, funnel.names[1:], strict=False)
    }
    worst = max(losses, key=lambda name: losses[name])
    return (
        f"only {n_kept:,} of {n:,} molecules were found among {drawn:,} draws; most were lost at {worst!r} "
        f"({losses[worst]:,}). Loosen that filter, or allow more with --max-draws."
    )


@contextmanager
def _started(workers: int, properties: Sequence[str]) -> Iterator[ProcessPoolExecutor | None]:
    """A pool whose workers are loading what they need; None for no workers. What was drawn ahead is dropped on leaving."""
    if not workers:
        yield None
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=begin_yielding_worker)
    try:
        for _ in range(workers):
            pool.submit(prepare, properties)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _examined(
    draw: Callable[[int, int], list[str]],
    plan: Plan,
    limit: int,
    pool: ProcessPoolExecutor | None,
    workers: int,
    is_enough: Callable[[int], bool],
) -> Iterator[Candidate]:
    """At most `limit` candidates in the order in which they are drawn.

    With workers, the network draws while they are busy: at most `_AHEAD` jobs a worker more than they have done, and no
    more than will be enough.
    """
    waiting: deque[Future[list[Candidate]]] = deque()
    for strings in _blocks(draw, limit):
        for part in _shares(strings):
            if pool is None:
                yield from examine(plan, part)
            else:
                waiting.append(pool.submit(examine_share, (plan, part)))
        while waiting and (waiting[0].done() or len(waiting) > _AHEAD * workers or is_enough(_SHARE * len(waiting))):
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _shares(strings: Sequence[str]) -> Iterator[Sequence[str]]:
    return (strings[i : i + _SHARE] for i in range(0, len(strings), _SHARE))


def _blocks(draw: Callable[[int, int], list[str]], limit: int) -> Iterator[list[str]]:
    block = drawn = 0
    while drawn < limit:
        size = min(_FIRST_BLOCK << min(block, 16), _LARGEST_BLOCK)
        yield draw(block, size)[: limit - drawn]
        drawn += size
        block += 1
