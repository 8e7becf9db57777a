"""The floor that any model of SELFIES must beat: an n-gram language model, counted and not trained.

Each token is drawn given the n - 1 tokens before it, with the frequencies of the training strings (Shannon 1948); a context
always has a successor, because only contexts that occurred can be reached.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from molvae.strings.tokens import BOS, EOS

LONGEST = 200  # the lengths of a unigram model are geometric; a string is cut here


class NGram:
    """Counts of the token that follows each context of `n - 1` tokens, from rows of token ids without begin and end."""

    def __init__(self, n: int, rows: Iterable[Sequence[int]]) -> None:
        self.n = n
        counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for row in rows:
            padded = (*[BOS] * (n - 1), *row, EOS)
            for i in range(len(row) + 1):
                counts[padded[i : i + n - 1]][padded[i + n - 1]] += 1
        self._table = {
            context: (list(found), np.cumsum(list(found.values())) / sum(found.values()))
            for context, found in counts.items()
        }

    def sample(self, count: int, generator: np.random.Generator) -> list[list[int]]:
        """`count` rows of token ids, without begin and end."""
        return [self._row(generator) for _ in range(count)]

    def _row(self, generator: np.random.Generator) -> list[int]:
        row: list[int] = [BOS] * (self.n - 1)
        while len(row) < LONGEST:
            tokens, cumulative = self._table[tuple(row[len(row) - self.n + 1 :])]
            token = tokens[min(int(np.searchsorted(cumulative, generator.random(), side="right")), len(tokens) - 1)]
            if token == EOS:
                break
            row.append(token)
        return row[self.n - 1 :]
