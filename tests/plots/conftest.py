import numpy as np
import pytest

from skrbm import BernoulliRBMTorch
from tests.plots.pictures import IMAGES, TABLE


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pytest.importorskip("matplotlib.pyplot").close("all")


@pytest.fixture(scope="module")
def rbm():
    """A machine that has learned images."""
    return BernoulliRBMTorch(6, n_iter=2, early_stopping=True, random_state=0).fit(IMAGES)


@pytest.fixture(scope="module")
def table_rbm():
    """A machine that knows the names of its features."""
    return BernoulliRBMTorch(6, n_iter=2, random_state=0).fit(TABLE)


@pytest.fixture(scope="module")
def machine():
    """Makes machines of any size, which have not learned."""
    rng = np.random.default_rng(0)

    def make(n_hidden, n_features):
        rbm = BernoulliRBMTorch(1, n_iter=1).fit(IMAGES[:, :4])
        rbm.components_ = rng.normal(size=(n_hidden, n_features)).astype(np.float32)
        rbm.intercept_visible_, rbm.intercept_hidden_ = np.zeros(n_features, "f4"), np.zeros(n_hidden, "f4")
        rbm.n_features_in_ = n_features
        return rbm

    return make
