"""fit(): the one visible training loop, for every variant.

Everything random in step s is drawn from a stream named after s, so no generator state is saved and a killed run, resumed
from its last state file, gives the same weights as one that was never killed (bit for bit on a CPU with one thread).
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from molvae.errors import CollapsedModel, ConfigError, DivergedModel
from molvae.models.precision import autocast
from molvae.models.sequence_vae import SequenceVAE
from molvae.randomness import torch_stream
from molvae.training.distributed import Group
from molvae.training.examples import Examples, batches_from
from molvae.training.hardware import Meter, training_flops
from molvae.training.record import CollapseWatch, Record
from molvae.training.settings import TrainSettings
from molvae.training.state import TrainState
from molvae.training.step import Passes

MIN_ACTIVE_UNITS = 2
QUIET_STEPS = 200  # before these, a low rate is no cause for alarm

Evaluate = Callable[[SequenceVAE, int], Mapping[str, float]]
Progress = Callable[[int, int, Mapping[str, float]], None]
Heard = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that no state is saved of which half has made the step."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def refuse_divergence(terms: Mapping[str, float], step: int) -> None:
    """Raise DivergedModel before a gradient that is not finite reaches the weights; the last state file stays good."""
    if not math.isfinite(terms["gradient_norm"]):
        shown = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
        raise DivergedModel(f"training diverged at step {step} ({shown}). Lower learning_rate or clip, then resume.")


def held_out_score(model: SequenceVAE, metrics: Mapping[str, float]) -> float:
    """What early stopping watches, lower is better: the held-out nll in nats, as the model is trained to lower it.

    With a share u of hidden z that is (1 - u) nll + u language_nll. NaN if `metrics` has no nll.
    """
    nll, share = metrics.get("nll", math.nan), model.unconditional
    return (1.0 - share) * nll + share * metrics["language_nll"] if share and "language_nll" in metrics else nll


def fit(
    model: SequenceVAE,
    examples: Examples,
    settings: TrainSettings,
    folder: str | Path,
    *,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
    evaluated: Heard | None = None,
    publish: Callable[[SequenceVAE, int], None] | None = None,
    group: Group | None = None,
) -> SequenceVAE:
    """Train `model` on `examples`, resuming from `folder/state.safetensors` if it is there; return it with averaged weights.

    evaluate(model, molecules) -> metrics is called with the averaged weights in place, at every evaluation and at the end,
    and evaluated(molecules, metrics) hears what came out. publish(model, molecules) is called likewise; with
    `settings.patience` only where the held-out nll is the lowest so far, and those weights are the ones returned.
    progress(molecules, total, terms) is called every step. group: the processes that share every step; only the first of
    them evaluates, publishes and writes.
    Writes `folder/events.jsonl` and `folder/state.safetensors`. KeyboardInterrupt saves the state and is raised again.
    Raises CollapsedModel if at the end fewer than two latent units are active, DivergedModel if a gradient is not finite,
    CheckpointError for a bad state file, ConfigError for patience without anything to watch, RunError if memory does not
    suffice for one molecule or another process is lost.
    """
    # 1. Where we are
    if settings.patience and evaluate is None:
        raise ConfigError("[training] patience needs an evaluation to watch.")
    folder, group = Path(folder), group or Group()
    settings = replace(settings, accumulate=settings.accumulate * group.size)  # other processes are passes elsewhere
    device, state_file = model.device, folder / "state.safetensors"
    record = Record(folder, tensorboard=settings.tensorboard, silent=not group.is_first)
    state = TrainState(model, settings)
    if state_file.exists():
        state.load(state_file)
    examples = examples.to(device)
    compiled = torch.compile(model.losses) if settings.compile and device.type == "cuda" else model.losses
    passes = Passes(model, compiled, settings, group)
    watch = CollapseWatch(max(settings.warmup, QUIET_STEPS), MIN_ACTIVE_UNITS)
    record.event(
        "train", step=state.step, settings=asdict(settings), device=str(device), rows=len(examples), processes=group.size
    )
    terms: dict[str, float] = {}
    metrics: Mapping[str, float] | None = None
    meter: Meter | None = None
    saved = time.monotonic()

    def look() -> Mapping[str, float]:
        if meter:
            meter.pause()
        seen, found = state.step * settings.step_size, {}
        model.eval()
        with state.averaged_weights():
            if group.is_first:
                found = evaluate(model, seen) if evaluate else {}
            is_news = settings.patience and group.is_first and state.looked != state.step
            best = is_news and state.judge(held_out_score(model, found))
            state.looked = state.step
            if publish and group.is_first and (best or not settings.patience):
                publish(model, seen)
        model.train()
        if worry := watch.look(found):
            record.event("collapse warning", step=state.step, reason=worry)
        speed = {**meter.figures(group.size), "molecules_a_pass": passes.rows} if meter else {}
        record.event("evaluation", step=state.step, molecules=seen, **speed, step_terms=terms, **found)
        record.scalars("evaluation", {**found, **speed}, state.step, seen)
        if evaluated and group.is_first:
            evaluated(seen, found)
        if meter:
            meter.go_on()
        return found

    # 2. The loop
    model.train()
    every = max(1, settings.evaluate_every // settings.step_size)
    is_over = 0 < settings.patience <= state.stale
    try:
        for rows in batches_from(examples.table, settings, state.step):
            if state.step and state.step % every == 0 and state.looked != state.step:
                metrics = look()
                is_over = group.agree(0 < settings.patience <= state.stale, device)
            if is_over or state.step >= settings.steps:
                break
            batch = examples.batch(rows.to(device), torch_stream(settings.seed, "writing", state.step))
            with uninterrupted(), torch.random.fork_rng([device] if device.type == "cuda" else []):
                if meter is None and group.is_first:
                    meter = Meter(device, settings.precision, training_flops(model, batch, torch_stream(0)))
                for player, optimizer in state.optimizers.items():
                    for options in optimizer.param_groups:
                        options["lr"] = settings.rate_at(state.step)
                    parameters = [p for options in optimizer.param_groups for p in options["params"]]
                    optimizer.zero_grad()
                    found = passes.gradients(batch, state.step, player, parameters)
                    found["gradient_norm"] = float(nn.utils.clip_grad_norm_(parameters, settings.clip))
                    refuse_divergence(found, state.step)
                    terms |= {name if player == passes.lead else f"{player}_{name}": found[name] for name in found}
                    optimizer.step()
                model.after_step(terms)
                terms["beta"] = model.kl_weight.beta(state.step)
                state.step += 1
                state.average(settings.ema)

            # 3. Every step: report, and now and then save
            seen = state.step * settings.step_size
            if meter:
                meter.count(len(rows), batch.ids.numel())
            record.scalars("train", terms, state.step, seen)
            if worry := watch.hear(terms["rate"]):
                record.event("collapse warning", step=state.step, reason=worry)
            if progress:
                progress(min(seen, settings.molecules), settings.molecules, terms)
            if group.is_first and time.monotonic() - saved > settings.save_every:
                state.save(state_file)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if group.is_first:
            state.save(state_file)
        raise

    # 4. The end: the last or the best averaged weights, a last look, the collapse alarm
    if metrics is None or state.looked != state.step:
        metrics = look()
    if group.is_first:
        state.save(state_file)
    model.load_state_dict(state.best if settings.patience and state.best else state.averaged)
    model.eval()
    if settings.patience and evaluate and group.is_first:
        metrics = evaluate(model, state.step * settings.step_size)
        record.event("best", held_out_score=state.best_score, evaluations_since=state.stale, **metrics)
    record.close()
    if metrics.get("active_units", MIN_ACTIVE_UNITS) < MIN_ACTIVE_UNITS:
        record.event("collapsed", step=state.step)
        raise CollapsedModel(
            f"the model collapsed: {metrics['active_units']:.0f} active units, rate {metrics.get('rate', 0.0):.2f} nats. "
            'Use kl_weight = "rate_target", or a smaller beta.'
        )
    return model


__all__ = [
    "Evaluate", "Examples", "Heard", "Progress", "TrainSettings", "TrainState", "autocast", "batches_from", "fit",
    "uninterrupted",
]  # fmt: skip
