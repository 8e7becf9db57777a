"""Ridge and Gaussian process against scikit-learn's; scaling against its definition."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge

from molvae.uses.regression import ALPHAS, _evidence, _squares, gaussian_process, ridge, scaled


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x, test = draw.standard_normal((120, 6)), draw.standard_normal((40, 6))
    return x, np.sin(x[:, 0]) + 0.5 * x[:, 1] ** 2 + 0.1 * draw.standard_normal(120) + 7.0, test


def test_ridge_is_scikit_learns_with_one_of_the_penalties(data) -> None:
    x, y, test = data
    found = ridge(x, y, test, seed=0)
    theirs = [Ridge(alpha * len(y)).fit(x, y).predict(test).clip(y.min(), y.max()) for alpha in ALPHAS]
    distances = [np.abs(predicted - found).max() for predicted in theirs]
    assert min(distances) < 1e-8
    assert sorted(distances)[1] > 1e-8


def test_ridge_chooses_its_penalty_by_what_was_held_back() -> None:
    """Pure noise in 80 columns wants a large penalty, a plain line a small one."""
    draw = np.random.default_rng(1)
    x, test = draw.standard_normal((100, 80)), draw.standard_normal((500, 80))
    assert ridge(x, draw.standard_normal(100), test, seed=0).std() < 0.5
    line, wanted = 3 * x[:, 0], 3 * test[:, 0]
    found = ridge(x, line, test, seed=0)
    assert found == pytest.approx(wanted.clip(line.min(), line.max()), abs=0.05)
    assert (wanted > line.max()).any() and found.max() <= line.max()


def test_the_gaussian_process_is_scikit_learns(data) -> None:
    x, y, test = data
    kernel = ConstantKernel(1.0) * RBF(3.0) + WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=3, random_state=0).fit(x, y)
    assert gaussian_process(x, y, test) == pytest.approx(theirs.predict(test), abs=0.02)


def test_the_evidence_and_its_gradient(data) -> None:
    x, y, _ = data
    y = (y - y.mean()) / y.std()
    log = np.log([2.0, 1.3, 0.4])
    kernel = ConstantKernel(1.3**2) * RBF(2.0) + WhiteKernel(0.4**2)
    theirs = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(x, y).log_marginal_likelihood_value_
    value, gradient = _evidence(log, _squares(x, x), y)
    assert value == pytest.approx(-theirs, rel=1e-9)
    numeric = approx_fprime(log, lambda at: _evidence(at, _squares(x, x), y)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_scaling_uses_the_training_rows_only() -> None:
    train = np.array([[1.0, 5.0, np.nan, 2.0], [3.0, 5.0, np.nan, np.inf], [5.0, 5.0, np.nan, 4.0]])
    test = np.array([[1e9, 6.0, 1.0, np.nan]])
    found, other = scaled(train, test)
    assert found.shape == (3, 2) and other.shape == (1, 2)  # no spread, and nothing known, leave no column
    root = np.sqrt(1.5)
    assert found == pytest.approx(np.array([[-root, -root], [0.0, 0.0], [root, root]]))
    assert other == pytest.approx(np.array([[5.0, 0.0]]))
