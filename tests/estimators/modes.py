"""Rows of two modes, between which Gibbs chains hardly ever go. The fixture `model` has learned them."""

import numpy as np

_RNG = np.random.default_rng(0)
PATTERN = np.tile([1.0, 0.0], 5)
# Two noisy patterns, each the other's opposite, 7:3.
X = np.where(_RNG.random((2000, 1)) < 0.7, PATTERN, 1 - PATTERN)
X = np.abs(X - (_RNG.random(X.shape) < 0.02)).astype(np.float32)
METHODS = ("gibbs", "parallel_tempering", "trajectory_tempering")
