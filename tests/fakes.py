"""Stand-ins for tests: a latent model without a network, and objectives whose optimum is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.oracles.base import Measurement
from molvae.randomness import stream
from molvae.strings.tokens import Decoded

# Four places with eight pieces each, ordered by size and polarity, so that neighbours in the latent space are similar.
PIECES = (
    ("", "C", "CC", "CCC", "CC(C)", "C1CC1", "COCC", "O1CCC1"),
    ("c1ccc(cc1)", "c1ccnc(c1)", "C1CCC(CC1)", "C1CCN(CC1)", "c1cc(cs1)", "c1cc(co1)", "c1cnc(nc1)", "C1CC(C1)"),
    ("C", "CC", "O", "OC", "N", "NC", "C(=O)N", "S(=O)(=O)N"),
    ("C", "CC", "CO", "CN", "CF", "CC#N", "CC(=O)O", "CC(=O)N"),
)


@cache
def molecule(choice: tuple[int, ...]) -> str:
    """Canonical SMILES of one choice of pieces."""
    return Chem.CanonSmiles("".join(pieces[i] for pieces, i in zip(PIECES, choice, strict=True)))


@cache
def positions() -> dict[str, tuple[int, ...]]:
    """Canonical SMILES -> the first choice of pieces that gives it."""
    found: dict[str, tuple[int, ...]] = {}
    for choice in product(range(8), repeat=4):
        found.setdefault(molecule(choice), choice)
    return found


class FakeModel:
    """Each latent coordinate chooses one of eight pieces; decoding is exact, encoding gives the middle of the bin."""

    latent_size = 4
    # Cuts of the standard normal into eight parts of equal probability, from a table of its quantiles.
    edges = np.array([-1.1503, -0.6745, -0.3186, 0.0, 0.3186, 0.6745, 1.1503])
    middles = np.array([-1.5, -0.89, -0.49, -0.16, 0.16, 0.49, 0.89, 1.5], dtype=np.float32)

    def encode(self, smiles: Sequence[str]) -> np.ndarray:
        known = positions()
        rows = [self.middles[list(known[s])] if s in known else np.full(4, np.nan) for s in smiles]
        return np.array(rows, dtype=np.float32).reshape(-1, 4)

    def decode(self, z: np.ndarray, *, temperature: float = 0.0, seed: int = 0) -> list[Decoded]:
        choices = np.searchsorted(self.edges, np.asarray(z))
        return [Decoded(selfies="", smiles=molecule(tuple(map(int, row))), faithful=True) for row in choices]

    def sample_latents(self, n: int, *, seed: int) -> np.ndarray:
        return stream(seed, "fake prior").standard_normal((n, 4)).astype(np.float32)

    def sample(self, n: int, *, seed: int, temperature: float = 0.0) -> list[Decoded]:
        return self.decode(self.sample_latents(n, seed=seed), temperature=temperature, seed=seed)


@dataclass(frozen=True)
class Similarity:
    """Tanimoto similarity of count Morgan fingerprints to a target; 1 at the target. Picklable."""

    target: str = molecule((5, 0, 6, 7))

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        fingerprint = rdFingerprintGenerator.GetMorganGenerator(radius=2).GetSparseCountFingerprint
        target = fingerprint(Chem.MolFromSmiles(self.target))
        values = [DataStructs.TanimotoSimilarity(target, fingerprint(Chem.MolFromSmiles(s))) for s in smiles]
        return [Measurement(v, components={"similarity": v}) for v in values]

    def describe(self) -> dict[str, object]:
        return {"similarity_to": self.target}


@dataclass(frozen=True)
class Counted:
    """`inner`, noting each molecule in `path` before and after it is measured, and taking `seconds` for it."""

    path: Path
    seconds: float = 0.0
    inner: Similarity = field(default_factory=Similarity)

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        for molecule in smiles:
            with self.path.open("a") as stream:
                stream.write(f"begin {molecule}\n")
        time.sleep(self.seconds)
        return self.inner.measure(smiles)

    def describe(self) -> dict[str, object]:
        return self.inner.describe()


@dataclass(frozen=True)
class Misbehaving:
    """Does to a molecule what its entry in `faults` says: raise, hang, die...; else counts carbons."""

    faults: dict[str, str]

    def measure(self, smiles: Sequence[str]) -> list[Measurement]:
        import os
        import signal

        values = [Measurement(float(s.count("C"))) for s in smiles]
        for i, s in enumerate(smiles):
            match self.faults.get(s):
                case "raise":
                    raise ValueError("no pose found\nsecond line")
                case "hang":
                    time.sleep(3600)
                case "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(7)
                case "nan":
                    values[i] = Measurement(float("nan"), "no conformer")
                case "inf":
                    values[i] = Measurement(float("inf"))
                case "short":
                    return []
        return values

    def describe(self) -> dict[str, object]:
        return {"misbehaving": sorted(self.faults)}
