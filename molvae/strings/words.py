"""Words: frequent runs of SELFIES symbols that become one token (byte-pair encoding, Sennrich et al. 2016, arXiv 1508.07909;
for SMILES, Li & Fourches 2021, J. Chem. Inf. Model. 61:1560).

ZINC250k molecules have 37 symbols on average and 12 words with 400 words learned, so every recurrent step is paid a third
as often, in training, in decoding and in the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

SAMPLE = 30_000  # strings that words are learned from; the most frequent pairs are the same on all of ZINC250k
FEW = 1500  # words among which each pair has a counter of its own


def learn_words(strings: Sequence[Sequence[str]], n: int) -> list[str]:
    """The `n` words that merge the most frequent neighbours, merging repeatedly.

    strings: each a sequence of symbols. If there are more than 30,000, every k-th is used. Fewer than `n` words come back
    when no pair occurs twice any more. Ties go to the pair seen first in symbol order, so the result is deterministic.
    """
    strings = strings[:: max(1, len(strings) // SAMPLE)][:SAMPLE]
    words = sorted(set(chain.from_iterable(strings)))
    index = {symbol: i for i, symbol in enumerate(words)}
    breaks = chain.from_iterable([*(index[s] for s in string), -1] for string in strings)
    text = np.fromiter(breaks, np.int64)
    known, learned = set(words), []
    while len(learned) < n:
        left, right, width = text[:-1], text[1:], len(words)
        pairs = np.where((left >= 0) & (right >= 0), left * width + right, -1)
        best, count = _most_frequent(pairs[pairs >= 0], width)
        if count < 2:
            break
        places = np.flatnonzero(pairs == best)
        if best // width == best % width:  # in "aaa" the pairs overlap: merge the 1st, 3rd ... of each run
            run_start = np.concatenate([[True], np.diff(places) != 1])
            first = places[run_start][np.cumsum(run_start) - 1]
            places = places[(places - first) % 2 == 0]
        word = words[best // width] + words[best % width]
        words.append(word)
        text[places] = len(words) - 1
        text = np.delete(text, places + 1)
        if word not in known:  # two ways of merging can spell the same word
            known.add(word)
            learned.append(word)
    return learned


def _most_frequent(pairs: np.ndarray, width: int) -> tuple[int, int]:
    """The most frequent of some codes below width^2, the smallest of equals, and how often it occurs; (0, 0) of none."""
    if not len(pairs):
        return 0, 0
    if width <= FEW:  # one counter a code, where that is not too many, takes a tenth of the time of sorting
        counts = np.bincount(pairs)
        return int(counts.argmax()), int(counts.max())
    codes, counts = np.unique(pairs, return_counts=True)
    return int(codes[counts.argmax()]), int(counts.max())
