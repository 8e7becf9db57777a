"""Fixtures and stand-ins for all tests; its place puts this folder on the import path, for `from fakes import ...`."""

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLE = Path(__file__).parents[1] / "data" / "example.smi"

TINY = {
    # With marks, a model that knows this little hardly writes a faithful molecule to search with; with counts it does.
    "data": {"words": 20, "spelling": "selfies"},
    "model": {
        "latent": 8,
        "encoder_settings": {"embedding": 16, "hidden": 32},
        "decoder_settings": {"embedding": 16, "hidden": 64},
        "kl_settings": {"rate": 20.0},
    },
    "training": {"molecules": 4000, "batch_size": 32, "warmup": 20, "learning_rate": 3e-3, "evaluate_every": 4000},
}

# Read when torch is imported, here and in the programs that tests start. There is a test process a core: threads that wait
# for each other on a core that is taken make small networks ten times slower.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell that starts the tests in the background makes every child deaf to Ctrl-C; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Outcome(NamedTuple):
    """What a command line ended with."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The last line on stderr."""
        return self.err.strip().splitlines()[-1]


@pytest.fixture
def molvae(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run the command line in this process, in an empty directory; gives an Outcome."""
    from molvae.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a model trained for a few seconds on data/example.smi: it knows little, but everything works."""
    from molvae.training import experiment

    out = tmp_path_factory.mktemp("models") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "FITTED", ("gaussian",))  # a learned prior takes longer than all the rest
        experiment.train(EXAMPLE, out, config=TINY, device="cpu")
    return out


SMALL = {
    "data": {"words": 100, "properties": ["logP", "TPSA"], "randomise": True},
    "model": {
        "latent": 24,
        "kl_weight": "fixed",
        "kl_settings": {"beta": 0.005},
        "encoder_settings": {"hidden": 48, "embedding": 32},
        "decoder_settings": {"hidden": 112, "embedding": 32},
    },
    "training": {
        "molecules": 5040, "batch_size": 28, "warmup": 20, "learning_rate": 8e-3, "ema": 0.9, "precision": "float32",
        "evaluate_every": 4200,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small model trained on a hundred drugs, with property heads and randomised input; it knows most
    of them by heart. Do not write to it."""
    from drugs import SMILES

    from molvae.training import experiment

    out = tmp_path_factory.mktemp("models") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "FITTED", ("normal", "gaussian", "mixture"))  # a learned prior takes minutes
        patch.setattr(experiment, "PRIOR_SAMPLES", 50)
        experiment.train([*SMILES, "CCO.Cl", "not a molecule"], out, config=SMALL, device="cpu")
    return out


@pytest.fixture(scope="session")
def small_model(small_run: Path):  # type: ignore[no-untyped-def]
    """The model of `small_run`, as loaded from its folder."""
    import molvae

    return molvae.load(small_run, device="cpu")
