"""The ledger: budget, cache and journal, and what a kill leaves behind."""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import Misbehaving

from molvae.errors import ConfigError, RunError
from molvae.history import Proposal
from molvae.ledger import Ledger
from molvae.oracles.base import Measurement
from molvae.workers import InProcess


def proposals(*smiles: str) -> list[Proposal]:
    return [Proposal(s, "test") for s in smiles]


def carbons(**faults: str) -> Misbehaving:
    return Misbehaving(faults)


class Stops(InProcess):
    """Yields `n` values, then the process is gone."""

    def __init__(self, n: int) -> None:
        super().__init__(carbons())
        self.n = n
        self.measured: list[str] = []

    def measure(self, smiles: Sequence[str]) -> Iterator[tuple[int, Measurement]]:
        for position, measurement in super().measure(smiles):
            if self.n == 0:
                raise KeyboardInterrupt
            self.n -= 1
            self.measured.append(smiles[position])
            yield position, measurement


def test_values_come_back_in_proposal_order_and_stay(tmp_path: Path) -> None:
    z = np.array([0.25, -1.5], dtype=np.float32)
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=10) as ledger:
        found = ledger.evaluate(0, [Proposal("OCC", "a", z), Proposal("CCC", "b")])
    assert [(e.call, e.smiles, e.score, e.source, e.round) for e in found] == [
        (1, "CCO", 2.0, "a", 0),
        (2, "CCC", 3.0, "b", 0),
    ]
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=10) as ledger:
        history = ledger.history()
    assert history.smiles == ["CCO", "CCC"]
    assert history.evaluations[0].z is not None
    np.testing.assert_array_equal(history.evaluations[0].z, z)
    assert history.evaluations[0].z.dtype == np.float32
    assert history.evaluations[1].z is None


def test_invalid_repeated_and_known_molecules_are_free(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=10) as ledger:
        ledger.evaluate(0, proposals("CC", "not a molecule", "C(C)", "C"))
        new = ledger.evaluate(1, proposals("CC", "C", "CCC"))
        assert [e.smiles for e in new] == ["CCC"]
        counters = ledger.counters
    assert (counters.calls, counters.invalid, counters.repeats, counters.cached) == (3, 1, 1, 2)
    assert counters.proposals == 7


def test_budget_is_met_exactly_and_never_passed(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=3) as ledger:
        ledger.evaluate(0, proposals("C", "CC"))
        found = ledger.evaluate(1, proposals("CCC", "CCCC", "CCCCC"))
        assert [e.smiles for e in found] == ["CCC"]
        assert (ledger.calls, ledger.remaining) == (3, 0)
        assert ledger.evaluate(2, proposals("CCCCCC")) == []
        assert ledger.calls == 3


def test_a_larger_budget_completes_the_round_that_was_cut(tmp_path: Path) -> None:
    rounds = [proposals("C", "CC"), proposals("CCC", "CCCC", "CCCCC"), proposals("CCCCCC")]
    with Ledger(tmp_path / "whole.sqlite", carbons(), budget=6) as ledger:
        for number, asked in enumerate(rounds):
            ledger.evaluate(number, asked)
        whole = [(e.call, e.smiles, e.round) for e in ledger.evaluations()]
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=3) as ledger:
        ledger.evaluate(0, rounds[0])
        ledger.evaluate(1, rounds[1])
        assert ledger.history().n_rounds == 1, "the cut round is not complete"
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=6) as ledger:
        assert len(ledger.evaluate(1, rounds[1])) == 3
        ledger.evaluate(2, rounds[2])
        assert [(e.call, e.smiles, e.round) for e in ledger.evaluations()] == whole


def test_what_had_returned_is_never_measured_again(tmp_path: Path) -> None:
    asked = proposals("C", "CC", "CCC", "CCCC")
    with (
        Ledger(tmp_path / "l.sqlite", carbons(), budget=10, executor=Stops(2)) as ledger,
        pytest.raises(KeyboardInterrupt),
    ):
        ledger.evaluate(0, asked)
    rest = Stops(10)
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=10, executor=rest) as ledger:
        assert (ledger.calls, ledger.pending) == (4, 2)
        assert len(ledger.history()) == 0, "an interrupted round is not history"
        found = ledger.evaluate(0, asked)
    assert rest.measured == ["CCC", "CCCC"]
    assert [(e.call, e.score) for e in found] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_failures_are_nan_with_a_reason_and_cost_a_call(tmp_path: Path) -> None:
    objective = Misbehaving({"C": "nan", "CC": "inf", "CCC": "raise", "CCCC": "short"})
    with Ledger(tmp_path / "l.sqlite", objective, budget=5) as ledger:
        found = ledger.evaluate(0, proposals("C", "CC", "CCC", "CCCC", "CCCCC"))
        counters = ledger.counters
    assert [math.isnan(e.score) for e in found] == [True, True, True, True, False]
    assert [e.reason for e in found] == [
        "no conformer",
        "the objective returned inf",
        "ValueError: no pose found",
        "the objective returned 0 values for 1 molecule",
        "",
    ]
    assert (counters.calls, counters.failed) == (5, 4)


def test_a_ledger_of_another_objective_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.sqlite", carbons(), budget=5).close()
    with pytest.raises(RunError, match="another objective"):
        Ledger(tmp_path / "l.sqlite", carbons(CC="nan"), budget=5)


def test_a_budget_below_what_is_spent_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=5) as ledger:
        ledger.evaluate(0, proposals("C", "CC"))
    with pytest.raises(ConfigError, match="already spent 2 calls"):
        Ledger(tmp_path / "l.sqlite", carbons(), budget=1)


def test_a_foreign_file_and_a_newer_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("call,smiles,score\n" * 100)
    with pytest.raises(RunError, match="not a molvae ledger"):
        Ledger(tmp_path / "text.sqlite", carbons(), budget=5)
    Ledger(tmp_path / "new.sqlite", carbons(), budget=5).close()
    with sqlite3.connect(tmp_path / "new.sqlite") as database:
        database.execute("UPDATE meta SET value = '999' WHERE key = 'format'")
    with pytest.raises(RunError, match="Upgrade molvae"):
        Ledger(tmp_path / "new.sqlite", carbons(), budget=5)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite", carbons(), budget=5), pytest.raises(RunError, match="in use by another"):
        Ledger(tmp_path / "l.sqlite", carbons(), budget=5)
    Ledger(tmp_path / "l.sqlite", carbons(), budget=5).close()


def test_an_unwritable_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        Ledger(tmp_path / "file" / "l.sqlite", carbons(), budget=5)
