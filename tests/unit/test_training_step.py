"""One step in several passes and several processes: the same losses, gradients and weights as in one."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from distributed_program import PLAN, build, run
from safetensors.torch import load_file

from molvae.errors import RunError
from molvae.files import EventLog
from molvae.models.sequence_vae import MODELS, Batch
from molvae.randomness import torch_stream
from molvae.training.distributed import Group, local_device, process_group
from molvae.training.loop import fit
from molvae.training.step import Passes, out_of_memory

TESTS = Path(__file__).parents[1]


def assert_close(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=2e-4, abs=2e-4)


@pytest.mark.parametrize("encoder", ["gru", "transformer"])
@pytest.mark.parametrize("cuts", [(0, 7), (0, 1, 2, 3, 4, 5, 6, 7), (0, 3, 4, 7)])
def test_the_parts_of_a_batch_add_up_to_the_batch(encoder, cuts):
    sizes = {"gru": {"hidden": 8, "embedding": 8}, "transformer": {"width": 8, "layers": 1, "heads": 2}}
    settings = {
        "latent": 4, "encoder": encoder, "encoder_settings": sizes[encoder], "decoder": encoder,
        "decoder_settings": sizes[encoder], "word_dropout": 0.3, "unconditional": 0.6, "properties": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    model = MODELS.build("vae", settings, 12)
    ids = torch.randint(3, 12, (7, 9), generator=torch_stream(1))
    ids[:, 0], ids[:, 8] = 1, 2
    ids[2:5, 6:] = torch.tensor([2, 0, 0])
    properties = torch.randn(7, 2, generator=torch_stream(2))
    properties[1, 0] = properties[4, 1] = torch.nan
    batch = Batch(ids, ids.flip(0), properties, torch.arange(7) == 6)

    def terms(rows):
        found = model.losses(batch, 3, "vae", torch_stream(5), rows)
        found["loss"].backward()
        return {name: float(value.detach()) for name, value in found.items()}

    whole = terms(slice(None))
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    parts = [terms(slice(a, b)) for a, b in pairwise(cuts)]
    assert {name: sum(part[name] for part in parts) for name in whole} == pytest.approx(whole, rel=1e-5)
    assert set(whole) == {"loss", "nll", "rate", "language_nll", "property_mse"}
    for p, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-5)


def test_an_extra_molecule_is_always_read():
    torch.manual_seed(0)
    model = MODELS.build("vae", {"latent": 4, "unconditional": 0.9}, 12)
    ids = torch.tensor([[1, 4, 5, 2]]).repeat(50, 1)
    read = []
    posterior = model.posterior
    model.posterior = lambda ids: read.append(len(ids)) or posterior(ids)
    model.losses(Batch(ids), 0, "vae", torch_stream(0))
    model.losses(Batch(ids, extra=torch.arange(50) >= 10), 0, "vae", torch_stream(0))
    assert read[0] < 20 and 40 < read[1] < 50


@pytest.mark.parametrize("plan", [{"batch_size": 5, "accumulate": 4}, {"batch_size": 7, "accumulate": 2}])
def test_accumulated_batches_are_one_large_batch(tmp_path, plan):
    size = plan["batch_size"] * plan["accumulate"]
    whole = run(tmp_path / "whole", replace(PLAN, batch_size=size, evaluate_every=10**9))
    parts = run(tmp_path / "parts", replace(PLAN, **plan, evaluate_every=10**9))
    assert_close(parts, whole)
    one, other = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-2, atol=2e-3)


# -- memory


def running_out(model, most: int, error: type[Exception] = torch.OutOfMemoryError):
    """The model's losses on a machine with memory for `most` molecules; returns the sizes of the passes tried."""
    losses, tried = model.losses, []

    def limited(batch, step, player, generator, rows=slice(None)):
        tried.append(len(batch.ids[rows]))
        if tried[-1] > most:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return losses(batch, step, player, generator, rows)

    model.losses = limited
    return tried


def test_a_step_that_runs_out_of_memory_is_done_again_in_smaller_passes(tmp_path, caplog):
    plan = replace(PLAN, batch_size=20, evaluate_every=100)
    expected = run(tmp_path / "whole", plan)
    model, examples = build()
    tried = running_out(model, 9)
    steps = []
    fit(
        model, examples, plan, tmp_path / "small",
        evaluate=lambda *_: {"nll": 1.0}, progress=lambda done, total, terms: steps.append(dict(terms)),
    )  # fmt: skip
    assert tried[:7] == [8, 20, 10, 5, 5, 5, 5]  # the 8 are to count operations
    assert max(tried[7:]) == 5
    assert_close(steps, expected)
    assert "memory ran out at step 0: passes of 5 molecules from now on; a step stays 20 molecules" in caplog.text
    looks = [e for e in EventLog(tmp_path / "small" / "events.jsonl").read() if e["event"] == "evaluation"]
    assert looks[-1]["molecules_a_pass"] == 5


def test_memory_for_less_than_a_molecule_ends_the_run():
    model, examples = build()
    running_out(model, 0)
    passes = Passes(model, model.losses, PLAN, Group())
    with torch.random.fork_rng(), pytest.raises(RunError, match=r"with one molecule a pass\. Choose a smaller model"):
        passes.gradients(examples.batch(torch.arange(4)), 0, "vae", list(model.parameters()))


def test_only_lack_of_memory_is_a_reason_to_try_again():
    assert out_of_memory(torch.OutOfMemoryError("x"))
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    model, examples = build()
    running_out(model, 0, ValueError)
    with torch.random.fork_rng(), pytest.raises(ValueError):
        Passes(model, model.losses, PLAN, Group()).gradients(
            examples.batch(torch.arange(4)), 0, "vae", list(model.parameters())
        )


# -- processes


def test_two_processes_learn_what_one_does_with_the_double_batch(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(TESTS / "distributed_program.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"losses-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # all processes know the same
    # A thread of the group that is still there when Python winds up would abort the process, once in a while.
    threads = [json.loads((tmp_path / f"threads-{rank}.json").read_text()) for rank in (0, 1)]
    assert not [name for of in threads for name in of if "gloo" in name]
    assert_close(first, run(tmp_path / "alone", replace(PLAN, batch_size=20)))
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("alone", "0"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-2, atol=2e-3)
    assert not (tmp_path / "1").exists()  # only the first writes
    started = [e for e in EventLog(tmp_path / "0" / "events.jsonl").read() if e["event"] == "train"]
    assert len(started) == 1 and started[0]["processes"] == 2 and started[0]["settings"]["accumulate"] == 2


def test_shares_of_a_batch_are_disjoint_and_complete():
    for n in (1, 2, 7, 256):
        for size in (1, 2, 3, 8):
            rows = [row for rank in range(size) for row in range(n)[Group(rank, size).share(n)]]
            assert rows == list(range(n))


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group(torch.device("cpu")) as group:
        assert group == Group(0, 1) and group.is_first and group.agree(True, torch.device("cpu"))
        assert group.share(5) == slice(0, 5)
        with group.first_goes_first():
            pass
    assert local_device("cpu") == "cpu"


def test_an_unreachable_group_is_told_in_a_sentence(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "no port"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="cannot be reached"), process_group(torch.device("cpu")):
        pass
