"""A grid search spread over Dask's worker processes finds what it finds without."""

import os

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skrbm import BernoulliRBMTorch

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

X = (np.random.default_rng(0).random((200, 20)) < np.linspace(0.1, 0.9, 20)).astype(np.float32)


def judge(model, X, y=None):
    """The score, and where and with how many threads it was found."""
    return {"score": model.score(X), "threads": torch.get_num_threads(), "process": os.getpid()}


def test_the_same_scores_as_without():
    from distributed import Client, LocalCluster

    rbm = BernoulliRBMTorch(n_iter=5, random_state=0)
    grid = {"n_hidden": [5, 10], "k": [1, 2]}
    search = GridSearchCV(rbm, grid, scoring=judge, refit="score", cv=2)
    alone = search.fit(X).cv_results_
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        spread = search.fit(X).cv_results_
    for fold in range(2):
        scores = [found[f"split{fold}_test_score"] for found in (spread, alone)]
        np.testing.assert_allclose(*scores, rtol=1e-6)  # sums by another number of threads
    processes = np.concatenate([spread[f"split{fold}_test_process"] for fold in range(2)])
    assert len(np.unique(processes)) == 2
    assert os.getpid() not in processes
    assert (spread["mean_test_threads"] == 1).all()
    assert search.best_params_["n_hidden"] == grid["n_hidden"][int(np.argmax(alone["mean_test_score"])) % 2]
