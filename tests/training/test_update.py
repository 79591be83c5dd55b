"""One update of the parameters: its statistics, its gradient, its step."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from skrbm.machines import mean_h_given_v
from skrbm.rows import Batch
from skrbm.training.gradients import statistics
from skrbm.training.spectrum import Spectrum
from skrbm.training.update import update_
from tests import reference
from tests.backends.test_protocol import needs_int8
from tests.training.states import NARROW, PLAIN, Merged, begin, bits
from tests.training.test_gradients import log_likelihood_gradient, model_statistics


@pytest.mark.parametrize("centered", [False, True, "visible"])
@pytest.mark.parametrize("damped", [False, True])
def test_update_climbs_the_exact_gradient(centered, damped):
    """With the model's exact statistics in place of the chains', one update is one step up the log-likelihood."""
    params, v = reference.random_params(3, 4), bits(7, 4)
    weight = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    state = begin(params, replace(PLAIN, centered=centered, spectrum=spectrum() if damped else None))
    mu, lam = offsets(state)
    update_(state, Batch(v, weight), Merged(lambda data, model: (data, model_statistics(params))))
    dW, db, dc = log_likelihood_gradient(params, v, weight)
    if centered:  # the image of the gradient under the change of variables, with the offsets before their move
        assert bool(lam.any()) == (centered is True)
        dW = dW - torch.outer(lam, db) - torch.outer(dc, mu)
    if damped:  # a fifth of the gradient along the direction
        u = spectrum().directions[0]
        dW = dW - 0.8 * torch.outer(dW @ u, u)
    if centered:
        db, dc = db - dW.T @ lam, dc - dW @ mu
    torch.testing.assert_close(state.params.W, params.W + 0.01 * dW)
    torch.testing.assert_close(state.params.b, params.b + 0.01 * db)
    torch.testing.assert_close(state.params.c, params.c + 0.01 * dc)
    assert state.n_updates == 1


def offsets(state):
    """Copies of μ and λ, zeros where a layer isn't centred."""
    centering, params = state.centering, state.params
    given = ((centering.mu, params.b), (centering.lam, params.c))
    return [torch.zeros_like(like) if offset is None else offset.clone() for offset, like in given]


def collect(state, batches):
    """The statistics that `update_` sees, with the parameters held fixed."""
    seen = []

    def reduce(data, model):
        seen.append(tuple(phase._replace(hv=phase.hv.clone()) for phase in (data, model)))
        return data, data  # no difference, no gradient

    for v, weight in batches:
        update_(state, Batch(v, weight), Merged(reduce))
    return seen


@pytest.mark.parametrize("n_rows", [1, 3, 200])
@pytest.mark.parametrize("precision", ["float64", "float32", *NARROW])
def test_persistent_chains_give_the_models_means_whatever_the_batch(n_rows, precision):
    params = reference.random_params(3, 4, scale=0.7)
    run_in = params if precision == "float64" else params.to(torch.float32)
    state = begin(run_in, replace(PLAIN, n_chains=50, precision=precision))
    seen = collect(state, [(bits(n_rows, 4), None)] * 800)
    assert torch.equal(state.params.W, run_in.W)
    expected, n = model_statistics(params), 700
    hv = torch.stack([model.hv for _, model in seen[100:]]).double()
    # Neighbouring updates are correlated: the standard error comes from means over blocks of ten.
    error = hv.view(n // 10, 10, 3, 4).mean(1).std(0) / math.sqrt(n / 10)
    assert ((hv.mean(0) - expected.hv) / error).abs().max() < 4.5
    assert all(model.weight == 50 and data.weight == n_rows for data, model in seen)


def test_data_statistics_are_means_over_the_rows_of_the_batch():
    params = reference.random_params(3, 4)
    batches = [(bits(n, 4, seed=n), None) for n in (1, 2, 5)]
    for (v, _), (data, _) in zip(batches, collect(begin(params), batches), strict=True):
        torch.testing.assert_close(data.hv, mean_h_given_v(params, v).T @ v / len(v))


def spectrum(n_features=4):
    """Of a table that varies most along one direction."""
    direction = torch.arange(1.0, n_features + 1).double()
    return Spectrum((direction / direction.norm())[None], torch.tensor([5.0]).double(), 1.0, 1.0, 1.0)


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
@pytest.mark.parametrize("centered", [False, "visible", True])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-3, 0.1])
@pytest.mark.parametrize("damped", [False, True])
def test_plain_descent_in_one_is_the_gradient_and_the_step(algorithm, centered, weight_decay, damped):
    """`Merged` forces the way over statistics and optimiser; the draws are the same."""
    settings = replace(PLAIN, algorithm=algorithm, centered=centered, weight_decay=weight_decay, learning_rate=0.05)
    settings = replace(settings, spectrum=spectrum() if damped else None)
    at_once, step_by_step = (begin(reference.random_params(3, 4), settings) for _ in range(2))
    for seed in range(40):
        v = bits(1 + seed % 9, 4, seed)
        update_(at_once, Batch(v))
        update_(step_by_step, Batch(v), Merged(lambda data, model: (data, model)))
    W_mu_is_old = {"rtol": 0, "atol": 3e-4} if weight_decay == 1e-3 and centered else {}
    torch.testing.assert_close(at_once.params.W, step_by_step.params.W, **W_mu_is_old)
    torch.testing.assert_close(at_once.params.b, step_by_step.params.b, **W_mu_is_old)
    torch.testing.assert_close(at_once.params.c, step_by_step.params.c, **W_mu_is_old)
    assert (at_once.params.c - reference.random_params(3, 4).c).abs().max() > 0.02
    if centered:
        for found, expected in zip(offsets(at_once), offsets(step_by_step), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("centered", "moved", "tolerance"), [("visible", 0.02, 5e-3), (True, 5e-3, 2e-3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("narrow", NARROW)
def test_fewer_bits_climb_the_same_hill(weighted, narrow, centered, moved, tolerance):
    """Many updates at a low rate: the draws average out."""
    settings = replace(PLAIN, algorithm="cd", centered=centered, learning_rate=1e-3)
    params, ends = reference.random_params(3, 4).to(torch.float32), []
    weight = torch.linspace(0.5, 2.0, 200) if weighted else None
    for seed_of_draws, kind in enumerate(("float32", narrow)):
        state = begin(params, replace(settings, precision=kind), seed=seed_of_draws)
        for seed in range(300):
            update_(state, Batch(bits(200, 4, seed), weight))
        ends.append(state.params)
    assert (ends[0].W - params.W).abs().max() > moved
    torch.testing.assert_close(ends[1].W, ends[0].W, rtol=0, atol=tolerance)
    torch.testing.assert_close(ends[1].b, ends[0].b, rtol=0, atol=5e-3)
    torch.testing.assert_close(ends[1].c, ends[0].c, rtol=0, atol=tolerance)


@pytest.mark.parametrize("k", [1, 2])
def test_contrastive_divergence_starts_at_the_data_and_takes_k_steps(k):
    params = reference.random_params(3, 4, scale=1.5)
    v, n = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).double(), 40_000
    state = begin(params, replace(PLAIN, algorithm="cd", k=k))
    weight = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ((data, model),) = collect(state, [(v.expand(n, -1), weight)])
    p = np.linalg.matrix_power(reference.gibbs_transition(params), k)[reference.index(v)[0]]
    states = torch.from_numpy(reference.states(4))
    expected = statistics(states, mean_h_given_v(params, states), torch.from_numpy(p))
    torch.testing.assert_close(model.v, expected.v, atol=0.015, rtol=0)
    torch.testing.assert_close(model.hv, expected.hv, atol=0.015, rtol=0)
    assert model.weight == data.weight == weight.sum()
    other_k = np.linalg.matrix_power(reference.gibbs_transition(params), 3 - k)[reference.index(v)[0]]
    assert np.abs(other_k @ reference.states(4) - p @ reference.states(4)).max() > 0.03  # the test can tell k


def test_weights_of_contrastive_divergence_belong_to_both_phases():
    """Rows of tiny weight leave no trace in either phase."""
    params = reference.random_params(3, 4, scale=3.0)
    v = torch.cat((torch.zeros(500, 4), torch.ones(500, 4))).double()
    weight = torch.cat((torch.ones(500), torch.full((500,), 1e-12))).double()
    ((data, model),) = collect(begin(params, replace(PLAIN, algorithm="cd")), [(v, weight)])
    assert data.v.max() < 1e-6
    alone = reference.gibbs_transition(params)[0] @ reference.states(4)
    np.testing.assert_allclose(model.v, alone, atol=0.1)


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
def test_a_larger_k_is_that_many_steps(algorithm, monkeypatch):
    state = begin(reference.random_params(3, 4), replace(PLAIN, algorithm=algorithm, k=4))
    steps, real = [], state.backend.mean_v
    monkeypatch.setattr(state.backend, "mean_v", lambda h: steps.append(1) or real(h))
    update_(state, Batch(bits(5, 4)))
    assert len(steps) == 4


@pytest.mark.parametrize("centered", [False, True, "visible"])
@pytest.mark.parametrize("weighted", [False, True])
def test_penalties_in_an_update(centered, weighted):
    """With equal statistics of data and chains, an update is the penalties' alone."""
    params, v = reference.random_params(3, 4), bits(7, 4)
    settings = replace(PLAIN, centered=centered, l1_penalty=0.5, sparsity_target=0.1, sparsity_cost=2.0)
    state = begin(params, settings)
    mu, lam = offsets(state)
    weight = torch.arange(1, 8).double() if weighted else None
    update_(state, Batch(v, weight), Merged(lambda data, model: (data, data)))
    data = statistics(v, mean_h_given_v(params, v), weight)
    excess = 2.0 * (data.h - 0.1)
    dW = -0.5 * params.W.sign() - torch.outer(excess, data.v - mu)
    torch.testing.assert_close(state.params.W, params.W + 0.01 * dW)
    torch.testing.assert_close(state.params.c, params.c - 0.01 * (excess + dW @ mu))
    torch.testing.assert_close(state.params.b, params.b - 0.01 * dW.T @ lam)


def test_nesterov():
    params, v = reference.random_params(2, 4), bits(5, 4)
    state = begin(params, replace(PLAIN, optimizer="nesterov", momentum=0.9))
    update_(state, Batch(v), Merged(lambda data, model: (data, model_statistics(params))))
    plain = begin(params)
    update_(plain, Batch(v), Merged(lambda data, model: (data, model_statistics(params))))
    torch.testing.assert_close(state.params.b - params.b, 1.9 * (plain.params.b - params.b))  # looks ahead


def test_an_optimizer_of_ones_own():
    factory = partial(torch.optim.RMSprop, alpha=0.9)
    state = begin(reference.random_params(2, 4), replace(PLAIN, optimizer=factory, learning_rate=0.02))
    assert isinstance(state.optimizer, torch.optim.RMSprop)
    before = state.params.W.clone()
    update_(state, Batch(bits(5, 4)))
    assert (before != state.params.W).all()


def test_momentum():
    params, v = reference.random_params(2, 4), bits(5, 4)
    exact = lambda data, model: (data, model_statistics(params))  # noqa: E731
    state = begin(params, replace(PLAIN, momentum=0.9))
    update_(state, Batch(v), Merged(exact))
    first = state.params.b - params.b
    update_(state, Batch(v), Merged(lambda data, model: (model, model)))
    torch.testing.assert_close(state.params.b - params.b, 1.9 * first)


@needs_int8
@pytest.mark.parametrize("centered", ["visible", True])
def test_no_weight_moves_by_more_than_the_products_in_8_bits_are_told(centered, monkeypatch):
    """Else it would leave the range that its 8 bits stand for."""
    params = reference.random_params(3, 4).to(torch.float32)
    settings = replace(PLAIN, centered=centered, precision="int8", learning_rate=0.5, spectrum=spectrum())
    state, told = begin(params, settings), []
    monkeypatch.setattr(state.backend, "refresh_", told.append)
    for seed in range(50):
        before = state.params.W.clone()
        update_(state, Batch(bits(9, 4, seed)))
        assert (state.params.W - before).abs().max() <= told[-1] < 10.0
