"""Tables of molecules as files: SMILES, CSV, TSV, SDF and Parquet, read and written; the first column is `smiles`.

A table is a mapping from column names to columns of one length. Files are written whole or not at all; the same table gives
the same bytes. SDF records: Dalby et al., J. Chem. Inf. Comput. Sci. 32:244, 1992.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from molvae.chem import parse
from molvae.errors import ConfigError, DataError
from molvae.files import atomic_path

FORMATS = (".smi", ".txt", ".csv", ".tsv", ".sdf", ".parquet")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ID_COLUMNS = ("id", "name", "molecule", "title")

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Molecules:
    """Molecules read from a file, unchecked.

    smiles: as written; "" where an SDF record could not be read.  ids: the file's names or ids, else row numbers from 1.
    """

    smiles: list[str]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.smiles)


@dataclass(frozen=True)
class Layout:
    """How a file holds its molecules.

    ending: one of FORMATS.  header: the names of the columns; None without a header, and for SDF.
    delimiter: between the columns of a text table; None for white space.
    column: position of the SMILES.  names: position of the ids, None if there are none.
    others: positions of further columns of a table that are read along.
    """

    ending: str
    header: tuple[str, ...] | None = None
    delimiter: str | None = None
    column: int = 0
    names: int | None = None
    others: tuple[int, ...] = ()


class Row(NamedTuple):
    """One row of a file that is not blank.

    line: where it ends, from 1; where an SDF record begins; the row of a Parquet file.  number: among such rows, from 1.
    text: SMILES as written, or the MOL block of an SDF record; "" where the column is empty.  name: "" if there is none.
    others: the cells of the further columns that were asked for, "" where they are empty.
    """

    line: int
    number: int
    text: str
    name: str
    others: tuple[str, ...] = ()


def format_of(path: str | os.PathLike[str]) -> str:
    """The ending that decides the format, without `.gz`. Raises ConfigError for one that is not known."""
    name = Path(path).name.lower()
    ending = Path(name.removesuffix(".gz")).suffix
    if ending not in FORMATS:
        raise ConfigError(f"{path} has no known ending. Use one of {', '.join(FORMATS)}, text formats optionally with .gz.")
    if name.endswith(".gz") and ending == ".parquet":
        raise ConfigError(f"{path}: a Parquet file is compressed already. Leave .gz out.")
    return ending


# -- reading


def read_molecules(path: str | os.PathLike[str], column: str | None = None) -> Molecules:
    """The molecules of a file, one a row, blank rows left out; "-" reads SMILES lines from standard input.

    column: the name of the SMILES column of a table; by default the one called "smiles" in any case. Ids come from a column
    called id, name, molecule or title, the second word of a SMILES line, or the title of an SDF record.
    Raises DataError for a file that is missing, empty, broken, or has no such column.
    """
    if str(path) == "-":
        layout, path = Layout(".smi", names=1), "standard input"
        rows = _smiles_lines(sys.stdin, layout)
    else:
        layout = stated_layout(path, column)
        rows = read_rows(path, layout)
    smiles, ids = [], []
    for row in rows:
        if layout.ending == ".sdf":
            smiles.append(block_smiles(row.text))
        elif row.text:
            smiles.append(row.text)
        else:
            continue
        ids.append(row.name or str(row.line if layout.ending in (".smi", ".txt") else row.number))
    if not smiles:
        raise DataError(f"{path} holds no molecules. Give a file with one molecule a row.")
    return Molecules(smiles, ids)


def stated_layout(path: str | os.PathLike[str], column: str | None = None) -> Layout:
    """The layout that a file's ending and header state, without a look at its rows; see `sniffing.sniff` for one with."""
    ending = format_of(path)
    if ending == ".parquet":
        header = parquet_columns(path)
    elif ending in (".csv", ".tsv"):
        with reading(path), opened(path) as stream:
            header = next(csv.reader(stream, delimiter=DELIMITERS[ending]), None)
        if header is None:
            raise DataError(f"{path} holds no molecules. Give a file with one molecule a row.")
    else:
        return Layout(ending, names=None if ending == ".sdf" else 1)
    plain = [name.strip().lower() for name in header]
    if column is not None and column in header:
        at = header.index(column)
    elif column is None and "smiles" in plain:
        at = plain.index("smiles")
    else:
        raise no_column(path, column or "smiles", header)
    return Layout(ending, tuple(header), DELIMITERS.get(ending), at, id_column(header, at))


def id_column(header: Sequence[str], column: int) -> int | None:
    """The position of a column of ids beside the SMILES column, if there is one."""
    plain = [name.strip().lower() for name in header]
    return next((plain.index(name) for name in _ID_COLUMNS if name in plain and plain.index(name) != column), None)


def no_column(path: str | os.PathLike[str], column: str, header: Sequence[str]) -> DataError:
    """The error of a column that is not there."""
    has = ", ".join(header[:12]) or "nothing"
    return DataError(f"no column {column!r} in {path} (has: {has}). Name the SMILES column with --smiles-col.")


def read_rows(path: str | os.PathLike[str], layout: Layout) -> Iterator[Row]:
    """Stream the rows of a file. Raises DataError where the file is missing or broken."""
    with reading(path):
        if layout.ending == ".parquet":
            yield from _parquet_rows(path, layout)
            return
        with opened(path) as stream:
            if layout.ending == ".sdf":
                yield from _sdf_records(stream)
            elif layout.delimiter is None:
                yield from _smiles_lines(stream, layout)
            else:
                yield from _table_rows(stream, layout)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong while a file is read into a DataError."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"no file {path}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file of molecules ({', '.join(FORMATS)}, optionally .gz).") from error
    except csv.Error as error:
        raise DataError(f"{path} is not a table: {error}.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}). Fetch it again.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error


def opened(path: str | os.PathLike[str]) -> TextIO:
    """A text file, optionally gzipped, as a stream; line ends as they are."""
    if str(path).lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]
    return open(path, encoding="utf-8-sig", newline="")


def block_smiles(block: str) -> str:
    """SMILES of a MOL block, or "" if RDKit cannot read it."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(block)
        return Chem.MolToSmiles(mol) if mol is not None else ""


def parquet_columns(path: str | os.PathLike[str]) -> list[str]:
    """The names of the columns of a Parquet file. Raises DataError."""
    with _parquet_file(path) as file:
        return list(file.schema_arrow.names)


def _smiles_lines(stream: TextIO, layout: Layout) -> Iterator[Row]:
    number = -1 if layout.header else 0
    for line, text in enumerate(stream, 1):
        words = text.split(maxsplit=1 if layout.column == 0 else -1)
        if words:
            number += 1
            if number:
                yield Row(line, number, _cell_at(words, layout.column), _cell_at(words, layout.names))


def _table_rows(stream: TextIO, layout: Layout) -> Iterator[Row]:
    number = -1 if layout.header else 0
    reader = csv.reader(stream, delimiter=layout.delimiter or ",")
    for cells in reader:
        if cells:
            number += 1
            if number:
                text, name, *others = (_cell_at(cells, at) for at in (layout.column, layout.names, *layout.others))
                yield Row(reader.line_num, number, text, name, tuple(others))


def _cell_at(cells: Sequence[str], at: int | None) -> str:
    return cells[at].strip() if at is not None and at < len(cells) else ""


def _sdf_records(stream: TextIO) -> Iterator[Row]:
    lines: list[str] = []
    number, start = 0, 1
    for line, text in enumerate(chain(stream, ["$$$$"]), 1):
        if text.rstrip() != "$$$$":
            lines.append(text.rstrip("\r\n"))
            continue
        if any(map(str.strip, lines)):  # the last record may lack its end mark
            number += 1
            yield Row(start, number, "\n".join(lines), lines[0].strip())
        lines, start = [], line + 1


@contextmanager
def _parquet_file(path: str | os.PathLike[str]) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        with reading(path), parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is not a whole Parquet file. Fetch it again.") from error


def _parquet_rows(path: str | os.PathLike[str], layout: Layout) -> Iterator[Row]:
    assert layout.header is not None, "a Parquet file names its columns"
    places = [layout.column, layout.names, *layout.others]
    header = layout.header
    narrow = None if layout.others else [header[at] for at in places if at is not None]
    number = 0
    with _parquet_file(path) as file:
        for batch in file.iter_batches(10_000, columns=narrow):
            # All columns are there by position, because two may have one name; a few come in the order of the file.
            at = {p: p if narrow is None else batch.schema.names.index(header[p]) for p in places if p is not None}
            cells = [[None] * len(batch) if p is None else batch.column(at[p]).to_pylist() for p in places]
            for text, *others in zip(*cells, strict=True):
                number += 1
                name, *rest = ("" if cell is None else str(cell) for cell in others)
                yield Row(number, number, "" if text is None else str(text).strip(), name, tuple(rest))


# -- writing


def write_table(path: str | os.PathLike[str], columns: Columns) -> None:
    """Write a table whose first column is `smiles`, in the format of the path's ending, atomically.

    A missing number (None or NaN) is an empty cell, and is left out of an SDF record. A `.smi` file holds the SMILES and,
    if there is a column `id`, the id. An SDF record has a 2D drawing and every other column as a data item.
    Raises ConfigError for an unknown ending, RunError if the file cannot be written.
    """
    assert next(iter(columns)) == "smiles", "the first column of a table of molecules is smiles"
    ending = format_of(path)
    with atomic_path(path) as partial:
        if ending == ".parquet":
            _write_parquet(partial, columns)
            return
        if str(path).lower().endswith(".gz"):
            # No file name and no time in the header: the same table gives the same bytes.
            with (
                partial.open("wb") as raw,
                gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
            ):
                _write_text(stream, ending, columns)
        else:
            with partial.open("w", encoding="utf-8", newline="") as stream:
                _write_text(stream, ending, columns)


def write_csv(stream: TextIO, columns: Columns, delimiter: str = ",") -> None:
    """Write a table as CSV to an open stream."""
    table = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    table.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        table.writerow([_cell(value) for value in row])


def _write_text(stream: TextIO, ending: str, columns: Columns) -> None:
    if ending == ".csv":
        write_csv(stream, columns)
    elif ending == ".tsv":
        write_csv(stream, columns, "\t")
    elif ending == ".sdf":
        _write_sdf(stream, columns)
    else:
        ids = columns.get("id")
        for i, smiles in enumerate(columns["smiles"]):
            stream.write(f"{smiles}\n" if ids is None else f"{smiles} {ids[i]}\n")


def _write_sdf(stream: TextIO, columns: Columns) -> None:
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    ids = columns.get("id")
    for i, smiles in enumerate(columns["smiles"]):
        mol = parse(smiles)
        if mol is None:
            raise DataError(f"row {i + 1} ({smiles!r}) is not a valid SMILES, and cannot be written as an SDF record.")
        rdDepictor.Compute2DCoords(mol)
        mol.SetProp("_Name", str(ids[i]) if ids is not None else "")
        stream.write(Chem.MolToMolBlock(mol))
        for name, column in columns.items():
            cell = _cell(column[i])
            if name != "id" and cell != "":
                stream.write(f">  <{name}>\n{cell}\n\n")
        stream.write("$$$$\n")


def _write_parquet(path: Path, columns: Columns) -> None:
    import pyarrow
    from pyarrow import parquet

    # Arrays go in as they are: as lists, 100,000 latents of 128 numbers would take 400 MB.
    table = {name: column if hasattr(column, "dtype") else list(column) for name, column in columns.items()}
    parquet.write_table(pyarrow.table(table), path)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return repr(float(value))  # NumPy's own floats print their type
    return value
