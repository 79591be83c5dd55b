"""What searches and cross-validation judge a machine by."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import _scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skrbm import BernoulliRBMTorch, log_likelihood_scorer, register_scorer
from tests.estimators.modes import X


def test_scoring_by_name():
    register_scorer()
    register_scorer()  # once more does no harm
    V = np.eye(7)[np.random.default_rng(0).integers(0, 7, 200)]
    search = GridSearchCV(
        BernoulliRBMTorch(n_iter=20, random_state=0), {"n_hidden": [1, 6]}, scoring="log_likelihood", cv=2
    ).fit(V)
    assert search.best_params_ == {"n_hidden": 6}
    best = BernoulliRBMTorch(6, n_iter=10, random_state=0).fit(X)
    assert log_likelihood_scorer(best, X) == pytest.approx(best.log_likelihood(X).mean(), rel=1e-5)
    rbm = BernoulliRBMTorch(6, n_iter=10, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), rbm)
    named, plain = (cross_val_score(e, x, scoring="log_likelihood", cv=2) for e, x in ((pipeline, 4 * X), (rbm, X)))
    np.testing.assert_allclose(named, plain, rtol=1e-4)
    with pytest.raises(TypeError, match="needs a BernoulliRBMTorch, got MinMaxScaler"):
        log_likelihood_scorer(MinMaxScaler(), X)


def test_score_stays_the_pseudo_likelihood(model):
    assert model.score(X) == pytest.approx(model.score_samples(X).mean(), rel=1e-6)
    assert abs(model.score(X) - model.log_likelihood(X).mean()) > 0.1


def test_score_with_weights_is_a_weighted_mean(model):
    weight = np.arange(len(X))
    assert model.score(X, sample_weight=weight) == pytest.approx(np.average(model.score_samples(X), weights=weight))
    twice = np.repeat(X, np.arange(len(X)) % 3, axis=0)
    assert model.score(X, None, np.arange(len(X)) % 3) == pytest.approx(model.score(twice))
    assert model.score(X, sample_weight=np.ones(len(X))) == pytest.approx(model.score(X), rel=1e-6)
    for wrong, message in ((weight[:-1], "sample_weight"), (-weight, "Negative values"), (0 * weight, "non-zero")):
        with pytest.raises(ValueError, match=message):
            model.score(X, sample_weight=wrong)


def test_importing_registers_nothing():
    """scikit-learn's tables are for the user to change, by `register_scorer`."""
    code = "import skrbm; skrbm.BernoulliRBMTorch; from sklearn.metrics import get_scorer_names as n; print(*n())"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "accuracy" in names
    assert "log_likelihood" not in names


def test_a_name_that_is_taken(monkeypatch):
    monkeypatch.setitem(_scorer._SCORERS, "log_likelihood", print)
    with pytest.raises(RuntimeError, match="scoring=skrbm.log_likelihood_scorer"):
        register_scorer()
