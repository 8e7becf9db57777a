"""Training and the verbs on a device that is not the CPU: nothing is left behind, and the numbers are the CPU's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLE, TINY
from pretended_device import Elsewhere, pretended_device

import molvae
from molvae.evaluation.channel import channel
from molvae.search.joint_training import jointly_trained
from molvae.search.refit import refitted
from molvae.training import experiment
from molvae.training.hardware import SIDE

CONFIG = {
    "data": {**TINY["data"], "properties": ["logP"]},
    "model": {**TINY["model"], "name": "cvae", "unconditional": 0.1, "kl_weight": "fixed", "kl_settings": {"beta": 1e-3}},
    "training": {**TINY["training"], "molecules": 1280, "evaluate_every": 1280},
}


def test_the_pretended_device_refuses_what_a_gpu_refuses():
    with pretended_device() as device:
        x = torch.ones(2, 3, device=device)
        assert isinstance(x, Elsewhere) and float((x * 2).sum()) == 12.0 and x[torch.tensor([1])].device.type == device
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.ones(2, 3)[torch.tensor([1], device=device)]
        with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
            x.numpy()
        assert np.array_equal(x.cpu().numpy(), np.ones((2, 3)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a conditional model that was trained, evaluated and given its priors on that device."""
    out = tmp_path_factory.mktemp("models") / "elsewhere"
    with pytest.MonkeyPatch.context() as patch, pretended_device() as device:
        patch.setattr(experiment, "FITTED", ("gaussian",))
        patch.setitem(SIDE, device, 64)
        model = experiment.train(EXAMPLE, out, config=CONFIG, device=device)
        assert model.vae.device.type == device
    return out


def test_the_verbs_give_there_what_they_give_on_the_cpu(trained: Path):
    drugs = [line.split()[0] for line in EXAMPLE.read_text().splitlines()[:12]]
    here = molvae.load(trained, device="cpu")
    z = here.encode(drugs)
    with pretended_device() as device:
        there = molvae.load(trained, device=device)
        np.testing.assert_allclose(there.encode(drugs), z, atol=1e-5)
        np.testing.assert_allclose(
            there.encode(drugs, sample=True, seed=1), here.encode(drugs, sample=True, seed=1), atol=1e-5
        )
        for settings in ({"beams": 3}, {"n": 2, "temperature": 0.7, "top_p": 0.9, "seed": 2}):
            assert there.decode(z[:3], **settings) == here.decode(z[:3], **settings)
        for prior in ("normal", "gaussian", "language"):
            assert there.sample(3, seed=1, prior=prior) == here.sample(3, seed=1, prior=prior)
        asked = {"condition": {"logP": 2.0}, "guidance": 1.5, "seed": 3}
        assert there.sample(3, **asked) == here.sample(3, **asked)
        assert channel(there, drugs).nll == pytest.approx(channel(here, drugs).nll, rel=1e-4)
        updated = refitted(there, drugs[:6], np.arange(6.0), steps=2, learning_rate=1e-3, seed=0, batch=8)
        assert updated.vae.device.type == device and not np.allclose(updated.encode(drugs[:6]), z[:6], atol=1e-6)
        moments = (z[:6].mean(0).astype(float), z[:6].std(0).astype(float))
        jointly = jointly_trained(there, drugs[:6], np.arange(6.0), moments, steps=1, learning_rate=1e-3, seed=0)
        assert not np.allclose(jointly.encode(drugs[:6]), z[:6], atol=1e-6)
