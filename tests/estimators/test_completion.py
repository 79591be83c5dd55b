"""Samples under a condition, and rows completed."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from skrbm import BernoulliRBMTorch
from tests import reference
from tests.estimators.modes import METHODS, X
from tests.estimators.small import params_of


@pytest.mark.parametrize("method", METHODS)
def test_condition(model, method):
    condition = np.full(10, np.nan)
    condition[:3] = (1, 0, 1) if method == "gibbs" else (1, 0, 0)  # the latter leaves two modes
    V = model.sample(3000, 50, condition=condition, method=method, random_state=0)
    assert (V[:, :3] == condition[:3]).all()
    p = reference.conditional_p_v(params_of(model), condition)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)


def test_conditions_of_any_kind():
    frame = pd.DataFrame(X[:200], columns=list("abcdefghij"))
    model = BernoulliRBMTorch(6, n_iter=2, random_state=0).fit(frame)
    gaps = frame[:2].copy()
    gaps["c"] = np.nan
    V = model.sample(2, 5, condition=gaps)  # without a warning that names are missing
    np.testing.assert_array_equal(V[:, :2], frame.to_numpy()[:2, :2])
    plain = BernoulliRBMTorch(6, n_iter=2, random_state=0).fit(X[:200])
    for row in (gaps.to_numpy()[0], gaps.to_numpy()[0].tolist(), torch.from_numpy(gaps.to_numpy()[0])):
        assert plain.sample(3, 5, condition=row).shape == (3, 10)
    tensor = torch.full((10,), float("nan"), dtype=torch.bfloat16, requires_grad=True)
    assert plain.sample(3, 5, condition=tensor).shape == (3, 10)
    assert plain.sample(2, 5, condition=X[0]).tolist() == [X[0].tolist()] * 2  # nothing is free
    assert set(np.unique(plain.sample(2, 5, condition=[np.nan] * 10))) <= {0.0, 1.0}


def test_a_condition_for_each_sample(model):
    rows = np.array([[1.0] + [np.nan] * 9, [np.nan] * 9 + [1.0]])
    V = model.sample(2, 20, condition=rows)
    assert V[0, 0] == V[1, 9] == 1
    with pytest.raises(ValueError, match=r"condition has 2 rows, but n_samples=3"):
        model.sample(3, condition=rows)
    with pytest.raises(ValueError, match=r"condition has values from 7 to 7, but the machine reads"):
        model.sample(2, condition=rows * 7)
    with pytest.raises(ValueError, match="condition is not usable as rows: Input X contains infinity"):
        model.sample(2, condition=rows * np.inf)
    with pytest.raises(ValueError, match="condition is not usable as rows: X has 3 features"):
        model.sample(condition=[1.0, 0.0, np.nan])


@pytest.mark.parametrize("method", METHODS)
def test_complete_with_means(model, method):
    rows = X[:32].astype(np.float64)
    rows[0, 2:6], rows[1, 0], rows[2:] = np.nan, np.nan, np.nan
    found = model.complete(rows, n_steps=4000, method=method, random_state=0)
    given = ~np.isnan(rows)
    np.testing.assert_array_equal(found[given], rows[given])
    for row, filled in zip(rows[:2], found[:2], strict=True):  # the others may be of either mode for long
        exact = reference.conditional_p_v(params_of(model), row) @ reference.states(10)
        np.testing.assert_allclose(filled, exact, atol=0.02)
    if method != "gibbs":
        # A chain's mean over 2,000 steps has a standard deviation of up to 0.1, that of 30 chains one of 0.02.
        exact = reference.p_v(params_of(model)) @ reference.states(10)
        np.testing.assert_allclose(found[2:].mean(0), exact, atol=0.08)


def test_complete_with_samples(model):
    row = np.array([1, 0, 1, *[np.nan] * 7])
    V = model.complete(np.tile(row, (3000, 1)), "sample", n_steps=50, random_state=0)
    p = reference.conditional_p_v(params_of(model), row)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)


def test_complete_keeps_what_it_is_given(model):
    rows = X[:4].copy()
    rows[:, 0] = 0.3
    np.testing.assert_array_equal(model.complete(rows, n_steps=999), rows)
    rows[0, 3] = np.nan
    before = rows.copy()
    frame = pd.DataFrame(rows)
    assert model.complete(frame, n_steps=2).dtype == np.float32
    np.testing.assert_array_equal(frame, before)
    assert not np.isnan(model.complete(torch.from_numpy(rows), n_steps=1)).any()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"kind": "median"}, ValueError, "kind='median' is not known"),
        ({"n_steps": 0}, ValueError, "n_steps == 0, must be >= 1"),
        ({"method": "wish"}, ValueError, "method='wish' is not known"),
        ({"X": X[:2] * 3}, ValueError, "X has values from 0 to 3"),
        ({"X": X[:2, :4]}, ValueError, "X has 4 features"),
        ({"X": sp.csr_matrix(X[:2])}, TypeError, "Sparse data was passed"),
    ],
)
def test_complete_of_bad_arguments(model, kwargs, error, message):
    with pytest.raises(error, match=message):
        model.complete(**({"X": X[:2]} | kwargs))


def test_nan_stays_an_error_elsewhere(model):
    rows = X[:20].copy()
    rows[0, 0] = np.nan
    for method in (model.reconstruct, model.gibbs):
        with pytest.raises(ValueError, match="NaN"):
            method(rows)
