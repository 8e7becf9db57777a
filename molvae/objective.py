"""Objectives: oracles with weights, transforms and constraints, joined into one number that is always to be maximised.

This is the only place where a sign is flipped. Desirabilities and their geometric mean: Derringer & Suich, J. Qual. Technol.
12:214, 1980. Constraints follow the idea of Deb, Comput. Methods Appl. Mech. Eng. 186:311, 2000: meeting them comes first.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from molvae.errors import ConfigError, MolvaeError
from molvae.oracles.base import Direction, Measurement, Oracle, call_syntax, error_text
from molvae.oracles.modifiers import IDENTITY, Modifier, build_modifier, describe_modifier
from molvae.oracles.probe import measured
from molvae.oracles.specs import Spec, resolve

logger = logging.getLogger(__name__)

Aggregation = Literal["mean", "geometric"]
AGGREGATIONS: tuple[Aggregation, ...] = ("mean", "geometric")
VIOLATION = "violation"  # the component that says by how much the constraints are missed; 0 where all are met
_STRICT = 1e-9  # what equality costs under < and >, relative to the bound


@dataclass(frozen=True)
class Term:
    """One oracle of an objective. `spec` is what `resolve` understands; `name` is its column in the results."""

    name: str
    spec: str
    oracle: Oracle
    direction: Direction = "maximise"
    weight: float = 1.0
    transform: Modifier = IDENTITY

    def __post_init__(self) -> None:
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise ConfigError(
                f"the weight of {self.name!r} is {self.weight}; it must be above 0. Use minimise to turn a term round."
            )
        if self.direction not in ("maximise", "minimise"):
            raise ConfigError(f"the direction of {self.name!r} is {self.direction!r}; it must be maximise or minimise.")

    def goodness(self, value: float) -> float:
        """The transformed value, larger is better."""
        transformed = self.transform(value)
        return -transformed if self.direction == "minimise" else transformed


@dataclass(frozen=True)
class Constraint:
    """A bound on the raw value of an oracle, such as SA<=4."""

    name: str
    spec: str
    oracle: Oracle
    operator: Literal["<=", ">=", "<", ">"]
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{_plain(self.bound)}"

    def violation(self, value: float) -> float:
        """0 if `value` meets the bound, else the distance to it over the larger of |bound| and 1."""
        scale = max(abs(self.bound), 1.0)
        excess = (value - self.bound) / scale if self.operator[0] == "<" else (self.bound - value) / scale
        if len(self.operator) == 1 and excess >= 0:
            return max(excess, _STRICT)
        return max(excess, 0.0)


class Objective:
    """Terms and constraints as one score; `measure` returns it, always to be maximised.

    Each term's value goes through its transform, its sign is turned if it is to be minimised, and the results are averaged
    with the weights: g is their arithmetic or geometric mean. A molecule that meets every constraint has the score g. One
    that does not has the score

        2 min(g, 0) - V / (1 + V),     V = sum of the violations (`Constraint.violation`) > 0,

    which is always below its g, falls as V grows, and never falls as g grows. Where g cannot be negative (every benchmark
    task, QED, every term with a transform into 0..1) a molecule that meets the constraints therefore ranks above every one
    that does not. A minimised or unbounded term can make g negative; give it a transform such as clip or sigmoid to keep
    that guarantee.

    If an oracle fails, the score is NaN and the reason names the term. A geometric mean has no value if a term is negative,
    and cannot hold a minimised term.

    Components of a measurement: the raw value of each term and constraint by its name, the parts an oracle reports as
    "name.part", and "violation" (V) if there are constraints. Only finite values appear.

    Raises ConfigError for no terms, two different things of one name, or an unknown aggregation.
    """

    def __init__(
        self, terms: Sequence[Term], constraints: Sequence[Constraint] = (), *, aggregation: Aggregation = "mean"
    ) -> None:
        self.terms, self.constraints, self.aggregation = tuple(terms), tuple(constraints), aggregation
        if not terms:
            raise ConfigError("an objective needs at least one oracle to maximise or minimise.")
        if aggregation not in AGGREGATIONS:
            raise ConfigError(f"the aggregation is {aggregation!r}; it must be one of {', '.join(AGGREGATIONS)}.")
        minimised = [term.name for term in terms if term.direction == "minimise"]
        if aggregation == "geometric" and minimised:
            raise ConfigError(
                f"a geometric mean cannot hold the minimised term {minimised[0]!r}; maximise it with a falling transform, "
                f"such as {minimised[0]}@clip(lower=5, upper=2)."
            )
        names = [term.name for term in terms]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two terms are called {name!r}; name them, for example first={name} and second={name}.")
        self._oracles = _by_name([*self.terms, *self.constraints])

    @classmethod
    def from_specs(
        cls,
        *,
        maximise: Sequence[Spec] = (),
        minimise: Sequence[Spec] = (),
        constraints: Sequence[str] = (),
        aggregation: Aggregation = "mean",
        oracles: Mapping[str, Oracle] | None = None,
    ) -> Objective:
        """An objective from text, as written on the command line.

        A term is `[name=][weight*]oracle[@transform(setting=value, ...)]`, the oracle as in `oracles.resolve`; a constraint
        is `oracle<=number` (also >=, <, >), where the oracle may be the name of a term. A term may also be an `Oracle`, or a
        function from a list of SMILES to a list of numbers; such an objective cannot be rebuilt from its description. Nor
        can one with `oracles`, which have names that come before those that `oracles.resolve` knows.

        >>> objective = Objective.from_specs(maximise=["2*QED", "fat=logP@gaussian(mu=2.5, sigma=1)"], constraints=["SA<=4"])
        >>> objective.columns
        ['QED', 'fat', 'SA', 'violation']

        Raises UnknownName with the nearest name, ConfigError for text that cannot be read, OracleError as `resolve` does.
        """
        own = oracles or {}
        terms = [_read_term(text, "maximise", own) for text in maximise]
        terms += [_read_term(text, "minimise", own) for text in minimise]
        return cls(terms, [_read_constraint(text, terms, own) for text in constraints], aggregation=aggregation)

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Objective:
        """The objective whose `describe()` gave `description`. Raises as `from_specs` does."""
        terms = []
        for entry in description["terms"]:
            table = {"direction": "maximise", "weight": 1.0, "transform": {"name": "identity"}, **entry}
            settings = dict(table["transform"])
            transform = build_modifier(settings.pop("name"), settings)
            oracle = resolve(table["oracle"])
            terms.append(Term(table["name"], table["oracle"], oracle, table["direction"], table["weight"], transform))
        constraints = [_read_constraint(text, terms, {}) for text in description.get("constraints", [])]
        return cls(terms, constraints, aggregation=description.get("aggregation", "mean"))

    def describe(self) -> dict[str, Any]:
        """The whole objective as plain tables, lists, text and numbers, ready for TOML."""
        terms = [
            {
                "name": term.name,
                "oracle": term.spec,
                "direction": term.direction,
                "weight": term.weight,
                "transform": describe_modifier(term.transform),
            }
            for term in self.terms
        ]
        known = {term.name for term in self.terms}
        constraints = [
            str(c) if c.name in known or c.name == c.spec else f"{c.name}={c.spec}{c.operator}{_plain(c.bound)}"
            for c in self.constraints
        ]
        return {"aggregation": self.aggregation, "terms": terms, "constraints": constraints}

    @property
    def columns(self) -> list[str]:
        """Names of the components that every complete measurement has, in order."""
        return [*self._oracles, *([VIOLATION] if self.constraints else [])]

    @property
    def chunk(self) -> int:
        """The most molecules to measure at once: as many as any of its oracles takes."""
        return max(oracle.chunk for oracle in self._oracles.values())

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        """The score of each molecule, in order, to be maximised. Each distinct oracle is asked once for the whole batch."""
        raw = {name: _measured_or_failed(oracle, smiles) for name, oracle in self._oracles.items()}
        return [self._combine({name: measurements[i] for name, measurements in raw.items()}) for i in range(len(smiles))]

    def _combine(self, raw: Mapping[str, Measurement]) -> Measurement:
        """The score of one molecule from the measurements of its oracles by name."""
        components = {name: m.value for name, m in raw.items()}
        for name, measurement in raw.items():
            components |= {f"{name}.{part}": value for part, value in measurement.components.items()}
        components = {name: value for name, value in components.items() if math.isfinite(value)}
        failures = [f"{name}: {m.reason}" for name, m in raw.items() if math.isnan(m.value)]
        if failures:
            return Measurement.failed("; ".join(failures), components)
        values = {term.name: term.goodness(raw[term.name].value) for term in self.terms}
        negative = [name for name, value in values.items() if value < 0]
        if self.aggregation == "geometric" and negative:
            return Measurement.failed(
                f"{negative[0]}: a geometric mean needs values of at least 0; give it a transform", components
            )
        score = self._mean(list(values.values()))
        if self.constraints:
            total = sum(c.violation(raw[c.name].value) for c in self.constraints)
            components[VIOLATION] = total
            if total > 0:
                score = 2.0 * min(score, 0.0) - total / (1.0 + total)
        return Measurement.of(score, components)

    def _mean(self, values: list[float]) -> float:
        if len(values) == 1:
            return values[0]
        whole = sum(term.weight for term in self.terms)
        weighted = zip(self.terms, values, strict=True)
        if self.aggregation == "geometric":
            return math.prod(value ** (term.weight / whole) for term, value in weighted)
        return sum(term.weight * value for term, value in weighted) / whole


def _by_name(parts: Sequence[Term | Constraint]) -> dict[str, Oracle]:
    """The oracles to ask, by name; a name may be used again only for the same oracle."""
    specs: dict[str, str] = {}
    oracles: dict[str, Oracle] = {}
    for part in parts:
        if part.name == VIOLATION:
            raise ConfigError(f"the name {VIOLATION!r} is taken by the sum of the constraints; choose another.")
        if specs.setdefault(part.name, part.spec) != part.spec:
            raise ConfigError(
                f"{part.name!r} is the name of both {specs[part.name]} and {part.spec}; rename one with name=oracle."
            )
        oracles.setdefault(part.name, part.oracle)
    return oracles


def _measured_or_failed(oracle: Oracle, smiles: Sequence[str]) -> list[Measurement]:
    """What the oracle measures. If it raises, each molecule is measured alone; one for which it raises again has failed."""
    try:
        return measured(oracle, smiles)
    except MolvaeError:
        raise
    except Exception as error:
        if len(smiles) > 1:
            return [_measured_or_failed(oracle, [one])[0] for one in smiles]
        logger.warning("the oracle %s raised", type(oracle).__name__, exc_info=True)
        return [Measurement.failed(error_text(error))]


def _read_term(text: Spec, direction: Direction, own: Mapping[str, Oracle]) -> Term:
    """`[name=][weight*]oracle[@transform(...)]`, or an oracle or function as it is. own: oracles with names of their own,
    which may be any text."""
    if not isinstance(text, str):
        name = getattr(text, "__name__", type(text).__name__)
        return Term(name, f"python:{name}", resolve(text), direction)
    name, rest = _split_name(text, own)
    weight = 1.0
    if rest not in own and (match := re.fullmatch(r"([0-9.]+)\s*\*(.+)", rest, flags=re.DOTALL)):
        try:
            weight, rest = float(match.group(1)), match.group(2).strip()
        except ValueError:
            raise ConfigError(f"cannot read the weight {match.group(1)!r} of {text!r}; write it like 0.5*QED.") from None
    transform = IDENTITY
    if rest not in own and (match := re.fullmatch(r"(.+)@(\w+\(.*\))", rest, flags=re.DOTALL)):
        rest, transform = match.group(1).strip(), build_modifier(*call_syntax(match.group(2), "transform"))
    return Term(name or _named(rest, own), rest, own.get(rest) or resolve(rest), direction, weight, transform)


def _read_constraint(text: str, terms: Sequence[Term], own: Mapping[str, Oracle]) -> Constraint:
    """`[name=]oracle<=number`, where the oracle may be a term's name."""
    match = re.fullmatch(r"\s*(.+?)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*", text, flags=re.DOTALL)
    try:
        bound = float(match.group(3)) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or math.isnan(bound):
        raise ConfigError(
            f"cannot read the constraint {text!r}; write it like SA<=4, with one of <=, >=, <, > and a number."
        )
    left, operator = match.group(1), match.group(2)
    for term in terms:
        if left == term.name:
            return Constraint(term.name, term.spec, term.oracle, operator, bound)  # type: ignore[arg-type]
    name, spec = _split_name(left, own)
    oracle = own.get(spec) or resolve(spec)
    return Constraint(name or _named(spec, own), spec, oracle, operator, bound)  # type: ignore[arg-type]


def _plain(number: float) -> str:
    """4.0 as "4", and every other number with all its digits."""
    return repr(float(number)).removesuffix(".0")


def _named(spec: str, own: Mapping[str, Oracle]) -> str:
    return spec if spec in own else default_name(spec)


def _split_name(text: str, own: Mapping[str, Oracle]) -> tuple[str, str]:
    """("dock", "dock.py:score") of "dock=dock.py:score"; the name is "" if none is given."""
    match = None if text.strip() in own else re.fullmatch(r"\s*([A-Za-z_]\w*)\s*=(?!=)\s*(.+)", text, flags=re.DOTALL)
    return (match.group(1), match.group(2).strip()) if match else ("", text.strip())


def default_name(spec: str) -> str:
    """The column name of an oracle that was given none.

    >>> default_name("scores/dock.py:affinity"), default_name("cmd:./vina --fast"), default_name("plogp(cap=45)")
    ('affinity', 'vina', 'plogp')
    """
    if spec.startswith("cmd:"):
        return Path((spec.removeprefix("cmd:").split() or ["cmd"])[0]).stem
    if spec.startswith("activity:"):
        return Path(spec.removeprefix("activity:")).stem
    return spec.rsplit(":", 1)[-1].split("(", 1)[0].strip()
