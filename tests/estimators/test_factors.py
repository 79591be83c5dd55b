"""Gaussian layers on both sides: factor analysis."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.decomposition import FactorAnalysis

from skrbm import GaussianRBM

RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(500, 2)) @ RNG.normal(size=(2, 6)) + RNG.normal(size=(500, 6)) * [1, 2, 0.5, 1, 1, 0.3] + 7


def test_gaussian_hidden_units_are_factor_analysis():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=(500, 6)) * [1, 2, 0.5, 1, 1, 0.3] + 7
    theirs = FactorAnalysis(2, tol=1e-8, max_iter=10_000).fit(rows)
    ours = GaussianRBM(2, hidden="gaussian", random_state=0, precision="float64").fit(rows)
    np.testing.assert_allclose(ours.log_likelihood(rows), theirs.score_samples(rows), atol=0.05)
    np.testing.assert_allclose(ours.noise_variance_, theirs.noise_variance_ * 500 / 497, rtol=5e-3)
    theirs.noise_variance_, theirs.components_ = ours.noise_variance_, _loadings(ours)
    np.testing.assert_allclose(ours.log_likelihood(rows), theirs.score_samples(rows), atol=1e-5)
    samples = ours.sample(20_000, 100, init="data", random_state=0)
    np.testing.assert_allclose(np.cov(samples.T), theirs.get_covariance(), atol=0.35)


def _loadings(model):
    """Of the factors, each of variance 1: Λ = √ψ W'(1 - W W')^-½."""
    W = model.components_.astype(float)
    values, vectors = np.linalg.eigh(np.eye(len(W)) - W @ W.T)
    return (vectors / np.sqrt(values)) @ vectors.T @ W * np.sqrt(model.noise_variance_)


def test_few_rows_of_many_columns_get_more_noise_than_is_most_likely():
    rng = np.random.default_rng(3)
    loadings = rng.normal(size=(10, 80))
    rows, others = (rng.normal(size=(n, 10)) @ loadings + rng.normal(size=(n, 80)) for n in (40, 1000))
    theirs = FactorAnalysis(10, tol=1e-8, max_iter=10_000).fit(rows)
    ours = GaussianRBM(10, hidden="gaussian", random_state=0).fit(rows)
    assert ours.log_likelihood(others).mean() > theirs.score(others) + 5
    np.testing.assert_allclose(ours.noise_variance_.mean(), 1.0, atol=0.15)
    assert theirs.noise_variance_.mean() < 0.8


def test_columns_that_are_nearly_collinear():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(400, 1)) * [1.0, 2.0, -3.0] + 1e-3 * rng.normal(size=(400, 3))
    model = GaussianRBM(2, hidden="gaussian", random_state=0).fit(rows)
    nats = model.log_likelihood(rows)
    assert np.isfinite(nats).all()
    assert nats.mean() > norm(rows.mean(0), rows.std(0)).logpdf(rows).sum(1).mean() + 5


def test_more_hidden_units_than_columns():
    model = GaussianRBM(9, hidden="gaussian", random_state=0).fit(ROWS)
    assert model.transform(ROWS).shape == (500, 9)
    assert model.log_likelihood(ROWS).mean() > norm(ROWS.mean(0), ROWS.std(0)).logpdf(ROWS).sum(1).mean()


def test_weights_count_rows():
    weight = np.random.default_rng(0).integers(0, 3, 500)
    one = GaussianRBM(2, hidden="gaussian", random_state=0, precision="float64").fit(ROWS, sample_weight=weight)
    two = GaussianRBM(2, hidden="gaussian", random_state=0, precision="float64").fit(np.repeat(ROWS, weight, axis=0))
    np.testing.assert_allclose(one.log_likelihood(ROWS), two.log_likelihood(ROWS), atol=1e-3)


def test_noise_that_is_given():
    model = GaussianRBM(2, hidden="gaussian", noise=0.5, random_state=0).fit(ROWS)
    np.testing.assert_allclose(model.noise_variance_, 0.5 * ROWS.var(0), rtol=1e-5)


@pytest.mark.parametrize("name", ["checkpoint", "store_trajectory"])
def test_what_is_for_epochs_is_refused(name, tmp_path):
    value = tmp_path / "file" if name == "checkpoint" else True
    with pytest.raises(ValueError, match=f"{name} is for learning in epochs"):
        GaussianRBM(2, hidden="gaussian", **{name: value}).fit(ROWS)


def test_it_doesnt_learn_in_parts():
    with pytest.raises(ValueError, match="partial_fit is not available with hidden='gaussian'"):
        GaussianRBM(2, hidden="gaussian").partial_fit(ROWS)


def test_means_of_missing_cells_are_those_of_a_normal_distribution():
    model = GaussianRBM(2, hidden="gaussian", random_state=0, precision="float64").fit(ROWS)
    loadings = _loadings(model)
    covariance, mean = loadings.T @ loadings + np.diag(model.noise_variance_), ROWS.mean(0)
    gaps = ROWS[:50].copy()
    gaps[:, [1, 4]] = np.nan
    seen, free = [0, 2, 3, 5], [1, 4]
    slope = covariance[np.ix_(free, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    expected = mean[free] + (gaps[:, seen] - mean[seen]) @ slope.T
    np.testing.assert_allclose(model.complete(gaps)[:, free], expected, rtol=1e-5)
    draws = np.stack([model.complete(gaps, "sample", random_state=seed)[:, free] for seed in range(400)])
    spread = covariance[np.ix_(free, free)] - slope @ covariance[np.ix_(seen, free)]
    np.testing.assert_allclose(draws.std(0).mean(0), np.sqrt(spread.diagonal()), rtol=0.05)
    np.testing.assert_array_equal(model.complete(gaps)[:, seen], gaps[:, seen])
