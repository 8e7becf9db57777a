"""The trust region's length against sequences worked out by hand from the rules of TuRBO's supplement."""

import numpy as np
import pytest

from molvae.history import Evaluation, History
from molvae.search.trust_region import TrustRegion, replay, replay_source, sparse_perturbations


def lengths(scores: list[float], region: TrustRegion) -> list[float]:
    found = []
    for score in scores:
        region = region.update(score)
        found.append(region.length)
    return found


def history_of(rounds: list[list[float]]) -> History:
    history, call = History(), 0
    for number, scores in enumerate(rounds):
        evaluations = [Evaluation(call + i, f"molecule {call + i}", s, round=number) for i, s in enumerate(scores, 1)]
        call += len(scores)
        history.append_round(evaluations)
    return history


def test_three_successes_in_a_row_double_the_length() -> None:
    region = TrustRegion(failure_tolerance=2)
    # The first round sets the mark and is neither; a failure breaks the row.
    assert lengths([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6], region) == [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 1.6]


def test_the_length_has_a_largest_value() -> None:
    assert lengths(list(np.arange(1.0, 9.0)), TrustRegion(failure_tolerance=2))[-1] == 1.6


def test_failures_halve_the_length_until_it_collapses() -> None:
    region = TrustRegion(failure_tolerance=2)
    found = lengths([0.5] + [0.4] * 4, region)
    assert found == [0.8, 0.8, 0.4, 0.4, 0.2]
    # 0.8 / 2^6 = 0.0125 is above the smallest length 2^-7 = 0.0078, 0.8 / 2^7 is below it.
    for _ in range(1 + 2 * 6):
        region = region.update(0.0)
    assert not region.collapsed
    assert region.update(0.0).update(0.0).collapsed


def test_an_improvement_below_a_thousandth_is_a_failure() -> None:
    region = TrustRegion(failure_tolerance=5).update(1.0)
    assert region.update(1.0005).failures == 1
    assert region.update(1.002).successes == 1
    assert TrustRegion(failure_tolerance=5).update(-1.0).update(-0.9995).failures == 1


def test_a_failed_round_is_a_failure_and_leaves_the_best() -> None:
    region = TrustRegion(failure_tolerance=5).update(0.5).update(np.nan)
    assert (region.failures, region.best) == (1, 0.5)


def test_replay_uses_the_best_of_each_round_and_ignores_failed_molecules() -> None:
    region, first_round = replay(history_of([[0.1, 0.3], [0.2, np.nan], [0.2, 0.5], [np.nan]]), TrustRegion(9))
    assert (region.best, region.failures, region.successes, first_round) == (0.5, 1, 0, 0)


def test_after_a_collapse_a_new_region_begins() -> None:
    # One failure a halving: seven failures after the first round take 0.8 below 2^-7; the round after is the new region's.
    collapsing = [[0.5]] + [[0.1]] * 7
    region, first_round = replay(history_of(collapsing), TrustRegion(failure_tolerance=1))
    assert (region.length, region.best, first_round) == (0.8, -np.inf, 8)
    region, first_round = replay(history_of([*collapsing, [0.2]]), TrustRegion(failure_tolerance=1))
    assert (region.best, first_round) == (0.2, 8)


def lengths_of_source(rounds: list[list[tuple[str, float]]], **settings: int) -> list[float]:
    """The length after each round of (source, score), for the source "ours" and the best two."""
    history, found = History(), []
    for number, scores in enumerate(rounds):
        first = len(history) + 1
        history.append_round(
            [Evaluation(i, f"molecule {i}", s, source=o, round=number) for i, (o, s) in enumerate(scores, first)]
        )
        found.append(replay_source(history, "ours", 2, TrustRegion(**settings)).length)
    return found


def test_a_source_succeeds_by_getting_among_the_best() -> None:
    rounds = [
        [("start", 0.1), ("start", 0.5), ("start", 0.3)],  # the second best is 0.3
        [("ours", 0.4), ("other", 0.9)],  # success: 0.4 > 0.3; now 0.5
        [("other", 0.1)],  # not ours
        [("ours", 0.2), ("ours", 0.6)],  # success; now 0.6
        [("ours", 0.7)],  # the third in a row: doubled; now 0.7
        [("ours", 0.7)],  # equal: failure
        [("ours", np.nan)],  # failure, the second in a row: halved
        [("ours", 0.8), ("ours", np.nan)],  # success; now 0.8
        [("ours", 0.1)],  # failure
        [("other", 1.0)],
        [("ours", 0.85)],  # worse than 0.9: failure: halved
    ]
    expected = [0.8, 0.8, 0.8, 0.8, 1.6, 1.6, 0.8, 0.8, 0.8, 0.8, 0.4]
    assert lengths_of_source(rounds, failure_tolerance=2) == expected


def test_a_source_counts_nothing_before_there_are_enough_to_be_among() -> None:
    assert lengths_of_source([[("ours", 0.1)], [("ours", 0.0)]], failure_tolerance=1) == [0.8, 0.8]


def test_a_source_whose_region_collapses_begins_again() -> None:
    # 0.8 / 2^6 is still above 2^-7; the seventh failure collapses it.
    start = [[("start", 0.5), ("start", 0.4)]]
    found = lengths_of_source(start + [[("ours", 0.1)]] * 8, failure_tolerance=1)
    assert found == [0.8, *(0.8 / 2**k for k in range(1, 7)), 0.8, 0.4]


@pytest.mark.parametrize(("d", "expected"), [(10, 10.0), (80, 20.0)])
def test_candidates_differ_from_the_centre_in_about_twenty_coordinates(d: int, expected: float) -> None:
    rng = np.random.default_rng(0)
    centre = rng.random(d)
    points = sparse_perturbations(centre, np.full(d, 0.2), 4000, rng)
    assert points.min() >= 0.0 and points.max() <= 1.0
    assert np.abs(points - centre).max() <= 0.1 + 1e-12
    moved = (points != centre).sum(axis=1)
    assert moved.min() >= 1
    assert abs(moved.mean() - expected) < 0.3  # standard error below 0.07
