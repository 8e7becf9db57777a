"""train(): from a list or file of SMILES to a checkpoint; its records; resuming, refusing, and what is held back."""

import csv
import json
import logging
import math
import tomllib

import numpy as np
import pytest
import torch
from conftest import SMALL
from drugs import SMILES
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors

import molvae
from molvae.checkpoint import molecule_hashes
from molvae.chem import canonical
from molvae.data.datasets import tokenise
from molvae.errors import ConfigError, DataError, RunError, UnknownName
from molvae.files import EventLog
from molvae.generation.model import Model
from molvae.models.sequence_vae import MODELS
from molvae.training import experiment
from molvae.training.experiment import health, split, train
from molvae.training.loop import Examples, TrainSettings
from molvae.training.preparation import DataSettings, Prepared, prepare
from molvae.training.scales import standardised

TINY = {
    "data": {"words": 10},
    "model": {"latent": 4, "encoder_settings": {"hidden": 8}, "decoder_settings": {"hidden": 12}},
    "training": {"molecules": 60, "batch_size": 20, "precision": "float32"},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(experiment, "FITTED", ("gaussian",))
    monkeypatch.setattr(experiment, "PRIOR_SAMPLES", 20)


# -- what a run leaves


def test_the_resolved_configuration_has_every_default(small_run):
    config = tomllib.loads((small_run / "config.toml").read_text())
    assert config["data"] == {
        "words": 100, "spelling": "marks", "recombined": 0, "properties": ["logP", "TPSA"], "randomise": True,
    }  # fmt: skip
    assert config["model"]["name"] == "vae" and config["model"]["properties"] == 2
    assert set(MODELS.defaults("vae")) - {k for k, v in MODELS.defaults("vae").items() if v is None} <= set(config["model"])
    assert config["training"]["clip"] == 50.0 and config["training"]["molecules"] == 5040


def test_rejects_are_written_with_row_input_and_reason(small_run):
    with (small_run / "rejected.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    n = len(SMILES)
    assert rows == [
        ["row", "input", "reason"],
        [str(n), "CCO.Cl", "several fragments (a salt or a mixture); keep one of them"],
        [str(n + 1), "not a molecule", "not a valid SMILES"],
    ]


def test_the_card_tells_data_rejects_and_properties(small_run, small_model):
    card = small_model.card
    assert card["data"]["rows"] == len(SMILES) and card["data"]["held_out"] == 0  # too few to hold any back
    assert sum(card["rejected"].values()) == 2 and card["molecules_shown"] == 5040
    assert set(card["versions"]) == {"torch", "rdkit", "selfies"}
    mols = [Chem.MolFromSmiles(s) for s in SMILES]
    for name, function in (("logP", Crippen.MolLogP), ("TPSA", rdMolDescriptors.CalcTPSA)):
        values = [function(m) for m in mols]
        assert card["properties"][name] == pytest.approx(
            {"mean": np.mean(values), "sd": np.std(values), "low": min(values), "high": max(values)}
        )


def test_events_show_progress_and_health(small_run):
    events = EventLog(small_run / "events.jsonl").read()
    looks = [e for e in events if e["event"] == "evaluation"]
    assert [e["molecules"] for e in looks] == [4200, 5040]
    keys = ("nll", "rate", "active_units", "exact_mean", "exact_sample", "prior_faithful", "prior_unique", "prior_novel")
    assert all(key in look for look in looks for key in (*keys, "property_mse"))
    assert looks[1]["nll"] < looks[0]["nll"] < 45 and looks[1]["property_mse"] < 0.5


def test_property_heads_predict_in_the_propertys_own_unit(small_model):
    z = small_model.encode(SMILES)
    predicted = small_model.predict(z)
    assert list(predicted) == ["logP", "TPSA"]
    true = [Crippen.MolLogP(Chem.MolFromSmiles(s)) for s in SMILES]
    assert np.corrcoef(predicted["logP"], true)[0, 1] > 0.8
    assert np.abs(predicted["logP"] - true).mean() < 1.2  # in log units; the standard deviation of these is about 2


# -- the options


def test_names_of_properties_are_checked():
    with pytest.raises(UnknownName, match=r"no property named 'logp'. Did you mean 'logP'"):
        DataSettings(properties=("logp",))
    with pytest.raises(ConfigError, match="names one twice"):
        DataSettings(properties=("QED", "QED"))
    with pytest.raises(ConfigError, match="words must be from 0"):
        DataSettings(words=10**6)


def test_property_values_are_standardised_over_the_training_rows_alone():
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [5.0, math.nan], [100.0, 5.0]], dtype=torch.float64)
    table, scales = standardised(values, ["a", "b"], torch.tensor([0, 1, 2]))
    assert scales["a"] == pytest.approx({"mean": 3.0, "sd": math.sqrt(8 / 3), "low": 1.0, "high": 5.0})
    assert scales["b"] == {"mean": 5.0, "sd": 1.0, "low": 5.0, "high": 5.0}  # a constant is not divided by zero
    assert table.dtype == torch.float32
    assert table[:3, 0].tolist() == pytest.approx([-math.sqrt(1.5), 0.0, math.sqrt(1.5)])
    assert table[2, 1].isnan() and table[3, 0] > 50
    assert standardised(None, [], torch.tensor([0])) == (None, {})


def test_prepared_data_come_back_from_the_run_directory_as_they_were(tmp_path):
    data = [*SMILES[:12], "broken, with a comma", "CC.O"]
    settings = DataSettings(words=5, properties=("QED", "SA"), randomise=True)
    first = prepare(data, tmp_path, settings, leave_out=[0, 3], seed=1)
    again = prepare(data, tmp_path, settings, leave_out=[3, 0], seed=1)
    for prepared in (first, again):
        tokens = prepared.tokens
        assert tokens.smiles == [canonical(SMILES[i]) for i in range(12) if i not in (0, 3)]
        assert tokens.rows.tolist() == [i for i in range(12) if i not in (0, 3)]  # numbers of the file's rows
        assert [(row, text) for row, text, _ in tokens.rejected] == [(12, "broken, with a comma"), (13, "CC.O")]
        assert prepared.properties.shape == (10, 2)
    assert torch.equal(first.properties, again.properties)
    assert torch.equal(first.tokens.sources.tokens, again.tokens.sources.tokens)
    assert torch.equal(first.tokens.table.offsets, again.tokens.table.offsets)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"data": SMILES[1:13]}, "sha256"),
        ({"leave_out": [4]}, "left_out_sha256"),
        ({"leave_out": [3, 4]}, "left_out"),
        ({"settings": DataSettings(words=6)}, "words"),
        ({"settings": DataSettings(words=5, properties=("QED",))}, "properties"),
        ({"settings": DataSettings(words=5, randomise=True)}, "randomised"),
    ],
)
def test_other_data_in_the_same_directory_are_refused(tmp_path, change, named):
    given = {"data": SMILES[:12], "settings": DataSettings(words=5), "leave_out": [3]}
    for number, call in enumerate((given, {**given, **change})):
        data, settings, leave_out = call["data"], call["settings"], call["leave_out"]
        if number:
            with pytest.raises(RunError, match=rf"holds a run on other data \(.*\b{named}\b.*\). Choose another"):
                prepare(data, tmp_path, settings, leave_out=leave_out)
        else:
            prepare(data, tmp_path, settings, leave_out=leave_out)


def test_a_directory_from_before_these_settings_is_still_read(tmp_path):
    prepare(SMILES[:12], tmp_path, DataSettings(words=5, spelling="selfies"))
    stored = json.loads((tmp_path / "tokens.json").read_text())
    stored["source"] = {key: stored["source"][key] for key in ("sha256", "left_out", "words")}
    (tmp_path / "tokens.json").write_text(json.dumps(stored))
    (tmp_path / "rejected.csv").unlink()
    assert prepare(SMILES[:12], tmp_path, DataSettings(words=5, spelling="selfies")).tokens.rejected == []
    with pytest.raises(RunError, match="properties"):
        prepare(SMILES[:12], tmp_path, DataSettings(words=5, properties=("QED",)))


@pytest.mark.parametrize("name", ["tokens.json", "tokens.safetensors", "rejected.csv"])
def test_torn_prepared_data_are_refused(tmp_path, name):
    prepare([*SMILES[:12], "broken"], tmp_path, DataSettings(words=5))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-15] + b"\nx")
    with pytest.raises(RunError, match=r"cannot read the prepared data in .*Remove tokens\.json"):
        prepare([*SMILES[:12], "broken"], tmp_path, DataSettings(words=5))


# -- runs


def test_running_again_continues_and_ends_with_the_same_model(tmp_path):
    whole = train(SMILES[:40], tmp_path / "a", config=TINY)
    half = {**TINY, "training": {**TINY["training"], "molecules": 40}}
    torch.manual_seed(123)  # the caller's own random state must not matter
    train(SMILES[:40], tmp_path / "b", config={**half, "training": {**half["training"], "decay": 0.0}})
    before = torch.get_rng_state()
    resumed = train(SMILES[:40], tmp_path / "b", config={**TINY, "training": {**TINY["training"], "decay": 0.0}})
    assert torch.equal(torch.get_rng_state(), before)
    steps = [e["step"] for e in EventLog(tmp_path / "b" / "events.jsonl").read() if e["event"] == "train"]
    assert steps == [0, 2]
    constant = train(SMILES[:40], tmp_path / "c", config={**TINY, "training": {**TINY["training"], "decay": 0.0}})
    for key, value in constant.vae.state_dict().items():
        assert torch.equal(resumed.vae.state_dict()[key], value), key
    assert not torch.equal(whole.vae.bottleneck.weight, constant.vae.bottleneck.weight)


def test_rows_left_out_are_never_shown(tmp_path):
    model = train(SMILES[:40], tmp_path, config=TINY, leave_out=[0, 7])
    known = model.is_training_molecule([canonical(s) for s in SMILES[:40]])
    assert np.flatnonzero(~known).tolist() == [0, 7]
    with pytest.raises(ConfigError, match="row 40 is to be left out, but the data has rows 0 to 39"):
        train(SMILES[:40], tmp_path / "other", config=TINY, leave_out=[40])


def test_a_share_of_many_molecules_is_held_back(tmp_path):
    smiles = [
        f"{'C' * a}{x}{'C' * b}" for a in range(1, 8) for b in range(1, 8) for x in ("O", "N", "S", "C(=O)", "OC(=O)N")
    ]
    distinct = list(dict.fromkeys(map(canonical, smiles)))
    model = train(smiles, tmp_path, config=TINY)
    keep = len(smiles) // 10
    assert model.card["data"]["held_out"] == keep and model.card["data"]["rows"] == len(smiles) - keep
    assert len(distinct) >= 150 and len(model.checkpoint.training) <= len(smiles) - keep
    assert set(model.checkpoint.training) <= set(molecule_hashes(distinct))


def prepared(smiles, validation=None):
    return Prepared(tokenise(smiles, words=0), None, None if validation is None else np.array(validation))


def test_the_data_s_own_validation_part_is_what_is_held_out():
    shown, held = split(prepared(SMILES[:10], [2, 7]), TrainSettings())
    assert held.tolist() == [2, 7] and shown.tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    assert split(prepared(SMILES[:10], [2, 7]), TrainSettings(patience=3, seed=9))[1].tolist() == [2, 7]


def test_without_one_a_share_is_drawn_by_the_seed():
    few = prepared(SMILES[:50])
    assert len(split(few, TrainSettings())[1]) == 0  # few molecules are all learned
    shown, held = split(few, TrainSettings(patience=2))  # but early stopping needs some to watch
    assert len(held) == 10 and sorted([*shown.tolist(), *held.tolist()]) == list(range(50))
    assert not torch.equal(held, split(few, TrainSettings(patience=2, seed=1))[1])


def test_a_validation_part_that_overlaps_is_refused():
    both = [*SMILES[:10], SMILES[3]]
    with pytest.raises(DataError, match=r"1 of 2 validation molecules are training molecules, too, such as .*Remove them"):
        split(prepared(both, [5, 10]), TrainSettings())
    with pytest.raises(DataError, match="every molecule is kept for validation"):
        split(prepared(SMILES[:3], [0, 1, 2]), TrainSettings())
    with pytest.raises(DataError, match=r"3 molecules are too few to hold any back\. Set training\.patience=0"):
        split(prepared(SMILES[:3]), TrainSettings(patience=1))


def test_a_file_is_trained_on_from_its_column(tmp_path):
    path = tmp_path / "drugs.csv"
    path.write_text("name,structure\n" + "".join(f"d{i},{s}\n" for i, s in enumerate(SMILES[:30])))
    model = train(path, tmp_path / "run", config=TINY, column="structure")
    assert model.card["data"]["source"] == "drugs.csv" and model.card["data"]["rows"] == 30
    assert molvae.load(tmp_path / "run").encode(SMILES[:2]).shape == (2, 4)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"modle": {}}, "the configuration has no setting 'modle'. Did you mean 'model'"),
        ({"model": 3}, "model = 3 is a value, but .model. is a table"),
        ({"model": {"latnt": 3}}, "model 'vae' has no setting 'latnt'. Did you mean 'latent'"),
        ({"model": {"name": "vea"}}, "no model named 'vea'. Did you mean 'vae'"),
        ({"model": {"properties": 2}}, r"\[model\] properties counts the property heads; name the properties in \[data\]"),
        ({"training": {"molecule": 3}}, r"\[training\] has no setting 'molecule'. Did you mean 'molecules'"),
        ({"training": {"batch_size": 0}}, r"\[training\] batch_size cannot be 0"),
        ({"data": {"words": "many"}}, r"\[data\].words must be a whole number"),
        ({"data": {"properties": "logP"}}, r"\[data\].properties must be a list"),
        ({"data": {"properties": ["solubility"]}}, "no property named 'solubility'"),
    ],
)
def test_a_bad_configuration_is_refused(tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        train(SMILES[:12], tmp_path, config=config)


def test_a_resolved_configuration_can_be_used_again(small_run, tmp_path):
    config = tomllib.loads((small_run / "config.toml").read_text())
    config["training"]["molecules"] = 900
    model = train(SMILES[:30], tmp_path, config=config)
    assert tomllib.loads((tmp_path / "config.toml").read_text())["model"] == config["model"]
    assert list(model.card["properties"]) == SMALL["data"]["properties"]


@pytest.mark.parametrize(
    "data, message",
    [
        ([], "only 0 of 0 molecules can be used. Give more"),
        (["CCO"], "only 1 of 1 molecules can be used. Give more"),
        (["x", "y", "C.C", "CCO"], "only 1 of 4 molecules can be used, most often because: not a valid SMILES. Give more"),
        ("nowhere.smi", "no file nowhere.smi"),
    ],
)
def test_unusable_data_are_refused_and_the_directory_stays_free(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        train(data, tmp_path, config=TINY)
    train(SMILES[:20], tmp_path, config=TINY)  # the same directory, after the data was put right


def test_rejects_are_told_and_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "molvae"):
        train([*SMILES[:20], "C.C", "N.N", "?"], tmp_path, config=TINY)
    assert "2 molecules rejected: several fragments" in caplog.text and "rejected.csv" in caplog.text


def test_an_unwritable_directory_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(experiment, "prepare", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(RunError, match=r"cannot write to .*Choose another place"):
        train(SMILES[:12], tmp_path / "file" / "run", config=TINY)


# -- health


def test_health_counts_exact_strings_by_greedy_decoding(small_model):
    """exact_mean is the share of molecules that greedy decoding of the posterior mean reproduces token by token."""
    data = tokenise(SMILES, small_model.vocabulary)
    numbers = health(small_model.vae, Examples(data.table), data.vocabulary, {canonical(SMILES[0])}, 0)
    free = Model(small_model.checkpoint, constrained=False)  # what the network has learned, not what the grammar mends
    written = free.write(free.encode(SMILES))
    exact = [text == data.vocabulary.to_selfies(smiles)[0] for text, smiles in zip(written, data.smiles, strict=True)]
    assert numbers["exact_mean"] == pytest.approx(np.mean(exact), abs=0.011)  # at most one near tie
    assert 0 <= numbers["exact_sample"] <= 1 and numbers["prior_novel"] > 0.9
    assert numbers["active_units"] == int((small_model.encode(SMILES).var(0, ddof=1) > 0.01).sum())
