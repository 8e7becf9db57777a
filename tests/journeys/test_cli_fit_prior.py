"""A prior fitted to a finished model as its users do it, asked for properties, and every way to ask wrongly."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import EXAMPLE
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors

import molvae as package
from molvae.checkpoint import load, save
from molvae.errors import CheckpointError, ConfigError, DataError
from molvae.files import file_hash, write_json
from molvae.generation.conditioning import Conditions
from molvae.training import second_stage
from molvae.training.second_stage import LaterPriors


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
        kept = other.checkpoint.priors[name].tensors
        assert prior.tensors.keys() == kept.keys()
        assert all(torch.equal(tensor, kept[key]) for key, tensor in prior.tensors.items())
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
        (["--prior", "normal"], "has nothing to fit"),
        (["--ask", "logP,logP"], "each of them once"),
        (["--set", "width=-4"], "width is -4; give at least 1"),
        (["--set", "ode_steps=0"], "ode_steps is 0; give at least 1"),
        (["--prior", "mixture", "--set", "latents=0"], "latents is 0; give at least 1"),
        (["--set", "learning_rate=nan"], "learning_rate is nan; give a number above 0"),
        (["--set", "learning_rate=1e30", "--set", "steps=30"], "lower its learning_rate"),
        (["--workers", "-1"], "workers is -1"),
        (["--model", "zinc250k", "--ask", "mw"], "did you mean 'MW'"),
        (["--model", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(molvae, tiny_model: Path, arguments: list[str], sentence: str) -> None:
    model = [] if "--model" in arguments else ["--model", tiny_model]
    outcome = molvae("fit-prior", EXAMPLE, "-o", "made", *model, *arguments)
    assert outcome.code in (1, 2) and sentence.lower() in outcome.err.lower() and "Traceback" not in outcome.err
    assert not Path("made").exists()


def test_nothing_but_its_own_folder_is_written_over(molvae, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, "run")
    before = {path: file_hash(path) for path in Path("run").rglob("*") if path.is_file()}
    outcome = molvae("fit-prior", EXAMPLE, "-o", "run", "--prior", "gaussian")
    assert outcome.code == 1 and "holds another model than zinc250k" in outcome.err
    Path("data").mkdir()
    Path("data", "mine.txt").write_text("mine")
    outcome = molvae("fit-prior", EXAMPLE, "-o", "data", "--prior", "gaussian", "--model", tiny_model)
    assert outcome.code == 1 and "data holds other files, and no model" in outcome.err
    assert {path: file_hash(path) for path in before} == before and [p.name for p in Path("data").iterdir()] == ["mine.txt"]


def test_the_seed_chooses_the_fit(tiny_model: Path) -> None:
    smiles = [line.split()[0] for line in EXAMPLE.read_text().splitlines()]
    quick = {"settings": {"steps": 20, "width": 16, "blocks": 1}, "device": "cpu"}
    drawn = [package.fit_prior(tiny_model, smiles, seed=s, **quick).sample_latents(3, prior="flow") for s in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_properties_that_cannot_be_computed_are_left_unknown(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = [line.split()[0] for line in EXAMPLE.read_text().splitlines()]
    quick = {"settings": {"steps": 20, "width": 16, "blocks": 1}, "device": "cpu", "properties": ["logP"]}
    measure = second_stage.measure_properties

    def without_nitrogen(job):
        rows = measure(job)
        return [[float("nan")] * len(row) if "N" in one else row for one, row in zip(job[1], rows, strict=True)]

    monkeypatch.setattr(second_stage, "measure_properties", without_nitrogen)
    about = package.fit_prior(tiny_model, smiles, **quick).card["priors"]["flow"]["properties"]["logP"]
    known = [Crippen.MolLogP(Chem.MolFromSmiles(s)) for s in map(Chem.CanonSmiles, smiles) if "N" not in s]
    assert about["mean"] == pytest.approx(np.mean(known), rel=0.05) and about["high"] == pytest.approx(max(known), rel=1e-5)
    monkeypatch.setattr(second_stage, "measure_properties", lambda job: [[float("nan")] for _ in job[1]])
    with pytest.raises(DataError, match="logP could not be computed of any of the"):
        package.fit_prior(tiny_model, smiles, **quick)


def test_a_run_that_is_trained_again_keeps_what_was_fitted_to_it(molvae, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, "run")
    fit = ("fit-prior", EXAMPLE, "-o", "run", "--model", "run", "--set", "steps=20", "--set", "width=16")
    assert molvae(*fit).code == 0
    fitted = package.load("run", device="cpu")
    again = LaterPriors.of(Path("run/checkpoint"))
    save(Path("run/checkpoint"), load(tiny_model))
    assert "flow" not in load("run").priors
    again.put_back(Path("run/checkpoint"), load(tiny_model))
    assert np.array_equal(package.load("run", device="cpu").sample_latents(3), fitted.sample_latents(3))
    assert LaterPriors.of(tiny_model / "checkpoint") is None and LaterPriors.of(Path("nowhere")) is None


def test_a_conditional_model_and_a_prior_may_know_different_properties(tiny_model: Path) -> None:
    """A decoder that was told of logP, and a flow that can be asked for MW."""
    smiles = [line.split()[0] for line in EXAMPLE.read_text().splitlines()]
    quick = {"settings": {"steps": 20, "width": 16, "blocks": 1}, "device": "cpu", "properties": ["MW"]}
    with_flow = package.fit_prior(tiny_model, smiles, **quick)
    scale = {"mean": 2.0, "sd": 1.0, "low": -3.0, "high": 6.0}
    checkpoint = with_flow.checkpoint
    checkpoint.card["properties"] = {"logP": scale}
    checkpoint = replace(checkpoint, model=SimpleNamespace(conditions=1))
    conditions = Conditions(checkpoint, ["language", "flow", "gaussian"], "m")
    assert conditions.able({"MW": 300}) == ["flow"] and conditions.able({"logP": 2}) == ["language"]
    for known in ({"MW": 300.0}, {"logP": 2.0}):
        conditions.check(known)
    assert conditions.of_decoder({"MW": 300.0}) is None
    np.testing.assert_allclose(conditions.of_decoder({"logP": 3.0}), [[1.0]])
    with pytest.raises(ConfigError, match=r"knows MW and logP together: it can be asked for logP, or for MW\."):
        conditions.check({"MW": 300.0, "logP": 2.0})
    with pytest.raises(ConfigError, match=r"on 'QED'.* It knows: logP, MW\."):
        conditions.check({"QED": 0.5})


def test_what_cannot_be_asked_is_refused(molvae, fitted: Path, tmp_path: Path) -> None:
    for arguments, sentence in [
        (("--condition", "QED=0.9"), "cannot be conditioned on 'QED'. It knows: MW, logP"),
        (("--condition", "MW=5000"), "is outside of what"),
        (
            ("--condition", "MW=300", "--prior", "mixture"),
            "the prior 'mixture' knows nothing of MW. Of asked these",
        ),
    ]:
        outcome = molvae("generate", "-n", 2, "--model", fitted, *arguments)
        assert outcome.code in (1, 2) and sentence in outcome.err
    unasked = molvae("generate", "-n", 2, "--condition", "heavy_atoms=20", "--model", "zinc250k")
    assert unasked.code == 2 and "(molvae fit-prior DATA --model zinc250k --ask heavy_atoms -o OUT)" in unasked.err
    scale = json.loads((fitted / "card.json").read_text())["priors"]["flow"]["properties"]["MW"]
    told = molvae("generate", "-n", 2, "--model", fitted, "--condition", "MW=5000").err
    bounds = [float(bound) for bound in re.search(r"trained on, (\S+) to (\S+)\.\n", told).groups()]
    assert scale["low"] <= bounds[0] < scale["low"] + 0.2 and scale["high"] - 0.2 < bounds[1] <= scale["high"], (
        "what is offered is allowed"
    )
    beyond = molvae("generate", "-n", 2, "--model", fitted, "--condition", "MW=300", "--guidance", "1e30")
    assert beyond.code == 2 and "guidance 1e+30 pulls latents beyond all numbers" in beyond.err
    with pytest.raises(DataError, match=r"3 of 4 molecules can be encoded; a prior needs 100\. Give more\. Most often: not"):
        package.fit_prior("zinc250k", ["CCO", "CCN", "CCC", "C1CC"], "gaussian", device="cpu")
    with pytest.raises(ConfigError, match="workers is -1"):
        package.fit_prior("zinc250k", ["CCO"] * 200, "gaussian", device="cpu", workers=-1)
    with pytest.raises(DataError, match=r"MW is 46\.069 of all molecules"):
        package.fit_prior("zinc250k", ["CCO"] * 200, properties=["MW"], device="cpu")
    for names in ("logP", ["logP", "logP"]):
        with pytest.raises(ConfigError, match="each of them once"):
            package.fit_prior("zinc250k", ["CCO"] * 200, properties=names, device="cpu")
    torn = tmp_path / "torn"
    shutil.copytree(fitted, torn)
    write_json(torn / "card.json", {**json.loads((torn / "card.json").read_text()), "priors": {}})
    with pytest.raises(CheckpointError, match="does not say what its prior 'flow' can be asked for"):
        package.load(torn, device="cpu").sample(2, condition={"MW": 300.0})
