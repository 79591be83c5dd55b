"""What the estimator must reach, judged by exact likelihoods."""

import os

import numpy as np
import pytest
import torch

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
