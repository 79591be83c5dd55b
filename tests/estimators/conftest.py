"""Fitted machines: learned once, and a copy for each test, which may do with it as it likes."""

import copy

import pytest


@pytest.fixture(scope="session")
def _fitted():
    from tests.estimators.small import X, rbm

    return rbm().fit(X)


@pytest.fixture
def fitted(_fitted):
    """A machine of 4 hidden units, fitted to `small.X`."""
    return copy.deepcopy(_fitted)


@pytest.fixture(scope="session")
def _model():
    from skrbm import BernoulliRBMTorch
    from tests.estimators.modes import X

    return BernoulliRBMTorch(6, n_iter=100, store_trajectory=True, random_state=0).fit(X)


@pytest.fixture
def model(_model):
    """A machine of 6 hidden units that has learned the two modes of `modes.X`, with its trajectory."""
    return copy.deepcopy(_model)
