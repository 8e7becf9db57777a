"""The machine's figures: operations counted against a formula by hand, and a ceiling that is one."""

import math

import pytest
import torch

from molvae.models.sequence_vae import MODELS, Batch
from molvae.randomness import torch_stream
from molvae.training.hardware import Meter, matmul_ceiling, peak_memory, training_flops

CPU = torch.device("cpu")


def test_operations_are_those_of_the_matrix_products():
    """H units on I inputs have 3H (I + H) weights; a token costs 2 operations each forward and 4 backward."""
    E, H, D, V, T, B = 24, 32, 8, 40, 12, 6
    settings = {"embedding": E, "hidden": H}
    model = MODELS.build("vae", {"latent": D, "encoder_settings": settings, "decoder_settings": settings}, V)
    ids = torch.randint(3, V, (B, T), generator=torch_stream(0))
    ids[:, 0], ids[:, -1] = 1, 2
    read, written = B * T, B * (T - 1)
    weights = read * 2 * 3 * H * (E + H) + written * (3 * H * (E + H) + H * V)  # two directions; decoder, head
    rows = B * (8 * H * 2 * D + D * H + D * 3 * H)  # bottleneck, first state, and z beside the inputs
    expected = 6 * (weights + rows) / ids.numel()
    assert training_flops(model, Batch(ids), torch_stream(1)) == pytest.approx(expected, rel=0.05)
    assert all(p.grad is None for p in model.parameters())  # counted on a copy


def test_no_product_is_faster_than_the_ceiling():
    ceiling = matmul_ceiling(CPU, "float32", seconds=0.2)
    assert 1e8 < ceiling < 1e14
    meter = Meter(CPU, "float32", flops_a_token=2.0)
    meter.count(100, 1000)  # the first step is not counted
    meter.count(10, 200)
    meter.seconds, meter.ceiling = 2.0, 1000.0
    figures = meter.figures(processes=2)
    assert figures["molecules_per_second"] == 5.0
    assert figures["matmul_share"] == pytest.approx(200 * 2.0 / 2.0 / (1000.0 * 2))
    meter.pause()
    meter.go_on()
    assert meter.figures()["molecules_per_second"] == 0.0


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory(CPU)
    block = torch.ones(2**27, dtype=torch.uint8)
    assert len(block) == 2**27
    after = peak_memory(CPU)
    assert math.isfinite(before) and after >= before >= 20 and after >= 128
