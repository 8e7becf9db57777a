"""The history: what strategies see, and that a replay sees the same."""

import math

import numpy as np
import pytest

from molvae.history import Evaluation, History


def evaluation(call: int, smiles: str, score: float, round: int) -> Evaluation:
    return Evaluation(call, smiles, score, round=round, source="test")


@pytest.fixture
def history() -> History:
    history = History()
    history.append_round([evaluation(1, "C", 0.5, 0), evaluation(2, "CC", math.nan, 0)])
    history.append_round([])
    history.append_round([evaluation(3, "CCC", 0.7, 2), evaluation(4, "CCCC", 0.5, 2)])
    return history


def test_columns_are_in_call_order(history: History) -> None:
    assert history.smiles == ["C", "CC", "CCC", "CCCC"]
    np.testing.assert_array_equal(history.scores, [0.5, math.nan, 0.7, 0.5])
    assert history.rounds.tolist() == [0, 0, 2, 2]
    assert len(history) == 4
    assert history.n_rounds == 3, "a round without a new molecule is a round"


def test_best_leaves_failures_out_and_keeps_call_order_among_equals(history: History) -> None:
    assert [e.smiles for e in history.best(10)] == ["CCC", "C", "CCCC"]
    assert history.incumbent is not None
    assert history.incumbent.call == 3


def test_nothing_measured_has_no_incumbent() -> None:
    assert History().incumbent is None
    assert History([evaluation(1, "C", math.nan, 0)]).incumbent is None
    assert History().scores.shape == (0,)


def test_scores_differ_once_two_finite_ones_do(history: History) -> None:
    assert history.scores_differ
    assert not History().scores_differ
    assert not History([evaluation(i, smiles, 0.5, 0) for i, smiles in enumerate(("C", "CC"), 1)]).scores_differ
    assert not History([evaluation(1, "C", 0.5, 0), evaluation(2, "CC", math.nan, 0)]).scores_differ


def test_known_holds_failures_too(history: History) -> None:
    assert "CC" in history.known
    assert "CCCCC" not in history.known


def test_a_round_can_be_read_back(history: History) -> None:
    assert [e.smiles for e in history.round(2)] == ["CCC", "CCCC"]
    assert history.round(1) == []


def test_before_is_the_history_of_that_time(history: History) -> None:
    earlier = history.before(2)
    assert earlier.smiles == ["C", "CC"]
    assert earlier.n_rounds == 2


def test_rebuilt_history_equals_the_grown_one(history: History) -> None:
    rebuilt = History(history.evaluations, n_rounds=3)
    assert rebuilt.smiles == history.smiles
    assert rebuilt.n_rounds == history.n_rounds
    assert rebuilt.known == history.known


def test_columns_cannot_be_changed_by_a_strategy(history: History) -> None:
    with pytest.raises(ValueError, match="read-only"):
        history.scores[0] = 1.0


def test_a_molecule_is_measured_once(history: History) -> None:
    with pytest.raises(AssertionError):
        history.append_round([evaluation(5, "C", 0.1, 3)])
