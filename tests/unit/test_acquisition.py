"""Acquisition against simulation and against conditioning written out with a matrix inverse."""

import numpy as np
import pytest
from scipy.stats import norm

from molvae.errors import UnknownName
from molvae.search.acquisition import (
    ACQUISITIONS,
    AcquisitionSettings,
    ExpectedImprovement,
    ThompsonSampling,
    best_rank,
    choose_batch,
    expected_improvement,
    ucb_weights,
    upper_confidence_bounds,
)


def test_ucb_weights_fill_each_part_of_the_logarithmic_range_once() -> None:
    weights = ucb_weights(10, np.random.default_rng(0), low=0.01, high=1.0)
    parts = np.floor((np.log10(np.sort(weights)) + 2.0) / 0.2)
    np.testing.assert_array_equal(parts, np.arange(10))


def test_upper_confidence_bounds() -> None:
    bounds = upper_confidence_bounds(np.array([[0.0, 1.0]]), np.array([[4.0, 0.25]]), np.array([0.0, 2.0]))
    np.testing.assert_allclose(bounds, [[0.0, 1.0], [4.0, 2.0]])


def test_surrogates_take_turns() -> None:
    mean, variance = np.array([[0.0, 1.0], [5.0, 6.0]]), np.ones((2, 2))
    bounds = upper_confidence_bounds(mean, variance, np.array([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(bounds, [[1.0, 2.0], [6.0, 7.0], [2.0, 3.0]])
    assert choose_batch(np.array([[0.0, 1.0, 2.0], [5.0, 1.0, 2.0]]), np.zeros((2, 3, 3)), np.zeros(2)) == [2, 0]


@pytest.mark.parametrize(("mean", "sd"), [(0.3, 0.2), (0.9, 0.1), (0.1, 0.4)])
def test_expected_improvement_is_the_mean_of_simulated_improvements(mean: float, sd: float) -> None:
    draws = np.random.default_rng(1).normal(mean, sd, 400_000)
    simulated = np.maximum(draws - 0.5, 0.0)
    error = simulated.std() / np.sqrt(len(draws))
    assert abs(expected_improvement(np.array([mean]), np.array([sd**2]), 0.5)[0] - simulated.mean()) < 5 * error


def test_best_rank_is_the_best_place_under_any_weight() -> None:
    bounds = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 3.0, 2.0]])
    np.testing.assert_array_equal(best_rank(bounds), [0, 1, 0, 1])


def test_a_batch_without_weight_is_the_best_means() -> None:
    mean = np.array([0.1, 0.9, 0.5, 0.7])
    assert choose_batch(mean[None], np.eye(4)[None], np.zeros(3)) == [1, 3, 2]


def test_a_near_copy_loses_its_bonus() -> None:
    # 0 and 1 are copies of each other, 2 is independent and a little worse: the second choice is 2.
    covariance = np.array([[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert choose_batch(np.array([[0.5, 0.5, 0.4]]), covariance[None], np.ones(3)) == [0, 2, 1]


def test_choices_follow_the_conditioned_variance() -> None:
    rng = np.random.default_rng(2)
    noise, n = 1e-3, 12
    root = rng.standard_normal((n, n))
    covariance, mean, weights = root @ root.T, rng.standard_normal(n), np.array([1.0, 0.3, 2.0, 1.0])
    expected: list[int] = []
    for weight in weights:
        rest = [i for i in range(n) if i not in expected]
        inverse = np.linalg.inv(covariance[np.ix_(expected, expected)] + noise * np.eye(len(expected)))
        variance = [covariance[i, i] - covariance[i, expected] @ inverse @ covariance[expected, i] for i in rest]
        expected.append(rest[int(np.argmax(mean[rest] + weight * np.sqrt(variance)))])
    assert choose_batch(mean[None], covariance[None], weights, noise) == expected


def test_a_batch_is_never_larger_than_its_candidates() -> None:
    assert sorted(choose_batch(np.zeros((1, 2)), np.eye(2)[None], np.ones(5))) == [0, 1]


def test_expected_improvement_chooses_the_largest_and_leaves_its_near_copies() -> None:
    # By simulation the first candidate promises most; the second is its copy, the third is independent and worse.
    mean = np.array([[0.5, 0.5, 0.45]])
    covariance = np.array([[0.04, 0.0399, 0.0], [0.0399, 0.04, 0.0], [0.0, 0.0, 0.04]])
    wanted = ExpectedImprovement(3, best=0.6)
    assert wanted.choose(mean, covariance[None], 1e-6) == [0, 2, 1]
    assert np.argsort(-wanted.values(mean, np.diag(covariance)[None])[0], kind="stable").tolist() == [0, 1, 2]


def test_thompson_sampling_takes_a_candidate_as_often_as_it_is_the_best() -> None:
    mean, covariance = np.array([[0.2, 0.0]]), np.array([[[1.0, 0.5], [0.5, 2.0]]])
    # P(a > b) of a joint normal: the difference has mean 0.2 and variance 1 + 2 - 2 * 0.5.
    expected = norm.cdf(0.2 / np.sqrt(2.0))
    rng, n = np.random.default_rng(3), 4000
    first = np.mean([ThompsonSampling(1, rng).choose(mean, covariance, 0.0) == [0] for _ in range(n)])
    assert abs(first - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    assert sorted(ThompsonSampling(5, rng).choose(mean, covariance, 0.0)) == [0, 1]
    values = ThompsonSampling(20_000, rng).values(mean, np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(values.mean(0), mean[0], atol=0.05)
    np.testing.assert_allclose(values.var(0), [1.0, 2.0], rtol=0.05)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_members_of_a_batch_take_turns_with_the_surrogates(name: str) -> None:
    wanted = AcquisitionSettings(name, 0.01, 0.5).build(3, np.random.default_rng(0), best=1.0)
    mean = np.array([[0.0, 5.0, 1.0], [9.0, 5.0, 1.0]])
    assert np.argmax(wanted.values(mean, np.full((2, 3), 1e-8)), axis=1).tolist() == [1, 0, 1]
    assert wanted.choose(mean, np.stack([1e-8 * np.eye(3)] * 2), 1e-10)[:2] == [1, 0]


def test_an_unknown_acquisition_is_told_apart() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'thompson'"):
        AcquisitionSettings("tompson", 0.01, 0.5)
