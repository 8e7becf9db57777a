"""What every registered model promises, with every pairing of registered encoders and decoders.

A new variant in molvae/models/ is covered by these tests without a new one.
"""

import math
from itertools import product

import pytest
import torch
from drugs import SMILES
from pretended_device import pretended_device
from torch import nn

from molvae.checkpoint import Checkpoint, load, save
from molvae.data.datasets import tokenise
from molvae.models.consistent import EXACT, log_posterior, write_consistent
from molvae.models.decoding import strings, write
from molvae.models.networks import DECODERS, ENCODERS
from molvae.models.sequence_vae import MODELS, Batch
from molvae.randomness import torch_stream
from molvae.strings.tokens import PAD
from molvae.training.loop import Examples, TrainSettings, fit

ENCODER_SIZES = {"gru": {"hidden": 40, "embedding": 24}, "transformer": {"width": 48, "layers": 1, "heads": 2}}
DECODER_SIZES = {"gru": {"hidden": 96, "embedding": 24}, "transformer": {"width": 48, "layers": 2, "heads": 2, "memory": 2}}
# Every pairing of networks with the plain VAE; the variants put nothing between their networks that depends on these.
CASES = [*product(["vae"], ENCODERS.names(), DECODERS.names())]
CASES += [(name, "gru", "gru") for name in MODELS.names() if name != "vae"]
TRAINING = TrainSettings(
    molecules=64 * 130, batch_size=64, learning_rate=1e-2, warmup=15, ema=0.8, precision="float32", evaluate_every=10**9
)


#: What a variant needs to divide 32 numbers, and to be small.
VARIANTS = {
    "ladder_vae": {"levels": 2, "width": 48},
    "nvae": {"scales": [1, 3], "groups": 2, "width": 32},
    "cvae": {"properties": 2, "condition": 24},
}


def settings(name, encoder, decoder, **more):
    return {
        "latent": 32,
        **VARIANTS.get(name, {}),
        "encoder": encoder,
        "encoder_settings": ENCODER_SIZES.get(encoder, {}),
        "decoder": decoder,
        "decoder_settings": DECODER_SIZES.get(decoder, {}),
        "kl_weight": "fixed",
        "kl_settings": {"beta": 0.001},
        **more,
    }


@pytest.fixture(scope="module")
def data():
    """64 drugs: the 64 shortest, in words."""
    return tokenise(sorted(SMILES, key=len)[:64], words=100)


def build(case, vocabulary, **more):
    torch.manual_seed(0)
    name, encoder, decoder = case
    return MODELS.build(name, settings(name, encoder, decoder, **more), len(vocabulary))


def losses(model, batch, player="vae"):
    return model.losses(batch, 0, player, torch_stream(0, "loss"))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def trained(request, data, tmp_path_factory):
    """A model of each kind, trained on the 64 molecules alone."""
    model = fit(build(request.param, data.vocabulary), Examples(data.table), TRAINING, tmp_path_factory.mktemp("fit"))
    return request.param, model


def test_it_can_learn_64_molecules_by_heart(trained, data):
    _, model = trained
    model.eval()
    with torch.no_grad():
        means = model.encode(data.table.batch(torch.arange(64)))
    decoded = [data.vocabulary.derive(text) for text in strings(data.vocabulary, write(model, means))]
    assert sum(d.smiles == smiles for d, smiles in zip(decoded, data.smiles, strict=True)) >= 61
    assert sum(d.faithful for d in decoded) >= 61


def test_writing_step_by_step_equals_teacher_forcing(trained, data):
    _, model = trained
    model.eval()
    ids = data.table.batch(torch.arange(0, 64, 7))
    with torch.no_grad():
        z = model.encode(ids)
        logits = model.decoder(ids, model.memory(z))
        state = model.decoder.start(model.memory(z), ids.shape[1])
        for t in range(ids.shape[1]):
            step, state = model.decoder.step(ids[:, t], state)
            torch.testing.assert_close(step, logits[:, t], rtol=1e-3, atol=1e-3)


def test_beams_leave_strings_that_are_a_latent_s_own_and_better_the_others(trained, data):
    _, model = trained
    model.eval()
    with torch.no_grad():
        means = model.encode(data.table.batch(torch.arange(0, 64, 4)))
    # On the way to the next molecule's mean: where some greedy strings are the latent's own, and others are not.
    z = torch.cat([torch.lerp(means, means.roll(1, 0), weight) for weight in (0.0, 0.2, 0.4)])
    greedy, chosen = write(model, z), write_consistent(model, z, 4)
    before, distance = log_posterior(model, greedy, z)
    after, _ = log_posterior(model, chosen, z)
    own = distance <= EXACT
    assert torch.equal(chosen[own], greedy[own])
    assert bool((after >= before - 1e-3 * before.abs()).all())
    assert bool((after > before + 1e-3 * before.abs()).any()), "of so many strings some can be bettered"


def test_a_saved_model_is_the_same_model(trained, data, tmp_path):
    (name, encoder, decoder), model = trained
    config = {"name": name, **settings(name, encoder, decoder)}
    save(tmp_path, Checkpoint(model, data.vocabulary, config), half=False)
    loaded = load(tmp_path)
    assert loaded.config == config and loaded.vocabulary == data.vocabulary
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value.to(loaded.model.state_dict()[key].dtype)), key
    ids = data.table.batch(torch.arange(8))
    model.eval()
    with torch.no_grad():
        assert torch.equal(loaded.model.encode(ids), model.encode(ids))
        assert torch.equal(write(loaded.model, model.encode(ids)), write(model, model.encode(ids)))


def test_its_own_prior_decodes_to_strings_of_its_vocabulary(trained, data):
    _, model = trained
    model.eval()
    z = model.sample_prior(30, torch_stream(1))
    assert z.shape == (30, model.latent_tokens, model.latent_size) and bool(z.isfinite().all())
    assert torch.equal(z, model.sample_prior(30, torch_stream(1)))
    decoded = [data.vocabulary.derive(text) for text in strings(data.vocabulary, write(model, z))]
    assert sum(d.smiles is not None for d in decoded) >= 25  # nearly any SELFIES string is some molecule
    assert len({d.smiles for d in decoded}) >= 10


@pytest.mark.parametrize("name", ["vae", "vae_gan"])
def test_compiled_the_losses_are_the_same(name, data):
    """As `torch.compile` sees them, on any device; code is generated on CUDA only."""
    model = build((name, "gru", "gru"), data.vocabulary, word_dropout=0.1)
    batch = Batch(data.table.batch(torch.arange(16)))
    for player in model.players():
        torch._dynamo.reset()
        compiled = torch.compile(model.losses, backend="eager")(batch, 0, player, torch_stream(0, "loss"))
        for term, value in losses(model, batch, player).items():
            torch.testing.assert_close(compiled[term], value)


@pytest.mark.parametrize("case", CASES, ids="-".join)
class TestLoss:
    """The loss of an untrained model, where nothing is small."""

    def test_it_is_a_mean_over_molecules(self, case, data):
        model = build(case, data.vocabulary).eval()
        model._noise = lambda shape, generator: torch.zeros(tuple(shape))  # each row's own noise would differ by its place
        ids = data.table.batch(torch.arange(24))
        whole = losses(model, Batch(ids))
        alone = [losses(model, Batch(ids[i : i + 1])) for i in range(24)]
        for term in ("nll", "rate", *(() if model.compares_molecules else ("loss",))):
            mean = sum(float(one[term].detach()) for one in alone) / 24
            assert float(whole[term].detach()) == pytest.approx(mean, rel=1e-4)
        double = losses(model, Batch(torch.cat([ids, ids])))
        torch.testing.assert_close(double["nll"] + double["rate"], whole["nll"] + whole["rate"], rtol=1e-4, atol=1e-4)

    def test_padding_changes_nothing(self, case, data):
        model = build(case, data.vocabulary).eval()
        ids = data.table.batch(torch.arange(24))
        padded = nn.functional.pad(ids, (0, 11), value=PAD)
        for term, value in losses(model, Batch(padded)).items():
            torch.testing.assert_close(value, losses(model, Batch(ids))[term], rtol=1e-4, atol=1e-4)

    def test_an_untrained_model_is_near_the_uniform_guess(self, case, data):
        model = build(case, data.vocabulary).eval()
        terms = losses(model, Batch(data.table.batch(torch.arange(64))))
        uniform = float((data.table.lengths + 1).float().mean()) * math.log(len(data.vocabulary))
        assert float(terms["nll"].detach()) == pytest.approx(uniform, rel=0.35)  # nats per molecule, end token included
        assert float(terms["rate"].detach()) > 0

    def test_gradient_reaches_every_parameter(self, case, data):
        model = build(case, data.vocabulary, properties=2, word_dropout=0.1)
        properties = torch.randn(64, 2, generator=torch_stream(2))
        for player, parameters in model.players().items():
            model.zero_grad()
            losses(model, Batch(data.table.batch(torch.arange(64)), properties=properties), player)["loss"].backward()
            of_player = {id(p) for p in parameters}
            for name, parameter in model.named_parameters():
                if id(parameter) in of_player:
                    assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
                    assert float(parameter.grad.abs().max()) > 0, name

    def test_a_training_step_and_its_strings_on_another_device(self, case, data):
        """What is left on the CPU by mistake is told on a GPU only, and here."""
        with pretended_device() as device:
            model = build(case, data.vocabulary, properties=2, word_dropout=0.1, unconditional=0.2).to(device)
            batch = Batch(data.table.batch(torch.arange(8)).to(device), properties=torch.randn(8, 2).to(device))
            for player, parameters in model.players().items():
                optimizer = torch.optim.AdamW(parameters)
                losses(model, batch, player)["loss"].backward()
                optimizer.step()
            model.eval()
            with torch.inference_mode():
                z = model.encode(batch.ids)
                assert z.device.type == device == model.sample_prior(2, torch_stream(0)).device.type
                assert len(write(model, z, max_length=9)) == len(write_consistent(model, z, 2, max_length=9)) == 8

    def test_in_bfloat16_every_term_is_what_it_is_in_float32_but_for_rounding(self, case, data):
        model = build(case, data.vocabulary, properties=2, word_dropout=0.1, unconditional=0.2)
        batch = Batch(data.table.batch(torch.arange(32)), properties=torch.randn(32, 2, generator=torch_stream(1)))
        for player, parameters in model.players().items():
            exact = losses(model, batch, player)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = losses(model, batch, player)
            rounded["loss"].backward()
            assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in parameters)
            # 8 significant bits; terms near 0 are sums of what is not.
            for name, value in exact.items():
                torch.testing.assert_close(rounded[name].float(), value, rtol=0.05, atol=0.05, msg=f"{player}: {name}")

    def test_the_encoder_reads_the_source_and_the_decoder_writes_the_ids(self, case, data):
        model = build(case, data.vocabulary).eval()
        model._noise = lambda shape, generator: torch.zeros(tuple(shape))
        ids, other = data.table.batch(torch.arange(0, 20)), data.table.batch(torch.arange(20, 40))
        terms = losses(model, Batch(ids, source=other))
        inferred = model.infer(other)
        torch.testing.assert_close(terms["rate"], inferred.kl.sum(1).mean())
        written = model.nll(model.decoder(ids[:, :-1], model.memory(inferred.z)), ids)
        torch.testing.assert_close(terms["nll"], written.mean())
        assert not torch.isclose(terms["nll"], losses(model, Batch(ids))["nll"], rtol=1e-6)

    def test_the_same_generator_gives_the_same_loss(self, case, data):
        model = build(case, data.vocabulary, word_dropout=0.3)
        batch = Batch(data.table.batch(torch.arange(10)))
        assert torch.equal(losses(model, batch)["loss"], losses(model, batch)["loss"])
