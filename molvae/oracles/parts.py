"""The parts that GuacaMol's tasks are composed of: similarity, descriptors, patterns, formulae, and their mean.

Each part is a frozen, picklable function of a molecule. What it prepares (a target's fingerprint, a compiled pattern) is
made on first use, kept with the instance and left out when it is pickled; no state is shared between tasks.
Brown et al., J. Chem. Inf. Model. 59:1096, 2019.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from rdkit import Chem
from rdkit.Chem.GraphDescriptors import BertzCT

from molvae.chem import PROPERTIES, Mol, parse, pharmacophore, sparse_counts, tanimoto
from molvae.errors import ConfigError
from molvae.oracles.base import Measurement, MoleculeOracle
from molvae.oracles.modifiers import IDENTITY, Gaussian, Modifier, geometric_mean

# GuacaMol's names of fingerprints and ours. ECFP4 is a diameter, hence radius 2.
_FINGERPRINTS: dict[str, str] = {"ECFP4": "morgan2", "ECFP6": "morgan3", "FCFP4": "feature_morgan2", "AP": "atom_pair"}
_DESCRIPTORS: dict[str, Callable[[Mol], float]] = {
    **{name: entry.function for name, entry in PROPERTIES.items()},
    "BertzCT": BertzCT,
}


class Part:
    """A function of one molecule, whose cached properties are not pickled."""

    def __call__(self, mol: Mol) -> float:
        """The value of this part for `mol`."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Similarity(Part):
    """Tanimoto similarity to `target` (SMILES) on unfolded ECFP4, ECFP6, FCFP4 or AP counts, or on PHCO bits, modified."""

    target: str
    fingerprint: str
    modifier: Modifier = IDENTITY

    def __call__(self, mol: Mol) -> float:
        return self.modifier(tanimoto(self._vector(mol), self._reference))

    @cached_property
    def _reference(self) -> Any:
        return self._vector(molecule(self.target))

    def _vector(self, mol: Mol) -> Any:
        return pharmacophore(mol) if self.fingerprint == "PHCO" else sparse_counts(mol, _FINGERPRINTS[self.fingerprint])


@dataclass(frozen=True)
class Descriptor(Part):
    """One of chem.PROPERTIES, or BertzCT, by name, modified."""

    name: str
    modifier: Modifier = IDENTITY

    def __call__(self, mol: Mol) -> float:
        return self.modifier(float(_DESCRIPTORS[self.name](mol)))


@dataclass(frozen=True)
class Pattern(Part):
    """1 if the molecule has the SMARTS pattern (`wanted`) or lacks it (not `wanted`), else 0."""

    smarts: str
    wanted: bool = True

    def __call__(self, mol: Mol) -> float:
        return float(mol.HasSubstructMatch(self._query) is self.wanted)

    @cached_property
    def _query(self) -> Mol:
        return Chem.MolFromSmarts(self.smarts)


@dataclass(frozen=True)
class ElementCount(Part):
    """How many atoms of `element` there are (hydrogens included, of every isotope), modified."""

    element: str
    modifier: Modifier = IDENTITY

    def __call__(self, mol: Mol) -> float:
        return self.modifier(float(element_counts(mol)[self.element]))


@dataclass(frozen=True)
class Formula(Part):
    """Closeness to a molecular formula: geometric mean of a Gaussian (sigma 1) for each element's count and one (sigma 2)
    for the number of all atoms. Other elements count only in the total."""

    formula: str

    def __call__(self, mol: Mol) -> float:
        counts = element_counts(mol)
        scores = [closeness(counts[element]) for element, closeness in self._elements]
        return geometric_mean([*scores, self._total(counts.total())])

    @cached_property
    def _elements(self) -> list[tuple[str, Gaussian]]:
        return [(element, Gaussian(mu=number, sigma=1.0)) for element, number in parse_formula(self.formula).items()]

    @cached_property
    def _total(self) -> Gaussian:
        return Gaussian(mu=sum(parse_formula(self.formula).values()), sigma=2.0)


class Composite(MoleculeOracle):
    """A mean of named parts. Its measurements carry the modified value of every part as components.

    `mean` is a module-level function (it is pickled by name), such as `modifiers.geometric_mean`.
    """

    unit = "0 to 1"

    def __init__(self, mean: Callable[[list[float]], float], parts: Mapping[str, Part]) -> None:
        self.mean = mean
        self.parts = dict(parts)

    def measure_molecule(self, mol: Mol) -> Measurement:
        values = {name: part(mol) for name, part in self.parts.items()}
        if len(values) == 1:
            return Measurement.of(*values.values())
        return Measurement.of(self.mean(list(values.values())), values)


def molecule(smiles: str) -> Mol:
    """A molecule that a task refers to; `smiles` is known to be valid."""
    mol = parse(smiles)
    assert mol is not None, smiles
    return mol


def parse_formula(formula: str) -> dict[str, int]:
    """Element -> number of atoms. Raises ConfigError if `formula` is not like C9H10N2O2PF2Cl.

    >>> parse_formula("C2H4Cl")
    {'C': 2, 'H': 4, 'Cl': 1}
    """
    pairs = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    if not pairs or "".join(element + number for element, number in pairs) != formula:
        raise ConfigError(f"{formula!r} is not a molecular formula; write it like C9H10N2O2PF2Cl.")
    counts: dict[str, int] = {}
    for element, number in pairs:
        counts[element] = counts.get(element, 0) + int(number or 1)
    return counts


def element_counts(mol: Mol) -> Counter[str]:
    """Number of atoms of each element, implicit hydrogens included."""
    counts = Counter(atom.GetSymbol() for atom in mol.GetAtoms())
    counts["H"] += mol.GetNumAtoms(onlyExplicit=False) - mol.GetNumAtoms()
    return counts
