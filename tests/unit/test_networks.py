"""Encoders and decoders: pooling and reversal by hand, masks, cached states, sizes. Pairings are in the contract test."""

import math

import pytest
import torch
from torch import nn

from molvae.errors import ConfigError
from molvae.models.networks import DECODERS, ENCODERS, Attention, keep_rows, pool, positions, reversal
from molvae.models.sequence_vae import MODELS
from molvae.strings.tokens import BOS, EOS, PAD

V, D = 20, 6
SMALL = {"gru": {"embedding": 8, "hidden": 12}, "transformer": {"width": 16, "layers": 2, "heads": 2}}


def ids(rows):
    width = max(map(len, rows)) + 2
    return torch.tensor([[BOS, *row, EOS] + [PAD] * (width - 2 - len(row)) for row in rows])


ROWS = ids([[5, 6, 7, 8, 9], [5], [10, 11, 12], [3, 3]])


def test_pool_by_hand():
    states = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]]])
    mask = torch.tensor([[True, True, False]])
    # mean (2, -3), maximum (3, -2), first (1, -4), last real (3, -2)
    assert pool(states, mask).tolist() == [[2.0, -3.0, 3.0, -2.0, 1.0, -4.0, 3.0, -2.0]]


def test_reversal_turns_the_real_tokens_and_leaves_the_padding():
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    assert reversal(mask).tolist() == [[2, 1, 0, 3], [3, 2, 1, 0]]


def test_the_gru_encoder_is_torchs_bidirectional_gru():
    torch.manual_seed(0)
    encoder = ENCODERS.build("gru", {**SMALL["gru"], "layers": 2}, V)
    reference = nn.GRU(8, 12, num_layers=2, bidirectional=True, batch_first=True)
    weights = {}
    for layer, (ahead, behind) in enumerate(zip(encoder.forward_layers, encoder.backward_layers, strict=True)):
        weights |= {k.replace("l0", f"l{layer}"): v for k, v in ahead.gru.state_dict().items()}
        weights |= {k.replace("l0", f"l{layer}") + "_reverse": v for k, v in behind.gru.state_dict().items()}
    reference.load_state_dict(weights)
    mask = ROWS != PAD
    packed = nn.utils.rnn.pack_padded_sequence(encoder.embedding(ROWS), mask.sum(1), True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], True)
    torch.testing.assert_close(encoder(ROWS), pool(states, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_gru_encoder_reads_the_same_without_gradients(layers):
    torch.manual_seed(1)
    encoder = ENCODERS.build("gru", {**SMALL["gru"], "layers": layers}, V).eval()
    with torch.no_grad():
        read = encoder(ROWS)
    torch.testing.assert_close(read, encoder(ROWS).detach(), rtol=1e-5, atol=1e-5)


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours = Attention(16, 4)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, source = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    hidden = torch.arange(7)[None] >= torch.tensor([7, 4, 1])[:, None]
    result = ours(x, *ours.keys_values(source), mask=~hidden[:, None, None])
    torch.testing.assert_close(result, theirs(x, source, source, key_padding_mask=hidden)[0], rtol=1e-5, atol=1e-6)


def test_position_codes_are_the_papers():
    code = positions(10, 6, torch.device("cpu"))
    for pos in range(10):
        for i in range(3):  # Vaswani et al. 2017, section 3.5
            angle = pos / 10_000 ** (2 * i / 6)
            assert code[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert code[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert positions(4, 5, torch.device("cpu")).shape == (4, 5)


@pytest.mark.parametrize("name", ENCODERS.names())
def test_an_encoder_sees_every_real_token_and_no_padding(name):
    torch.manual_seed(0)
    encoder = ENCODERS.build(name, SMALL[name], V).eval()
    summary = encoder(ROWS)
    assert summary.shape == (len(ROWS), encoder.summary_size)
    torch.testing.assert_close(encoder(nn.functional.pad(ROWS, (0, 9))), summary, rtol=1e-5, atol=1e-5)
    alone = torch.cat([encoder(row[row != PAD][None]) for row in ROWS])
    torch.testing.assert_close(alone, summary, rtol=1e-5, atol=1e-5)
    for column in range(1, 6):
        changed = ROWS.clone()
        changed[0, column] += 7
        assert (encoder(changed)[0] - summary[0]).abs().max() > 1e-3
    swapped = ROWS.clone()
    swapped[0, 2], swapped[0, 3] = ROWS[0, 3], ROWS[0, 2]
    assert (encoder(swapped)[0] - summary[0]).abs().max() > 1e-3  # order counts


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("latent_tokens", [1, 3])
@pytest.mark.parametrize("name", DECODERS.names())
def test_a_decoder_is_causal_and_stepwise_equal(name, latent_tokens, layers):
    torch.manual_seed(0)
    decoder = DECODERS.build(name, {**SMALL[name], "layers": layers}, V, latent_tokens, D).eval()
    z = torch.randn(len(ROWS), latent_tokens, D)
    logits = decoder(ROWS, z)
    assert logits.shape == (*ROWS.shape, V)
    changed = ROWS.clone()
    changed[:, 4] = 17
    torch.testing.assert_close(decoder(changed, z)[:, :4], logits[:, :4], rtol=1e-5, atol=1e-5)
    assert (decoder(changed, z)[:, 4] - logits[:, 4]).abs().max() > 1e-3
    assert (decoder(ROWS, z + 1) - logits).abs().max() > 1e-3  # z is heard
    state = decoder.start(z, ROWS.shape[1])
    for t in range(ROWS.shape[1]):
        step, state = decoder.step(ROWS[:, t], state)
        torch.testing.assert_close(step, logits[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS.names())
def test_kept_rows_go_on_as_if_nothing_had_left(name):
    torch.manual_seed(0)
    decoder = DECODERS.build(name, SMALL[name], V, 1, D).eval()
    z, rows = torch.randn(len(ROWS), 1, D), torch.tensor([2, 0])
    expected = decoder(ROWS, z)
    state = decoder.start(z, ROWS.shape[1])
    for t in range(3):
        _, state = decoder.step(ROWS[:, t], state)
    state = keep_rows(state, rows)
    for t in range(3, ROWS.shape[1]):
        step, state = decoder.step(ROWS[rows, t], state)
        torch.testing.assert_close(step, expected[rows, t], rtol=1e-4, atol=1e-5)


def test_dropout_acts_only_while_training():
    for registry, given in ((ENCODERS, ()), (DECODERS, (1, D))):
        for name in registry:
            torch.manual_seed(0)
            network = registry.build(name, {**SMALL[name], "dropout": 0.5}, V, *given)
            call = (ROWS,) if registry is ENCODERS else (ROWS, torch.randn(len(ROWS), 1, D))
            assert (network(*call) - network(*call)).abs().max() > 1e-3
            network.eval()
            assert torch.equal(network(*call), network(*call))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"latent": 0}, "latent must be 1 or more, not 0"),
        ({"latent": "wide"}, "latent must be a whole number"),
        ({"encoder": "lstm"}, "no encoder named 'lstm'"),
        ({"encoder_settings": {"hidden": -1}}, "hidden must be 1 or more"),
        ({"decoder_settings": {"hiden": 9}}, "no setting 'hiden'. Did you mean 'hidden'"),
        ({"decoder": "transformer", "decoder_settings": {"width": 10, "heads": 4}}, "width must be a multiple of heads"),
        ({"encoder": "transformer", "encoder_settings": {"layers": 0}}, "layers must be 1 or more"),
        ({"kl_weight": "fixd"}, "Did you mean 'fixed'"),
        ({"word_dropout": 1.0}, "word_dropout is a share"),
        ({"unconditional": -0.1}, "unconditional is a share"),
    ],
)
def test_sizes_that_make_no_network_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        MODELS.build("vae", settings, V)
