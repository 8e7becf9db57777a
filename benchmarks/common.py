"""What every benchmark script shares: where the data is and where results go; rows and tables as in `molvae.benchmark`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from molvae.benchmark.provenance import machine, model_hash, provenance
from molvae.benchmark.tabulate import markdown, table, write_csv
from molvae.data.datasets import read_smiles
from molvae.errors import DataError, MolvaeError
from molvae.files import file_hash

__all__ = [
    "RESULTS", "ZINC", "Split", "data_option", "machine", "markdown", "model_hash", "provenance", "run_script",
    "show_progress", "table", "test_rows", "write_csv", "zinc_split",
]  # fmt: skip

RESULTS = Path(__file__).parent / "results"
ZINC, TEST_ROWS = "zinc250k.smi.gz", "zinc250k_test_index.json"


@dataclass(frozen=True)
class Split:
    """ZINC250k by the GDSS split (224,568 training and 24,887 test rows), as written in the file, and the file's SHA-256."""

    train: list[str]
    test: list[str]
    hash: str


def data_option(parser: argparse.ArgumentParser) -> None:
    """Add `--data FOLDER`, which MOLVAE_DATA stands in for."""
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MOLVAE_DATA"),
        help=f"folder with {ZINC} and {TEST_ROWS} (default: the environment variable MOLVAE_DATA)",
    )


def zinc_split(folder: Path | None) -> Split:
    """Read the split. Raises DataError if the folder is not named or a file is missing."""
    if folder is None:
        raise DataError("no data folder: give --data FOLDER, or set MOLVAE_DATA.")
    rows, test = read_smiles(Path(folder) / ZINC), test_rows(Path(folder))
    held_out = set(test)
    train = [text for i, text in enumerate(rows) if i not in held_out]
    return Split(train, [rows[i] for i in test], file_hash(Path(folder) / ZINC))


def test_rows(folder: Path) -> list[int]:
    """The 0-based row numbers of the test split. Raises DataError if their file cannot be read."""
    try:
        return json.loads((folder / TEST_ROWS).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {folder / TEST_ROWS}: {error.strerror}.") from error


def run_script(main: Callable[[], None]) -> None:
    """Run a script: a user's mistake ends in one sentence, Ctrl-C in silence."""
    try:
        main()
    except MolvaeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def show_progress(what: str) -> Callable[[int, int], None]:
    """A callback that rewrites one line on the terminal's error stream, or says nothing if that is not a terminal."""

    def report(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done:,}/{total:,}", end="\n" if done >= total else "", file=sys.stderr, flush=True)

    return report
