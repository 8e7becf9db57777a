"""What is measured of each molecule of a library or of a set that it is compared with: the part that worker processes do.

A `Profile` holds one chunk of rows and can be added to the next, so that a file of any length is read once and leaves behind
its canonical SMILES and a few numbers a molecule. Nothing here imports torch: a worker starts fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, GraphDescriptors, rdMolDescriptors

from molvae.chem import Mol, canonical, parse, problems, property_named, ring_systems, scaffold
from molvae.chem.fragments import brics_fragments, ring_scaffold
from molvae.chem.medicinal import medicinal_fault
from molvae.chem.properties import keep_logp
from molvae.evaluation.similarity import BITS, morgan_bits
from molvae.processes import Pool

PROPERTIES = ("logP", "SA", "QED", "NP", "MW")
CHUNK = 500  # rows a job
FEW_JOBS = 4

J = TypeVar("J")
R = TypeVar("R")

# The descriptors of GuacaMol's KL score: 4 continuous ones, then 5 counts.
DESCRIPTORS: dict[str, Callable[[Mol], float]] = {
    "BertzCT": GraphDescriptors.BertzCT,
    "logP": property_named("logP").function,
    "MW": Descriptors.MolWt,
    "TPSA": rdMolDescriptors.CalcTPSA,
    "HBA": rdMolDescriptors.CalcNumHBA,
    "HBD": rdMolDescriptors.CalcNumHBD,
    "rotatable_bonds": rdMolDescriptors.CalcNumRotatableBonds,
    "aliphatic_rings": rdMolDescriptors.CalcNumAliphaticRings,
    "aromatic_rings": rdMolDescriptors.CalcNumAromaticRings,
}
N_CONTINUOUS = 4
DESCRIPTOR_BITS = 4096


@dataclass(frozen=True)
class Wanted:
    """Which parts of a profile to fill. features: distributions and fingerprints.  rings: ring systems of each molecule.
    judgement: sanity, filter and scaffold of each molecule."""

    features: bool = False
    rings: bool = False
    judgement: bool = False


@dataclass
class Profile:
    """What was measured of some rows. What follows `smiles` has one entry a valid row, in order, or is empty if not wanted.

    smiles: canonical isomeric SMILES, None for an invalid row.  properties: (n, 5) float64 in the order of PROPERTIES, NaN
    where RDKit fails.  bits: (n, 128) uint8, packed Morgan bits.  scaffolds, fragments: how often each occurs.
    systems: ring systems of each molecule.  faults: its sanity problems, unseen ring systems aside.  filtered: why MOSES's
    filter rejects it, or "".  plain_scaffolds: its scaffold without stereo, "" if acyclic.
    """

    smiles: list[str | None] = field(default_factory=list)
    properties: np.ndarray = field(default_factory=lambda: np.zeros((0, len(PROPERTIES))))
    bits: np.ndarray = field(default_factory=lambda: np.zeros((0, BITS // 8), np.uint8))
    scaffolds: Counter[str] = field(default_factory=Counter)
    fragments: Counter[str] = field(default_factory=Counter)
    systems: list[tuple[str, ...]] = field(default_factory=list)
    faults: list[tuple[str, ...]] = field(default_factory=list)
    filtered: list[str] = field(default_factory=list)
    plain_scaffolds: list[str] = field(default_factory=list)

    @property
    def valid(self) -> list[str]:
        """Canonical SMILES of the valid rows, repetitions included."""
        return [text for text in self.smiles if text is not None]

    @property
    def log_p(self) -> dict[str, float]:
        """logP of each distinct valid molecule, in the order of the rows; NaN where it was not measured."""
        values = self.properties[:, PROPERTIES.index("logP")].tolist()
        return dict(zip(self.valid, values or [math.nan] * len(self.valid), strict=True))

    @property
    def known_systems(self) -> frozenset[str]:
        """Every ring system that occurs."""
        return frozenset(chain.from_iterable(self.systems))

    @classmethod
    def joined(cls, parts: Iterable[Profile]) -> Profile:
        """One profile of all rows of `parts`."""
        whole, properties, bits = cls(), [], []
        seen: dict[str, str] = {}  # equal strings of different chunks become one object
        for part in parts:
            properties.append(part.properties)
            bits.append(part.bits)
            whole.smiles += part.smiles
            whole.scaffolds.update(part.scaffolds)
            whole.fragments.update(part.fragments)
            whole.systems += [tuple(seen.setdefault(text, text) for text in row) for row in part.systems]
            whole.faults += part.faults
            whole.filtered += [seen.setdefault(text, text) for text in part.filtered]
            whole.plain_scaffolds += [seen.setdefault(text, text) for text in part.plain_scaffolds]
        whole.properties = np.concatenate([whole.properties, *properties])
        whole.bits = np.concatenate([whole.bits, *bits])
        return whole


def profile(job: tuple[str, Wanted, Sequence[str | None]]) -> tuple[str, Profile]:
    """(set, what is wanted, SMILES) -> the set and the profile of this chunk of it."""
    name, wanted, rows = job
    found = Profile()
    mols: list[Mol] = []
    for text in rows:
        mol = parse(text) if text else None
        written = None if mol is None else _written(text, mol)
        found.smiles.append(written)
        if mol is not None and written is not None:
            mols.append(mol)
    for mol in mols:
        if wanted.rings:
            found.systems.append(tuple(ring_systems(mol)))
        if wanted.judgement:
            found.faults.append(tuple(problems(mol)))
            found.filtered.append(medicinal_fault(mol))
            found.plain_scaffolds.append(scaffold(mol))
        if wanted.features:
            found.fragments.update(brics_fragments(mol))
            framework = ring_scaffold(mol)
            if framework is not None:
                found.scaffolds[framework] += 1
    if wanted.features and mols:
        functions = [property_named(name).function for name in PROPERTIES]
        found.properties = np.array([[_value(function, mol) for function in functions] for mol in mols])
        found.bits = morgan_bits(mols)
    return name, found


def profiles(
    sets: Mapping[str, tuple[Wanted, Iterable[str | None]]], pool: Pool, progress: Callable[[str, int], None] | None = None
) -> dict[str, Profile]:
    """The profile of each set, read one after the other, as their rows come. `progress` hears (set, rows done)."""
    found: dict[str, list[Profile]] = {name: [] for name in sets}
    jobs = ((name, wanted, chunk) for name, (wanted, rows) in sets.items() for chunk in _chunks(rows))
    for name, part in _results(profile, jobs, pool):
        found[name].append(part)
        if progress:
            progress(name, sum(len(each.smiles) for each in found[name]))
    return {name: Profile.joined(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class Described:
    """GuacaMol's view of molecules: without stereo and isotopes, each one once.

    values: (n, 9) float64 in the order of DESCRIPTORS.  bits: (n, 512) uint8, packed Morgan bits of size 4096.
    """

    values: np.ndarray
    bits: np.ndarray


def describe(job: tuple[int, Sequence[str], Sequence[float]]) -> tuple[int, list[tuple[str, np.ndarray, np.ndarray]]]:
    """(set, SMILES, logP) -> the set, and (SMILES without stereo, descriptors, packed bits) of each molecule.

    logP, the slowest descriptor but one, knows no stereo, so it need not be measured twice; NaN where it has not been.
    A descriptor that is not finite counts as 0, as in GuacaMol.
    """
    side, smiles, known = job
    found = []
    for text, log_p in zip(smiles, known, strict=True):
        mol = parse(text)
        flat = None if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False)
        mol = mol if flat == text else parse(flat) if flat else None
        if mol is None or flat is None:
            continue
        if not math.isnan(log_p):
            keep_logp(mol, log_p)
        values = np.array([_value(function, mol) for function in DESCRIPTORS.values()])
        found.append((flat, np.where(np.isfinite(values), values, 0.0), morgan_bits([mol], DESCRIPTOR_BITS)[0]))
    return side, found


def described(
    sides: Sequence[Mapping[str, float]], pool: Pool, progress: Callable[[int, int], None] | None = None
) -> list[Described]:
    """Descriptors and fingerprints of the distinct molecules of each set, stereo and isotopes left out.

    sides: SMILES, each with its logP, or NaN where that has to be measured.
    """
    kept: list[dict[str, tuple[np.ndarray, np.ndarray]]] = [{} for _ in sides]
    total, done = sum(map(len, sides)), 0
    jobs = ((side, chunk, [of[text] for text in chunk]) for side, of in enumerate(sides) for chunk in _chunks(of))
    for side, part in _results(describe, jobs, pool):
        for flat, values, bits in part:
            kept[side].setdefault(flat, (values, bits))
        done = min(done + CHUNK, total)
        if progress:
            progress(done, total)
    return [
        Described(
            np.array([values for values, _ in rows.values()]).reshape(-1, len(DESCRIPTORS)),
            np.array([bits for _, bits in rows.values()], np.uint8).reshape(-1, DESCRIPTOR_BITS // 8),
        )
        for rows in kept
    ]


def _results(function: Callable[[J], R], jobs: Iterator[J], pool: Pool) -> Iterator[R]:
    """The results in the order of the jobs; in this process if there are few, because starting another costs a second."""
    first = list(islice(jobs, FEW_JOBS))
    yield from map(function, first) if len(first) < FEW_JOBS else pool.in_order(function, chain(first, jobs))


def _chunks(rows: Iterable[str | None]) -> Iterator[list[str | None]]:
    stream = iter(rows)
    while chunk := list(islice(stream, CHUNK)):
        yield chunk


def _written(text: str | None, mol: Mol) -> str | None:
    """`canonical(mol)`, sooner if `text`, which it was parsed from, is canonical: one writing is then its own re-parse's."""
    with rdBase.BlockLogs():
        once = Chem.MolToSmiles(mol)
    return once if once == text else canonical(mol)


def _value(function: Callable[[Mol], float], mol: Mol) -> float:
    try:
        return float(function(mol))
    except (ValueError, RuntimeError, ZeroDivisionError):  # RDKit's own errors are of these types
        return math.nan
