"""The training loop: formulas by hand, exact resume after Ctrl-C and after SIGKILL, and refusals."""

import math
import os
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_program import SETTINGS, build

from molvae.data.datasets import TokenTable, tokenise
from molvae.errors import CheckpointError, CollapsedModel, ConfigError, DivergedModel
from molvae.files import EventLog
from molvae.models.sequence_vae import MODELS
from molvae.randomness import child_seed, torch_stream
from molvae.training.experiment import health
from molvae.training.loop import (
    Examples,
    TrainSettings,
    TrainState,
    autocast,
    batches_from,
    fit,
    held_out_score,
    uninterrupted,
)
from molvae.training.record import CollapseWatch, Record

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def uninterrupted_run(tmp_path_factory):
    """State file and weights of the program's training without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    model = fit(*build(), SETTINGS, folder)
    return load_file(folder / "state.safetensors"), model.state_dict()


def assert_same_run(folder, model, expected):
    tensors, weights = expected
    found = load_file(folder / "state.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], v) for k, v in tensors.items())  # weights, averages, moments: bit for bit
    assert all(torch.equal(model.state_dict()[k], v) for k, v in weights.items())


# -- formulas


def test_the_learning_rate_warms_up_holds_and_falls_as_a_cosine():
    plan = TrainSettings(molecules=1000, batch_size=10, learning_rate=0.2, warmup=10, decay=0.5)
    assert plan.steps == 100
    assert plan.rate_at(0) == pytest.approx(0.02) and plan.rate_at(4) == pytest.approx(0.1)
    assert plan.rate_at(9) == plan.rate_at(30) == plan.rate_at(50) == 0.2
    for step in range(50, 100):
        assert plan.rate_at(step) == pytest.approx(0.1 * (1 + math.cos(math.pi * (step - 50) / 50)))
    assert plan.rate_at(75) == pytest.approx(0.1) and 0 < plan.rate_at(99) < 0.001
    assert replace(plan, decay=0.0).rate_at(99) == 0.2 and replace(plan, warmup=0).rate_at(0) == 0.2


def test_a_part_of_a_batch_is_a_step():
    assert TrainSettings(molecules=101, batch_size=10).steps == 11


@pytest.mark.parametrize(
    "setting",
    [
        {"molecules": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"warmup": -1}, {"decay": 1.5}, {"clip": 0.0},
        {"ema": 1.0}, {"precision": "float16"}, {"weight_decay": -0.1}, {"accumulate": 0}, {"patience": -1},
        {"evaluate_every": 0}, {"save_every": -1.0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(setting):
    (name, value), *_ = setting.items()
    with pytest.raises(ConfigError, match=rf"\[training\] {name} cannot be"):
        TrainSettings(**{name: value})


def test_averaged_weights_follow_their_recurrence():
    model, _ = build()
    state = TrainState(model, SETTINGS)
    name, parameter = next(iter(model.named_parameters()))
    expected, draw = parameter.detach().double().clone(), torch_stream(0)
    for step in range(1, 40):
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=draw))
        state.step = step
        state.average(0.9)
        d = min(0.9, (1 + step) / (10 + step))  # shorter memory at first, as in TensorFlow's ExponentialMovingAverage
        expected = d * expected + (1 - d) * parameter.detach().double()
        torch.testing.assert_close(state.averaged[name].double(), expected, rtol=1e-4, atol=1e-5)
    before = parameter.detach().clone()
    with pytest.raises(RuntimeError), state.averaged_weights():
        torch.testing.assert_close(parameter.detach(), state.averaged[name])
        raise RuntimeError  # what happens inside must not leave the averages in the model
    assert torch.equal(parameter, before)


def test_the_first_step_is_adamws(tmp_path):
    """One step of fit against AdamW's formula (Loshchilov & Hutter 2019, algorithm 2) with the clipped gradient."""
    model, examples = build()
    model.eval()  # fit puts it in training mode; the reference below does the same with the same streams
    plan = replace(SETTINGS, molecules=20, warmup=0, decay=0.0, clip=0.5, weight_decay=0.1, ema=0.0)
    reference, _ = build()
    reference.train()
    rows = next(batches_from(examples.table, plan, 0))
    with torch.random.fork_rng():
        torch.manual_seed(child_seed(plan.seed, "dropout", 0))
        batch = examples.batch(rows, torch_stream(plan.seed, "writing", 0))
        reference.losses(batch, 0, "vae", torch_stream(plan.seed, "noise", 0))["loss"].backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in reference.parameters()))
    assert norm > 0.5
    expected = {}
    for name, p in reference.named_parameters():
        g = p.grad * 0.5 / (norm + 1e-6)
        expected[name] = p.detach() * (1 - 3e-3 * 0.1) - 3e-3 * g / (g.abs() + 1e-8)  # bias-corrected moments of one step
    heard = []
    fit(model, examples, plan, tmp_path, progress=lambda done, total, terms: heard.append((done, total, dict(terms))))
    state = load_file(tmp_path / "state.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(state[f"model.{name}"], value.detach(), rtol=1e-4, atol=2e-5)
    assert heard[0][:2] == (20, 20) and heard[0][2]["gradient_norm"] == pytest.approx(norm, rel=1e-4)


# -- what is shown


def test_batches_go_on_where_a_run_stopped():
    table = TokenTable.from_rows([[3] * n for n in range(1, 24)])
    plan = TrainSettings(molecules=1000, batch_size=5, seed=1)
    whole = [b.tolist() for b, _ in zip(batches_from(table, plan, 0), range(25), strict=False)]
    for step in (1, 4, 5, 13):
        later = [b.tolist() for b, _ in zip(batches_from(table, plan, step), range(25 - step), strict=False)]
        assert later == whole[step:]
    for epoch in range(5):
        assert sorted(row for batch in whole[5 * epoch : 5 * epoch + 5] for row in batch) == list(range(23))
    assert whole[:5] != whole[5:10]


def test_a_batch_takes_another_writing_half_the_time():
    data = tokenise([f"CC(C)CC{'C' * (i % 7)}O" for i in range(7)], words=0, randomised=3, seed=2)
    examples = Examples(data.table, data.sources)
    assert examples.writings == 4
    rows, kept, drawn = torch.arange(7), 0, 300
    for i in range(drawn):
        batch = examples.batch(rows, torch_stream(0, i))
        own = [data.vocabulary.text(row) for row in batch.ids.tolist()]
        read = [data.vocabulary.text(row) for row in batch.source.tolist()]
        for k in range(7):
            block = data.sources.batch(torch.arange(4 * k, 4 * k + 4)).tolist()
            assert read[k] in [data.vocabulary.text(row) for row in block]  # a writing of the same molecule
            kept += read[k] == own[k]
    writings = [data.vocabulary.text(row) for row in data.sources.batch(torch.arange(28)).tolist()]
    same = sum(writings[i] == writings[i - i % 4] for i in range(28) if i % 4) / 21  # some random ones are the canonical one
    assert kept / (7 * drawn) == pytest.approx(0.5 + 0.5 * same, abs=5 * 0.5 / math.sqrt(7 * drawn))
    assert examples.batch(rows).source is None


def test_selected_examples_keep_what_belongs_together():
    data = tokenise(["CCO", "CCCO", "CCCCO", "CCN"], words=0, randomised=2)
    properties = torch.arange(8.0).view(4, 2)
    chosen = Examples(data.table, data.sources, properties).select(torch.tensor([2, 0]))
    assert len(chosen) == 2 and chosen.writings == 3
    assert chosen.properties.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    smiles = [data.vocabulary.decode(row).smiles for row in chosen.sources.batch(torch.arange(6)).tolist()]
    assert smiles == ["CCCCO"] * 3 + ["CCO"] * 3
    batch = chosen.batch(torch.tensor([1]))
    assert batch.properties.tolist() == [[0.0, 1.0]] and data.vocabulary.decode(batch.ids[0].tolist()).smiles == "CCO"


# -- resume


@pytest.mark.parametrize("stop", [1, 3, 17, 39])
def test_an_interrupted_run_ends_with_the_same_bits(uninterrupted_run, tmp_path, stop):
    steps = []

    def interrupt(done, total, terms):
        steps.append(done // SETTINGS.batch_size)
        if len(steps) == stop:
            raise KeyboardInterrupt

    model, examples = build()
    with pytest.raises(KeyboardInterrupt):
        fit(model, examples, replace(SETTINGS, save_every=1e9), tmp_path, progress=interrupt)
    model, examples = build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # whatever a new process starts from
    finished = fit(model, examples, SETTINGS, tmp_path, progress=lambda done, *_: steps.append(done // SETTINGS.batch_size))
    assert steps == list(range(1, SETTINGS.steps + 1))  # every step once
    assert_same_run(tmp_path, finished, uninterrupted_run)


def test_a_killed_run_ends_with_the_same_bits(uninterrupted_run, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen([sys.executable, str(TESTS / "training_program.py"), str(tmp_path), "150"], env=environment)
    state = tmp_path / "state.safetensors"
    limit = time.monotonic() + 60
    while not state.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.4)  # a few steps more; each is saved
    program.send_signal(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    model, examples = build()
    finished = fit(model, examples, SETTINGS, tmp_path)
    started = [e["step"] for e in EventLog(tmp_path / "events.jsonl").read() if e["event"] == "train"]
    assert started[0] == 0 and 0 < started[1] < SETTINGS.steps  # it was killed on the way, and went on
    assert_same_run(tmp_path, finished, uninterrupted_run)


def test_more_molecules_train_a_finished_run_on(tmp_path):
    model, examples = build()
    fit(model, examples, replace(SETTINGS, molecules=100), tmp_path)
    seen = []
    model, examples = build()
    fit(model, examples, replace(SETTINGS, molecules=200), tmp_path, progress=lambda done, *_: seen.append(done))
    assert seen == [120, 140, 160, 180, 200]


def test_ctrl_c_waits_for_the_end_of_a_step():
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            done.append(1)
    assert len(done) == 1000
    with pytest.raises(KeyboardInterrupt):  # and outside it works as ever
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_training_leaves_the_global_random_state_alone(tmp_path):
    before = torch.get_rng_state()
    model, examples = build()
    during = torch.get_rng_state()  # the test's own seeding of the first weights
    fit(model, examples, replace(SETTINGS, molecules=60), tmp_path)
    assert torch.equal(torch.get_rng_state(), during)
    torch.set_rng_state(before)


# -- evaluation and the end


def test_evaluation_sees_averaged_weights_and_its_numbers_are_logged(tmp_path):
    seen = []
    model, examples = build()

    def evaluate(model, molecules):
        assert not model.training
        seen.append((molecules, {k: v.clone() for k, v in model.state_dict().items()}))
        return {"active_units": 8, "nll": 1.5}

    plan = replace(SETTINGS, molecules=100, evaluate_every=40)
    published = []
    finished = fit(model, examples, plan, tmp_path, evaluate=evaluate, publish=lambda model, seen: published.append(seen))
    assert [molecules for molecules, _ in seen] == [40, 80, 100] == published
    assert all(torch.equal(finished.state_dict()[k], v) for k, v in seen[-1][1].items())
    events = [e for e in EventLog(tmp_path / "events.jsonl").read() if e["event"] == "evaluation"]
    assert [e["molecules"] for e in events] == [40, 80, 100]
    for event in events:
        assert event["active_units"] == 8 and event["nll"] == 1.5 and event["molecules_per_second"] > 0
        assert {"loss", "nll", "rate", "beta", "gradient_norm"} <= event["step_terms"].keys()
        assert 0 < event["matmul_share"] < 1 and event["matmul_ceiling_tflops"] > 0 and event["peak_memory_mib"] > 50


def told(scores: list[float]):
    """An evaluation that gives these scores one after the other, and keeps the weights that it saw."""
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(model, molecules):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"nll": scores[min(molecules // 20, len(scores)) - 1], "active_units": 8}

    return evaluate, seen


def test_training_stops_when_patience_ends_and_keeps_the_best_weights(tmp_path):
    evaluate, seen = told([5.0, 4.0, 3.0, 3.5, float("nan"), 3.0, 1.0, 1.0])
    plan = replace(SETTINGS, evaluate_every=20, patience=3)
    published, heard = [], []
    model = fit(
        *build(), plan, tmp_path,
        evaluate=evaluate, publish=lambda _, n: published.append(n), evaluated=lambda n, found: heard.append(n),
    )  # fmt: skip
    assert published == [20, 40, 60]  # only what is better than all before
    assert heard == [20, 40, 60, 80, 100, 120]  # an equal score is no improvement, nor is NaN
    assert all(torch.equal(value, seen[2][name]) for name, value in model.state_dict().items())
    best = EventLog(tmp_path / "events.jsonl").read()[-1]
    assert best["event"] == "best" and best["held_out_score"] == 3.0 and best["evaluations_since"] == 3
    evaluate, _ = told([0.0])
    again = fit(*build(), plan, tmp_path, evaluate=evaluate)  # a run that is over stays over
    assert all(torch.equal(value, seen[2][name]) for name, value in again.state_dict().items())
    with pytest.raises(ConfigError, match="patience needs an evaluation"):
        fit(*build(), plan, tmp_path / "other")


@pytest.mark.parametrize("stop", [2, 3, 4, 5])
@pytest.mark.parametrize("where", ["step", "evaluation"])
def test_early_stopping_goes_on_as_if_it_had_not_been_interrupted(tmp_path, stop, where):
    scores = [5.0, 3.0, 4.0, 4.0, 2.0, 4.0, 4.0, 4.0]
    plan = replace(SETTINGS, evaluate_every=20, patience=3, save_every=1e9)
    whole = fit(*build(), plan, tmp_path / "whole", evaluate=told(scores)[0])
    calls = []

    def interrupt(*arguments):
        calls.append(arguments)
        if len(calls) == stop:
            raise KeyboardInterrupt

    evaluate, _ = told(scores)

    def interrupted_evaluation(model, molecules):
        interrupt()
        return evaluate(model, molecules)

    options = {"evaluate": evaluate, "progress": interrupt} if where == "step" else {"evaluate": interrupted_evaluation}
    with pytest.raises(KeyboardInterrupt):
        fit(*build(), plan, tmp_path / "parts", **options)
    parts = fit(*build(), plan, tmp_path / "parts", evaluate=evaluate)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in parts.state_dict().items())
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_what_is_watched_is_what_is_trained():
    model, _ = build()
    assert held_out_score(model, {"nll": 4.0, "language_nll": 30.0}) == 4.0  # it never writes without z
    model.unconditional = 0.25
    assert held_out_score(model, {"nll": 4.0, "language_nll": 30.0}) == 0.75 * 4.0 + 0.25 * 30.0
    assert held_out_score(model, {"nll": 4.0}) == 4.0 and math.isnan(held_out_score(model, {}))


def test_a_collapse_is_told_early_and_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("molvae.training.loop.QUIET_STEPS", 10)
    model, examples = build()
    losses = model.losses

    def empty(*arguments):
        terms = losses(*arguments)
        return {**terms, "rate": terms["rate"] * 1e-3}

    model.losses = empty
    plan = replace(SETTINGS, molecules=20 * 20, evaluate_every=40)
    fit(model, examples, plan, tmp_path, evaluate=lambda *_: {"active_units": 2})
    warned = [e for e in EventLog(tmp_path / "events.jsonl").read() if e["event"] == "collapse warning"]
    assert [e["step"] for e in warned] == [10] and "its rate is 0.0" in warned[0]["reason"]
    assert caplog.text.count("the latent space may be collapsing: its rate is") == 1


def test_few_active_units_are_told_early_but_not_at_once(tmp_path):
    watch = CollapseWatch(quiet_steps=3, min_active_units=2)
    assert watch.look({"active_units": 0}) == ""
    assert [watch.hear(50.0) for _ in range(5)] == [""] * 5
    assert watch.look({"active_units": 2}) == "" and watch.look({}) == ""
    assert watch.look({"active_units": 1}) == "it has 1 active units" and watch.look({"active_units": 1}) == ""


@pytest.mark.parametrize("every", [20, 40, 10**9])
def test_a_collapsed_model_is_told_at_the_end(tmp_path, every):
    model, examples = build()
    plan = replace(SETTINGS, molecules=80, evaluate_every=every)
    with pytest.raises(CollapsedModel, match=r"the model collapsed: 1 active units, rate 0.20 nats.*rate_target"):
        fit(model, examples, plan, tmp_path, evaluate=lambda *_: {"active_units": 1, "rate": 0.2})
    assert EventLog(tmp_path / "events.jsonl").read()[-1]["event"] == "collapsed"
    with pytest.raises(CollapsedModel):  # running it again does not make it whole
        fit(*build(), plan, tmp_path, evaluate=lambda *_: {"active_units": 1, "rate": 0.2})


def test_a_model_without_information_in_z_really_collapses(tmp_path, monkeypatch):
    monkeypatch.setattr("molvae.training.experiment.PRIOR_SAMPLES", 20)
    data = tokenise(["C" * n + "O" for n in range(1, 21)], words=0)
    torch.manual_seed(0)
    small = {"hidden": 12, "embedding": 6}
    settings = {"latent": 4, "encoder_settings": small, "decoder_settings": small}
    heavy = {"kl_weight": "fixed", "kl_settings": {"beta": 50.0}}
    model = MODELS.build("vae", {**settings, **heavy}, len(data.vocabulary))
    examples = Examples(data.table)
    plan = TrainSettings(molecules=20 * 60, batch_size=20, learning_rate=0.02, warmup=0, ema=0.5, evaluate_every=10**9)
    with pytest.raises(CollapsedModel, match="collapsed: 0 active units"):
        fit(model, examples, plan, tmp_path, evaluate=lambda m, _: health(m, examples, data.vocabulary, set(), 0))


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_does_harm(tmp_path):
    model, examples = build()
    fit(model, examples, replace(SETTINGS, molecules=40), tmp_path)
    good = (tmp_path / "state.safetensors").read_bytes()
    model, examples = build()
    losses = model.losses

    def broken(*arguments):
        terms = losses(*arguments)
        return {**terms, "loss": terms["loss"] * float("nan")}

    model.losses = broken
    with pytest.raises(DivergedModel, match=r"training diverged at step 2 .*loss nan.*learning_rate"):
        fit(model, examples, SETTINGS, tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == good


def test_tensorboard_hears_the_same_numbers_where_it_is_installed(tmp_path, monkeypatch):
    points = []

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == str(tmp_path / "tensorboard")

        def add_scalar(self, name, value, at):
            points.append((name, value, at))

        def close(self):
            points.append("closed")

    stand_in = types.ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    plan = replace(SETTINGS, tensorboard=True, evaluate_every=400)
    fit(*build(), plan, tmp_path, evaluate=lambda *_: {"nll": 1.5})
    assert ("evaluation/nll", 1.5, 400) in points and ("evaluation/nll", 1.5, 800) in points and points[-1] == "closed"
    assert {p[2] for p in points if p[0] == "train/rate"} == {400, 800}  # every 20 steps of 20 molecules


def test_without_tensorboard_training_goes_on_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # import finds nothing
    fit(*build(), replace(SETTINGS, molecules=40, tensorboard=True), tmp_path)
    assert "TensorBoard was asked for but is not installed. Run: pip install tensorboard" in caplog.text
    caplog.clear()
    Record(tmp_path, tensorboard=False).close()
    Record(tmp_path / "nowhere", tensorboard=True, silent=True).event("x")
    assert caplog.text == "" and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04pickle"),
        lambda path: save_file({"x": torch.zeros(3)}, path, {"step": "4"}),
        lambda path: save_file(load_file(path), path),  # without its step
    ],
    ids=["half", "empty", "pickle", "foreign", "no step"],
)
def test_a_bad_state_file_is_refused_with_what_to_do(tmp_path, damage):
    model, examples = build()
    fit(model, examples, replace(SETTINGS, molecules=20), tmp_path)
    damage(tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"cannot resume from .*state.safetensors: .*Remove it to start again"):
        fit(*build(), SETTINGS, tmp_path)


def test_automatic_precision_follows_the_hardware(monkeypatch):
    cpu = torch.device("cpu")
    for supported in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        with autocast(cpu, "auto"):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if supported else torch.float32)
    with autocast(cpu, "float32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
