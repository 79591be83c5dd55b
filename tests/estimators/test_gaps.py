"""Rows with gaps, in all estimators: NaN is summed out."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import multivariate_normal

from skrbm import BernoulliRBMTorch, CategoricalRBM, DataRangeWarning, GaussianRBM, LogPartitionWarning, MixedRBM
from skrbm.likelihood import gaps
from skrbm.rows.source import binarize_rows
from skrbm.support.randomness import Stream
from tests import reference
from tests.estimators.modes import X as MODES
from tests.estimators.small import params_of
from tests.estimators.test_tabular import FRAME

RNG = np.random.default_rng(0)
NAN = np.nan
NUMBERS = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 4)) + 0.3 * RNG.normal(size=(300, 4))
NUMBERS = NUMBERS * [1e-3, 1.0, 10.0, 1e4] + [0.0, 5.0, -3.0, 1e5]
CATEGORIES = np.stack([RNG.integers(3, size=300), RNG.integers(2, size=300), RNG.integers(4, size=300)], 1)
CATEGORIES[:, 1] = CATEGORIES[:, 0] > 0
METHODS = ("transform", "free_energy", "score_samples", "log_likelihood")
MAKERS = {
    "bits": lambda: (BernoulliRBMTorch(4, n_iter=5, random_state=0), MODES[:300, :6].astype(float)),
    "numbers": lambda: (GaussianRBM(4, n_iter=5, random_state=0), NUMBERS),
    "factors": lambda: (GaussianRBM(2, hidden="gaussian", random_state=0), NUMBERS),
    "categories": lambda: (CategoricalRBM(4, n_iter=5, random_state=0), CATEGORIES.astype(float)),
    "mixed": lambda: (MixedRBM(4, n_iter=5, random_state=0), FRAME.iloc[:300]),
}
FITTED = {}
of_all = pytest.mark.parametrize("name", MAKERS)


def fitted_to(name):
    """A machine and its rows, learned once."""
    if name not in FITTED:
        model, rows = MAKERS[name]()
        FITTED[name] = model.fit(rows), rows
    return FITTED[name]


def with_gaps(rows, share=0.3, seed=0):
    is_gap = np.random.default_rng(seed).random(np.shape(rows)) < share
    return rows.mask(is_gap) if hasattr(rows, "mask") else np.where(is_gap, NAN, rows)


@of_all
def test_rows_without_gaps_are_as_ever_beside_others(name):
    model, rows = fitted_to(name)
    rows = rows[:20]
    some = with_gaps(rows[:5])
    both = pd.concat((some, rows)) if hasattr(rows, "mask") else np.concatenate((some, rows))
    for method in METHODS:
        of_all, of_some, of_whole = (getattr(model, method)(one) for one in (both, some, rows))
        np.testing.assert_allclose(of_all, np.concatenate((of_some, of_whole)), rtol=1e-6)
        assert np.isfinite(of_all).all()


@of_all
def test_the_likelihood_is_by_the_chain_rule_that_of_parts(name):
    """A value of a column adds log p(value | the others): the terms of the pseudo-likelihood say the same."""
    model, rows = fitted_to(name)
    whole = with_gaps(rows[:6], 0.2)
    values = np.asarray(whole.to_numpy() if hasattr(whole, "mask") else whole, object)
    likelihood, terms = model.log_likelihood(whole), np.zeros(6)
    for column in range(values.shape[1]):
        without = whole.copy()
        if hasattr(whole, "mask"):
            without.isetitem(column, without.iloc[:, column].mask(np.ones(6, bool)))
        else:
            without[:, column] = NAN
        terms += np.where(pd.isna(values[:, column]), 0.0, likelihood - model.log_likelihood(without))
    np.testing.assert_allclose(model.score_samples(whole), terms, atol=1e-6, rtol=1e-5)
    filled = np.where(pd.isna(values), 0.0, values) if name in ("bits", "numbers") else None
    if filled is not None:
        assert np.abs(model.score_samples(filled.astype(float)) - terms)[pd.isna(values).any(1)].min() > 1e-3


@of_all
def test_rows_without_a_value(name):
    model, rows = fitted_to(name)
    empty = rows[:2].mask(np.ones((2, rows.shape[1]), bool)) if hasattr(rows, "mask") else rows[:2] * NAN
    assert model.score_samples(empty).tolist() == [0.0, 0.0]
    assert model.score(empty) == 0.0
    assert model.log_likelihood(empty).tolist() == [0.0, 0.0]
    nats, std = model.log_likelihood(empty, return_std=True)
    assert nats.tolist() == [0.0, 0.0]
    assert std == 0.0
    np.testing.assert_allclose(model.free_energy(empty), -model.log_partition().value, rtol=1e-5)
    np.testing.assert_allclose(*model.transform(empty))


@of_all
def test_the_free_energy_is_that_of_the_likelihood(name):
    model, rows = fitted_to(name)
    rows = with_gaps(rows[:10])
    nats = model.log_likelihood(rows) + model.free_energy(rows)
    np.testing.assert_allclose(nats, -model.log_partition().value, rtol=1e-4, atol=1e-4)


def test_bits_by_enumeration(model):
    rows = MODES[:8].astype(np.float64)
    rows[np.random.default_rng(0).random(rows.shape) < 0.4] = NAN
    params, V = params_of(model), reference.states(10)
    p, h = reference.p_v(params), model.transform(V)
    nats, features = model.log_likelihood(rows), model.transform(rows)
    for row, of_row, h_of_row in zip(rows, nats, features, strict=True):
        seen = ~np.isnan(row)
        agree = (V[:, seen] == row[seen]).all(1)
        assert of_row == pytest.approx(np.log(p[agree].sum()), abs=1e-6)
        np.testing.assert_allclose(h_of_row, p[agree] @ h[agree] / p[agree].sum(), atol=1e-6)


def test_of_factors_the_density_is_that_of_a_normal_distribution():
    model, rows = fitted_to("factors")
    mean, spread = NUMBERS.mean(0), model.scale_
    grid = (rows[:5] - mean) / spread
    whole = model.log_likelihood(rows[:5])
    W = model.components_.astype(float)
    covariance = np.linalg.inv(np.eye(4) - W.T @ W)
    centre = covariance @ (model.intercept_visible_ + W.T @ model.intercept_hidden_)
    np.testing.assert_allclose(whole, multivariate_normal(centre, covariance).logpdf(grid) - np.log(spread).sum())
    some = rows[:5].copy()
    some[:, [0, 2]] = NAN
    seen = [1, 3]
    expected = multivariate_normal(centre[seen], covariance[np.ix_(seen, seen)]).logpdf(grid[:, seen])
    np.testing.assert_allclose(model.log_likelihood(some), expected - np.log(spread[seen]).sum())


def test_densities_are_in_the_units_of_the_columns_that_are_there():
    model, rows = fitted_to("numbers")
    some = rows[:5].copy()
    some[:, 1:] = NAN
    grid = np.linspace(-0.02, 0.02, 4001)
    density = np.exp(model.log_likelihood(np.column_stack((grid, *[np.full(4001, NAN)] * 3))))
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1.0, abs=1e-4)
    np.testing.assert_allclose(model.score_samples(some), model.log_likelihood(some), rtol=1e-5)


def test_gaps_of_frames_are_of_any_kind():
    model, rows = fitted_to("mixed")
    some = rows[:3].astype(object)
    some.iloc[0, 4], some.iloc[1, 2], some.iloc[2, 0] = None, pd.NA, NAN
    typed = rows[:3].copy()
    typed["town"] = typed["town"].mask([True, False, False])
    typed["smokes"] = typed["smokes"].astype("boolean").mask([False, True, False])
    typed["age"] = typed["age"].astype("Int64").mask([False, False, True])
    for method in METHODS:
        found = getattr(model, method)(some)
        np.testing.assert_allclose(found, getattr(model, method)(typed), rtol=1e-6)
        assert np.isfinite(found).all()


def test_unknown_labels_may_count_as_gaps():
    model = CategoricalRBM(3, n_iter=2, handle_unknown="missing", random_state=0).fit(CATEGORIES)
    strange, gap = CATEGORIES[:2].astype(float), CATEGORIES[:2].astype(float)
    strange[0, 2], gap[0, 2] = 17, NAN
    for method in METHODS:
        np.testing.assert_array_equal(getattr(model, method)(strange), getattr(model, method)(gap))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy, pd.DataFrame, lambda X: [X[:2], X[2:]]])
def test_rows_of_any_container(model, dtype, make):
    rows = with_gaps(MODES[:6].astype(np.float64)).astype(dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        for method in METHODS:
            found = getattr(model, method)(make(rows))
            assert found.dtype == dtype
            np.testing.assert_allclose(found, getattr(model, method)(rows.astype(np.float64)), rtol=1e-4, atol=1e-5)


def test_greys_beside_gaps_are_drawn_as_without(fitted):
    rows = np.full((3, 7), 0.5)
    rows[:, 2:4] = NAN
    assert np.isfinite(fitted.score_samples(rows)).all()
    drawn = binarize_rows(torch.full((3, 7), 0.5, dtype=torch.float64), "sample", Stream(0, "pixels")).numpy()
    first = fitted.log_likelihood(rows)
    np.testing.assert_array_equal(first, fitted.log_likelihood(np.where(np.isnan(rows), NAN, drawn)))
    assert (first != fitted.log_likelihood(np.where(np.isnan(rows), NAN, 1.0 - drawn))).all()
    arrays = (fitted.components_, fitted.intercept_visible_, fitted.intercept_hidden_)
    cut = BernoulliRBMTorch.from_parameters(*arrays, binarize=0.4)
    np.testing.assert_array_equal(cut.log_likelihood(rows), cut.log_likelihood(np.where(rows == 0.5, 1.0, rows)))
    plain = cut.set_params(binarize="none")
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        plain.log_likelihood(rows)
    assert np.isfinite(plain.log_likelihood(np.round(rows))).all()


def test_ranges_are_of_what_is_there(fitted):
    rows = np.full((3, 7), 9.0)
    rows[:, 2:4] = NAN
    for method in ("transform", "score_samples", "free_energy"):
        with pytest.warns(DataRangeWarning, match="X has values from 9 to 9"):
            getattr(fitted, method)(rows)
        with pytest.warns(DataRangeWarning, match="X has values from 9 to 9"):
            getattr(fitted, method)([rows, rows])
    with pytest.raises(ValueError, match="X has values from 9 to 9"):
        fitted.log_likelihood(rows)


def test_gaps_stay_an_error_of_other_methods_and_of_sparse_rows(fitted):
    rows = np.where(np.eye(7) > 0, NAN, 1.0)
    for call in (fitted.reconstruct, fitted.gibbs):
        with pytest.raises(ValueError, match="NaN"):
            call(rows)
    for method in METHODS:
        with pytest.raises(ValueError, match="NaN"):
            getattr(fitted, method)(sp.csr_matrix(rows))
        with pytest.raises(ValueError, match="infinity"):
            getattr(fitted, method)(rows * np.inf)


def test_where_sums_are_estimated_there_are_errors(model, monkeypatch):
    rows = MODES[:6].astype(np.float64)
    rows[:3, 3:], rows[3] = NAN, NAN
    exact = model.log_likelihood(rows)
    monkeypatch.setattr(gaps, "_MAX_BITS", -1.0)
    nats, std = model.log_likelihood(rows, return_std=True)
    assert std.shape == (6,)
    assert (std[:3] > 0.0).all()
    assert std[3:].tolist() == [0.0] * 3
    np.testing.assert_array_equal(nats, model.log_likelihood(rows))
    assert (np.abs(nats - exact) < 4 * std + 1e-6).all()
    of_z = model.log_partition("ais", n_temperatures=100).standard_error
    is_empty = [False, False, False, True, False, False]
    _, with_that_of_z = model.log_likelihood(rows, return_std=True)
    np.testing.assert_allclose(with_that_of_z, np.where(is_empty, 0.0, np.hypot(std, of_z)))


def test_of_chains_that_dont_count_there_is_a_warning(monkeypatch):
    monkeypatch.setattr(gaps, "_MAX_BITS", -1.0)
    short = partial(gaps.marginal_free_energy, n_temperatures=2)
    monkeypatch.setattr("skrbm.estimators.gaps.marginal_free_energy", short)
    W = 4.0 * np.random.default_rng(0).normal(size=(20, 20))
    model = BernoulliRBMTorch.from_parameters(W, np.zeros(20), np.zeros(20), random_state=0)
    rows = np.full((1, 20), NAN)
    rows[0, 0] = 1.0
    with pytest.warns(LogPartitionWarning, match="missing values of 1 row were summed out by AIS"):
        model.free_energy(rows)
