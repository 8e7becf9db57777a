"""A prior fitted to a finished model as its users do it, asked for properties, and every way to ask wrongly."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLE
from rdkit import Chem
from rdkit.Chem import Descriptors

import molvae as package
from molvae.checkpoint import load
from molvae.errors import CheckpointError, ConfigError, DataError
from molvae.files import file_hash, write_json


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a flow of the example molecules that can be asked for their weight. Do not write to it."""
    from molvae.cli import main

    folder = tmp_path_factory.mktemp("fitted") / "asked"
    arguments = ["fit-prior", EXAMPLE, "-o", folder, "--ask", "MW,logP", "--workers", 0]
    arguments += [word for setting in ("steps=300", "width=128", "epochs=2000") for word in ("--set", setting)]
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in arguments])
    assert not end.value.code
    return folder


def weights(text: str) -> np.ndarray:
    rows = csv.DictReader(io.StringIO(text))
    return np.array([Descriptors.MolWt(Chem.MolFromSmiles(row["smiles"])) for row in rows])


def test_any_model_can_be_asked_for_properties(molvae, fitted: Path) -> None:
    command = ("generate", "-n", 40, "--model", fitted, "--properties", "none", "--guidance", 1.5, "--condition")
    found = {}
    for target in (180, 480):
        code, out, err = molvae(*command, f"MW={target}")
        assert code == 0, err
        said = next(line for line in err.splitlines() if line.startswith("MW")).split()
        found[target] = weights(out).mean()
        assert float(said[1]) == target and float(said[2]) == pytest.approx(found[target], rel=1e-3)
        assert molvae(*command, f"MW={target}").out == out
    assert found[480] > found[180] + 100
    unasked = molvae("generate", "-n", 40, "--model", fitted, "--properties", "none", "--prior", "flow")
    assert unasked.code == 0 and found[180] < weights(unasked.out).mean() < found[480]


def test_the_model_stays_as_it_was(fitted: Path) -> None:
    shipped, other = package.load("zinc250k", device="cpu"), package.load(fitted, device="cpu")
    assert file_hash(fitted / "model.safetensors") == shipped.weights_hash == other.weights_hash
    assert set(other.checkpoint.priors) == {*shipped.checkpoint.priors, "flow"}
    assert other.priors[0] == shipped.priors[0], "what is drawn unasked does not change"
    for name, prior in shipped.checkpoint.priors.items():
        assert prior.tensors.keys() == other.checkpoint.priors[name].tensors.keys()
    about = json.loads((fitted / "card.json").read_text())["priors"]["flow"]
    assert about["data"]["rows"] == len(EXAMPLE.read_text().split("\n")) - 1 - about["left_out"]
    mass = [Descriptors.MolWt(Chem.MolFromSmiles(line.split()[0])) for line in EXAMPLE.read_text().splitlines()]
    assert about["properties"]["MW"]["low"] == pytest.approx(min(mass), rel=1e-5)
    assert about["properties"]["MW"]["mean"] == pytest.approx(np.mean(mass), rel=1e-5)


def test_a_run_directory_keeps_its_other_files(molvae, tiny_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_model, run)
    lines = EXAMPLE.read_text().splitlines()
    (tmp_path / "some.smi").write_text("\n".join([*lines, "C1CC broken"]) + "\n")
    code, out, err = molvae(
        "fit-prior", "some.smi", "-o", run, "--model", run, "--prior", "mixture", "--set", "components=2"
    )
    assert (code, out) == (0, ""), err
    assert "1 left out" in err and f"molvae generate --model {run} --prior mixture" in err
    assert (run / "events.jsonl").exists() and not (run / "model.safetensors").exists()
    assert "mixture" in load(run).priors and "gaussian" in load(run).priors
    assert molvae("generate", "-n", 3, "--model", run, "--prior", "mixture", "--keep-unfaithful").code == 0


def test_a_prepared_data_set_will_do(molvae, tiny_model: Path, tmp_path: Path) -> None:
    assert molvae("prepare", EXAMPLE, "-o", "data", "--workers", 0).code == 0
    outcome = molvae("fit-prior", "data", "-o", "made", "--model", tiny_model, "--prior", "gaussian")
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "made" / "card.json").read_text())["priors"]["gaussian"]["data"]["rows"]
    assert 100 <= rows < len(EXAMPLE.read_text().splitlines()), "the training part alone"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--prior", "flwo"], "did you mean 'flow'"),
        (["--prior", "mixture", "--ask", "logP"], "the prior 'mixture' cannot be asked for properties. One that can: flow"),
        (["--ask", "logp"], "did you mean 'logP'"),
        (["--set", "stesp=3"], "did you mean 'steps'"),
        (["--prior", "codes"], "is for models of codes"),
        (["--model", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(molvae, tiny_model: Path, arguments: list[str], sentence: str) -> None:
    model = [] if "--model" in arguments else ["--model", tiny_model]
    outcome = molvae("fit-prior", EXAMPLE, "-o", "made", *model, *arguments)
    assert outcome.code in (1, 2) and sentence.lower() in outcome.err.lower() and "Traceback" not in outcome.err


def test_what_cannot_be_asked_is_refused(molvae, fitted: Path, tmp_path: Path) -> None:
    for arguments, sentence in [
        (("--condition", "QED=0.9"), "cannot be conditioned on 'QED'. It knows: MW, logP"),
        (("--condition", "MW=5000"), "is outside of what"),
        (("--condition", "MW=300", "--prior", "mixture"), "the prior 'mixture' knows nothing of properties"),
    ]:
        outcome = molvae("generate", "-n", 2, "--model", fitted, *arguments)
        assert outcome.code in (1, 2) and sentence in outcome.err
    unasked = molvae("generate", "-n", 2, "--condition", "heavy_atoms=20", "--model", "zinc250k")
    assert (unasked.code in (1, 2) and "heavy_atoms" in unasked.err) or "cannot be conditioned" in unasked.err
    with pytest.raises(DataError, match=r"3 of 4 molecules can be encoded; a prior needs 100\. Most often: not a valid"):
        package.fit_prior("zinc250k", ["CCO", "CCN", "CCC", "C1CC"], "gaussian", device="cpu")
    with pytest.raises(ConfigError, match="workers"):
        package.fit_prior("zinc250k", ["CCO"] * 200, "flow", properties=["logP"], device="cpu", workers=-1)
    torn = tmp_path / "torn"
    shutil.copytree(fitted, torn)
    write_json(torn / "card.json", {**json.loads((torn / "card.json").read_text()), "priors": {}})
    with pytest.raises(CheckpointError, match="does not say what its prior 'flow' can be asked for"):
        package.load(torn, device="cpu").sample(2, condition={"MW": 300.0})
