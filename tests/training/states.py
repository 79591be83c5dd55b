"""Trainings of small machines in float64, without penalties or centring unless a test asks for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.distributed import Alone
from skrbm.rows import ArrayRows, SharedRows
from skrbm.training import Streams, TrainSettings, epoch_, start_state
from tests.backends.test_protocol import needs_int8

PLAIN = TrainSettings(
    n_chains=20,
    weight_decay=0.0,
    centered=False,
    binarize="none",
    learning_rate=0.01,
    learning_rate_schedule="constant",
    averaging=0.0,
    batch_size=100,
    precision="float32",
)
NARROW = [pytest.param("int8", marks=needs_int8), "bfloat16"]
RECORD = "skrbm.training.device_updates.record"  # what records updates as a CUDA graph


def begin(params, settings=PLAIN, seed=0, mean_v=0.5, h=None, n_epochs=100):
    mean_v = torch.full((params.n_features,), mean_v, dtype=params.W.dtype)
    return start_state(params, mean_v, replace(settings, n_epochs=n_epochs), Streams.from_seed(seed), h=h)


def bits(n, n_features, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (n, n_features)).astype(float))


class Rows(SharedRows):
    """Rows of an array in batches of a size of their own."""

    def __init__(self, X, weight=None, batch_size=100, dtype=torch.float64, device="cpu"):
        super().__init__(ArrayRows(X, weight, dtype=dtype, device=device))
        self.batch_size = batch_size

    def epoch(self, stream, batch_size=None):
        return super().epoch(stream, self.batch_size)


def epochs(state, rows, n, *observers):
    """The records of so many epochs."""
    for _ in range(n):
        yield epoch_(state, rows, *observers)


class Merged(Alone):
    """Processes whose statistics together are what a function makes of these."""

    size = 2

    def __init__(self, function):
        self._function = function

    def pooled(self, data, model):
        return self._function(data, model)
