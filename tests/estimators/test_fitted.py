"""Fitted attributes: assigned, copied, loaded."""

import copy

import joblib
import numpy as np
import pytest

from tests.estimators.small import X


def test_assigned_arrays_take_effect_at_once(fitted):
    model = copy.deepcopy(fitted)
    model.components_ = np.zeros((4, 7))
    model.intercept_hidden_ = np.array([0.0, 1.0, -1.0, 50.0])
    np.testing.assert_allclose(model.transform(X)[0], 1 / (1 + np.exp([0, -1, 1, -50])), rtol=1e-6)
    model.components_ = [[1.0] * 7] * 4
    assert model.transform(X)[0, 0] > 0.5
    before = model.components_
    model.partial_fit(X)
    assert np.abs(model.components_ - np.array(before)).max() < 0.5


def test_assigned_arrays_of_the_wrong_shape(fitted):
    model = copy.deepcopy(fitted)
    model.components_ = np.zeros((4, 6))
    with pytest.raises(ValueError, match="W must have shape"):
        model.transform(X)


def test_a_device_that_is_gone_does_not_hinder_a_fitted_model(fitted):
    model = copy.deepcopy(fitted).set_params(device="cuda:99")
    np.testing.assert_array_equal(model.transform(X), fitted.transform(X))


def test_joblib_with_memory_maps(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    loaded.partial_fit(X)
    assert not np.array_equal(loaded.components_, fitted.components_)
