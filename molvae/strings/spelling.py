"""Two spellings of SELFIES for a network: as they are, and with brackets and ring marks in place of counts.

SELFIES says how long a branch is before the branch begins, and how many atoms back a ring closes, as base-16 numbers. A
network that writes from left to right has to count, over words of several symbols, and one miscount changes the whole rest
of the molecule. The spelling "marks" says the same with an end of branch, and with a mark on the atom where a ring will
begin, which is how SMILES does it (Weininger 1988):

    [C][=Branch1][C][=O][O]    [C][=(][=O][)][O]
    [C][C][C][Ring1][Ring1]    [C][%][C][C][%0]

`[%]` marks the atom before it; `[%k]` closes a ring to the k-th last mark that is still open. A bond order or direction
stays in front, as in `[=(]` and `[=%0]`. Every SELFIES string that its own encoder writes can be spelled, and read back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from selfies.constants import INDEX_ALPHABET

_COUNTED = re.compile(r"\[(.*?)(Branch|Ring)([1-3])\]")
MARKED = re.compile(r"\[(.{0,2})(?:(\()|%(\d+))\]")
_INDEX = {symbol: i for i, symbol in enumerate(INDEX_ALPHABET)}
OPEN, END = "[%]", "[)]"

SPELLINGS = ("selfies", "marks")


def to_marks(symbols: Sequence[str]) -> list[str] | None:
    """SELFIES symbols -> the same with brackets and marks; None if a count points outside the string or the molecule."""
    written: list[str] = []
    place: list[int] = []  # of each atom so far, in `written`
    rings: list[tuple[int, int]] = []  # (place of the closing symbol, atom it closes to)
    ends: list[tuple[int, int]] = []  # of the branches that are open: (place after their last symbol, atom they stand on)
    atom, at = -1, 0
    while at < len(symbols):
        count_symbol = _count_symbol(symbols[at])
        if count_symbol is None:
            atom = len(place)
            place.append(len(written))
            written.append(symbols[at])
            at += 1
        else:
            bond, kind, digits = count_symbol
            number = symbols[at + 1 : at + 1 + digits]
            at += 1 + digits
            if atom < 0 or len(number) < digits or not all(symbol in _INDEX for symbol in number):
                return None
            count = 0
            for symbol in number:
                count = count * len(_INDEX) + _INDEX[symbol]
            count += 1
            if kind == "Branch":
                if at + count > (ends[-1][0] if ends else len(symbols)):
                    return None
                ends.append((at + count, atom))
                written.append(f"[{bond}(]")
            elif atom - count < 0:
                return None
            else:
                rings.append((len(written), atom - count))
                written.append(f"[{bond}%")
        while ends and at >= ends[-1][0]:
            if at > ends[-1][0]:
                return None
            atom = ends.pop()[1]
            written.append(END)
    return None if ends else _with_ring_marks(written, place, rings)


@lru_cache(4096)
def _count_symbol(symbol: str) -> tuple[str, str, int] | None:
    """(bond, "Branch" or "Ring", number of digits) of a symbol that a count follows; None for an atom."""
    found = _COUNTED.fullmatch(symbol)
    return found and (found[1], found[2], int(found[3]))


def _with_ring_marks(written: list[str], place: Sequence[int], rings: Sequence[tuple[int, int]]) -> list[str]:
    """Put a mark behind every atom that a ring closes to, and the number of the mark into every closing symbol."""
    begins: dict[int, list[int]] = {}
    for ring, (_, atom) in enumerate(rings):
        begins.setdefault(place[atom], []).insert(0, ring)  # of two marks on one atom, the later closes the earlier ring
    closes = {at: ring for ring, (at, _) in enumerate(rings)}
    spelled: list[str] = []
    still_open: list[int] = []
    for at, symbol in enumerate(written):
        if at in closes:
            back = still_open[::-1].index(closes[at])
            del still_open[len(still_open) - 1 - back]
            symbol += f"{back}]"
        spelled.append(symbol)
        for ring in begins.get(at, ()):
            still_open.append(ring)
            spelled.append(OPEN)
    return spelled


def from_marks(spelled: Sequence[str]) -> tuple[list[str], str]:
    """Symbols with brackets and marks -> SELFIES symbols, and "" or what had to be left out or ended."""
    faults: list[str] = []
    body: list[str] = []
    outer: list[tuple[list[str], str, int]] = []  # of the branches that are open: (what is around, bond, atom it stands on)
    marks: list[int] = []
    atom, atoms = -1, 0

    def end_branch() -> None:
        nonlocal body, atom
        inner = body
        body, bond, atom = outer.pop()
        if inner:
            body += counted(bond, "Branch", len(inner) - 1) + inner
        else:
            faults.append("an empty branch")

    for symbol in spelled:
        if symbol == OPEN:
            marks.append(atom)
        elif symbol == END:
            if outer:
                end_branch()
            else:
                faults.append("the end of a branch that never began")
        elif marked := MARKED.fullmatch(symbol):
            bond, branch, back = marked.groups()
            if branch:
                outer.append((body, bond, atom))
                body = []
                continue
            if int(back) >= len(marks):
                faults.append("a ring closed that never began")
                continue
            begin = marks.pop(len(marks) - 1 - int(back))
            if 0 <= begin < atom:
                body += counted(bond, "Ring", atom - begin - 1)
            else:
                faults.append("a ring of one atom")
        else:
            atom, atoms = atoms, atoms + 1
            body.append(symbol)
    if outer:
        faults.append("a branch that never ended")
    while outer:
        end_branch()
    if marks:
        faults.append("a ring that never closed")
    return body, faults[0] if faults else ""


def selfies_symbols(spelled: Sequence[str]) -> tuple[str, ...]:
    """The SELFIES symbols that strings of some symbols with brackets and marks may have."""
    found = set(INDEX_ALPHABET)
    for symbol in spelled:
        if marked := MARKED.fullmatch(symbol):
            kind = "Branch" if marked[2] else "Ring"
            found.update(f"[{marked[1]}{kind}{digits}]" for digits in (1, 2, 3))
        elif symbol not in (OPEN, END):
            found.add(symbol)
    return tuple(sorted(found))


def counted(bond: str, kind: str, count: int) -> list[str]:
    """The SELFIES symbols of a branch of `count` + 1 symbols, or of a ring closed to the atom `count` + 1 atoms back."""
    digits = [INDEX_ALPHABET[count % 16]]
    while count := count // 16:
        digits.append(INDEX_ALPHABET[count % 16])
    return [f"[{bond}{kind}{len(digits)}]", *digits[::-1]]
