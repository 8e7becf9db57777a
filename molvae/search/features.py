"""What the surrogate knows about a molecule: folded counts of several fingerprints, a few scaled descriptors, its latent.

The min-max Tanimoto kernel of two count vectors, sum min(a, b) / sum max(a, b) (Ralaivola et al., Neural Networks
18:1093, 2005), becomes a matrix product once a count c is written as c ones in c columns: sum min(a, b) is then the dot
product of two sparse 0/1 rows, and sum max(a, b) = sum a + sum b - sum min(a, b). All sums are small integers, exact in
float32, so a kernel entry does not depend on the batch it was computed in.

Shapes: N molecules, W columns of the written-out counts, P entries of a vector.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse

from molvae.chem.fingerprints import COUNT_KINDS, count_fingerprints
from molvae.chem.molecules import Mol, parse
from molvae.chem.properties import property_named
from molvae.errors import ConfigError, InvalidMolecule, UnknownName, nearest

if TYPE_CHECKING:
    from molvae.search.space import LatentModel

COUNT_FEATURES = ("morgan3", "feature_morgan2", "atom_pair")
N_BITS = 2048
# Units of the descriptors in the RBF kernel: one unit should matter about as much as one ring or one atom of an element.
DESCRIPTOR_UNITS = {
    "logP": 1.0,
    "TPSA": 20.0,
    "MW": 50.0,
    "rings": 1.0,
    "aromatic_rings": 1.0,
    "rotatable_bonds": 2.0,
    "HBD": 1.0,
    "HBA": 2.0,
    "heavy_atoms": 4.0,
}
ELEMENTS = ("C", "N", "O", "F", "P", "S", "Cl", "Br")
HYDROGEN_UNIT = 4.0
N_DESCRIPTORS = len(DESCRIPTOR_UNITS) + len(ELEMENTS) + 1
DESCRIPTOR_LENGTH = 3.0  # prior median of a length, in the units above
FEATURES = (*COUNT_FEATURES, "descriptors")  # what the surrogate reads by default
_NOWHERE = 1e6  # where a molecule without a latent is put: as unlike any other as can be


@dataclass(frozen=True)
class FeatureBatch:
    """Features of `n` molecules. `counts`: kind -> (N, W) sparse float32 of ones; `vectors`: name -> (N, P) float64."""

    counts: dict[str, scipy.sparse.csr_matrix]
    vectors: dict[str, np.ndarray]
    n: int

    def __len__(self) -> int:
        return self.n

    @cached_property
    def columns(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Kind -> the columns in use, (U,) sorted, and their entries, (U, N) float32: what products are made with."""
        found = {}
        for kind, matrix in self.counts.items():
            used = np.unique(matrix.indices)
            found[kind] = used, np.ascontiguousarray(matrix[:, used].T.toarray())  # or every product copies it first
        return found

    def take(self, rows: np.ndarray) -> FeatureBatch:
        """The molecules at `rows`, in that order."""
        counts = {kind: matrix[rows] for kind, matrix in self.counts.items()}
        return FeatureBatch(counts, {name: table[rows] for name, table in self.vectors.items()}, len(rows))


@dataclass(frozen=True)
class VectorFeature:
    """A vector that an RBF compares.

    size: P.  length: prior median of its lengths.  of: those of N molecules, (N, P) float64; none depends on the others.
    """

    size: int
    length: float
    of: Callable[[Sequence[str], Sequence[Mol]], np.ndarray]


def descriptors(smiles: Sequence[str], mols: Sequence[Mol]) -> np.ndarray:
    """(N, P) float64: properties and element counts in the units above."""
    scaled = [np.array(property_named(name).values(mols)) / unit for name, unit in DESCRIPTOR_UNITS.items()]
    return np.hstack([np.stack(scaled, 1), [_composition(mol) for mol in mols]])


def _composition(mol: Mol) -> list[float]:
    atoms = [(atom.GetSymbol(), atom.GetTotalNumHs()) for atom in mol.GetAtoms()]
    counts = Counter(symbol for symbol, _ in atoms)
    return [*(counts[element] for element in ELEMENTS), sum(n for _, n in atoms) / HYDROGEN_UNIT]


DESCRIPTORS = VectorFeature(N_DESCRIPTORS, DESCRIPTOR_LENGTH, descriptors)


def latent_vectors(model: LatentModel) -> VectorFeature:
    """The posterior mean of a molecule, lengths of sqrt(D) at first: draws from the prior are then about one length apart.

    (Hvarfner et al., ICML 2024, arXiv:2402.02229.) Molecules are encoded one by one, because last digits depend on the
    company, and a search that goes on after a kill must find the same ones.
    """

    def of(smiles: Sequence[str], mols: Sequence[Mol]) -> np.ndarray:
        z = np.array([model.encode([one])[0] for one in smiles], dtype=np.float64)
        z[~np.isfinite(z).all(axis=1)] = _NOWHERE
        return z

    return VectorFeature(model.latent_size, math.sqrt(model.latent_size), of)


def feature_cache(names: Sequence[str], model: LatentModel | None = None) -> FeatureCache:
    """The cache of the features named: count fingerprints, "descriptors", and "latent", which needs a model.

    Raises ConfigError for no name or a repeated one, and UnknownName with the nearest name.
    """
    vectors = {"descriptors": DESCRIPTORS} | ({"latent": latent_vectors(model)} if model is not None else {})
    known = (*sorted(COUNT_KINDS), *vectors)
    for name in names:
        if name not in known:
            raise UnknownName(f"no feature named {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"features is {list(names)}; name each of the surrogate's features once, and at least one.")
    kinds = [name for name in names if name not in vectors]
    return FeatureCache(kinds, {name: vectors[name] for name in names if name in vectors})


class FeatureCache:
    """Features by canonical SMILES; a molecule is parsed once.

    Parameters
    ----------
    kinds: count fingerprints to compute, names of `molvae.chem.fingerprints.COUNT_KINDS`.
    vectors: vectors to compute, by name.
    limit: molecules kept; when there are more, the older half is forgotten (about 2 kB a molecule).
    """

    def __init__(
        self,
        kinds: Sequence[str] = COUNT_FEATURES,
        vectors: Mapping[str, VectorFeature] | None = None,
        *,
        limit: int = 40_000,
    ) -> None:
        self.kinds = tuple(kinds)
        self.vectors = {"descriptors": DESCRIPTORS} if vectors is None else dict(vectors)
        self.limit = limit
        self._columns: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in self.kinds}
        self._vectors: dict[str, dict[str, np.ndarray]] = {}  # of each molecule, by name

    def batch(self, smiles: Sequence[str]) -> FeatureBatch:
        """Features of `smiles`, row by row. Raises InvalidMolecule for a string that RDKit cannot parse."""
        self._forget()
        self._compute([s for s in dict.fromkeys(smiles) if s not in self._vectors])
        counts = {kind: _rows([self._columns[kind][s] for s in smiles]) for kind in self.kinds}
        tables = {
            name: np.array([self._vectors[s][name] for s in smiles], dtype=np.float64).reshape(len(smiles), vector.size)
            for name, vector in self.vectors.items()
        }
        return FeatureBatch(counts, tables, len(smiles))

    def _compute(self, smiles: list[str]) -> None:
        mols = [parse(s) for s in smiles]
        if None in mols:
            raise InvalidMolecule(f"the surrogate was given {smiles[mols.index(None)]!r}, which is not a molecule")
        if not mols:
            return
        for kind in self.kinds:
            for s, columns in zip(smiles, _written_out(count_fingerprints(mols, kind, N_BITS)), strict=True):
                self._columns[kind][s] = columns
        tables = {name: vector.of(smiles, mols) for name, vector in self.vectors.items()}
        for i, s in enumerate(smiles):
            self._vectors[s] = {name: table[i] for name, table in tables.items()}

    def _forget(self) -> None:
        if len(self._vectors) > self.limit:
            for s in list(self._vectors)[: self.limit // 2]:
                del self._vectors[s]
                for columns in self._columns.values():
                    del columns[s]


def _written_out(counts: np.ndarray) -> list[np.ndarray]:
    """For each row of (N, N_BITS) counts, its columns: bit b with count c fills b, b + N_BITS, ..., b + (c - 1) N_BITS."""
    rows, bits = np.nonzero(counts)
    c = counts[rows, bits].astype(np.int64)
    level = np.arange(c.sum()) - np.repeat(np.cumsum(c) - c, c)
    columns = (level * N_BITS + np.repeat(bits, c)).astype(np.int32)
    ends = np.cumsum(np.bincount(np.repeat(rows, c), minlength=len(counts)))
    return np.split(columns, ends[:-1])


def _rows(columns: list[np.ndarray]) -> scipy.sparse.csr_matrix:
    """(N, W) sparse matrix of ones with `columns[i]` filled in row i; W covers the largest column."""
    ends = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    indices = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)
    width = int(indices.max()) + 1 if len(indices) else 1
    return scipy.sparse.csr_matrix((np.ones(len(indices), dtype=np.float32), indices, ends), shape=(len(columns), width))
