"""The Model: SMILES to latents and back, and the prior; every draw by its seed, every refusal by name."""

import hashlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from drugs import SMILES

import molvae
from molvae.checkpoint import load as load_checkpoint
from molvae.chem import canonical
from molvae.errors import ConfigError
from molvae.generation.model import BATCH, Model, pick_device
from molvae.models.consistent import beam_search, log_posterior, write_consistent
from molvae.models.sequence_vae import MODELS
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, EOS, MAX_LENGTH, PAD

BAD = ["not a molecule", "C.C", "C*", "", "[Te]", "C1CC"]


@pytest.fixture(scope="module")
def z(small_model):
    return small_model.encode(SMILES)


# -- molecules to latents


def test_latents_are_posterior_means(small_model, z):
    assert z.shape == (len(SMILES), small_model.latent_size) and z.dtype == np.float32
    ids, _ = small_model.vocabulary.encode(SMILES[4])
    with torch.no_grad():
        mean, _ = small_model.vae.posterior(torch.tensor([[1, *ids, 2]]))
    np.testing.assert_allclose(z[4], mean.flatten(), atol=1e-4)


def test_the_latent_does_not_depend_on_the_company_or_the_spelling(small_model, z):
    np.testing.assert_allclose(small_model.encode(SMILES[::-1])[::-1], z, atol=1e-4)
    np.testing.assert_allclose(small_model.encode([SMILES[7]])[0], z[7], atol=1e-4)
    aspirin = SMILES.index("CC(=O)Oc1ccccc1C(=O)O")
    np.testing.assert_allclose(small_model.encode(["OC(=O)c1ccccc1OC(C)=O"])[0], z[aspirin], atol=1e-4)


def test_what_cannot_be_encoded_is_nan_and_explained(small_model):
    mixed = [SMILES[0], *BAD, SMILES[1]]
    found = small_model.encode(mixed)
    assert np.isnan(found).all(1).tolist() == [False, *[True] * len(BAD), False]
    reasons = small_model.explain(mixed)
    assert reasons[0] == reasons[-1] == "" and all(reasons[1:-1])
    assert np.isnan(small_model.encode(BAD)).all()
    assert small_model.encode([]).shape == (0, small_model.latent_size)


def test_sampled_latents_scatter_around_the_mean_by_their_own_width(small_model, z):
    one = [SMILES[3]] * 600
    samples = small_model.encode(one, sample=True, seed=4)
    ids, _ = small_model.vocabulary.encode(SMILES[3])
    with torch.no_grad():
        _, log_var = small_model.vae.posterior(torch.tensor([[1, *ids, 2]]))
    sd = (0.5 * log_var).exp().flatten().numpy()
    np.testing.assert_allclose(samples.mean(0), z[3], atol=5 * sd.max() / np.sqrt(600))
    np.testing.assert_allclose(samples.std(0), sd, rtol=0.2)
    assert (small_model.encode(one[:5], sample=True, seed=4) == small_model.encode(one[:5], sample=True, seed=4)).all()
    assert (small_model.encode(one[:5], sample=True, seed=4) != small_model.encode(one[:5], sample=True, seed=5)).any()


# -- latents to molecules


def test_decoding_gives_a_molecule_a_row_with_its_reason(small_model, z):
    decoded = small_model.decode(z)
    assert len(decoded) == len(z)
    for d in decoded:
        assert d.faithful == (d.reason == "")
        assert d.smiles is None or d.smiles == canonical(d.smiles)
    assert sum(d.smiles == canonical(s) for d, s in zip(decoded, SMILES, strict=True)) > 60
    assert [text.partition("<")[0] for text in small_model.write(z)] == [d.selfies for d in decoded]


def test_each_row_decodes_alone_as_it_does_among_others(small_model, z):
    together = small_model.write(z[:25])
    alone = [small_model.write(row)[0] for row in z[:25]]
    assert sum(a == b for a, b in zip(alone, together, strict=True)) >= 24  # at most one near tie
    many = small_model.write(np.repeat(z[:3], BATCH // 2, 0))  # over the border of a batch
    assert all(many[i * (BATCH // 2) + k] == many[i * (BATCH // 2)] for i in range(3) for k in (0, 1, BATCH // 2 - 1))


def test_draws_depend_on_the_seed_alone(small_model, z):
    runs = [small_model.write(z[:20], n=3, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert len(runs[0]) == 60 and runs[0] == runs[1] != runs[2]
    assert small_model.write(z[:5], n=2) == [text for text in small_model.write(z[:5]) for _ in range(2)]
    state = torch.get_rng_state()
    small_model.sample(5, seed=3, temperature=1.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_less_temperature_and_a_smaller_nucleus_come_nearer_to_greedy(small_model, z):
    greedy = small_model.write(z)

    def agreement(**settings):
        return np.mean([a == b for a, b in zip(small_model.write(z, seed=1, **settings), greedy, strict=True)])

    assert agreement(temperature=0.02) > agreement(temperature=0.6) > agreement(temperature=1.5)
    assert agreement(temperature=1.0, top_p=0.01) == 1.0 > agreement(temperature=1.0, top_p=0.95)


def test_long_strings_are_cut_and_told(small_model):
    far = 30 * torch.randn(60, small_model.latent_size, generator=torch_stream(0)).numpy()
    for text, decoded in zip(small_model.write(far), small_model.decode(far), strict=True):
        tokens, _ = small_model.vocabulary.segment(decoded.selfies)
        if text.endswith("<cut>"):
            assert not decoded.faithful and decoded.reason == "cut at the length limit"
        else:
            assert tokens is None or len(tokens) < MAX_LENGTH


@pytest.mark.parametrize(
    "points, message",
    [
        (np.zeros((2, 3)), "latents must have 24 columns, not shape"),
        (np.zeros((2, 24, 1)), "latents must have 24 columns"),
        (np.full((1, 24), np.nan), "a NaN row is a molecule that could not be encoded"),
        (np.full((1, 24), np.inf), "finite"),
    ],
)
def test_bad_latents_are_refused(small_model, points, message):
    for verb in (small_model.decode, small_model.predict):
        with pytest.raises(ConfigError, match=message):
            verb(points)


def test_bad_temperatures_are_refused(small_model, z):
    for settings in ({"temperature": -0.1}, {"top_p": 0.0}, {"temperature": 1.0, "beams": 4}):
        with pytest.raises(ConfigError):
            small_model.decode(z[:1], **settings)


def test_no_latents_give_no_molecules(small_model):
    assert small_model.decode(np.empty((0, small_model.latent_size), np.float32)) == []
    assert small_model.sample(0, seed=1) == []


def test_reconstruction_is_none_where_there_was_nothing_to_encode(small_model, z):
    given = [SMILES[0], "broken", SMILES[1]]
    for beams in (0, 16):
        results = small_model.reconstruct(given, beams=beams)
        assert results[1] is None
        assert [results[0], results[2]] == small_model.decode(z[:2], beams=beams)
    assert small_model.reconstruct(given) == results, "16 beams, unless told otherwise"
    assert small_model.reconstruct(["broken"]) == [None]


def test_worker_processes_change_nothing(small_run, small_model, monkeypatch):
    monkeypatch.setattr("molvae.generation.model.SHARE", 40)
    monkeypatch.setattr("molvae.generation.model.FEW", 80)
    parallel = molvae.load(small_run, device="cpu", workers=1)
    assert parallel.explain([*SMILES, *BAD]) == small_model.explain([*SMILES, *BAD])
    assert parallel.sample(90, seed=1) == small_model.sample(90, seed=1)


# -- the prior


def test_the_preferred_prior_is_fitted_and_any_can_be_named(small_model, z):
    assert small_model.priors == ["mixture", "gaussian", "normal"]
    assert (small_model.sample_latents(4, seed=1) == small_model.sample_latents(4, seed=1, prior="mixture")).all()
    many = small_model.sample_latents(4000, seed=2, prior="gaussian")
    assert many.dtype == np.float32
    np.testing.assert_allclose(many.mean(0), z.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(many.T), np.cov(z.T), atol=0.3)
    normal = small_model.sample_latents(4000, seed=3, prior="normal")
    np.testing.assert_allclose(np.cov(normal.T), np.eye(small_model.latent_size), atol=0.15)


def test_an_unknown_prior_suggests_the_nearest(small_model):
    with pytest.raises(
        ConfigError, match=r"no prior 'gausian'. Did you mean 'gaussian'\? It has: mixture, gaussian, normal"
    ):
        small_model.sample_latents(3, prior="gausian")


def test_without_fitted_priors_the_standard_normal_is_drawn(small_run):
    checkpoint = load_checkpoint(small_run)
    checkpoint.priors = {}
    model = Model(checkpoint, name="bare")
    assert (model.sample_latents(3, seed=1) == model.sample_latents(3, seed=1, prior="normal")).all()


def test_a_decoder_that_writes_without_z_is_a_prior_too(small_run):
    checkpoint = load_checkpoint(small_run)
    checkpoint.model.unconditional = 0.1  # as if it had been trained so
    model = Model(checkpoint, name="writer")
    assert model.priors == ["language", "mixture", "gaussian", "normal"]
    drawn = model.sample_latents(12, seed=1)
    assert drawn.shape == (12, 24) and np.isfinite(drawn).all() and len(np.unique(drawn.round(3), axis=0)) > 6
    assert (drawn == model.sample_latents(12, seed=1, prior="language")).all()
    assert (drawn != model.sample_latents(12, seed=2)).any()
    assert model.sample_latents(0, seed=1).shape == (0, 24)


@pytest.mark.parametrize("constrained", [True, False])
def test_a_draw_with_idle_direction_marks_is_drawn_again_under_the_grammar(small_run, monkeypatch, constrained):
    checkpoint = load_checkpoint(small_run)
    checkpoint.model.unconditional = 0.1
    model = Model(checkpoint, constrained=constrained)
    plain, directed, alkene = (
        model.vocabulary.ids["[C]"],
        model.vocabulary.ids["[/C]"],
        model.vocabulary.encode("C/C=C/C")[0],
    )
    idle, butane = [plain, directed] * 2, [plain] * 4
    draws = iter([idle, butane, idle, alkene, butane, butane, butane, butane])
    monkeypatch.setattr(
        "molvae.generation.model.write", lambda *_, copies, **__: torch.tensor([[*next(draws), EOS] for _ in range(copies)])
    )
    wanted = [butane, alkene] if constrained else [idle, butane]
    monkeypatch.setattr("molvae.generation.model.BATCH", 1)
    assert model._language_rows(2, torch_stream(0)) == wanted


def test_samples_are_all_there_marked_not_hidden(small_model):
    sampled = small_model.sample(200, seed=5)
    assert len(sampled) == 200 and sampled == small_model.sample(200, seed=5) != small_model.sample(200, seed=6)
    assert any(d.faithful for d in sampled) and any(not d.faithful for d in sampled)
    assert len({d.smiles for d in sampled}) > 100


def test_training_molecules_are_known_by_hash(small_model):
    asked = [canonical(SMILES[0]), "CCCCCCCCCCCCC", canonical(SMILES[-1]), ""]
    assert small_model.is_training_molecule(asked).tolist() == [True, False, True, False]
    assert small_model.is_training_molecule([]).shape == (0,)


# -- many at once


def test_threads_share_a_model(small_model, z):
    expected = small_model.encode(SMILES), small_model.decode(z)
    with ThreadPoolExecutor(4) as pool:
        encoded = [pool.submit(small_model.encode, SMILES) for _ in range(4)]
        decoded = [pool.submit(small_model.decode, z) for _ in range(4)]
        assert all((job.result() == expected[0]).all() for job in encoded)
        assert all(job.result() == expected[1] for job in decoded)


def test_a_model_travels_to_a_worker_process(small_model, z):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(small_model.decode, z[:3])
        assert there.result() == small_model.decode(z[:3])
        assert (pool.submit(small_model.encode, SMILES[:3]).result() == small_model.encode(SMILES[:3])).all()


def test_encoding_tells_how_far_it_is(small_model, monkeypatch):
    monkeypatch.setattr("molvae.generation.model.SHARE", 10)
    monkeypatch.setattr("molvae.generation.model.ENCODE_BLOCK", 30)
    heard = []
    parts = small_model.encode([*SMILES[:35], *BAD], progress=lambda *now: heard.append(now))
    assert heard == [(10, 41), (20, 41), (30, 41), (40, 41), (41, 41)]
    monkeypatch.undo()
    np.testing.assert_allclose(parts, small_model.encode([*SMILES[:35], *BAD]), atol=1e-4)


def test_a_model_is_named_after_its_run_and_knows_its_weights(small_run, small_model):
    assert small_model.name == small_run.name
    assert molvae.load(small_run / "checkpoint", device="cpu").name == small_run.name
    weights = (small_run / "checkpoint" / "model.safetensors").read_bytes()
    assert small_model.weights_hash == hashlib.sha256(weights).hexdigest()


# -- places


def test_a_device_that_is_not_there_is_refused():
    assert pick_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"no device '{name}' on this machine"):
            pick_device(name)


def test_a_model_without_heads_says_so(small_run):
    checkpoint = load_checkpoint(small_run)
    checkpoint.card = {**checkpoint.card, "properties": {}}
    with pytest.raises(ConfigError, match=r"has no property heads. Train with \[data\] properties"):
        Model(checkpoint, name="bare").predict(np.zeros((1, 24)))


# -- the search by the encoder


def test_no_beam_is_sent_out_where_greedy_strings_are_the_latents_own(small_model, z):
    own = [i for i, d in enumerate(small_model.decode(z)) if d.smiles == canonical(SMILES[i])][:5]
    assert len(own) == 5
    assert small_model.decode(z[own], beams=4) == small_model.decode(z[own])


def test_beams_find_what_an_exhaustive_search_finds():
    """With as many beams as there are strings, the chosen one has the highest log q(z|x) of all."""
    torch.manual_seed(1)
    small = {"hidden": 8, "embedding": 4}
    model = MODELS.build("vae", {"latent": 3, "encoder_settings": small, "decoder_settings": small}, 6).eval()
    length = 4
    strings = [[*body, EOS] + [PAD] * (length - 1 - n) for n in range(length) for body in product((3, 4, 5), repeat=n)]
    strings += [list(body) for body in product((3, 4, 5), repeat=length)]
    every = torch.tensor(strings)
    z = torch.randn(6, 1, 3)
    with torch.no_grad():
        for row in z:
            ids = torch.cat([torch.full((len(every), 1), BOS), every], 1)
            logits = model.decoder(ids[:, :-1], row.expand(len(every), 1, 3))
            logits[..., [PAD, BOS]] = float("-inf")
            log_p = logits.log_softmax(-1).gather(2, every[..., None])[..., 0].masked_fill(every == PAD, 0.0).sum(1)
            best = every[log_p.argsort(descending=True)[:5]]
            assert torch.equal(beam_search(model, row[None], len(every), length)[0, :5], best)
        score, distance = zip(*[log_posterior(model, every, row.expand(len(every), 1, 3)) for row in z], strict=True)
        chosen = write_consistent(model, z, len(every), length)
        for i in range(len(z)):
            assert float(distance[i].min()) > 0
            assert torch.equal(chosen[i], every[score[i].argmax()])


def test_the_log_posterior_is_torch_distributions():
    torch.manual_seed(2)
    model = MODELS.build("vae", {"latent": 5}, 9).eval()
    written, z = torch.tensor([[3, 4, 2], [5, 2, 0]]), torch.randn(2, 1, 5)
    with torch.no_grad():
        mean, log_var = model.posterior(torch.cat([torch.full((2, 1), BOS), written], 1))
        exact = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z).flatten(1).sum(1)
        score, distance = log_posterior(model, written, z)
    torch.testing.assert_close(score - score[0], exact - exact[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(distance, ((z - mean) ** 2 / log_var.exp()).flatten(1).mean(1))
