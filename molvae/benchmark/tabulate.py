"""Tables of results: rows as CSV for programs, as Markdown for readers."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from molvae.files import atomic_path


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Replace `path` by the rows; the columns are the union of theirs, in order of appearance. Floats in six digits."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """The named columns of some rows in Markdown, by default those of the first; what a row lacks is empty."""
    columns = list(rows[0]) if columns is None else columns
    return markdown(columns, [[row.get(column) for column in columns] for row in rows])


def cell(value: object) -> str:
    """A value as it stands in a table: four digits of a number, nothing for None and NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and, of two values or more, their sample standard deviation, as "0.512 ± 0.020"; '' for no values."""
    if not values:
        return ""
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")
