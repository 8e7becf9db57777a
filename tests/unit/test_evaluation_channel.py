"""What a latent space carries, against torch.distributions and a decoder that is asked token by token."""

import math

import pytest
import torch
from drugs import SMILES
from torch.distributions import Normal, kl_divergence

from molvae.errors import DataError
from molvae.evaluation.channel import channel, code_usage
from molvae.randomness import torch_stream
from molvae.tokens import BOS, EOS


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


def posterior(model, smiles):
    """Mean and log variance, (1, D) each, of one molecule alone."""
    (ids, _) = model.encode_ids([smiles])[0]
    with torch.no_grad():
        return tuple(part[:, 0] for part in model.vae.posterior(torch.tensor([[BOS, *ids, EOS]])))
