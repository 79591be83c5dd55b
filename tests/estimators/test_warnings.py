"""Warnings point at the line of the user, whatever lies between it and skrbm."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMTorch, DataRangeWarning, LogPartitionWarning, SwapWarning
from tests.estimators.small import X, Y, rbm


def fit_out_of_range():
    return rbm().fit(3 * X)


def partial_fit_of_batches():
    return rbm().partial_fit(iter([3 * X]))


def fit_in_a_pipeline():
    return make_pipeline(rbm(), LogisticRegression()).fit(3 * X, Y)


def log_z_from_too_few_chains():
    model = rbm()
    model.components_ = 3 * np.random.default_rng(0).normal(size=(30, 40))
    model.intercept_visible_, model.intercept_hidden_, model.n_features_in_ = np.zeros(40), np.zeros(30), 40
    return model.log_partition("ais", n_temperatures=5, n_chains=50, random_state=0)


def samples_from_rungs_that_do_not_swap():
    model = rbm()
    model.components_ = np.full((2, 40), 5.0)
    model.intercept_visible_, model.intercept_hidden_ = np.full(40, -5.0), np.zeros(2)
    model.n_features_in_, model.trajectory_ = 40, []
    return model.sample(3, 5, method="trajectory_tempering", random_state=0)


@pytest.mark.parametrize(
    ("call", "category"),
    [
        (fit_out_of_range, DataRangeWarning),
        (partial_fit_of_batches, DataRangeWarning),
        (fit_in_a_pipeline, DataRangeWarning),
        (log_z_from_too_few_chains, LogPartitionWarning),
        (samples_from_rungs_that_do_not_swap, SwapWarning),
    ],
)
def test_at_the_users_line(call, category):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [warning for warning in caught if warning.category is category]
    assert found
    lines, first = inspect.getsourcelines(call)
    for warning in found:
        assert warning.filename == __file__
        assert first < warning.lineno < first + len(lines)
        assert "return" in lines[warning.lineno - first]


def test_the_class_of_a_warning_is_public():
    assert issubclass(DataRangeWarning, UserWarning)
    assert BernoulliRBMTorch.__module__ == "skrbm.estimators.bernoulli"
