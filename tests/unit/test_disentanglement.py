"""MIG and DCI of made-up codes whose figures follow by hand, and of a small model."""

import math

import numpy as np
import pytest
from drugs import SMILES
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcNumRings
from sklearn.metrics import mutual_info_score

from molvae.errors import ConfigError, DataError
from molvae.generation.model import Model
from molvae.uses import disentanglement
from molvae.uses.disentanglement import (
    binned,
    dci,
    disentangle,
    entropy,
    importances,
    information_gaps,
    mutual_information,
    principal,
    rotation,
)

# Every combination of four values of one factor and four of another, ten times: independent in the sample, too.
FACTORS = np.array([(i, j) for i in range(4) for j in range(4)] * 10, float)
DRAWN = np.random.default_rng(0).standard_normal((2000, 4))


def test_entropy_and_mutual_information() -> None:
    assert entropy(np.array([3, 1])) == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert entropy(np.array([2, 0, 2, 2, 2])) == pytest.approx(math.log(4))
    a, b = np.random.default_rng(1).integers(0, 5, (2, 300))
    assert mutual_information(a, np.maximum(a, b)) == pytest.approx(mutual_info_score(a, np.maximum(a, b)))


def test_bins_hold_alike_many_and_few_values_keep_their_own() -> None:
    assert np.bincount(binned(DRAWN[:, 0] ** 3, 20)).tolist() == [100] * 20
    assert binned(np.array([2.0, -1.0, 2.0, 0.5]), 3).tolist() == [2, 0, 2, 1]
    # Half of the values are equal: they cannot be parted, and no bin is empty.
    tied = np.concatenate([np.zeros(50), np.arange(1, 51)])
    assert np.bincount(binned(tied, 4)).tolist() == [50, 25, 25]


@pytest.mark.parametrize(
    ("codes", "gaps"),
    [
        (FACTORS * [-2.0, 5.0], [1, 1]),
        (FACTORS[:, [0, 1, 1]], [1, 0]),  # the second factor is in two codes
        (np.stack([FACTORS[:, 0] % 2, FACTORS[:, 1]], 1), [0.5, 1]),  # one bit of two
        (np.stack([FACTORS.sum(1), FACTORS[:, 0] - FACTORS[:, 1]], 1), [0, 0]),  # turned by 45 degrees: both tell alike
        (np.stack([FACTORS[:, 0], FACTORS[:, 0] // 2, FACTORS[:, 1] * 0], 1), [0.5, 0]),  # all against one bit; nothing
    ],
    ids=["axes", "twice", "one bit", "turned", "coarser"],
)
def test_mig_by_hand(codes: np.ndarray, gaps: list[float]) -> None:
    assert information_gaps(codes, FACTORS)[0] == pytest.approx(gaps, abs=1e-12)


def test_mig_names_the_code() -> None:
    assert information_gaps(FACTORS[:, [1, 0]], FACTORS)[1].tolist() == [1, 0]


def test_dci_by_hand() -> None:
    apart, complete = dci(np.eye(3))
    assert (apart, complete.tolist()) == (1.0, [1.0, 1.0, 1.0])
    apart, complete = dci(np.ones((4, 2)))
    assert (apart, complete.tolist()) == (pytest.approx(0.0), pytest.approx([0.0, 0.0]))
    # The first code tells both alike (D = 0), the second one (D = 1); each has half of the importance. Of the second factor,
    # a third is in the first code: H2(1/3) = log2(3) - 2/3 bits.
    apart, complete = dci(np.array([[1.0, 1.0], [0.0, 2.0]]))
    assert apart == pytest.approx(0.5)
    assert complete == pytest.approx([1.0, 1 - (math.log2(3) - 2 / 3)])
    # A code that matters to nothing counts for nothing; a factor to which none matters has no completeness.
    apart, complete = dci(np.array([[2.0, 0.0], [0.0, 0.0]]))
    assert apart == 1.0 and complete[0] == 1.0 and math.isnan(complete[1])
    apart, complete = dci(np.zeros((2, 2)))
    assert math.isnan(apart) and np.isnan(complete).all()


def test_a_lasso_finds_the_weights_of_a_linear_world() -> None:
    mixed = DRAWN @ np.array([[3.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    matrix, r2 = importances(DRAWN * [1.0, 10.0, 0.1, 1.0], mixed, "lasso", seed=0)  # scales must not matter
    assert r2 == pytest.approx([1.0, 1.0], abs=1e-3)
    # Weights over the spread of the property, sqrt(9 + 1); the sample's own spreads differ from 1 by a few percent.
    assert matrix[:2, 0] == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)], abs=0.03)
    assert matrix[:, 1] == pytest.approx([0, 0, 1, 0], abs=0.02) and matrix[2:, 0] == pytest.approx([0, 0], abs=0.02)


@pytest.mark.parametrize("how", ["lasso", "forest"])
def test_turning_codes_costs_disentanglement_and_leaves_what_is_told(how: str) -> None:
    factors, half = DRAWN[:800, :2], math.sqrt(0.5)
    straight, r2 = importances(DRAWN[:800], factors, how, seed=0)
    assert dci(straight)[0] > 0.9 and dci(straight)[1].min() > 0.8
    # By 45 degrees: two codes tell half of either factor, two nothing. So D = 0 and C = 1 - log 2 / log 4.
    turned = DRAWN[:800] @ np.array([[half, half, 0, 0], [half, -half, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    matrix, r2_turned = importances(turned, factors, how, seed=0)
    assert dci(matrix)[0] < 0.1
    assert dci(matrix)[1] == pytest.approx([0.5, 0.5], abs=0.1)
    assert r2.min() > 0.95 and r2_turned.min() > (0.95 if how == "lasso" else 0.7)


def test_test_rows_are_not_learned_from() -> None:
    noise = np.random.default_rng(3).standard_normal((300, 2))
    assert importances(DRAWN[:300], noise, "forest", seed=0)[1].max() < 0.1


def test_rotations_and_principal_axes() -> None:
    q = rotation(5, 3, 1)
    assert q @ q.T == pytest.approx(np.eye(5), abs=1e-12)
    assert not np.allclose(q, rotation(5, 3, 2))
    # Uniform over all rotations: each entry has mean 0 and variance 1 / 5; of 400, to 0.022 and 8 %.
    many = np.array([rotation(5, 0, i)[0, 0] for i in range(400)])
    assert abs(many.mean()) < 0.08 and many.var() == pytest.approx(0.2, rel=0.3)
    turned = (DRAWN * [1.0, 5.0, 0.2, 2.0]) @ rotation(4, 0, 0) + 7.0
    components = principal(turned, 3)
    assert components.shape == (2000, 3)
    for component, source in zip(components.T, DRAWN[:, [1, 3, 0]].T, strict=True):
        assert abs(np.corrcoef(component, source)[0, 1]) > 0.99
    assert principal(DRAWN[:3]).shape == (3, 2)


def test_every_representation_of_a_model(small_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disentanglement, "FEWEST", 100)
    smiles, names = [*SMILES, "C1CC", "CCO.Cl"], ("logP", "TPSA", "rings")
    found = disentangle(smiles, model=small_model, names=names, rotations=2)
    assert [row.representation for row in found.rows] == ["latents", "pca", "rotation 1", "rotation 2", "ecfp4 pca"]
    assert (found.n, sum(found.left_out.values())) == (len(SMILES), 2)
    for row in found.rows:
        assert row.codes == small_model.latent_size and row.properties == names
        assert 0 <= row.mig <= 1 and 0 <= row.disentanglement <= 1
        assert [line["property"] for line in row.by_property()] == list(names)
        assert np.mean([line["mig"] for line in row.by_property()]) == pytest.approx(row.mig)
    # Its heads were trained to read logP and TPSA from latents, so a lasso can, too.
    assert found.rows[0].r2[:2].min() > 0.3
    rings = np.array([CalcNumRings(Chem.MolFromSmiles(text)) for text in SMILES])
    gaps, best = information_gaps(small_model.encode(SMILES).astype(float), rings[:, None])
    assert (found.rows[0].gaps[2], found.rows[0].best[2]) == (gaps[0], best[0])
    again = disentangle(smiles, model=small_model, names=names, rotations=2)
    assert [row.by_property() for row in again.rows] == [row.by_property() for row in found.rows]


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"importance": "laso"}, ConfigError, "no importance 'laso'. Did you mean 'lasso'"),
        ({"bins": 1}, ConfigError, "bins is 1"),
        ({"rotations": -1}, ConfigError, "rotations -1"),
        ({"names": ["logP", "logP"]}, ConfigError, "two properties or more"),
        ({"names": ["logP", "loqP"]}, ConfigError, "loqP"),
        ({}, DataError, "of the 109 given, 109 can be encoded"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_sentences(small_model: Model, settings: dict, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        disentangle(SMILES, model=small_model, **settings)


def test_a_property_that_does_not_vary_is_told(small_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disentanglement, "FEWEST", 5)
    alike = [text for text in SMILES if "." not in text and not Chem.GetFormalCharge(Chem.MolFromSmiles(text))]
    with pytest.raises(DataError, match="formal_charge is 0 for all"):
        disentangle(alike, model=small_model, names=["logP", "formal_charge"])
