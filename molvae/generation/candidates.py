"""Candidates: what a drawn string is, judged by filters. The part of `generate` that worker processes do.

Nothing here imports torch, so that a worker starts fast. What "faithful" and "sane" mean is said in `tokens` and
`chem.filters`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from molvae.chem import Mol, parse, property_named
from molvae.generation.filters import Filter, reasons
from molvae.strings.tokens import Decoded, Vocabulary


@dataclass(frozen=True)
class Plan:
    """What to do with a string: how to read it, what to ask of the molecule, what to compute."""

    vocabulary: Vocabulary
    filters: tuple[Filter, ...]
    properties: tuple[str, ...]
    ring_systems: frozenset[str] | None
    keep_unfaithful: bool


@dataclass(frozen=True)
class Candidate:
    """One drawn string. failed: stage -> reasons, for the first stage that it does not pass, if there is one."""

    smiles: str
    faithful: bool
    failed: dict[str, list[str]]
    properties: dict[str, float] = field(default_factory=dict)


def examine(plan: Plan, strings: Sequence[str]) -> list[Candidate]:
    """Read SELFIES strings and judge them, each as far as the first filter that it does not pass.

    A step is taken for all strings before the next one begins: what it needs stays in the processor's cache, which saves a
    quarter of the time.
    """
    read = plan.vocabulary.read(strings)
    failed = [_unfit(plan, decoded) for decoded, _ in read]
    values: list[dict[str, float]] = [{} for _ in read]

    def passing() -> list[tuple[int, Mol]]:
        return [(i, mol) for i, (_, mol) in enumerate(read) if mol is not None and not failed[i]]

    for rule in plan.filters:
        for i, mol in passing():
            if why := reasons(rule, mol, plan.ring_systems, values[i]):
                failed[i] = {str(rule): why}
    for name in plan.properties:
        unknown = [(i, mol) for i, mol in passing() if name not in values[i]]
        for (i, _), value in zip(unknown, property_named(name).values([mol for _, mol in unknown]), strict=True):
            values[i][name] = value
    return [
        Candidate(
            decoded.smiles or "",
            decoded.faithful,
            fault,
            {} if fault else {name: _rounded(name, known[name]) for name in plan.properties},
        )
        for (decoded, _), fault, known in zip(read, failed, values, strict=True)
    ]


def _unfit(plan: Plan, decoded: Decoded) -> dict[str, list[str]]:
    """Stage and reason for a string that no filter needs to see; empty for any other."""
    if decoded.smiles is None:
        return {"valid": [_kind(decoded.reason)]}
    return {} if decoded.faithful or plan.keep_unfaithful else {"faithful": [_kind(decoded.reason)]}


def _rounded(name: str, value: float) -> float | int:
    """Counts as whole numbers, everything else to four decimals, more than any of these models of a property deserves."""
    return int(value) if property_named(name).unit in ("count", "elementary charge") else round(float(value), 4)


def _kind(reason: str) -> str:
    """A reason without its numbers and symbols, so that alike reasons are counted together."""
    return re.sub(r"^\d+ (of \d+ )?", "", reason.split(":")[0])


def examine_share(job: tuple[Plan, Sequence[str]]) -> list[Candidate]:
    """`examine`, as a job for a worker process."""
    return examine(*job)


def prepare(properties: Sequence[str]) -> None:
    """Load what the properties need, as a first job for a worker process."""
    for name in properties:
        property_named(name).function(parse("CCO"))
