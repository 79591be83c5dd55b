"""Learning: `fit` and `partial_fit`."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch
from tests import reference
from tests.estimators.small import X, Y, assert_same, params_of, rbm


def test_defaults_learn_a_small_table():
    """Two patterns and their noise: the defaults come close to the entropy."""
    rng = np.random.default_rng(0)
    V = np.where(rng.random((400, 1)) < 0.5, [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0])
    V = np.abs(V - (rng.random(V.shape) < 0.05))
    model = BernoulliRBMTorch(n_hidden=8, random_state=0).fit(V)
    p = reference.p_v(params_of(model))
    counts = reference.frequencies(V)
    entropy = -(counts[counts > 0] * np.log(counts[counts > 0])).sum()
    independent = sum(-m * np.log(m) - (1 - m) * np.log(1 - m) for m in V.mean(0))
    nats = np.log(p[reference.index(V)]).mean()
    assert -entropy - 0.15 < nats <= -entropy
    assert nats > -independent + 1


def test_binarize():
    """Where all values are one grey level, that level decides on the machine's visible bias."""
    grey = np.full((50, 3), 0.3, np.float32)
    for rule, mean in (("sample", 0.3), ("none", 0.3), (0.2, 1.0), (0.5, 0.0)):
        model = rbm(binarize=rule, n_iter=1).fit(grey)
        v = 1 / (1 + np.exp(-model.intercept_visible_))
        np.testing.assert_allclose(v, mean, atol=0.1)


def test_n_chains_does_not_depend_on_batch_size():
    assert rbm(n_chains=9, batch_size=20).fit(X).h_samples_.shape == (9, 4)
    assert rbm(n_chains=9, batch_size=20, algorithm="cd").fit(X).h_samples_.shape == (20, 4)


def test_same_seed_same_result():
    assert_same(rbm().fit(X), rbm().fit(X))
    assert_same(rbm(random_state=np.random.RandomState(3)).fit(X), rbm(random_state=np.random.RandomState(3)).fit(X))
    assert not np.array_equal(rbm(random_state=1).fit(X).components_, rbm().fit(X).components_)
    assert not np.array_equal(rbm(random_state=None).fit(X).components_, rbm(random_state=None).fit(X).components_)


def test_global_state_is_left_alone():
    numpy_state, torch_state, threads = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()
    for seed in (None, 0):
        model = rbm(random_state=seed).fit(X)
        model.sample(3, 2)
        model.score(X)
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert torch.equal(torch_state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_warm_start_goes_on_and_fit_starts_anew():
    model = rbm(warm_start=True, learning_rate_schedule="constant").fit(X)
    first = model.components_
    model.fit(X)
    assert not np.array_equal(model.components_, first)
    assert np.abs(model.components_ - first).max() < 0.2
    model.set_params(warm_start=False).fit(X)
    np.testing.assert_array_equal(model.components_, first)
    with pytest.raises(ValueError, match="n_hidden=5, but the fitted model has 4"):
        model.set_params(warm_start=True, n_hidden=5).fit(X)


def test_partial_fit_in_pieces_is_fit_at_a_constant_rate():
    """Same start, same stream: three calls are three epochs."""
    settings = {"learning_rate_schedule": "constant", "momentum": 0.5, "weight_decay": 1e-3}
    whole, pieces = rbm(**settings, averaging=0.0).fit(X), rbm(**settings)
    for _ in range(3):
        assert pieces.partial_fit(X) is pieces
    assert_same(whole, pieces)
    assert pieces.n_iter_ == 3


def test_partial_fit_goes_on_from_fit_and_from_a_pickle():
    model = rbm(optimizer="adam", learning_rate=1e-3).fit(X)
    twin = pickle.loads(pickle.dumps(model))
    for rows in (X[:1], X[:33], X):
        model.partial_fit(rows)
        twin.partial_fit(rows)
    assert_same(model, twin)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3])
    model.set_params(n_chains=30).partial_fit(X)
    assert model.h_samples_.shape == (30, 4)


def test_partial_fit_at_the_constant_rate():
    """After a fit whose rate fell to a fiftieth, a step is as long as `learning_rate` says."""
    model = rbm(n_iter=50, weight_decay=0, learning_rate=0.1).fit(X)
    before = model.components_
    half = copy.deepcopy(model).set_params(learning_rate=0.05).partial_fit(X[:20]).components_ - before
    step = model.partial_fit(X[:20]).components_ - before
    np.testing.assert_allclose(step, 2 * half, atol=1e-6)
    assert np.abs(step).max() > 2e-3


def test_weights():
    weight = np.repeat([0.0, 1.0], 30)
    assert_same(rbm().fit(X, sample_weight=weight), rbm().fit(X[30:], sample_weight=np.ones(30)))
    coin = np.repeat([[1.0], [0.0]], 50, 0)
    model = rbm(n_iter=200, batch_size=100).fit(coin, sample_weight=np.repeat([9.0, 1.0], 50))
    assert reference.p_v(params_of(model))[1] == pytest.approx(0.9, abs=0.03)


def test_weight_decay_by_the_number_of_rows():
    """A prior on the weights counts for less, the more rows there are."""
    V = np.tile(X, (60, 1))
    assert_same(rbm(n_iter=1).fit(V), rbm(n_iter=1, weight_decay=3 / len(V)).fit(V))
    assert_same(rbm().partial_fit(X), rbm(weight_decay=1e-4).partial_fit(X))


def test_fit_accepts_y_and_ignores_it():
    assert_same(rbm().fit(X, Y), rbm().fit(X))
    np.testing.assert_array_equal(rbm().fit_transform(X, Y), rbm().fit(X).transform(X))


@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")
def test_averaging_steadies_and_the_chains_run_on():
    """The mean over the iterates lies between them, and the chains don't stay where these left them."""
    V = np.repeat(np.eye(6)[:2], 50, 0)
    kwargs = {"n_iter": 40, "learning_rate": 1.0, "learning_rate_schedule": "constant", "batch_size": 5}
    plain, mean = (
        [rbm(**kwargs, averaging=share, random_state=seed).fit(V) for seed in range(5)] for share in (0.0, 0.5)
    )
    assert np.mean([m.log_likelihood(V).mean() for m in mean]) > np.mean([m.log_likelihood(V).mean() for m in plain])
    # Averaging leaves training alone (tests.training), so the first are where it left the chains of both.
    assert not np.array_equal(plain[0].h_samples_, mean[0].h_samples_)


def test_threads_may_fit_at_once():
    models = [rbm(n_iter=20, random_state=seed) for seed in range(4)]
    expected = [clone(model).fit(X) for model in models]
    threads = [threading.Thread(target=model.fit, args=(X,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, alone in zip(models, expected, strict=True):
        assert_same(model, alone)


def test_hidden_units_that_got_stuck():
    V = np.repeat([[1.0, 1, 1, 1, 1, 1, 0]], 50, 0)
    with pytest.warns(ConvergenceWarning, match=r"hidden units.*learning_rate=100.0") as caught:
        rbm(learning_rate=100.0, centered=False, random_state=1).fit(V)
    assert caught[0].filename == __file__


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bits", "greys in float64", "any numbers"])
def test_memory_of_a_fit(kind):
    """In a process of its own: at most 300 MB more than stood before."""
    code = f"""
import resource
import numpy as np
from skrbm import BernoulliRBMTorch
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rng = np.random.default_rng(0)
BernoulliRBMTorch(4, n_iter=1).fit(rng.random((20, 5)))  # what comes with the first fit of a process
if {kind!r} == "bits":
    X = (rng.random((60_000, 784), np.float32) < 0.13).astype(np.float32)
elif {kind!r} == "greys in float64":
    X = rng.integers(0, 256, (60_000, 784), np.uint8) / 255
else:
    X = rng.random((60_000, 784), np.float32)
before = peak()
BernoulliRBMTorch(500, n_iter=1).fit(X)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(run.stdout) < 300
