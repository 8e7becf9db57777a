"""Sample metrics on sets small enough to count by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from molvae.evaluation.samples import sample_metrics
from molvae.strings.tokens import Decoded

BENZENE = Decoded("[C][=C][C][=C][C][=C][Ring1][=Branch1]", "c1ccccc1", True)
ETHANOL = Decoded("[C][C][O]", "CCO", True)
REPAIRED = Decoded("[C][F][C]", "CF", False, "1 of 3 tokens unused")
NOTHING = Decoded("", None, False, "empty string")


def test_hand_counted_rates():
    # 6 samples: 5 valid (ethanol twice), 4 faithful, 4 distinct; CF has 2 heavy atoms and is not sane.
    samples = [ETHANOL, BENZENE, REPAIRED, ETHANOL, NOTHING, Decoded("[C][C][N]", "CCN", True)]
    found = sample_metrics(samples, is_training={"CCO", "c1ccncc1"}.__contains__)
    assert (found.n, found.valid) == (6, 5 / 6)
    assert found.faithful == 4 / 6
    assert found.sane == 4 / 6
    assert found.unique == 4 / 5
    assert found.novel == 3 / 4
    assert found.reasons == {
        "unfaithful: of tokens unused": 1,
        "unfaithful: empty string": 1,
        "not sane: fewer than 3 heavy atoms": 1,
    }


def test_unseen_ring_systems_are_not_sane():
    assert sample_metrics([BENZENE], ring_systems=frozenset({"c1ccccc1"})).sane == 1
    assert sample_metrics([BENZENE], ring_systems=frozenset({"c1ccncc1"})).sane == 0


def test_plain_smiles_are_counted_by_their_canonical_form():
    found = sample_metrics(["OCC", "CCO", "C1CC", None], is_training={"CCO"}.__contains__)
    assert (found.valid, found.unique, found.novel) == (0.5, 0.5, 0)
    assert math.isnan(found.faithful)  # nobody knows what the decoder wrote


def test_stereoisomers_are_different_molecules():
    assert sample_metrics(["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"]).unique == 1


def test_questions_without_an_answer_are_nan():
    found = sample_metrics([NOTHING])
    assert found.valid == found.sane == 0
    assert all(math.isnan(rate) for rate in (found.unique, found.novel, found.diversity))
    assert math.isnan(sample_metrics([ETHANOL]).novel)  # no training set given
    with pytest.raises(ValueError, match="no samples"):
        sample_metrics([])


def test_diversity_agrees_with_rdkit_pair_by_pair():
    smiles = ["CCO", "CCN", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "C1CCNCC1"]
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = [maker.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
    mean = sum(DataStructs.TanimotoSimilarity(a, b) for a, b in itertools.product(bits, bits)) / 25
    assert sample_metrics(smiles).diversity == pytest.approx(1 - mean, abs=1e-6)
    assert sample_metrics(["CCO"] * 4).diversity == pytest.approx(0, abs=1e-6)
