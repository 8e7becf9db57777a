"""What every benchmark script shares: where the data is, what a row must say about its origin, and writing the CSV."""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from molvae.checkpoint import find
from molvae.datasets import read_smiles
from molvae.errors import DataError, MolvaeError
from molvae.files import atomic_path, file_hash

RESULTS = Path(__file__).parent / "results"
ZINC, TEST_ROWS = "zinc250k.smi.gz", "zinc250k_test_index.json"
PACKAGES = ("molvae", "torch", "rdkit", "selfies", "numpy", "botorch", "fcd")


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
    rows = read_smiles(Path(folder) / ZINC)
    try:
        test = json.loads((Path(folder) / TEST_ROWS).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {Path(folder) / TEST_ROWS}: {error.strerror}.") from error
    held_out = set(test)
    train = [text for i, text in enumerate(rows) if i not in held_out]
    return Split(train, [rows[i] for i in test], file_hash(Path(folder) / ZINC))


def run_script(main: Callable[[], None]) -> None:
    """Run a script: a user's mistake ends in one sentence, Ctrl-C in silence."""
    try:
        main()
    except MolvaeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def model_hash(name: str) -> str:
    """SHA-256 of a checkpoint's weights. Raises CheckpointError if there is no such checkpoint."""
    return file_hash(find(name) / "model.safetensors")


def provenance(script: str, *, data: str, seed: int | str, budget: int | str) -> dict[str, str]:
    """The columns that say where a row comes from. `budget` in the unit of the benchmark (calls, samples, batches)."""
    return {
        "script": script,
        "commit": _commit(),
        "data": data,
        "seed": str(seed),
        "budget": str(budget),
        "machine": machine(),
        "versions": " ".join([f"python-{platform.python_version()}", *(f"{p}-{_version(p)}" for p in PACKAGES)]),
    }


def machine() -> str:
    """Kind of processor and the number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        kind = named[0] if named else kind
    return f"{kind}, {cores} core{'s' if cores != 1 else ''}"


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
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


def show_progress(what: str) -> Callable[[int, int], None]:
    """A callback that rewrites one line on the terminal's error stream, or says nothing if that is not a terminal."""

    def report(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done:,}/{total:,}", end="\n" if done >= total else "", file=sys.stderr, flush=True)

    return report


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=RESULTS.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
