"""The first pass over the files of a data set: each row standardised, written in SELFIES, and marked if it repeats another.

Rows go to a temporary Parquet file; in memory stay 8 bytes a molecule to tell duplicates by, and its scaffold if wanted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from molvae.data.derivation import Standard, Standardised, Written, encode_rows, write_rows
from molvae.data.files import RowGroups
from molvae.data.splits import PARTS, TRAIN, UNUSED, GivenSplit
from molvae.data.tables import Layout, Row, read_rows
from molvae.errors import DataError
from molvae.processes import Pool

CHUNK = 500  # rows a job: half a second of work, so that Ctrl-C is quick
SPILLED = 16_384  # rows a row group of the temporary file
DUPLICATE = "a duplicate of an earlier row"


@dataclass
class FirstPass:
    """What the first pass found.

    rows: in all.  parts: (n,) int8, the given part of each molecule that can be used.  scaffolds: (n,) int64 or (0,).
    symbols: all SELFIES symbols.  reasons: how many rows cannot be used, by reason.
    """

    rows: int = 0
    parts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    scaffolds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    symbols: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Source:
    """One file of molecules, and the part of the split that it is; TRAIN for the main file, which may be split itself."""

    path: str
    layout: Layout
    part: int = TRAIN


def standardise_sources(
    sources: Sequence[Source],
    spill: Path,
    standard: Standard,
    *,
    dedup: bool,
    given: GivenSplit | None,
    pool: Pool,
    done: Callable[[int], None],
) -> FirstPass:
    """Write all rows to `spill`, in order; columns: file (its number), row, line, input, smiles, selfies, reason.

    The reason is "" for a row that can be used. The input of an SDF record is its title. Rows are numbered through all
    sources, from 0. A row that repeats an earlier one is written as SMILES, and mostly not in SELFIES: what is known by the
    time that it is read is not encoded again. What the file says does not depend on it.
    done: hears the number of rows so far. Raises DataError for a broken source, or parts of a split that overlap.
    """
    waiting: deque[tuple[int, list[Row]]] = deque()

    def jobs() -> Iterator[tuple[Standard, list[str], bool]]:
        for number, source in enumerate(sources):
            for rows in _chunks(read_rows(source.path, source.layout)):
                waiting.append((number, rows))
                yield standard, [row.text for row in rows], source.layout.ending == ".sdf"

    mark = _Marker(dedup, given)

    def writings() -> Iterator[tuple[Standard, Written, np.ndarray]]:
        for written in pool.in_order(write_rows, jobs()):
            is_known = mark.has(written.keys) if standard.key == "smiles" else np.zeros(len(written.keys), bool)
            yield standard, written, is_known

    found = FirstPass()
    parts, scaffolds = [found.parts], [found.scaffolds]
    with _spilled(spill) as out:
        for chunk in pool.in_order(encode_rows, writings()):
            number, rows = waiting.popleft()
            part = mark(sources[number], rows, chunk)
            is_sdf = sources[number].layout.ending == ".sdf"
            inputs = [row.name if is_sdf else row.text for row in rows]
            places = [number] * len(rows), range(found.rows, found.rows + len(rows)), [row.line for row in rows]
            out.add(*places, inputs, chunk.smiles, chunk.selfies, chunk.reasons)
            usable = np.array([not reason for reason in chunk.reasons], bool)
            parts.append(part[usable])
            if standard.scaffolds:
                scaffolds.append(chunk.scaffolds[usable])
            found.rows += len(rows)
            found.symbols |= chunk.symbols
            found.reasons.update(reason for reason in chunk.reasons if reason)
            done(found.rows)
    if given and given.largest >= found.rows:
        raise DataError(f"{given.path} names row {given.largest}, but {sources[0].path} has rows 0 to {found.rows - 1}.")
    found.parts, found.scaffolds = np.concatenate(parts), np.concatenate(scaffolds)
    return found


class Seen:
    """A set of int64 hashes, 8 bytes each: sorted runs, of which two of about the same size become one."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def has(self, keys: np.ndarray) -> np.ndarray:
        """(n,) bool: which of the keys (n,) are in the set."""
        found = np.zeros(len(keys), bool)
        for run in self._runs:
            found |= run[np.minimum(run.searchsorted(keys), len(run) - 1)] == keys
        return found

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Put keys (n,) in; (n,) bool: which of them were not there before, the first of equals counting."""
        new = np.zeros(len(keys), bool)
        new[np.unique(keys, return_index=True)[1]] = True
        new &= ~self.has(keys)
        if new.any():
            self._runs.append(np.sort(keys[new]))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]))
        return new


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Marker:
    """Marks duplicates and rows outside a given split, and refuses a molecule that is in two parts of it."""

    def __init__(self, dedup: bool, given: GivenSplit | None) -> None:
        self._dedup, self._given = dedup, given
        self._seen = {part: Seen() for part in range(UNUSED)}

    def has(self, keys: np.ndarray) -> np.ndarray:
        """(n,) bool: which of the keys (n,) are those of rows before; none if duplicates are not looked for."""
        found = [seen.has(keys) for seen in self._seen.values()] if self._dedup else [np.zeros(len(keys), bool)]
        return np.logical_or.reduce(found)

    def __call__(self, source: Source, rows: list[Row], chunk: Standardised) -> np.ndarray:
        """(n,) int8 parts of a chunk, whose `reasons` this fills in."""
        parts = np.full(len(rows), source.part, np.int8)
        if self._given:
            parts = self._given.parts(np.array([row.number - 1 for row in rows]))
            for i in np.flatnonzero(parts == UNUSED):
                chunk.reasons[i] = chunk.reasons[i] or "in no part of the split"
        for part in np.unique(parts[parts != UNUSED]).tolist():
            here = np.array([i for i, reason in enumerate(chunk.reasons) if not reason and parts[i] == part], np.int64)
            new = self._seen[part].add(chunk.keys[here])
            for other, seen in self._seen.items():
                both = here[seen.has(chunk.keys[here])] if other != part else here[:0]
                if len(both):
                    raise DataError(
                        f"the parts of the split overlap: {chunk.smiles[both[0]]}, in line {rows[both[0]].line} of "
                        f"{source.path}, is a molecule of the {PARTS[part]} part and of the {PARTS[other]} part. "
                        "Keep it in one of them."
                    )
            if self._dedup:
                for i in here[~new]:
                    chunk.reasons[i] = DUPLICATE
        return parts


def _spilled(path: Path) -> RowGroups:
    """The temporary file between the passes: every row with where it is, its input, and its SELFIES or the reason."""
    import pyarrow

    numbers = dict.fromkeys(("file", "row", "line"), pyarrow.int64())
    texts = dict.fromkeys(("input", "smiles", "selfies", "reason"), pyarrow.string())
    return RowGroups(path, pyarrow.schema({**numbers, **texts}), SPILLED, use_dictionary=["reason"])
