"""Classifiers of activity: the formula by hand and against scikit-learn, and a narrow door for their files."""

import hashlib
import json
import math
import pickle
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
from drugs import DRUGS
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression

from molvae.errors import OracleError
from molvae.objective import Objective
from molvae.oracles import activity, resolve
from molvae.oracles.activity import SHIPPED, Classifier, features, read_classifier

SIZE = 64


@pytest.fixture
def written(tmp_path):
    """A classifier with weights of any kind, and its file."""
    weights = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    classifier = Classifier("kinase", "morgan2", weights, -0.5, {"labels": 3})
    path = tmp_path / "kinase.safetensors"
    classifier.save(path)
    return classifier, path


def rdkit_counts(smiles, size=SIZE):
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=size)
    return generator.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(smiles)).astype(float)


def test_a_probability_by_hand(tmp_path):
    """Methane is one atom: one environment, once. Ethane is two equal atoms and the environment of both: counts 2 and 1."""
    (methane,) = np.flatnonzero(rdkit_counts("C"))
    ethane = rdkit_counts("CC")
    (atom,), (whole,) = np.flatnonzero(ethane == 2), np.flatnonzero(ethane == 1)
    weights = np.zeros(SIZE, np.float32)
    weights[[methane, atom, whole]] = 0.5, -1.0, 3.0
    path = tmp_path / "hand.safetensors"
    Classifier("hand", "morgan2", weights, 0.25).save(path)
    first, second = resolve(f"activity:{path}").measure(["C", "CC"])
    assert first.value == pytest.approx(1 / (1 + math.exp(-(0.25 + 0.5 * math.log2(2)))), rel=1e-12)
    assert second.value == pytest.approx(1 / (1 + math.exp(-(0.25 - math.log2(3) + 3 * math.log2(2)))), rel=1e-12)


def test_values_are_those_of_scikit_learn(tmp_path):
    smiles = list(DRUGS.values())
    counts = np.array([rdkit_counts(one) for one in smiles])
    labels = [i % 2 for i in range(len(smiles))]
    model = LogisticRegression(C=0.5, max_iter=1000).fit(np.log2(1 + counts), labels)
    expected = model.predict_proba(np.log2(1 + counts))[:, 1]
    assert expected.min() < 0.3 and expected.max() > 0.7
    Classifier("drug", "morgan2", model.coef_[0].astype(np.float32), float(model.intercept_[0])).save(
        tmp_path / "d.safetensors"
    )
    found = [m.value for m in resolve(f"activity:{tmp_path / 'd.safetensors'}").measure(smiles)]
    assert found == pytest.approx(expected, rel=1e-5)  # weights are kept in single precision


def test_extreme_logits_stay_between_0_and_1():
    mol = Chem.MolFromSmiles("CCO")
    for intercept, expected in ((1e4, 1.0), (-1e4, 0.0), (0.0, 0.5)):
        assert Classifier("x", "morgan2", np.zeros(SIZE, np.float32), intercept).probability(mol) == expected


def test_features_are_logarithms_of_counts():
    assert features(np.array([[0, 1, 3, 65535]], np.uint16)).tolist() == [[0.0, 1.0, 2.0, 16.0]]


def test_a_file_gives_back_what_was_written_and_the_same_bytes(written, tmp_path):
    classifier, path = written
    found = read_classifier(path)
    assert (found.target, found.fingerprint, found.intercept, found.about) == ("kinase", "morgan2", -0.5, {"labels": 3})
    assert np.array_equal(found.weights, classifier.weights)
    found.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_an_oracle_of_a_file_keeps_the_contract(written):
    oracle = resolve(f"activity:{written[1]}")
    measured = oracle.measure(["CCO", "no molecule", "c1ccccc1"])
    assert [bool(m.reason) for m in measured] == [False, True, False]
    assert math.isnan(measured[1].value) and all(0 <= measured[i].value <= 1 for i in (0, 2))
    assert (oracle.direction, oracle.unit) == ("maximise", "probability by a classifier")
    again = pickle.loads(pickle.dumps(oracle)).measure(["CCO"])  # noqa: S301 - made in this line
    assert again == measured[:1]


def test_a_column_is_called_after_the_file(written):
    assert Objective.from_specs(maximise=[f"activity:{written[1]}"]).describe()["terms"][0]["name"] == "kinase"


def test_broken_and_foreign_files_are_refused_in_a_sentence(written, tmp_path):
    path = written[1]
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    cases = {
        "cut short": whole[:-7],
        "is cut short or": whole[: 8 + length // 2],
        "is cut short or is not": b"",
        "not a safetensors file": pickle.dumps({"weights": [1.0]}),
        "another hash than it says": whole[:-1] + bytes([whole[-1] ^ 1]),
        "has another hash": whole.replace(b"kinase", b"kinases"[1:]),
        "more than 1,000,000 bytes": whole + bytes(1_000_000),
    }
    for sentence, content in cases.items():
        (tmp_path / "broken.safetensors").write_bytes(content)
        with pytest.raises(OracleError, match=sentence):
            resolve(f"activity:{tmp_path / 'broken.safetensors'}")
    with pytest.raises(OracleError, match="there is no file"):
        resolve(f"activity:{tmp_path / 'nowhere.safetensors'}")
    with pytest.raises(OracleError, match="there is no file"):
        resolve("activity:")


def test_files_that_hold_something_else_are_refused_in_a_sentence(written, tmp_path):
    classifier = written[0]
    arrays = {"weights": classifier.weights, "intercept": np.array([0.0])}
    said = {"kind": activity.KIND, "format": 1, "target": "x", "fingerprint": "morgan2", "about": {}}

    def refused(tensors, about):
        """Written with a right hash, as whoever makes such a file by hand would."""
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for name in sorted(tensors):
            digest.update(name.encode() + tensors[name].tobytes())
        text = json.dumps(about | {"sha256": digest.hexdigest()})
        save_file(tensors, tmp_path / "other.safetensors", metadata={"molvae": text})
        with pytest.raises(OracleError) as caught:
            resolve(f"activity:{tmp_path / 'other.safetensors'}")
        return str(caught.value)

    assert "no classifier of activity" in refused(arrays, said | {"kind": "a model"})
    assert "no classifier of activity" in refused(arrays, {})
    assert "format 2; this molvae reads up to 1" in refused(arrays, said | {"format": 2})
    assert "fingerprint 'morgan9'" in refused(arrays, said | {"fingerprint": "morgan9"})
    for wrong in (
        {"weights": classifier.weights},
        arrays | {"weights": classifier.weights.astype(np.float64)},
        arrays | {"weights": classifier.weights.reshape(8, 8)},
        arrays | {"weights": np.full(SIZE, np.nan, np.float32)},
        arrays | {"intercept": np.array([np.inf])},
        arrays | {"intercept": np.zeros(2)},
        arrays | {"code": np.zeros(1)},
    ):
        assert "does not hold finite weights" in refused(wrong, said)
    save_file(arrays, tmp_path / "other.safetensors")
    with pytest.raises(OracleError, match="no classifier of activity"):
        resolve(f"activity:{tmp_path / 'other.safetensors'}")


def test_the_shipped_files_are_small_and_those_that_were_measured(tmp_path, monkeypatch):
    for name in SHIPPED:
        oracle = resolve(name)
        assert oracle.classifier.target == name and 0.5 < oracle.classifier.about["roc_auc"] <= 1.0
        shutil.copy(activity.folder() / f"{name}.safetensors", tmp_path)
        assert (tmp_path / f"{name}.safetensors").stat().st_size <= 300_000
    # Another classifier in the place of a shipped one is noticed, though it is a whole file.
    replace(oracle.classifier, intercept=3.0).save(tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(activity, "folder", lambda: tmp_path)
    with pytest.raises(OracleError, match="Install molvae again"):
        resolve(name)
