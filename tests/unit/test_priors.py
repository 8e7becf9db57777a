"""Priors by number: densities against scipy and scikit-learn, maximum likelihood by hand, a flow on a known target."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.mixture import GaussianMixture

from molvae.errors import ConfigError
from molvae.models.priors.base import PRIORS
from molvae.models.priors.codes import nearest_codes
from molvae.randomness import torch_stream


@pytest.fixture(scope="module")
def latents():
    noise = torch.randn(800, 4, generator=torch_stream(0))
    return noise @ torch.tensor([[1.0, 0.5, 0, 0], [0, 0.7, 0, 0], [0, 0, 0.2, -0.1], [0, 0, 0, 0.5]]) + torch.arange(4.0)


def test_the_standard_normal_is_scipys(latents):
    prior = PRIORS.build("normal")
    prior.fit(latents, 0)
    np.testing.assert_allclose(prior.log_prob(latents), stats.norm.logpdf(latents.numpy()).sum(1), rtol=1e-5)
    assert stats.kstest(prior.sample(5000, torch_stream(1)).flatten().numpy(), "norm").pvalue > 1e-3


def test_the_gaussian_is_the_maximum_likelihood_fit(latents):
    prior = PRIORS.build("gaussian")
    prior.fit(latents, 0)
    x = latents.double().numpy()
    reference = stats.multivariate_normal(x.mean(0), np.cov(x.T))
    np.testing.assert_allclose(prior.log_prob(latents), reference.logpdf(x), rtol=1e-4)
    # Whitened draws are standard normal, along the eigenvectors of numpy's covariance.
    values, vectors = np.linalg.eigh(np.cov(x.T))
    white = (prior.sample(4000, torch_stream(2)).double().numpy() - x.mean(0)) @ vectors / np.sqrt(values)
    assert min(stats.kstest(white[:, i], "norm").pvalue for i in range(4)) > 1e-3


def test_the_mixture_has_scikit_learns_density(latents):
    prior = PRIORS.build("mixture", {"components": 3})
    latents = torch.cat([latents, latents * 0.3 - 4.0])
    prior.fit(latents, 0)
    reference = GaussianMixture(len(prior.tensors["weights"]))
    reference.weights_ = prior.tensors["weights"].numpy()
    reference.means_ = prior.tensors["means"].numpy()
    roots = prior.tensors["roots"].numpy()
    reference.covariances_ = roots @ roots.transpose(0, 2, 1)
    reference.precisions_cholesky_ = np.stack([np.linalg.inv(root).T for root in roots])
    np.testing.assert_allclose(prior.log_prob(latents), reference.score_samples(latents.double().numpy()), rtol=1e-6)
    assert float(prior.tensors["weights"].sum()) == pytest.approx(1.0)
    # Each component's share of samples is its weight.
    z = prior.sample(6000, torch_stream(3))
    nearest = reference.predict(z.double().numpy())
    weights, expected = reference.weights_, reference.predict(latents.double().numpy())
    found = np.bincount(nearest, minlength=3) / 6000
    np.testing.assert_allclose(found, np.bincount(expected, minlength=3) / len(expected), atol=0.04)
    assert weights.shape == (3,)


def test_a_mixture_is_likelier_than_one_gaussian_on_two_clouds():
    noise = torch.randn(1000, 2, generator=torch_stream(4))
    clouds = 0.3 * noise + torch.where(torch.arange(1000)[:, None] < 400, 2.0, -2.0)
    mean = {}
    for name in ("gaussian", "mixture"):
        prior = PRIORS.build(name, {"components": 2} if name == "mixture" else None)
        prior.fit(clouds, 0)
        mean[name] = float(prior.log_prob(clouds).mean())
    # The true density: entropy of the noise and of the choice between the clouds.
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3)) - 0.4 * math.log(0.4) - 0.6 * math.log(0.6)
    assert mean["mixture"] == pytest.approx(-entropy, abs=0.1)
    assert mean["gaussian"] < mean["mixture"] - 0.5


def test_temperature_narrows_the_components_and_their_density():
    latents = torch.randn(4000, 3, generator=torch_stream(8)) @ torch.tensor(
        [[1.0, 0.5, 0.0], [0.0, 0.8, 0.1], [0.0, 0.0, 0.4]]
    )
    prior = PRIORS.build("mixture", {"components": 1, "temperature": 0.5})
    prior.fit(latents, 0)
    x = latents.double().numpy()
    narrow = stats.multivariate_normal(x.mean(0), 0.25 * np.cov(x.T, bias=True))
    np.testing.assert_allclose(prior.log_prob(latents[:50]), narrow.logpdf(x[:50]), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(np.cov(prior.sample(20_000, torch_stream(9)).numpy().T), 0.25 * np.cov(x.T), atol=0.02)
    with pytest.raises(ConfigError, match="above 0, not 0"):
        PRIORS.build("mixture", {"temperature": 0.0})


def test_components_are_capped_by_the_number_of_latents():
    latents = torch.randn(50, 4, generator=torch_stream(5))
    prior = PRIORS.build("mixture", {"components": 64})
    prior.fit(latents, 0)
    assert len(prior.tensors["weights"]) == 50 // (4 * 4)


def test_the_flow_learns_a_density_that_no_gaussian_has():
    true = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.7, 0.3])),
        torch.distributions.MultivariateNormal(
            torch.tensor([[-0.6, 0.0, 0.0], [1.4, 0.5, -1.0]]),
            torch.stack([torch.diag(torch.tensor([0.2, 0.5, 0.3])), torch.eye(3) - 0.4 * (1 - torch.eye(3))]),
        ),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # torch.distributions draw globally
        latents, fresh = true.sample((4000,)), true.sample((200,))
    fits = {}
    for name, settings in (("gaussian", {}), ("flow", {"width": 48, "blocks": 2, "steps": 400})):
        prior = PRIORS.build(name, settings)
        prior.fit(latents, 0)
        fits[name] = float((true.log_prob(fresh) - prior.log_prob(fresh)).mean())  # KL divergence in nats, estimated
    assert -0.05 < fits["flow"] < 0.17 < fits["gaussian"]
    z = prior.sample(2000, torch_stream(7))
    # The other direction, on the flow's own samples: it puts no mass where there is none.
    assert float((prior.log_prob(z[:200]) - true.log_prob(z[:200])).mean()) < 0.15
    assert float((z[:, 0] > 0.5).float().mean()) == pytest.approx(float((latents[:, 0] > 0.5).float().mean()), abs=0.05)


def test_codes_are_those_that_parts_are_nearest_to():
    codebook = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, -1.0]])
    latents = torch.tensor([[0.1, -0.2, 0.9, 0.4], [2.0, -1.0, 0.0, 0.4]])
    assert nearest_codes(latents, codebook).tolist() == [[0, 1], [2, 0]]
    assert nearest_codes(latents[:0], codebook).shape == (0, 2)


def test_a_prior_over_codes_learns_what_follows_what():
    """A Markov chain over four codes: the prior comes near its entropy, which no independent codes reach."""
    generator = torch_stream(8)
    follows = torch.tensor([[0.05, 0.9, 0.05, 0.0], [0.0, 0.1, 0.8, 0.1], [0.7, 0.0, 0.0, 0.3], [0.5, 0.5, 0.0, 0.0]])
    chain = [torch.multinomial(torch.full((4400, 4), 0.25), 1, generator=generator)[:, 0]]
    for _ in range(5):
        chain.append(torch.multinomial(follows[chain[-1]], 1, generator=generator)[:, 0])
    numbers, codebook = torch.stack(chain, 1), torch.randn(4, 3, generator=generator)
    prior = PRIORS.build("codes", {"embedding": 8, "hidden": 32, "steps": 300})
    prior.codebook = codebook
    prior.fit(codebook[numbers[:4000]].flatten(1), 0)
    fresh = numbers[4000:]
    true = math.log(0.25) + follows[fresh[:, :-1], fresh[:, 1:]].log().sum(1)
    assert float((true - prior.log_prob(codebook[fresh].flatten(1))).mean()) < 0.12  # nats, of about 4.6
    drawn = nearest_codes(prior.sample(2000, torch_stream(9)), codebook)
    for before in range(4):
        after = torch.bincount(drawn[:, 1:][drawn[:, :-1] == before], minlength=4).double()
        np.testing.assert_allclose(after / after.sum(), follows[before], atol=0.05)


def test_a_prior_over_codes_is_not_for_other_latents(latents):
    with pytest.raises(ConfigError, match="for models of codes"):
        PRIORS.build("codes").fit(latents, 0)


def asked_flow(guidance=1.0, value=1.0):
    """A flow over two clouds at x = +-2, told which of them a latent is of; and the same asked for one of them."""
    generator = torch_stream(0, "clouds")
    side = torch.randint(2, (2000, 1), generator=generator) * 2.0 - 1.0
    latents = torch.cat([2.0 * side, torch.zeros(2000, 1)], 1) + 0.4 * torch.randn(2000, 2, generator=generator)
    prior = PRIORS.build("flow", {"width": 48, "blocks": 1, "steps": 900, "epochs": 1000, "masked": 0.2})
    prior.properties = side
    prior.fit(latents, 0)
    return prior, prior.asked(torch.tensor([[value]]), guidance)


def test_a_flow_told_properties_draws_what_is_asked_for():
    prior, positive = asked_flow()
    assert (prior.conditions, positive.conditions) == (1, 1)
    z = positive.sample(1000, torch_stream(1))
    assert float((z[:, 0] > 0).float().mean()) > 0.97
    torch.testing.assert_close(z.mean(0), torch.tensor([2.0, 0.0]), atol=0.15, rtol=0)
    torch.testing.assert_close(z.std(0), torch.tensor([0.4, 0.4]), atol=0.12, rtol=0)
    # Not asked, it draws both; and asking has left it as it was.
    share = float((prior.sample(1000, torch_stream(1))[:, 0] > 0).float().mean())
    assert share == pytest.approx(0.5, abs=0.08)
    negative = prior.asked(torch.tensor([[-1.0]])).sample(1000, torch_stream(1))
    assert float((negative[:, 0] < 0).float().mean()) > 0.97


def test_guidance_leads_from_unasked_over_asked_to_beyond():
    prior, asked = asked_flow()
    z = {g: prior.asked(torch.tensor([[1.0]]), g).sample(500, torch_stream(2)) for g in (0.0, 1.0, 2.0)}
    assert torch.equal(z[0.0], prior.sample(500, torch_stream(2)))
    assert torch.equal(z[1.0], asked.sample(500, torch_stream(2)))
    assert z[0.0][:, 0].mean() < z[1.0][:, 0].mean() < z[2.0][:, 0].mean()


def test_nothing_told_is_the_same_as_no_condition_at_all():
    prior, _ = asked_flow()
    nothing = prior.asked(torch.tensor([[float("nan")]]))
    assert torch.equal(nothing.sample(50, torch_stream(3)), prior.sample(50, torch_stream(3)))


@pytest.mark.parametrize("setting", ["masked", "condition_dropout"])
def test_shares_of_a_flow_are_shares(setting):
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=f"{setting} is a share"):
            PRIORS.build("flow", {setting: share})


def test_priors_that_are_learned_say_how_far_they_are():
    told = []
    prior = PRIORS.build("flow", {"width": 8, "blocks": 1, "steps": 25})
    prior.progress = lambda done, total: told.append((done, total))
    prior.fit(torch.randn(5000, 3, generator=torch_stream(0)), 0)
    assert told == [(10, 25), (20, 25), (25, 25)]
    for name in PRIORS.names():
        if not PRIORS.get(name).takes_properties:
            with pytest.raises(NotImplementedError, match="knows nothing of properties"):
                PRIORS.build(name).asked(torch.zeros(1, 1))
