"""Gobbi 2D pharmacophores: pairs and triples of atom features with their distances, bit for bit as RDKit's generator sets
them.

Gobbi & Poppinger, Biotechnol. Bioeng. 61:47, 1998. RDKit's `Generate.Gen2DFingerprint` walks over all triples in Python (10
ms for a drug, minutes for a long chain); here the triples are one array expression, and RDKit's factory is asked only for
the bit of each distinct combination of features and distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.DataStructs import SparseBitVect

from molvae.chem.molecules import Mol

# A pharmacophore is written as one integer: feature kinds above distances, each distance two decimal digits.
_NEAREST, _FARTHEST = 2, 100  # bonds; nearer or farther features make no pharmacophore
_KIND, _KINDS = 1_000_000, 8
_NEVER = -(10**12)
_BLOCK = 2_000_000  # triples held at once


def pharmacophore(mol: Mol) -> SparseBitVect:
    """The Gobbi pharmacophore bits of `mol` ("PHCO" in GuacaMol), for `tanimoto`."""
    bits = SparseBitVect(_factory().GetSigSize())
    bits.SetBitsFromList([_bit(code) for code in _pharmacophores(mol)])
    return bits


def _pharmacophores(mol: Mol) -> Iterator[int]:
    """The distinct codes of `mol`: kinds and distances of every pair and triple of features at different atoms."""
    features = _features(mol)
    if not features:
        return
    kinds, atoms = np.array(features).T
    distances = np.minimum(Chem.GetDistanceMatrix(mol), _FARTHEST).astype(np.int64)[np.ix_(atoms, atoms)]
    usable = np.triu((distances >= _NEAREST) & (distances < _FARTHEST), 1)  # features in order, each pair once
    n = len(features)
    # first < second < third: the code of a triple is the sum of one number for each of its three pairs.
    first_second = np.where(usable, (kinds[:, None] * _KINDS + kinds) * _KINDS * _KIND + distances * 10_000, _NEVER)
    first_third = np.where(usable, kinds * _KIND + distances * 100, _NEVER)
    second_third = np.where(usable, distances, _NEVER)
    yield from np.unique(first_second[usable]).tolist()
    step = max(1, _BLOCK // (n * n))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        codes = first_second[rows, :, None] + first_third[rows, None, :] + second_third
        yield from np.unique(codes[codes >= 0]).tolist()


def _features(mol: Mol) -> list[tuple[int, int]]:
    """(kind, atom) of each feature, sorted; every Gobbi feature is one atom."""
    kind_of = {family: kind for kind, family in enumerate(_factory().GetFeatFamilies())}
    found = _factory().featFactory.GetFeaturesForMol(mol)
    return sorted({(kind_of[feature.GetFamily()], feature.GetAtomIds()[0]) for feature in found})


@lru_cache(maxsize=200_000)
def _bit(code: int) -> int:
    """RDKit's bit for a code; a pair's code has no second and third distance."""
    kinds, distances = divmod(code, _KIND)
    first, second, third = kinds // _KINDS**2, kinds // _KINDS % _KINDS, kinds % _KINDS
    d12, d13, d23 = distances // 10_000, distances // 100 % 100, distances % 100
    if d13 == 0:
        return _factory().GetBitIdx([first, second], [d12], sortIndices=False)
    return _factory().GetBitIdx([first, second, third], [d12, d13, d23], sortIndices=False)


@cache
def _factory() -> Any:
    from rdkit.Chem.Pharm2D import Gobbi_Pharm2D  # parses its feature patterns when imported

    return Gobbi_Pharm2D.factory
