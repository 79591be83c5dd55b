"""`GaussianRBM`: columns of any scale, in the user's units."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from skrbm import GaussianRBM

RNG = np.random.default_rng(0)
# Two clusters that differ in two of three columns, each column in units of its own.
LABELS = RNG.integers(2, size=(2000, 1))
X = (3.0 * LABELS * [1, -1, 0] + RNG.normal(size=(2000, 3))) * [1e-3, 1.0, 1e4] + [5.0, -2.0, 1e6]


@pytest.fixture(scope="module")
def model():
    return GaussianRBM(4, n_iter=60, random_state=0).fit(X)


def diagonal(X, rows):
    """Mean log-density of independent normal columns."""
    return norm(X.mean(0), X.std(0)).logpdf(rows).sum(1).mean()


def test_it_learns_what_independent_columns_cant_tell(model):
    nats = model.log_likelihood(X)
    truth = (
        np.logaddexp(
            *(
                multivariate_normal([3 * k, -3 * k, 0], np.eye(3)).logpdf((X - [5.0, -2.0, 1e6]) / [1e-3, 1.0, 1e4])
                for k in (0, 1)
            )
        ).mean()
        - np.log(2)
        - np.log(1e-3 * 1e4)
    )
    assert diagonal(X, X) + 0.4 < nats.mean() < truth + 0.02
    assert nats.mean() > truth - 0.1


def test_the_density_is_one_over_all(model):
    """Summed up over a grid in the units of X."""
    one = GaussianRBM(3, n_iter=30, random_state=0).fit(X[:, [0]])
    grid = np.linspace(4.97, 5.03, 20_001)[:, None]
    assert np.exp(one.log_likelihood(grid)).sum() * (grid[1, 0] - grid[0, 0]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian"])
def test_units_only_shift_the_density(hidden):
    """Scaling a column by s takes log s off; a shift nothing."""
    s, t = np.array([1e-6, 1.0, 2.5e5]), np.array([0.0, 1e3, -7.0])
    one = GaussianRBM(3, hidden=hidden, n_iter=10, random_state=0, precision="float64").fit(X)
    two = GaussianRBM(3, hidden=hidden, n_iter=10, random_state=0, precision="float64").fit(X * s + t)
    np.testing.assert_allclose(two.log_likelihood(X * s + t), one.log_likelihood(X) - np.log(s).sum(), atol=1e-4)
    np.testing.assert_allclose(two.score_samples(X * s + t), one.score_samples(X) - np.log(s).sum(), atol=1e-4)
    np.testing.assert_allclose(two.transform(X * s + t), one.transform(X), atol=1e-5)
    np.testing.assert_allclose(two.reconstruct(X * s + t), one.reconstruct(X) * s + t, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(two.noise_variance_, one.noise_variance_ * s**2, rtol=1e-4)


def test_samples_are_in_the_units_of_the_rows(model):
    samples = model.sample(4000, 200, init="data", random_state=0)
    z = (samples - X.mean(0)) / X.std(0)
    assert np.abs(z.mean(0)).max() < 0.15
    assert np.abs(z.std(0) - 1).max() < 0.1
    assert np.corrcoef(samples.T)[0, 1] == pytest.approx(np.corrcoef(X.T)[0, 1], abs=0.1)
    # There is noise in them: neighbours in a chain with the same hidden states differ.
    v, h = model.sample(50, 20, return_hidden=True, random_state=0)
    assert len(np.unique(v[:, 2])) == 50
    assert set(np.unique(h)) <= {0.0, 1.0}


def test_completions_go_by_the_cluster(model):
    rows = np.array([[5.0, np.nan, 1e6], [5.003, np.nan, 1e6]])
    filled = model.complete(rows, n_steps=2000, random_state=0)
    assert np.array_equal(filled[:, [0, 2]], rows[:, [0, 2]])
    np.testing.assert_allclose(filled[:, 1], [-2.0, -5.0], atol=0.5)
    draws = model.sample(500, 200, condition=rows[0], random_state=0)
    assert (draws[:, 0] == 5.0).all()
    assert draws[:, 1].std() == pytest.approx(1.0, abs=0.3)


def test_a_condition_by_name():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianRBM(2, n_iter=5, random_state=0).fit(frame)
    assert (model.sample(5, 10, condition={"b": -3.5})[:, 1] == -3.5).all()
    with pytest.raises(TypeError, match="must be a number"):
        model.sample(5, 10, condition={"b": "high"})


# -- what the data may do to it ----------------------------------------------------------------------------------------


def heavy_tails(rng):
    return rng.standard_t(1.5, size=(500, 4))


def outliers(rng):
    rows = rng.normal(size=(500, 4))
    rows[0, 0] = 1e6
    return rows


def nearly_constant(rng):
    rows = rng.normal(size=(500, 4))
    rows[:, 1] = 3.0
    rows[::50, 1] = 3.1
    return rows


def duplicated(rng):
    rows = rng.normal(size=(500, 2))
    return np.column_stack((rows, rows, rows))


def collinear(rng):
    rows = rng.normal(size=(500, 3))
    return np.column_stack((rows, rows.sum(1)))


def few(rng):
    return rng.normal(size=(5, 3))


def whole(rng):
    return rng.integers(0, 3, (500, 4)).astype(float)


def huge(rng):
    return rng.normal(size=(500, 3)) * 1e30 + 1e32


def tiny(rng):
    return rng.normal(size=(500, 3)) * 1e-30


HARD = [heavy_tails, outliers, nearly_constant, duplicated, collinear, few, whole, huge, tiny]


@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("make", HARD)
def test_rows_that_are_hard_end_in_a_fit_that_is_finite(make, hidden):
    rows = make(np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianRBM(5, hidden=hidden, n_iter=12, random_state=0).fit(rows)
    for values in (model.components_, model.scale_, model.log_likelihood(rows), model.score_samples(rows)):
        assert np.isfinite(values).all()
    assert (model.scale_ <= 1.05 * rows.std(0)).all()
    assert np.isfinite(model.sample(10, 50, random_state=0)).all()


def test_constant_columns_bring_a_word():
    rows = np.column_stack((X, np.full(len(X), 7.0)))
    with pytest.warns(UserWarning, match=r"1 of 4 columns of X don't vary \(3, counted from 0\)"):
        model = GaussianRBM(3, n_iter=5, random_state=0).fit(rows)
    assert np.isfinite(model.log_likelihood(rows)).all()
    assert model.reconstruct(rows)[:, 3] == pytest.approx(7.0, abs=0.1)


def test_scaling_beforehand_is_not_needed():
    scaler = StandardScaler().fit(X)
    scaled = GaussianRBM(3, n_iter=20, random_state=0).fit(scaler.transform(X))
    plain = GaussianRBM(3, n_iter=20, random_state=0).fit(X)
    np.testing.assert_allclose(plain.transform(X), scaled.transform(scaler.transform(X)), atol=1e-3)


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden": "relu"}, "hidden='relu'"),
        ({"noise": 0.0}, "noise"),
        ({"noise": 1.5}, "noise"),
        ({"noise": "fixed"}, "noise='fixed' must be a number or 'learned'"),
        ({"precision": "int8"}, "precision='int8' takes zeros and ones"),
    ],
)
def test_parameters_that_cant_be(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GaussianRBM(3, n_iter=1, **parameters).fit(X)


def test_noise_that_is_given():
    model = GaussianRBM(3, n_iter=5, noise=0.25, random_state=0).fit(X)
    np.testing.assert_allclose(model.noise_variance_, 0.25 * X.var(0), rtol=1e-5)


def test_learning_goes_on_from_there():
    model = GaussianRBM(3, n_iter=10, warm_start=True, random_state=0).fit(X)
    before, scale = model.log_likelihood(X).mean(), model.scale_
    model.fit(X)
    assert model.log_likelihood(X).mean() > before - 0.05
    assert (model.scale_ != scale).any()
    model.partial_fit(X[:500])
    assert np.isfinite(model.log_likelihood(X)).all()
