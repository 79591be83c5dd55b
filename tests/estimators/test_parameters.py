"""Settings: each does something, and wrong ones say what is wrong."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone

from tests.estimators.small import X, assert_same, rbm


@pytest.mark.parametrize(
    "kwargs",
    [
        {"algorithm": "cd", "k": 3},
        {"optimizer": "adam", "learning_rate": 1e-3},
        {"optimizer": partial(torch.optim.RMSprop, alpha=0.9), "learning_rate": 1e-3},
        {"learning_rate_schedule": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)},
        {"learning_rate_schedule": "constant", "momentum": 0.5, "weight_decay": 0},
        {"learning_rate_schedule": "cosine"},
        {"learning_rate_schedule": "exponential"},
        {"optimizer": "nesterov", "momentum": 0.5},
        {"k": {0: 1, 0.5: 3}},
        {"l1_penalty": 0.01},
        {"sparsity_target": 0.1},
        {"sparsity_target": 0.1, "sparsity_cost": 1.0},
        {"averaging": 0.7},
        {"early_stopping": True},
        {"centered": False},
        {"centered": True},
        {"binarize": "none"},
        {"binarize": 0.5},
        {"shuffle": False},
        {"precision": "float64"},
        {"precision": "bfloat16"},
        {"batch_size": "auto", "n_chains": 7},
        {"device": "cpu"},
        {"device": torch.device("cpu")},
    ],
    ids=str,
)
def test_every_setting_changes_something_and_survives_clone_and_pickle(kwargs, fitted):
    model = clone(rbm(**kwargs)).fit(X)
    assert np.isfinite(model.components_).all()
    assert_same(pickle.loads(pickle.dumps(model)), model)
    if "device" not in kwargs:
        assert not np.array_equal(model.components_, fitted.components_)


def no_optimizer(params, lr):
    return None


def no_schedule(optimizer):
    return 3


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"verbose": "a"}, TypeError, "verbose='a' must be a whole number or a truth value"),
        ({"verbose": 0.5}, TypeError, "verbose=0.5 must be"),
        ({"n_hidden": 0}, ValueError, "n_hidden == 0, must be >= 1"),
        ({"n_hidden": 2.5}, TypeError, "n_hidden=2.5 must be a whole number."),
        ({"k": 0}, ValueError, "k == 0"),
        ({"n_hidden": True}, TypeError, "n_hidden=True must be a whole number, not a truth value."),
        ({"k": 1.5}, TypeError, r"k=1.5 must be a whole number or a dict such as \{0: 1, 0.6: 5\}\."),
        ({"k": [1]}, TypeError, r"k=\[1\] must be a whole number or a dict such as \{0: 1, 0.6: 5\}\."),
        ({"k": {0.5: 5}}, ValueError, "k={0.5: 5} must have an entry for 0"),
        ({"k": {}}, ValueError, "k={} must have an entry for 0"),
        ({"k": {0: 1, 1.0: 5}}, ValueError, "share of the epochs == 1.0, must be < 1"),
        ({"k": {0: 1, "half": 5}}, TypeError, "k={0: 1, 'half': 5} must have shares of the epochs as its keys"),
        ({"k": {0: 1, 0.5: 2.5}}, TypeError, "whole numbers of steps as its values"),
        ({"k": {0: 1, 0.5: 0}}, ValueError, "number of steps == 0, must be >= 1"),
        ({"l1_penalty": -1.0}, ValueError, "l1_penalty == -1.0, must be >= 0"),
        ({"sparsity_target": 0}, ValueError, "sparsity_target == 0, must be > 0"),
        ({"sparsity_target": float("nan")}, ValueError, "sparsity_target=nan must be a finite"),
        ({"sparsity_target": "low"}, TypeError, "sparsity_target='low' must be a number or None."),
        ({"sparsity_cost": "high"}, TypeError, "sparsity_cost='high' must be a number."),
        ({"averaging": 1.5}, ValueError, "averaging == 1.5, must be <= 1"),
        ({"averaging": float("nan")}, ValueError, "averaging=nan must be a finite"),
        ({"optimizer": "nesterov"}, ValueError, "optimizer='nesterov' needs a momentum"),
        ({"early_stopping": "score"}, ValueError, "early_stopping='score'.*'log_likelihood', or True, or False"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction == 1.0, must be < 1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change == 0, must be >= 1"),
        ({"tol": -1e-4}, ValueError, "tol == -0.0001, must be >= 0"),
        ({"n_chains": -1}, ValueError, "n_chains == -1"),
        ({"n_iter": 0}, ValueError, "n_iter == 0"),
        ({"batch_size": 0}, ValueError, "batch_size == 0"),
        ({"batch_size": None}, TypeError, "batch_size=None must be a whole number or 'auto'."),
        ({"batch_size": "big"}, ValueError, "batch_size='big' is not known.*'auto'"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate == 0.0, must be > 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate=nan must be a finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate='fast' must be a number or 'auto'."),
        ({"momentum": 1.0}, ValueError, "momentum == 1.0, must be < 1"),
        ({"weight_decay": -1e-4}, ValueError, "weight_decay == -0.0001, must be >= 0"),
        ({"weight_decay": "much"}, TypeError, "weight_decay='much' must be a number or 'auto'."),
        ({"weight_decay": float("inf")}, ValueError, "weight_decay=inf must be a finite"),
        ({"algorithm": "sml"}, ValueError, "algorithm='sml' is not known. Choose one of: 'auto', 'cd', 'pcd'"),
        ({"optimizer": "lion"}, ValueError, "optimizer='lion'.*'sgd', 'nesterov', 'adam', or a factory"),
        ({"learning_rate_schedule": None}, ValueError, "learning_rate_schedule=None.*'constant', 'linear'"),
        ({"binarize": True}, ValueError, "binarize=True.*'sample', 'none', or a threshold"),
        ({"binarize": float("nan")}, ValueError, "binarize=nan must be a finite"),
        ({"centered": "hidden"}, ValueError, "centered='hidden'.*'visible', or True, or False"),
        ({"centered": None}, ValueError, "centered=None"),
        ({"precision": "float16"}, ValueError, "precision='float16'"),
        ({"checkpoint": 3}, TypeError, "checkpoint=3 must be a path or None."),
        ({"device": "gpu"}, ValueError, "device='gpu' is not available.*'auto', 'cpu'"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99'"),
        ({"device": "meta"}, ValueError, "device='meta'"),
        ({"device": 1.5}, ValueError, "device=1.5"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
        ({"optimizer": no_optimizer, "learning_rate": 0.1}, TypeError, "optimizer.*torch.optim.Optimizer.*NoneType"),
        ({"learning_rate_schedule": no_schedule}, TypeError, "learning_rate_schedule.*LRScheduler.*int"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0],  # the same in every process
)
def test_wrong_parameters(kwargs, error, message):
    for method in ("fit", "partial_fit") if "learning_rate_schedule" not in kwargs else ("fit",):
        model = rbm().fit(X)
        before = dict(vars(model.set_params(**kwargs)))
        with pytest.raises(error, match=message):
            getattr(model, method)(X)
        assert vars(model) == before


@pytest.mark.parametrize("value", [True, False])
def test_truth_values_of_numpy(value):
    """As a search over an array of settings has them."""
    assert_same(rbm(centered=np.bool_(value)).fit(X), rbm(centered=value).fit(X))
