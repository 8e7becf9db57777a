"""Frechet ChemNet distance (Preuer et al. 2018, J. Chem. Inf. Model. 58:1736), between two sets of molecules.

The 512 activations of ChemNet's last hidden layer are taken as Gaussian in each set, with mean m and covariance C, and

    FCD = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

The network and the input encoding are those of the `fcd` package (an extra: LGPL, weights inside its wheel): a wrong scale
of the one-hot input gives plausible but wrong numbers. The distance has a bias that falls with the number of molecules
(10,000 random ZINC250k molecules are at 0.19 from a held-out part of the same set, 1,000 at 1.46), so values are comparable
only at equal numbers, 10,000 by convention. Stereo is part of what ChemNet reads; keep it on both sides.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
from safetensors.numpy import load_file, save_file

from molvae.chem import canonical
from molvae.errors import DataError, MolvaeError
from molvae.files import atomic_path

log = logging.getLogger(__name__)

ENOUGH = 5000  # below this the bias of the distance outweighs most differences between models
LONGEST = 349  # ChemNet reads 350 characters with the end mark; longer input would change the padding of its whole batch


@dataclass(frozen=True)
class Activations:
    """Mean (512,) and covariance (512, 512), float64, of the ChemNet activations of `n` molecules."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int

    @classmethod
    def of(cls, features: np.ndarray) -> Activations:
        """The statistics of (n, 512) activations; the covariance divides by n - 1. Raises DataError below 2 rows."""
        if len(features) < 2:
            raise DataError(f"the FCD needs at least 2 molecules on each side, not {len(features)}. Give more molecules.")
        rows = features.astype(np.float64)
        return cls(rows.mean(axis=0), np.cov(rows, rowvar=False), len(rows))


def chemnet_activations(
    smiles: Sequence[str],
    *,
    canonicalise: bool = True,
    device: str = "cpu",
    batch: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """(n, 512) float32 ChemNet activations of canonical isomeric SMILES, in order.

    Molecules that cannot be parsed, or of more than 349 characters, are left out with a warning, so n can be smaller than
    the number of strings. canonicalise: False takes them as they are, for strings that are known to be canonical.
    About 300 molecules a second on one CPU core. Raises MolvaeError if `fcd` is not installed.
    """
    fcd = _package()
    given = map(canonical, smiles) if canonicalise else smiles
    written = [text for text in given if text is not None and len(text) <= LONGEST]
    if len(written) < len(smiles):
        log.warning(
            "%d of %d molecules are invalid or too long for ChemNet and do not count",
            len(smiles) - len(written),
            len(smiles),
        )
    import torch

    network = fcd.load_ref_model().to(device)
    parts = [np.zeros((0, 512), np.float32)]
    for start in range(0, len(written), batch):
        one_hot = torch.from_numpy(_one_hot(fcd, written[start : start + batch])).to(device)
        with torch.inference_mode():
            parts.append(network(one_hot.transpose(1, 2)).cpu().numpy())
        if progress:
            progress(min(start + batch, len(written)), len(written))
    return np.concatenate(parts)


def _one_hot(fcd: ModuleType, smiles: Sequence[str]) -> np.ndarray:
    """(n, 350, symbols) float32: the input of ChemNet, as the package's own data set makes it, in an eighth of the time.

    Each symbol, "." for the end among them, is 1 / (number of symbols) in its column; the rest is 0.
    """
    width = fcd.utils.get_one_hot("").shape[1]
    encoded = np.zeros((len(smiles), LONGEST + 1, width), np.float32)
    column: dict[str, int] = {}
    for row, text in zip(encoded, smiles, strict=True):
        for position, symbol in enumerate(fcd.utils.tokenize(f"{text}.")):
            if symbol not in column:
                column[symbol] = int(fcd.utils.get_one_hot(symbol)[0].argmax())
            row[position, column[symbol]] = 1 / width
    return encoded


def frechet_distance(a: Activations, b: Activations) -> float:
    """The squared Frechet distance between two Gaussians (Dowson and Landau 1982); 0 for equal ones, up to rounding.

    tr (C1 C2)^(1/2) is computed as tr (R C2 R)^(1/2) with R = C1^(1/2): both matrices have the same eigenvalues, and the
    second is symmetric, so singular covariances (fewer molecules than activations) need no correction.
    """
    root = _root(a.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    shared = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    gap = a.mean - b.mean
    distance = gap @ gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * shared
    return max(float(distance), 0.0)  # rounding takes equal sets a few millionths below 0


def frechet_chemnet_distance(
    smiles: Sequence[str],
    reference: Sequence[str] | Activations,
    *,
    canonicalise: bool = True,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """FCD of a set of molecules to a reference set, given as SMILES or as its statistics. Duplicates count, as in MOSES.

    Deterministic on one machine at a given number of torch threads, which is left to the caller. Warns below 5,000
    molecules on either side. Raises DataError for fewer than 2 molecules. canonicalise: as in `chemnet_activations`.
    """

    def statistics(of: Sequence[str]) -> Activations:
        return Activations.of(chemnet_activations(of, canonicalise=canonicalise, device=device, progress=progress))

    given = statistics(smiles)
    other = reference if isinstance(reference, Activations) else statistics(reference)
    if min(given.n, other.n) < ENOUGH:
        log.warning("FCD of %d against %d molecules: below %d the bias of the distance dominates", given.n, other.n, ENOUGH)
    return frechet_distance(given, other)


def reference_activations(
    smiles: Sequence[str],
    cache: str | os.PathLike[str],
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Activations:
    """The statistics of a reference set, kept as a safetensors file in the folder `cache`.

    The file's name holds a hash of the strings, in order, and the version of `fcd`: another set is another file.
    """
    digest = hashlib.sha256("\n".join([fcd_version(), *smiles]).encode()).hexdigest()[:16]
    path = Path(cache) / f"chemnet-{digest}.safetensors"
    if path.exists():
        stored = load_file(path)
        return Activations(stored["mean"], stored["covariance"], int(stored["n"][0]))
    found = Activations.of(chemnet_activations(smiles, device=device, progress=progress))
    with atomic_path(path) as partial:
        save_file({"mean": found.mean, "covariance": found.covariance, "n": np.array([found.n])}, partial)
    return found


def fcd_version() -> str:
    """Version of the installed `fcd`. Raises MolvaeError if there is none."""
    _package()
    return version("fcd")


def _package() -> ModuleType:
    try:
        import fcd
    except ModuleNotFoundError as error:
        raise MolvaeError(
            "the Frechet ChemNet distance needs the optional package fcd. Install it with: pip install 'molvae[fcd]'"
        ) from error
    return fcd


def _root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric square root of a positive semi-definite matrix; rounding below zero is cut off."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
