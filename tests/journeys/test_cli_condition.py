"""Molecules asked for by their properties: a conditional model trained, asked, and every way to ask wrongly."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLE, TINY
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors

import molvae as package
from molvae.errors import ConfigError
from molvae.files import EventLog
from molvae.training import experiment

CONFIG = {
    "data": {**TINY["data"], "properties": ["logP", "MW"]},
    "model": {**TINY["model"], "name": "cvae", "unconditional": 0.8, "condition": 16},
    "training": {**TINY["training"], "molecules": 8000},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a conditional model of the example molecules."""
    out = tmp_path_factory.mktemp("models") / "conditional"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "FITTED", ("gaussian",))
        patch.setattr(experiment, "PRIOR_SAMPLES", 20)
        experiment.train(EXAMPLE, out, config=CONFIG, device="cpu")
    return out


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_condition_moves_the_molecules_and_the_report_says_how_far(molvae, run: Path) -> None:
    command = ("generate", "-n", 60, "--seed", 2, "--model", run, "--properties", "QED", "--guidance", 2, "--condition")
    means = {}
    for target in (0.5, 4.5):
        code, out, err = molvae(*command, f"logP={target}")
        assert code == 0, err
        rows = table(out)
        assert list(rows[0]) == ["smiles", "QED", "logP"] and len(rows) == 60
        values = [Crippen.MolLogP(Chem.MolFromSmiles(row["smiles"])) for row in rows]
        header, said = [line for line in err.splitlines() if line.startswith(("asked for", "logP"))]
        assert header.split() == ["asked", "for", "target", "mean", "mean", "absolute", "error"]
        name, asked, mean, mae = said.split()
        assert (name, float(asked)) == ("logP", target)
        assert float(mean) == pytest.approx(np.mean(values), rel=2e-3)
        assert float(mae) == pytest.approx(np.abs(np.array(values) - target).mean(), rel=5e-3)
        means[target] = np.mean(values)
        assert molvae(*command, f"logP={target}")[1] == out
    assert means[4.5] > means[0.5] + 1.0
    outcome = molvae("generate", "-n", 5, "--model", run, "--condition", "MW=250,logP=2", "--properties", "none")
    assert outcome.code == 0 and list(table(outcome.out)[0]) == ["smiles", "MW", "logP"]


def test_in_python(run: Path) -> None:
    model = package.load(run, device="cpu")
    library = package.generate(40, model=model, seed=1, condition={"MW": 250.0}, guidance=1.5)
    values = np.array([Descriptors.MolWt(Chem.MolFromSmiles(s)) for s in library.smiles])
    found = library.achieved["MW"]
    assert found.target == 250.0
    assert (found.mean, found.mae) == pytest.approx((values.mean(), np.abs(values - 250.0).mean()))
    assert package.generate(5, model=model, seed=1).achieved == {}
    asked, free = model.sample(20, seed=3, condition={"MW": 250.0}), model.sample(20, seed=3)
    assert [d.smiles for d in asked] != [d.smiles for d in free]
    # Asking makes another model and leaves this one as it was; what it encodes is the same for both.
    heavy = model.conditioned({"MW": 400.0}, 2.0)
    assert [d.smiles for d in model.sample(20, seed=3)] == [d.smiles for d in free]
    assert np.array_equal(heavy.encode(["CCO"]), model.encode(["CCO"]))
    assert [d.smiles for d in heavy.sample(20, seed=3, condition={"MW": 250.0})] == [d.smiles for d in asked]
    with pytest.raises(ConfigError, match="beams look for a latent's own string"):
        heavy.decode(np.zeros((1, 8)), beams=4)
    given = [d.smiles for d in free if d.faithful and d.smiles]
    assert heavy.reconstruct(given) == heavy.decode(heavy.encode(given)), "greedy, unless told otherwise"


def test_training_says_what_a_condition_tells(run: Path) -> None:
    looks = [event for event in EventLog(run / "events.jsonl").read() if event["event"] == "evaluation"]
    assert 0 < looks[-1]["conditional_nll"] < looks[-1]["language_nll"]  # properties leave less to guess


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--condition", "logp=2"), "conditional cannot be conditioned on 'logp'. Did you mean 'logP'? It knows: logP, MW."),
        (("--condition", "QED=0.9"), "conditional cannot be conditioned on 'QED'. It knows: logP, MW."),
        (("--condition", "logP"), "condition 'logP' is not of the form NAME=VALUE"),
        (("--condition", "logP=two"), "condition logP = 'two' is not a number"),
        (("--condition", "logP=nan"), "condition logP = nan is not a finite number"),
        (("--condition", "logP=99"), "condition logP = 99 is outside of what conditional was trained on"),
        (("--condition", "logP=1,logP=2"), "the condition names logP twice"),
        (("--condition", "logP=2", "--guidance", "-1"), "guidance is -1"),
        (("--condition", "logP=2", "--guidance", "nan"), "guidance is nan"),
        (("--guidance", "2"), "guidance 2 pulls towards a condition, and none is given"),
    ],
)
def test_a_wrong_condition_is_one_sentence(molvae, run: Path, options: tuple[str, ...], message: str) -> None:
    outcome = molvae("generate", "-n", 3, "--model", run, *options)
    assert outcome.code == 2 and message in outcome.err and len(outcome.err.splitlines()) == 1 and not outcome.out


def test_a_plain_model_says_that_it_cannot_be_asked(molvae, tiny_model: Path) -> None:
    outcome = molvae("generate", "-n", 3, "--model", tiny_model, "--condition", "logP=2")
    assert (
        outcome.code == 2
        and "tiny cannot be conditioned on properties. Fit a prior that can (molvae fit-prior" in outcome.err
    )


def test_a_conditional_model_without_properties_is_not_trained(molvae, tmp_path: Path) -> None:
    outcome = molvae("train", EXAMPLE, "-o", "run", "--model", "cvae", "--device", "cpu", "--workers", 0)
    assert outcome.code == 2 and "conditions on properties, and [data] properties names none" in outcome.err
    assert not (tmp_path / "run").exists()
