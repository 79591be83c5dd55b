"""Block Gibbs sampling, free and with some units clamped, against enumeration."""

import numpy as np
import pytest
import torch

from skrbm.machines.restricted import sample_h_given_v, sample_v_given_h
from skrbm.sampling.kernels import GIBBS, GibbsInfo, GibbsState, Kernel, clamp, gibbs_init, gibbs_step, steps
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
    mean_h, h = params.hidden.mean_and_sample(v @ params.W.T, stream)
    return GibbsState(h), GibbsInfo(v, v, mean_h)


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
