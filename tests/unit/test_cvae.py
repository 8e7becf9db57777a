"""The conditional VAE: what the decoder is told, what training hides, and guidance, by formulas and by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from molvae.errors import ConfigError
from molvae.generation.conditioning import achieved, check_guidance, read_condition, standardise
from molvae.models.decoding import write
from molvae.models.guidance import Guided
from molvae.models.sequence_vae import MODELS, Batch
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, EOS, PAD

V, NAN = 9, math.nan
IDS = torch.tensor([[BOS, 3, 4, 5, EOS], [BOS, 8, EOS, PAD, PAD], [BOS, 6, 7, EOS, PAD]])
SIZES = {"gru": {"hidden": 16, "embedding": 8}, "transformer": {"width": 16, "heads": 2, "layers": 2}}


def build(name="cvae", decoder="gru", **settings):
    torch.manual_seed(0)
    more = {"properties": 2, "condition": 6, "masked": 0.5, "condition_dropout": 0.2} if name == "cvae" else {}
    small = {"encoder_settings": SIZES["gru"], "decoder": decoder, "decoder_settings": SIZES[decoder]}
    return MODELS.build(name, {"latent": 8, **small, **more, **settings}, V).eval()


# -- what the decoder is told


def test_the_decoder_reads_the_network_of_values_and_mask_behind_z():
    model, z = build(), torch.randn(3, 1, 8, generator=torch_stream(0))
    values = torch.tensor([[0.5, -1.0], [NAN, 2.0], [NAN, NAN]])
    first, second = model.condition_network[0], model.condition_network[2]
    with torch.no_grad():
        told = model.told(model.memory(z), values)
        for row, read in enumerate(([0.5, -1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 1.0])):
            hidden = first.weight @ torch.tensor(read) + first.bias
            gelu = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
            torch.testing.assert_close(told[row, 0, 8:], second.weight @ gelu + second.bias)
    torch.testing.assert_close(told[..., :8], z)
    assert bool((told[2, 0, 8:] == 0).all())  # nothing is known: nothing is told


def test_a_value_of_zero_is_not_an_unknown_one():
    model = build()
    with torch.no_grad():
        said = [model.told(model.hidden(1), torch.tensor([values])) for values in ([0.0, NAN], [NAN, 0.0], [0.0, 0.0])]
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in zip(said, [*said[1:], said[0]], strict=True))


def test_one_condition_is_told_to_every_row():
    model, z = build(), torch.randn(4, 1, 8, generator=torch_stream(0))
    values = torch.tensor([[0.3, NAN]])
    with torch.no_grad():
        torch.testing.assert_close(model.told(model.memory(z), values), model.told(model.memory(z), values.expand(4, 2)))


@pytest.mark.parametrize("decoder", SIZES)
def test_untold_it_is_a_plain_vae(decoder):
    """The same weights, without those that read a condition, in a plain VAE: the same latents, losses and strings."""
    model, plain = build(decoder=decoder, unconditional=0.4), build("vae", decoder, properties=2, unconditional=0.4)
    weights = {name: value for name, value in model.state_dict().items() if name in plain.state_dict()}
    for name, value in plain.state_dict().items():
        if weights[name].shape != value.shape:  # columns: (tokens or states,) z, condition
            cut = weights[name]
            assert cut.shape[1] == value.shape[1] + 6
            weights[name] = cut[:, :-6]
    plain.load_state_dict(weights)
    with torch.no_grad():
        assert torch.equal(model.encode(IDS), plain.encode(IDS))
        z = 3 * torch.randn(20, 1, 8, generator=torch_stream(1))
        assert torch.equal(write(model, z, max_length=12), write(plain, z, max_length=12))
        drawn = [
            write(m, None, temperature=1.0, generator=torch_stream(2), copies=30, max_length=12) for m in (model, plain)
        ]
        assert torch.equal(*drawn)
        assert torch.equal(model.sample_prior(5, torch_stream(3)), plain.sample_prior(5, torch_stream(3)))
        terms = [m.losses(Batch(IDS), 0, "vae", torch_stream(4)) for m in (model, plain)]
    assert set(terms[0]) == set(terms[1])
    for name, value in terms[0].items():
        torch.testing.assert_close(value, terms[1][name])


def test_without_properties_there_is_nothing_to_tell():
    model = build(properties=0)
    assert model.conditions == 0 and not [name for name, _ in model.named_parameters() if name.startswith("condition")]
    assert model.asked(Batch(IDS), torch_stream(0)) is None


# -- what training hides


def test_properties_are_masked_each_by_itself_and_now_and_then_all():
    model, n = build(masked=0.3, condition_dropout=0.2), 20_000
    values = torch.randn(n, 2, generator=torch_stream(0))
    values[:, 1] = torch.where(torch.arange(n) % 4 == 0, NAN, values[:, 1])
    shown = model.asked(Batch(IDS.expand(1, 3, 5).flatten(0, 1), properties=values), torch_stream(1))
    known = ~shown.isnan()
    assert torch.equal(shown[known], values[known]) and not bool(known[::4, 1].any())  # unknown stays unknown
    both, first, second, none = ((known[:, 0] == a) & (known[:, 1] == b) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0)))
    rest = torch.arange(n) % 4 != 0
    expected = (0.8 * 0.49, 0.8 * 0.21, 0.8 * 0.21, 0.2 + 0.8 * 0.09)
    for found, share in zip((both, first, second, none), expected, strict=True):
        assert float(found[rest].float().mean()) == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / 15_000))


def test_the_loss_is_that_of_what_was_shown():
    model = build(unconditional=0.5)
    model._noise = lambda shape, generator: torch.zeros(tuple(shape))
    model._seen = lambda n, generator: torch.tensor([True, False, True])
    shown = torch.tensor([[0.5, NAN], [NAN, -2.0], [NAN, NAN]])
    model.asked = lambda batch, generator: shown
    with torch.no_grad():
        terms = model.losses(Batch(IDS, properties=torch.zeros(3, 2)), 0, "vae", torch_stream(0))
        z = model.encode(IDS)
        z[1] = 0.0
        nll = model.nll(model.decoder(IDS[:, :-1], model.told(model.memory(z), shown)), IDS)
    torch.testing.assert_close(terms["nll"], (nll[0] + nll[2]) / 2)
    torch.testing.assert_close(terms["language_nll"], nll[1])


def test_the_parts_of_a_batch_are_told_what_the_whole_is():
    model = build(unconditional=0.5)
    batch = Batch(IDS, properties=torch.randn(3, 2, generator=torch_stream(0)))
    with torch.no_grad():
        whole = model.losses(batch, 0, "vae", torch_stream(5))["loss"]
        parts = [model.losses(batch, 0, "vae", torch_stream(5), slice(i, i + 1))["loss"] for i in range(3)]
    torch.testing.assert_close(sum(parts), whole)


# -- guidance


class Table(nn.Module):
    """A decoder whose logits are its memory, whatever was written."""

    def start(self, z, max_length):
        return {"z": z[:, 0]}

    def step(self, ids, state):
        return state["z"].clone(), state


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_guided_logits_are_on_the_line_through_free_and_told(guidance):
    told, free = torch.randn(2, 4, 1, V, generator=torch_stream(0))
    guided = Guided(Table(), guidance)
    logits, state = guided.step(torch.zeros(4, dtype=torch.long), guided.start(told, free, 5))
    torch.testing.assert_close(logits, ((1 - guidance) * free + guidance * told)[:, 0])
    # In probabilities: p(x|c)^w p(x)^(1 - w), as Ho & Salimans write it.
    powers = told[:, 0].softmax(-1) ** guidance * free[:, 0].softmax(-1) ** (1 - guidance)
    torch.testing.assert_close(logits.softmax(-1), powers / powers.sum(-1, keepdim=True))
    again, _ = guided.step(torch.zeros(4, dtype=torch.long), state)
    torch.testing.assert_close(again, logits)


@pytest.mark.parametrize("decoder", SIZES)
def test_guidance_0_writes_untold_and_1_as_told(decoder):
    model = build(decoder=decoder)
    with torch.no_grad():
        for layer in (model.decoder.head, model.condition_network[2]):
            layer.weight.mul_(8.0)  # a new network is nearly indifferent
    values = torch.tensor([[2.0, -2.0]])
    settings = {"temperature": 1.0, "copies": 40, "max_length": 12}

    def drawn(**more):
        return write(model, None, generator=torch_stream(0), **settings, **more)

    free, told = drawn(), drawn(condition=values)
    assert not torch.equal(free, told)
    assert torch.equal(drawn(condition=values, guidance=0.0), free)
    assert torch.equal(drawn(condition=values, guidance=1.0 + 1e-7), told)  # by both ways of getting there
    assert torch.equal(drawn(condition=torch.full((1, 2), NAN), guidance=3.0), free)


def test_rows_of_one_batch_keep_their_own_conditions():
    model = build()
    with torch.no_grad():
        model.decoder.head.weight.mul_(8.0)
        model.condition_network[2].weight.mul_(30.0)
    z = torch.randn(30, 1, 8, generator=torch_stream(1))
    values = 3 * torch.randn(30, 2, generator=torch_stream(2))
    together = write(model, z, max_length=12, condition=values, guidance=1.5)
    alone = [write(model, z[i : i + 1], max_length=12, condition=values[i : i + 1], guidance=1.5) for i in range(30)]
    assert torch.equal(together, torch.cat(alone)) and len({tuple(row) for row in together.tolist()}) > 5


def test_it_learns_what_a_condition_means():
    """Two strings, told apart by a property alone: after some steps each is written where its value is asked for."""
    model = build(properties=1, unconditional=0.8, masked=0.2, condition_dropout=0.0).train()
    ids = torch.tensor([[BOS, 3, 4, EOS], [BOS, 7, 8, EOS]]).repeat(16, 1)
    batch = Batch(ids, properties=torch.tensor([[-1.0], [1.0]]).repeat(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(120):
        optimizer.zero_grad()
        model.losses(batch, step, "vae", torch_stream(step))["loss"].backward()
        optimizer.step()
    model.eval()
    for value, first in ((-1.0, 3), (1.0, 7)):
        asked = {"condition": torch.tensor([[value]]), "generator": torch_stream(0), "temperature": 1.0, "copies": 50}
        shares = [float((write(model, None, guidance=w, **asked)[:, 0] == first).float().mean()) for w in (1.0, 3.0)]
        assert shares[0] > 0.9 and shares[1] >= shares[0]
    free = write(model, None, temperature=1.0, copies=200, generator=torch_stream(1))[:, 0]
    assert 0.3 < float((free == 3).float().mean()) < 0.7


# -- settings, and conditions in words


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masked": 1.0}, "masked is a share from 0 to below 1"),
        ({"condition_dropout": -0.1}, "condition_dropout is a share"),
        ({"condition": 0}, "condition must be 1 or more"),
        ({"maskd": 0.2}, "no setting 'maskd'. Did you mean 'masked'"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ConfigError, match=message):
        build(**settings)


def test_a_condition_is_read_from_text():
    assert read_condition("logP=2.5,QED=0.9") == {"logP": 2.5, "QED": 0.9}
    assert read_condition(" MW = 3e2 ") == {"MW": 300.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "condition '' is not of the form NAME=VALUE, for example logP=2.5"),
        ("logP", "condition 'logP' is not of the form"),
        ("logP=", "condition 'logP=' is not of the form"),
        ("=2", "condition '=2' is not of the form"),
        ("logP=2.5,,QED=0.9", "condition '' is not of the form"),
        ("logP=high", "condition logP = 'high' is not a number"),
        ("logP=1,logP=2", "names logP twice"),
    ],
)
def test_other_text_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        read_condition(text)


SCALES = {
    "logP": {"mean": 2.0, "sd": 0.5, "low": -1.0, "high": 6.0},
    "QED": {"mean": 0.7, "sd": 0.1, "low": 0.2, "high": 0.95},
}


def test_a_condition_is_standardised_and_the_rest_is_unknown():
    np.testing.assert_allclose(standardise({"QED": 0.9}, SCALES, "m"), [[NAN, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(standardise({"QED": 0.2, "logP": 6}, SCALES, "m"), [[8.0, -5.0]], rtol=1e-6)  # its limits


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"logp": 2.0}, "m cannot be conditioned on 'logp'. Did you mean 'logP'\\? It knows: logP, QED."),
        ({"logP": NAN}, "condition logP = nan is not a finite number"),
        ({"logP": math.inf}, "condition logP = inf is not a finite number"),
        ({"logP": "2"}, "condition logP = 2 is not a finite number"),
        ({"logP": 6.01}, "condition logP = 6.01 is outside of what m was trained on, -1 to 6"),
        ({"QED": 0.1}, "condition QED = 0.1 is outside"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused(condition, message):
    with pytest.raises(ConfigError, match=message):
        standardise(condition, SCALES, "m")


@pytest.mark.parametrize("guidance", [-0.1, NAN, math.inf])
def test_guidance_is_a_finite_number_from_0_on(guidance):
    with pytest.raises(ConfigError, match="guidance is"):
        check_guidance(guidance)


def test_target_against_achieved_leaves_unknown_values_out():
    found = achieved({"logP": [2.0, 4.0, NAN], "QED": [NAN]}, {"logP": 2.5, "QED": 0.9})
    assert (found["logP"].target, found["logP"].mean, found["logP"].mae) == (2.5, 3.0, 1.0)  # (0.5 + 1.5) / 2
    assert math.isnan(found["QED"].mae)
