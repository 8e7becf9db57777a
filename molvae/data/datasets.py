"""Molecules as rows of token ids: reading files, tokenising in worker processes, batching by length.

A `TokenTable` keeps all rows in one flat integer array with offsets: ZINC250k takes 9 MB, and a padded batch is built by
one gather on whatever device the table lives on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from molvae.data.derivation import write_randomised, write_strings
from molvae.data.tables import read_molecules
from molvae.processes import in_processes
from molvae.strings.tokens import BOS, EOS, PAD, Vocabulary

CHUNK = 2000


def read_smiles(path: str | os.PathLike[str], column: str | None = None) -> list[str]:
    """The SMILES of a file, one string a row, blank rows left out; formats and errors are those of `tables.read_molecules`.

    Strings are not checked here. Raises DataError, ConfigError for an unknown ending.
    """
    return read_molecules(path, column).smiles


@dataclass(frozen=True)
class TokenTable:
    """Rows of token ids (without begin, end and padding) as one flat array.

    tokens: (sum of lengths,) int16.  offsets: (n + 1,) int64; row i is tokens[offsets[i]:offsets[i + 1]].
    """

    tokens: torch.Tensor
    offsets: torch.Tensor

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]]) -> TokenTable:
        """Pack lists of ids."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        flat = np.fromiter(chain.from_iterable(rows), np.int16, int(lengths.sum()))
        return cls(torch.from_numpy(flat), torch.from_numpy(np.concatenate([[0], lengths.cumsum()])))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> torch.Tensor:
        """(n,) int64: tokens a row, without begin and end."""
        return self.offsets.diff()

    def to(self, device: torch.device | str) -> TokenTable:
        """The same table on another device."""
        return TokenTable(self.tokens.to(device), self.offsets.to(device))

    def select(self, rows: torch.Tensor) -> TokenTable:
        """The table of some rows, in the order given."""
        lengths = self.lengths[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        index = torch.arange(int(offsets[-1]), device=offsets.device)
        row = torch.repeat_interleave(torch.arange(len(rows), device=offsets.device), lengths)
        return TokenTable(self.tokens[self.offsets[rows][row] + index - offsets[row]], offsets)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, T) int64 padded rows `<bos> tokens <eos> <pad>...`, T = longest row of this batch + 2."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        width = int(lengths.max()) + 2
        position = torch.arange(width, device=starts.device)[None, :] - 1
        inside = (position >= 0) & (position < lengths[:, None])
        index = (starts[:, None] + position).clamp_(0, max(len(self.tokens) - 1, 0))
        ids = torch.where(inside, self.tokens[index].long(), PAD)
        ids[:, 0] = BOS
        return ids.scatter_(1, lengths[:, None] + 1, EOS)


def length_batches(lengths: torch.Tensor, size: int, generator: torch.Generator | None) -> list[torch.Tensor]:
    """Row numbers in batches of `size` rows of similar length, so that little is padding.

    With a generator: rows are shuffled, sorted within pools of 64 batches, and the batches shuffled; every row appears
    once, and the short last batch of an epoch is kept. Without: plain order by length.
    """
    lengths = lengths.cpu()
    if generator is None:
        return list(lengths.argsort(stable=True).split(size))
    order = torch.randperm(len(lengths), generator=generator)
    batches: list[torch.Tensor] = []
    for pool in order.split(64 * size):
        batches += list(pool[lengths[pool].argsort(stable=True)].split(size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


@dataclass(frozen=True)
class Tokenised:
    """A tokenised list of molecules.

    smiles, table, rows: canonical SMILES, ids and row numbers (from 0) of those accepted.
    rejected: (row, input, reason) of the others.
    sources: with `randomised` writings, that many + 1 rows for each row of `table`, the first being that row itself.
    """

    smiles: list[str]
    table: TokenTable
    rows: np.ndarray
    vocabulary: Vocabulary
    rejected: list[tuple[int, str, str]]
    sources: TokenTable | None = None

    @property
    def reasons(self) -> Counter[str]:
        """How many molecules were rejected, by reason."""
        return Counter(reason for _, _, reason in self.rejected)


def tokenise(
    smiles: Sequence[str],
    vocabulary: Vocabulary | None = None,
    *,
    words: int = 400,
    spelling: str = "marks",
    randomised: int = 0,
    seed: int = 0,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Tokenised:
    """Canonicalise and tokenise molecules. With no vocabulary, one is built from all symbols that occur and `words` words,
    in the given spelling (`molvae.strings.spelling`).

    randomised: how many randomised writings of each molecule to add for the encoder, drawn from `seed`. Where a given
    vocabulary cannot say one, the canonical writing takes its place.
    workers: extra processes (0 = in this one). The result does not depend on their number.
    """
    grammar = vocabulary or Vocabulary([])
    jobs = [(grammar, smiles[i : i + CHUNK]) for i in range(0, len(smiles), CHUNK)]
    outcomes = in_processes(write_strings, jobs, workers, lambda done: progress(done, len(smiles)) if progress else None)
    said = [smi for smi, _ in outcomes if smi is not None]
    jobs = [(grammar, said[i : i + CHUNK], randomised, seed) for i in range(0, len(said) if randomised else 0, CHUNK)]
    variants = dict(zip(said, in_processes(write_randomised, jobs, workers), strict=bool(jobs)))
    if vocabulary is None:
        written = (text for smi, text in outcomes if smi is not None)
        also = chain.from_iterable(variants.values())
        vocabulary = Vocabulary.build(written, words, also=also, spelling=spelling)
    kept, ids, rows, rejected, sources = [], [], [], [], []
    for row, (smi, text) in enumerate(outcomes):
        tokens, reason = (None, text) if smi is None else vocabulary.segment(text)
        if smi is None or tokens is None:
            rejected.append((row, smiles[row], reason))
            continue
        kept.append(smi)
        rows.append(row)
        ids.append(tokens)
        if randomised:
            sources += _writings(vocabulary, tokens, variants[smi], randomised)
    table = TokenTable.from_rows(ids)
    variant_table = TokenTable.from_rows(sources) if randomised else None
    return Tokenised(kept, table, np.asarray(rows, np.int64), vocabulary, rejected, variant_table)


def randomised_sources(tokens: Tokenised, n: int, *, seed: int = 0, workers: int = 0) -> TokenTable:
    """`Tokenised.sources` of molecules whose vocabulary is given: each row and `n` randomised writings of it."""
    jobs = [(tokens.vocabulary, tokens.smiles[i : i + CHUNK], n, seed) for i in range(0, len(tokens.smiles), CHUNK)]
    rows = tokens.table.tokens.numpy()
    bounds = tokens.table.offsets.tolist()
    sources: list[list[int]] = []
    for i, written in enumerate(in_processes(write_randomised, jobs, workers)):
        sources += _writings(tokens.vocabulary, rows[bounds[i] : bounds[i + 1]].tolist(), written, n)
    return TokenTable.from_rows(sources)


def _writings(vocabulary: Vocabulary, tokens: list[int], written: Sequence[str], n: int) -> list[list[int]]:
    """A row and `n` other writings of it; the row itself takes the place of those that the vocabulary cannot say."""
    others = [found for found, _ in map(vocabulary.segment, written) if found]
    return [tokens, *others, *[tokens] * (n - len(others))]
