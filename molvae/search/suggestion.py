"""`suggest`: the next molecules for a laboratory to measure, from tables of what it has measured so far.

The tables are the whole memory: a strategy is a pure function of the history, so the next round needs no run directory. What
was suggested and has no value yet is not suggested again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from molvae.chem import Core, canonical, parse, properties, sparse_counts, tanimoto
from molvae.data.molecule_table import MoleculeTable
from molvae.errors import ConfigError, UnknownName
from molvae.history import Evaluation, History, Proposal
from molvae.objective import Objective
from molvae.oracles.base import ORACLES
from molvae.randomness import child_seed
from molvae.search.demands import Demands
from molvae.search.expectation import Check, expect
from molvae.search.loop import STALL_ROUNDS, own_random_state
from molvae.search.measured import SOURCE, START, WAITING, Column, Measured, Table, read_measured
from molvae.search.space import LatentModel, SearchSpace, latent_model
from molvae.search.strategies.base import STRATEGIES, Strategy

if TYPE_CHECKING:
    pass

PROPERTIES = ("QED", "SA", "logP", "MW")  # columns of what is suggested, for the eye
EXPECTED, SPREAD, NEAREST, SIMILARITY = "expected", "sd", "nearest", "similarity"


@dataclass(frozen=True)
class Suggestions(MoleculeTable):
    """What to measure next.

    columns: name -> values, `smiles` first, then an empty column for each thing to measure; `source`; what the surrogate
    expects, with a standard deviation; the nearest measured molecule and the Tanimoto similarity to it (count Morgan, radius
    2); properties.
    n_wanted: molecules asked for.  objective: what is wanted.  history: what the tables told, the suggestions last.
    measured: the tables.
    check: None while there are too few values.  refused: in words, what candidates were refused, and why; "" if none.
    """

    columns: dict[str, list[Any]]
    n_wanted: int
    objective: Objective
    history: History
    measured: Measured
    check: Check | None
    refused: str = ""

    @property
    def computed(self) -> list[str]:
        """The terms and bounds that are not in the tables."""
        parts = (*self.objective.terms, *self.objective.constraints)
        return list(dict.fromkeys(part.name for part in parts if not isinstance(part.oracle, Column)))

    @property
    def known(self) -> list[Evaluation]:
        """The molecules of the tables."""
        return self.history.evaluations[: len(self.measured.smiles)]

    @property
    def waiting(self) -> list[Evaluation]:
        """Those of them that have no value yet."""
        return [e for e in self.known if e.failed and WAITING in e.reason]

    @property
    def failed(self) -> list[Evaluation]:
        """Those that were measured without giving a value."""
        return [e for e in self.known if e.failed and WAITING not in e.reason]

    @property
    def statement(self) -> str:
        """Why there are fewer molecules than asked for; "" if there are not."""
        if len(self) == self.n_wanted:
            return ""
        found = f"only {len(self)} of {self.n_wanted} molecules were found; the last {STALL_ROUNDS} rounds brought no other."
        return f"{found} {self.refused}. Keep less, or loosen the filters." if self.refused else found


def suggest(
    measured: Table | Sequence[Table],
    *,
    n: int = 10,
    maximise: Sequence[str] = (),
    minimise: Sequence[str] = (),
    constraints: Sequence[str] = (),
    keep: str = "",
    filters: Sequence[str] = (),
    strategy: str = "default",
    settings: Mapping[str, Any] | None = None,
    model: str | LatentModel = "zinc250k",
    seed: int = 0,
    smiles_col: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Suggestions:
    """Choose the `n` molecules to measure next.

    Parameters
    ----------
    measured: what has been measured, in order: files (.csv, .tsv, .parquet) or DataFrames, one or several. Cells may be
        empty; a table that `suggest` made goes in when its values are filled in.
    maximise, minimise, constraints: as of `Objective.from_specs`, where the name of a column is an oracle, too; one of the
        terms must be. A built-in oracle of the same name comes first.
    keep: a substructure that every molecule must hold (`chem.Core`); some measured molecule must hold it.
    filters: what it must pass besides (`generation.filters.read_filters`).
    strategy, settings, model: as of `optimize`.  seed: the same tables and seed give the same molecules.
    smiles_col: the SMILES column of the tables.  progress: called with (molecules chosen, n).

    Raises ConfigError for wrong settings, UnknownName for a name that is no oracle and no column, DataError for a table that
    cannot be read, and CheckpointError for a model that cannot be loaded.

    >>> suggestions = suggest("measured.csv", n=12, maximise=["pIC50"], filters=["sane"])     # doctest: +SKIP
    >>> suggestions.save("order.csv")                                                         # doctest: +SKIP
    """
    if n < 1:
        raise ConfigError(f"n is {n}; ask for at least 1 molecule.")
    tables = read_measured(measured, smiles_col)
    objective = _objective(tables, maximise, minimise, constraints)
    core = _core(keep, tables.smiles)
    loaded = latent_model(model)
    start = tuple(s for s, source in zip(tables.smiles, tables.sources, strict=True) if source == START)
    demands = Demands(core, filters, loaded)
    space = SearchSpace(loaded, start=start, seed=seed, demands=demands or None)
    chooser = STRATEGIES.build(strategy, settings or {}, space)
    history = tables.history(objective)
    chosen = _chosen(chooser, history, n, seed, progress)
    smiles = [p.smiles for p in chosen]
    expected = expect(history, smiles, objective, seed)
    columns: dict[str, list[Any]] = {"smiles": smiles}
    columns |= {name: [None] * len(smiles) for name in _to_measure(objective)}
    columns |= {SOURCE: [p.source for p in chosen], EXPECTED: expected.mean, SPREAD: expected.sd}
    columns |= _nearest(smiles, history)
    described = [properties(parse(s), PROPERTIES) for s in smiles]
    columns |= {name: [round(float(known[name]), 4) for known in described] for name in PROPERTIES if name not in columns}
    return Suggestions(columns, n, objective, history, tables, expected.check, demands.told())


def _objective(tables: Measured, maximise: Sequence[str], minimise: Sequence[str], constraints: Sequence[str]) -> Objective:
    own = {name: column for name, column in tables.columns.items() if name not in ORACLES}
    has = ", ".join(["smiles", *tables.columns][:12])
    try:
        objective = Objective.from_specs(maximise=maximise, minimise=minimise, constraints=constraints, oracles=own)
    except UnknownName as error:
        raise UnknownName(f"the tables have the columns {has}, and there is {error}") from error
    if not any(isinstance(term.oracle, Column) for term in objective.terms):
        twice = [term.spec for term in objective.terms if term.spec in tables.columns]
        raise ConfigError(
            f"{twice[0]!r} is a built-in oracle, which comes before a column of that name. Rename the column."
            if twice
            else f"nothing that is to be maximised or minimised is a column of the tables (they have: {has}). "
            "For a score that a program computes there is `molvae optimize`."
        )
    for name in _to_measure(objective):
        if name in (SOURCE, EXPECTED, SPREAD, NEAREST, SIMILARITY):
            raise ConfigError(f"{name!r} is a column that `suggest` writes, and cannot be what is measured. Rename it.")
    return objective


def _to_measure(objective: Objective) -> list[str]:
    """The columns that it reads."""
    parts = (*objective.terms, *objective.constraints)
    return list(dict.fromkeys(part.spec for part in parts if isinstance(part.oracle, Column)))


def _core(keep: str, smiles: Sequence[str]) -> Core | None:
    if not keep:
        return None
    core = Core(keep)
    if not any(map(core.is_in, smiles)):
        raise ConfigError(
            f"no molecule of the tables holds {keep} (read as {core.language}). Give one that does, or keep less."
        )
    return core


def _chosen(
    chooser: Strategy, history: History, n: int, seed: int, progress: Callable[[int, int], None] | None
) -> list[Proposal]:
    """Rounds of a strategy, none of which learns a value, until there are n molecules; each is added to the history.

    A strategy is asked for half of them at once, for one that changes from round to round between what it trusts and what
    it does not know: so a laboratory's batch holds both.
    """
    chosen: list[Proposal] = []
    n_dry = 0
    while len(chosen) < n and n_dry < STALL_ROUNDS:
        number = history.n_rounds
        round_seed = child_seed(seed, "round", number)
        with own_random_state(round_seed):
            proposed = chooser.propose(history, min(-(-n // 2), n - len(chosen)), round_seed)
        proposals = _new(proposed, history)
        first = len(history) + 1
        history.append_round(
            [
                Evaluation(call, p.smiles, math.nan, WAITING, source=p.source, round=number, z=p.z)
                for call, p in enumerate(proposals, first)
            ]
        )
        chosen += proposals
        n_dry = 0 if proposals else n_dry + 1
        if progress is not None:
            progress(len(chosen), n)
    return chosen


def _new(proposals: Sequence[Proposal], history: History) -> list[Proposal]:
    """Those that are molecules and not known, written canonically: what a search's ledger sees to."""
    found: dict[str, Proposal] = {}
    for proposal in proposals:
        written = canonical(proposal.smiles)
        if written is not None and written not in history.known:
            found.setdefault(written, replace(proposal, smiles=written))
    return list(found.values())


def _nearest(smiles: Sequence[str], history: History) -> dict[str, list[Any]]:
    """The most similar molecule that has a value, and the similarity to it."""
    known = [(e.smiles, sparse_counts(parse(e.smiles), "morgan2")) for e in history.evaluations if not e.failed]
    found: dict[str, list[Any]] = {NEAREST: [], SIMILARITY: []}
    for one in smiles:
        counts = sparse_counts(parse(one), "morgan2")
        similarity, nearest = max(((tanimoto(counts, other), s) for s, other in known), default=(math.nan, None))
        found[NEAREST].append(nearest)
        found[SIMILARITY].append(round(float(similarity), 4))
    return found
