"""Factor analysis of rows with gaps."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis

from skrbm import GaussianRBM
from skrbm.estimators.factors_with_gaps import Factors, factors_with_gaps
from skrbm.support.randomness import Stream

LOADINGS = np.random.default_rng(0).normal(size=(2, 6))


def rows(n, seed, share=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ LOADINGS + rng.normal(size=(n, 6)) * [1.0, 2.0, 0.5, 1.0, 0.3, 1.0] + 5.0
    X[rng.random(X.shape) < share] = np.nan
    return X


def learned(X, n_factors=2, noise="learned", weight=None):
    weight = np.ones(len(X)) if weight is None else weight
    return factors_with_gaps(torch.from_numpy(X), torch.from_numpy(weight), n_factors, noise, Stream(0))


def nats(found: Factors, X):
    """Mean log-likelihood of what is observed, row by row."""
    mean, covariance, total = found.mean.numpy(), found.covariance, 0.0
    for row in X:
        seen = ~np.isnan(row)
        if seen.any():
            total += multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(row[seen])
    return total / len(X)


def test_without_gaps_it_is_factor_analysis():
    X, new = rows(400, 1), rows(1000, 9)
    theirs = FactorAnalysis(2, tol=1e-10, max_iter=10_000).fit(X)
    found = learned(X)
    np.testing.assert_allclose(found.mean, X.mean(0), atol=0.01)
    np.testing.assert_allclose(found.covariance, theirs.get_covariance(), rtol=0.02, atol=0.1)
    assert nats(found, new) == pytest.approx(theirs.score(new), abs=0.02)
    assert nats(learned(X, n_factors=1), new) < theirs.score(new) - 0.1


def penalized(found: Factors, X):
    """The same less what two rows at the mean cost, whose factors could be any."""
    squares = found.loadings.square().sum(1) + (found.mean - torch.from_numpy(np.nanmean(X, 0))).square()
    return nats(found, X) - float((squares / found.noise).sum()) / len(X)


def test_what_is_observed_is_most_likely_with_two_rows_at_the_mean():
    X = rows(300, 2, 0.4)
    found = learned(X, noise=0.3)
    best = penalized(found, X)
    generator = torch.Generator().manual_seed(0)
    for name in ("mean", "loadings"):  # no step away is uphill
        values = getattr(found, name)
        step = 0.02 * torch.randn(values.shape, dtype=torch.float64, generator=generator)
        assert penalized(found._replace(**{name: values + step}), X) < best
        assert penalized(found._replace(**{name: values - step}), X) < best


@pytest.mark.parametrize("ridge", [2.0, 0.0])
def test_many_factors_do_no_harm(monkeypatch, ridge):
    monkeypatch.setattr("skrbm.estimators.factors_with_gaps._RIDGE", ridge)
    X, new = rows(60, 7, 0.4), rows(1000, 8)
    few, many = (nats(learned(X, n_factors=n), new) for n in (2, 5))
    assert (many > few - 0.3) == (ridge > 0)  # without the rows at the mean they do


def test_new_rows_are_nearly_as_likely_as_by_rows_without_gaps():
    new = rows(1000, 3)
    full, gaps = rows(600, 4), rows(600, 4, 0.4)
    means = np.where(np.isnan(gaps), np.nanmean(gaps, 0), gaps)
    of_full, of_gaps, of_means = (
        GaussianRBM(2, hidden="gaussian", random_state=0).fit(X).log_likelihood(new).mean() for X in (full, gaps, means)
    )
    assert of_gaps > of_full - 0.06
    assert of_means < of_full - 0.3


def test_weights_count_rows():
    X, weight = rows(200, 5, 0.3), np.random.default_rng(0).integers(0, 3, 200).astype(float)
    one, two = learned(X, weight=weight), learned(np.repeat(X, weight.astype(int), axis=0))
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_noise_that_is_given_and_few_cells(share):
    found = learned(rows(300, 6, share), n_factors=5, noise=0.5)
    assert np.isfinite(found.covariance).all()
    assert np.linalg.eigvalsh(found.covariance).min() > 0
