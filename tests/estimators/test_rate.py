"""The learning rate that is left to the rows, and the guard beside it."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch

RNG = np.random.default_rng(0)
# Ten noisy copies of each of four coins: structure that takes some epochs to learn.
CLUSTERS = (np.repeat(RNG.integers(0, 2, (2000, 4)), 10, axis=1) ^ (RNG.random((2000, 40)) < 0.1)).astype(np.float32)
WIDE = np.repeat(RNG.integers(0, 2, (300, 1)), 300, axis=1) ^ (RNG.random((300, 300)) < 0.2)


def rbm(**kwargs):
    return BernoulliRBMTorch(**{"n_hidden": 32, "n_iter": 30, "random_state": 0} | kwargs)


def test_the_rate_taken_is_an_attribute():
    model = rbm().fit(CLUSTERS)
    share = 1.0 - np.arange(30) / 30
    assert model.history_["learning_rate"][0] == pytest.approx(0.2)
    assert model.learning_rate_ != pytest.approx(0.2)  # it has moved
    assert model.history_["learning_rate"][-1] / share[-1] == pytest.approx(model.learning_rate_, rel=0.1)
    assert rbm(learning_rate=0.07).fit(CLUSTERS).learning_rate_ == 0.07


def test_a_given_rate_is_used_as_it_is():
    model = rbm(learning_rate=0.07, n_iter=10).fit(CLUSTERS)
    np.testing.assert_allclose(model.history_["learning_rate"], 0.07 * (1.0 - np.arange(10) / 10))
    assert (model.history_["step_divergence"] > 0.0).all()
    assert not model.history_["retreats"].any()


def test_wide_and_strongly_correlated_rows_are_learned_slowly():
    """By a given 0.2 the chains are thrown from one mode into the other, and the machine is ruined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its modes may be in other proportions than the rows'
        model = rbm(n_hidden=100, n_iter=60).fit(WIDE)
    assert model.history_["learning_rate"][0] < 0.2
    with pytest.warns(ConvergenceWarning, match="more than persistent chains can follow"):
        ruined = rbm(n_hidden=100, n_iter=60, learning_rate=0.2).fit(WIDE)
    limit = 4 * 100 / 16
    share = 1.0 - np.arange(60) / 60
    slow, fast = (np.median(m.history_["step_divergence"] / share**2) for m in (model, ruined))
    assert slow < limit < fast


def test_columns_of_the_history_that_an_older_version_lacked_are_filled_up():
    model = rbm(n_iter=3).fit(CLUSTERS[:100])
    del model.history_["step_divergence"]
    model.partial_fit(CLUSTERS[:100])
    assert {len(values) for values in model.history_.values()} == {4}
    assert np.isnan(model.history_["step_divergence"]).tolist() == [True] * 3 + [False]


def ruinous(optimizer):
    """A schedule that is a hundredfold from the fourth epoch on."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < 3 else 1e4)


def test_an_epoch_that_ruins_the_machine_is_gone_back_on():
    settings = {"learning_rate_schedule": ruinous, "averaging": 0.0, "n_iter": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = rbm(**settings).fit(CLUSTERS)
    assert model.history_["retreats"][:3].tolist() == [0, 0, 0]
    assert model.history_["retreats"][3:].sum() > 0
    stuck = model.history_["dead_share"] + model.history_["saturated_share"]
    assert stuck.max() <= 0.9
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        rbm(**settings, learning_rate=0.2).fit(CLUSTERS)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov", "sgd"])
def test_every_optimiser_by_name_has_a_rate(optimizer):
    model = rbm(optimizer=optimizer, momentum=0.5, n_iter=40).fit(CLUSTERS)
    assert model.history_["pseudo_log_likelihood"][-1] > model.history_["pseudo_log_likelihood"][0] + 2.0


def test_partial_fit_goes_on_at_its_pace():
    model = rbm()
    rates = [model.partial_fit(CLUSTERS).learning_rate_ for _ in range(6)]
    assert rates[0] == pytest.approx(0.05, rel=0.5)
    assert len(set(rates)) > 3
    assert model.score(CLUSTERS) > rbm().partial_fit(CLUSTERS).score(CLUSTERS) + 1.0
