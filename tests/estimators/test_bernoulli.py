"""To and from scikit-learn's BernoulliRBM."""

import numpy as np
import pandas as pd
import pytest
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from tests.estimators.small import X, rbm


def test_from_sklearn_and_back():
    theirs = BernoulliRBM(5, learning_rate=0.05, batch_size=7, n_iter=3, random_state=1).fit(X)
    ours = BernoulliRBMTorch.from_sklearn(theirs)
    assert (ours.n_hidden, ours.learning_rate, ours.batch_size, ours.n_iter, ours.random_state) == (5, 0.05, 7, 3, 1)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-5)
    theirs.components_ += 1
    assert not np.allclose(ours.components_, theirs.components_)
    back = ours.to_sklearn()
    assert isinstance(back, BernoulliRBM)
    np.testing.assert_allclose(back.transform(X), ours.transform(X), rtol=1e-5)
    assert back.get_params() == theirs.get_params()
    assert back.get_feature_names_out().shape == (5,)
    back.partial_fit(X[:7])
    ours.partial_fit(X)
    ours.sample(3, 2)
    with pytest.raises(ValueError, match="keeps no training rows"):
        BernoulliRBMTorch.from_sklearn(back).sample(3, init="data")


def test_to_sklearn_of_names_and_unfitted():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    back = rbm(batch_size="auto").fit(frame).to_sklearn()
    assert back.feature_names_in_.tolist() == list("abcdefg")
    assert back.h_samples_.shape == (back.batch_size, 4)
    back.transform(frame)
    assert not hasattr(rbm().to_sklearn(), "components_")
    assert not hasattr(BernoulliRBMTorch.from_sklearn(BernoulliRBM()), "components_")
    with pytest.raises(TypeError, match="must be a sklearn.neural_network.BernoulliRBM, got str"):
        BernoulliRBMTorch.from_sklearn("rbm")
