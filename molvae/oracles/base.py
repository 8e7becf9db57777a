"""The measurement contract: one `Measurement` for each molecule, in order; a failure is NaN with a reason, never a number.

An oracle is deterministic as far as it can be, keeps no state between molecules, and can be pickled for a worker process.
"""

from __future__ import annotations

import math
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from molvae.chem import Mol, parse
from molvae.errors import ConfigError, error_text, shortened
from molvae.registry import Registry

Direction = Literal["maximise", "minimise"]


@dataclass(frozen=True)
class Measurement:
    """What an oracle found for one molecule.

    value: the number, NaN if there is none.
    reason: why there is none; "" for a finite value.
    components: finite parts that the value was made from, by name, for the table of results.
    """

    value: float
    reason: str = ""
    components: dict[str, float] = field(default_factory=dict)

    @classmethod
    def failed(cls, reason: str, components: Mapping[str, float] | None = None) -> Measurement:
        """A measurement without a value."""
        return cls(math.nan, reason, dict(components or {}))

    @classmethod
    def of(cls, value: object, components: Mapping[str, float] | None = None) -> Measurement:
        """`value` as a measurement; None, text, NaN, infinity and anything that is no number become a failure that says so.

        >>> Measurement.of("0.5").reason
        "the score is text ('0.5'), not a number"
        """
        if value is None:
            return cls.failed("the score is None", components)
        if isinstance(value, (str, bytes)):
            return cls.failed(f"the score is text ({shortened(repr(value))}), not a number", components)
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return cls.failed(f"the score is a {type(value).__name__}, not a number", components)
        if not math.isfinite(number):
            return cls.failed(f"the score is {number}", components)
        return cls(number, "", dict(components or {}))


class Oracle(ABC):
    """Something that can be measured for a molecule. `direction` and `unit` say how to read its values.

    chunk: the most molecules that a search hands over at once. 1 fits what measures each on its own; more is for what pays
    for every call, such as starting a program. A search hands over fewer if they take more than a second or two.
    """

    direction: Direction = "maximise"
    unit: str = "dimensionless"
    chunk: int = 1

    @abstractmethod
    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        """One measurement for each SMILES, in order. The strings are canonical; a broken one is a failure, not an error."""


class MoleculeOracle(Oracle):
    """An oracle computed from one RDKit molecule at a time: a subclass defines `score`."""

    def score(self, mol: Mol) -> float:
        """The value of one molecule. Whatever it raises, and NaN or infinity, becomes a failure with that reason."""
        raise NotImplementedError

    def measure_molecule(self, mol: Mol) -> Measurement:
        """The measurement of one molecule; override it instead of `score` to report components."""
        return Measurement.of(self.score(mol))

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        return [self._measure_one(one) for one in smiles]

    def _measure_one(self, smiles: str) -> Measurement:
        mol = parse(smiles)
        if mol is None:
            return Measurement.failed("not a valid SMILES")
        try:
            return self.measure_molecule(mol)
        except Exception as error:  # noqa: BLE001 - one molecule that a descriptor cannot handle must not end a search
            return Measurement.failed(error_text(error))


ORACLES: Registry[Oracle] = Registry("oracle", "molvae.oracles")


def call_syntax(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """Split "name" or "name(key=value, ...)" into the name and its settings; values are read as TOML.

    >>> call_syntax("clip(lower=0, upper=0.8)", "transform")
    ('clip', {'lower': 0, 'upper': 0.8})
    """
    match = re.fullmatch(r"([^()]*?)(?:\((.*)\))?", text.strip(), flags=re.DOTALL)
    if match is None:
        raise ConfigError(f"cannot read the {what} {text!r}; write a name, or name(setting=value, setting=value).")
    name, inside = match.group(1).strip(), match.group(2) or ""
    try:
        return name, tomllib.loads(f"settings = {{{inside}}}")["settings"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"cannot read the settings of {what} {text!r}: write name(setting=value, ...), text in quotes."
        ) from error
