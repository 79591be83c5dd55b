"""Deep machines against enumeration of all their layers, and what they learn."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch, DeepBoltzmannMachine
from tests.reference import states

SIZES = 3, 2, 2  # of hidden layers, above four columns
N = 4


def given_machine(sizes=SIZES, seed=0, scale=1.0):
    """A machine with drawn weights between neighbours, and these layer by layer."""
    rng = np.random.default_rng(seed)
    layers = N, *sizes
    weights = [rng.normal(0, scale, (above, below)) for below, above in pairwise(layers)]
    biases = [rng.normal(0, scale, n) for n in layers]
    odd, even = layers[1::2], layers[::2]
    W = np.zeros((sum(odd), sum(even)))
    for i, of_pair in enumerate(weights):
        row, column = sum(odd[: i // 2]), sum(even[: (i + 1) // 2])
        block = of_pair if i % 2 == 0 else of_pair.T
        W[row : row + block.shape[0], column : column + block.shape[1]] = block
    b, c = np.concatenate(biases[::2]), np.concatenate(biases[1::2])
    model = DeepBoltzmannMachine(sizes, random_state=0)
    rbm = BernoulliRBMTorch.from_parameters(W, b, c)
    vars(model).update({name: value for name, value in vars(rbm).items() if name.endswith("_")})
    model.n_features_in_ = N
    return model, weights, biases


def log_joint(weights, biases):
    """-E of all states of all layers, (2^N, 2^(hidden units)), by the sums of the definition."""
    found = np.zeros((2**N, 1))
    below, of_below = states(N), biases[0]
    found = (below @ of_below)[:, None]
    layers = [below]
    for W, c in zip(weights, biases[1:], strict=True):
        h = states(len(c))
        last = layers[-1]
        of_pair = last @ W.T @ h.T + h @ c  # (states of the layer below, states of this one)
        found = (found.reshape(-1, len(last))[:, :, None] + of_pair).reshape(2**N, -1)
        layers.append(h)
    return found, layers


@pytest.mark.parametrize("sizes", [(3,), (3, 2), SIZES])
def test_likelihoods_are_those_of_all_layers(sizes):
    model, weights, biases = given_machine(sizes)
    found, _ = log_joint(weights, biases)
    log_z = np.logaddexp.reduce(found, axis=None)
    assert model.log_partition().value == pytest.approx(log_z, abs=1e-9)
    expected = np.logaddexp.reduce(found, axis=1) - log_z
    np.testing.assert_allclose(model.log_likelihood(states(N)), expected, atol=1e-9)
    if len(sizes) == 3:  # a twin that leaves the weights of the third layer out
        twin, _ = log_joint([*weights[:2], 0 * weights[2]], biases)
        assert np.abs(np.logaddexp.reduce(twin, axis=1) - np.logaddexp.reduce(twin, axis=None) - expected).max() > 1e-3


def test_layer_by_layer():
    model, weights, biases = given_machine()
    for ours, given in zip((*model.weights_, *model.intercepts_), (*weights, *biases), strict=True):
        np.testing.assert_array_equal(ours, given)


def test_features_are_the_means_of_all_layers():
    model, weights, biases = given_machine((3, 2))
    found, layers = log_joint(weights, biases)
    p = np.exp(found - np.logaddexp.reduce(found, axis=1, keepdims=True)).reshape(2**N, 2**3, 2**2)
    expected = np.concatenate((np.einsum("vab,ai->vi", p, layers[1]), np.einsum("vab,bi->vi", p, layers[2])), 1)
    np.testing.assert_allclose(model.transform(states(N)), expected, atol=1e-9)
    assert model.get_feature_names_out().shape == (5,)


def test_samples_are_those_of_the_machine():
    model, weights, biases = given_machine((3, 2))
    found, _ = log_joint(weights, biases)
    p = np.exp(np.logaddexp.reduce(found, axis=1) - np.logaddexp.reduce(found, axis=None))
    v = model.sample(20_000, 30)
    codes = (v @ 2 ** np.arange(N)[::-1]).astype(int)
    np.testing.assert_allclose(np.bincount(codes, minlength=2**N) / len(v), p, atol=0.015)
    assert np.abs(p - 1 / 2**N).max() > 0.03


def bars(n=400, seed=0):
    """Rows of two blocks of four columns, each on or off as a whole; both alike in three of four rows."""
    rng = np.random.default_rng(seed)
    first = rng.random((n, 1)) < 0.5
    second = first ^ (rng.random((n, 1)) < 0.25)
    X = np.concatenate((first.repeat(4, 1), second.repeat(4, 1)), 1)
    return (X ^ (rng.random(X.shape) < 0.05)).astype(float)


def test_it_learns():
    X = bars()
    model = DeepBoltzmannMachine((4, 2), n_iter=40, random_state=0).fit(X)
    independent = np.mean(X.mean(0) * np.log(X.mean(0)) + (1 - X.mean(0)) * np.log(1 - X.mean(0))) * 8
    assert model.log_likelihood(bars(seed=1)).mean() > independent + 1.5


def log_probabilities(weights, biases):
    found, _ = log_joint(weights, biases)
    return np.logaddexp.reduce(found, axis=1) - np.logaddexp.reduce(found, axis=None)


def test_the_mean_field_bound_is_one():
    model, weights, biases = given_machine()
    below = log_probabilities(weights, biases) - model.mean_field_bound(states(N))
    assert below.min() > -1e-9
    assert 1e-3 < below.mean() < 0.5
    weak, weights, biases = given_machine(scale=0.01)
    np.testing.assert_allclose(weak.mean_field_bound(states(N)), log_probabilities(weights, biases), atol=1e-4)
    with pytest.raises(ValueError, match="X has values from 0 to 2"):
        model.mean_field_bound(2 * states(N))


def test_layers_without_weights_between_them_stay_without():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = DeepBoltzmannMachine((4, 3, 2), n_iter=3, random_state=0).fit(bars())
    assert model.components_.shape == (6, 11)
    np.testing.assert_array_equal(model.components_[4:, :8], 0.0)
    assert all(np.abs(weights).max() > 0 for weights in model.weights_)


def test_from_a_restricted_machine():
    X = bars()
    rbm = BernoulliRBMTorch(4, n_iter=20, random_state=0).fit(X)
    model = DeepBoltzmannMachine.from_rbm(rbm, 3, 2, random_state=0)
    np.testing.assert_array_equal(model.weights_[0], rbm.components_)
    np.testing.assert_allclose(model.log_likelihood(X), rbm.log_likelihood(X), atol=0.03)
    with pytest.raises(ValueError, match="one layer above"):
        DeepBoltzmannMachine.from_rbm(rbm)


@pytest.mark.slow
def test_modes_come_in_the_proportions_of_the_rows():
    X = np.kron(np.eye(4), np.ones(4)).repeat([80, 80, 240, 400], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rbm = BernoulliRBMTorch(8, n_iter=50, random_state=0).fit(X)
        options = {"warm_start": True, "n_iter": 50, "learning_rate": 0.2, "random_state": 0}
        machines = [DeepBoltzmannMachine.from_rbm(rbm, 4, balance_modes=is_on, **options) for is_on in (True, False)]
        found = [machine.fit(X).log_likelihood(X).mean() for machine in machines]
    best = np.mean(np.log(np.repeat([0.1, 0.1, 0.3, 0.5], [80, 80, 240, 400])))
    assert best - 0.3 < found[0] < best
    assert found[1] < found[0] - 0.2


def test_a_file_brings_it_back(tmp_path):
    pytest.importorskip("safetensors")
    model = DeepBoltzmannMachine((3, 2), n_iter=2, random_state=0).fit(bars())
    model.save(tmp_path / "model")
    again = DeepBoltzmannMachine.load(tmp_path / "model")
    np.testing.assert_array_equal(again.log_likelihood(bars()[:5]), model.log_likelihood(bars()[:5]))


@pytest.mark.parametrize("sizes", [(), (3, 0), 5, (2.5,)])
def test_sizes_that_are_none(sizes):
    with pytest.raises((TypeError, ValueError), match="hidden_layer_sizes"):
        DeepBoltzmannMachine(sizes).fit(bars(20))


def test_layers_in_float64_and_on_any_stream():
    model = DeepBoltzmannMachine((3, 2), n_iter=2, precision="float64", random_state=0).fit(bars())
    again = DeepBoltzmannMachine((3, 2), n_iter=2, precision="float64", random_state=0).fit(torch.from_numpy(bars()))
    np.testing.assert_array_equal(model.components_, again.components_)
