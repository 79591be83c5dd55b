import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrbm.likelihood import annealed as annealing
from skrbm.likelihood import log_partition as likelihood
from skrbm.likelihood.log_partition import (
    LogPartition,
    LogPartitionWarning,
    log_likelihood_exact,
    log_likelihood_raise,
    log_partition,
    log_partition_ais,
    log_partition_exact,
    log_partition_reverse_ais,
    log_partition_tempering,
)
from skrbm.sampling.tempering import Ladder
from skrbm.support.randomness import Stream
from tests import reference


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.1, 1.0, 5.0]), st.integers(0, 1000))
def test_log_partition_by_enumeration_of_both_layers(n_hidden, n_features, scale, seed):
    params = reference.random_params(n_hidden, n_features, scale, seed)
    assert log_partition_exact(params) == pytest.approx(reference.log_partition(params), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (12, 13)])
def test_log_partition_does_not_depend_on_the_chunks(shape, monkeypatch):
    params = reference.random_params(*shape)
    whole = log_partition_exact(params)
    monkeypatch.setattr(likelihood, "_CHUNK", 16)
    assert log_partition_exact(params) == pytest.approx(whole, rel=1e-12)


def test_log_partition_of_independent_units():
    params = reference.random_params(40, 18)
    params.W.zero_()
    units = (*params.b.tolist(), *params.c.tolist())
    assert log_partition_exact(params.to(torch.float32)) == pytest.approx(
        sum(math.log1p(math.exp(x)) for x in units), rel=1e-6
    )


def test_log_partition_of_too_large_a_machine():
    with pytest.raises(ValueError, match=r"at most 30 units; this machine has 32 visible and 31 hidden"):
        log_partition_exact(reference.random_params(31, 32))


def test_log_likelihood_is_that_of_the_enumerated_distribution():
    params = reference.random_params(3, 4)
    log_p = log_likelihood_exact(params, torch.from_numpy(reference.states(4)))
    np.testing.assert_allclose(log_p.exp(), reference.p_v(params))
    torch.testing.assert_close(
        log_likelihood_exact(params, torch.zeros(1, 4).double(), log_partition_exact(params)), log_p[:1]
    )


# -- annealed importance sampling --------------------------------------------------------------------------------------


def ais_errors():
    """Deviations from the exact log Z, in standard errors."""
    errors = []
    for seed in range(12):
        params = reference.random_params(8, 12, scale=(0.3, 1.0)[seed % 2], seed=seed, dtype=torch.float32)
        estimate = log_partition_ais(params, params.b * 0.5, Stream(seed), n_temperatures=200, n_chains=200)
        assert estimate.effective_sample_size > 20
        errors.append((estimate.value - log_partition_exact(params)) / estimate.standard_error)
    return np.array(errors)


def test_ais_agrees_with_enumeration():
    errors = ais_errors()
    assert np.abs(errors).max() < 4
    assert 0.4 < errors.std() < 1.8


def test_that_test_rejects_ais_with_chains_at_another_temperature(monkeypatch):
    draw = Stream.bernoulli_logits
    monkeypatch.setattr(Stream, "bernoulli_logits", lambda self, x, p=None: draw(self, 0.8 * x))
    assert np.abs(ais_errors()).max() > 4


def test_ais_without_weights_is_exact():
    params = reference.random_params(5, 6)
    params.W.zero_()
    params.c.zero_()
    estimate = log_partition_ais(params, params.b, Stream(0), n_temperatures=3, n_chains=4)
    assert estimate.value == pytest.approx(log_partition_exact(params), rel=1e-12)
    assert estimate.effective_sample_size == pytest.approx(4)


def coverage(n_intervals, level):
    """Share of AIS's intervals that hold the exact log Z."""
    n_inside = 0
    for seed in range(n_intervals):
        params = reference.random_params(6, 10, scale=(0.3, 0.7, 1.2)[seed % 3], seed=seed)
        found = log_partition_ais(
            params, torch.zeros_like(params.b), Stream(seed), n_temperatures=50, n_chains=100, schedule="uniform"
        )
        low, high = found.interval(level)
        n_inside += low <= log_partition_exact(params) <= high
    return n_inside / n_intervals


def test_intervals_cover_the_truth():
    assert 0.88 < coverage(150, 0.95) <= 1.0
    assert 0.4 < coverage(150, 0.5) < 0.6


@pytest.mark.slow
def test_four_hundred_intervals_cover_the_truth():
    assert 0.90 <= coverage(400, 0.95) <= 0.99


@pytest.mark.parametrize(
    ("estimate", "interval"),
    [
        (LogPartition(5.0, 0.0, 5.0, 5.0, None, 0, 0, 0.1, "exact"), (5.0, 5.0)),
        (LogPartition(5.0, math.inf, 5.0, None, 1.0, 1, 100, 0.1, "ais"), (-math.inf, math.inf)),
        (LogPartition(5.0, 1.0, 5.0, None, 90.0, 100, 100, 0.1, "ais"), (5 - 1.98422, 5 + 1.98422)),
    ],
)
def test_interval(estimate, interval):
    assert estimate.interval() == pytest.approx(interval, abs=1e-5)
    with pytest.raises(ValueError, match=r"level=95 must lie between 0 and 1"):
        estimate.interval(95)


def bracket(n_repeats, p=None):
    """Means and standard errors of AIS and of its reverse with very few temperatures, less the exact log Z.

    The reverse starts from samples of `p`, by default the machine's own distribution.
    """
    params = reference.random_params(5, 6, scale=1.2, seed=1)
    truth, base_b, settings = log_partition_exact(params), torch.zeros_like(params.b), {"schedule": "uniform"}
    p = reference.p_v(params) if p is None else p
    errors, rng = [], np.random.default_rng(0)
    for seed in range(n_repeats):
        v = torch.from_numpy(reference.states(6)[rng.choice(len(p), 10, p=p)])
        lower = log_partition_ais(params, base_b, Stream(seed), n_temperatures=3, n_chains=10, **settings)
        upper = log_partition_reverse_ais(params, base_b, v, Stream(seed), n_temperatures=3, **settings)
        errors.append((lower.value - truth, upper.value - truth))
    return np.mean(errors, 0), np.std(errors, 0) / math.sqrt(n_repeats)


@pytest.mark.filterwarnings("ignore::skrbm.likelihood.log_partition.LogPartitionWarning")
def test_ais_and_its_reverse_bracket_the_truth():
    mean, error = bracket(1000)
    assert mean[0] < -4 * error[0]
    assert mean[1] > 4 * error[1]


@pytest.mark.filterwarnings("ignore::skrbm.likelihood.log_partition.LogPartitionWarning")
def test_reverse_ais_from_samples_that_are_not_the_machines_is_no_bound():
    mean, error = bracket(100, np.full(64, 1 / 64))
    assert mean[1] < -4 * error[1]


def reverse_errors():
    errors = []
    for seed in range(12):
        params = reference.random_params(4, 8, scale=(0.3, 1.0)[seed % 2], seed=seed)
        v = torch.from_numpy(reference.draw_v(params, 300, seed))
        found = log_partition_reverse_ais(params, params.b * 0.5, v, Stream(seed), n_temperatures=200)
        errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


def test_reverse_ais_agrees_with_enumeration():
    errors = reverse_errors()
    assert np.abs(errors).max() < 4
    assert 0.4 < errors.std() < 1.8


def test_that_test_rejects_a_reverse_run_at_another_temperature(monkeypatch):
    draw = Stream.bernoulli_logits
    monkeypatch.setattr(Stream, "bernoulli_logits", lambda self, x, p=None: draw(self, 0.8 * x))
    assert np.abs(reverse_errors()).max() > 4


def test_a_warning_where_few_chains_count():
    params = reference.random_params(15, 20, scale=4.0, seed=2)
    with pytest.warns(LogPartitionWarning, match=r"Only \d\.\d of 100 chains count") as caught:
        found = log_partition_ais(params, torch.zeros_like(params.b), Stream(0), n_temperatures=10)
    assert caught[0].filename == __file__
    assert found.effective_sample_size < 10
    for n_chains in (2, 5):
        with pytest.warns(LogPartitionWarning, match=rf"of {n_chains} chains count"):
            log_partition_ais(params, torch.zeros_like(params.b), Stream(0), n_temperatures=10, n_chains=n_chains)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = log_partition_ais(params, torch.zeros_like(params.b), Stream(0), n_temperatures=2000)
    assert found.effective_sample_size >= 10


def test_a_warning_where_the_bracket_is_wider_than_asked():
    params = reference.random_params(6, 8, seed=1)
    samples = torch.from_numpy(reference.draw_v(params, 50))

    def run(max_width):
        return log_partition(params, "ais", stream=Stream(0), n_temperatures=5, samples=samples, max_width=max_width)

    with pytest.warns(LogPartitionWarning, match=r"bracket of log Z, \d.*1e-06 nats") as caught:
        found = run(1e-6)
    assert caught[0].filename == __file__
    assert abs(found.upper - found.lower) < 1
    assert found.value == run(1.0).value


def test_float32_products_are_enough():
    params = reference.random_params(50, 60, scale=0.3, seed=0)
    wide, narrow = (
        log_partition_ais(p, torch.zeros_like(p.b), Stream(0), n_temperatures=2000, n_chains=200)
        for p in (params, params.to(torch.float32))
    )
    assert narrow.value == pytest.approx(wide.value, abs=4 * math.hypot(narrow.standard_error, wide.standard_error))
    assert narrow.standard_error < 0.05


def test_ais_does_not_depend_on_the_blocks(monkeypatch):
    params = reference.random_params(8, 12)
    monkeypatch.setattr(annealing, "_CHUNK", 12 * 30)
    calls = []
    found = log_partition_ais(
        params,
        torch.zeros_like(params.b),
        Stream(0),
        n_temperatures=200,
        n_chains=100,
        progress=lambda *numbers: calls.append(numbers),
    )
    assert found.n_chains == 100
    assert abs(found.value - log_partition_exact(params)) < 4 * found.standard_error
    assert calls[-1] == (800, 800)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


# -- RAISE -----------------------------------------------------------------------------------------------------------


def annealed_p_v(params, base_b, betas):
    """p(v) of the model that draws from the base and takes a Gibbs step under each bridge, by enumeration."""
    bridges = Ladder.of_temperatures(params, base_b, torch.tensor(betas, dtype=torch.float64))
    p = reference.p_v(bridges.rung(0))
    for i in range(1, len(betas)):
        p = p @ reference.gibbs_transition(bridges.rung(i))
    return p


BETAS = [0.0, 0.2, 0.5, 0.7, 1.0]


def raise_errors(n_chains, betas=BETAS):
    """Deviations of RAISE from the annealed model's log p(v), for every v."""
    params = reference.random_params(3, 4, scale=1.5, seed=4)
    base_b, V = params.b * 0.5, torch.from_numpy(reference.states(4))
    found = log_likelihood_raise(params, V, base_b, Stream(0), n_chains=n_chains, schedule=BETAS)
    return found.numpy() - np.log(annealed_p_v(params, base_b, betas))


def test_raise_is_the_annealed_models_likelihood():
    assert np.abs(raise_errors(20_000)).max() < 0.05


def test_that_test_rejects_raise_of_other_bridges():
    assert np.abs(raise_errors(20_000, [0.0, 0.2, 0.5, 0.8, 1.0])).max() > 0.05


def test_raise_lies_below_in_expectation():
    """Over rows of the machine its mean is below the mean log p(v), at single rows it needn't be."""
    params = reference.random_params(3, 4, scale=1.5, seed=4)
    base_b, p = params.b * 0.5, reference.p_v(params)
    annealed = np.log(annealed_p_v(params, base_b, BETAS))
    assert (annealed > np.log(p)).any()
    v = torch.from_numpy(reference.draw_v(params, 20_000))
    raised = log_likelihood_raise(params, v, base_b, Stream(0), n_chains=1, schedule=BETAS)
    exact = log_likelihood_exact(params, v)
    assert raised.mean() < exact.mean() - 4 * (raised - exact).std() / math.sqrt(len(v))


# -- tempering ---------------------------------------------------------------------------------------------------------


def ladders(seed):
    params = reference.random_params(8, 12, scale=(0.5, 1.0)[seed % 2], seed=seed)
    base_b = params.b * 0.5
    betas = torch.linspace(0, 1, 6)
    steps_to_it = [replace(params, W=params.W * t, b=params.b + 1 - t) for t in (0.3, 0.6, 0.8)]
    return params, Ladder.of_temperatures(params, base_b, betas), Ladder.of_checkpoints([*steps_to_it, params], base_b)


def tempering_errors(change=lambda ladder: ladder):
    errors = []
    for seed in range(8):
        params, *both = ladders(seed)
        for ladder in both:
            found = log_partition_tempering(change(ladder), Stream(seed), n_steps=100, n_chains=50)
            errors.append((found.value - log_partition_exact(params)) / found.standard_error)
    return np.array(errors)


def test_tempering_agrees_with_enumeration():
    errors = tempering_errors()
    assert np.abs(errors).max() < 4
    assert 0.5 < errors.std() < 1.7


def test_that_test_rejects_tempering_with_a_wrong_first_rung():
    def change(ladder):
        return replace(ladder, b=ladder.b + 0.05 * (torch.arange(ladder.n_rungs) == ladder.n_rungs - 1)[:, None])

    assert np.abs(tempering_errors(change)).max() > 4


def test_tempering_has_its_own_bracket():
    _, ladder, _ = ladders(1)
    found = log_partition_tempering(ladder, Stream(0), n_steps=400, n_chains=100)
    assert found.lower <= found.value <= found.upper
    assert found.upper - found.lower < 0.5
    assert (found.n_temperatures, found.n_chains) == (6, 100)


def test_tempering_warns_of_rungs_too_far_apart():
    params = reference.random_params(30, 40, scale=1.5)
    ladder = Ladder.of_checkpoints([params], torch.zeros_like(params.b))
    with pytest.warns(LogPartitionWarning, match=r"Rungs 0 and 1 of 2 swap with probability") as caught:
        found = log_partition_tempering(ladder, Stream(0), n_steps=50, n_chains=10)
    assert caught[0].filename == __file__
    assert found.standard_error == math.inf


def test_tempering_needs_a_first_rung_without_weights():
    ladder = Ladder.of_temperatures(reference.random_params(), torch.zeros(4).double(), torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="first rung of the ladder has weights"):
        log_partition_tempering(ladder, Stream(0))


# -- by name -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"])
def test_log_partition_by_name(method):
    params, *_ = ladders(0)
    checkpoints = [replace(params, W=params.W * t) for t in (0.3, 0.6)]
    found = log_partition(params, method, stream=Stream(0), n_chains=50, checkpoints=checkpoints)
    truth = log_partition_exact(params)
    if method in ("auto", "exact"):
        assert (found.method, found.value, found.lower, found.upper) == ("exact", truth, truth, truth)
    else:
        assert found.method == method
        assert abs(found.value - truth) < 4 * found.standard_error
    assert found.seconds > 0


def test_auto_anneals_what_is_too_large_to_enumerate():
    params = reference.random_params(21, 22, scale=0.1)
    found = log_partition(params, stream=Stream(0), n_temperatures=500)
    assert (found.method, found.n_temperatures) == ("ais", 500)
    assert abs(found.value - log_partition_exact(params)) < 4 * found.standard_error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "wish"}, "'wish' is not known"),
        ({"method": "ais", "schedule": "steep"}, "schedule='steep' must be 'uniform', 'adaptive'"),
        ({"method": "ais", "schedule": [0.0, 0.7, 0.5, 1.0]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [0.0, 0.5]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [0.0, np.nan, 1.0]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": [[0.0, 1.0]]}, "rise from 0 to 1"),
        ({"method": "ais", "schedule": None}, "schedule=None must be"),
        ({"method": "trajectory_tempering"}, "store_trajectory=True"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        log_partition(reference.random_params(), **settings)
