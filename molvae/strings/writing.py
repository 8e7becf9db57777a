"""SMILES -> SELFIES (Krenn et al. 2020, Mach. Learn.: Sci. Technol. 1:045024) for the SMILES that RDKit writes, quickly.

The package `selfies` keeps an object for each token, atom and bond. Here a molecule is a few lists, and what a symbol means
is looked up, which takes a third of the time. What is uncommon is left to the package: aromatic atoms with charges, faulty
molecules, and what to say of them. The strings are the same: double bonds of aromatic rings are placed by its own matching.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from selfies.constants import AROMATIC_VALENCES, ELEMENTS
from selfies.utils.matching_utils import find_perfect_matching

from molvae.strings.spelling import counted

_TOKEN = re.compile(r"([-=#/\\]?)(?:(\[[^\]]*\]|Br|Cl|[BCNOPSFIbcnops])|(%\d\d|\d))|([()])")
_BRACKET_ATOM = re.compile(r"\[(\d*)([A-Z][a-z]?|n)(@{0,2})(?:H(\d?))?(\++|-+|[+-]\d+)?\]")
_ORDERS = {"": 1, "-": 1, "/": 1, "\\": 1, "=": 2, "#": 3}
_WRITTEN = {1: "", 2: "=", 3: "#"}
_TURNED = {"": "", "@": "@@", "@@": "@"}


class _Atom(NamedTuple):
    """What a SMILES atom says.

    before, chirality, after: the SELFIES symbol without its brackets, in three parts.  kind: the key of its valence in a
    constraint table.  valences: those that leave an aromatic atom no double bond in the ring; none if it is not aromatic.
    """

    before: str
    chirality: str
    after: str
    kind: str
    hydrogens: int
    valences: tuple[int, ...]


class _Bond(NamedTuple):
    """A bond seen from one of its atoms. mark: a direction, or "".  closes: whether a ring ends here, None for a chain."""

    other: int
    order: int  # 0 for an aromatic one
    mark: str
    closes: bool | None


@lru_cache(4096)
def _atom(symbol: str) -> _Atom | None:
    """The atom of a symbol; None for one that is left to the package."""
    if symbol[0] != "[":
        element = symbol.capitalize()
        return _Atom(element, "", "", element, 0, AROMATIC_VALENCES[element] if symbol.islower() else ())
    found = _BRACKET_ATOM.fullmatch(symbol)
    if found is None or (found[2] == "n" and symbol != "[nH]") or found[2].capitalize() not in ELEMENTS:
        return None
    isotope, element, chirality, hydrogens, charge = found.groups()
    n = 0 if hydrogens is None else int(hydrogens or 1)
    net = 0 if not charge else int(charge) if charge[-1].isdigit() else len(charge) * (1 if charge[0] == "+" else -1)
    if not (isotope or chirality or n or net):
        return None  # such as [C]: which of them say their hydrogens is the package's business
    element = element.capitalize()
    sign = f"{net:+}" if net else ""
    valences = (3,) if symbol == "[nH]" else ()
    before = f"{int(isotope) if isotope else ''}{element}"
    return _Atom(before, chirality, f"{f'H{n}' if n else ''}{sign}", element + sign, n, valences)


def to_selfies(smiles: str, constraints: Mapping[str, int]) -> str | None:
    """What `selfies.encoder` writes under a constraint table; None for what is left to it."""
    tokens = _TOKEN.findall(smiles)
    if sum(map(len, map("".join, tokens))) != len(smiles):
        return None
    atoms: list[_Atom] = []
    bonds: list[list[_Bond | None]] = []  # of each atom to later ones, and of rings, in the order of the string
    aromatic: dict[int, list[int]] = {}  # neighbours over aromatic bonds
    used: list[int] = []  # valences, an aromatic bond counting 1
    opened: dict[str, tuple[int, int, str]] = {}  # ring number -> (atom, place among its bonds, what the bond says)
    outer: list[int] = []
    last, is_beginning = -1, True

    def join(a: int, b: int, order: int) -> None:
        used[a] += order or 1
        used[b] += order or 1
        if not order:
            aromatic[a].append(b)
            aromatic[b].append(a)

    for bond, symbol, ring, bracket in tokens:
        if symbol:
            atom, index = _atom(symbol), len(atoms)
            if atom is None:
                return None
            atoms.append(atom)
            bonds.append([])
            used.append(0)
            if atom.valences:
                aromatic[index] = []
            if last >= 0:
                order = 0 if atom.valences and not bond and atoms[last].valences else _ORDERS[bond]
                bonds[last].append(_Bond(index, order, bond if bond in "/\\" else "", None))
                join(last, index, order)
            elif index:
                return None
            last, is_beginning = index, False
        elif is_beginning:
            return None
        elif ring and ring not in opened:
            opened[ring] = last, len(bonds[last]), bond
            bonds[last].append(None)
        elif ring:
            first, place, earlier = opened.pop(ring)
            if any(other and other.other == last for other in bonds[first]) or (
                bond and earlier and bond != earlier and not (bond in "/\\" and earlier in "/\\")
            ):
                return None
            is_aromatic = atoms[first].valences and atoms[last].valences and not (bond or earlier)
            order = 0 if is_aromatic else max(_ORDERS[bond], _ORDERS[earlier])
            bonds[first][place] = _Bond(last, order, earlier if earlier in "/\\" else "", False)
            bonds[last].append(_Bond(first, order, bond if bond in "/\\" else "", True))
            join(first, last, order)
        elif bracket == "(":
            outer.append(last)
            is_beginning = True
        elif outer:
            last = outer.pop()
        else:
            return None
    if not atoms or opened or outer or is_beginning:
        return None
    double = _double_bonds(atoms, used, aromatic)
    if double is None:
        return None
    for index, atom in enumerate(atoms):
        valence = used[index] + (index in double)
        if valence > constraints.get(atom.kind, constraints["?"]) - atom.hydrogens:
            return None
    return "".join(_chain(atoms, bonds, double, 0, ""))  # type: ignore[arg-type]


def _double_bonds(
    atoms: Sequence[_Atom], used: Sequence[int], aromatic: Mapping[int, Sequence[int]]
) -> dict[int, int] | None:
    """The partner of each aromatic atom that has a double bond in the ring; None if there is no such choice."""
    names = [
        index
        for index, neighbours in aromatic.items()
        if neighbours and used[index] + atoms[index].hydrogens not in atoms[index].valences
    ]
    numbers = {index: number for number, index in enumerate(names)}
    pairs = find_perfect_matching([[numbers[other] for other in aromatic[index] if other in numbers] for index in names])
    return None if pairs is None else {index: names[mate] for index, mate in zip(names, pairs, strict=True)}


def _chain(
    atoms: Sequence[_Atom], bonds: Sequence[Sequence[_Bond]], double: Mapping[int, int], index: int, bond: str
) -> list[str]:
    """The symbols of the atom `index`, which `bond` leads to, and of all that follows it."""
    written: list[str] = []
    while True:
        atom, around = atoms[index], bonds[index]
        chirality = atom.chirality
        if chirality and _is_turned(around):
            chirality = _TURNED[chirality]
        written.append(f"[{bond}{atom.before}{chirality}{atom.after}]")
        following = None
        for at, (other, order, mark, closes) in enumerate(around):
            order = order or (2 if double.get(index) == other else 1)
            if closes is None and at == len(around) - 1:
                following, bond = other, _WRITTEN[order] or mark
            elif closes is None:
                branch = _chain(atoms, bonds, double, other, _WRITTEN[order] or mark)
                written += counted(_WRITTEN[order], "Branch", len(branch) - 1)
                written += branch
            elif closes:
                earlier = next(b.mark for b in bonds[other] if b.other == index)
                both = f"{earlier or '-'}{mark or '-'}" if order == 1 and (mark or earlier) else _WRITTEN[order]
                written += counted(both, "Ring", index - other - 1)
        if following is None:
            return written
        index = following


def _is_turned(around: Sequence[_Bond]) -> bool:
    """Whether SELFIES has the bonds in an order of other parity: rings that end here, rings that begin, chains."""
    keys = [(0, 0) if b.closes else (1, b.other) if b.closes is not None else (2, 0) for b in around]
    return sum(later < key for at, key in enumerate(keys) for later in keys[at + 1 :]) % 2 == 1
