import math
import warnings

import numpy as np
import pytest
import torch

from skrbm.likelihood import annealed
from skrbm.likelihood.annealed import (
    adapted_schedule,
    anneal,
    checked_schedule,
    inverse_temperatures,
    log_likelihood_raise,
    log_partition_ais,
    log_partition_reverse_ais,
    uniform_schedule,
)
from skrbm.likelihood.exact import log_likelihood_exact, log_partition_exact
from skrbm.likelihood.result import LogPartitionWarning
from skrbm.machines.bernoulli import Bernoulli
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference


def from_halves(params):
    """The path from a machine whose visible units are all on half of the time."""
    return AnnealingPath(params, torch.zeros_like(params.b))


def near(params):
    """The path from half the visible bias."""
    return AnnealingPath(params, params.b * 0.5)


def ais(path, n_temperatures, seed=0, schedule="adaptive", **kwargs):
    stream = Stream(seed)
    betas = inverse_temperatures(path, stream, n_temperatures, schedule)
    return log_partition_ais(path, betas, stream, **kwargs)


def reverse(path, v, n_temperatures, seed=0, schedule="adaptive"):
    stream = Stream(seed)
    return log_partition_reverse_ais(path, v, inverse_temperatures(path, stream, n_temperatures, schedule), stream)


def test_weights_of_one_step_are_free_energy_differences():
    params = reference.random_params(3, 4)
    V = torch.from_numpy(reference.states(4))
    log_f = np.log(reference.p_v(params)) + reference.log_partition(params)
    for betas, sign in (([0.0, 1.0], 1), ([1.0, 0.0], -1)):
        log_weight = anneal(from_halves(params), V, betas, Stream(0)).log_weight
        np.testing.assert_allclose(log_weight, sign * (log_f - 3 * np.log(2)), atol=1e-12)


def test_uniform_schedule():
    assert uniform_schedule(4) == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    "schedule",
    ["steep", None, [0.0, 0.5], [0.5, 1.0], [0.0, 0.7, 0.5, 1.0], [0.0, np.nan, 1.0], [[0.0, 1.0]], [0.0], 3.0],
)
def test_schedules_that_make_no_sense(schedule):
    with pytest.raises(ValueError, match=r"must be 'uniform', 'adaptive', or inverse temperatures that rise from 0"):
        checked_schedule(schedule)


def test_schedules():
    path = near(reference.random_params(3, 4))
    assert inverse_temperatures(path, Stream(0), 4, "uniform") == uniform_schedule(4)
    assert inverse_temperatures(path, Stream(0), 4) == adapted_schedule(path, 4, Stream(0))
    assert inverse_temperatures(path, Stream(0), 9, np.array([0, 0.5, 1])) == [0.0, 0.5, 1.0]
    assert checked_schedule("adaptive") == "adaptive"


def uneven():
    """A machine with a few units that turn on hard at a low β."""
    params = reference.random_params(20, 30, scale=0.2, seed=0)
    params.W[:4] *= 12.0
    return params


def test_adapted_schedule_rises_and_follows_the_spread():
    params = uneven()
    betas = np.array(adapted_schedule(from_halves(params), 400, Stream(0)))
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
        h = stream.bernoulli((beta * inputs).sigmoid())
        v = stream.bernoulli((beta * (params.b + h @ params.W)).sigmoid())
    return np.array(found)


def test_adapted_schedule_is_worth_it_where_the_spread_is_uneven():
    """The error is smaller in as many steps."""
    path = from_halves(uneven())
    errors = {
        schedule: [ais(path, 300, seed, schedule).standard_error for seed in range(6)]
        for schedule in ("uniform", "adaptive")
    }
    assert np.median(errors["adaptive"]) < np.median(errors["uniform"])


# -- annealed importance sampling --------------------------------------------------------------------------------------


def ais_errors():
    """Deviations from the exact log Z, in standard errors."""
    errors = []
    for seed in range(12):
        params = reference.random_params(8, 12, scale=(0.3, 1.0)[seed % 2], seed=seed, dtype=torch.float32)
        estimate = ais(near(params), 200, seed, n_chains=200)
        assert estimate.effective_sample_size > 20
        errors.append((estimate.value - log_partition_exact(params)) / estimate.standard_error)
    return np.array(errors)


def test_ais_agrees_with_enumeration():
    errors = ais_errors()
    assert np.abs(errors).max() < 4
    assert 0.4 < errors.std() < 1.8


def test_that_test_rejects_ais_with_chains_at_another_temperature(monkeypatch):
    monkeypatch.setattr(Bernoulli, "mean_", lambda self, x: x.mul_(0.8).sigmoid_())
    assert np.abs(ais_errors()).max() > 4


def test_ais_without_weights_is_exact():
    params = reference.random_params(5, 6)
    params.W.zero_()
    params.c.zero_()
    estimate = ais(AnnealingPath(params, params.b), 3, n_chains=4)
    assert estimate.value == pytest.approx(log_partition_exact(params), rel=1e-12)
    assert estimate.effective_sample_size == pytest.approx(4)


def coverage(n_intervals, level):
    """Share of AIS's intervals that hold the exact log Z."""
    n_inside = 0
    for seed in range(n_intervals):
        params = reference.random_params(6, 10, scale=(0.3, 0.7, 1.2)[seed % 3], seed=seed)
        low, high = ais(from_halves(params), 50, seed, "uniform").interval(level)
        n_inside += low <= log_partition_exact(params) <= high
    return n_inside / n_intervals


def test_intervals_cover_the_truth():
    assert 0.88 < coverage(150, 0.95) <= 1.0
    assert 0.4 < coverage(150, 0.5) < 0.6


@pytest.mark.slow
def test_four_hundred_intervals_cover_the_truth():
    assert 0.90 <= coverage(400, 0.95) <= 0.99


def bracket(n_repeats, p=None):
    """Means and standard errors of AIS and of its reverse with very few temperatures, less the exact log Z.

    The reverse starts from samples of `p`, by default the machine's own distribution.
    """
    params = reference.random_params(5, 6, scale=1.2, seed=1)
    truth, path, betas = log_partition_exact(params), from_halves(params), uniform_schedule(3)
    p = reference.p_v(params) if p is None else p
    errors, rng = [], np.random.default_rng(0)
    for seed in range(n_repeats):
        v = torch.from_numpy(reference.states(6)[rng.choice(len(p), 10, p=p)])
        lower = log_partition_ais(path, betas, Stream(seed), n_chains=10)
        upper = log_partition_reverse_ais(path, v, betas, Stream(seed))
        errors.append((lower.value - truth, upper.value - truth))
    return np.mean(errors, 0), np.std(errors, 0) / math.sqrt(n_repeats)


@pytest.mark.filterwarnings("ignore::skrbm.likelihood.result.LogPartitionWarning")
def test_ais_and_its_reverse_bracket_the_truth():
    mean, error = bracket(1000)
    assert mean[0] < -4 * error[0]
    assert mean[1] > 4 * error[1]


@pytest.mark.filterwarnings("ignore::skrbm.likelihood.result.LogPartitionWarning")
def test_reverse_ais_from_samples_that_are_not_the_machines_is_no_bound():
    mean, error = bracket(100, np.full(64, 1 / 64))
    assert mean[1] < -4 * error[1]


def reverse_errors():
    errors = []
    for seed in range(12):
        params = reference.random_params(4, 8, scale=(0.3, 1.0)[seed % 2], seed=seed)
        v = torch.from_numpy(reference.draw_v(params, 300, seed))
        found = reverse(near(params), v, 200, seed)
        errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


def test_reverse_ais_agrees_with_enumeration():
    errors = reverse_errors()
    assert np.abs(errors).max() < 4
    assert 0.4 < errors.std() < 1.8


def test_that_test_rejects_a_reverse_run_at_another_temperature(monkeypatch):
    monkeypatch.setattr(Bernoulli, "mean_", lambda self, x: x.mul_(0.8).sigmoid_())
    assert np.abs(reverse_errors()).max() > 4


def test_a_warning_where_few_chains_count():
    params = reference.random_params(15, 20, scale=4.0, seed=1)
    with pytest.warns(LogPartitionWarning, match=r"Only \d\.\d of 100 chains count") as caught:
        found = ais(from_halves(params), 10)
    assert caught[0].filename == __file__
    assert found.effective_sample_size < 10
    for n_chains in (2, 5):
        with pytest.warns(LogPartitionWarning, match=rf"of {n_chains} chains count"):
            ais(from_halves(params), 10, n_chains=n_chains)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ais(from_halves(params), 2000)
    assert found.effective_sample_size >= 10


def test_float32_products_are_enough():
    params = reference.random_params(50, 60, scale=0.3, seed=0)
    wide, narrow = (ais(from_halves(p), 2000, n_chains=200) for p in (params, params.to(torch.float32)))
    assert narrow.value == pytest.approx(wide.value, abs=4 * math.hypot(narrow.standard_error, wide.standard_error))
    assert narrow.standard_error < 0.05


def test_ais_does_not_depend_on_the_blocks(monkeypatch):
    params = reference.random_params(8, 12)
    monkeypatch.setattr(annealed, "_BLOCK", 12 * 30)
    calls = []
    found = ais(from_halves(params), 200, progress=lambda *numbers: calls.append(numbers))
    assert found.n_chains == 100
    assert abs(found.value - log_partition_exact(params)) < 4 * found.standard_error
    assert calls[-1] == (800, 800)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


# -- RAISE -----------------------------------------------------------------------------------------------------------


def annealed_p_v(path, betas):
    """p(v) of the model that draws from the base and takes a Gibbs step under each bridge, by enumeration."""
    p = reference.p_v(path.base)
    for beta in betas[1:]:
        p = p @ reference.gibbs_transition(path.at(beta))
    return p


BETAS = [0.0, 0.2, 0.5, 0.7, 1.0]


def raise_errors(n_chains, betas=BETAS):
    """Deviations of RAISE from the annealed model's log p(v), for every v."""
    path = near(reference.random_params(3, 4, scale=1.5, seed=4))
    found = log_likelihood_raise(path, torch.from_numpy(reference.states(4)), BETAS, Stream(0), n_chains)
    return found.numpy() - np.log(annealed_p_v(path, betas))


def test_raise_is_the_annealed_models_likelihood():
    assert np.abs(raise_errors(20_000)).max() < 0.05


def test_that_test_rejects_raise_of_other_bridges():
    assert np.abs(raise_errors(20_000, [0.0, 0.2, 0.5, 0.8, 1.0])).max() > 0.05


def test_raise_lies_below_in_expectation():
    """Over rows of the machine its mean is below the mean log p(v), at single rows it needn't be."""
    params = reference.random_params(3, 4, scale=1.5, seed=4)
    assert (annealed_p_v(near(params), BETAS) > reference.p_v(params)).any()
    v = torch.from_numpy(reference.draw_v(params, 20_000))
    raised = log_likelihood_raise(near(params), v, BETAS, Stream(0), n_chains=1)
    exact = log_likelihood_exact(params, v)
    assert raised.mean() < exact.mean() - 4 * (raised - exact).std() / math.sqrt(len(v))
