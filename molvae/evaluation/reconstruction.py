"""Exact reconstruction: does the molecule come back when its latent is decoded greedily?

    exact       = #{canonical(decode(encode(m))) = canonical(m)} / n,  with isomeric canonical SMILES
    stereo-free = the same with stereo left out of both strings
    similarity of the misses = mean Tanimoto coefficient of binary Morgan fingerprints (radius 2, 2048 bits) over the
                               decoded molecules that are not exact

n counts every molecule that was given: one that cannot be encoded, or that decodes to nothing, is a miss. Equality of
isomeric canonical SMILES is the rule of JT-VAE's reconstruction script (Jin et al. 2018, arXiv:1802.04364); from the mean
and from a sample of the posterior are different numbers, and published tables mix them, so both are measured here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from rdkit import Chem

from molvae.chem import canonical, parse
from molvae.chem.fingerprints import count_fingerprints
from molvae.randomness import child_seed
from molvae.strings.tokens import Decoded


class Autoencoder(Protocol):
    """What is needed of a model here; `molvae.generation.model.Model` is one."""

    def encode(self, smiles: Sequence[str], *, sample: bool = False, seed: int = 0) -> np.ndarray: ...
    def decode(self, z: np.ndarray, *, beams: int = 0) -> list[Decoded]: ...


@dataclass(frozen=True)
class Reconstruction:
    """Rates in [0, 1] over all `n` molecules; `miss_similarity` is NaN if there is no decoded miss.

    unencodable: molecules the model cannot encode (among the misses).
    unfaithful: fraction of the `n` whose decoded string had to be repaired by the SELFIES grammar.
    """

    n: int
    exact: float
    stereo_free: float
    miss_similarity: float
    unfaithful: float
    unencodable: int


def reconstruct(
    model: Autoencoder,
    smiles: Sequence[str],
    *,
    sample: bool = False,
    seed: int = 0,
    beams: int = 0,
    batch: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Decoded | None]]:
    """For each molecule, in order: its SMILES as given and what it decodes to, or None if it cannot be encoded.

    sample: decode a draw from the posterior, seeded by `seed`, in place of the posterior mean.
    beams: 0 for greedy decoding, or the beams of consistent decoding.
    progress: called with (molecules done, all) after every batch.
    """
    for start in range(0, len(smiles), batch):
        chunk = list(smiles[start : start + batch])
        z = model.encode(chunk, sample=True, seed=child_seed(seed, "reconstruct", start)) if sample else model.encode(chunk)
        known = np.flatnonzero(~np.isnan(z).any(axis=1))
        decoded: list[Decoded | None] = [None] * len(chunk)
        for row, answer in zip(known, model.decode(z[known], beams=beams) if len(known) else [], strict=True):
            decoded[row] = answer
        yield from zip(chunk, decoded, strict=True)
        if progress:
            progress(start + len(chunk), len(smiles))


def reconstruction(
    model: Autoencoder,
    smiles: Sequence[str],
    *,
    sample: bool = False,
    seed: int = 0,
    beams: int = 0,
    batch: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Reconstruction rates of `model` on `smiles`; the parameters are those of `reconstruct`. Raises ValueError if empty."""
    if not smiles:
        raise ValueError("no molecules to reconstruct")
    exact = stereo_free = unfaithful = unencodable = n_misses = 0
    similarity = 0.0
    pairs: list[tuple[str, str]] = []  # misses of which the fingerprints are still to be compared
    for given, decoded in reconstruct(model, smiles, sample=sample, seed=seed, beams=beams, batch=batch, progress=progress):
        if decoded is None:
            unencodable += 1
            continue
        unfaithful += not decoded.faithful
        if decoded.smiles is None:
            continue
        if decoded.smiles == canonical(given):
            exact += 1
            stereo_free += 1
            continue
        stereo_free += without_stereo(decoded.smiles) == without_stereo(given)
        pairs.append((given, decoded.smiles))
        n_misses += 1
        if len(pairs) == batch:
            similarity += _similarities(pairs).sum()
            pairs = []
    if pairs:
        similarity += _similarities(pairs).sum()
    n = len(smiles)
    return Reconstruction(
        n=n,
        exact=exact / n,
        stereo_free=stereo_free / n,
        miss_similarity=float(similarity / n_misses) if n_misses else math.nan,
        unfaithful=unfaithful / n,
        unencodable=unencodable,
    )


def without_stereo(smiles: str) -> str | None:
    """Canonical SMILES without stereo marks, or None if it is invalid. The marks leave before the atoms are ranked."""
    mol = parse(smiles)
    if mol is None:
        return None
    Chem.RemoveStereochemistry(mol)
    return canonical(mol)


def _similarities(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """(P,) Tanimoto coefficients |a and b| / |a or b| of the binary fingerprints of each pair."""
    left, right = (count_fingerprints([parse(text) for text in side], "morgan2") > 0 for side in zip(*pairs, strict=True))
    return (left & right).sum(axis=1) / np.maximum((left | right).sum(axis=1), 1)
