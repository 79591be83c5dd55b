"""To and from scikit-learn's BernoulliRBM, and from parameters of one's own."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from tests import reference
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


# -- parameters of one's own -------------------------------------------------------------------------------------------


def test_own_parameters_make_a_fitted_machine():
    truth = reference.random_params(3, 4)
    model = BernoulliRBMTorch.from_parameters(**truth.tensors, random_state=0, device="cpu")
    V = reference.states(4)
    np.testing.assert_allclose(np.exp(model.log_likelihood(V)), reference.p_v(truth), rtol=1e-12)
    assert model.log_partition("exact").value == pytest.approx(reference.log_partition(truth))
    assert abs(model.log_partition("ais", n_temperatures=300).value - reference.log_partition(truth)) < 0.3
    frequencies = reference.frequencies(model.sample(20_000, 20))
    assert reference.total_variation(frequencies, reference.p_v(truth)) < 0.02
    assert (model.n_hidden, model.n_features_in_, model.get_feature_names_out().shape) == (3, 4, (3,))
    assert model.transform(V).shape == (16, 3)
    with pytest.raises(ValueError, match="keeps no training rows"):
        model.sample(3, init="data")
    fresh = clone(model)
    assert fresh.n_hidden == 3
    assert not hasattr(fresh, "components_")
    before = model.components_.copy()
    assert not np.array_equal(model.partial_fit(V).components_, before)  # goes on from there


def test_own_parameters_are_saved(tmp_path):
    pytest.importorskip("safetensors")
    model, V = BernoulliRBMTorch.from_parameters(**reference.random_params(3, 4).tensors), reference.states(4)
    model.save(tmp_path / "own")
    np.testing.assert_array_equal(BernoulliRBMTorch.load(tmp_path / "own").transform(V), model.transform(V))


def test_own_parameters_are_copied_and_given_back():
    arrays = [np.ones((2, 3), "f4"), np.zeros(3, "f4"), np.array([1, 2], "f4")]
    model = BernoulliRBMTorch.from_parameters(*arrays)
    params = model.params_
    assert params.W.dtype == torch.float32
    for found, array in zip(params.tensors.values(), arrays, strict=True):
        np.testing.assert_array_equal(found, array)
    params.W.zero_()
    arrays[0][:] = 5
    assert (model.components_ == 1).all()
    model.components_ = 2 * model.components_  # as it is now
    assert (model.params_.W == 2).all()
    again = BernoulliRBMTorch.from_parameters(**model.params_.tensors)
    np.testing.assert_array_equal(again.components_, model.components_)
    for mixed in ([[1, 2]], torch.ones(1, 2), np.ones((1, 2))):
        assert BernoulliRBMTorch.from_parameters(mixed, [0.5, 0], [0]).components_.dtype == np.float64
    with pytest.raises(NotFittedError):
        rbm().params_  # noqa: B018
    assert not hasattr(rbm(), "params_")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((2, 3)), np.zeros(2), np.zeros(3)), ValueError, r"got \(2, 3\), \(2,\) and \(3,\)\.$"),
        ((np.ones(3), np.zeros(3), np.zeros(())), ValueError, r"W must have shape \(n_hidden, n_features\)"),
        ((np.ones((0, 3)), np.zeros(3), np.zeros(0)), ValueError, r"got \(0, 3\)"),
        (([[1.0], [1.0, 2.0]], [0.0], [0.0, 0.0]), ValueError, "W is no array of numbers"),
        (([["a"]], [0.0], [0.0]), TypeError, "W has values of type <U1. Pass real numbers."),
        (([[1j]], [0.0], [0.0]), TypeError, "W has values of type complex128"),
        (([[1.0]], [np.nan], [0.0]), ValueError, "b has values that are infinite or NaN"),
        (([[1.0]], [0.0], [np.inf]), ValueError, "c has values that are infinite or NaN"),
    ],
)
def test_own_parameters_that_are_none(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        BernoulliRBMTorch.from_parameters(*arguments)
    assert "\n" not in str(caught.value)


def test_own_parameters_and_another_size():
    with pytest.raises(ValueError, match="n_hidden=5, but W has 1 rows"):
        BernoulliRBMTorch.from_parameters([[1.0]], [0.0], [0.0], n_hidden=5)
    with pytest.raises(TypeError, match="colour"):
        BernoulliRBMTorch.from_parameters([[1.0]], [0.0], [0.0], colour="red")
