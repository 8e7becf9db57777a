"""prepare(): from anyone's file of molecules to a tokenised data set with a card; see `dataset_files` for what is written.

Two passes, both streams. The first standardises every row in worker processes, writes it in SELFIES, checks that it is read
back as the same molecule, drops duplicates, and spills all to a temporary file. Then the split is drawn and words are
learned on a sample. The second pass turns the spilled SELFIES into token ids. What stays in memory is a few bytes a
molecule: ten million need under 2 GB. Same input and options, same bytes, for any number of workers.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

import molvae
from molvae.data.derivation import Standard
from molvae.data.encoding import learn_vocabulary, write_tokens
from molvae.data.files import CARD, FORMAT, MOLECULES, REJECTED, VOCABULARY, Dataset, open_dataset
from molvae.data.rows import FirstPass, Source, standardise_sources
from molvae.data.sniffing import sniff
from molvae.data.splits import TEST, TRAIN, VALIDATION, GivenSplit, random_split, scaffold_split
from molvae.data.tables import reading
from molvae.errors import ConfigError, DataError, RunError, nearest
from molvae.files import atomic_path, file_hash, writable_folder, write_json
from molvae.processes import Pool
from molvae.strings.spelling import SPELLINGS
from molvae.strings.tokens import LARGEST_VOCABULARY

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PrepareSettings:
    """What `prepare` does with each molecule and with all of them.

    split: "random", "scaffold", "none", or the path of a JSON file of row numbers (see `splits.GivenSplit`).
    validation, test: shares of the molecules that a random or scaffold split keeps for these parts, or files that are them.
    dedup: "smiles" (canonical isomeric), "inchikey" or "none".  stereo: "keep" or "drop".
    neutralise, tautomer: see `chem.standardise`; the largest fragment is always taken.
    words: SELFIES words learned by byte-pair encoding, on the training part alone.  spelling: see `molvae.strings.spelling`.
    """

    split: str = "random"
    validation: float | str = 0.05
    test: float | str = 0.05
    dedup: str = "smiles"
    neutralise: bool = False
    tautomer: bool = False
    stereo: str = "keep"
    words: int = 400
    spelling: str = "marks"
    seed: int = 0

    def __post_init__(self) -> None:
        choices = (("dedup", ("smiles", "inchikey", "none")), ("stereo", ("keep", "drop")), ("spelling", SPELLINGS))
        for name, known in choices:
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"{name} cannot be {value!r}.{nearest(value, known)} Use one of {', '.join(known)}.")
        kinds = ("random", "scaffold", "none")
        if self.split not in kinds and not self.split.lower().endswith(".json"):
            hint = nearest(self.split, kinds)
            raise ConfigError(
                f"split cannot be {self.split!r}.{hint} Use one of {', '.join(kinds)}, or the path of a .json."
            )
        if isinstance(self.validation, str) + isinstance(self.test, str) and self.split.lower().endswith(".json"):
            raise ConfigError(
                f"{self.split} gives the parts of the split already. Leave the files of parts out, or --split."
            )
        shares = self.shares
        if not (shares[0] >= 0 and shares[1] >= 0 and sum(shares) < 1):
            raise ConfigError(
                f"validation {self.validation} and test {self.test} must be shares from 0 that leave some molecules for "
                "training, or files."
            )
        if not 0 <= self.words <= LARGEST_VOCABULARY:
            raise ConfigError(f"words must be from 0 to {LARGEST_VOCABULARY}, not {self.words}.")

    @property
    def shares(self) -> tuple[float, float]:
        """The shares of the main file that are drawn for validation and testing."""
        drawn = [0.0 if isinstance(share, str) else float(share) for share in (self.validation, self.test)]
        return drawn[0], drawn[1]

    @property
    def key(self) -> Literal["smiles", "inchikey"]:
        """What tells two molecules apart."""
        return "inchikey" if self.dedup == "inchikey" else "smiles"


def prepare(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    column: str | None = None,
    split: str | os.PathLike[str] = "random",
    validation: float | str | os.PathLike[str] = 0.05,
    test: float | str | os.PathLike[str] = 0.05,
    dedup: str = "smiles",
    neutralise: bool = False,
    tautomer: bool = False,
    stereo: str = "keep",
    words: int = 400,
    spelling: str = "marks",
    seed: int = 0,
    workers: int = 0,
    progress: Progress | None = None,
    announce: Callable[[str], None] = log.info,
) -> Dataset:
    """Make a data set for `train` from a file of molecules (.smi, .csv, .tsv, .sdf, optionally .gz, or .parquet).

    column: the SMILES column, by name or number from 1; by default the file is looked at.  The options from `split` to
    `seed` are those of PrepareSettings; validation and test may be files of molecules, which no other part may share.
    workers: extra processes (0 = in this one); they change nothing in the result.
    progress: hears (stage, rows done, rows in all).  announce: hears sentences on what was understood and found.

    Rows that cannot be used go to `out/rejected.csv` with a reason. A data set that `out` already holds is replaced.
    Raises DataError for a file that cannot be used or a split whose parts overlap, ConfigError for a wrong option, RunError
    if `out` cannot be written or holds something else.
    """
    split = os.fspath(split)
    held = [part if isinstance(part, (int, float)) else os.fspath(part) for part in (validation, test)]
    settings = PrepareSettings(split, *held, dedup, neutralise, tautomer, stereo, words, spelling, seed)
    sources = [_source(source, column, TRAIN, announce)]
    for path, part in zip(held, (VALIDATION, TEST), strict=True):
        if isinstance(path, str):
            sources.append(_source(path, column, part, announce))
    given = GivenSplit(split) if split.lower().endswith(".json") else None
    total = sum(_count_rows(file) for file in sources)
    origin = [{"name": Path(f.path).name, "sha256": file_hash(f.path), "layout": asdict(f.layout)} for f in sources]
    folder = _own_folder(out)
    hear = progress or (lambda stage, done, total: None)
    with TemporaryDirectory(prefix=".partial-", dir=folder) as scratch, _writing(folder), Pool(workers) as pool:
        # 1. Every row standardised, in SELFIES, and marked if it repeats another
        spill = Path(scratch) / "rows.parquet"
        first = standardise_sources(
            sources,
            spill,
            Standard(neutralise, tautomer, stereo, settings.key, split == "scaffold", spelling),
            dedup=dedup != "none",
            given=given,
            pool=pool,
            done=lambda n: hear("read", n, total),
        )
        _check_enough(source, first)

        # 2. The split, and the words of its training part
        parts = _draw_split(first, settings)
        vocabulary = learn_vocabulary(spill, first.symbols, parts, words=words, spelling=spelling, seed=seed)

        # 3. Token ids, and the card, whose presence says that all is whole
        (folder / CARD).unlink(missing_ok=True)
        with atomic_path(folder / MOLECULES) as molecules, atomic_path(folder / REJECTED) as rejected:
            found = write_tokens(
                spill,
                molecules,
                rejected,
                vocabulary,
                parts,
                files=[file["name"] for file in origin],
                seed=seed,
                pool=pool,
                done=lambda n: hear("tokenise", n, first.rows),
            )
        vocabulary.save(folder / VOCABULARY)
        options = asdict(settings) | {"validation": settings.shares[0], "test": settings.shares[1]}
        if given:
            options |= {"split": "given", "split_sha256": given.sha256}
        card = {
            "format": FORMAT,
            "molvae": molvae.__version__,
            "versions": {name: version(name) for name in ("rdkit", "selfies", "pyarrow")},
            "sources": origin,
            "rows": first.rows,
            "options": options,
            **found,
            "files": {name: {"sha256": file_hash(folder / name)} for name in (MOLECULES, VOCABULARY, REJECTED)},
        }
        write_json(folder / CARD, card)
    return open_dataset(folder)


def _source(path: str | os.PathLike[str], column: str | None, part: int, announce: Callable[[str], None]) -> Source:
    """Look at a file, and say what was understood."""
    sniffed = sniff(path, column)
    announce(sniffed.sentence)
    for note in sniffed.notes:
        log.warning("%s: %s", Path(path).name, note)
    return Source(os.fspath(path), sniffed.layout, part)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}. Free some space or choose -o.") from error


def _own_folder(out: str | os.PathLike[str]) -> Path:
    """The folder of the data set: new, empty, or that of an earlier one; leftovers of a killed call go."""
    folder = Path(out)
    if folder.is_file():
        raise RunError(f"{folder} is a file, but a data set is a folder. Choose another place with -o.")
    there = list(folder.iterdir()) if folder.is_dir() else []
    leftovers = [path for path in there if path.name.startswith(".partial-")]
    if set(there) - set(leftovers) and not (folder / CARD).exists():
        raise RunError(f"{folder} holds other files, and no data set. Choose another place with -o.")
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return writable_folder(folder)


def _count_rows(source: Source) -> int:
    """About how many rows a file has, for the progress bar; reads it whole, so that a torn file is found now."""
    if source.layout.ending == ".parquet":
        from pyarrow import parquet

        return int(parquet.read_metadata(source.path).num_rows)
    mark, count = b"$$$$" if source.layout.ending == ".sdf" else b"\n", 0
    packed = source.path.lower().endswith(".gz")
    with reading(source.path), gzip.open(source.path) if packed else open(source.path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            count += block.count(mark)
    return count


def _check_enough(source: str | os.PathLike[str], first: FirstPass) -> None:
    if not first.rows:
        raise DataError(f"{source} holds no molecules. Give a file with one molecule a row.")
    if len(first.parts) < 2:
        why = f", most often because: {first.reasons.most_common(1)[0][0]}" if first.reasons else ""
        raise DataError(f"only {len(first.parts)} of {first.rows} rows of {source} can be used{why}. Give more molecules.")


def _draw_split(first: FirstPass, settings: PrepareSettings) -> np.ndarray:
    """(n,) int8: the part of each molecule that can be used; what no list and no file gives is drawn."""
    parts = first.parts
    main = np.flatnonzero(parts == TRAIN)
    if settings.split == "random":
        parts[main] = random_split(len(main), *settings.shares, settings.seed)
    elif settings.split == "scaffold":
        parts[main] = scaffold_split(first.scaffolds[main], *settings.shares, settings.seed)
    if not (parts == TRAIN).any():
        raise DataError("the split leaves no molecule for training. Keep fewer for validation and testing.")
    return parts
