"""A prepared data set as a folder: tokenised molecules in Parquet, their vocabulary, and a card with all that made them.

molecules.parquet  row (int64, from 0, in the source), smiles (canonical), tokens (list of int16), split (dictionary)
vocabulary.json    what the token ids mean
dataset.json       the card: format, source and its hash, options, statistics, hashes of the other files; written last
rejected.csv       line, input and reason of every row that was left out
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from molvae.errors import DataError
from molvae.files import file_hash
from molvae.strings.tokens import Vocabulary

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
CARD, MOLECULES, VOCABULARY, REJECTED = "dataset.json", "molecules.parquet", "vocabulary.json", "rejected.csv"


@dataclass(frozen=True)
class Rows:
    """Molecules of a data set, one a row.

    row: (n,) int64, in the source.  smiles: n strings.  ids: (sum of lengths,) int16.  offsets: (n + 1,) int64.
    split: (n,) of the names of `splits.PARTS`.
    """

    row: np.ndarray
    smiles: list[str]
    ids: np.ndarray
    offsets: np.ndarray
    split: np.ndarray


class RowGroups:
    """A Parquet file of `schema`, written in groups of at least `size` rows while columns of rows are added.

    Subclasses turn what `add` collected into arrays (`arrays`); by default each column is a list of its values.
    """

    def __init__(self, path: Path, schema: pyarrow.Schema, size: int, **options: Any) -> None:
        from pyarrow import parquet

        self._schema, self._size = schema, size
        self._file = parquet.ParquetWriter(path, schema, compression="zstd", **options)
        self._columns: tuple[list[Any], ...] = tuple([] for _ in schema)

    def __enter__(self) -> Self:
        return self

    def add(self, *columns: Iterable[Any]) -> None:
        """Append rows, column by column."""
        for column, values in zip(self._columns, columns, strict=True):
            column += values
        if len(self._columns[0]) >= self._size:
            self._flush()

    def arrays(self, columns: Sequence[list[Any]]) -> list[pyarrow.Array]:
        """The columns of one row group."""
        import pyarrow

        return [pyarrow.array(values, kind) for values, kind in zip(columns, self._schema.types, strict=True)]

    def _flush(self) -> None:
        import pyarrow

        rows = pyarrow.Table.from_arrays(self.arrays(self._columns), schema=self._schema)
        self._file.write_table(rows, row_group_size=len(rows) or None)
        for column in self._columns:
            column.clear()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._file.close()


@dataclass(frozen=True)
class Dataset:
    """A prepared data set that is whole: its folder, its card (`dataset.json`) and its vocabulary."""

    folder: Path
    card: dict[str, Any]
    vocabulary: Vocabulary

    @property
    def sha256(self) -> str:
        """Hash of the card, which holds the hashes of the other files."""
        return file_hash(self.folder / CARD)

    def __len__(self) -> int:
        return int(self.card["molecules"])

    def read(self, parts: Sequence[str]) -> Rows:
        """The molecules of some parts of the split, in the order of the source."""
        found = list(self._batches(parts))
        lengths = np.concatenate([batch[2] for batch in found]) if found else np.zeros(0, np.int64)
        return Rows(
            np.concatenate([batch[0] for batch in found]) if found else np.zeros(0, np.int64),
            [text for batch in found for text in batch[1].to_pylist()],
            np.concatenate([batch[3] for batch in found]) if found else np.zeros(0, np.int16),
            np.concatenate([[0], lengths.cumsum()]),
            np.concatenate([batch[4] for batch in found]) if found else np.zeros(0, object),
        )

    def _batches(self, parts: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        import pyarrow
        from pyarrow import compute, parquet

        with parquet.ParquetFile(self.folder / MOLECULES) as file:
            for batch in file.iter_batches(65_536):
                names = batch.column("split").cast(pyarrow.string())
                batch = batch.filter(compute.is_in(names, pyarrow.array(parts)))
                tokens, split = batch.column("tokens"), batch.column("split")
                yield (
                    batch.column("row").to_numpy(),
                    batch.column("smiles"),
                    compute.list_value_length(tokens).to_numpy(zero_copy_only=False).astype(np.int64),
                    tokens.flatten().to_numpy(),
                    np.array(split.dictionary.to_pylist(), object)[split.indices.to_numpy()],
                )


def is_dataset(path: object) -> bool:
    """Whether a path is a folder, which as data can only mean a prepared data set."""
    return isinstance(path, (str, os.PathLike)) and os.path.isdir(path)


def open_dataset(folder: str | os.PathLike[str]) -> Dataset:
    """Check a prepared data set and open it. Raises DataError if it is none, is damaged, or has another format."""
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        made_by, files = card["format"], card["files"]
    except FileNotFoundError as error:
        raise DataError(f"{folder} is not a prepared data set: it has no {CARD}. Make one with `molvae prepare`.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / CARD} is torn or is not a data set's. Prepare the data again.") from error
    if made_by != FORMAT:
        raise DataError(
            f"{folder} is a data set of format {made_by}, made by molvae {card.get('molvae', 'of another version')}; this "
            f"molvae reads format {FORMAT}. Prepare the data again."
        )
    for name, expected in files.items():
        if not (folder / name).is_file() or file_hash(folder / name) != expected["sha256"]:
            raise DataError(f"{folder / name} is missing, damaged or changed. Prepare the data again.")
    return Dataset(folder, card, Vocabulary.load(folder / VOCABULARY))
