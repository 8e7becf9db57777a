"""The range coder: what goes in comes out, at the entropy that the frequencies promise."""

import math

import numpy as np
import pytest

from molvae.uses.range_coder import LARGEST_TOTAL, RangeDecoder, RangeEncoder

Symbol = tuple[int, int, int]


def packed(symbols: list[Symbol]) -> bytes:
    coder = RangeEncoder()
    for symbol in symbols:
        coder.encode(*symbol)
    return coder.finish()


def assert_comes_back(symbols: list[Symbol], data: bytes) -> None:
    coder = RangeDecoder(data)
    for start, size, total in symbols:
        assert start <= coder.target(total) < start + size
        coder.remove(start, size, total)


@pytest.mark.parametrize("sizes", [[1, 1], [900, 90, 9, 1], [65535, 1], list(range(1, 200)), [1] * 7])
def test_the_size_is_the_entropy(sizes: list[int]) -> None:
    ends, total = np.cumsum(sizes), sum(sizes)
    drawn = np.random.default_rng(0).choice(len(sizes), 20_000, p=np.array(sizes) / total)
    symbols = [(int(ends[i]) - sizes[i], sizes[i], total) for i in drawn]
    data = packed(symbols)
    ideal = sum(math.log2(total / sizes[i]) for i in drawn)
    assert 8 * len(data) == pytest.approx(ideal, abs=16)
    assert_comes_back(symbols, data)


def test_symbols_of_changing_alphabets_come_back() -> None:
    draw, symbols = np.random.default_rng(1), []
    for _ in range(20_000):
        total = int(draw.integers(1, LARGEST_TOTAL, endpoint=True))
        start = int(draw.integers(total))
        symbols.append((start, int(draw.integers(1, total - start, endpoint=True)), total))
    assert_comes_back(symbols, packed(symbols))


@pytest.mark.parametrize("last", [0, LARGEST_TOTAL - 1])
def test_the_rarest_symbols_at_both_edges(last: int) -> None:
    """The upper edge again and again lets a carry run through a row of full bytes."""
    high = [(LARGEST_TOTAL - 1, 1, LARGEST_TOTAL)] * 50
    for symbols in (
        high,
        [*high, (last, 1, LARGEST_TOTAL)],
        [(0, 1, LARGEST_TOTAL)] * 50,
        [(1, 2, 3)] * 999,
        [(1, 1, 2)] * 99,
    ):
        assert_comes_back(symbols, packed(symbols))


def test_a_carry_runs_through_full_bytes() -> None:
    """0.0111...1 in binary, and then a bit more: the sum that the encoder holds grows over its last written bytes."""
    draw = np.random.default_rng(2)
    for _ in range(300):
        symbols = [(0, 1, 2), *[(1, 1, 2)] * int(draw.integers(40, 90))]
        symbols += [(int(draw.integers(1, 3)), 1, 3) for _ in range(60)]
        assert_comes_back(symbols, packed(symbols))


def test_nothing_takes_no_bytes_and_certainty_takes_none() -> None:
    assert packed([]) == b""
    assert packed([(0, 5, 5)] * 1000) == b""
