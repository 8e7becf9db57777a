"""Fine-tuning: what of the base model stays, what is added, what is replayed, and what is refused."""

import csv
import json
import math
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from drugs import SMILES

import molvae
from molvae.checkpoint import Checkpoint, molecule_hashes
from molvae.chem import canonical
from molvae.data.datasets import TokenTable, tokenise
from molvae.errors import CheckpointError, ConfigError, DataError, RunError
from molvae.files import EventLog
from molvae.models.sequence_vae import MODELS
from molvae.strings.tokens import EOS, SPECIALS, Vocabulary
from molvae.training import experiment, fine_tuning
from molvae.training.examples import Examples, joined, with_extra
from molvae.training.experiment import train
from molvae.training.fine_tuning import adopt, extended, replay, training_defaults, tuned_design
from molvae.training.settings import FineTuneSettings

OWN = [f"C{'C' * i}S(=O)(=O)N1CC[Te]CC1" for i in range(10)] + [f"C{'C' * i}N1CC[Te]CC1" for i in range(10)]
QUICK = {"training": {"molecules": 200, "batch_size": 20, "precision": "float32"}, "fine_tuning": {"samples": 40}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(experiment, "FITTED", ("gaussian",))
    monkeypatch.setattr(experiment, "PRIOR_SAMPLES", 20)


@pytest.fixture(scope="module")
def tuned(small_run, tmp_path_factory):
    """A run that tuned the small model, which knows two properties, on molecules with an element new to it."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "FITTED", ("gaussian",))
        patch.setattr(experiment, "PRIOR_SAMPLES", 20)
        patch.setattr(fine_tuning, "DRAWS", 60)
        train(OWN, out, fine_tune=small_run, config=QUICK, device="cpu")
    return out


# -- the whole run


def test_a_tuned_model_knows_the_new_symbol_and_its_base(tuned, small_model):
    model = molvae.load(tuned, device="cpu")
    old, new = small_model.vocabulary.tokens, model.vocabulary.tokens
    assert new[: len(old)] == old and "[Te]" in new[len(old) :] and "[Te]" not in old
    assert np.isfinite(model.encode(OWN)).all() and np.isnan(small_model.encode(OWN)).all()
    assert model.card["base"]["name"] == small_model.name and len(model.card["base"]["sha256"]) == 64
    assert model.card["properties"] == small_model.card["properties"]  # the heads keep their units
    known = model.is_training_molecule([canonical(s) for s in [*OWN, *SMILES]])
    assert known[len(OWN) :].all() and known[: len(OWN)].sum() == len(OWN) - 4  # a fifth is held back
    assert model.ring_systems > small_model.ring_systems


def test_the_memorisation_report_counts_the_samples_in_its_table(tuned):
    model = molvae.load(tuned, device="cpu")
    report = model.card["fine_tuning"]
    with (tuned / "memorisation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    copies = [row["is_training_molecule"] == "true" for row in rows]
    near = [float(row["nearest_similarity"]) >= 0.9 or copy for row, copy in zip(rows, copies, strict=True)]
    assert report["samples"] == 40 and report["after"]["n"] == len(rows) <= 40
    assert report["after"]["exact"] == pytest.approx(np.mean(copies)) and report["after"]["near"] == pytest.approx(
        np.mean(near)
    )
    assert report["held_out"]["n"] == 4 and report["before"]["exact"] == 0.0
    drawn = [d.smiles for d in model.sample(40, seed=0) if d.smiles]
    same = [row["smiles"] == smiles for row, smiles in zip(rows, drawn, strict=False)]
    assert np.mean(same) > 0.9  # the saved weights have half the digits: a near tie may fall to the other side


def test_the_resolved_settings_are_those_of_fine_tuning(tuned):
    config = tomllib.loads((tuned / "config.toml").read_text())
    assert config["fine_tuning"] == {"replay": 1.0, "samples": 40}
    assert config["training"]["learning_rate"] == 3e-4 and config["training"]["patience"] == 5
    assert config["training"]["molecules"] == 200  # what is asked for wins
    replayed = json.loads((tuned / "replay.json").read_text())["smiles"]
    assert 0 < len(replayed) <= len(OWN) and len(set(replayed)) == len(replayed)
    started = next(e for e in EventLog(tuned / "events.jsonl").read() if e["event"] == "train")
    assert started["rows"] == len(OWN) - 4 + len(replayed)


def test_tuning_lowers_the_nll_of_what_is_held_back(small_run, tmp_path):
    looks = []
    config = {"training": {"molecules": 960, "batch_size": 16, "learning_rate": 5e-3, "ema": 0.9, "evaluate_every": 320}}
    config["fine_tuning"] = {"samples": 10, "replay": 0.0}
    hear = {"evaluated": lambda n, found: looks.append(found["nll"])}
    train(OWN, tmp_path, fine_tune=small_run, config=config, device="cpu", **hear)
    assert looks[-1] < 0.7 * looks[0]
    assert not (tmp_path / "replay.json").exists()


def test_a_tuning_run_goes_on_where_it_stopped(small_run, tuned, tmp_path, monkeypatch):
    monkeypatch.setattr(fine_tuning, "DRAWS", 60)
    steps = []

    def interrupt(done, total, terms):
        steps.append(done)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(OWN, tmp_path, fine_tune=small_run, config=QUICK, device="cpu", progress=interrupt)
    finished = train(OWN, tmp_path, fine_tune=small_run, config=QUICK, device="cpu")
    expected = molvae.load(tuned, device="cpu").vae.state_dict()
    for name, value in molvae.load(tmp_path, device="cpu").vae.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    assert finished.card["fine_tuning"]["after"]["n"] > 0
    with pytest.raises(RunError, match="holds a run with other replay"):
        config = {**QUICK, "fine_tuning": {"replay": 0.5}}
        train(OWN, tmp_path, fine_tune=small_run, config=config, device="cpu")


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model": {"latent": 32}}, r"\[model\] latent cannot be changed when fine-tuning: it is 24"),
        ({"model": {"encoder": "transformer"}}, r"\[model\] encoder cannot be changed"),
        ({"model": {"word_dropuot": 0.1}}, "no setting 'word_dropuot'. Did you mean 'word_dropout'"),
        ({"data": {"words": 10}}, r"\[data\] words cannot be set when fine-tuning"),
        ({"data": {"properties": ["QED"]}}, r"\[data\] properties cannot be set when fine-tuning"),
        ({"fine_tuning": {"replya": 1.0}}, r"\[fine_tuning\] has no setting 'replya'. Did you mean 'replay'"),
        ({"fine_tuning": {"replay": -1.0}}, r"\[fine_tuning\] replay must be from 0 to 100"),
        ({"fine_tuning": {"samples": 0}}, r"\[fine_tuning\] samples must be 1 or more"),
    ],
)
def test_a_bad_configuration_is_refused(small_run, tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        train(OWN, tmp_path, fine_tune=small_run, config=config)


def test_fine_tuning_settings_need_a_model_to_tune(small_run, tmp_path):
    with pytest.raises(ConfigError, match="the configuration has no setting 'fine_tuning'"):
        train(OWN, tmp_path, config={"fine_tuning": {}})
    with pytest.raises(CheckpointError, match="no checkpoint 'nowhere'"):
        train(OWN, tmp_path, fine_tune="nowhere")
    with pytest.raises(DataError, match="only 1 of 1 molecules can be used"):
        train(OWN[:1], tmp_path, fine_tune=small_run)
    with pytest.raises(DataError, match=r"4 molecules are too few to hold any back\. Set training\.patience=0"):
        train(OWN[:4], tmp_path / "four", fine_tune=small_run, config={"fine_tuning": {"replay": 0.0}})


# -- its parts


def test_new_symbols_come_last_and_old_ids_stay():
    old = Vocabulary(["[C]", "[O]", "[C][O]"])
    new = extended(old, ["CCO", "CN", "C[Te]C", "C.C"])
    assert new.tokens == (*SPECIALS, "[C]", "[O]", "[C][O]", "[N]", "[Te]") and new.constraints == old.constraints
    assert extended(new, ["CNO"]) == new


def test_a_longer_vocabulary_changes_no_old_number():
    torch.manual_seed(0)
    settings = {"latent": 4, "decoder": "transformer", "decoder_settings": {"width": 8, "layers": 1, "heads": 2}}
    base, longer = (MODELS.build("vae", settings, size).eval() for size in (10, 13))
    adopt(longer, base.state_dict(), seed=1)
    ids = torch.tensor([[1, 4, 5, 9, EOS]])
    torch.testing.assert_close(longer.posterior(ids)[0], base.posterior(ids)[0])
    z = torch.randn(1, 1, 4)
    torch.testing.assert_close(longer.decoder(ids, z)[..., :10], base.decoder(ids, z))
    new = longer.decoder(ids, z)[..., 10:]
    torch.testing.assert_close(new, base.decoder(ids, z)[..., 3:].mean(-1, keepdim=True).expand_as(new))  # Hewitt 2021
    rows = longer.encoder.embedding.weight[10:]
    assert len(rows.unique(dim=0)) == 3  # told apart
    old = base.encoder.embedding.weight[3:]
    assert ((rows - old.mean(0)).abs() < 0.6 * old.std(0)).all()
    with pytest.raises(CheckpointError, match="do not fit the model to be tuned"):
        adopt(base, longer.state_dict(), seed=1)


def test_beta_stays_where_the_base_left_it():
    kl = {"rate": 50.0, "later": [[6636, 95.0], [2504, 75.0]], "high": 0.3}
    base = Checkpoint(None, None, {"name": "vae", "latent": 8, "kl_weight": "rate_target", "kl_settings": kl})
    assert tuned_design(base, {})["kl_settings"] == {"rate": 95.0, "high": 0.3, "gain": 0.0}
    assert tuned_design(base, {"kl_settings": {"rate": 20.0}})["kl_settings"] == {"rate": 20.0}
    assert tuned_design(base, {"latent": 8, "unconditional": 0.5})["unconditional"] == 0.5
    assert base.config["kl_settings"] == kl
    model = MODELS.build("vae", {"latent": 8, "kl_settings": tuned_design(base, {})["kl_settings"]}, 12)
    model.kl_weight.log_beta.fill_(math.log(0.07))  # as adopted from the base
    for _ in range(100):
        model.after_step({"rate": 300.0})
    assert model.kl_weight.beta(7000) == pytest.approx(0.07)


def test_replayed_molecules_are_faithful_and_kept(small_model, tmp_path, caplog):
    path = tmp_path / "replay.json"
    drawn = replay(small_model, 3, 0, path)
    assert len(set(drawn)) == 3 and all(small_model.vocabulary.encode(s)[0] for s in drawn)
    assert replay(small_model, 3, 0, path) == drawn == replay(small_model, 3, 0, tmp_path / "again.json")
    with pytest.raises(RunError, match="other replay"):
        replay(small_model, 4, 0, path)
    path.write_text("{")
    with pytest.raises(RunError, match=r"is torn\. Remove it"):
        replay(small_model, 3, 0, path)
    written = [d.smiles for d in replay_source(small_model)]
    small_model_that_repeats = replace_sampler(small_model, written[:1])
    assert replay(small_model_that_repeats, 2, 0, tmp_path / "few.json") == written[:1]
    assert "wrote only 1 of 2 molecules" in caplog.text


def replay_source(model):
    return [d for d in model.decode(model.encode(SMILES)) if d.faithful]


def replace_sampler(model, smiles):
    """The model, its sampler writing nothing but some molecules."""

    class Repeating(type(model)):
        def sample(self, n, **options):
            return [d for d in replay_source(model) if d.smiles in smiles] * n

    twin = Repeating(model.checkpoint, name=model.name)
    return twin


def test_replayed_molecules_stand_behind_the_others(small_model):
    vocabulary = small_model.vocabulary
    own = tokenise(SMILES[:3], vocabulary, randomised=3)
    examples = Examples(own.table, own.sources, torch.ones(3, 2))
    again = tokenise(SMILES[3:5], vocabulary, randomised=3)
    both = with_extra(examples, again.table, again.sources)
    assert len(both) == 5 and both.writings == 4 and both.extra.tolist() == [False] * 3 + [True] * 2
    assert both.properties[:3].eq(1).all() and both.properties[3:].isnan().all()
    batch = both.batch(torch.tensor([4, 0]))
    assert [vocabulary.decode(row).smiles for row in batch.ids.tolist()] == [canonical(SMILES[4]), canonical(SMILES[0])]
    assert batch.extra.tolist() == [True, False]
    assert both.select(torch.tensor([4, 1])).extra.tolist() == [True, False]


def test_tables_are_joined_row_by_row():
    a, b = TokenTable.from_rows([[3], [4, 5]]), TokenTable.from_rows([[6, 7, 8], []])
    assert joined(a, b).batch(torch.arange(4)).tolist() == TokenTable.from_rows([[3], [4, 5], [6, 7, 8], []]).batch(
        torch.arange(4)
    ).tolist()  # fmt: skip


def test_defaults_look_once_a_pass():
    defaults = training_defaults(600)
    assert defaults["evaluate_every"] == 600 and defaults["molecules"] == 40 * 600
    assert replace(FineTuneSettings(), replay=2.0).replay == 2.0 and molecule_hashes(["C"]).dtype == np.int64
