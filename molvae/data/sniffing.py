"""Which column of a file holds the SMILES: a guess from the names of the columns and from what RDKit can parse.

The ending of a file says little about its separator, a header may be missing, and a column of names may parse as SMILES too
("CO", "I"), so the first rows are read under every separator and every column is tried. A guess that could be wrong comes
with a note that says what else it could have been.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from molvae.chem import parse
from molvae.data.tables import Layout, Row, format_of, id_column, no_column, opened, parquet_columns, read_rows, reading
from molvae.errors import ConfigError, DataError

SAMPLED = 1000  # lines that show the separator
PARSED = 200  # rows whose cells are parsed
LEAST = 0.5  # share of a column's cells that must parse for it to be taken unasked
RIVAL = 0.8  # columns whose share is at least this part of the best one's are told apart by name and length

SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", None: "white space"}
_LOOKS_LIKE_SMILES = re.compile(r"^(?=.*[A-Za-z])[A-Za-z0-9@+\-\[\]()\\/%=#$.:*~]+$")
_HINTS = ("smi", "structure", "molecule", "compound")


@dataclass(frozen=True)
class Sniffed:
    """What a look at a file found: its layout, one sentence about it, and notes on what could be wrong."""

    layout: Layout
    sentence: str
    notes: tuple[str, ...] = ()


def sniff(path: str | os.PathLike[str], column: str | None = None) -> Sniffed:
    """Find out how a file holds its molecules.

    column: the SMILES column by name, or by number from 1; decides over everything that the rows suggest.
    Raises DataError for a file that is missing, broken, empty, that mixes separators, or that has no column of SMILES.
    """
    ending = format_of(path)
    if ending == ".sdf":
        if column is not None:
            raise ConfigError(f"{path} is an SDF file, which has no columns. Leave --smiles-col out.")
        return Sniffed(Layout(ending), f"{_name(path)}: SDF records.")
    if ending == ".parquet":
        names = parquet_columns(path)
        columns = [_column_of_parquet(path, names, at) for at in range(len(names))]
        at, notes = _choose(path, names, columns, column)
        layout = Layout(ending, tuple(names), None, at, id_column(names, at))
        return Sniffed(layout, f"{_name(path)}: Parquet, {_place(layout, len(names))}.", notes)
    lines = _first_lines(path)
    rates = {delimiter: _best_rate(_table(lines, delimiter)) for delimiter in _candidates(ending)}
    delimiter = max(rates, key=lambda d: rates[d])  # the first of equals, and the ending's own comes first
    table = _table(lines, delimiter)
    for suspect in [delimiter] if rates[delimiter] >= RIVAL else rates:
        _check_one_separator(path, lines, suspect)
    width = _width(table)
    header = _header(table, column, width)
    names = list(header) if header else [str(i + 1) for i in range(width)]
    body = [row for row in table[1 if header else 0 :] if row][:PARSED]
    columns = [[row[at].strip() for row in body if at < len(row)] for at in range(width)]
    at, notes = _choose(path, names, columns, column)
    ids = id_column(header, at) if header else (1 if at == 0 and width > 1 and delimiter is None else None)
    layout = Layout(ending, header, delimiter, at, ids)
    separated = f"columns separated by {SEPARATORS[delimiter]}, " if width > 1 else ""
    headed = "with a header" if header else "without a header"
    return Sniffed(layout, f"{_name(path)}: {separated}{headed}, {_place(layout, width)}.", notes)


def _name(path: str | os.PathLike[str]) -> str:
    return os.path.basename(os.fspath(path))


def _place(layout: Layout, width: int) -> str:
    named = f" ({layout.header[layout.column]!r})" if layout.header else ""
    return f"SMILES in column {layout.column + 1} of {width}{named}"


# -- lines and cells


def _first_lines(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    with reading(path), opened(path) as stream:
        lines = list(islice(((i, line) for i, line in enumerate(stream, 1) if line.strip()), SAMPLED))
    if not lines:
        raise DataError(f"{path} holds no molecules. Give a file with one molecule a row.")
    if any("\0" in line for _, line in lines):
        raise DataError(
            f"{path} is not a text file of molecules. Give .smi, .csv or .tsv, or name the format by the ending."
        )
    return lines


def _candidates(ending: str) -> list[str | None]:
    first = {".csv": [",", ";", "\t"], ".tsv": ["\t", ",", ";"]}.get(ending, [None, "\t", ",", ";"])
    return [*first, "|", *([] if None in first else [None])]


def _table(lines: Sequence[tuple[int, str]], delimiter: str | None) -> list[list[str]]:
    """The cells of each line; with white space between, only the first column and the last can be told apart."""
    if delimiter is None:
        return [line.split() for _, line in lines]
    try:
        return list(csv.reader((line for _, line in lines), delimiter=delimiter))
    except csv.Error as error:
        if delimiter != ",":
            return []
        raise DataError(f"the file is not a table: {error}.") from error


def _width(table: Sequence[Sequence[str]]) -> int:
    return Counter(len(row) for row in table if row).most_common(1)[0][0]


def _rate(cells: Sequence[str]) -> float:
    """The share of the cells that are not empty which parse as SMILES."""
    filled = [cell for cell in cells if cell]
    return sum(bool(_LOOKS_LIKE_SMILES.match(c)) and parse(c) is not None for c in filled) / len(filled) if filled else 0.0


def _best_rate(table: Sequence[Sequence[str]]) -> float:
    """The largest share of parsed cells over the columns, the first row left out if it may be a header."""
    rows = [row for row in table if row]
    rows = rows[1 : PARSED + 1] or rows
    width = max(map(len, rows), default=0)
    # A row that lacks a column counts against it: the wrong separator finds it only here and there.
    rates = [_rate([row[at].strip() if at < len(row) else "?" for row in rows]) for at in range(min(width, 100))]
    return max(rates, default=0.0)


def _check_one_separator(path: str | os.PathLike[str], lines: Sequence[tuple[int, str]], delimiter: str | None) -> None:
    """Refuse a file with lines that only make sense under another separator than the others."""
    usual = [n for n, line in lines if delimiter is not None and delimiter in line]
    if delimiter is None or not usual:
        return
    width = _width(_table(lines, delimiter))
    for other in (",", "\t", ";"):
        strange = [(n, line) for n, line in lines if delimiter not in line and other in line]
        rows = _table(strange[:PARSED], other)
        holds_smiles = sum(any(_rate([cell.strip()]) for cell in row) for row in rows) >= LEAST * len(rows)
        if rows and holds_smiles and max(map(len, rows)) >= max(2, width):
            raise DataError(
                f"{path} mixes separators: a {SEPARATORS[delimiter]} in line {usual[0]}, a {SEPARATORS[other]} in line "
                f"{strange[0][0]}. Write the file with one of them."
            )


def _column_of_parquet(path: str | os.PathLike[str], names: Sequence[str], at: int) -> list[str]:
    rows: list[Row] = list(islice(read_rows(path, Layout(".parquet", tuple(names), None, at)), PARSED))
    return [row.text for row in rows]


# -- header and column


def _header(table: Sequence[Sequence[str]], column: str | None, width: int) -> tuple[str, ...] | None:
    """The first row if it names the columns: it holds the wanted name or a name for SMILES, or it alone does not parse."""
    first = [cell.strip() for cell in next(row for row in table if row)]
    if column in first or any(_hint(cell) for cell in first):
        return tuple(first)
    body = [row for row in table if row][1 : PARSED + 1]
    rates = [_rate([row[at].strip() for row in body if at < len(row)]) for at in range(min(width, len(first)))]
    best = max(range(len(rates)), key=rates.__getitem__, default=0)
    named = body and rates[best] >= LEAST and _rate([first[best]]) == 0.0 and re.fullmatch(r"[A-Za-z][\w -]*", first[best])
    return tuple(first) if named else None


def _hint(name: str) -> int:
    """How much the name of a column promises SMILES: 3 for "smiles" itself, 0 for nothing."""
    plain = name.strip().lower()
    if plain == "smiles":
        return 3
    return 2 if "smiles" in plain else int(plain in _HINTS)


def _choose(
    path: str | os.PathLike[str], names: Sequence[str], columns: Sequence[Sequence[str]], column: str | None
) -> tuple[int, tuple[str, ...]]:
    """The position of the SMILES column, and notes on other columns that it might be."""
    if column is not None:
        if column in names:
            return list(names).index(column), ()
        if column.isdecimal() and 1 <= int(column) <= len(names):
            return int(column) - 1, ()
        raise no_column(path, column, names)
    rates = [_rate(cells) for cells in columns]
    best = max(rates, default=0.0)
    hints = [_hint(name) for name in names]
    if best < LEAST:
        if 3 not in hints:
            raise DataError(
                f"no column of {path} looks like SMILES: at best {100 * best:.0f}% of a column parses (columns: "
                f"{', '.join(names[:12])}). Name the column with --smiles-col."
            )
        at = hints.index(3)
        return at, (f"only {100 * rates[at]:.0f}% of the first rows of column {names[at]!r} parse as SMILES.",)
    rivals = [at for at, rate in enumerate(rates) if rate >= RIVAL * best]
    mean_length = [sum(map(len, cells)) / max(1, len(cells)) for cells in columns]
    at = max(rivals, key=lambda i: (hints[i], mean_length[i], -i))
    notes = []
    if 3 in hints and hints[at] < 3:
        named = hints.index(3)
        notes.append(
            f"column {names[named]!r} does not hold SMILES ({100 * rates[named]:.0f}% parse); column {names[at]!r} is read."
        )
    others = [names[i] for i in rivals if i != at]
    if others and hints[at] < 3:
        why = "by its name" if any(hints[at] > hints[i] for i in rivals if i != at) else "as its entries are longer"
        notes.append(
            f"column {', '.join(map(repr, others))} parses as SMILES too; {names[at]!r} is read, {why}. "
            "Choose another with --smiles-col."
        )
    return at, tuple(notes)
