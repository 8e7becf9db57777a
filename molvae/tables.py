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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from molvae.chem import parse
from molvae.errors import ConfigError, DataError
from molvae.files import atomic_path

FORMATS = (".smi", ".txt", ".csv", ".tsv", ".sdf", ".parquet")
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
        return _checked(_smiles_lines(sys.stdin), "standard input")
    ending = format_of(path)
    try:
        if ending == ".parquet":
            return _checked(_parquet_rows(Path(path), column), path)
        with _opened(Path(path)) as stream:
            if ending == ".sdf":
                rows = _sdf_records(stream)
            elif ending in (".csv", ".tsv"):
                rows = _table_rows(csv.reader(stream, delimiter="\t" if ending == ".tsv" else ","), path, column)
            else:
                rows = _smiles_lines(stream)
            return _checked(rows, path)
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


def _checked(rows: Iterator[tuple[str, str]], path: str | os.PathLike[str]) -> Molecules:
    pairs = list(rows)
    if not pairs:
        raise DataError(f"{path} holds no molecules. Give a file with one molecule a row.")
    return Molecules([smiles for smiles, _ in pairs], [name for _, name in pairs])


def _opened(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")  # type: ignore[return-value]
    return path.open(encoding="utf-8-sig", newline="")


def _smiles_lines(stream: TextIO) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(stream, 1):
        words = line.split(maxsplit=1)
        if words:
            yield words[0], words[1].strip() if len(words) > 1 else str(number)


def _table_rows(rows: Iterator[list[str]], path: str | os.PathLike[str], column: str | None) -> Iterator[tuple[str, str]]:
    header = next(rows, None)
    if header is None:
        return
    at, names = _columns(header, path, column)
    for number, row in enumerate(rows, 1):
        if len(row) > at and row[at].strip():
            name = row[names].strip() if names is not None and len(row) > names else ""
            yield row[at].strip(), name or str(number)


def _columns(header: Sequence[str], path: str | os.PathLike[str], column: str | None) -> tuple[int, int | None]:
    """The positions of the SMILES column and of the column of ids, if there is one."""
    plain = [name.strip().lower() for name in header]
    if column is not None and column in header:
        at = list(header).index(column)
    elif column is None and "smiles" in plain:
        at = plain.index("smiles")
    else:
        has = ", ".join(header[:12]) or "nothing"
        raise DataError(
            f"no column {column or 'smiles'!r} in {path} (has: {has}). Name the SMILES column with --smiles-col."
        )
    return at, next((plain.index(name) for name in _ID_COLUMNS if name in plain and plain.index(name) != at), None)


def _sdf_records(stream: TextIO) -> Iterator[tuple[str, str]]:
    from rdkit import Chem, rdBase

    lines: list[str] = []
    number = 0
    for line in stream:
        if line.rstrip() != "$$$$":
            lines.append(line.rstrip("\r\n"))
            continue
        number += 1
        with rdBase.BlockLogs():
            mol = Chem.MolFromMolBlock("\n".join(lines))
            yield (Chem.MolToSmiles(mol) if mol is not None else ""), (lines[0].strip() if lines else "") or str(number)
        lines = []


def _parquet_rows(path: Path, column: str | None) -> Iterator[tuple[str, str]]:
    import pyarrow
    from pyarrow import parquet

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} is not a whole Parquet file. Fetch it again.") from error
    at, names = _columns(table.column_names, path, column)
    ids = table.column(names).to_pylist() if names is not None else [None] * table.num_rows
    for number, (smiles, name) in enumerate(zip(table.column(at).to_pylist(), ids, strict=True), 1):
        if smiles:
            yield str(smiles).strip(), str(name) if name is not None else str(number)


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

    parquet.write_table(pyarrow.table({name: list(column) for name, column in columns.items()}), path)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return repr(float(value))  # NumPy's own floats print their type
    return value
