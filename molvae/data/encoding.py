"""The second pass over a data set: the vocabulary, the token ids of every molecule, and the statistics of the card.

Words are learned by byte-pair encoding on a sample of the training part; symbols are those of all molecules, so that none is
left out because of the split.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from molvae.chem import PROPERTIES
from molvae.data.derivation import Segmented, measure_properties, segment_rows
from molvae.data.files import RowGroups
from molvae.data.splits import PARTS, TRAIN
from molvae.errors import ConfigError
from molvae.processes import Pool
from molvae.randomness import stream
from molvae.strings.tokens import LARGEST_VOCABULARY, MAX_LENGTH, Vocabulary, spell
from molvae.strings.words import SAMPLE, learn_words

GROUP = 65_536  # rows of a Parquet row group
SEGMENTED = 2000  # rows a job
MEASURED = 2000  # molecules whose properties are measured for the card

SCHEMA = pyarrow.schema(
    {
        "row": pyarrow.int64(),
        "smiles": pyarrow.string(),
        "tokens": pyarrow.list_(pyarrow.int16()),
        "split": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    }
)


def learn_vocabulary(
    spill: Path, symbols: set[str], parts: np.ndarray, *, words: int, spelling: str, seed: int
) -> Vocabulary:
    """All symbols in sorted order, then words of at most 30,000 molecules of the training part, drawn from `seed`."""
    if len(symbols) + words > LARGEST_VOCABULARY:
        raise ConfigError(
            f"{len(symbols)} symbols and {words} words are more than {LARGEST_VOCABULARY} tokens. Use fewer words."
        )
    training = np.flatnonzero(parts == TRAIN)
    drawn = stream(seed, "words").choice(training, min(len(training), SAMPLE), replace=False)
    wanted = np.zeros(len(parts), bool)
    wanted[drawn] = bool(words)
    sample, at = [], 0
    with parquet.ParquetFile(spill) as file:
        for batch in file.iter_batches(columns=["selfies", "reason"]):
            usable = [s for s, r in zip(*(batch.column(i).to_pylist() for i in (0, 1)), strict=True) if not r]
            sample += [usable[i] for i in np.flatnonzero(wanted[at : at + len(usable)])]
            at += len(usable)
    spelled = [spell(text, spelling) or [] for text in sample]
    return Vocabulary([*sorted(symbols), *learn_words(spelled, words)], spelling=spelling)


def write_tokens(
    spill: Path,
    molecules: Path,
    rejected: Path,
    vocabulary: Vocabulary,
    parts: np.ndarray,
    *,
    files: Sequence[str],
    seed: int,
    pool: Pool,
    done: Callable[[int], None],
) -> dict[str, Any]:
    """Write the molecules and the reject table; returns what the card says about them.

    parts: (n,) int8 of each molecule that the first pass could use.  files: names of the sources.
    done: hears the number of rows so far.
    """
    tally = _Tally(vocabulary)
    measured = np.zeros(len(parts), bool)
    measured[stream(seed, "properties").choice(len(parts), min(len(parts), MEASURED), replace=False)] = True
    sample: list[str] = []
    waiting: deque[Any] = deque()
    seen = at = 0

    def jobs() -> Iterator[tuple[Vocabulary, list[str], list[str]]]:
        with parquet.ParquetFile(spill) as file:
            for batch in file.iter_batches(SEGMENTED):
                columns = batch.to_pydict()
                waiting.append(columns)
                usable = [i for i, reason in enumerate(columns["reason"]) if not reason]
                yield vocabulary, [columns["smiles"][i] for i in usable], [columns["selfies"][i] for i in usable]

    with (
        rejected.open("w", encoding="utf-8", newline="") as stream_,
        _Molecules(molecules) as out,
    ):
        rejects = csv.writer(stream_, lineterminator="\n")
        rejects.writerow(("line", "input", "reason", "file"))
        for chunk in pool.in_order(segment_rows, jobs()):
            columns = waiting.popleft()
            reasons = columns["reason"]
            usable = [i for i, reason in enumerate(reasons) if not reason]
            here = parts[at : at + len(usable)]
            for i, reason in zip(usable, chunk.reasons, strict=True):
                reasons[i] = reason
            kept = np.array([not reason for reason in chunk.reasons], bool)
            rows = [i for i in usable if not reasons[i]]
            out.add(
                [columns["row"][i] for i in rows],
                [columns["smiles"][i] for i in rows],
                [chunk.ids],
                [chunk.lengths[kept]],
                [here[kept]],
            )
            for line, text, reason, file in zip(columns["line"], columns["input"], reasons, columns["file"], strict=True):
                if reason:
                    rejects.writerow((line, text, reason, files[file]))
            tally.add(chunk, here[kept], reasons)
            sample += [columns["smiles"][usable[i]] for i in np.flatnonzero(measured[at : at + len(usable)] & kept)]
            at += len(usable)
            seen += len(reasons)
            done(seen)
    return tally.card(sample, pool)


class _Molecules(RowGroups):
    """`molecules.parquet`: of each chunk of molecules rows, SMILES, [ids], [lengths] and [parts]."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, GROUP, use_dictionary=["split"], store_schema=True, write_statistics=False)
        self._columns = ([], [], [], [], [])  # what `add` brings; `arrays` makes four columns of these five

    def arrays(self, columns: Sequence[list[Any]]) -> list[pyarrow.Array]:
        """Row, SMILES, tokens as lists, split as a dictionary."""
        rows, smiles, ids, lengths, parts = columns
        offsets = np.concatenate([[0], np.concatenate([np.zeros(0, np.int64), *lengths]).cumsum()])
        flat = np.concatenate([np.zeros(0, np.int16), *ids])
        codes = np.concatenate([np.zeros(0, np.int8), *parts])
        return [
            pyarrow.array(rows, pyarrow.int64()),
            pyarrow.array(smiles, pyarrow.string()),
            pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), pyarrow.array(flat)),
            pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes), pyarrow.array(PARTS)),
        ]


class _Tally:
    """Counts over the molecules of a data set."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.lengths = np.zeros(MAX_LENGTH, np.int64)
        self.tokens = np.zeros(len(vocabulary), np.int64)
        self.parts = np.zeros(len(PARTS), np.int64)
        self.elements: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def add(self, chunk: Segmented, parts: np.ndarray, reasons: Sequence[str]) -> None:
        """Count a chunk; parts: of its molecules that can be used.  reasons: of all its rows."""
        kept = chunk.lengths[[not reason for reason in chunk.reasons]]
        self.lengths += np.bincount(kept, minlength=MAX_LENGTH)
        self.tokens += np.bincount(chunk.ids, minlength=len(self.tokens))
        self.parts += np.bincount(parts, minlength=len(PARTS))
        self.elements += chunk.elements
        self.reasons.update(reason for reason in reasons if reason)

    def card(self, sample: Sequence[str], pool: Pool) -> dict[str, Any]:
        """Molecules, split, rejects and statistics as plain numbers; properties are those of `sample`."""
        n = int(self.lengths.sum())
        lengths = np.arange(MAX_LENGTH)
        mean = float((self.lengths * lengths).sum() / max(1, n))
        spread = float(np.sqrt((self.lengths * (lengths - mean) ** 2).sum() / max(1, n)))
        present = np.flatnonzero(self.lengths)
        return {
            "molecules": n,
            "split": {name: int(count) for name, count in zip(PARTS, self.parts, strict=True) if count},
            "rejected": dict(self.reasons.most_common()),
            "statistics": {
                "tokens_a_molecule": {
                    "mean": round(mean, 4),
                    "sd": round(spread, 4),
                    "min": int(present.min(initial=MAX_LENGTH)),
                    "max": int(present.max(initial=0)),
                    "histogram": self.lengths[: int(present.max(initial=0)) + 1].tolist(),
                },
                "tokens": {t: int(c) for t, c in zip(self.vocabulary.tokens, self.tokens, strict=True) if c},
                "elements": dict(self.elements.most_common()),
                "properties": _measured(sample, pool),
            },
        }


def _measured(sample: Sequence[str], pool: Pool) -> dict[str, Any]:
    """Mean, standard deviation and quartiles of every property over a sample, failed measurements left out."""
    names = list(PROPERTIES)
    jobs = [(names, sample[i : i + 200]) for i in range(0, len(sample), 200)]
    rows = [row for part in pool.in_order(measure_properties, jobs) for row in part]
    values = np.array(rows, float).reshape(-1, len(names))
    table: dict[str, Any] = {"measured": len(sample)}
    for name, column in zip(names, values.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known):
            figures = (known.mean(), known.std(), *np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
            keys = ("mean", "sd", "min", "lower_quartile", "median", "upper_quartile", "max")
            table[name] = {key: round(float(value), 4) for key, value in zip(keys, figures, strict=True)}
    return table
