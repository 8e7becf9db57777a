"""Lineages: where they begin and end, on histories whose standstills are written down."""

import numpy as np

from molvae.history import Evaluation, History
from molvae.search.lineages import lineage_start


def history_of(scores: np.ndarray, batch: int = 10) -> History:
    return History(Evaluation(i + 1, f"m{i}", float(s), round=i // batch) for i, s in enumerate(scores))


def test_an_improving_search_keeps_one_lineage() -> None:
    # Every round of ten raises the mean of the ten best by 0.01 or more.
    assert lineage_start(history_of(np.repeat(np.arange(100) * 0.011, 10))) == 0
    assert lineage_start(History()) == 0


def test_a_standstill_founds_a_lineage_and_its_end_lets_all_mix() -> None:
    # The mean of the ten best is 0.5 from call 10 on: 100 calls later a new lineage may have children.
    flat = np.full(400, 0.5)
    assert lineage_start(history_of(flat[:100])) == 0
    assert lineage_start(history_of(flat[:110])) == 110
    # Its own ten best are complete at call 120 and stand still as well: from call 220 all may have children again.
    assert lineage_start(history_of(flat[:210])) == 110
    assert lineage_start(history_of(flat[:220])) == 0
    # Then the whole history has to improve: the third standstill ends at call 320.
    assert lineage_start(history_of(flat[:310])) == 0
    assert lineage_start(history_of(flat[:320])) == 320


def test_a_lineage_that_improves_lives_on() -> None:
    climbing = np.concatenate([np.full(110, 0.9), np.repeat(np.arange(30) * 0.011, 10)])
    assert lineage_start(history_of(climbing)) == 110


def test_a_rise_counts_in_units_of_the_scale() -> None:
    slow = np.repeat(np.arange(15) * 0.011, 10)  # a standstill where the scores spread over a hundred
    assert lineage_start(history_of(slow)) == 0
    assert lineage_start(history_of(slow), scale=100.0) > 0


def test_failures_are_no_scores_but_cost_patience() -> None:
    scores = np.concatenate([np.full(10, 0.5), np.full(100, np.nan)])
    assert lineage_start(history_of(scores)) == 110
