"""Byte-pair encoding against a plain one that follows Sennrich et al. 2016, algorithm 1, with lists and counters."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from molvae.strings.words import FEW, learn_words


def plain_words(strings, n):
    """One merge at a time over lists of strings. Ties: the pair of words that appeared first."""
    order = sorted({symbol for string in strings for symbol in string})
    # Ids rather than strings: two ways of merging may spell the same word, and stay two entries, as in the paper's tables.
    texts = [[order.index(symbol) for symbol in string] for string in strings]
    learned = []
    while len(learned) < n:
        pairs = Counter()
        for text in texts:
            pairs.update(pairwise(text))
        if not pairs or max(pairs.values()) < 2:
            break
        most = max(pairs.values())
        left, right = min(pair for pair, count in pairs.items() if count == most)
        new = len(order)
        for k, text in enumerate(texts):
            merged, i = [], 0
            while i < len(text):
                if text[i : i + 2] == [left, right]:
                    merged.append(new)
                    i += 2
                else:
                    merged.append(text[i])
                    i += 1
            texts[k] = merged
        word = order[left] + order[right]
        if word not in order:
            learned.append(word)
        order.append(word)
    return learned


def test_the_papers_example():
    # Sennrich et al. 2016, algorithm 1: the first merges are es, est, est_, lo, low. After es, "es t" and "t _" occur 9
    # times each, so the second merge may be either of them.
    corpus = ["low_"] * 5 + ["lower_"] * 2 + ["newest_"] * 6 + ["widest_"] * 3
    first, second, *others = learn_words([list(word) for word in corpus], 5)
    assert first == "es" and second in ("est", "t_") and others == ["est_", "lo", "low"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("alphabet", ["ab", "abcdef"])
@pytest.mark.parametrize("few", [0, FEW])
def test_equals_a_plain_implementation(seed, alphabet, few, monkeypatch):
    monkeypatch.setattr("molvae.strings.words.FEW", few)  # 0: pairs are sorted, as in large vocabularies
    draw = np.random.default_rng(seed)
    strings = [draw.choice(list(alphabet), draw.integers(1, 15)).tolist() for _ in range(40)]
    assert learn_words(strings, 40) == plain_words(strings, 40)


def test_runs_of_one_symbol_merge_from_the_left():
    assert learn_words([list("aaaaa"), list("aaaa")], 2) == ["aa", "aaaa"]


def test_nothing_is_learned_from_nothing_or_from_what_never_repeats():
    assert learn_words([], 5) == []
    assert learn_words([[]], 5) == []
    assert learn_words([list("abcdef")], 5) == []


def test_words_do_not_reach_over_the_end_of_a_string():
    assert learn_words([["a"], ["b"]] * 10, 5) == []
