"""Trainings of small machines in float64, without penalties or centring unless a test asks for them."""

import numpy as np
import pytest
import torch

from skrbm.training.update import Streams, TrainSettings, start
from tests.backends.test_products import int8

PLAIN = TrainSettings(n_chains=20, weight_decay=0.0, centered=False, binarize="none", learning_rate=0.01)
NARROW = [pytest.param("int8", marks=int8), "bfloat16"]
RECORD = "skrbm.training.update.record"  # what records an update as a CUDA graph


def begin(params, settings=PLAIN, seed=0, mean_v=0.5, **kwargs):
    mean_v = torch.full((params.n_features,), mean_v, dtype=params.W.dtype)
    return start(params, mean_v, settings, Streams.from_seed(seed), **kwargs)


def bits(n, n_features, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (n, n_features)).astype(float))
