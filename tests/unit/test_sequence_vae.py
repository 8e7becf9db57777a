"""The composition's numbers, from elsewhere: KL from torch.distributions, cross-entropy by hand, heads by hand."""

import math

import pytest
import torch
from torch import nn

from molvae.models.sequence_vae import MODELS, Batch, active_units
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, EOS, PAD

V, D = 9, 5
IDS = torch.tensor([[BOS, 3, 4, 5, EOS], [BOS, 8, EOS, PAD, PAD], [BOS, 6, 7, EOS, PAD]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    small = {"hidden": 8, "embedding": 6}
    return MODELS.build("vae", {"latent": D, "encoder_settings": small, "decoder_settings": small, "properties": 2}, V)


def test_the_rate_is_torch_distributions_kl(model):
    mean, log_var = torch.randn(4, 1, D), torch.randn(4, 1, D)
    posterior = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).flatten(1)
    torch.testing.assert_close(model.kl(mean, log_var), expected, rtol=1e-5, atol=1e-6)


def test_the_nll_is_the_cross_entropy_of_the_real_tokens_by_hand(model):
    logits = torch.randn(3, 4, V)
    expected = []
    for row, targets in enumerate([[3, 4, 5, EOS], [8, EOS], [6, 7, EOS]]):
        total = 0.0
        for t, target in enumerate(targets):
            shares = [math.exp(x) for x in logits[row, t].tolist()]
            total -= math.log(shares[target] / sum(shares))
        expected.append(total)
    assert model.nll(logits, IDS).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_loss_adds_its_terms(model):
    properties = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")], [0.0, -2.0]])
    batch = Batch(IDS, properties=properties)
    terms = model.losses(batch, 0, "vae", torch_stream(0))
    beta = model.kl_weight.beta(0)
    torch.testing.assert_close(terms["loss"], terms["nll"] + beta * terms["rate"] + terms["property_mse"])
    predicted = model.property_heads(model.posterior(IDS)[0].flatten(1))
    expected = [(predicted[0, 0] - 1.0) ** 2, predicted[2, 0] ** 2, (predicted[2, 1] + 2.0) ** 2]  # the three known values
    torch.testing.assert_close(terms["property_mse"], sum(expected) / 3)


def test_without_properties_the_heads_cost_nothing(model):
    terms = model.losses(Batch(IDS), 0, "vae", torch_stream(0))
    assert "property_mse" not in terms
    nothing = model.losses(Batch(IDS, properties=torch.full((3, 2), float("nan"))), 0, "vae", torch_stream(0))
    assert nothing["property_mse"].item() == 0.0 and torch.equal(nothing["loss"], terms["loss"])


def test_encode_gives_the_mean_or_a_sample_of_the_posterior(model):
    mean, log_var = model.posterior(IDS)
    assert torch.equal(model.encode(IDS), mean)
    samples = model.encode(IDS.repeat(2000, 1), torch_stream(0)).detach().view(2000, 3, D)
    torch.testing.assert_close(samples.mean(0), mean[:, 0].detach(), atol=0.15, rtol=0)
    torch.testing.assert_close(samples.std(0), (0.5 * log_var[:, 0]).exp().detach(), atol=0.1, rtol=0.1)


def test_log_variances_are_bounded(model):
    nn.init.constant_(model.bottleneck.bias, 1e4)
    assert model.posterior(IDS)[1].max().item() == 4.0
    nn.init.constant_(model.bottleneck.bias, -1e4)
    assert model.posterior(IDS)[1].min().item() == -10.0


def test_word_dropout_hides_its_share_but_never_the_begin(model):
    model.word_dropout = 0.3
    ids = torch.full((400, 50), 5)
    ids[:, 0] = BOS
    hidden = model._hide_words(ids, torch_stream(0))
    assert bool((hidden[:, 0] == BOS).all())
    share = float((hidden[:, 1:] == PAD).float().mean())
    assert share == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / (400 * 49)))
    assert set(hidden[:, 1:].unique().tolist()) == {PAD, 5}
    model.word_dropout = 0.0
    assert model._hide_words(ids, torch_stream(0)) is ids


def test_hidden_latents_teach_the_decoder_alone(model):
    model.unconditional = 0.5
    model._seen = lambda n, generator: torch.tensor([True, False, True])
    model._noise = lambda shape, generator: torch.zeros(tuple(shape))
    terms = model.losses(Batch(IDS), 0, "vae", torch_stream(0))
    mean, log_var = model.posterior(IDS)
    with_z, without = (model.nll(model.decoder(IDS[:, :-1], z), IDS) for z in (mean, 0.0 * mean))
    rates = model.kl(mean, log_var).sum(1)
    torch.testing.assert_close(terms["nll"], (with_z[0] + with_z[2]) / 2)
    torch.testing.assert_close(terms["language_nll"], without[1])
    torch.testing.assert_close(terms["rate"], (rates[0] + rates[2]) / 2)
    # A molecule whose z is hidden pays for its tokens and not for a rate.
    total = with_z[0] + without[1] + with_z[2] + model.kl_weight.beta(0) * (rates[0] + rates[2])
    torch.testing.assert_close(terms["loss"], total / 3)


def test_latents_are_hidden_in_their_share_but_never_all(model):
    assert bool(model._seen(100, torch_stream(0)).all())
    model.unconditional = 0.3
    seen = model._seen(20_000, torch_stream(0))
    assert float((~seen).float().mean()) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 20_000))
    model.unconditional = 0.99
    assert all(bool(model._seen(3, torch_stream(i))[0]) for i in range(50))


def test_active_units_are_dimensions_whose_mean_varies_by_more_than_a_hundredth():
    means = torch.randn(5000, 1, 4, generator=torch_stream(0)) * torch.tensor([1.0, 0.11, 0.09, 0.0])
    assert active_units(means) == 2  # Burda et al. 2016: variances 1, 0.0121, 0.0081, 0
