"""Shares of copies against RDKit's own fingerprints and similarity, molecule by molecule."""

import math

import numpy as np
import pytest
from drugs import SMILES
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.chem import canonical
from molvae.training import memorisation as module
from molvae.training.memorisation import memorisation, nearest_similarity

DRUGS = [canonical(s) for s in SMILES]


def test_the_nearest_training_molecule_is_rdkits(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)  # several blocks of both lists
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in DRUGS]
    expected = [max(DataStructs.BulkTanimotoSimilarity(p, prints[30:])) for p in prints[:30]]
    found = nearest_similarity(DRUGS[:30], DRUGS[30:])
    assert found.dtype == np.float32 and found.tolist() == pytest.approx(expected, abs=1e-6)


def test_copies_and_near_copies_are_counted():
    training = ["CCCCCCCCCCCCO", "c1ccccc1"]
    outputs = ["CCCCCCCCCCCCO", "CCCCCCCCCCCO", "C1CC1", "C1CC1"]  # itself, the same environments, and something else
    found = memorisation(outputs, training)
    assert (found.n, found.exact, found.near) == (4, 0.25, 0.5)
    assert found.median_similarity == pytest.approx(float(np.median(nearest_similarity(outputs, training))))


def test_no_output_is_no_number():
    found = memorisation([], DRUGS)
    assert found.n == 0 and math.isnan(found.exact) and math.isnan(found.near)
