"""The learning rate that is left to the rows, the guard beside it, and the verdict after it."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch, LogPartitionWarning

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


# -- verdict -----------------------------------------------------------------------------------------------------------


def test_silent_on_a_good_fit():
    rbm(n_iter=60).fit(CLUSTERS)  # warnings are errors here


def test_loud_on_a_fit_that_has_only_begun():
    with pytest.warns(ConvergenceWarning, match=r"not to be trusted: chains that start at training rows drift"):
        rbm(n_iter=3, learning_rate=0.01).fit(CLUSTERS)


def test_trials_of_a_few_updates_are_not_judged():
    rbm(n_iter=1).fit(CLUSTERS[:100])


def test_diagnose_ends_in_a_verdict():
    model = rbm(n_iter=60).fit(CLUSTERS)
    table = model.diagnose("gibbs", n_steps=50)
    assert table.note.startswith("Verdict: nothing is off.")
    assert repr(table).endswith(table.note)
    model.components_ = 3 * model.components_
    assert "drift away" in model.diagnose("gibbs", n_steps=50).note


def test_log_likelihood_says_each_time_that_log_z_is_not_measurable():
    model = rbm(n_iter=60).fit(CLUSTERS)
    model.components_ = 4 * model.components_
    with pytest.warns(LogPartitionWarning):
        model.log_partition("ais", n_temperatures=3, random_state=0)
    with pytest.warns(LogPartitionWarning, match="Only .* of 100 chains count"):
        model.log_likelihood(CLUSTERS)
