"""The compiled loops of sampling against enumeration: where chains are after steps, and what annealing estimates."""

import numpy as np
import pytest
import torch

from skrbm.likelihood.annealed import anneal, log_partition_ais, log_partition_reverse_ais, uniform_schedule
from skrbm.likelihood.exact import log_partition_exact
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.compiled import CompiledAnnealing, CompiledGibbs, Weights
from skrbm.sampling.kernels import GIBBS, GibbsInfo, GibbsState, Kernel, run_chains
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.compiled import loaded_loops
from skrbm.support.randomness import Stream
from tests import reference
from tests.compiled import needs_numba, on_threads
from tests.kernels import N, assert_one_step, assert_stationary

pytestmark = needs_numba


@pytest.fixture(autouse=True)
def _one_thread():
    with on_threads(1):
        yield


@pytest.fixture(params=[0.5, 2.0], ids=["weak", "strong"])
def params(request):
    return reference.random_params(3, 4, scale=request.param, seed=5, dtype=torch.float32)


# -- Gibbs sampling ----------------------------------------------------------------------------------------------------


def init(params, v, stream, given=None):
    return GIBBS.init(params, v.to(params.W), stream, given)


def kernel(n_steps=1, machine=lambda params: params):
    """A kernel whose step is so many of the loop's, for a machine of the machine's."""

    def step(params, state, stream):
        with loaded_loops():
            chains = CompiledGibbs(Weights.of(machine(params), len(state.h), n_steps), state.h)
        chains.run_(n_steps, stream)
        return GibbsState(chains.h), GibbsInfo(chains.v, chains.v, chains.h)

    return Kernel(init, step)


def stationary(params, kernel):
    v = torch.from_numpy(reference.draw_v(params, N))
    assert_stationary(kernel, params, v, reference.p_v(params))


def one_step(params, kernel, transition):
    assert_one_step(kernel, params, reference.states(4), transition)


def without_visible_bias(params):
    return RBMParameters(params.W, torch.zeros_like(params.b), params.c)


def test_gibbs_is_stationary(params):
    stationary(params, kernel())


def test_gibbs_one_step(params):
    one_step(params, kernel(), reference.gibbs_transition(params))


def test_gibbs_three_steps_at_once(params):
    transition = np.linalg.matrix_power(reference.gibbs_transition(params), 3)
    one_step(params, kernel(3), transition)


def test_those_tests_reject_another_machine(params):
    broken = kernel(machine=without_visible_bias)
    with pytest.raises(AssertionError):
        stationary(params, broken)
    with pytest.raises(AssertionError):
        one_step(params, broken, reference.gibbs_transition(params))


def test_three_steps_are_not_two():
    params = reference.random_params(3, 4, scale=2.0, seed=5, dtype=torch.float32)
    with pytest.raises(AssertionError):
        one_step(params, kernel(2), np.linalg.matrix_power(reference.gibbs_transition(params), 3))


def mean_error(n_late):
    """How far means over so many late steps are from p(v = 1), in standard errors of as many chains."""
    params, n = reference.random_params(3, 4, scale=0.5, seed=5, dtype=torch.float32), 20_000
    with loaded_loops():
        mean, _ = run_chains(GIBBS, params, torch.zeros(n, 4), 2 * n_late, Stream(0), mean=True)
    exact = reference.p_v(params) @ reference.states(4)
    means = mean.double().numpy()
    return np.abs((means.mean(0) - exact) / (means.std(0) / np.sqrt(n))).max()


def test_means_of_chains():
    assert mean_error(20) < 4
    assert mean_error(1) > 4  # where the start is not forgotten


# -- annealing ---------------------------------------------------------------------------------------------------------


def machine(seed, n_hidden=8, n_features=12):
    scale = (0.3, 1.0)[seed % 2]
    return reference.random_params(n_hidden, n_features, scale=scale, seed=seed, dtype=torch.float32)


def ais_errors():
    """Deviations from the exact log Z, in standard errors."""
    errors = []
    for seed in range(12):
        params = machine(seed)
        with loaded_loops():
            path = AnnealingPath(params, params.b * 0.5)
            found = log_partition_ais(path, uniform_schedule(300), Stream(seed), n_chains=200)
        errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


def reverse_errors():
    errors = []
    for seed in range(12):
        params = machine(seed, 4, 8)
        v = torch.from_numpy(reference.draw_v(params, 300, seed))
        with loaded_loops():
            path = AnnealingPath(params, params.b * 0.5)
            found = log_partition_reverse_ais(path, v, uniform_schedule(200), Stream(seed))
        errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


@pytest.mark.parametrize("errors", [ais_errors, reverse_errors])
def test_annealing_agrees_with_enumeration(errors):
    found = errors()
    assert np.abs(found).max() < 4
    assert 0.4 < found.std() < 1.8


def run_hotter(run_):
    """A twin whose bridges are elsewhere."""
    return lambda self, betas, stream, is_last: run_(self, 0.8 * betas, stream, is_last)


def weigh_less(run_):
    """A twin whose log-weights are too small."""
    return lambda self, *arguments: 0.95 * run_(self, *arguments)


@pytest.mark.parametrize("errors", [ais_errors, reverse_errors])
@pytest.mark.parametrize("twin", [run_hotter, weigh_less])
def test_that_test_rejects_broken_twins(errors, twin, monkeypatch):
    monkeypatch.setattr(CompiledAnnealing, "run_", twin(CompiledAnnealing.run_))
    assert np.abs(errors()).max() > 4


BETAS = [0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0]


def after_bridges(params, n_taken):
    """Where chains from the base machine are after a step under each of so many bridges; under the last is none."""
    path = AnnealingPath(params, params.b * 0.5)
    with loaded_loops():
        v = anneal(path, path.samples_of_base(N, Stream(1)), BETAS[: n_taken + 2], Stream(2)).v
    return reference.frequencies(v)


def expected_after_bridges(params, n_taken):
    path = AnnealingPath(params, params.b * 0.5)
    p = reference.p_v(path.base)
    for beta in BETAS[1 : n_taken + 1]:
        p = p @ reference.gibbs_transition(path.at(beta))
    return p


@pytest.mark.parametrize("n_taken", [0, 1, 5])
def test_states_after_bridges(params, n_taken):
    p = expected_after_bridges(params, n_taken)
    found = after_bridges(params, n_taken)
    assert reference.total_variation(found, p) < reference.total_variation_floor(p, N)


def test_that_test_rejects_a_step_less():
    params = reference.random_params(3, 4, scale=2.0, seed=5, dtype=torch.float32)
    p = expected_after_bridges(params, 5)
    assert reference.total_variation(after_bridges(params, 4), p) > reference.total_variation_floor(p, N)
