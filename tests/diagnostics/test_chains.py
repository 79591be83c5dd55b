import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import t as student
from scipy.stats import ttest_ind

from skrbm.diagnostics import chains as diagnostics
from skrbm.diagnostics.chains import (
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
    merge_time,
    r_hat,
    round_trips,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ar1(n_steps, n_chains, phi, start=None, seed=0):
    """Chains of unit variance, stationary unless they are given a start."""
    noise = normal(n_steps, n_chains, seed=seed)
    x = noise.copy()
    if start is not None:
        x[0] = start
    for t in range(1, n_steps):
        x[t] = phi * x[t - 1] + math.sqrt(1 - phi**2) * noise[t]
    return x


def frozen_modes(n_steps=1000, n_chains=8, seed=0):
    """Chains that move about one of two modes and never change over."""
    return normal(n_steps, n_chains, seed=seed) + 10.0 * (np.arange(n_chains) % 2)


def direct_autocorrelation(x):
    n_steps, n_chains = x.shape
    variances = [np.var(chain, ddof=1) for chain in x.T]
    pooled = (n_steps - 1) / n_steps * np.mean(variances)
    if n_chains > 1:
        pooled += np.var(x.mean(0), ddof=1)
    rho = []
    for lag in range(n_steps):
        covariances = []
        for chain, variance in zip(x.T - x.mean(0)[:, None], variances, strict=True):
            rho_chain = sum(chain[t] * chain[t + lag] for t in range(n_steps - lag)) / sum(chain**2)
            covariances.append(variance * rho_chain)
        rho.append(1 - (np.mean(variances) - np.mean(covariances)) / pooled)
    return rho


@pytest.mark.parametrize("n_steps", [4, 5, 17, 64])
@pytest.mark.parametrize("n_chains", [1, 3])
@pytest.mark.parametrize("offset", [0.0, -1e5])
def test_autocorrelation_is_the_direct_sum(n_steps, n_chains, offset):
    x = ar1(n_steps, n_chains, 0.7) + np.arange(n_chains) + offset
    np.testing.assert_allclose(autocorrelation(x), direct_autocorrelation(x), atol=1e-9)
    for max_lag in (0, 1, np.int64(n_steps - 1)):
        np.testing.assert_allclose(autocorrelation(x, max_lag), autocorrelation(x)[: max_lag + 1], atol=1e-9)


def test_autocorrelation_of_ar1():
    np.testing.assert_allclose(autocorrelation(ar1(8000, 16, 0.9), 20), 0.9 ** np.arange(21), atol=0.03)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_autocorrelation_time_of_ar1(phi):
    tau = (1 + phi) / (1 - phi)
    x = ar1(8000, 16, phi)
    assert autocorrelation_time(x) == pytest.approx(tau, rel=0.08)
    assert effective_sample_size(x) == pytest.approx(x.size / tau, rel=0.08)
    assert autocorrelation_time(1e5 - 1e-3 * x) == pytest.approx(autocorrelation_time(x))


def test_autocorrelation_time_has_a_floor():
    x = np.tile([[1.0], [-1.0]], (500, 1))
    assert autocorrelation_time(x) == pytest.approx(1 / 3)


# By ArviZ: rhat(method="rank") of 0.21, and ess(method="mean") of arviz-stats 0.8.
NOISE = np.modf(np.arange(1.0, 304.0) ** 2 * 0.6180339887)[0].reshape(101, 3)
BY_ARVIZ = {
    "noise": (NOISE, 1.00607421501, 324.457348238),
    "slow": (np.cumsum(NOISE - 0.5, axis=0), 1.88190585979, 4.04777634289),
    "location": (NOISE + np.eye(3)[2], 1.65632676046, 4.30951889079),
    "scale": ((NOISE - 0.5) * [1, 1, 9], 1.44327647737, 323.39307296),
    "heavy": (np.tan(3.1 * (NOISE - 0.5)), 1.00682526271, 347.536044561),
    "ties": (np.round(2 * NOISE), 1.0098865408, 334.279468837),
}


@pytest.mark.parametrize("name", BY_ARVIZ)
def test_r_hat_and_effective_sample_size_as_arviz(name):
    x, expected_r_hat, expected_size = BY_ARVIZ[name]
    assert r_hat(x) == pytest.approx(expected_r_hat, rel=1e-9)
    # ArviZ takes the covariances that it sums by n_steps, not n_steps - 1: of few steps and many lags it adds up.
    assert effective_sample_size(x) == pytest.approx(expected_size, rel=0.015 if expected_size > 10 else 0.08)


def test_r_hat_of_chains_that_agree():
    for phi in (0.0, 0.5):
        assert 0.999 < r_hat(ar1(4000, 4, phi)) < 1.01


def test_r_hat_sees_location_and_spread_and_drift():
    x = normal(1000, 4)
    assert r_hat(x + np.eye(4)[3]) > 1.05
    spread = x * [1, 1, 1, 5]
    assert r_hat(spread) > 1.1
    assert diagnostics._scale_reduction(spread) < 1.01  # it takes the folding
    drift = x[:, :1] + np.linspace(0, 4, 1000)[:, None]
    assert r_hat(drift) > 1.3
    assert diagnostics._scale_reduction(drift) < 1.01  # it takes the halves


def test_frozen_modes_are_worth_few_draws(monkeypatch):
    x = frozen_modes()
    assert r_hat(x) > 1.5
    assert 1 < effective_sample_size(x) < 2 * x.shape[1]
    chain_by_chain = sum(effective_sample_size(chain[:, None]) for chain in x.T)
    assert chain_by_chain > 0.7 * x.size  # each chain by itself is content
    variances = diagnostics._variances
    monkeypatch.setattr(diagnostics, "_variances", lambda x: (variances(x)[0], 0.0))
    assert r_hat(x) < 1.01
    assert effective_sample_size(x) > 0.7 * x.size


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 40), st.lists(st.integers(-3, 3), min_size=1, max_size=5))
def test_chains_that_never_move(n_steps, levels):
    x = np.tile(0.1 * np.array(levels), (n_steps, 1))
    if len(set(levels)) == 1:
        assert r_hat(x) == 1.0
        assert np.isnan(autocorrelation(x)).all()
        assert math.isnan(autocorrelation_time(x))
        assert math.isnan(effective_sample_size(x))
    else:
        assert r_hat(x) == math.inf
        np.testing.assert_allclose(autocorrelation(x), 1.0)
        assert autocorrelation_time(x) == pytest.approx(2 * (n_steps // 2 * 2) - 1)
        assert effective_sample_size(x) < 2 * len(levels)


def test_a_chain_that_drifts_is_worth_little():
    """Whole chains that drift alike agree with each other; their halves don't."""
    drift = np.linspace(0, 3, 2000)[:, None] + normal(2000, 4)
    assert effective_sample_size(drift) < 20
    assert np.isfinite(effective_sample_size(normal(7, 2)))


def test_one_chain_of_many_never_moves():
    x = normal(1000, 4)
    x[:, 0] = 0.0
    assert r_hat(x) > 1.1
    assert effective_sample_size(x) < x.size


@pytest.mark.parametrize(
    ("n_steps", "edges"),
    [
        (4, [0, 1, 2, 4]),
        (5, [0, 1, 2, 5]),
        (6, [0, 1, 2, 4, 6]),
        (11, [0, 1, 2, 4, 11]),
        (12, [0, 1, 2, 4, 8, 12]),
        (16, [0, 1, 2, 4, 8, 16]),
        (17, [0, 1, 2, 4, 8, 17]),
    ],
)
def test_blocks_of_time(n_steps, edges):
    assert diagnostics._doubling_edges(n_steps) == edges


@pytest.mark.parametrize("sizes", [(2, 2), (3, 20), (30, 31)])
def test_the_test_of_a_block(sizes):
    a, b = normal(sizes[0], 50), 2.0 * normal(sizes[1], 50, seed=1) + 1.0
    level = ndtr(-diagnostics._distance_z(a, b))
    t = ttest_ind(a, b, equal_var=False).statistic
    np.testing.assert_allclose(level, student.sf(np.abs(t), min(sizes) - 1))


@pytest.mark.parametrize(("sizes", "scale"), [((3, 8), 50.0), ((20, 8), 0.02), ((3, 3), 50.0), ((200, 200), 1.0)])
def test_the_level_of_a_block_is_reached(sizes, scale):
    z = diagnostics._distance_z(scale * normal(sizes[0], 20_000), normal(sizes[1], 20_000, seed=1))
    assert np.mean(z > 2.0) == pytest.approx(2.0 * ndtr(-2.0), rel=0.15)  # where one group decides, or both are large


def false_alarms(n_random, n_data, scale=1.0):
    """How often chains that agree from the start seem to merge later, in runs of 11 blocks."""
    x = normal(400, 1024, n_random + n_data, seed=3)
    return np.mean([merge_time(scale * run[:, :n_random], run[:, n_random:]) > 0 for run in x])


@pytest.mark.parametrize("case", [(2, 2), (3, 8), (3, 8, 3.0), (3, 30, 0.2), (10, 10)])
def test_merge_time_of_chains_that_agree(case):
    assert false_alarms(*case) < 0.06


def test_that_test_rejects_a_normal_threshold_for_few_chains(monkeypatch):
    monkeypatch.setattr(diagnostics, "stdtr", lambda degrees, t: ndtr(t))
    assert false_alarms(3, 8) > 0.1


@pytest.mark.parametrize("relaxation", [10, 100])
def test_merge_time_of_ar1_that_starts_far_away(relaxation):
    phi = math.exp(-1 / relaxation)
    for seed in range(5):
        random_start = ar1(2000, 50, phi, start=10.0, seed=seed)
        data_start = ar1(2000, 50, phi, seed=100 + seed)
        # The distance, 10 exp(-t / relaxation), falls below some 3 errors of the mean, 3 sqrt(2 / 50), at 2.8.
        assert 1.4 < merge_time(random_start, data_start) / relaxation < 5.6


@pytest.mark.parametrize(
    ("until", "expected"), [(0, 0), (1, 1), (2, 2), (3, 4), (10, 16), (16, 16), (17, 32), (32, 32), (33, math.inf)]
)
def test_merge_time_is_the_first_block_without_difference(until, expected):
    random_start = normal(64, 10)
    random_start[:until] += 1000.0
    assert merge_time(random_start, normal(64, 12, seed=1)) == expected


def test_merge_time_of_chains_that_miss_a_mode():
    assert merge_time(frozen_modes(1000, 20), 10.0 + normal(1000, 20, seed=1)) == math.inf


def test_merge_time_of_a_lower_threshold():
    random_start, data_start = normal(64, 50) + np.linspace(1.0, 0.0, 64)[:, None], normal(64, 50, seed=1)
    assert merge_time(random_start, data_start, threshold=50.0) == 0.0
    assert merge_time(random_start, data_start, threshold=1.0) == math.inf


def test_merge_time_of_chains_that_never_move():
    assert merge_time(np.full((50, 3), 0.1), np.full((50, 7), 0.1)) == 0.0
    assert merge_time(np.full((50, 3), 0.1), np.full((50, 7), 0.2)) == math.inf
    absorbed = normal(50, 7)
    absorbed[16:] = 0.1
    assert merge_time(absorbed[:, :4] + 100.0 * (absorbed[:, :4] != 0.1), absorbed[:, 4:]) == 16.0


def count_trips(replica):
    """Of one system (n_steps, n_rungs), from the list of the ends that each replica visits."""
    trips = 0
    for number in range(replica.shape[1]):
        rungs = np.argmax(replica == number, axis=1)
        ends = [end for end, _ in groupby(rung for rung in rungs if rung in (0, replica.shape[1] - 1))]
        trips += max(0, ends.count(0) - 1)
    return trips


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 3), st.integers(0, 1000))
def test_round_trips_of_random_permutations(n_steps, n_rungs, n_systems, seed):
    identity = np.tile(np.arange(n_rungs)[:, None], (n_steps, 1, n_systems))
    replica = np.random.default_rng(seed).permuted(identity, axis=1)
    trips = round_trips(replica)
    assert trips.shape == (n_systems,)
    assert trips.tolist() == [count_trips(replica[:, :, k]) for k in range(n_systems)]


def walk(rungs):
    """Replica 0 stands on the given rungs; 1 stays below 2, and neither can make a round trip. (n_steps, 3, 1)"""
    return np.array([np.insert([1, 2], rung, 0) for rung in rungs])[:, :, None]


@pytest.mark.parametrize(
    ("rungs", "expected"),
    [
        ([0, 1, 2, 1, 0], 1),
        ([0, 1, 2, 1, 0, 1, 2, 1, 1, 0], 2),
        ([2, 1, 0], 0),  # down only
        ([0, 1, 0, 1, 0], 0),  # never up
        ([2, 1, 0, 1, 2], 0),  # from the top to the top
        ([0, 1, 2, 2, 1, 2, 1, 0, 0], 1),
    ],
)
def test_round_trips_of_one_replica(rungs, expected):
    assert round_trips(walk(rungs)) == [expected]


BAD = normal(10, 3)
BAD[4, 1] = np.nan


@pytest.mark.parametrize("function", [autocorrelation, autocorrelation_time, effective_sample_size, r_hat])
@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (BAD, ValueError, "x must be finite"),
        (np.zeros(10), ValueError, r"x must have the shape \(n_steps, n_chains\), got \(10,\)"),
        (np.zeros((3, 50)), ValueError, "x needs at least 4 steps, got 3"),
        (np.zeros((10, 0)), ValueError, "x needs n_chains of at least 1, got 0"),
        (np.zeros((10, 2), dtype=complex), TypeError, "x must hold real numbers, got complex128"),
        ([["a"] * 5] * 5, TypeError, "x must hold real numbers, got <U1"),
    ],
)
def test_series_that_are_refused(function, x, error, match):
    with pytest.raises(error, match=match):
        function(x)


@pytest.mark.parametrize(("max_lag", "error"), [(-1, ValueError), (10, ValueError), (2.0, TypeError), ("2", TypeError)])
def test_max_lag_that_is_refused(max_lag, error):
    with pytest.raises(error, match=r"max_lag must be .* got"):
        autocorrelation(normal(10, 3), max_lag)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((normal(10, 1), normal(10, 2)), "random_start needs n_chains of at least 2, got 1"),
        ((normal(10, 2), normal(10, 1)), "data_start needs n_chains of at least 2, got 1"),
        ((normal(10, 2), BAD), "data_start must be finite"),
        ((normal(10, 2), normal(9, 2)), "as many steps, got 10 and 9"),
        ((normal(10, 2), normal(10, 2), 0.0), "threshold must be positive and finite, got 0.0"),
        ((normal(10, 2), normal(10, 2), math.nan), "threshold must be positive and finite, got nan"),
    ],
)
def test_merge_time_refuses(arguments, match):
    with pytest.raises(ValueError, match=match):
        merge_time(*arguments)


@pytest.mark.parametrize(
    ("replica", "error", "match"),
    [
        (walk([0, 1]).astype(float), TypeError, "replica must hold integers.*got float64"),
        (walk([0, 1])[:, :, 0], ValueError, r"replica must have the shape .* got \(2, 3\)"),
        (walk([0, 1])[:, :1], ValueError, r"at least 2 rungs, got \(2, 1, 1\)"),
        (walk([0, 1]) + 1, ValueError, "replica must hold each of 0 to 2 once along axis 1"),
    ],
)
def test_round_trips_refuses(replica, error, match):
    with pytest.raises(error, match=match):
        round_trips(replica)
