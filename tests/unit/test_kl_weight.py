"""Schedules of beta against their papers' formulas, and the rate controller on a plant whose answer is known."""

import math

import pytest
import torch

from molvae.errors import ConfigError
from molvae.models.kl_weight import KL_WEIGHTS


def test_fixed_warms_up_linearly_and_stays():
    weight = KL_WEIGHTS.build("fixed", {"beta": 0.4, "warmup": 8})
    assert [weight.beta(s) for s in (0, 3, 7, 8, 10**6)] == pytest.approx([0.05, 0.2, 0.4, 0.4, 0.4])
    assert KL_WEIGHTS.build("fixed", {"beta": 0.4}).beta(0) == 0.4


def test_cyclical_is_the_papers_saw_tooth():
    weight = KL_WEIGHTS.build("cyclical", {"beta": 1.0, "period": 100, "rising": 0.5})
    for step in range(350):
        tau = (step % 100) / 100  # Fu et al. 2019, eq. 6, with M cycles of 100 steps and R = 0.5
        assert weight.beta(step) == pytest.approx(tau / 0.5 if tau <= 0.5 else 1.0)


def test_the_penalty_is_the_mean_over_molecules_of_the_sum_over_dimensions():
    kl = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.2, 0.0]])
    assert KL_WEIGHTS.build("fixed").penalty(kl).item() == pytest.approx(2.0 + 0.1 + 1.0)


def test_free_bits_count_a_dimensions_batch_mean_as_at_least_that_much():
    kl = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.2, 0.0]], requires_grad=True)
    penalty = KL_WEIGHTS.build("fixed", {"free_bits": 0.5}).penalty(kl)
    assert penalty.item() == pytest.approx(2.0 + 0.5 + 1.0)  # Kingma et al. 2016, eq. 15
    penalty.backward()
    assert kl.grad[:, 1].tolist() == [0.0, 0.0] and kl.grad[:, 0].tolist() == [0.5, 0.5]  # below it, nothing pulls


@pytest.mark.parametrize("target, start", [(20.0, 1e-3), (20.0, 0.25), (60.0, 0.02)])
def test_the_controller_settles_on_its_target(target, start):
    # A plant with a known answer: the rate falls with log beta, rate = 100 exp(-beta / 0.05).
    weight = KL_WEIGHTS.build("rate_target", {"rate": target, "start": start, "gain": 0.01})
    for step in range(3000):
        weight.observe(100.0 * math.exp(-weight.beta(step) / 0.05))
    assert weight.beta(0) == pytest.approx(-0.05 * math.log(target / 100.0), rel=0.02)


def test_a_collapsing_rate_lowers_beta_and_a_step_is_bounded():
    weight = KL_WEIGHTS.build("rate_target", {"rate": 50.0, "start": 0.1, "gain": 0.003})
    weight.beta(0)
    weight.observe(0.0)
    assert weight.beta(1) == pytest.approx(0.1 * math.exp(-0.003))
    weight.observe(1e6)
    assert weight.beta(1) == pytest.approx(0.1)


def test_beta_stays_within_its_bounds():
    weight = KL_WEIGHTS.build("rate_target", {"rate": 50.0, "start": 0.1, "gain": 0.5, "low": 0.01, "high": 0.2})
    for rate, bound in ((0.0, 0.01), (1e9, 0.2)):
        for step in range(50):
            weight.beta(step)
            weight.observe(rate)
        assert weight.beta(0) == pytest.approx(bound)


def test_the_target_may_grow_in_steps():
    weight = KL_WEIGHTS.build("rate_target", {"rate": 10.0, "later": [[200, 40.0], [100, 20.0]]})
    for step, target in [(0, 10.0), (99, 10.0), (100, 20.0), (199, 20.0), (200, 40.0), (10**6, 40.0)]:
        before = weight.beta(step)
        weight.observe(target)  # on target, nothing moves
        assert weight.beta(step) == before
        weight.observe(1.01 * target)
        assert weight.beta(step) > before


def test_the_controllers_state_belongs_to_the_checkpoint():
    weight, other = KL_WEIGHTS.build("rate_target"), KL_WEIGHTS.build("rate_target")
    for step in range(100):
        weight.beta(step)
        weight.observe(5.0)
    other.load_state_dict(weight.state_dict())
    assert other.beta(100) == weight.beta(100) != KL_WEIGHTS.build("rate_target").beta(100)


@pytest.mark.parametrize(
    "name, settings",
    [
        ("rate_target", {"rate": 0.0}),
        ("rate_target", {"later": [[100]]}),
        ("rate_target", {"later": [[100, -1.0]]}),
        ("rate_target", {"start": 0.5, "high": 0.3}),
        ("rate_target", {"low": 0.0}),
        ("cyclical", {"period": 0}),
        ("cyclical", {"rising": 0.0}),
    ],
)
def test_impossible_settings_are_refused(name, settings):
    with pytest.raises(ConfigError):
        KL_WEIGHTS.build(name, settings)
