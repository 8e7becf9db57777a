"""Count fingerprints: folded into arrays for models, sparse and unfolded for similarity oracles.

Morgan (extended-connectivity) fingerprints: Rogers & Hahn, J. Chem. Inf. Model. 50:742, 2010. Atom pairs: Carhart et al.,
J. Chem. Inf. Comput. Sci. 25:64, 1985. Topological torsions: Nilakantan et al., ibid. 27:82, 1987.
Chirality is never included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from rdkit.Chem import rdFingerprintGenerator as generators
from rdkit.DataStructs import TanimotoSimilarity

from molvae.chem.molecules import Mol
from molvae.errors import UnknownName, nearest

_MAKERS: dict[str, Callable[[int], Any]] = {
    "morgan2": lambda size: generators.GetMorganGenerator(radius=2, fpSize=size),
    "morgan3": lambda size: generators.GetMorganGenerator(radius=3, fpSize=size),
    "feature_morgan2": lambda size: generators.GetMorganGenerator(
        radius=2, fpSize=size, atomInvariantsGenerator=generators.GetMorganFeatureAtomInvGen()
    ),
    # Pairs at most 10 bonds apart, as in GuacaMol's "AP".
    "atom_pair": lambda size: generators.GetAtomPairGenerator(maxDistance=10, fpSize=size, countSimulation=False),
    "topological_torsion": lambda size: generators.GetTopologicalTorsionGenerator(fpSize=size, countSimulation=False),
}
COUNT_KINDS = frozenset(_MAKERS)


def count_fingerprints(mols: Sequence[Mol], kind: str, size: int = 2048) -> np.ndarray:
    """Folded count fingerprints, (N, size) uint16: how often each hashed environment occurs.

    `kind` is one of COUNT_KINDS. 5,000 to 15,000 molecules a second on one core. Counts above 65,535 saturate.
    Raises UnknownName for another kind.
    """
    generator = _generator(kind, size)
    counts = np.zeros((len(mols), size), dtype=np.uint16)
    for row, mol in zip(counts, mols, strict=True):
        row[:] = np.minimum(generator.GetCountFingerprintAsNumPy(mol), np.iinfo(np.uint16).max)
    return counts


def sparse_counts(mol: Mol, kind: str) -> Any:
    """Unfolded count fingerprint as an RDKit sparse vector, for `tanimoto`. Raises UnknownName for an unknown kind."""
    return _generator(kind, 2048).GetSparseCountFingerprint(mol)


def tanimoto(a: Any, b: Any) -> float:
    """Tanimoto similarity of two vectors of one kind: sum of minima over sum of maxima for counts, shared bits for bits."""
    return TanimotoSimilarity(a, b)


@cache
def _generator(kind: str, size: int) -> Any:
    if kind not in _MAKERS:
        raise UnknownName(f"no fingerprint named {kind!r}.{nearest(kind, _MAKERS)} Known: {', '.join(sorted(_MAKERS))}.")
    return _MAKERS[kind](size)
