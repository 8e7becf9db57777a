"""Which molecules of a data set are for training, for validation and for testing.

random: drawn from a seed.  scaffold: no Bemis-Murcko scaffold (J. Med. Chem. 39:2887, 1996) is in two parts, as in the
scaffold splits of MoleculeNet (Wu et al., Chem. Sci. 9:513, 2018), but with scaffolds in random order.  given: row numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from molvae.config import check_keys
from molvae.errors import DataError
from molvae.files import file_hash
from molvae.randomness import stream

PARTS = ("train", "validation", "test", "unused")
TRAIN, VALIDATION, TEST, UNUSED = range(4)


def random_split(n: int, validation: float, test: float, seed: int) -> np.ndarray:
    """(n,) int8 parts: exactly round(n * share) molecules for validation and for testing."""
    parts = np.zeros(n, np.int8)
    order = stream(seed, "random split").permutation(n)
    n_test, n_validation = round(n * test), round(n * validation)
    parts[order[:n_test]] = TEST
    parts[order[n_test : n_test + n_validation]] = VALIDATION
    return parts


def scaffold_split(scaffolds: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """(n,) int8 parts of molecules with these scaffolds, (n,) of any integers.

    Scaffolds in random order fill the test part, then the validation part; one that has more molecules than a part still
    wants stays out of it, so that no part is larger than its share of n.
    """
    _, scaffold, sizes = np.unique(scaffolds, return_inverse=True, return_counts=True)
    part_of = np.zeros(len(sizes), np.int8)
    wanted = {TEST: round(len(scaffolds) * test), VALIDATION: round(len(scaffolds) * validation)}
    for i in stream(seed, "scaffold split").permutation(len(sizes)).tolist():
        part = next((part for part, room in wanted.items() if sizes[i] <= room), TRAIN)
        if part != TRAIN:
            part_of[i] = part
            wanted[part] -= int(sizes[i])
        elif not any(wanted.values()):
            break
    return part_of[scaffold]


class GivenSplit:
    """A split read from JSON: a list of rows, which are the test part, or a table of lists `train`, `validation`, `test`.

    Rows count from 0, header and blank lines left out. Rows that no list names are for training, or unused if there is a
    list `train`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises DataError for a file that is not such JSON, or that names a row twice."""
        self.path = Path(path)
        lists = _read(self.path)
        self.sha256 = file_hash(self.path)
        self._other = UNUSED if "train" in lists else TRAIN
        self._part = np.full(1 + max((max(rows) for rows in lists.values() if rows), default=-1), self._other, np.int8)
        seen = np.zeros(len(self._part), bool)
        for name, rows in lists.items():
            at = np.array(rows, np.int64)
            twice = at[seen[at]] if len(at) else at
            if len(twice) or len(np.unique(at)) < len(at):
                row = int(twice[0]) if len(twice) else int(np.sort(at)[:-1][np.diff(np.sort(at)) == 0][0])
                both = next(other for other, others in lists.items() if row in others)
                where = f"twice in {name!r}" if both == name else f"in both {both!r} and {name!r}"
                raise DataError(f"{path} has row {row} {where}. A molecule belongs to one part.")
            seen[at] = True
            self._part[at] = PARTS.index(name)

    @property
    def largest(self) -> int:
        """The largest row number that is named, -1 if there is none."""
        return len(self._part) - 1

    def parts(self, rows: np.ndarray) -> np.ndarray:
        """(n,) int8 parts of rows (n,)."""
        inside = rows < len(self._part)
        parts = np.full(len(rows), self._other, np.int8)
        parts[inside] = self._part[rows[inside]]
        return parts


def _read(path: Path) -> Mapping[str, Sequence[int]]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"no file {path} with a split. Check the path, or choose --split random, scaffold or none."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not JSON with a split: {error}.") from error
    lists = {"test": found} if isinstance(found, list) else found
    if not isinstance(lists, dict):
        raise DataError(f"{path} is neither a list of rows nor a table of lists {', '.join(PARTS[:3])}.")
    check_keys(lists, PARTS[:3], str(path))
    for name, rows in lists.items():
        if not isinstance(rows, list) or not all(type(row) is int and row >= 0 for row in rows):
            raise DataError(f"{path}: {name!r} is not a list of row numbers from 0.")
    return lists
