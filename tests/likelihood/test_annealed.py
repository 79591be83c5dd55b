import numpy as np
import pytest
import torch

from skrbm.likelihood.annealed import adapted_schedule, anneal, log_partition_base, uniform_schedule
from skrbm.likelihood.log_partition import log_partition_ais
from skrbm.support.randomness import Stream
from tests import reference


def test_base_is_the_machine_without_weights():
    params, base_b = reference.random_params(3, 4), torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    params.W.zero_()
    params.c.zero_()
    params.b.copy_(base_b)
    assert log_partition_base(params, base_b) == pytest.approx(reference.log_partition(params), rel=1e-12)


def test_weights_of_one_step_are_free_energy_differences():
    params, base_b = reference.random_params(3, 4), torch.zeros(4).double()
    V = torch.from_numpy(reference.states(4))
    log_f = np.log(reference.p_v(params)) + reference.log_partition(params)
    for betas, sign in (([0.0, 1.0], 1), ([1.0, 0.0], -1)):
        log_weight = anneal(params, base_b, V, betas, Stream(0))
        np.testing.assert_allclose(log_weight, sign * (log_f - 3 * np.log(2)), atol=1e-12)


def test_uniform_schedule():
    assert uniform_schedule(4) == [0.0, 0.25, 0.5, 0.75, 1.0]


def uneven():
    """A machine with a few units that turn on hard at a low β."""
    params = reference.random_params(20, 30, scale=0.2, seed=0)
    params.W[:4] *= 12.0
    return params


def test_adapted_schedule_rises_and_follows_the_spread():
    params = uneven()
    betas = np.array(adapted_schedule(params, torch.zeros(30).double(), 400, Stream(0)))
    assert len(betas) == 401
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert (np.diff(betas) > 0).all()
    # Steps are shorter where log f spreads faster over the states of the bridge.
    steps, spread = np.diff(betas), spread_along(params, betas)
    assert np.corrcoef(np.log(steps), np.log(spread))[0, 1] < -0.8
    assert np.ptp(steps) > 0.3 * steps.mean()


def spread_along(params, betas):
    """Standard deviation of d log f / dβ over samples at each β."""
    stream, found = Stream(1), []
    v = stream.bernoulli(torch.full((300, params.n_features), 0.5).double())
    for beta in betas[1:]:
        inputs = params.c + v @ params.W.T
        found.append(float((v @ params.b + (inputs * (beta * inputs).sigmoid()).sum(1)).std()))
        h = stream.bernoulli_logits(beta * inputs)
        v = stream.bernoulli_logits(beta * (params.b + h @ params.W))
    return np.array(found)


def test_adapted_schedule_is_worth_it_where_the_spread_is_uneven():
    """The error is smaller in as many steps."""
    params = uneven()
    errors = {
        schedule: [
            log_partition_ais(
                params, torch.zeros(30).double(), Stream(seed), n_temperatures=300, n_chains=100, schedule=schedule
            ).standard_error
            for seed in range(6)
        ]
        for schedule in ("uniform", "adaptive")
    }
    assert np.median(errors["adaptive"]) < np.median(errors["uniform"])
