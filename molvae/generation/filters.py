"""Filters of molecules as they are asked for: sane, alerts, catalogues of alerts, bounds on properties; a core to hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from molvae.chem import ALERT_CATALOGUES, Core, Mol, alerts, problems, property_named
from molvae.errors import ConfigError, nearest

FILTER_NAMES = ("sane", "alerts", *ALERT_CATALOGUES)


@dataclass(frozen=True)
class Bound:
    """A bound on a property, such as SA<=4."""

    property: str
    operator: str
    value: float

    def holds(self, value: float) -> bool:
        """Whether `value` meets the bound; NaN never does."""
        match self.operator:
            case "<=":
                return value <= self.value
            case ">=":
                return value >= self.value
            case "<":
                return value < self.value
            case _:
                return value > self.value

    def __str__(self) -> str:
        return f"{self.property}{self.operator}{self.value:g}"


@dataclass(frozen=True)
class Holds:
    """A core that a molecule must hold, as `chem.Core` reads it. Raises ConfigError for text that is none."""

    core: str

    def __post_init__(self) -> None:
        _core(self.core)

    def is_in(self, mol: Mol) -> bool:
        """Whether a molecule holds it."""
        return bool(_core(self.core).atoms(mol))

    def __str__(self) -> str:
        return f"keep {self.core}"


@lru_cache(maxsize=64)
def _core(text: str) -> Core:
    return Core(text)


Filter = str | Bound | Holds


def read_filters(texts: Sequence[str]) -> list[Filter]:
    """Filters from text: "sane", "alerts", one catalogue of alerts ("PAINS"), or a bound on a property ("SA<=4").

    One text may hold several, separated by commas. Raises ConfigError or UnknownName with the nearest name.
    """
    filters: list[Filter] = []
    for text in (part.strip() for given in texts for part in given.split(",")):
        if match := re.fullmatch(r"(\w+)\s*(<=|>=|<|>)\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)", text):
            property_named(match.group(1))
            filters.append(Bound(match.group(1), match.group(2), float(match.group(3))))
        elif text in FILTER_NAMES:
            filters.append(text)
        else:
            raise ConfigError(
                f"no filter {text!r}.{nearest(text, FILTER_NAMES)} Use {', '.join(FILTER_NAMES)}, or a bound such as SA<=4."
            )
    return list(dict.fromkeys(filters))


def reasons(rule: Filter, mol: Mol, ring_systems: frozenset[str] | None, known: dict[str, float]) -> list[str]:
    """Why a molecule does not pass a filter; empty if it does.

    ring_systems: those that "sane" allows, None for all.  known: its properties; one that has to be computed is added.
    """
    if isinstance(rule, Bound):
        if rule.property not in known:
            known[rule.property] = property_named(rule.property).function(mol)
        side = "higher" if rule.operator[0] == "<" else "lower"
        return [] if rule.holds(known[rule.property]) else [f"{rule.property} is {side}"]
    if isinstance(rule, Holds):
        return [] if rule.is_in(mol) else ["without the core"]
    if rule == "sane":
        return problems(mol, ring_systems)
    found = alerts(mol, ALERT_CATALOGUES if rule == "alerts" else (rule,))
    return list(dict.fromkeys(f"{alert.name} ({alert.catalogue})" for alert in found))
