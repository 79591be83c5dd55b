"""Every kernel leaves an enumerated distribution as it is, and moves from a fixed state with the right probabilities.

Each test is a function of the kernel, so that its broken twin can be put through it and must fail.
"""

import numpy as np
import pytest
import torch

from skrbm.model import sample_v_given_h
from skrbm.randomness import Stream
from skrbm.samplers import GibbsInfo, GibbsState, gibbs_init, gibbs_step
from tests import reference

N = 200_000


@pytest.fixture(params=[0.5, 2.0], ids=["weak", "strong"])
def params(request):
    return reference.random_params(3, 4, scale=request.param, seed=5)


def assert_stationary(params, init, step, n_steps=3):
    stream = Stream(1)
    state = init(params, torch.from_numpy(reference.draw_v(params, N)), stream)
    for _ in range(n_steps):
        state, info = step(params, state, stream)
    p = reference.p_v(params)
    assert reference.total_variation(reference.frequencies(info.v), p) < reference.total_variation_floor(p, N)


def assert_one_step(params, init, step, transition):
    """From each state v, one step leads to v' with the probabilities of the row of `transition`."""
    stream, n = Stream(2), N // 4
    for v, p in zip(reference.states(params.n_features), transition, strict=True):
        state = init(params, torch.from_numpy(v).expand(n, -1), stream)
        _, info = step(params, state, stream)
        assert reference.total_variation(reference.frequencies(info.v), p) < reference.total_variation_floor(p, n)


def never_moves_init(params, v, stream):
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
    assert_stationary(params, gibbs_init, gibbs_step)


def test_gibbs_one_step(params):
    assert_one_step(params, gibbs_init, gibbs_step, reference.gibbs_transition(params))


def test_gibbs_two_steps(params):
    def two_steps(params, state, stream):
        return gibbs_step(params, gibbs_step(params, state, stream)[0], stream)

    transition = reference.gibbs_transition(params)
    assert_one_step(params, gibbs_init, two_steps, transition @ transition)


@pytest.mark.parametrize("broken", [forgets_the_hidden_bias, takes_means_for_samples])
def test_stationarity_rejects_broken_kernels(params, broken):
    with pytest.raises(AssertionError):
        assert_stationary(params, gibbs_init, broken)


def test_one_step_rejects_the_identity_that_stationarity_accepts(params):
    assert_stationary(params, never_moves_init, never_moves)
    with pytest.raises(AssertionError):
        assert_one_step(params, never_moves_init, never_moves, reference.gibbs_transition(params))


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
