"""What is foreign to a reference: each score by its formula computed elsewhere, p-values, a detector as a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drugs import SMILES
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import LedoitWolf

import molvae
from molvae.errors import CheckpointError, ConfigError, DataError
from molvae.generation.model import Model
from molvae.strings.tokens import BOS, EOS
from molvae.uses.likelihood import measure
from molvae.uses.ood import METHODS, Detector, fit_detector, kth_distance, load_detector, p_values

UNUSABLE = ["not a molecule", "CCO.Cl", "[Xe]"]


@pytest.fixture(scope="module")
def detector(small_model: Model) -> Detector:
    return fit_detector([*SMILES, *UNUSABLE], model=small_model, k=3, seed=1)


@pytest.mark.parametrize("unconditional", [0.0, 0.5])
def test_nll_is_the_product_of_what_the_decoder_says_step_by_step(
    small_model: Model, monkeypatch: pytest.MonkeyPatch, unconditional: float
) -> None:
    monkeypatch.setattr(small_model.vae, "unconditional", unconditional)
    measured = measure(small_model, SMILES[:5])
    z = torch.from_numpy(small_model.encode(SMILES[:5]))
    for row, (ids, _) in enumerate(small_model.encode_ids(SMILES[:5])):
        given = z[row].view(1, 1, -1) if not unconditional else torch.zeros(1, 1, small_model.latent_size)
        state, last, total = small_model.vae.decoder.start(given, 64), BOS, 0.0
        for token in [*ids, EOS]:
            with torch.inference_mode():
                logits, state = small_model.vae.decoder.step(torch.tensor([last]), state)
            total -= float(logits.double().log_softmax(-1)[0, token])
            last = token
        assert measured.nll[row] == pytest.approx(total, rel=1e-4)
        assert measured.tokens[row] == len(ids) + 1
        assert measured.nll_per_token[row] == pytest.approx(total / (len(ids) + 1), rel=1e-4)


def test_what_cannot_be_encoded_is_nan_with_a_reason(small_model: Model, detector: Detector) -> None:
    found = detector.score([SMILES[0], *UNUSABLE], small_model)
    assert found.reasons[0] == "" and all(found.reasons[1:])
    assert "not a valid SMILES" in found.reasons[1] and "several fragments" in found.reasons[2]
    for method in METHODS:
        assert np.isfinite(found.scores[method][0]) and np.isfinite(found.p_values[method][0])
        assert np.isnan(found.scores[method][1:]).all() and np.isnan(found.p_values[method][1:]).all()
    assert detector.about["unencodable"] == 3
    assert detector.about["reference"] == len(SMILES) + 3


def test_scores_are_their_formulas(small_model: Model, detector: Detector) -> None:
    """SciPy's distances under scikit-learn's covariance, of the molecules that the detector was fitted on."""
    z = small_model.encode(SMILES).astype(np.float64)
    known = [i for i, why in enumerate(small_model.explain(SMILES)) if not why]
    # The fifth that is held out is told by its scores; here the fitted ones are found by trying who is its own neighbour.
    white = (z - detector.mean) @ detector.whitening.T
    fitted = [i for i in known if cdist(white[[i]], detector.neighbours).min() < 1e-3]
    assert len(fitted) == len(known) - round(0.2 * len(known))
    covariance = LedoitWolf().fit(z[fitted]).covariance_
    inverse = np.linalg.inv(covariance)
    scores = detector.score(SMILES, small_model).scores
    for i in known[:20]:
        assert scores["mahalanobis"][i] == pytest.approx(mahalanobis(z[i], z[fitted].mean(0), inverse), rel=1e-4)
    distances = np.sort(cdist(z[known], z[fitted], "mahalanobis", VI=inverse), axis=1)[:, 2]
    assert scores["knn"][known] == pytest.approx(distances, abs=0.02)
    nll = measure(small_model, SMILES).nll
    assert scores["typicality"][known] == pytest.approx(np.abs(nll[known] - nll[fitted].mean()), rel=1e-4, abs=1e-4)


def test_the_kth_distance_over_several_blocks() -> None:
    points, reference = np.random.default_rng(0).standard_normal((2, 3000, 3)).astype(np.float32)
    points[7] = np.nan
    expected = np.sort(cdist(points[:40], reference), axis=1)[:, 4]
    found = kth_distance(points, reference, 5)
    assert found.shape == (3000,) and np.isnan(found[7])
    keep = [i for i in range(40) if i != 7]
    assert found[keep] == pytest.approx(expected[keep], abs=1e-3)
    assert kth_distance(points[2990:], reference, 5) == pytest.approx(found[2990:], abs=1e-3)


def test_p_values_count_what_is_at_least_as_foreign() -> None:
    held_out = np.array([1.0, 2.0, 2.0, 3.0])
    found = p_values(np.array([0.5, 1.0, 2.0, 2.5, 9.0, np.nan]), held_out)
    assert found[:5] == pytest.approx([1.0, 1.0, 0.8, 0.4, 0.2])
    assert np.isnan(found[5])
    # Of exchangeable molecules, p is uniform: at most 1 % (here 1.6 %, four standard errors) have p < 0.01.
    drawn = np.random.default_rng(3).standard_normal(9000)
    assert (p_values(drawn[5000:], np.sort(drawn[:5000])) < 0.01).mean() < 0.016


def test_a_saved_detector_gives_the_same_and_nothing_else_is_read(
    small_model: Model, detector: Detector, tmp_path: Path
) -> None:
    detector.save(tmp_path / "detector")
    assert {path.name for path in (tmp_path / "detector").iterdir()} == {"detector.json", "detector.safetensors"}
    again = load_detector(tmp_path / "detector")
    for kind in ("scores", "p_values"):
        first = getattr(detector.score(SMILES[:9], small_model), kind)
        second = getattr(again.score(SMILES[:9], small_model), kind)
        for method in METHODS:
            np.testing.assert_array_equal(first[method], second[method])
    assert again.about == detector.about
    refitted = fit_detector([*SMILES, *UNUSABLE], model=small_model, k=3, seed=1)
    refitted.save(tmp_path / "again")
    for name in ("detector.json", "detector.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "detector" / name).read_bytes()


def test_a_damaged_or_newer_detector_is_refused(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    about = json.loads((tmp_path / "detector.json").read_text())
    (tmp_path / "detector.json").write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(CheckpointError, match="Upgrade molvae"):
        load_detector(tmp_path)
    (tmp_path / "detector.json").write_text(json.dumps(about)[:40])
    with pytest.raises(CheckpointError, match="does not hold a molvae detector"):
        load_detector(tmp_path)
    (tmp_path / "detector.json").write_text(json.dumps(about))
    (tmp_path / "detector.safetensors").write_bytes((tmp_path / "detector.safetensors").read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector(tmp_path)


def test_mistakes_are_sentences(small_model: Model, detector: Detector, tiny_model: Path) -> None:
    with pytest.raises(DataError, match="of the 10 given, 9 can be encoded"):
        fit_detector([*SMILES[:9], "?"], model=small_model)
    with pytest.raises(ConfigError, match="k is 0"):
        fit_detector(SMILES, model=small_model, k=0)
    with pytest.raises(CheckpointError, match="fitted with other weights than tiny has"):
        detector.score(SMILES[:2], molvae.load(tiny_model, device="cpu"))
