"""What a latent space carries, against torch.distributions and a decoder that is asked token by token."""

import math
from types import SimpleNamespace

import pytest
import torch
from drugs import SMILES
from torch.distributions import Normal, kl_divergence

from molvae.errors import DataError
from molvae.evaluation.channel import channel, code_usage, importance_bound
from molvae.models.sequence_vae import MODELS
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, EOS


def test_rate_and_active_units_are_those_of_the_posteriors(small_model):
    found = channel(small_model, SMILES)
    means, log_vars = zip(*(posterior(small_model, text) for text in SMILES), strict=True)
    mean, sd = torch.cat(means), (0.5 * torch.cat(log_vars)).exp()
    known = kl_divergence(Normal(mean, sd), Normal(0.0, 1.0)).sum() / len(SMILES)
    assert found.n == len(SMILES) and found.rate == pytest.approx(float(known), rel=1e-4)
    assert found.active_units == int((mean.var(0) > 0.01).sum())
    assert math.isnan(found.language_nll)  # it has not learned to write without z


def test_the_nll_is_of_every_token_and_the_end_given_a_sample(small_model):
    text = SMILES[3]
    mean, log_var = posterior(small_model, text)
    noise = torch.randn(1, 1, small_model.latent_size, generator=torch_stream(5, "channel", 0))
    state = small_model.vae.decoder.start((mean + (0.5 * log_var).exp() * noise[0])[:, None], 200)
    (ids, _) = small_model.encode_ids([text])[0]
    nll = 0.0
    with torch.no_grad():
        for last, token in zip([BOS, *ids], [*ids, EOS], strict=True):
            logits, state = small_model.vae.decoder.step(torch.tensor([last]), state)
            nll -= float(logits[0].softmax(-1)[token].log())
    assert channel(small_model, [text], seed=5).nll == pytest.approx(nll, rel=1e-3, abs=1e-3)


def test_molecules_that_cannot_be_encoded_do_not_count(small_model):
    both = channel(small_model, [SMILES[3], "not a molecule"], seed=5)
    assert both.n == 1 and both.nll == channel(small_model, [SMILES[3]], seed=5).nll
    with pytest.raises(DataError, match="none of the 1 molecules"):
        channel(small_model, ["not a molecule"])


def test_usage_of_a_codebook_by_hand():
    numbers = torch.tensor([[0, 3], [1, 3], [0, 3], [1, 3]])
    used, perplexity = code_usage(numbers, 6)
    assert used == pytest.approx(3 / 6)
    assert perplexity == pytest.approx((2 + 1) / 2)  # two codes evenly, and one alone


@pytest.fixture
def linear(small_model):
    """A model in whose place stands x = z + noise, x = (2, -1), noise of variance 1/2, and z ~ N(0, I): then
    x ~ N(0, 3/2 I) and z|x ~ N(2x/3, I/3)."""
    x = torch.tensor([2.0, -1.0])
    vae = MODELS.build("vae", {"latent": 2, "encoder_settings": {"hidden": 4}, "decoder_settings": {"hidden": 4}}, 500)
    vae.decoder = Identity()
    vae.nll = lambda z, ids: -Normal(z[:, 0], 0.5**0.5).log_prob(x).sum(1)

    def believing(mean, sd):
        vae.posterior = lambda ids: (mean.expand(len(ids), 1, 2), torch.full((len(ids), 1, 2), 2 * math.log(sd)))
        return SimpleNamespace(vae=vae, encode_ids=small_model.encode_ids, name="linear")

    return x, believing


class Identity(torch.nn.Module):
    """A decoder that gives z back."""

    def forward(self, ids, z):
        return z


def test_the_importance_bound_is_the_likelihood_where_that_has_a_closed_form(linear):
    x, believing = linear
    known = -float(Normal(0.0, 1.5**0.5).log_prob(x).sum())
    exact = believing(2 * x / 3, (1 / 3) ** 0.5)  # with the true posterior one sample is enough: all weights are equal
    assert importance_bound(exact, SMILES[:3], 1) == pytest.approx(known, abs=1e-4)
    wrong = believing(0.5 * x, 0.8)
    elbo = float(kl_divergence(Normal(0.5 * x, 0.8), Normal(0.0, 1.0)).sum()) + float(
        (0.5 * math.log(math.pi) + ((0.5 * x) ** 2 + 0.64)).sum()
    )
    bounds = [importance_bound(wrong, SMILES[:100], k) for k in (1, 5, 500)]
    assert bounds[0] == pytest.approx(elbo, abs=0.5)  # of a hundred draws
    assert elbo > bounds[1] > bounds[2] > known - 0.02
    assert bounds[2] == pytest.approx(known, abs=0.02)


def posterior(model, smiles):
    """Mean and log variance, (1, D) each, of one molecule alone."""
    (ids, _) = model.encode_ids([smiles])[0]
    with torch.no_grad():
        return tuple(part[:, 0] for part in model.vae.posterior(torch.tensor([[BOS, *ids, EOS]])))
