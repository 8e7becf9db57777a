"""The one door to an objective: budget, cache and journal in one SQLite file.

Proposals enter, evaluations leave. New molecules get their call numbers in proposal order, in one transaction, before
anything is measured; each value is committed the moment it returns. So a run killed at any time repeats at most what was
in flight: asked for the interrupted round again, the ledger gives back what it has and measures the rest.

The file is in WAL mode with synchronous=NORMAL: a commit survives the end of the process by whatever means. A power cut may
take the last few commits, never the file.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from molvae.chem.molecules import canonical
from molvae.errors import ConfigError, RunError
from molvae.history import Evaluation, History, Proposal
from molvae.oracles.base import Measurement
from molvae.workers import Executor, InProcess, Measurable

logger = logging.getLogger(__name__)

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluations (
    call INTEGER PRIMARY KEY, round INTEGER NOT NULL, smiles TEXT NOT NULL UNIQUE, source TEXT NOT NULL, z BLOB,
    score REAL, reason TEXT NOT NULL DEFAULT '', components TEXT NOT NULL DEFAULT '{}', state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (
    round INTEGER PRIMARY KEY, n_proposals INTEGER NOT NULL, n_new INTEGER NOT NULL, n_invalid INTEGER NOT NULL,
    n_repeat INTEGER NOT NULL, n_cached INTEGER NOT NULL, finished INTEGER NOT NULL);
"""


class DescribedObjective(Measurable, Protocol):
    """An objective that can say in plain values what it measures."""

    def describe(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Counters:
    """What went through the ledger. Only `calls` cost budget.

    calls: molecules handed to the objective, failures included.  failed: of these, those that gave no value.
    invalid: proposals that are no molecules.  repeats: molecules proposed twice in one round.
    cached: proposals measured in an earlier round.
    """

    proposals: int = 0
    calls: int = 0
    failed: int = 0
    invalid: int = 0
    repeats: int = 0
    cached: int = 0


class Ledger:
    """Budget, cache and journal of one search. A context manager; one process at a time.

    Parameters
    ----------
    path: the SQLite file; it is made, or continued if it is there.
    objective: what is measured; its description is kept, and a ledger of another objective is refused.
    budget: the most calls the ledger will ever hold; exactly met, never passed.
    executor: where measurements run; in this process by default. The caller closes it.

    Raises RunError for a file that is not a ledger, is of another objective or a newer format, is in use by another process,
    or cannot be written; ConfigError for a budget below the calls already spent.
    """

    def __init__(
        self, path: str | os.PathLike[str], objective: DescribedObjective, budget: int, executor: Executor | None = None
    ) -> None:
        self.path = Path(path)
        self.budget = budget
        self._executor = executor if executor is not None else InProcess(objective)
        self._lock = _lock(self.path.with_name(self.path.name + ".lock"))
        try:
            self._database = _open(self.path)
            self._check(objective.describe())
        except BaseException:
            self._lock.close()
            raise

    def evaluate(
        self, round: int, proposals: Sequence[Proposal], announced: Callable[[list[str]], None] | None = None
    ) -> list[Evaluation]:
        """Measure what is new among the proposals of a round, as far as the budget goes.

        announced: told the molecules of this round in call order, before they are measured; not if the budget cuts it short.

        Returns the evaluations of this round in call order, those from before an interruption included. The round counts as
        completed, unless the budget cut it short: then a larger budget completes it, and the run goes on as if it had
        never stopped.
        """
        is_cut = self._announce(round, proposals)
        if announced is not None and not is_cut:
            rows = self._database.execute("SELECT smiles FROM evaluations WHERE round = ? ORDER BY call", (round,))
            announced([smiles for (smiles,) in rows])
        pending = self._database.execute(
            "SELECT call, smiles FROM evaluations WHERE round = ? AND state = 'submitted' ORDER BY call", (round,)
        ).fetchall()
        for position, measurement in self._executor.measure([smiles for _, smiles in pending]):
            self._record(pending[position][0], measurement)
        if not is_cut:
            with self._database:
                self._database.execute("UPDATE rounds SET finished = 1 WHERE round = ?", (round,))
        return self._select("round = ?", round)

    @property
    def calls(self) -> int:
        """Calls spent, those in flight included."""
        return self._database.execute("SELECT COUNT(*) FROM evaluations").fetchone()[0]

    @property
    def remaining(self) -> int:
        """Calls left in the budget."""
        return self.budget - self.calls

    @property
    def pending(self) -> int:
        """Calls that were announced and have not returned: those an interruption left behind."""
        return self._database.execute("SELECT COUNT(*) FROM evaluations WHERE state = 'submitted'").fetchone()[0]

    @property
    def counters(self) -> Counters:
        """Totals over all rounds so far."""
        rounds = "SELECT TOTAL(n_proposals), TOTAL(n_invalid), TOTAL(n_repeat), TOTAL(n_cached) FROM rounds"
        proposals, invalid, repeats, cached = (int(n) for n in self._database.execute(rounds).fetchone())
        failed = "SELECT COUNT(*) FROM evaluations WHERE state = 'done' AND score IS NULL"
        return Counters(proposals, self.calls, self._database.execute(failed).fetchone()[0], invalid, repeats, cached)

    def history(self) -> History:
        """The completed rounds."""
        (n_rounds,) = self._database.execute("SELECT COUNT(*) FROM rounds WHERE finished = 1").fetchone()
        return History(self._select("round < ?", n_rounds), n_rounds=n_rounds)

    def evaluations(self) -> list[Evaluation]:
        """Every value that has returned, in call order, those of an unfinished round included."""
        return self._select("1")

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._database.close()
        self._lock.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, description: dict[str, Any]) -> None:
        text = json.dumps(description, sort_keys=True)
        known = dict(self._database.execute("SELECT key, value FROM meta"))
        if not known:
            with self._database:
                self._database.executemany("INSERT INTO meta VALUES (?, ?)", [("format", str(FORMAT)), ("objective", text)])
        elif int(known["format"]) > FORMAT:
            raise RunError(f"{self.path} has format {known['format']}, this molvae reads up to {FORMAT}. Upgrade molvae.")
        elif known["objective"] != text:
            raise RunError(f"{self.path} holds values of another objective. Choose another run directory with -o.")
        if self.budget < self.calls:
            raise ConfigError(f"budget is {self.budget}, but this run has already spent {self.calls} calls. Give as many.")

    def _announce(self, round: int, proposals: Sequence[Proposal]) -> bool:
        """Give the new molecules their call numbers; True if the budget cut some of them off."""
        earlier = dict(self._database.execute("SELECT smiles, round FROM evaluations"))
        call, left = len(earlier), self.budget - len(earlier)
        n_invalid = n_repeat = n_cached = n_new = 0
        is_cut = False
        rows, seen = [], set()
        for proposal in proposals:
            smiles = canonical(proposal.smiles)
            if smiles is None:
                n_invalid += 1
            elif smiles in seen:
                n_repeat += 1
            elif smiles in earlier and earlier[smiles] != round:
                n_cached += 1
            else:
                seen.add(smiles)
                n_new += 1
                if smiles in earlier:
                    continue  # this round was interrupted; the molecule has its number
                if len(rows) >= left:
                    is_cut = True
                    continue
                call += 1
                z = None if proposal.z is None else np.ascontiguousarray(proposal.z, dtype="<f4").tobytes()
                rows.append((call, round, smiles, proposal.source, z))
        counts = (round, len(proposals), n_new, n_invalid, n_repeat, n_cached)
        with self._database:
            self._database.executemany(
                "INSERT INTO evaluations (call, round, smiles, source, z, state) VALUES (?, ?, ?, ?, ?, 'submitted')", rows
            )
            self._database.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?, ?, 0)", counts)
        return is_cut

    def _record(self, call: int, measurement: Measurement) -> None:
        """Commit one value. What is not a finite number is a failure."""
        value, reason = float(measurement.value), measurement.reason
        if not math.isfinite(value):
            reason = reason or f"the objective returned {value}"
        components = {name: part if math.isfinite(part) else None for name, part in measurement.components.items()}
        with self._database:
            self._database.execute(
                "UPDATE evaluations SET score = ?, reason = ?, components = ?, state = 'done' WHERE call = ?",
                (value if math.isfinite(value) else None, reason, json.dumps(components), call),
            )

    def _select(self, where: str, *values: Any) -> list[Evaluation]:
        return _evaluations(self._database, where, *values)


def read_evaluations(path: str | os.PathLike[str]) -> list[Evaluation]:
    """Every value in a ledger file, in call order, without taking the ledger: a running search is not disturbed.

    Raises RunError for a file that is missing or not a ledger.
    """
    # A reader that may write clears away the WAL files it opened; "rw" does not make a file that is not there.
    mode = "rw" if os.access(Path(path).parent, os.W_OK) else "ro"
    try:
        database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode={mode}", uri=True)
        try:
            return _evaluations(database, "1")
        finally:
            database.close()
    except sqlite3.Error as error:
        raise RunError(f"{path} cannot be read as a molvae ledger ({error}). Check the run directory.") from error


def _evaluations(database: sqlite3.Connection, where: str, *values: Any) -> list[Evaluation]:
    rows = database.execute(
        "SELECT call, smiles, score, reason, components, source, round, z FROM evaluations "
        f"WHERE state = 'done' AND ({where}) ORDER BY call",
        values,
    )
    return [
        Evaluation(
            call=call,
            smiles=smiles,
            score=math.nan if score is None else score,
            reason=reason,
            components={k: math.nan if v is None else float(v) for k, v in json.loads(components).items()},
            source=source,
            round=number,
            z=None if z is None else np.frombuffer(z, dtype="<f4").astype(np.float32),
        )
        for call, smiles, score, reason, components, source, number, z in rows
    ]


def _lock(path: Path) -> sqlite3.Connection:
    """A connection that holds `path` for itself until it is closed or its process ends, by whatever means."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
    except (OSError, sqlite3.Error) as error:
        if "locked" in str(error):
            raise RunError(f"{path.parent} is in use by another molvae process. Wait for it, or use another -o.") from error
        raise RunError(f"cannot write {path}: {error}. Choose another place with -o.") from error
    return connection


def _open(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path} is not a molvae ledger that can be continued ({error}). Choose another -o.") from error
    return database
