"""Epochs over rows: what they learn, and what goes along with them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.backends import FloatBackend, Int8Backend
from skrbm.likelihood import log_likelihood_exact
from skrbm.machines.restricted import RBMParameters, initial_parameters, mean_h_given_v
from skrbm.rows import ArrayRows, SharedRows
from skrbm.training import Average, Learned, Start, Streams, start_state, update_
from skrbm.training import begin as begin_run
from tests import reference
from tests.backends.test_protocol import needs_int8
from tests.training.states import NARROW, PLAIN, Rows, begin, bits, epochs


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("centered", [False, True, "visible"])
@pytest.mark.parametrize("products", ["float32", *NARROW])
def test_learns_a_small_distribution(algorithm, optimizer, centered, products):
    X = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1]], [30, 20, 10], 0).astype(np.float32)
    settings = replace(
        PLAIN,
        algorithm=algorithm,
        optimizer=optimizer,
        centered=centered,
        k=3,
        n_chains=100,
        learning_rate=0.02 if optimizer == "adam" else 0.3,
        precision=products,
    )
    mean_v = torch.from_numpy(X.mean(0))
    streams = Streams.from_seed(1)
    params = initial_parameters(mean_v, 6, streams.start, smoothing=1 / 60)
    state = start_state(params, mean_v, replace(settings, learning_rate_schedule="linear", n_epochs=300), streams)
    assert log_likelihood_exact(state.params, torch.from_numpy(X)).mean() < -2.0
    for _ in epochs(state, Rows(X, batch_size=13), 300):
        pass
    entropy = -sum(p * math.log(p) for p in (1 / 2, 1 / 3, 1 / 6))
    assert log_likelihood_exact(state.params, torch.from_numpy(X)).mean() > -entropy - 0.25


def test_an_epoch_is_its_updates_and_nothing_more():
    """With weights the gradient is kept by the tensors; nothing may step along it once more."""
    X, weight = np.random.default_rng(0).random((23, 4)), np.random.default_rng(1).random(23)
    source = Rows(X, weight, batch_size=5)
    states = [begin(reference.random_params(3, 4), replace(PLAIN, centered=True)) for _ in range(2)]
    list(epochs(states[0], source, 1))
    for batch in source.epoch(states[1].streams.shuffle):
        update_(states[1], batch)
    assert torch.equal(states[0].params.W, states[1].params.W)


def test_schedules():
    settings = replace(PLAIN, learning_rate_schedule="linear", k={0: 1, 0.5: 3})
    state = begin(reference.random_params(2, 4), settings, n_epochs=4)
    records = list(epochs(state, Rows(np.eye(4)), 4))
    assert [record.learning_rate / 0.01 for record in records] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert [record.k for record in records] == [1, 1, 3, 3]
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert all(record.seconds > 0 for record in records)


def test_in_one_pass_nothing_moves_and_nothing_is_averaged():
    settings = replace(PLAIN, learning_rate_schedule="linear", k={0: 1, 0.5: 3}, averaging=0.5)
    state = begin(reference.random_params(2, 4), settings.for_one_pass(), n_epochs=1)
    records = list(epochs(state, Rows(np.eye(4)), 3))
    assert [(record.learning_rate, record.k) for record in records] == [(0.01, 1)] * 3
    assert state.model is state.params


def test_the_average_follows_and_leaves_training_alone():
    source, settings = Rows(bits(60, 4).numpy(), batch_size=2), replace(PLAIN, averaging=0.5)
    settings = replace(settings, learning_rate_schedule="constant")
    state, plain = begin(reference.random_params(2, 4), settings, n_epochs=4), begin(reference.random_params(2, 4))
    list(epochs(state, source, 4))
    list(epochs(plain, source, 4))
    seen, again = Average(reference.random_params(2, 4), 0.5), begin(reference.random_params(2, 4))
    for _ in epochs(again, source, 4, seen):  # which is shown every update
        seen.look_(again.params)
    assert torch.equal(state.params.W, plain.params.W)
    assert torch.equal(state.model.W, seen.params.W)
    assert not torch.equal(state.model.W, state.params.W)


def test_even_a_single_update_is_averaged():
    state = begin(reference.random_params(2, 4), replace(PLAIN, averaging=0.2), n_epochs=1)
    list(epochs(state, Rows(np.eye(4)), 1))
    assert torch.equal(state.model.W, state.params.W)


def test_a_sparsity_target_is_reached():
    source = Rows(bits(200, 6).numpy(), batch_size=20)
    for target in (0.05, 0.8):
        settings = replace(PLAIN, sparsity_target=target, sparsity_cost=5.0, learning_rate=0.05, centered="visible")
        state = begin(reference.random_params(3, 6, scale=0.1), settings)
        list(epochs(state, source, 30))
        mean_h = mean_h_given_v(state.params, bits(200, 6)).mean(0)
        assert (mean_h - target).abs().max() < 0.05


def test_l1_makes_weights_small():
    source, norms = Rows(bits(200, 6).numpy(), batch_size=20), []
    for penalty in (0.0, 0.05, 1.0):
        state = begin(reference.random_params(3, 6), replace(PLAIN, l1_penalty=penalty))
        list(epochs(state, source, 30))
        norms.append(float(state.params.W.abs().mean()))
    assert norms[0] > norms[1] > norms[2]
    assert norms[2] < 0.02


@needs_int8
def test_weights_too_large_for_8_bits_go_on_in_float32():
    params = reference.random_params(3, 4, scale=20.0).to(torch.float32)
    state = begin(params, replace(PLAIN, precision="int8", n_chains=7))
    source = Rows(np.eye(4))
    assert isinstance(state.backend, Int8Backend)
    for _ in epochs(state, source, 2):
        assert isinstance(state.backend, FloatBackend)
        assert state.h.dtype == torch.float32
    assert state.h.shape == (7, 3)


def test_parameters_that_are_not_finite():
    state = begin(reference.random_params(3, 4), replace(PLAIN, learning_rate=1e200, weight_decay=1e150))
    with pytest.raises(FloatingPointError, match=r"no longer finite after an epoch at learning rate 1e\+200. Lower"):
        list(epochs(state, Rows(np.eye(4)), 3))


def test_same_seed_same_result():
    run = lambda seed: begin(reference.random_params(3, 4), replace(PLAIN, binarize="sample"), seed)  # noqa: E731
    X = np.random.default_rng(0).random((20, 4))
    results = []
    for seed in (0, 0, 1):
        state = run(seed)
        list(epochs(state, Rows(X, batch_size=7), 3))
        results.append(state.params.W)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("n_chains", [10, 300])
def test_a_machine_without_chains_goes_on_with_chains_at_rows(n_chains):
    """They come from all of the table, and what is centred at is their mean."""
    X = np.repeat(np.kron(np.eye(4), np.ones(5)), 100, 0).astype(np.float32)
    W = torch.from_numpy(20.0 * X[::100]) - 10.0  # a unit for each of the four rows that there are
    params = RBMParameters(W, torch.zeros(20), torch.full((4,), -20.0))
    settings = replace(PLAIN, n_hidden=4, n_chains=n_chains, centered=True, algorithm="pcd", binarize="none")
    state = begin_run(SharedRows(ArrayRows(X)), settings, Start([0], learned=Learned(params))).state
    assert state.h.shape == (n_chains, 4)
    assert torch.equal(state.h.sum(1), torch.ones(n_chains))
    assert bool((state.h.mean(0) > 0.1).all())
    torch.testing.assert_close(state.centering.lam, torch.full((4,), 0.25), atol=0.15, rtol=0)
    fresh = begin_run(SharedRows(ArrayRows(X)), settings, Start([0])).state
    assert not torch.equal(fresh.h.sum(1), torch.ones(n_chains))
