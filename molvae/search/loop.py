"""The search: ask the strategy, measure through the ledger, write down, again. Everything it does is on this page.

Resuming needs no saved state: completed rounds are read from the ledger, a round's seed depends on the run's seed and the
round's number, and the interrupted round is asked again.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from molvae.errors import OracleError
from molvae.files import EventLog
from molvae.history import Evaluation, History
from molvae.ledger import Ledger
from molvae.randomness import child_seed
from molvae.search.strategies.base import Strategy

logger = logging.getLogger(__name__)

STALL_ROUNDS = 10


@dataclass(frozen=True)
class RoundReport:
    """What a progress line shows after each round.

    round: its number, from 0.  calls, budget: spent so far, and allowed.  n_new: molecules measured in this round.
    best: the best evaluation so far, None if every call failed.  improved: whether this round found it.
    top_10: mean of the ten best scores so far (of all, if there are fewer), NaN if every call failed.
    ask_seconds, measure_seconds: time of this round spent choosing and measuring.
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


def search(
    strategy: Strategy,
    ledger: Ledger,
    events: EventLog,
    *,
    seed: int,
    stall_rounds: int = STALL_ROUNDS,
    progress: Callable[[RoundReport], None] | None = None,
) -> str:
    """Run rounds until the budget is spent or the search stalls; returns why it stopped: "budget" or "stalled".

    A search is stalled after `stall_rounds` rounds in a row without a new molecule; else one that has converged would
    propose known molecules forever. Raises OracleError if every molecule of the first round fails.
    """
    history = ledger.history()
    _refuse_broken_oracle(history)
    while ledger.remaining > 0 or ledger.pending > 0:
        # 1. Does it still find anything new?
        if _rounds_without_news(history) >= stall_rounds:
            logger.warning("no new molecule in %d rounds: the search has converged and stops", stall_rounds)
            return "stalled"

        # 2. Ask. The number of molecules and the seed depend on the history alone, not on what is left of the budget.
        number, started = history.n_rounds, time.perf_counter()
        round_seed = child_seed(seed, "round", number)
        with _own_random_state(round_seed):
            proposals = strategy.propose(history, strategy.batch_size(len(history)), round_seed)
        asked = time.perf_counter()

        # 3. Measure what is new, each value committed as it returns.
        best_before = history.incumbent
        evaluations = ledger.evaluate(number, proposals)
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
            ask_seconds=asked - started,
            measure_seconds=time.perf_counter() - asked,
        )
        _write_event(events, report, len(proposals), evaluations)
        if progress is not None:
            progress(report)
        _refuse_broken_oracle(history)
    return "budget"


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
    )


def _refuse_broken_oracle(history: History) -> None:
    """Stop after a first round in which nothing could be measured: the fault is the oracle's, and calls may be expensive."""
    if history.n_rounds == 1 and len(history) >= 3 and history.incumbent is None:
        raise OracleError(
            f"all {len(history)} molecules of the first round failed; the first one with: {history.evaluations[0].reason}. "
            "Repair the oracle (`molvae oracle test` shows what it returns) and start again in a new run directory with -o."
        )


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
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
