"""Reconstruction rates with a model whose answers are written down, so every rate can be counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.evaluation.reconstruction import reconstruct, reconstruction, without_stereo
from molvae.strings.tokens import Decoded

ANSWERS = {
    "OCC": Decoded("[C][C][O]", "CCO", True),  # exact, though the input was written otherwise
    "C[C@H](N)C(=O)O": Decoded("...", "C[C@@H](N)C(=O)O", True),  # right but for the stereo centre
    "Cc1ccccc1": Decoded("...", "Oc1ccccc1", False, "1 of 8 tokens unused"),
    "CCN": Decoded("", None, False, "empty string"),
}
ROWS = [*ANSWERS, "[Xe]"]


class Memory:
    """Latent = row number in ANSWERS; a sample is shifted by one row; what is not in ANSWERS cannot be encoded."""

    def __init__(self):
        self.calls = []

    def encode(self, smiles, *, sample=False, seed=0):
        self.calls.append((len(smiles), sample, seed))
        known = list(ANSWERS)
        z = np.array([[known.index(s) if s in ANSWERS else math.nan] for s in smiles], np.float32)
        return (z + 1) % len(known) if sample else z

    def decode(self, z, *, temperature=0.0, seed=0, beams=0):
        assert not np.isnan(z).any()
        return [list(ANSWERS.values())[int(i)] for i in z[:, 0]]


def similarity(a, b):
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return DataStructs.TanimotoSimilarity(*(maker.GetFingerprint(Chem.MolFromSmiles(s)) for s in (a, b)))


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_every_rate_by_hand(batch):
    found = reconstruction(Memory(), ROWS, batch=batch)
    assert (found.n, found.unencodable) == (5, 1)
    assert found.exact == 1 / 5
    assert found.stereo_free == 2 / 5
    assert found.unfaithful == 2 / 5
    # Two decoded misses: the stereoisomer has the same bits, toluene became phenol.
    assert found.miss_similarity == pytest.approx((1 + similarity("Cc1ccccc1", "Oc1ccccc1")) / 2)


def test_samples_come_from_the_posterior_with_a_seed_for_each_batch():
    model = Memory()
    assert reconstruction(model, ROWS, sample=True, seed=3, batch=2).exact == 0
    sizes, sampled, seeds = zip(*model.calls, strict=True)
    assert sizes == (2, 2, 1) and all(sampled) and len(set(seeds)) == 3
    again = Memory()
    reconstruction(again, ROWS, sample=True, seed=3, batch=2)
    assert again.calls == model.calls


def test_rows_stream_in_order_with_progress():
    seen = []
    pairs = list(reconstruct(Memory(), ROWS, batch=3, progress=lambda done, total: seen.append((done, total))))
    assert [given for given, _ in pairs] == ROWS
    assert [decoded for _, decoded in pairs] == [*ANSWERS.values(), None]
    assert seen == [(3, 5), (5, 5)]


def test_a_perfect_model_has_no_misses():
    assert math.isnan(reconstruction(Memory(), ["OCC"]).miss_similarity)
    with pytest.raises(ValueError, match="no molecules"):
        reconstruction(Memory(), [])


def test_stereo_is_dropped_before_atoms_are_ranked():
    # meso and chiral forms of one skeleton, written from different ends
    assert without_stereo("C[C@H](Cl)[C@@H](C)Br") == without_stereo("Br[C@H](C)[C@H](C)Cl") == "CC(Cl)C(C)Br"
    assert without_stereo("C/C=C/C") == "CC=CC"
    assert without_stereo("C1CC") is None
