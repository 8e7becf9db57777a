"""What a training run prepares once from its data and keeps in its directory.

tokens.safetensors  vocabulary.json  tokens.json (which data this was)  rejected.csv (row, input, reason)
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from molvae.chem import canonical, property_named
from molvae.data.datasets import CHUNK, Tokenised, TokenTable, randomised_sources, read_smiles, tokenise
from molvae.data.derivation import measure_properties
from molvae.data.files import Dataset, is_dataset, open_dataset
from molvae.errors import ConfigError, DataError, RunError
from molvae.files import atomic_path, file_hash, write_json, write_text
from molvae.processes import in_processes
from molvae.strings.spelling import SPELLINGS
from molvae.strings.tokens import LARGEST_VOCABULARY, Vocabulary

log = logging.getLogger(__name__)

RANDOMISED = 3  # randomised writings of a molecule, made once; the encoder reads one of them half the time

Data = str | os.PathLike[str] | Sequence[str]


@dataclass(frozen=True)
class DataSettings:
    """How molecules become what the network sees.

    words: SELFIES words learned by byte-pair encoding.
    spelling: "marks", in which branches end and rings begin with a symbol of their own, or "selfies", in which they are
    counted (`molvae.strings.spelling`).
    recombined: at most how many new molecules to make of halves of each given one (`molvae.data.recombination`). The
    autoencoder learns to copy them too, and the language model does not learn to write them.
    properties: names of molvae.chem.PROPERTIES that heads learn to predict from the latent, and that a `cvae` can be asked
    for.
    randomise: the encoder reads a randomised SMILES half the time; the decoder always writes the canonical one
    (Bjerrum & Sattarov 2018, Biomolecules 8:131).
    """

    words: int = 400
    spelling: str = "marks"
    recombined: int = 0
    properties: tuple[str, ...] = ()
    randomise: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.words <= LARGEST_VOCABULARY:
            raise ConfigError(f"[data] words must be from 0 to {LARGEST_VOCABULARY}, not {self.words}.")
        if self.spelling not in SPELLINGS:
            raise ConfigError(f"[data] spelling is one of {', '.join(SPELLINGS)}, not {self.spelling!r}.")
        if self.recombined < 0:
            raise ConfigError(f"[data] recombined must be 0 or more, not {self.recombined}.")
        for name in self.properties:
            property_named(name)
        if len(set(self.properties)) < len(self.properties):
            raise ConfigError(f"[data] properties names one twice: {', '.join(self.properties)}.")


@dataclass(frozen=True)
class Prepared:
    """Tokenised molecules and what belongs to them.

    properties: if asked for, (n, P) float64 in their own units, NaN where unknown.
    validation: rows of `tokens`, int64 and sorted, that the data keeps for validation; None if it keeps none.
    """

    tokens: Tokenised
    properties: Tensor | None
    validation: np.ndarray | None = None


def prepare(
    data: Data,
    out: Path,
    settings: DataSettings,
    *,
    leave_out: Sequence[int] = (),
    column: str | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Prepared:
    """Read, tokenise and measure the data of a run, or read what an earlier call left in `out`.

    data: a file, a list of SMILES, or the folder of a prepared data set, whose training and validation parts are used.
    Rows of rejected molecules go to `out/rejected.csv`, with reasons. Row numbers count from 0, without header and blank
    rows. Raises DataError if fewer than two molecules can be used, RunError if `out` holds other data.
    """
    source = {
        "sha256": data_hash(data),
        "column": column,
        "left_out": len(leave_out),
        "left_out_sha256": hashlib.sha256(repr(sorted(leave_out)).encode()).hexdigest(),
        "words": settings.words,
        "spelling": settings.spelling,
        "properties": list(settings.properties),
        "randomised": RANDOMISED if settings.randomise else 0,
    }
    if (out / "tokens.json").exists():
        return _read(out, source)
    if is_dataset(data):
        if leave_out or column is not None:
            raise ConfigError(f"{data} is a prepared data set, which has a split and one column. Leave out rows in prepare.")
        prepared = _of_dataset(open_dataset(data), settings, seed, workers)
    else:
        prepared = Prepared(_tokenised(data, out, settings, leave_out, column, seed, workers), None)
    if settings.properties:
        smiles = prepared.tokens.smiles
        jobs = [(settings.properties, smiles[i : i + CHUNK]) for i in range(0, len(smiles), CHUNK)]
        measured = torch.tensor(in_processes(measure_properties, jobs, workers), dtype=torch.float64)
        prepared = replace(prepared, properties=measured)
    _write(out, source, prepared)
    return prepared


def _tokenised(
    data: Data,
    out: Path,
    settings: DataSettings,
    leave_out: Sequence[int],
    column: str | None,
    seed: int,
    workers: int,
) -> Tokenised:
    """Molecules of a file or list, those that cannot be used written to `out/rejected.csv`."""
    smiles = read_smiles(data, column) if isinstance(data, (str, os.PathLike)) else list(data)
    outside = [row for row in leave_out if not 0 <= row < len(smiles)]
    if outside:
        raise ConfigError(f"row {outside[0]} is to be left out, but the data has rows 0 to {len(smiles) - 1}.")
    dropped = set(leave_out)
    used = [row for row in range(len(smiles)) if row not in dropped]
    randomised = RANDOMISED if settings.randomise else 0
    tokens = tokenise(
        [smiles[row] for row in used],
        words=settings.words,
        spelling=settings.spelling,
        randomised=randomised,
        seed=seed,
        workers=workers,
    )
    rejected = [(used[row], text, reason) for row, text, reason in tokens.rejected]
    _write_rejects(out / "rejected.csv", rejected)
    for reason, count in tokens.reasons.most_common(5):
        log.warning("%d molecules rejected: %s (see %s)", count, reason, out / "rejected.csv")
    if len(tokens.smiles) < 2:
        why = f", most often because: {tokens.reasons.most_common(1)[0][0]}" if rejected else ""
        raise DataError(f"only {len(tokens.smiles)} of {len(used)} molecules can be used{why}. Give more molecules.")
    return replace(tokens, rows=np.asarray(used, np.int64)[tokens.rows], rejected=rejected)


def left_out(data: Data, rows: Sequence[int], column: str | None = None) -> list[str]:
    """Canonical SMILES of the rows that `prepare` was told to leave out, where they are molecules."""
    if not rows:
        return []
    smiles = read_smiles(data, column) if isinstance(data, (str, os.PathLike)) else list(data)
    return [text for text in (canonical(smiles[row]) for row in rows) if text is not None]


def _of_dataset(dataset: Dataset, settings: DataSettings, seed: int, workers: int) -> Prepared:
    """The training and validation parts of a prepared data set; its test part is not read."""
    for name in ("words", "spelling"):
        asked, is_so = getattr(settings, name), dataset.card["options"][name]
        if asked not in (getattr(DataSettings, name), is_so):
            raise ConfigError(
                f"[data] {name} is {asked}, but {dataset.folder} was prepared with {is_so}. Leave the setting out, or "
                f"prepare the data again with --{name} {asked}."
            )
    rows = dataset.read(("train", "validation"))
    if len(rows.smiles) < 2:
        raise DataError(f"{dataset.folder} has only {len(rows.smiles)} molecules to learn from. Give more molecules.")
    table = TokenTable(torch.from_numpy(rows.ids), torch.from_numpy(rows.offsets))
    tokens = Tokenised(rows.smiles, table, rows.row, dataset.vocabulary, [])
    if settings.randomise:
        tokens = replace(tokens, sources=randomised_sources(tokens, RANDOMISED, seed=seed, workers=workers))
    validation = np.flatnonzero(rows.split == "validation")
    return Prepared(tokens, None, validation if len(validation) else None)


def describe(data: Data) -> str:
    """The data's name for a model card."""
    if is_dataset(data):
        return f"{open_dataset(data).card['sources'][0]['name']}, prepared"
    return Path(data).name if isinstance(data, (str, os.PathLike)) else f"a list of {len(data)} molecules"


def data_hash(data: Data) -> str:
    """SHA-256 of the file, the listed strings, or a prepared data set's card, which has the hashes of its files.

    Raises DataError if there is no such file, or if the data set is damaged.
    """
    if is_dataset(data):
        return open_dataset(data).sha256
    if isinstance(data, (str, os.PathLike)):
        if not Path(data).is_file():
            raise DataError(f"no file {data}. Check the path.")
        return file_hash(data)
    return hashlib.sha256("\n".join(data).encode()).hexdigest()


def _write(out: Path, source: dict[str, Any], prepared: Prepared) -> None:
    tokens = prepared.tokens
    tensors = {"tokens": tokens.table.tokens, "offsets": tokens.table.offsets, "rows": torch.from_numpy(tokens.rows)}
    if tokens.sources is not None:
        tensors |= {"source_tokens": tokens.sources.tokens, "source_offsets": tokens.sources.offsets}
    if prepared.validation is not None:
        tensors["validation"] = torch.from_numpy(prepared.validation)
    if prepared.properties is not None:
        tensors["properties"] = prepared.properties
    tokens.vocabulary.save(out / "vocabulary.json")
    with atomic_path(out / "tokens.safetensors") as partial:
        save_file(tensors, partial)
    write_json(out / "tokens.json", {"source": source, "smiles": tokens.smiles})


def _read(out: Path, source: dict[str, Any]) -> Prepared:
    try:
        stored = json.loads((out / "tokens.json").read_text(encoding="utf-8"))
        was = {
            "properties": [],
            "randomised": 0,
            "spelling": "selfies",
            **stored["source"],
        }  # as in runs older than these settings
        differs = [key for key, value in source.items() if key in was and was[key] != value]
        if differs:
            raise RunError(f"{out} holds a run on other data ({', '.join(differs)}). Choose another directory with -o.")
        tensors = load_file(out / "tokens.safetensors")
        table = TokenTable(tensors["tokens"], tensors["offsets"])
        more = TokenTable(tensors["source_tokens"], tensors["source_offsets"]) if source["randomised"] else None
        rejected = _read_rejects(out / "rejected.csv")
        vocabulary = Vocabulary.load(out / "vocabulary.json")
        tokens = Tokenised(stored["smiles"], table, tensors["rows"].numpy(), vocabulary, rejected, more)
        validation = tensors["validation"].numpy() if "validation" in tensors else None
        return Prepared(tokens, tensors["properties"] if source["properties"] else None, validation)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunError(f"cannot read the prepared data in {out} ({error}). Remove tokens.json there to redo it.") from error


def _write_rejects(path: Path, rejected: Sequence[tuple[int, str, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("row", "input", "reason"), *rejected])
    write_text(path, text.getvalue())


def _read_rejects(path: Path) -> list[tuple[int, str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [(int(row), text, reason) for row, text, reason in list(csv.reader(stream))[1:]]
