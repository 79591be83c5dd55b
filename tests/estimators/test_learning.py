"""What the estimator must reach, judged by exact likelihoods, and by scikit-learn's machine."""

import os

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline

from skrbm import BernoulliRBMTorch
from skrbm.datasets import bars_and_stripes, load_mnist
from skrbm.likelihood import log_likelihood_exact
from tests.estimators.small import params_of


def exact_nats(model, X):
    return float(log_likelihood_exact(params_of(model), torch.from_numpy(X)).mean())


@pytest.mark.slow
def test_bars_and_stripes():
    """Within 0.15 nats of the best possible -3.379."""
    X = bars_and_stripes(4)
    model = BernoulliRBMTorch(
        16, k=10, n_chains=300, learning_rate=0.2, weight_decay=0, batch_size=16, n_iter=2000, random_state=0
    ).fit(X)
    assert -3.379 - 0.15 < exact_nats(model, X) < -3.379


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")  # it has only begun
def test_mnist_in_two_epochs():
    """Two epochs with the defaults take 16 hidden units well beyond independent pixels (-206 nats)."""
    X = (load_mnist(os.environ["SKRBM_MNIST"]).data > 0.5).astype(np.float32)
    model = BernoulliRBMTorch(16, n_iter=2, random_state=0).fit(X[:50_000])
    assert exact_nats(model, X[50_000:]) > -170


N_SPLITS, TEST_SIZE = 6, 0.25


def accuracies(rbm, change=None):
    """Of a pipeline that ends in a logistic regression, on rows of digits that it hasn't seen: one for each split."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    for train, test in StratifiedShuffleSplit(N_SPLITS, test_size=TEST_SIZE, random_state=0).split(X, y):
        first = clone(rbm) if change is None else FrozenEstimator(change(clone(rbm).fit(X[train])))
        pipeline = make_pipeline(first, LogisticRegression(C=100, max_iter=10_000)).fit(X[train], y[train])
        yield pipeline.score(X[test], y[test])


def lead(ours, theirs):
    """Mean difference over the splits, in standard errors (of splits that share rows: Nadeau & Bengio 2003)."""
    difference = np.array([*ours]) - np.array([*theirs])
    share = 1 / N_SPLITS + TEST_SIZE / (1 - TEST_SIZE)
    return difference.mean() / (difference.std(ddof=1) * np.sqrt(share))


def scrambled(model):
    """The same weights, each in another place."""
    return model.from_parameters(
        np.random.default_rng(0).permuted(model.components_, axis=None),
        model.intercept_visible_,
        model.intercept_hidden_,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")  # of 8 units, and of one epoch
@pytest.mark.parametrize("n_hidden", [8, 100])
def test_features_of_digits_are_no_worse_than_those_of_scikit_learn(n_hidden):
    """Nothing is tuned: as many units and epochs and the same classifier for both, and scikit-learn's rate for digits.

    Of 100 units even scrambled weights make features as good, which only eight have to have learned.
    """
    theirs = [*accuracies(BernoulliRBM(n_hidden, learning_rate=0.06, n_iter=20, random_state=0))]
    ours = BernoulliRBMTorch(n_hidden, n_iter=20, random_state=0)
    assert lead(accuracies(ours), theirs) > -2
    if n_hidden == 8:
        assert lead(accuracies(ours, scrambled), theirs) < -2
    else:
        assert lead(accuracies(ours.set_params(n_iter=1)), theirs) < -2
