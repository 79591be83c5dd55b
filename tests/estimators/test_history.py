"""What is told of each epoch, and early stopping, which goes by it."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.utils.data import DataLoader, TensorDataset

from skrbm import DataRangeWarning
from tests.estimators.small import X, assert_same, rbm


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


# -- held-out rows that are named --------------------------------------------------------------------------------------

TOO_FAST = {"early_stopping": True, "n_iter": 60, "n_iter_no_change": 3, "learning_rate": 3.0, "batch_size": 10}
TOO_FAST |= {"learning_rate_schedule": "constant"}
BITS = X.round()


def loader(rows):
    return DataLoader(TensorDataset(torch.from_numpy(rows), torch.zeros(len(rows))), batch_size=7)


KINDS = {
    "array": lambda rows: rows,
    "list": lambda rows: rows.tolist(),
    "frame": pd.DataFrame,
    "sparse matrix": sp.csr_matrix,
    "tensor": torch.from_numpy,
    "DataLoader": loader,
    "list of batches": lambda rows: [rows[:5], rows[5:]],
    "frames": lambda rows: (pd.DataFrame(rows[:5]), pd.DataFrame(rows[5:])),
    "iterator": lambda rows: iter([rows[:5], rows[5:]]),
    "dataset": lambda rows: TensorDataset(torch.from_numpy(rows)),
}


def test_rows_that_are_named_do_what_rows_that_are_split_off_do():
    """To the last bit; and then nothing is split off from the others."""
    V = np.zeros((20, 20))
    np.fill_diagonal(V, 1)
    model = rbm(early_stopping=True, validation_fraction=0.25).fit(V)
    held_out = model.base_rates_ < 0.06
    named = rbm(early_stopping=True).fit(V[~held_out], X_val=V[held_out])
    assert_same(model, named)
    assert named.validation_scores_ == model.validation_scores_
    np.testing.assert_array_equal(named.base_rates_, model.base_rates_)


@pytest.mark.parametrize("of_X", ["array", "DataLoader"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_named_stop_a_fit(of_X, kind):
    given = KINDS[of_X](BITS[:40])
    model = rbm(**TOO_FAST).fit(given, X_val=KINDS[kind](BITS[40:]))
    scores = model.validation_scores_
    best = int(np.argmax(scores)) + 1
    assert model.n_iter_ == len(scores) == best + 4 < 60
    assert model.score(BITS[40:]) == pytest.approx(model.best_validation_score_, rel=1e-5) == pytest.approx(max(scores))
    np.testing.assert_array_equal(scores, model.history_["pseudo_log_likelihood"])
    again = rbm(**TOO_FAST | {"n_iter": best}).fit(given, X_val=BITS[40:])
    np.testing.assert_array_equal(model.components_, again.components_)


def test_the_likelihood_of_rows_that_are_named_stops_a_fit_on_batches():
    model = rbm(early_stopping="log_likelihood").fit(loader(BITS[:40]), X_val=BITS[40:])
    assert len(model.validation_scores_) == 3
    assert model.log_likelihood(BITS[40:]).mean() == pytest.approx(model.best_validation_score_, rel=1e-5)


@pytest.mark.parametrize("convert", [lambda rows: rows, loader], ids=["array", "DataLoader"])
def test_without_early_stopping_rows_that_are_named_are_watched_and_change_nothing(convert):
    alone, watched = rbm().fit(convert(BITS[:40])), rbm().fit(convert(BITS[:40]), X_val=BITS[40:])
    assert_same(alone, watched)
    assert not hasattr(watched, "validation_scores_")
    assert watched.history_["pseudo_log_likelihood"][-1] == pytest.approx(watched.score(BITS[40:]), rel=1e-5)
    assert watched.history_["free_energy_held_out"][-1] == pytest.approx(
        watched.free_energy(BITS[40:]).mean(), rel=1e-5
    )
    assert np.isnan(alone.history_["free_energy_held_out"]).all()


@pytest.mark.parametrize("convert", [lambda rows: rows, loader], ids=["array", "DataLoader"])
def test_of_many_rows_that_are_named_a_thousand_are_drawn(convert):
    rows = np.repeat(np.eye(2, 7, dtype=np.float32), (2000, 1000), axis=0)
    model = rbm().fit(BITS, X_val=convert(rows))
    first, second = model.free_energy(np.eye(2, 7))
    n_second = 1000 * (model.history_["free_energy_held_out"][-1] - first) / (second - first)
    assert n_second == pytest.approx(round(n_second), abs=0.02)
    assert abs(n_second - 1000 / 3) < 60  # four standard deviations


def test_rows_that_are_named_count_once_each_beside_weights():
    weight = np.r_[np.ones(20), np.zeros(20)]
    model = rbm(early_stopping=True).fit(BITS[:40], sample_weight=weight, X_val=BITS[40:])
    assert model.score(BITS[40:]) == pytest.approx(model.best_validation_score_, rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            BITS[:, :3],
            ValueError,
            "X_val is not usable as rows: X has 3 features, but BernoulliRBMTorch is expecting 7",
        ),
        ([BITS, BITS[:, :3]], ValueError, "X_val is not usable as rows: X has 3 features"),
        (np.where(BITS, np.inf, BITS), ValueError, "X_val is not usable as rows: Input X contains infinity"),
        (BITS[:0], ValueError, "X_val is not usable as rows: Found array with 0 sample"),
        (BITS[0], ValueError, "X_val is not usable as rows: Expected 2D array"),
        (iter([]), ValueError, "X_val yields no rows"),
        ({"x": BITS}, TypeError, "X_val is a dict with the key 'x'"),
        ([{"x": BITS}], TypeError, "A batch of X_val is a dict with the key 'x'"),
        (pd.DataFrame(BITS, columns=list("gfedcba")), ValueError, "X_val is not usable as rows: The feature names"),
    ],
    ids=["columns", "columns of a batch", "infinity", "none", "one", "no batches", "dict", "dict in a batch", "names"],
)
@pytest.mark.parametrize(
    "convert", [lambda frame: frame, lambda frame: [frame[:30], frame[30:]]], ids=["frame", "list"]
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_wrong_rows_that_are_named_leave_the_model_as_it_was(rows, error, message, convert):
    frame = pd.DataFrame(BITS, columns=list("abcdefg"))
    model = rbm().fit(frame)
    before = dict(vars(model))
    rows = iter([]) if not isinstance(rows, np.ndarray | list | dict | pd.DataFrame) else rows
    for early_stopping in (False, True):
        model.early_stopping = before["early_stopping"] = early_stopping
        with pytest.raises(error, match=message):
            model.fit(convert(frame), X_val=rows)
        assert vars(model) == before


def test_rows_that_are_named_out_of_range_warn_once():
    for rows in (16 * BITS, loader(16 * BITS)):
        with pytest.warns(DataRangeWarning, match="X_val has values from 0 to 16, .* as the rows of X.$") as caught:
            rbm().fit(BITS, X_val=rows)
        assert len(caught) == 1
        assert caught[0].filename == __file__


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
