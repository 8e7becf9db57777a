"""Try an oracle on a few molecules before any budget is spent: its speed, whether it repeats itself, what fails and why."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from molvae.errors import OracleError
from molvae.oracles.base import Measurement, Oracle


@dataclass(frozen=True)
class ProbeReport:
    """What a probe found.

    smiles, measurements: the molecules and what was measured for them the first time.
    seconds_per_molecule: wall-clock time of the first pass over the number of molecules.
    differences: (SMILES, first value, second value) where the second pass, in reverse order, gave something else.
    """

    smiles: list[str]
    measurements: list[Measurement]
    seconds_per_molecule: float
    differences: list[tuple[str, float, float]]

    @property
    def deterministic(self) -> bool:
        """Whether every molecule got the same value twice."""
        return not self.differences

    @property
    def failures(self) -> list[tuple[str, str]]:
        """(SMILES, reason) of each molecule without a value."""
        return [(s, m.reason) for s, m in zip(self.smiles, self.measurements, strict=True) if math.isnan(m.value)]

    @property
    def values(self) -> list[float]:
        """The values of the first pass, NaN where it failed."""
        return [m.value for m in self.measurements]


def probe(oracle: Oracle, smiles: Sequence[str]) -> ProbeReport:
    """Measure `smiles` twice, the second time in reverse order. Works for an `Objective` as well.

    Raises OracleError if the oracle does not return one measurement for each molecule.
    """
    smiles = list(smiles)
    start = time.perf_counter()
    first = measured(oracle, smiles)
    seconds = time.perf_counter() - start
    second = measured(oracle, smiles[::-1])[::-1]
    differences = [
        (one, a.value, b.value)
        for one, a, b in zip(smiles, first, second, strict=True)
        if a.value != b.value and not (math.isnan(a.value) and math.isnan(b.value))
    ]
    return ProbeReport(smiles, first, seconds / max(len(smiles), 1), differences)


def measured(oracle: Oracle, smiles: Sequence[str]) -> list[Measurement]:
    """`oracle.measure(smiles)`, checked: OracleError unless there is one measurement for each molecule."""
    measurements = oracle.measure(smiles)
    if len(measurements) != len(smiles):
        raise OracleError(
            f"the oracle {type(oracle).__name__} returned {len(measurements)} measurements for {len(smiles)} molecules; "
            "measure() must return one for each, in order, NaN with a reason where it failed."
        )
    return measurements
