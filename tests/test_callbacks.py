import io
import os
import pickle
import re
from unittest import mock

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.fixes import parse_version

from skrbm import BernoulliRBMTorch
from skrbm.callbacks import Checkpoint, LikelihoodMonitor, OnEpoch
from skrbm.estimators._compat import without_callbacks

X = np.random.default_rng(0).integers(0, 2, (60, 7)).astype(float)
Y = X[:, 0].astype(int)
HAS_CALLBACKS = parse_version(sklearn.__version__) >= parse_version("1.9")
new = pytest.mark.skipif(not HAS_CALLBACKS, reason="scikit-learn before 1.9 has no callbacks")


def rbm(**kwargs):
    return BernoulliRBMTorch(**{"n_hidden": 4, "n_iter": 3, "random_state": 0, "batch_size": 20, **kwargs})


@pytest.mark.skipif(HAS_CALLBACKS, reason="for scikit-learn before 1.9")
def test_older_versions_say_so():
    for attempt in (lambda: rbm().set_callbacks(), lambda: LikelihoodMonitor()):
        with pytest.raises(NotImplementedError, match="Callbacks need scikit-learn 1.9 or newer, but this is 1"):
            attempt()


# -- scikit-learn's own -----------------------------------------------------------------------------------------------


@new
def test_scoring_monitor_has_a_score_for_each_epoch():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring={"score": lambda model, X, y: model.score(X)})
    model = rbm().set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == [0, 1, 2]
    assert rows[-1]["score"] == pytest.approx(model.score(X))
    assert len({row["score"] for row in rows}) == 3


@new
def test_progress_bar_alone_and_within(capsys):
    from sklearn.callback import ProgressBar

    rbm().set_callbacks(ProgressBar()).fit(X)
    assert re.search(r"BernoulliRBMTorch.*100%", capsys.readouterr().out)
    pipeline = Pipeline([("rbm", rbm()), ("clf", LogisticRegression())])
    pipeline.set_callbacks(ProgressBar()).fit(X, Y)
    assert "BernoulliRBMTorch" in capsys.readouterr().out
    search = GridSearchCV(pipeline.set_callbacks(), {"rbm__n_hidden": [2, 3]}, cv=2, refit=False)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, Y)
    assert "BernoulliRBMTorch" in capsys.readouterr().out


# -- ours -------------------------------------------------------------------------------------------------------------


@new
def test_on_epoch_sees_a_model_before_the_first_epoch_and_after_each():
    seen = []
    look = OnEpoch(lambda model, epoch: seen.append((epoch, model)), before=True)
    model = rbm(averaging=0.5).set_callbacks(look).fit(X)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert np.abs(seen[0][1].components_).max() < 0.1  # where training starts
    np.testing.assert_array_equal(seen[-1][1].components_, model.components_)
    scores = [state.score(X) for _, state in seen]  # each a model of its own
    assert len(set(scores)) == 4
    assert scores[-1] == model.score(X)
    assert all(state.sample(3, 2).shape == (3, 7) for _, state in seen)
    joblib.dump(seen[1][1], io.BytesIO())  # knows of no lambda


@new
def test_every_so_many_epochs_and_the_last():
    seen = []
    rbm(n_iter=5).set_callbacks(OnEpoch(lambda model, epoch: seen.append(epoch), every=2)).fit(X)
    assert seen == [2, 4, 5]
    seen.clear()
    rbm(n_iter=5).set_callbacks(OnEpoch(lambda model, epoch: seen.append(epoch), every=2, before=True)).fit(X)
    assert seen == [0, 2, 4, 5]


@new
def test_the_history_can_be_logged_from_the_first_call_on():
    logged = []
    model = rbm().set_callbacks(OnEpoch(lambda m, e: logged.append((e, m.history_["pseudo_log_likelihood"][-1]))))
    assert logged == list(enumerate(model.fit(X).history_["pseudo_log_likelihood"], 1))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(model)
    pickle.dumps(model.set_callbacks())


@new
def test_true_stops_training():
    model = rbm(n_iter=9).set_callbacks(OnEpoch(lambda model, epoch: epoch == 2)).fit(X)
    assert model.n_iter_ == 2
    assert len(model.history_["epoch"]) == 2


@new
def test_an_error_in_a_callback_leaves_the_model_and_ends_the_fit():
    model = rbm().fit(X)
    before = model.components_.copy()

    def fail(model, epoch):
        raise ZeroDivisionError("mine")

    callback = OnEpoch(fail)
    callback.teardown = mock.Mock()
    with pytest.raises(ZeroDivisionError, match="mine"):
        model.set_callbacks(callback).fit(X)
    np.testing.assert_array_equal(model.components_, before)
    callback.teardown.assert_called_once()
    assert not hasattr(model, "_callback_fit_ctx")
    assert model.set_callbacks().fit(X).n_iter_ == 3


@new
def test_training_does_not_depend_on_callbacks():
    watched = rbm().set_callbacks(OnEpoch(lambda model, epoch: None), LikelihoodMonitor(X)).fit(X)
    np.testing.assert_array_equal(watched.components_, rbm().fit(X).components_)


@new
def test_checkpoints(tmp_path):
    one, each = tmp_path / "model.joblib", tmp_path / "model-{epoch}.joblib"
    model = rbm(n_iter=5).set_callbacks(Checkpoint(one), Checkpoint(each, every=2)).fit(X)
    assert sorted(os.listdir(tmp_path)) == [*(f"model-{i}.joblib" for i in (2, 4, 5)), "model.joblib"]
    stored = joblib.load(one)
    np.testing.assert_array_equal(stored.components_, model.components_)
    assert joblib.load(tmp_path / "model-2.joblib").n_iter_ == 2
    assert stored.set_params(warm_start=True).fit(X).n_iter_ == 5


@new
def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path):
    path = tmp_path / "model.joblib"
    rbm(n_iter=1).set_callbacks(Checkpoint(path)).fit(X)
    before = path.read_bytes()
    with (
        mock.patch("skrbm.callbacks.os.replace", side_effect=OSError("disk full")),
        pytest.raises(OSError, match="full"),
    ):
        rbm().set_callbacks(Checkpoint(path)).fit(X)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.joblib"]
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere.*Make it first"):
        rbm().set_callbacks(Checkpoint(tmp_path / "nowhere" / "model.joblib")).fit(X)


@new
def test_likelihood_monitor_without_y():
    monitor = LikelihoodMonitor(X[40:], log_likelihood=True)
    model = rbm().set_callbacks(monitor).fit(X[:40])
    rows = monitor.get_logs().data
    assert [(row["task_name"], row["task_id"]) for row in rows] == [("epoch", epoch) for epoch in range(3)]
    assert len(monitor.get_logs().data_as_pandas) == 3
    last = rows[-1]
    assert last["pseudo_log_likelihood"] == pytest.approx(model.score(X[:40]))
    assert last["pseudo_log_likelihood_val"] == pytest.approx(model.score(X[40:]))
    gap = model.free_energy(X[40:]).mean() - model.free_energy(X[:40]).mean()
    assert last["free_energy_gap"] == pytest.approx(gap)
    assert last["log_likelihood"] == pytest.approx(model.log_likelihood(X[40:]).mean())
    few = LikelihoodMonitor(max_rows=2)
    rbm().set_callbacks(few).fit(X)
    assert set(few.get_logs().data[0]) >= {"pseudo_log_likelihood"}
    assert few.get_logs().data[-1]["pseudo_log_likelihood"] != last["pseudo_log_likelihood"]


@new
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_likelihood_monitor_in_a_search(n_jobs):
    monitor = LikelihoodMonitor()
    pipeline = Pipeline([("rbm", rbm().set_callbacks(monitor)), ("clf", LogisticRegression())])
    search = GridSearchCV(pipeline, {"rbm__n_hidden": [2, 3]}, cv=2, n_jobs=n_jobs, refit=False).fit(X, Y)
    logs = monitor.get_logs(select="all")
    rows = [row for log in logs for row in log.data if row["task_name"] == "epoch"]
    assert len(rows) == 2 * 2 * 3
    assert all(np.isfinite(row["pseudo_log_likelihood"]) for row in rows)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@new
def test_clone_keeps_callbacks_and_copies_without_them_have_none():
    model = rbm().set_callbacks(OnEpoch(print))
    assert len(clone(model)._skl_callbacks) == 1
    assert "_skl_callbacks" not in vars(without_callbacks(model))
    assert len(model._skl_callbacks) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: OnEpoch(3), TypeError, "function must be callable .*, got 3"),
        (lambda: OnEpoch(print, every=0), ValueError, "every == 0, must be >= 1"),
        (lambda: Checkpoint(3), TypeError, "PathLike"),
        (lambda: LikelihoodMonitor(max_rows=0), ValueError, "max_rows == 0"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@new
def test_before_the_first_epoch_nothing_of_an_earlier_fit_is_left():
    seen = []
    rbm = BernoulliRBMTorch(12, n_iter=2, store_trajectory=True, early_stopping=True, random_state=0).fit(X)
    rbm.set_params(n_hidden=3, store_trajectory=False, early_stopping=False)
    rbm.set_callbacks(OnEpoch(lambda model, epoch: seen.append((epoch, vars(model))), before=True))
    rbm.fit(X)
    (first, start), (_, later), _ = seen
    assert first == 0
    assert not {"trajectory_", "validation_scores_", "n_iter_"} & set(start)
    assert {"components_", "h_samples_", "base_rates_", "data_samples_"} <= set(start)
    assert list(start["history_"]) == list(later["history_"]) == list(rbm.history_)
    assert {len(values) for values in start["history_"].values()} == {0}


@new
def test_before_the_first_epoch_of_a_warm_start_there_is_the_history_of_the_fit_before():
    seen = []
    rbm = BernoulliRBMTorch(3, n_iter=2, warm_start=True, random_state=0).fit(X)
    rbm.set_callbacks(OnEpoch(lambda model, epoch: seen.append(len(model.history_["epoch"])), before=True)).fit(X)
    assert seen == [2, 3, 4]


@new
@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ([OnEpoch(print)], r"one by one, not in a list: set_callbacks\(a, b\)"),
        (lambda model, epoch: None, r"Wrap it: set_callbacks\(skrbm.callbacks.OnEpoch\(function\)\)"),
        (OnEpoch, r"not its class OnEpoch: set_callbacks\(OnEpoch\(...\)\)"),
        ("text", "FitCallback"),
    ],
    ids=["list", "function", "class", "text"],
)
def test_what_is_no_callback(callback, message):
    model = rbm().set_callbacks(OnEpoch(print))
    with pytest.raises(TypeError, match=message):
        model.set_callbacks(OnEpoch(print), callback)
    assert len(model._skl_callbacks) == 1


@new
def test_the_last_epoch_is_stored_before_callbacks_hear_of_it(tmp_path):
    def fail(model, epoch):
        if epoch == 3:
            raise ZeroDivisionError

    rbm = BernoulliRBMTorch(3, n_iter=3, checkpoint=tmp_path / "run", checkpoint_every=10, random_state=0)
    with pytest.raises(ZeroDivisionError):
        rbm.set_callbacks(OnEpoch(fail)).fit(X)
    assert (tmp_path / "run").exists()
