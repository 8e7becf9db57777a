"""The commented configurations of docs/configs run as they stand, on little data; the full one is the code's defaults."""

import tomllib
from pathlib import Path

import pytest
from conftest import EXAMPLE

from molvae.cli import main
from molvae.config import read_toml, settings
from molvae.models.kl_weight import KL_WEIGHTS
from molvae.models.networks import DECODERS, ENCODERS
from molvae.models.sequence_vae import MODELS
from molvae.training.preparation import DataSettings
from molvae.training.settings import FineTuneSettings, TrainSettings

CONFIGS = Path(__file__).parents[2] / "docs" / "configs"
SMALL = {
    "train": ["model.latent=8", "model.encoder_settings={hidden=8}", "model.decoder_settings={hidden=8}"],
    "transformer": [
        "model.latent=8", "model.encoder_settings={width=8,heads=2,layers=1}",
        "model.decoder_settings={width=8,heads=2,layers=1}",
    ],
    "cvae": ["model.latent=8", "model.encoder_settings={hidden=8}", "model.decoder_settings={hidden=8}"],
    "fine_tune": ["fine_tuning.samples=20", "fine_tuning.replay=0.1"],
}  # fmt: skip


@pytest.fixture
def train(capsys, monkeypatch, tmp_path):
    """`molvae train` on the example molecules, in this process; returns (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("molvae.training.experiment.FITTED", ("gaussian",))
    monkeypatch.setattr("molvae.training.experiment.PRIOR_SAMPLES", 20)

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in ("train", EXAMPLE, "-o", "run", "--workers", 0, "--device", "cpu", *arguments)])
        return int(end.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_commented_configuration_trains(train, tiny_model, path, tmp_path):
    changes = [f"--set={change}" for change in ("training.molecules=200", "training.batch_size=20", *SMALL[path.stem])]
    base = ["--fine-tune", tiny_model] if path.stem == "fine_tune" else []
    code, err = train("-c", path, *changes, *base)
    assert code in (0, 1), err
    assert code == 0 or "the model collapsed" in err.splitlines()[-1]  # after ten steps it may have learned nothing
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    asked = read_toml(path)
    for table in ("training", "fine_tuning"):
        kept = {k: v for k, v in asked.get(table, {}).items() if k not in ("molecules", "batch_size", "samples", "replay")}
        assert kept.items() <= written.get(table, {}).items()
    assert "held out, after 200: nll " in err and " rate " in err and " beta " in err


def test_the_full_configuration_is_the_defaults():
    table = read_toml(CONFIGS / "train.toml")
    assert set(table["training"]) == set(vars(TrainSettings())) and set(table["data"]) == set(vars(DataSettings()))
    assert settings(TrainSettings, table["training"], "training") == TrainSettings()
    assert settings(DataSettings, table["data"], "data") == DataSettings()
    model = table["model"]
    parts = {
        "encoder_settings": ENCODERS.defaults(model["encoder"]),
        "decoder_settings": DECODERS.defaults(model["decoder"]),
        "kl_settings": KL_WEIGHTS.defaults(model["kl_weight"]),
    }
    for name, defaults in parts.items():
        assert model.pop(name) == {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    assert model.pop("name") == "vae"
    assert model == {k: v for k, v in MODELS.defaults("vae").items() if k not in parts and k != "properties"}
    assert settings(FineTuneSettings, read_toml(CONFIGS / "fine_tune.toml")["fine_tuning"], "x") == FineTuneSettings()


@pytest.mark.parametrize(
    "change, message",
    [
        ("trainig.molecules=5", "no setting 'trainig'. Did you mean 'training'"),
        ("training.moleculs=5", "[training] has no setting 'moleculs'. Did you mean 'molecules'"),
        ("data.word=5", "[data] has no setting 'word'. Did you mean 'words'"),
        ("model.latnt=5", "no setting 'latnt'. Did you mean 'latent'"),
        ("model.encoder_settings.hiden=5", "encoder 'gru' has no setting 'hiden'. Did you mean 'hidden'"),
        ("model.decoder_settings.hiden=5", "decoder 'gru' has no setting 'hiden'. Did you mean 'hidden'"),
        ("model.kl_settings.ratee=5", "KL weight 'rate_target' has no setting 'ratee'. Did you mean 'rate'"),
        ("fine_tuning.replay=1", "the configuration has no setting 'fine_tuning'"),
        ("model.encoder_settings=3", "encoder_settings = 3 is a value, but [model.encoder_settings] is a table"),
        ("model.encoder_settings.dropout=2.0", "[model] cannot be built: dropout probability has to be between 0 and 1"),
        ("training.seed=x", "[training].seed must be a whole number"),
        ("model.latent=-3", "latent must be 1 or more"),
    ],
)
def test_a_mistake_in_any_table_is_one_sentence(train, change, message, tmp_path):
    code, err = train("--set", change)
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run" / "tokens.json").exists()  # told before any work


def test_fine_tuning_on_the_command_line_reports_what_is_memorised(train, tiny_model, tmp_path):
    small = ["fine_tuning.samples=30", "fine_tuning.replay=0.1", "training.molecules=300"]
    code, err = train("--fine-tune", tiny_model, *(f"--set={change}" for change in small))
    assert code == 0, err
    table = err[err.index("memorised ") :].splitlines()
    assert [line.split("  ")[0] for line in table[1:4]] == ["samples before", "samples after", "molecules held back"]
    assert "memorisation.csv" in table[4] and (tmp_path / "run" / "memorisation.csv").exists()
    code, err = train("--fine-tune", "zinc251k")
    assert code == 1 and "no checkpoint 'zinc251k'" in err
