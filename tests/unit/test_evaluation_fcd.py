"""The Frechet ChemNet distance against the `fcd` package and against closed forms."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from molvae.errors import DataError, MolvaeError
from molvae.evaluation.fcd import (
    Activations,
    _one_hot,
    chemnet_activations,
    frechet_chemnet_distance,
    frechet_distance,
    reference_activations,
)

ACYCLIC = ["CCO", "CCCN", "CC(C)C(=O)O", "CCCCCl", "C[C@H](N)C(=O)O", "OCC(O)CO", "CCOCC", "CC#N"]
AROMATIC = ["c1ccccc1", "Cc1ccncc1", "Oc1ccc(F)cc1", "c1ccc2[nH]ccc2c1", "CC(=O)Nc1ccc(O)cc1", "O=C(O)c1ccccc1"]


def test_diagonal_gaussians_have_a_closed_form():
    # Independent axes: the distance is the sum of (m1 - m2)^2 + (s1 - s2)^2.
    a = Activations(np.array([0.0, 1.0]), np.diag([4.0, 9.0]), 10)
    b = Activations(np.array([3.0, 1.5]), np.diag([1.0, 16.0]), 10)
    assert frechet_distance(a, b) == pytest.approx(9 + 0.25 + 1 + 1)


def test_rotating_both_gaussians_changes_nothing():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    means, scales = rng.normal(size=(2, 5)), rng.uniform(0.5, 2, size=(2, 5))
    a, b = (Activations(turn @ m, turn @ np.diag(s**2) @ turn.T, 10) for m, s in zip(means, scales, strict=True))
    assert frechet_distance(a, b) == pytest.approx(((means[0] - means[1]) ** 2).sum() + ((scales[0] - scales[1]) ** 2).sum())


def test_full_rank_statistics_agree_with_the_package():
    fcd = pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(60, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12) for _ in range(2)]
    theirs = fcd.calculate_frechet_distance(
        mu1=rows[0].mean(0), sigma1=np.cov(rows[0].T), mu2=rows[1].mean(0), sigma2=np.cov(rows[1].T)
    )
    assert frechet_distance(*map(Activations.of, rows)) == pytest.approx(theirs, rel=1e-9)


def test_molecules_agree_with_the_package():
    fcd = pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    canonical = [fcd.utils.canonical(text) for text in ACYCLIC], [fcd.utils.canonical(text) for text in AROMATIC]
    theirs = fcd.get_fcd(*canonical, device="cpu")
    # The package takes the root of singular matrices (8 rows, 512 columns), which costs it some digits.
    assert frechet_chemnet_distance(ACYCLIC, AROMATIC) == pytest.approx(theirs, rel=1e-3)
    features = fcd.get_predictions(fcd.load_ref_model(), canonical[0], n_jobs=0, device="cpu")
    np.testing.assert_allclose(chemnet_activations(ACYCLIC, batch=3), features, atol=1e-6)


def test_the_input_of_the_network_is_the_packages():
    fcd = pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    smiles = ["C[C@H](N)C(=O)[O-]", "Clc1ccc(Br)cc1[N+](=O)[O-]", "[Na+].[Si]=[Se]", "C" * 349]
    theirs = np.stack([fcd.utils.SmilesDataset(smiles)[i] for i in range(len(smiles))]).astype(np.float32)
    np.testing.assert_array_equal(_one_hot(fcd, smiles), theirs)


def test_a_set_has_no_distance_to_itself_and_order_does_not_matter():
    pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    assert frechet_chemnet_distance(AROMATIC, AROMATIC[::-1]) == pytest.approx(0, abs=1e-5)


def test_few_molecules_are_warned_about(caplog):
    pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    with caplog.at_level(logging.WARNING, "molvae.evaluation.fcd"):
        frechet_chemnet_distance(ACYCLIC, AROMATIC)
    assert "FCD of 8 against 6 molecules" in caplog.text
    with pytest.raises(DataError, match="at least 2 molecules"):
        frechet_chemnet_distance(["CCO"], AROMATIC)


def test_what_is_not_a_molecule_is_left_out_and_said(caplog):
    pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    with caplog.at_level(logging.WARNING, "molvae.evaluation.fcd"):
        features = chemnet_activations(["CCO", "C1CC", "C" * 400, "CCN"])
    assert features.shape == (2, 512)
    assert "2 of 4 molecules are invalid or too long" in caplog.text
    np.testing.assert_allclose(features, chemnet_activations(["CCO", "CCN"]), atol=1e-6)


def test_reference_statistics_are_computed_once_and_kept(tmp_path, monkeypatch):
    pytest.importorskip("fcd", reason="the optional package fcd is not installed")
    first = reference_activations(AROMATIC, tmp_path)
    monkeypatch.setattr("molvae.evaluation.fcd.chemnet_activations", lambda *a, **k: pytest.fail("computed again"))
    again = reference_activations(AROMATIC, tmp_path)
    assert again.n == 6
    np.testing.assert_array_equal(again.covariance, first.covariance)
    np.testing.assert_array_equal(again.mean, first.mean)
    with pytest.raises(pytest.fail.Exception):
        reference_activations(ACYCLIC, tmp_path)  # another set is not taken for this one


def test_a_missing_package_is_told_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcd", None)
    with pytest.raises(MolvaeError, match=r"pip install 'molvae\[fcd\]'"):
        frechet_chemnet_distance(ACYCLIC, AROMATIC)
