"""Search metrics against areas worked out by hand from the definition of the PMO benchmark."""

from __future__ import annotations

import math

import numpy as np
import pytest

from molvae.evaluation.search import auc_top_k, best_molecules, distinct_scaffolds, first_calls, top_k

NAN = math.nan


def test_a_full_budget_is_a_trapezoid_every_hundred_calls():
    # Top-1 is 0.2 after 100 calls, 0.5 after 200, 0.6 after 300.
    scores = np.zeros(300)
    scores[40], scores[150], scores[299] = 0.2, 0.5, 0.6
    area = 100 * (0 + 0.2) / 2 + 100 * (0.2 + 0.5) / 2 + 100 * (0.5 + 0.6) / 2
    assert auc_top_k(scores, k=1, budget=300) == pytest.approx(area / 300)


def test_an_early_stop_is_padded_only_if_the_search_had_finished():
    # 150 calls of a budget of 1,000: points at 100 (0.4) and at 150 (0.8), then 850 calls at 0.8, or nothing.
    scores = np.zeros(150)
    scores[10], scores[120] = 0.4, 0.8
    made = 100 * (0 + 0.4) / 2 + 50 * (0.4 + 0.8) / 2
    assert auc_top_k(scores, k=1, budget=1000) == pytest.approx((made + 850 * 0.8) / 1000)
    assert auc_top_k(scores, k=1, budget=1000, finished=False) == pytest.approx(made / 1000)


def test_a_search_below_the_first_step_has_one_point():
    assert auc_top_k([0.5] * 30, k=10, budget=100) == pytest.approx((30 * 0.25 + 70 * 0.5) / 100)


def test_a_step_at_the_last_call_is_not_counted_twice():
    assert auc_top_k([1.0] * 200, k=1, budget=200) == pytest.approx((100 * 0.5 + 100 * 1.0) / 200)


def test_calls_beyond_the_budget_do_not_count():
    scores = [0.1] * 200 + [0.9] * 50
    assert auc_top_k(scores, k=1, budget=200) == auc_top_k(scores[:200], k=1, budget=200)


def test_the_top_ten_is_the_mean_of_what_is_there():
    # After 100 calls the ten best are 100..91 hundredths; with four finite scores all four are averaged.
    assert top_k(np.arange(1, 101) / 100, 10) == pytest.approx(0.955)
    assert top_k([0.4, NAN, 0.2, 0.1, 0.3], 10) == pytest.approx(0.25)
    assert math.isnan(top_k([NAN, NAN]))
    assert auc_top_k(np.arange(1, 101) / 100, k=10, budget=100) == pytest.approx(0.955 / 2)


def test_failed_calls_cost_a_call_and_are_never_among_the_best():
    # The first hundred fail, so the curve stays at 0; negative values are not beaten by failures.
    assert auc_top_k([NAN] * 100 + [1.0] * 100, k=1, budget=200) == pytest.approx((0 + 100 * 0.5) / 200)
    assert top_k([-1.0, NAN], 1) == -1.0
    assert auc_top_k([NAN] * 50, k=1, budget=100) == 0
    assert auc_top_k([], budget=100) == 0


def test_repeated_calls_are_free():
    smiles, scores = first_calls(["CC", "CO", "CC", "CN", "CO"], [0.1, 0.2, 0.9, 0.3, 0.9])
    assert smiles == ["CC", "CO", "CN"]
    assert scores.tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="2 molecules but 1 scores"):
        first_calls(["C", "O"], [1.0])


def test_best_molecules_keep_call_order_among_equals():
    assert best_molecules(["C", "O", "N", "F"], [0.5, NAN, 0.9, 0.5], k=3) == ["N", "C", "F"]
    assert best_molecules(["C", "O"], [NAN, 0.1], k=5) == ["O"]


def test_scaffolds_ignore_substituents_and_stereo():
    # Toluene and phenol share benzene; the two acyclic molecules share the empty scaffold; "C1" is no molecule.
    assert distinct_scaffolds(["Cc1ccccc1", "Oc1ccccc1", "C1CCNCC1", "CCO", "CCN", "C1"]) == 3
    assert distinct_scaffolds(["C[C@H]1CCCC[C@@H]1Cl", "C[C@@H]1CCCC[C@@H]1Cl"]) == 1
