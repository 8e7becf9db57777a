"""What every prior promises: fit, sample, log_prob and a state of tensors that is all there is to save.

A new file in molvae/models/priors/ is covered by these tests without a new one.
"""

import math

import pytest
import torch
from safetensors.torch import load, save

from molvae.models.priors.base import PRIORS
from molvae.randomness import torch_stream

D = 3
# Settings that are fast; the others are as shipped.
QUICK = {
    "flow": {"width": 32, "blocks": 1, "steps": 300, "ode_steps": 12},
    "codes": {"embedding": 8, "hidden": 32, "steps": 400, "epochs": 1000},
}
CODEBOOK = torch.linspace(-2.5, 3.0, 12)[:, None]  # for priors of codes: each number is one of twelve


@pytest.fixture(scope="module")
def latents():
    """Two clouds with correlated coordinates: (1500, 3)."""
    noise = torch.randn(1500, D, generator=torch_stream(0, "prior test"))
    mixing = torch.tensor([[0.6, 0.0, 0.0], [0.3, 0.5, 0.0], [0.0, -0.2, 0.4]])
    cloud = noise @ mixing.T
    cloud[:500] += torch.tensor([1.5, -1.0, 0.5])
    return cloud


def fit(name, latents, seed, **more):
    """A prior fitted to latents, or to the codes nearest to them if it is of codes."""
    prior = PRIORS.build(name, {**QUICK.get(name, {}), **more})
    if prior.needs_codebook:
        prior.codebook = CODEBOOK
    prior.fit(given(name, latents), seed)
    return prior


def given(name, latents):
    if not PRIORS.get(name).needs_codebook:
        return latents
    return CODEBOOK[(latents[..., None] - CODEBOOK[:, 0]).abs().argmin(-1), 0]


@pytest.fixture(scope="module", params=PRIORS.names())
def fitted(request, latents):
    return request.param, fit(request.param, latents, 7)


def test_samples_are_finite_float32_and_follow_the_generator(fitted):
    _, prior = fitted
    draws = [prior.sample(50, torch_stream(1, name)) for name in ("a", "a", "b")]
    assert draws[0].shape == (50, D) and draws[0].dtype == torch.float32 and bool(draws[0].isfinite().all())
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert prior.sample(0, torch_stream(1)).shape == (0, D)


def test_the_log_density_belongs_to_the_samples(fitted):
    """E_p[q / p] = 1 for a density q that p covers: importance weights of a narrow Gaussian average to one. Those
    of codes add up to one, and samples are as frequent as they say."""
    _, prior = fitted
    if prior.needs_codebook:
        every = torch.cartesian_prod(*[CODEBOOK[:, 0]] * D)
        probability = prior.log_prob(every).double().exp()
        assert float(probability.sum()) == pytest.approx(1.0, abs=1e-4)
        z, n = prior.sample(4000, torch_stream(2)), 4000
        for likely in probability.topk(5).indices.tolist():
            p = float(probability[likely])
            seen = float((z == every[likely].half().float()).all(1).double().mean())
            assert seen == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))
        return
    z = prior.sample(1500, torch_stream(2))
    log_p = prior.log_prob(z).double()
    assert log_p.shape == (1500,)
    centre = z.double().mean(0)
    q = torch.distributions.Normal(centre, 0.6 * z.double().std(0))
    ratio = (q.log_prob(z.double()).sum(1) - log_p).exp()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5 * float(ratio.std()) / math.sqrt(1500) + 0.05)


def test_a_fitted_prior_has_the_moments_of_the_latents(fitted, latents):
    name, prior = fitted
    z = prior.sample(4000, torch_stream(3))
    if name == "normal":  # fits nothing: it is what the model was trained against
        latents = torch.randn(4000, D, generator=torch_stream(4))
    latents = given(name, latents)
    slack = 0.12 if name in QUICK else 0.06  # these are learned in a second here
    torch.testing.assert_close(z.mean(0), latents.mean(0), atol=slack, rtol=0)
    torch.testing.assert_close(z.T.cov(), latents.T.cov(), atol=1.5 * slack, rtol=0.1)


def test_fitting_again_gives_the_same(fitted, latents):
    name, prior = fitted
    short = {"steps": 20} if name in QUICK else {}
    prior = fit(name, latents, 7, **short) if short else prior  # one more short fit, twice
    again = fit(name, latents, 7, **short)
    assert prior.tensors.keys() == again.tensors.keys()
    assert all(torch.equal(prior.tensors[k], again.tensors[k]) for k in prior.tensors)


def test_its_tensors_are_its_whole_state(fitted):
    name, prior = fitted
    other = PRIORS.build(name)
    other.tensors = load(save({k: v.contiguous() for k, v in prior.tensors.items()}))
    z = prior.sample(20, torch_stream(5))
    assert torch.equal(other.sample(20, torch_stream(5)), z)
    assert torch.equal(other.log_prob(z), prior.log_prob(z))


def test_half_precision_is_good_enough_to_ship(fitted):
    name, prior = fitted
    other = PRIORS.build(name)
    other.tensors = {
        k: v.half().double() if v.is_floating_point() and v.numel() > 1 else v for k, v in prior.tensors.items()
    }
    z = prior.sample(200, torch_stream(6))
    torch.testing.assert_close(other.sample(200, torch_stream(6)), z, atol=0.02, rtol=0.02)
    torch.testing.assert_close(other.log_prob(z).double(), prior.log_prob(z).double(), atol=0.1, rtol=0.02)


def test_more_dimensions_than_varied_directions_are_no_obstacle(fitted):
    """Latents of a partly collapsed model: two dimensions that hardly move."""
    name, _ = fitted
    latents = torch.randn(300, 5, generator=torch_stream(8)) * torch.tensor([1.0, 1.0, 1.0, 1e-4, 0.0])
    prior = fit(name, latents, 0, **({"steps": 20} if name in QUICK else {}))
    z = prior.sample(100, torch_stream(9))
    assert bool(z.isfinite().all())
    if name != "normal" and not prior.needs_codebook:
        assert float(z[:, 3:].abs().max()) < 0.05
