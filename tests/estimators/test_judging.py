"""The verdict after a fit."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch, LogPartitionWarning
from tests import reference
from tests.estimators.test_rate import CLUSTERS, rbm


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


def test_rows_that_were_not_learned_at_all():
    """Bars and stripes, too few of them for so much weight decay."""
    bits = reference.states(4)
    X = np.unique(np.concatenate([np.repeat(bits, 4, 1), np.tile(bits, (1, 4))]), axis=0)
    words = r"learned next to nothing of how columns go together\. Less weight decay \(weight_decay=0.2\)"
    with pytest.warns(ConvergenceWarning, match=words):
        BernoulliRBMTorch(n_iter=200, weight_decay=0.2, random_state=0).fit(X)
    BernoulliRBMTorch(n_iter=200, random_state=0).fit(X)
