"""A range coder: whole numbers in, bytes out, at the entropy of the frequencies that both sides agree on (Martin 1979,
"Range encoding: an algorithm for removing redundancy from a digitised message"). Integers only, so it is exact everywhere.

A symbol is an interval [start, start + size) of [0, total). It costs log2(total / size) bits, and at most about 2^-23 bits
more, because `total` is at most 2^24 and the range is kept at 2^48 or more.
"""

from __future__ import annotations

TOP, BYTES = 1 << 56, 7  # the range is below TOP; so many bytes are held back
BOTTOM = 1 << 48  # a range below this is widened by a byte
LARGEST_TOTAL = 1 << 24


class RangeEncoder:
    """Append symbols with `encode`; `finish` gives the bytes, once."""

    def __init__(self) -> None:
        self._low, self._range, self._out = 0, TOP, bytearray()

    def encode(self, start: int, size: int, total: int) -> None:
        """Append the symbol [start, start + size) of [0, total)."""
        assert 0 <= start < start + size <= total <= LARGEST_TOTAL, "not an interval"
        step = self._range // total
        self._low += step * start
        self._range = step * size
        if self._low >= TOP:
            self._low -= TOP
            self._carry()
        while self._range < BOTTOM:
            self._out.append(self._low >> 48)
            self._low = (self._low & (BOTTOM - 1)) << 8
            self._range <<= 8

    def finish(self) -> bytes:
        """The bytes: of the numbers in the last range, the one with the most zero bytes at its end, which are left out."""
        low, high = self._low, self._low + self._range
        for zeros in range(8 * BYTES, -1, -8):
            value = -(-low >> zeros) << zeros
            if value < high:
                break
        if value >= TOP:
            value -= TOP
            self._carry()
        return bytes(self._out + value.to_bytes(BYTES, "big")).rstrip(b"\0")

    def _carry(self) -> None:
        at = len(self._out) - 1
        while self._out[at] == 255:
            self._out[at] = 0
            at -= 1
        self._out[at] += 1


class RangeDecoder:
    """Read what a `RangeEncoder` wrote, with the same totals in the same order: `target`, find the symbol, `remove` it."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, BYTES
        self._code = int.from_bytes(data[:BYTES].ljust(BYTES, b"\0"), "big")  # the number less `low`
        self._range = TOP

    def target(self, total: int) -> int:
        """A number of [0, total) that lies in the next symbol's interval."""
        return min(self._code // (self._range // total), total - 1)

    def remove(self, start: int, size: int, total: int) -> None:
        """Go past the symbol [start, start + size) of [0, total)."""
        step = self._range // total
        self._code -= step * start
        self._range = step * size
        while self._range < BOTTOM:
            following = self._data[self._at] if self._at < len(self._data) else 0
            self._code = (self._code << 8) | following
            self._range <<= 8
            self._at += 1
