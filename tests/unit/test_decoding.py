"""Choosing and writing tokens: distributions checked by counting, and rows that stop alone as they would together."""

import numpy as np
import pytest
import torch
from torch import nn

from molvae.errors import ConfigError
from molvae.models.decoding import choose, strings, write
from molvae.models.sequence_vae import MODELS
from molvae.randomness import torch_stream
from molvae.strings.tokens import BOS, CUT, EOS, PAD, Vocabulary

# Probabilities of ids 0..6; padding and begin would win if they could.
PROBABILITY = torch.tensor([0.0, 0.0, 0.5, 0.25, 0.15, 0.08, 0.02])
LOGITS = PROBABILITY.log()
LOGITS[[PAD, BOS]] = 9.0
N = 20_000


def frequencies(temperature, top_p):
    drawn = choose(LOGITS.expand(N, -1), temperature, top_p, torch_stream(0, temperature, top_p))
    return np.bincount(drawn.numpy(), minlength=7) / N


def assert_distribution(found, expected):
    expected = np.asarray(expected) / np.sum(expected)
    error = 5 * np.sqrt(expected * (1 - expected) / N)  # five standard errors of a binomial share
    assert (np.abs(found - expected) <= error).all(), (found, expected)


def test_greedy_takes_the_likeliest_but_never_padding_or_begin():
    assert choose(LOGITS[None], 0.0, 1.0, None).tolist() == [EOS]


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_temperature_raises_probabilities_to_its_inverse(temperature):
    assert_distribution(frequencies(temperature, 1.0), PROBABILITY.numpy() ** (1 / temperature))


@pytest.mark.parametrize(
    "top_p, nucleus",
    [(0.3, [2]), (0.5, [2]), (0.51, [2, 3]), (0.76, [2, 3, 4]), (0.95, [2, 3, 4, 5]), (0.999, [2, 3, 4, 5, 6])],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p, nucleus):
    expected = np.zeros(7)
    expected[nucleus] = PROBABILITY.numpy()[nucleus]
    assert_distribution(frequencies(1.0, top_p), expected)


def test_the_nucleus_is_taken_after_the_temperature():
    # At temperature 0.5 the shares are as 0.25 : 0.0625 : 0.0225 : ..., so 0.9 needs the first two only (0.918).
    assert (frequencies(0.5, 0.9) > 0).tolist() == [False, False, True, True, False, False, False]


def test_draws_repeat_with_the_generator():
    logits = torch.randn(50, 30, generator=torch_stream(1))
    draws = [choose(logits, 1.0, 0.9, torch_stream(2, s)).tolist() for s in ("a", "a", "b")]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("settings", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_what_makes_no_distribution_is_refused(settings):
    model = MODELS.build("vae", {"latent": 4}, 8)
    with pytest.raises(ConfigError, match="temperature must be 0 or more and top_p in"):
        write(model, torch.zeros(1, 1, 4), **settings)


# -- writing


class Counter(nn.Module):
    """A decoder whose state is a number: it writes the token 3 as often as z says, then the end token."""

    def start(self, z, max_length):
        self.asked = []
        return {"left": z[:, 0, 0].clone()}

    def step(self, ids, state):
        self.asked.append(len(ids))
        logits = torch.zeros(len(ids), 5)
        logits[:, 3] = (state["left"] > 0.5) * 2.0 - 1.0
        logits[:, EOS] = -logits[:, 3]
        return logits, {"left": state["left"] - 1.0}


@pytest.fixture
def counter():
    model = MODELS.build("vae", {"latent": 1}, 5)
    model.decoder = Counter()
    return model


def test_rows_stop_alone_and_leave_the_batch(counter):
    counts = [3, 0, 5, 1, 3]
    written = write(counter, torch.tensor(counts, dtype=torch.float32)[:, None, None], max_length=8)
    assert written.tolist() == [[3] * n + [EOS] + [PAD] * (7 - n) for n in counts]
    assert counter.decoder.asked == [5, 4, 3, 3, 1, 1]  # nobody is asked after its end, and nothing after the last


def test_a_row_that_does_not_end_is_cut_and_says_so(counter):
    written = write(counter, torch.tensor([2.0, 9.0])[:, None, None], max_length=4)
    assert written.tolist() == [[3, 3, EOS, PAD], [3, 3, 3, 3]]
    vocabulary = Vocabulary(["[C]", "[O]"])
    assert strings(vocabulary, written) == ["[C][C]", "[C][C][C][C]" + CUT]
    assert [vocabulary.derive(s).faithful for s in strings(vocabulary, written)] == [True, False]


def test_nothing_is_written_for_no_rows(counter):
    assert write(counter, torch.zeros(0, 1, 1), max_length=4).shape == (0, 4)


@pytest.mark.parametrize("kind, size", [("gru", {"hidden": 48}), ("transformer", {"width": 32, "heads": 2})])
def test_a_batch_writes_what_each_row_writes_alone(kind, size):
    torch.manual_seed(3)
    model = MODELS.build("vae", {"latent": 4, "decoder": kind, "decoder_settings": {"layers": 2, **size}}, 12).eval()
    with torch.no_grad():
        model.decoder.head.weight.mul_(8.0)  # a new network is nearly indifferent; this makes it write various lengths
    z = 2 * torch.randn(40, 1, 4)
    together = write(model, z, max_length=20)
    alone = torch.cat([write(model, row[None], max_length=20) for row in z])
    ends = (together == EOS).any(1)
    assert len({tuple(row) for row in together.tolist()}) > 5 and 0 < int(ends.sum()) < 40
    assert torch.equal(together, alone)


@pytest.mark.parametrize("kind, size", [("gru", {"hidden": 48}), ("transformer", {"width": 32, "heads": 2})])
def test_copies_are_drawn_as_rows_of_the_same_latent_are(kind, size):
    torch.manual_seed(5)
    model = MODELS.build("vae", {"latent": 4, "decoder": kind, "decoder_settings": size}, 12).eval()
    with torch.no_grad():
        model.decoder.head.weight.mul_(4.0)
    z = torch.randn(3, 1, 4)
    copies = write(model, z, temperature=1.0, generator=torch_stream(6), max_length=15, copies=20)
    rows = write(model, z.repeat_interleave(20, 0), temperature=1.0, generator=torch_stream(6), max_length=15)
    assert torch.equal(copies, rows) and len({tuple(row) for row in copies.tolist()}) > 20


def test_greedy_writing_maximises_each_step_of_teacher_forcing():
    torch.manual_seed(4)
    model = MODELS.build("vae", {"latent": 4}, 12).eval()
    with torch.no_grad():
        model.decoder.head.weight.mul_(8.0)
    z = torch.randn(20, 1, 4)
    written = write(model, z, max_length=15)
    with torch.no_grad():
        logits = model.decoder(torch.cat([torch.full((20, 1), BOS), written[:, :-1]], 1), z)
    logits[..., [PAD, BOS]] = float("-inf")
    real = torch.cat([torch.ones(20, 1, dtype=torch.bool), (written != EOS).cumprod(1)[:, :-1].bool()], 1)
    assert torch.equal(logits.argmax(-1)[real], written[real])
