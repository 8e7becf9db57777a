"""Measurements that a laboratory made: tables of molecules with a column for each thing measured, one table a round.

A cell is a number, or empty where nobody has measured yet, or text where there is no value ("n.d.", ">100").
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from molvae.chem import canonical
from molvae.data.columns import read_columns
from molvae.data.tables import no_column, stated_layout
from molvae.errors import ConfigError, DataError
from molvae.history import Evaluation, History
from molvae.objective import Objective
from molvae.oracles.base import Measurement, Oracle

WAITING = "not measured yet"
START, SOURCE = "start", "source"  # where molecules come from that nobody proposed; the column that says it of others

Table = str | os.PathLike[str] | Mapping[str, Sequence[Any]]  # a file, or a mapping such as a pandas DataFrame


@dataclass(frozen=True, eq=False)
class Column(Oracle):
    """A column as an oracle: of each canonical SMILES the cells that are not empty. Repeated measurements are averaged."""

    cells: dict[str, list[float | str]] = field(default_factory=dict)

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        return [self._of(self.cells.get(one, [])) for one in smiles]

    @staticmethod
    def _of(cells: Sequence[float | str]) -> Measurement:
        numbers = [cell for cell in cells if isinstance(cell, float) and math.isfinite(cell)]
        if numbers:
            return Measurement.of(sum(numbers) / len(numbers))
        return Measurement.of(cells[0]) if cells else Measurement.failed(WAITING)


@dataclass(frozen=True)
class Measured:
    """What tables say.

    smiles: canonical isomeric SMILES of N distinct molecules, in the order of the tables, those that nobody proposed first.
    rounds: (N,) 0 for these, else the table that each was first in, from 1.  sources: (N,) what proposed each, START for
    those that nobody did.  columns: by name.
    left_out: a sentence for each row that is no molecule.  repeated: rows of a molecule that was there before.
    """

    smiles: list[str]
    rounds: list[int]
    sources: list[str]
    columns: dict[str, Column]
    left_out: list[str]
    repeated: int

    def history(self, objective: Objective) -> History:
        """The molecules with their scores; a score is NaN where something is not measured yet, or has no value."""
        found = objective.measure(self.smiles)
        about = zip(self.smiles, found, self.sources, self.rounds, strict=True)
        return History(
            Evaluation(call, smiles, measurement.value, measurement.reason, measurement.components, source, number)
            for call, (smiles, measurement, source, number) in enumerate(about, 1)
        )


def read_measured(tables: Table | Sequence[Table], column: str | None = None) -> Measured:
    """Tables in the order in which they were measured. column: that of the SMILES; by default "smiles" in any case.

    Raises DataError for a file that cannot be read or has no such column, or if there is no molecule at all, and ConfigError
    for a file without named columns.
    """
    smiles: dict[str, tuple[int, str]] = {}
    columns: dict[str, Column] = {}
    left_out: list[str] = []
    repeated = 0
    for number, table in enumerate([tables] if _is_one(tables) else tables, 1):
        name = str(table) if isinstance(table, (str, os.PathLike)) else f"table {number}"
        for row, (text, cells) in enumerate(_rows(table, column), 1):
            written = canonical(text)
            if written is None:
                left_out.append(f"{_shortened(text)!r} in row {row} of {name} is not a valid SMILES")
                continue
            repeated += written in smiles
            source = str(_value(cells.get(SOURCE)) or START)
            smiles.setdefault(written, (0 if source == START else number, source))
            for title, cell in cells.items():
                known = columns.setdefault(title, Column()).cells
                if (value := _value(cell)) is not None:
                    known.setdefault(written, []).append(value)
    if not smiles:
        raise DataError("the tables hold no molecule. Give at least one with a column of SMILES and one of values.")
    ordered = sorted(smiles, key=lambda one: smiles[one][0])
    rounds, sources = zip(*(smiles[one] for one in ordered), strict=True)
    return Measured(ordered, list(rounds), list(sources), columns, left_out, repeated)


def _is_one(tables: Table | Sequence[Table]) -> bool:
    return isinstance(tables, (str, os.PathLike)) or hasattr(tables, "keys")


def _rows(table: Table, column: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """SMILES and the other cells of each row by name."""
    if isinstance(table, (str, os.PathLike)):
        if stated_layout(table, column).header is None:
            raise ConfigError(f"{table} has no columns with names. Give a table: .csv, .tsv or .parquet.")
        texts, others = read_columns(table, column)
    else:
        whole = {str(name): list(values) for name, values in table.items()}
        found = [name for name in whole if (name == column if column else name.strip().lower() == "smiles")]
        if not found:
            raise no_column("the table", column or "smiles", list(whole))
        texts, others = [str(text) for text in whole.pop(found[0])], whole
    for text, *values in zip(texts, *others.values(), strict=True):
        yield text, dict(zip(others, values, strict=True))


def _value(cell: Any) -> float | str | None:
    """A cell as a number, as text if it is none, None if it is empty; a missing number of a DataFrame is empty."""
    if cell is None or cell != cell or not str(cell).strip():
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return str(cell)


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
