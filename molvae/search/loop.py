"""The search: ask the strategy, measure through the ledger, write down, again. Everything it does is on this page.

Resuming needs no saved state: completed rounds are read from the ledger, a round's seed depends on the run's seed and the
round's number, and the interrupted round is asked again.

Asking ahead: while worker processes measure one round, the next is chosen from the rounds before it, in a thread. Such a
search learns of every value one round later, but its workers do not wait. What a round is chosen from depends on its number
alone, so a killed run that asks ahead goes on as exactly as any other.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from molvae.errors import OracleError
from molvae.files import EventLog
from molvae.history import Evaluation, History, Proposal
from molvae.ledger import Ledger
from molvae.randomness import child_seed
from molvae.search.strategies.base import Strategy

logger = logging.getLogger(__name__)

STALL_ROUNDS = 10


@dataclass(frozen=True)
class Target:
    """When a search has found enough: `count` molecules of at least `score`."""

    score: float
    count: int = 1

    def is_reached(self, history: History) -> bool:
        """Whether the history has that many; NaNs never count."""
        return bool(np.count_nonzero(history.scores >= self.score) >= self.count)


@dataclass(frozen=True)
class RoundReport:
    """What a progress line shows after each round.

    round: its number, from 0.  calls, budget: spent so far, and allowed.  n_new: molecules measured in this round.
    best: the best evaluation so far, None if every call failed.  improved: whether this round found it.
    top_10: mean of the ten best scores so far (of all, if there are fewer), NaN if every call failed.
    ask_seconds, measure_seconds: time of this round spent choosing and measuring.
    processor_seconds: what this process used since the round before; those that measure for it are not in it.
    """

    round: int
    calls: int
    budget: int
    n_new: int
    n_failed: int
    best: Evaluation | None
    improved: bool
    top_10: float
    ask_seconds: float
    measure_seconds: float
    processor_seconds: float


def search(
    strategy: Strategy,
    ledger: Ledger,
    events: EventLog,
    *,
    seed: int,
    stall_rounds: int = STALL_ROUNDS,
    ahead: bool = False,
    target: Target | None = None,
    progress: Callable[[RoundReport], None] | None = None,
) -> str:
    """Run rounds until the budget is spent; returns why it stopped: "budget", "target" reached, or "stalled".

    ahead: choose the molecules of each round, from the third on, while those of the round before are being measured.

    A search is stalled after `stall_rounds` rounds in a row without a new molecule; else one that has converged would
    propose known molecules forever. Raises OracleError if every molecule of the first round fails.
    """
    history = ledger.history()
    _refuse_broken_oracle(history)
    coming: Future[_Asked] | None = None
    spent = time.process_time()
    with ThreadPoolExecutor(1, "molvae-ahead") as thread:
        while ledger.remaining > 0 or ledger.pending > 0:
            # 1. Is it enough? Does it still find anything new?
            if target is not None and target.is_reached(history):
                return "target"
            if _rounds_without_news(history) >= stall_rounds:
                logger.warning("no new molecule in %d rounds: the search has converged and stops", stall_rounds)
                return "stalled"

            # 2. Ask. The number of molecules and the seed depend on the history alone, not on what is left of the budget.
            number = history.n_rounds
            if coming is not None:
                asked, coming = coming.result(), None
            else:
                asked = _ask(strategy, _seen_by(history, number) if ahead else history, number, seed)

            # 3. Measure what is new, each value committed as it returns; meanwhile, perhaps, ask for the next round.
            def announced(smiles: list[str], number: int = number) -> None:
                nonlocal coming
                if number > 0 and ledger.remaining > 0:
                    coming = thread.submit(_ask, strategy, history.awaiting(smiles), number + 1, seed)

            best_before, started = history.incumbent, time.perf_counter()
            evaluations = ledger.evaluate(number, asked.proposals, announced if ahead else None)
            history.append_round(evaluations)

            # 4. Tell.
            report = RoundReport(
                round=number,
                calls=ledger.calls,
                budget=ledger.budget,
                n_new=len(evaluations),
                n_failed=sum(e.failed for e in evaluations),
                best=history.incumbent,
                improved=history.incumbent is not best_before,
                top_10=_mean([e.score for e in history.best(10)]),
                ask_seconds=asked.seconds,
                measure_seconds=time.perf_counter() - started,
                processor_seconds=(now := time.process_time()) - spent,
            )
            spent = now
            _write_event(events, report, len(asked.proposals), evaluations)
            if progress is not None:
                progress(report)
            _refuse_broken_oracle(history)
    return "budget"


@dataclass(frozen=True)
class _Asked:
    proposals: list[Proposal]
    seconds: float


def _ask(strategy: Strategy, history: History, number: int, seed: int) -> _Asked:
    """The proposals of round `number`, from what is known by then."""
    started, round_seed = time.perf_counter(), child_seed(seed, "round", number)
    with own_random_state(round_seed):
        n = strategy.batch_size(len(history) + len(history.in_flight))
        proposals = strategy.propose(history, n, round_seed)
    return _Asked(proposals, time.perf_counter() - started)


def _seen_by(history: History, number: int) -> History:
    """What round `number` of a search that asks ahead is chosen from: all before the round that is measured meanwhile.

    The first two rounds wait: the first brings all there is to learn from.
    """
    if number < 2:
        return history
    return history.before(number - 1).awaiting([e.smiles for e in history.round(number - 1)])


def _mean(scores: list[float]) -> float:
    return sum(scores) / len(scores) if scores else math.nan


def _rounds_without_news(history: History) -> int:
    last = history.evaluations[-1].round if len(history) else -1
    return history.n_rounds - 1 - last


def _write_event(events: EventLog, report: RoundReport, n_proposals: int, evaluations: list[Evaluation]) -> None:
    events.append(
        "round",
        round=report.round,
        calls=report.calls,
        budget=report.budget,
        proposals=n_proposals,
        new=report.n_new,
        failed=report.n_failed,
        best=report.best.score if report.best else None,
        best_smiles=report.best.smiles if report.best else None,
        top_10=None if math.isnan(report.top_10) else report.top_10,
        sources=dict(sorted(Counter(e.source for e in evaluations).items())),
        ask_seconds=round(report.ask_seconds, 3),
        measure_seconds=round(report.measure_seconds, 3),
        processor_seconds=round(report.processor_seconds, 3),
    )


def _refuse_broken_oracle(history: History) -> None:
    """Stop after a first round in which nothing could be measured: the fault is the oracle's, and calls may be expensive."""
    if history.n_rounds == 1 and len(history) >= 3 and history.incumbent is None:
        raise OracleError(
            f"all {len(history)} molecules of the first round failed; the first one with: {history.evaluations[0].reason}. "
            "Repair the oracle (`molvae oracle test` shows what it returns) and start again in a new run directory with -o."
        )


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Seed torch's global state inside, restore the caller's after: BoTorch draws from it and takes no generator.

    Torch is not imported for this; a strategy that uses it has imported it with its module.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
