"""What the variants add to the plain VAE, by formulas and by torch.distributions."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from molvae.errors import ConfigError
from molvae.models.decoding import write
from molvae.models.info_vae import squared_mmd
from molvae.models.ladder_vae import kl_normals
from molvae.models.sequence_vae import MODELS, Batch, SequenceVAE
from molvae.models.tc_vae import total_correlation
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, EOS, PAD

V = 9
IDS = torch.tensor([[BOS, 3, 4, 5, EOS], [BOS, 8, EOS, PAD, PAD], [BOS, 6, 7, EOS, PAD]])


def build(name, latent=8, **settings):
    torch.manual_seed(0)
    small = {"hidden": 8, "embedding": 6}
    return MODELS.build(name, {"latent": latent, "encoder_settings": small, "decoder_settings": small, **settings}, V)


def test_mmd_is_the_unbiased_estimate_pair_by_pair():
    a, b = torch.randn(5, 3, generator=torch_stream(0)), torch.randn(5, 3, generator=torch_stream(1)) + 1.0
    c = 2 * 3 * 0.5
    k = lambda x, y: c / (c + float((x - y).square().sum()))  # noqa: E731
    within = [sum(k(s[i], s[j]) for i in range(5) for j in range(5) if i != j) / 20 for s in (a, b)]
    between = sum(k(x, y) for x in a for y in b) / 25
    assert float(squared_mmd(a, b, [0.5])) == pytest.approx(within[0] + within[1] - 2 * between, rel=1e-4)


def test_mmd_tells_equal_from_shifted_distributions():
    draws = [torch.randn(400, 4, generator=torch_stream(i)) for i in range(3)]
    assert abs(float(squared_mmd(draws[0], draws[1]))) < 0.02
    assert float(squared_mmd(draws[0], draws[2] + 1.0)) > 0.1


def test_total_correlation_of_one_posterior_is_zero_and_of_a_correlated_mixture_is_the_gaussian_s():
    z = torch.randn(50, 4, generator=torch_stream(0))
    assert float(total_correlation(z, torch.zeros(50, 4), torch.zeros(50, 4))) == pytest.approx(0.0, abs=1e-4)
    # Means with correlation r, narrow posteriors: q(z) is nearly that Gaussian, whose TC is -log(1 - r^2) / 2.
    r, n = 0.8, 3000
    cover = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, r], [r, 1.0]]))
    torch.manual_seed(1)
    mean, log_var = cover.sample((n,)), torch.full((n, 2), math.log(0.02))
    z = mean + log_var.mul(0.5).exp() * torch.randn(n, 2, generator=torch_stream(2))
    known = -0.5 * math.log(1 - (r / 1.02) ** 2)  # with the posteriors' own variance
    assert float(total_correlation(z, mean, log_var)) == pytest.approx(known, abs=0.06)


def test_kl_between_normals_is_torch_s():
    a, b, c, d = (torch.randn(6, 5, generator=torch_stream(i)) for i in range(4))
    known = kl_divergence(Normal(a, (0.5 * b).exp()), Normal(c, (0.5 * d).exp()))
    torch.testing.assert_close(kl_normals(a, b, c, d), known, rtol=1e-4, atol=1e-5)


def test_finite_scalars_lie_on_their_levels():
    model = build("fsq_vae", levels=[8, 5])
    with torch.no_grad():
        z = model.infer(IDS).z[:, 0]
        far = model.memory(torch.linspace(-3, 3, 50)[:, None, None].expand(-1, 1, 8))[:, 0]
    eight, five = [k / 4 for k in range(-4, 4)], [k / 2 for k in range(-2, 3)]
    for values in (z, far, model.sample_prior(200, torch_stream(0))[:, 0]):
        assert set(values[:, 0::2].flatten().tolist()) <= set(eight)
        assert set(values[:, 1::2].flatten().tolist()) <= set(five)
    assert set(far[:, 0].tolist()) == set(eight) and set(far[:, 1].tolist()) == set(five)
    assert model.bits() == pytest.approx(4 * math.log2(40))
    rate = model.losses(Batch(IDS), 0, "vae", torch_stream(0))["rate"]
    assert float(rate.detach()) == pytest.approx(4 * math.log(40), rel=1e-5)


@pytest.mark.parametrize(("name", "settings"), [("fsq_vae", {"levels": [3, 4]}), ("vq_vae", {"codes": 12, "parts": 4})])
def test_latents_of_codes_are_made_of_the_code_vectors(name, settings):
    model = build(name, **settings)
    vectors = model.code_vectors()
    assert vectors.shape == (12, 2) and len(vectors.unique(dim=0)) == 12
    with torch.no_grad():
        z = torch.cat([model.infer(IDS).z, model.sample_prior(300, torch_stream(0))]).view(-1, 2)
    assert float(torch.cdist(z, vectors).min(1).values.max()) < 1e-5
    # To the model's own prior every code is as likely, and the encoder is sure of the one that it chooses.
    torch.testing.assert_close(model.log_ratio(model.infer(IDS)), torch.full((3,), -4 * math.log(12)))
    assert build("vae").code_vectors() is None


def test_vectors_are_the_nearest_of_the_codebook_and_the_codebook_follows():
    model = build("vq_vae", codes=6, parts=4, dead=0.0, decay=0.5).train()
    before, counts = model.codebook.clone(), model.counts.clone()
    model.losses(Batch(IDS), 0, "vae", torch_stream(0))
    with torch.no_grad():
        said = model.bottleneck(model.encoder(IDS)).view(12, 2)
        nearest = torch.stack([(before - one).square().sum(1) for one in said]).argmin(1)
        torch.testing.assert_close(model.infer(IDS).z.view(12, 2), before[nearest])
    model.after_step({"rate": 1.0})
    for code in range(6):  # half of the old sums and counts, half of this step's: van den Oord et al. 2017, eq. 6 and 7
        mine = said[nearest == code]
        expected = (0.5 * before[code] * counts[code] + 0.5 * mine.sum(0)) / (0.5 * counts[code] + 0.5 * len(mine))
        torch.testing.assert_close(model.codebook[code], expected, rtol=1e-4, atol=1e-5)


def test_a_code_that_nothing_chooses_is_moved_to_the_encoder():
    model = build("vq_vae", codes=6, parts=4, dead=0.9, decay=0.5).train()
    model.codebook[2:] = 1e3  # nothing is near
    model.losses(Batch(IDS), 0, "vae", torch_stream(0))
    model.after_step({"rate": 1.0})
    assert bool((model.codebook.abs() < 10).all())


def test_the_critic_learns_from_its_own_turn_alone():
    model = build("aae")
    terms = model.losses(Batch(IDS), 0, "critic", torch_stream(0))
    terms["loss"].backward()
    assert all(p.grad is not None for p in model.critic.parameters())
    assert all(p.grad is None for p in model.encoder.parameters())
    with torch.no_grad():
        generator = torch_stream(0)
        noise, prior = (torch.randn(3, 1, 8, generator=generator) for _ in range(2))
        p = [torch.sigmoid(model.critic(z.flatten(1))[:, 0]) for z in (prior, model.infer(IDS, noise).z)]
    by_hand = -(p[0].log().mean() + (1 - p[1]).log().mean()) / 2
    assert float(terms["loss"].detach()) == pytest.approx(float(by_hand), rel=1e-4)


def test_a_mixture_of_posteriors_is_torch_s_mixture():
    model = build("vamp_vae", components=5)
    with torch.no_grad():
        mean, log_var = model.bottleneck(model.pseudo).view(5, 2, 8).unbind(1)
        parts = Independent(Normal(mean, (0.5 * log_var).exp()), 1)
        known = MixtureSameFamily(Categorical(torch.ones(5)), parts)
        z = model.sample_prior(4000, torch_stream(0))
        torch.testing.assert_close(model.log_prior(z), known.log_prob(z[:, 0]), rtol=1e-4, atol=1e-4)
        spread = 5 * known.stddev / 4000**0.5
        assert bool(((z[:, 0].mean(0) - known.mean).abs() < spread).all())
        torch.testing.assert_close(z[:, 0].std(0), known.stddev, rtol=0.06, atol=0)
        # The rate is no less than what samples say the KL is, and with one component it is just that.
        ids = IDS[:1].expand(4000, -1)
        inferred = model.infer(ids, torch.randn(4000, 1, 8, generator=torch_stream(1)))
        estimates = -model.log_ratio(inferred)
        assert float(inferred.kl[0]) > float(estimates.mean()) - 5 * float(estimates.std()) / 4000**0.5
        model = build("vamp_vae", components=1)
        inferred = model.infer(IDS)
        one = Normal(*(part if i == 0 else (0.5 * part).exp() for i, part in enumerate(model.mixture())))
        exact = kl_divergence(Normal(inferred.mean[:, 0], (0.5 * inferred.log_var[:, 0]).exp()), one).sum(1)
        torch.testing.assert_close(inferred.kl[:, 0], exact, rtol=1e-4, atol=1e-5)


@pytest.fixture
def gan():
    """A VAE-GAN whose VAE hears its critic from the first step, and of which every molecule is judged."""
    return build("vae_gan", begin=0, every=1, critic=7, adversarial=0.5).eval()


def test_the_critic_of_strings_learns_from_molecules_and_from_decodes_of_the_prior(gan):
    terms = gan.losses(Batch(IDS), 0, "critic", torch_stream(0))
    terms["loss"].backward()
    assert all(p.grad is not None for p in gan.critic.parameters())
    assert all(p.grad is None for p in gan.decoder.parameters())
    with torch.no_grad():
        written = write(gan, torch.randn(3, 1, 8, generator=torch_stream(0)), max_length=64)
        p = [judgements(gan, [row[row != PAD] for row in rows]) for rows in (IDS[:, 1:], written)]
    by_hand = -(p[0].log().mean() + (1 - p[1]).log().mean()) / 2
    assert float(terms["loss"].detach()) == pytest.approx(float(by_hand), rel=1e-4)
    right = torch.cat([p[0] > 0.5, p[1] < 0.5]).float().mean()
    assert float(terms["accuracy"]) == pytest.approx(float(right))


def judgements(gan, strings):
    """What the critic gives each string of tokens, read alone and without padding, for being a molecule."""
    hot = [torch.nn.functional.one_hot(ids, V).float()[None] for ids in strings]
    return torch.cat([torch.sigmoid(gan.critic(one, torch.ones(1, one.shape[1], dtype=torch.bool))) for one in hot])


def test_the_decoder_hears_the_critic_of_strings(gan):
    z = torch.randn(3, 1, 8, generator=torch_stream(1))
    strings, inside = gan.soft(z)
    written = write(gan, z, max_length=64)[:, : strings.shape[1]]
    torch.testing.assert_close(strings.detach(), torch.nn.functional.one_hot(written, V).float(), atol=1e-6, rtol=0)
    assert torch.equal(inside, written != PAD)
    gan.zero_grad()
    terms = gan.losses(Batch(IDS), 0, "vae", torch_stream(2))
    plain = SequenceVAE.losses(gan, Batch(IDS), 0, "vae", torch_stream(2))
    assert float((terms["loss"] - plain["loss"]).detach()) == pytest.approx(
        0.5 * float(terms["adversarial"].detach()), rel=1e-3
    )
    terms["adversarial"].backward()
    assert float(gan.decoder.head.weight.grad.abs().max()) > 0
    assert gan.encoder.embedding.weight.grad is None  # draws of the prior have no encoder behind them
    gan.begin = 1
    assert "adversarial" not in gan.losses(Batch(IDS), 0, "vae", torch_stream(2))


@pytest.mark.parametrize("player", ["vae", "critic"])
def test_parts_of_a_batch_add_up_to_what_the_critic_of_strings_makes_of_it(gan, player):
    gan.every = 2  # the molecules 0 and 2: the second part has none
    whole = gan.losses(Batch(IDS), 0, player, torch_stream(3))
    parts = [gan.losses(Batch(IDS), 0, player, torch_stream(3), slice(i, i + 1)) for i in range(3)]
    for name, value in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"every": 0}, {"begin": -1}, {"adversarial": -0.1}])
def test_a_critic_of_strings_that_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        build("vae_gan", **settings)


@pytest.mark.parametrize(("name", "settings"), [("ladder_vae", {"levels": 2}), ("nvae", {"scales": [1, 3], "groups": 1})])
def test_a_deep_prior_is_the_one_that_the_rate_is_measured_against(name, settings):
    """Over a molecule's own posterior samples, log q - log p averages to the rate: the p that `sample_prior` draws from."""
    model = build(name, **settings, **({"width": 16})).eval()
    ids = IDS[:1].expand(4000, -1)
    with torch.no_grad():
        inferred = model.infer(ids, torch.randn(4000, 1, 8, generator=torch_stream(3)))
        rate = inferred.kl.sum(1)
        log_q = Normal(inferred.mean, (0.5 * inferred.log_var).exp()).log_prob(inferred.z).flatten(1)
        # p(z) by its own steps: expected moments at the drawn latents
        if name == "ladder_vae":
            parts, log_p = inferred.z.flatten(1).chunk(2, -1), []
            for level in range(2):
                above = torch.cat([parts[0].new_zeros(4000, 0), *parts[:level]], -1)
                mean, log_var = model._expected(level, above)
                log_p.append(Normal(mean, (0.5 * log_var).exp()).log_prob(parts[level]))
        else:
            parts, log_p = inferred.z.flatten(1).split(model.sizes, -1), []
            for group, _, mean, log_var in model._descend(4000, parts):
                log_p.append(Normal(mean, (0.5 * log_var).exp()).log_prob(parts[group].view_as(mean)).flatten(1))
        difference = log_q.sum(1) - torch.cat(log_p, 1).sum(1)
        torch.testing.assert_close(model.log_prior(inferred.z), torch.cat(log_p, 1).sum(1), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(model.log_ratio(inferred), -difference, rtol=1e-3, atol=1e-3)
    spread = float(difference.std()) / 4000**0.5
    assert float(difference.mean()) == pytest.approx(float(rate.mean()), abs=5 * spread)
    assert len(model.levels_of(inferred.kl)) == 2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fsq_vae", {"levels": [8, 5, 5]}),
        ("vq_vae", {"parts": 3}),
        ("ladder_vae", {"levels": 3}),
        ("nvae", {"scales": [2, 3]}),
    ],
)
def test_a_latent_that_cannot_be_divided_is_refused(name, settings):
    with pytest.raises(ConfigError, match="latent"):
        build(name, **settings)
