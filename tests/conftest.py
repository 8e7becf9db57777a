"""Fixtures and stand-ins for all tests; its place puts this folder on the import path, for `from fakes import ...`."""

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "data" / "example.smi"

TINY = {
    "data": {"words": 20},
    "model": {
        "latent": 8,
        "encoder_settings": {"embedding": 16, "hidden": 32},
        "decoder_settings": {"embedding": 16, "hidden": 64},
        "kl_settings": {"rate": 20.0},
    },
    "training": {"molecules": 4000, "batch_size": 32, "warmup": 20, "learning_rate": 3e-3, "evaluate_every": 4000},
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a model trained for a few seconds on data/example.smi: it knows little, but everything works."""
    from molvae.experiment import train

    out = tmp_path_factory.mktemp("models") / "tiny"
    train(EXAMPLE, out, config=TINY, device="cpu")
    return out
