"""What may follow a beginning of a string that is spelled with marks, so that the whole of it can be read as it stands.

A decoder that writes freely now and then closes a ring that was never begun, leaves a branch open, or spends more bonds than
an atom has; SELFIES then repairs the string into another molecule than the one written. All three can be seen while the
string is being written: each open branch, each ring mark and each free valence is known. So a token that no reader could
take at its word is refused, and the decoder chooses among the others. (Kusner et al. 2017, arXiv 1703.01925, section 3.2, do
so with a grammar of SMILES, which knows nothing of valences.)

Every string that a molecule of the vocabulary is written as is allowed. The reverse holds but for stereo marks: whether an
atom is a stereocentre is known only once the molecule is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from selfies.grammar_rules import process_atom_symbol

from molvae.strings.spelling import END, MARKED, OPEN
from molvae.strings.tokens import EOS, SYMBOL, Vocabulary, constraint_table

_ORDERS = {"=": 2, "#": 3}
_BONDED = re.compile(r"\[[-=#/\\]")


@dataclass(slots=True)
class Prefix:
    """The beginning of a molecule. Atoms are numbered as they were written.

    free: bonds that each atom can still take, those kept for its open ring marks left out.
    marks: the atoms that a ring will close to, in the order of their marks.
    outer: the atoms that open branches stand on.  atom: the one that the next symbol is bonded to, -1 at the start.
    parent: the atom that `atom` was bonded to when it was written.  closed: the atoms that rings closed to from `atom`.
    wanted: order of the bond that the first atom of a branch must have, 0 elsewhere.  last: kind of the last symbol.
    """

    free: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    outer: list[int] = field(default_factory=list)
    atom: int = -1
    parent: int = -1
    closed: tuple[int, ...] = ()
    wanted: int = 0
    last: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the string may end here."""
        return self.last in ("atom", "close") and not self.outer and not self.marks

    @property
    def is_stuck(self) -> bool:
        """Whether ring marks are open that no further atom can close."""
        return bool(self.marks) and not self.outer and not self.free[self.atom]

    def copy(self) -> Prefix:
        """Another prefix of the same symbols."""
        lists = self.free.copy(), self.marks.copy(), self.outer.copy()
        return Prefix(*lists, self.atom, self.parent, self.closed, self.wanted, self.last)


class _Symbol(NamedTuple):
    kind: str  # "atom", "mark", "close", "branch" or "end"
    order: int = 1  # of its bond
    number: int = 0  # of an atom, the bonds it can take; of a closing symbol, the marks between it and its own
    is_bonded: bool = False  # whether a bond is written in front


class Grammar:
    """The rules under a vocabulary with marks. Raises ValueError for a vocabulary without."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.spelling != "marks":
            raise ValueError("only strings that are spelled with marks can be followed symbol by symbol")
        with constraint_table(vocabulary.constraints):
            read = {symbol: _read(symbol) for token in vocabulary.tokens for symbol in SYMBOL.findall(token)}
        self._tokens: list[list[tuple[_Rule, _Symbol]] | None] = []
        for token in vocabulary.tokens:
            symbols = [read[symbol] for symbol in SYMBOL.findall(token)]
            rules = [(_RULES[symbol.kind], symbol) for symbol in symbols if symbol is not None]
            self._tokens.append(rules if rules and len(rules) == len(symbols) else None)

    def extend(self, prefix: Prefix, token: int) -> bool:
        """Add a token to a prefix, in place; False if no molecule is written so, or if it could not be finished.

        A prefix that was refused may be half changed: `begun` makes it anew.
        """
        if token == EOS:
            return prefix.is_whole
        rules = self._tokens[token]
        if rules is None:
            return False
        for allows, symbol in rules:
            if not allows(prefix, symbol):
                return False
            prefix.last = symbol.kind
        return not prefix.is_stuck

    def after(self, prefix: Prefix, token: int) -> Prefix | None:
        """The prefix with one more token, or None where `extend` refuses it; `prefix` itself stays as it was."""
        longer = prefix.copy()
        return longer if self.extend(longer, token) else None

    def begun(self, ids: Iterable[int]) -> Prefix:
        """The prefix of a row of ids that keeps the rules and has not ended."""
        prefix = Prefix()
        for token in ids:
            self.extend(prefix, token)
        return prefix

    def allows(self, ids: Iterable[int]) -> bool:
        """Whether a row of ids, its end token included, keeps the rules to its end."""
        prefix = Prefix()
        for token in ids:
            if token == EOS or not self.extend(prefix, token):
                return token == EOS and prefix.is_whole
        return False


def _read(symbol: str) -> _Symbol | None:
    if symbol == OPEN:
        return _Symbol("mark")
    if symbol == END:
        return _Symbol("end")
    if marked := MARKED.fullmatch(symbol):
        bond, branch, back = marked.groups()
        order = _ORDERS.get(bond, 1)
        return _Symbol("branch", order) if branch else _Symbol("close", order, int(back))
    known = process_atom_symbol(symbol)
    if known is None:
        return None
    (order, _), atom = known
    return _Symbol("atom", order, atom.bonding_capacity, _BONDED.match(symbol) is not None)


# Each rule adds its symbol to the prefix, or returns False and may leave it half done.


def _atom(prefix: Prefix, symbol: _Symbol) -> bool:
    left = symbol.number
    if not prefix.free:
        if symbol.is_bonded:
            return False
    else:
        left -= symbol.order
        if left < 0 or (prefix.wanted and symbol.order != prefix.wanted):
            return False
        if not prefix.wanted:  # the first bond of a branch was taken when the branch began
            if symbol.order > prefix.free[prefix.atom]:
                return False
            prefix.free[prefix.atom] -= symbol.order
    prefix.parent, prefix.closed = prefix.atom, ()
    prefix.atom, prefix.wanted = len(prefix.free), 0
    prefix.free.append(left)
    return True


def _mark(prefix: Prefix, symbol: _Symbol) -> bool:
    if prefix.last not in ("atom", "mark") or not prefix.free[prefix.atom]:
        return False
    prefix.free[prefix.atom] -= 1
    prefix.marks.append(prefix.atom)
    return True


def _close(prefix: Prefix, symbol: _Symbol) -> bool:
    # Behind a branch SELFIES would write a ring of the same atom first.
    if prefix.last not in ("atom", "mark", "close") or symbol.number >= len(prefix.marks):
        return False
    atom, more = prefix.atom, symbol.order - 1
    begin = prefix.marks.pop(len(prefix.marks) - 1 - symbol.number)
    if begin in (atom, prefix.parent, *prefix.closed) or symbol.order > prefix.free[atom]:
        return False
    if more > prefix.free[begin] - (begin in prefix.outer):  # an atom with a branch needs a bond to go on
        return False
    prefix.free[atom] -= symbol.order
    prefix.free[begin] -= more
    prefix.closed += (begin,)
    return True


def _branch(prefix: Prefix, symbol: _Symbol) -> bool:
    if prefix.last in ("", "branch") or prefix.free[prefix.atom] <= symbol.order:
        return False
    prefix.free[prefix.atom] -= symbol.order
    prefix.outer.append(prefix.atom)
    prefix.wanted = symbol.order
    return True


def _end(prefix: Prefix, symbol: _Symbol) -> bool:
    if not prefix.outer or prefix.last not in ("atom", "mark", "close"):
        return False
    prefix.atom = prefix.outer.pop()
    return True


_Rule = Callable[[Prefix, _Symbol], bool]
_RULES: dict[str, _Rule] = {"atom": _atom, "mark": _mark, "close": _close, "branch": _branch, "end": _end}
