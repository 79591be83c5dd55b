"""Block Gibbs sampling, free and with some units clamped, against enumeration; and what all kernels keep to."""

import numpy as np
import pytest
import torch

from skrbm.backends.floats import FloatBackend
from skrbm.machines.restricted import mean_h_given_v, sample_h_given_v, sample_v_given_h
from skrbm.sampling import KERNELS
from skrbm.sampling.kernels import (
    GIBBS,
    GibbsInfo,
    GibbsState,
    Kernel,
    clamp,
    gibbs_init,
    gibbs_step,
    gibbs_step_,
    steps,
)
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference
from tests.kernels import N, assert_one_step, assert_stationary

GIVEN = np.array([np.nan, 1.0, 0.0, np.nan])


@pytest.fixture(params=[0.5, 2.0], ids=["weak", "strong"])
def params(request):
    return reference.random_params(3, 4, scale=request.param, seed=5)


def stationary(params, kernel, **kwargs):
    v = torch.from_numpy(reference.draw_v(params, N))
    assert_stationary(kernel, params, v, reference.p_v(params), **kwargs)


def one_step(params, kernel, transition):
    assert_one_step(kernel, params, reference.states(params.n_features), transition)


def never_moves_init(params, v, stream, given=None):
    return GibbsState(v)


def never_moves(params, state, stream):
    return state, GibbsInfo(state.h, state.h, state.h)


def forgets_the_hidden_bias(params, state, stream):
    """A twin that samples h without its bias."""
    v = sample_v_given_h(params, state.h, stream)
    mean_h = params.hidden.mean(v @ params.W.T)
    return GibbsState(params.hidden.sample(mean_h, stream)), GibbsInfo(v, v, mean_h)


def takes_means_for_samples(params, state, stream):
    """A twin that hands on P(h = 1 | v) instead of h."""
    _, info = gibbs_step(params, state, stream)
    return GibbsState(info.mean_h), info


def test_gibbs_is_stationary(params):
    stationary(params, GIBBS)


def test_gibbs_one_step(params):
    one_step(params, GIBBS, reference.gibbs_transition(params))


def test_gibbs_two_steps(params):
    def two_steps(params, state, stream):
        return list(steps(GIBBS, params, state, 2, stream))[-1]

    transition = reference.gibbs_transition(params)
    one_step(params, Kernel(gibbs_init, two_steps), transition @ transition)


@pytest.mark.parametrize("broken", [forgets_the_hidden_bias, takes_means_for_samples])
def test_stationarity_rejects_broken_kernels(params, broken):
    with pytest.raises(AssertionError):
        stationary(params, Kernel(gibbs_init, broken))


def test_one_step_rejects_the_identity_that_stationarity_accepts(params):
    identity = Kernel(never_moves_init, never_moves)
    stationary(params, identity)
    with pytest.raises(AssertionError):
        one_step(params, identity, reference.gibbs_transition(params))


# -- with some units clamped -------------------------------------------------------------------------------------------


def clamped_stationary(params, kernel):
    p = reference.conditional_p_v(params, GIVEN)
    v = reference.states(4)[np.random.default_rng(0).choice(len(p), N, p=p)]
    assert_stationary(kernel, params, torch.from_numpy(v), p, given=torch.from_numpy(GIVEN).expand(N, -1))


def clamped_one_step(params, kernel):
    compatible = reference.conditional_p_v(params, GIVEN) > 0
    transition = reference.clamped_gibbs_transition(params, GIVEN)
    assert_one_step(
        kernel, params, reference.states(4)[compatible], transition[compatible], given=torch.from_numpy(GIVEN)[None]
    )


def clamps_too_late(params, state, stream):
    """A twin that clamps what it reports, but draws h from what it has not clamped."""
    v = sample_v_given_h(params, state.h, stream)
    h = sample_h_given_v(params, v, stream)
    v = clamp(v, state.given)
    return GibbsState(h, state.given), GibbsInfo(v, v, h)


def clamps_and_never_moves(params, state, stream):
    return state, GibbsInfo(clamp(state.h, state.given), state.h, state.h)


def test_clamped_gibbs(params):
    clamped_stationary(params, GIBBS)
    clamped_one_step(params, GIBBS)


def test_clamping_too_late_is_seen(params):
    with pytest.raises(AssertionError):
        clamped_stationary(params, Kernel(gibbs_init, clamps_too_late))


def test_a_clamped_identity_is_seen(params):
    identity = Kernel(lambda params, v, stream, given: GibbsState(v, given), clamps_and_never_moves)
    clamped_stationary(params, identity)
    with pytest.raises(AssertionError):
        clamped_one_step(params, identity)


def test_clamped_reference_keeps_the_conditional_distribution(params):
    p, transition = reference.conditional_p_v(params, GIVEN), reference.clamped_gibbs_transition(params, GIVEN)
    np.testing.assert_allclose(transition.sum(1), 1)
    np.testing.assert_allclose(p @ transition, p, atol=1e-12)


def test_clamped_means():
    params, stream = reference.random_params(3, 4), Stream(0)
    given = torch.from_numpy(GIVEN).expand(50, -1)
    state = gibbs_init(params, torch.rand(50, 4).double().round(), stream, given)
    _, info = gibbs_step(params, state, stream)
    assert (info.v[:, 1] == 1).all()
    assert (info.mean_v[:, 2] == 0).all()
    torch.testing.assert_close(info.mean_v[:, [0, 3]], (params.b + state.h @ params.W).sigmoid()[:, [0, 3]])


def test_info_is_what_the_states_were_drawn_from(params):
    stream = Stream(3)
    state = gibbs_init(params, torch.from_numpy(reference.draw_v(params, 1000)), stream)
    new, info = gibbs_step(params, state, stream)
    torch.testing.assert_close(info.mean_v, (params.b + state.h @ params.W).sigmoid())
    torch.testing.assert_close(info.mean_h, (params.c + info.v @ params.W.T).sigmoid())
    assert set(np.unique(new.h)) == set(np.unique(info.v)) == {0.0, 1.0}


def test_reference_transition_is_a_distribution_that_keeps_p_v(params):
    transition = reference.gibbs_transition(params)
    np.testing.assert_allclose(transition.sum(1), 1)
    np.testing.assert_allclose(reference.p_v(params) @ transition, reference.p_v(params))


# -- the step in place -------------------------------------------------------------------------------------------------


def test_the_step_in_place_is_the_step(params):
    state = gibbs_init(params, torch.from_numpy(reference.draw_v(params, 50)), Stream(0))
    expected, info = gibbs_step(params, state, Stream(1))
    h, v = state.h.clone(), torch.empty(50, params.n_features).double()
    mean_v, mean_h = gibbs_step_(FloatBackend(params), h, v, Stream(1))
    for found, wanted in ((h, expected.h), (v, info.v), (mean_v, info.mean_v), (mean_h, info.mean_h)):
        assert torch.equal(found, wanted)
    assert not torch.equal(state.h, expected.h)


def test_rows_before_the_chains_come_along(params):
    data = torch.from_numpy(reference.draw_v(params, 30))
    state = gibbs_init(params, torch.from_numpy(reference.draw_v(params, 50)), Stream(0))
    rows = torch.cat((data, torch.empty(50, params.n_features).double()))
    alone, with_rows = state.h.clone(), state.h.clone()
    gibbs_step_(FloatBackend(params), alone, torch.empty_like(rows[30:]), Stream(1))
    _, mean_h = gibbs_step_(FloatBackend(params), with_rows, rows[30:], Stream(1), rows=rows)
    assert torch.equal(alone, with_rows)
    torch.testing.assert_close(mean_h, mean_h_given_v(params, rows))
    assert torch.equal(rows[:30], data)


# -- all kernels -------------------------------------------------------------------------------------------------------

# What a kernel of that name samples, for a machine.
MODELS = {
    "gibbs": lambda params: params,
    "tempering": lambda params: AnnealingPath(params, 0.5 * params.b).ladder(torch.linspace(0, 1, 3)),
}
WEAK = reference.random_params(3, 4, scale=0.5, seed=5)


def test_every_kernel_has_a_model():
    assert set(MODELS) == set(KERNELS)


def arrives(kernel, model, params, given=None, n=N // 4):
    """Chains from all over arrive at p(v), or p(v_free | v_given)."""
    p = reference.p_v(params) if given is None else reference.conditional_p_v(params, given)
    v = torch.from_numpy(reference.states(4)[np.arange(n) % 16])
    given = given if given is None else torch.from_numpy(given).expand(n, -1)
    assert_stationary(kernel, model, v, p, given=given, n_steps=40)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("given", [None, GIVEN], ids=["free", "clamped"])
def test_chains_arrive_wherever_they_start(name, given):
    arrives(KERNELS[name], MODELS[name](WEAK), WEAK, given)


@pytest.mark.parametrize("name", KERNELS)
def test_that_test_rejects_chains_that_stay_and_chains_that_forget_what_is_given(name):
    kernel, model = KERNELS[name], MODELS[name](WEAK)
    stays = kernel._replace(step=lambda model, state, stream: (state, kernel.step(model, state, stream)[1]))
    with pytest.raises(AssertionError):
        arrives(stays, model, WEAK)
    forgets = kernel._replace(step=lambda model, state, stream: kernel.step(model, state._replace(given=None), stream))
    with pytest.raises(AssertionError):
        arrives(forgets, model, WEAK, GIVEN)


@pytest.mark.parametrize("name", KERNELS)
def test_what_a_step_reports(name):
    kernel, model = KERNELS[name], MODELS[name](WEAK)
    given = torch.from_numpy(GIVEN).expand(30, -1)
    before = kernel.init(model, torch.zeros(30, 4).double(), Stream(0), given)
    state, info = kernel.step(model, before, Stream(1))
    again, same = kernel.step(model, before, Stream(1))  # the state before is as it was
    assert torch.equal(info.v, same.v)
    assert torch.equal(state.h, again.h)
    for shown in (info.v, info.mean_v):
        assert shown.shape == (30, 4)
        assert (shown[:, 1] == 1).all()
        assert (shown[:, 2] == 0).all()
    assert set(info.v.unique().tolist()) == {0.0, 1.0}
    assert ((info.mean_v >= 0) & (info.mean_v <= 1)).all()
    assert len(torch.unique(info.mean_v[:, 0])) > 1
    assert (model.n_hidden, model.n_features) == (3, 4)
    assert kernel.n_copies(model) == state.h.numel() / (30 * 3)


@pytest.mark.parametrize("name", KERNELS)
def test_watches(name):
    """Two runs in one watch; what they swap counts in the second halves only."""
    kernel, model = KERNELS[name], MODELS[name](WEAK)
    watch = kernel.watch(model)
    assert watch.warning_text() is None
    assert np.isnan(watch.swap_acceptance)
    for n, length in ((20, 60), (35, 40)):
        start = kernel.init(model, torch.zeros(n, 4).double(), Stream(0))
        watch.start_(start)
        for i, (state, info) in enumerate(steps(kernel, model, start, length, Stream(n))):
            watch.add_(state, info, late=i >= length // 2)
            if i < length // 2 and n == 20:
                assert np.isnan(watch.swap_acceptance)
    assert watch.warning_text() is None
    has_ladder = kernel.n_copies(model) > 1
    assert np.isnan(watch.swap_acceptance) != has_ladder
    assert np.isnan(watch.round_trips) != has_ladder
