"""Inside scikit-learn: pipelines, searches, routed weights."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.estimators.small import X, Y, assert_same, rbm


def test_pipeline_of_stacked_machines():
    model = make_pipeline(rbm(), rbm(n_hidden=3), LogisticRegression()).fit(X, Y)
    assert model.score(X, Y) > 0.4
    assert_same(pickle.loads(pickle.dumps(model))[1], model[1])


def test_column_transformer_and_feature_union():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    columns = ColumnTransformer([("rbm", rbm(), ["a", "b", "c"]), ("rest", "passthrough", ["d"])])
    assert columns.set_output(transform="pandas").fit_transform(frame).columns[-2:].tolist() == [
        "rbm__bernoullirbmtorch3",
        "rest__d",
    ]
    union = FeatureUnion([("small", rbm(n_hidden=2)), ("large", rbm(n_hidden=6))]).fit(X)
    assert union.transform(X).shape == (60, 8)


def score(estimator, X, y=None):
    return estimator.score(X, y)


def number_of_threads(estimator, X, y=None):
    return torch.get_num_threads()


def test_workers_of_a_grid_search_share_the_processor(monkeypatch):
    """Each has its share of the threads where nothing else says how many."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    search = GridSearchCV(
        Pipeline([("rbm", rbm()), ("clf", LogisticRegression())]),
        {"rbm__n_hidden": [2, 4], "rbm__k": [1, 2]},
        scoring={"score": score, "threads": number_of_threads},
        refit="score",
        n_jobs=2,
        cv=2,
        error_score="raise",
    )
    assert set(search.fit(X, Y).best_params_) == {"rbm__n_hidden", "rbm__k"}
    most = max(search.cv_results_[f"split{i}_test_threads"].max() for i in (0, 1))
    assert 2 * most <= max(2, joblib.cpu_count())


def test_grid_search_without_labels():
    pairs = np.repeat(X.round(), 2, 1)  # every column twice: there is something to learn
    search = GridSearchCV(rbm(), {"learning_rate": [1e-6, 0.3], "n_iter": [100]}, cv=2, error_score="raise").fit(pairs)
    assert search.best_params_["learning_rate"] == 0.3
    assert search.best_score_ == pytest.approx(np.mean([search.cv_results_[f"split{i}_test_score"][1] for i in (0, 1)]))


def test_held_out_rows_go_through_the_steps_before():
    expected = rbm(early_stopping=True).fit(X[:40], X_val=X[40:])
    with sklearn.config_context(enable_metadata_routing=True):
        routed = Pipeline(
            [("scale", FunctionTransformer(lambda rows: rows / 2)), ("rbm", rbm(early_stopping=True))],
            transform_input=["X_val"],
        )
        routed["rbm"].set_fit_request(X_val=True)
        routed.fit(2 * X[:40], X_val=2 * X[40:])
    assert_same(routed["rbm"], expected)
    assert routed["rbm"].validation_scores_ == expected.validation_scores_


def test_sample_weight_is_routed_through_a_pipeline():
    weight = np.repeat([0.0, 1.0], 30)
    expected = rbm().fit(X, sample_weight=weight)
    assert_same(make_pipeline(rbm()).fit(X, bernoullirbmtorch__sample_weight=weight)[0], expected)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            rbm().set_fit_request(sample_weight=True), LogisticRegression().set_fit_request(sample_weight=False)
        )
        assert_same(routed.fit(X, Y, sample_weight=weight)[0], expected)
