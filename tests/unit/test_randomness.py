"""Named child streams: the same name gives the same numbers, another name others, and nothing global moves."""

import random

import numpy as np
import torch

from molvae.randomness import child_seed, stream, torch_stream


def test_the_same_path_gives_the_same_numbers():
    assert (stream(7, "optimize", 3).random(5) == stream(7, "optimize", 3).random(5)).all()
    assert torch.equal(torch.rand(5, generator=torch_stream(7, "a", 1)), torch.rand(5, generator=torch_stream(7, "a", 1)))


def test_seed_name_and_number_all_count():
    paths = [(s, *p) for s in (0, 1) for p in [(), ("a",), ("a", 0), ("a", 1), ("b", 0), ("a", 0, 0), (0, "a")]]
    assert len({child_seed(*p) for p in paths}) == len(paths)
    assert all(0 <= child_seed(*p) < 2**63 for p in paths)


def test_child_seeds_do_not_change_between_releases():
    # `printf 5/optimize/3 | b2sum -l 64` prints 991319312d7036b2; a seed is that without its lowest bit.
    assert child_seed(5, "optimize", 3) == 0x991319312D7036B2 >> 1
    assert child_seed(np.int64(5), "optimize", np.int32(3)) == child_seed(5, "optimize", 3)


def test_streams_look_independent():
    draws = np.stack([stream(0, "worker", i).standard_normal(2000) for i in range(20)])
    correlation = np.corrcoef(draws) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)  # 5 sigma; there are 190 pairs


def test_global_states_do_not_move():
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    stream(1, "x").random(3)
    torch.rand(3, generator=torch_stream(1, "x"))
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
