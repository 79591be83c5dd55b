"""Parallel and trajectory tempering against enumeration."""

import numpy as np
import pytest
import torch

from skrbm.diagnostics.chains import round_trips
from skrbm.sampling import tempering
from skrbm.sampling.kernels import GIBBS, Kernel, steps
from skrbm.sampling.ladder import AnnealingPath, Ladder
from skrbm.sampling.tempering import (
    TEMPERING,
    SwapRates,
    TemperingInfo,
    TemperingState,
    adapted_temperatures,
    ladder_by_name,
    tempering_init,
    tempering_step,
)
from skrbm.support.randomness import Stream
from tests import reference
from tests.kernels import N, all_rungs, assert_one_step, assert_stationary

PARAMS = reference.random_params(2, 3, scale=1.5, seed=3)
PATH = AnnealingPath(PARAMS, torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64))


def temperatures(*betas):
    return PATH.ladder(torch.tensor(betas))


def trajectory(*seeds):
    return PATH.ladder_through([reference.random_params(2, 3, seed=seed) for seed in seeds])


LADDERS = {
    "two temperatures": temperatures(0.3, 1.0),
    "three temperatures": temperatures(0.0, 0.5, 1.0),
    "two rungs of training": trajectory(),
    "three rungs of training": trajectory(7),
}
TWO = [name for name in LADDERS if "two" in name]


def rungs(ladder):
    return [ladder.rung(i) for i in range(ladder.n_rungs)]


def product(distributions):
    """The distribution of independent states, in the order of `kernels.all_rungs`."""
    p = np.ones(1)
    for q in distributions:
        p = np.kron(p, q)
    return p


def stationary(ladder, kernel):
    n = N // 2
    v = torch.from_numpy(np.stack([reference.draw_v(rung, n, seed) for seed, rung in enumerate(rungs(ladder))]))
    p = product(map(reference.p_v, rungs(ladder)))
    assert_stationary(kernel, ladder, v, p, all_rungs)  # the third step swaps in any ladder


def one_step(ladder, kernel):
    """Of the first step of a ladder of two rungs, which tries to swap them."""
    low, high = rungs(ladder)
    transition = np.kron(reference.gibbs_transition(low), reference.gibbs_transition(high))
    transition = transition @ reference.swap_transition(reference.p_v(low), reference.p_v(high))
    starts = reference.states(6).reshape(-1, 2, 3)
    some = np.random.default_rng(0).choice(len(starts), 12, replace=False)
    assert_one_step(kernel, ladder, starts[some], transition[some], all_rungs)


@pytest.mark.parametrize("name", LADDERS)
def test_tempering_is_stationary(name):
    stationary(LADDERS[name], TEMPERING)


@pytest.mark.parametrize("name", TWO)
def test_tempering_one_step(name):
    one_step(LADDERS[name], TEMPERING)


class Forgetful(Ladder):
    """A twin whose swaps leave the visible bias out of the free energy."""

    def log_weight(self, v, input_to_h, rungs):
        return self.hidden.cumulant(input_to_h).sum(-1)


class Eager(Ladder):
    """A twin that always swaps."""

    def log_weight(self, v, input_to_h, rungs):
        return torch.zeros(input_to_h.shape[:2], dtype=torch.float64)


def never_swaps(ladder, state, stream):
    """A twin that only does a Gibbs step on each rung."""
    states = [GIBBS.init(rung, v, stream) for rung, v in zip(rungs(ladder), state.h, strict=True)]
    v = torch.stack([GIBBS.step(rung, s, stream)[1].v for rung, s in zip(rungs(ladder), states, strict=True)])
    none = torch.zeros(0, v.shape[1])
    return TemperingState(v, state.replica), TemperingInfo(v[-1], v[-1], v, np.zeros(0, int), none, none)


@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("broken", [Forgetful, Eager])
def test_stationarity_rejects_wrong_swaps(name, broken):
    ladder = LADDERS[name]
    twin = broken(ladder.W, ladder.b, ladder.c, ladder.scale)
    with pytest.raises(AssertionError):
        stationary(twin, TEMPERING)


@pytest.mark.parametrize("name", TWO)
def test_one_step_rejects_rungs_that_never_swap(name):
    keeps_v = Kernel(lambda ladder, v, stream, given: TemperingState(v, torch.zeros(2, 1)), never_swaps)
    stationary(LADDERS[name], keeps_v)
    with pytest.raises(AssertionError):
        one_step(LADDERS[name], keeps_v)


@pytest.mark.parametrize("name", LADDERS)
def test_clamped_tempering(name):
    ladder, given = LADDERS[name], np.array([np.nan, 1.0, np.nan])
    p = product(reference.conditional_p_v(rung, given) for rung in rungs(ladder))
    n, rng = N // 2, np.random.default_rng(0)
    v = [reference.states(3)[rng.choice(8, n, p=reference.conditional_p_v(rung, given))] for rung in rungs(ladder)]
    v = torch.from_numpy(np.stack(v))

    def run(kernel):
        assert_stationary(kernel, ladder, v, p, all_rungs, given=torch.from_numpy(given).expand(n, -1), n_steps=4)

    run(TEMPERING)
    with pytest.raises(AssertionError):  # a twin that forgets what is given
        run(
            Kernel(
                tempering_init, lambda ladder, state, stream: tempering_step(ladder, state._replace(given=None), stream)
            )
        )


@pytest.mark.parametrize("name", TWO)
def test_clamped_tempering_one_step(name):
    ladder, given = LADDERS[name], np.array([np.nan, 1.0, np.nan])
    low, high = rungs(ladder)
    transition = np.kron(
        reference.clamped_gibbs_transition(low, given), reference.clamped_gibbs_transition(high, given)
    )
    transition = transition @ reference.swap_transition(reference.p_v(low), reference.p_v(high))
    fits = np.flatnonzero(np.kron(reference.compatible(given), reference.compatible(given)))
    starts = reference.states(6).reshape(-1, 2, 3)[fits]

    def run(kernel):
        assert_one_step(kernel, ladder, starts, transition[fits], all_rungs, given=torch.from_numpy(given)[None])

    run(TEMPERING)
    with pytest.raises(AssertionError):  # a twin whose first rung is free
        run(Kernel(tempering_init, first_rung_free))


def first_rung_free(ladder, state, stream):
    free = torch.full_like(state.given, torch.nan)
    given = torch.stack([free, *[state.given] * (ladder.n_rungs - 1)])
    return tempering_step(ladder, state._replace(given=given), stream)


@pytest.mark.parametrize("name", LADDERS)
def test_log_ratios_are_of_the_reference(name):
    ladder, stream = LADDERS[name], Stream(0)
    state = tempering_init(ladder, torch.from_numpy(reference.draw_v(PARAMS, 5)), stream)
    for _, info in steps(TEMPERING, ladder, state, 2, stream):
        log_p = np.array([np.log(reference.p_v(r)) + reference.log_partition(r) for r in rungs(ladder)])
        for pair, t in enumerate(info.lower):
            swapped = reference.index(info.rung_v[t]), reference.index(info.rung_v[t + 1])
            before = -(info.log_ratio_up + info.log_ratio_down)[pair].numpy()
            after = log_p[t, swapped[1]] + log_p[t + 1, swapped[0]] - log_p[t, swapped[0]] - log_p[t + 1, swapped[1]]
            unchanged = np.isclose(-before, after)
            np.testing.assert_allclose(np.where(unchanged, -before, before), after, atol=1e-10)


def test_replicas_follow_their_states():
    """Rungs whose swaps always succeed, being equal, hand on states and replicas alike."""
    ladder, stream = temperatures(1.0, 1.0, 1.0), Stream(0)
    state = tempering_init(ladder, torch.zeros(4, 3).double(), stream)
    order = []
    for state, info in steps(TEMPERING, ladder, state, 4, stream):  # noqa: B020
        order.append(state.replica[:, 0].tolist())
        assert (info.acceptance == 1).all()
    assert order == [[1, 0, 2], [1, 2, 0], [2, 1, 0], [2, 0, 1]]


def infos(*steps):
    """Steps of four rungs that swap with given probabilities."""
    for lower, acceptance in steps:
        log_r = torch.tensor(acceptance, dtype=torch.float64)[:, None].log()
        yield TemperingInfo(None, None, None, np.array(lower), log_r, torch.zeros_like(log_r))


def test_swap_rates():
    ladder = temperatures(0.0, 0.3, 0.6, 1.0)
    state = tempering_init(ladder, torch.zeros(1, 3).double(), Stream(0))
    rates = SwapRates(ladder)
    assert np.isnan(rates.round_trips)
    rates.start_(state)
    early, *late = infos(([1], [0.0]), ([0, 2], [0.5, 1.0]), ([0, 2], [0.25, 0.0]))
    rates.add_(state, early, late=False)
    for info in late:
        rates.add_(state, info, late=True)
    np.testing.assert_allclose(rates.acceptance, [0.375, np.nan, 0.5])
    assert rates.swap_acceptance == 0.375
    assert rates.warning_text() is None
    rates.add_(state, *infos(([1], [0.01])), late=True)
    assert rates.swap_acceptance == pytest.approx(0.01)
    assert rates.warning_text().startswith("Rungs 1 and 2 of 4 swap with probability 0.01 only")


def test_round_trips_of_several_runs_are_those_of_their_replicas():
    ladder, expected = temperatures(0.0, 0.5, 1.0), []
    rates = SwapRates(ladder)
    for n in (7, 7, 12):
        start, replicas = tempering_init(ladder, torch.zeros(n, 3).double(), Stream(n)), []
        rates.start_(start)
        for state, info in steps(TEMPERING, ladder, start, 200, Stream(len(expected))):
            rates.add_(state, info, late=False)
            replicas.append(state.replica.numpy())
        expected.extend(round_trips(np.stack(replicas)))
    assert rates.round_trips == np.mean(expected) > 1


@pytest.mark.parametrize("n_temperatures", [None, 6])
def test_adapted_temperatures_swap_evenly(n_temperatures):
    params = reference.random_params(30, 40, scale=0.6, seed=1)
    path = AnnealingPath(params, torch.zeros(40, dtype=torch.float64))
    betas = adapted_temperatures(path, Stream(0), n_temperatures)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (betas.diff() > 0).all()
    even, adapted = (acceptance_of(path, b) for b in (torch.linspace(0, 1, len(betas)), betas))
    assert np.ptp(adapted) < 0.2
    assert np.ptp(adapted) < 0.5 * np.ptp(even)
    if n_temperatures is None:
        assert abs(adapted.mean() - 0.5) < 0.12
    else:
        assert len(betas) == 6


def acceptance_of(path, betas):
    ladder, stream = path.ladder(betas), Stream(1)
    rates, start = SwapRates(ladder), tempering_init(ladder, path.samples_of_base(50, stream), stream)
    rates.start_(start)
    for step, (state, info) in enumerate(steps(TEMPERING, ladder, start, 600, stream)):
        rates.add_(state, info, late=step > 200)
    return rates.acceptance


def test_there_are_no_more_temperatures_than_memory_is_for(monkeypatch):
    monkeypatch.setattr(tempering, "_MAX_RUNGS", 4)
    params = reference.random_params(30, 40, scale=0.6, seed=1)
    assert len(adapted_temperatures(AnnealingPath(params, torch.zeros_like(params.b)), Stream(0))) == 4


def test_ladders_by_name():
    stream = Stream(0)
    with pytest.raises(ValueError, match="store_trajectory=True"):
        ladder_by_name("trajectory_tempering", PATH, stream)
    with pytest.raises(ValueError, match="'gibbs' is no ladder"):
        ladder_by_name("gibbs", PATH, stream)
    assert ladder_by_name("trajectory_tempering", PATH, stream, rungs=[PARAMS]).n_rungs == 3
    assert ladder_by_name("trajectory_tempering", PATH, stream, rungs=[]).n_rungs == 2
    assert ladder_by_name("parallel_tempering", PATH, stream, n_temperatures=4).n_rungs == 4
