"""What is told of each epoch, and early stopping, which goes by it."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from tests.estimators.small import X, rbm


def test_verbose_prints_a_line_an_epoch(capsys):
    rbm(verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("[BernoulliRBMTorch] epoch 2/3, learning rate 0.133, pseudo-log-likelihood -")
    rbm().fit(X)
    assert not capsys.readouterr().out


def test_history_has_a_row_for_each_epoch():
    V = X.round()
    model = rbm(n_iter=4, k={0: 1, 0.5: 3}).fit(V)
    frame = pd.DataFrame(model.history_)
    assert frame.epoch.tolist() == [1, 2, 3, 4]
    assert frame.k.tolist() == [1, 1, 3, 3]
    assert frame.learning_rate.tolist() == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert frame.weight_norm.iloc[-1] == pytest.approx(np.linalg.norm(model.components_))
    assert frame.free_energy.iloc[-1] == pytest.approx(model.free_energy(V).mean())
    assert frame.pseudo_log_likelihood.iloc[-1] == pytest.approx(model.score(V))
    assert frame.free_energy_gap.isna().all()
    assert all(values.dtype.kind in "if" for values in model.history_.values())
    grey = rbm(n_iter=1).fit(X).history_
    assert grey["free_energy"][0] != pytest.approx(rbm(n_iter=1).fit(X).free_energy(X).mean())  # of draws
    one = rbm(n_iter=1, k={0: 1, 0.5: 3}).fit(X)
    two = rbm(n_iter=1, warm_start=True).fit(X).fit(X)
    assert two.history_["update_norm"][1] == pytest.approx(np.linalg.norm(two.components_ - one.components_), rel=1e-5)


def test_history_goes_on_where_training_does_and_begins_anew_where_it_does():
    model = rbm(warm_start=True).fit(X).fit(X)
    assert len(model.history_["loss"]) == 6
    assert model.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert len(model.partial_fit(X).history_["loss"]) == 7
    assert model.history_["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert len(model.set_params(warm_start=False).fit(X).history_["loss"]) == 3
    assert model.history_["epoch"].tolist() == [1, 2, 3]


def test_early_stopping_keeps_the_best_epoch():
    """Trained far too fast, the held-out score falls after a while."""
    model = rbm(
        early_stopping=True, n_iter=60, n_iter_no_change=3, learning_rate=3.0, learning_rate_schedule="constant"
    ).fit(X)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ == len(model.history_["epoch"]) < 60
    assert model.best_validation_score_ == max(scores)
    np.testing.assert_array_equal(scores, model.history_["pseudo_log_likelihood"])
    best = int(np.argmax(scores)) + 1
    assert model.n_iter_ == best + 4  # as many epochs without improvement as `MLPClassifier` waits for
    again = rbm(
        early_stopping=True, n_iter=best, n_iter_no_change=3, learning_rate=3.0, learning_rate_schedule="constant"
    ).fit(X)
    np.testing.assert_array_equal(model.components_, again.components_)
    assert not np.isnan(model.history_["free_energy_gap"]).any()


def test_held_out_rows_are_not_learned():
    """Where a column is 1 in a single row, it is so in what the machine has seen or in what it was scored by."""
    V = np.zeros((20, 20))
    np.fill_diagonal(V, 1)
    model = rbm(early_stopping=True, validation_fraction=0.25, n_iter=2).fit(V)
    unseen = model.base_rates_ < 0.06
    assert unseen.sum() == 5
    assert not V[:, unseen][V[:, ~unseen].any(1)].any()


@pytest.mark.parametrize("criterion", ["pseudo_log_likelihood", "log_likelihood"])
def test_criteria_of_early_stopping(criterion):
    model = rbm(early_stopping=criterion).fit(X.round())
    assert len(model.validation_scores_) == 3
    held_out_score = model.history_["pseudo_log_likelihood"][np.argmax(model.validation_scores_)]
    assert (model.best_validation_score_ == held_out_score) == (criterion == "pseudo_log_likelihood")


def test_early_stopping_weighs_the_held_out_rows():
    weight = np.r_[np.ones(30), np.zeros(30)]
    model = rbm(early_stopping=True).fit(X, sample_weight=weight)
    alone = rbm(early_stopping=True).fit(X[:30], sample_weight=np.ones(30))
    assert model.validation_scores_ == pytest.approx(alone.validation_scores_)
    uneven = rbm(early_stopping=True).fit(X[:30], sample_weight=np.arange(1, 31))
    assert uneven.validation_scores_ != pytest.approx(alone.validation_scores_)


def test_early_stopping_needs_rows_enough_and_no_partial_fit():
    with pytest.raises(ValueError, match="train set will be empty"):
        rbm(early_stopping=True).fit(X[:1])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        rbm(early_stopping=True).partial_fit(X)


def test_the_scores_of_an_earlier_fit_are_gone():
    model = rbm(early_stopping=True).fit(X)
    model.set_params(early_stopping=False).fit(X)
    assert not hasattr(model, "validation_scores_")


def test_stuck_units_are_those_of_the_model_that_is_kept():
    """A rate that ruins the machine after its best epoch is no cause for a warning."""

    def ruin(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < 3 else 100.0)

    V = np.repeat(np.eye(8), 40, axis=0)
    settings = {"n_iter": 30, "n_iter_no_change": 9, "learning_rate_schedule": ruin, "averaging": 0.0, "n_hidden": 16}
    settings |= {"learning_rate": 0.2, "weight_decay": 2e-3}
    model = rbm(early_stopping=True, **settings).fit(V)  # warnings are errors here
    worst = model.history_["dead_share"] + model.history_["saturated_share"]
    assert worst[-1] > 0.9
    assert len(model.validation_scores_) - np.argmax(model.validation_scores_) > 3
    with pytest.warns(ConvergenceWarning, match="Lower the learning rate"):
        rbm(**settings).fit(V)
