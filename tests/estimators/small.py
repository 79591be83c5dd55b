"""A small table of greys, and machines that are fitted to it in a moment. The fixture `fitted` is one."""

import numpy as np
import torch

from skrbm import BernoulliRBMTorch
from skrbm.machines.restricted import RBMParameters

_RNG = np.random.default_rng(0)
X = (_RNG.random((60, 7)) * (_RNG.random((60, 7)) < 0.6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
NAN = X.copy()
NAN[3, 2] = np.nan
ARRAYS = ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_")
METHODS = ("transform", "reconstruct", "free_energy", "score_samples")


def rbm(**kwargs):
    return BernoulliRBMTorch(**{"n_hidden": 4, "n_iter": 3, "random_state": 0, "batch_size": 20, **kwargs})


def assert_same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def params_of(model, dtype=torch.float64):
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    return RBMParameters(*(torch.from_numpy(a).to(dtype) for a in arrays))
