"""Chains of a fitted machine that move by a kernel of the user's."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from skrbm import BernoulliRBMTorch
from skrbm.machines import free_energy, mean_v_given_h, sample_h_given_v
from skrbm.sampling import GIBBS, TEMPERING, Kernel, clamp
from tests import reference

PARAMS = reference.random_params(3, 4, seed=1)
CONDITION = np.array([np.nan, 1.0, np.nan, np.nan])


class State(NamedTuple):
    v: Tensor
    given: Tensor | None


class Info(NamedTuple):
    v: Tensor
    mean_v: Tensor


def init(params, v, stream, given):
    return State(clamp(v, given), given)


def lazy_step(params, state, stream):
    """A Gibbs step, or none, with even odds."""
    mean_v = mean_v_given_h(params, sample_h_given_v(params, state.v, stream))
    stays = stream.uniform(len(mean_v), mean_v.device)[:, None] < 0.5
    v = torch.where(stays, state.v, clamp(stream.bernoulli(mean_v), state.given))
    return State(v, state.given), Info(v, torch.where(stays, state.v, clamp(mean_v, state.given)))


def flip_step(params, state, stream, always=False):
    """Two units, any two, turn over if Metropolis says so."""
    n, n_features = state.v.shape
    pairs = stream.uniform(n * n_features, state.v.device).view(n, -1).topk(2).indices
    flipped = clamp((state.v - torch.zeros_like(state.v).scatter_(1, pairs, 1.0)).abs(), state.given)
    ratio = (free_energy(params, state.v) - free_energy(params, flipped)).exp()
    is_accepted = (stream.uniform(n, ratio.device) < ratio) | always
    v = torch.where(is_accepted[:, None], flipped, state.v)
    return State(v, state.given), Info(v, v)


def both_step(params, state, stream):
    return flip_step(params, lazy_step(params, state, stream)[0], stream)


def broken_step(params, state, stream):
    return flip_step(params, lazy_step(params, state, stream)[0], stream, always=True)


LAZY, BOTH, BROKEN = (Kernel(init, step) for step in (lazy_step, both_step, broken_step))


@pytest.fixture
def known():
    return BernoulliRBMTorch.from_parameters(**PARAMS.tensors, random_state=0)


def follows(v, p):
    return reference.total_variation(reference.frequencies(v), p) < reference.total_variation_floor(p, len(v))


@pytest.mark.parametrize("kernel", [LAZY, BOTH, GIBBS])
def test_samples_by_a_kernel_of_ones_own_are_of_the_model(known, kernel):
    assert follows(known.sample(30_000, 60, method=kernel), reference.p_v(PARAMS))
    hot = reference.p_v(PARAMS.map(lambda tensor: 0.4 * tensor))
    assert follows(known.sample(30_000, 60, method=kernel, beta=0.4), hot)
    p, V = reference.conditional_p_v(PARAMS, CONDITION), known.sample(30_000, 60, method=kernel, condition=CONDITION)
    assert (V[:, 1] == 1).all()
    assert follows(V, p)
    assert follows(known.complete(np.tile(CONDITION, (30_000, 1)), "sample", n_steps=60, method=kernel), p)


def test_a_broken_kernel_is_not(known):
    assert not follows(known.sample(30_000, 60, method=BROKEN), reference.p_v(PARAMS))


def test_it_is_the_kernel_that_moves_the_chains(known):
    start = np.array([[0.0, 1.0, 1.0, 0.0]]).repeat(40_000, 0)
    p = 0.5 * reference.gibbs_transition(PARAMS)[reference.index(start)[0]]
    p[reference.index(start)[0]] += 0.5
    v, h = known.sample(40_000, 1, start, method=LAZY, return_chain=True, return_hidden=True)
    assert follows(v[:, 0], p)
    assert h.shape == (40_000, 1, 3)


def test_rows_completed_by_a_kernel_of_ones_own(known):
    exact = reference.conditional_p_v(PARAMS, CONDITION) @ reference.states(4)
    found = known.complete(np.tile(CONDITION, (200, 1)), n_steps=400, method=LAZY)
    np.testing.assert_allclose(found.mean(0), exact, atol=0.02)
    assert (found[:, 1] == 1).all()


def test_kernels_are_compared_by_the_names_of_their_steps(known):
    table = known.diagnose(["gibbs", LAZY], n_steps=400, n_chains=100)
    assert table["method"].tolist() == ["gibbs"] * 4 + ["lazy_step"] * 4
    times = np.asarray(table["autocorrelation_time"]).reshape(2, 4)
    assert (times[1] > 1.5 * times[0]).all()
    assert set(known.diagnose(LAZY, n_steps=8)["method"]) == {"lazy_step"}


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (
            lazy_step,
            TypeError,
            "'parallel_tempering', 'trajectory_tempering' or a skrbm.sampling.Kernel, got function.$",
        ),
        (None, TypeError, "or a skrbm.sampling.Kernel, got NoneType.$"),
        ((init, lazy_step), TypeError, "or a skrbm.sampling.Kernel, got tuple.$"),
        ("lazy", ValueError, "='lazy' is not known. .*'trajectory_tempering', or a skrbm.sampling.Kernel.$"),
        (Kernel(init, None), TypeError, "must be a Kernel whose init and step can be called"),
        (TEMPERING, ValueError, "=TEMPERING runs on a ladder of machines. Choose 'parallel_tempering' or"),
        (Kernel(init, lambda *args: (None, None)), TypeError, r"info.v of .* shape \(3, 4\), got NoneType.$"),
        (Kernel(init, lambda *args: (None, Info(torch.zeros(3, 4), None))), TypeError, r"info.mean_v of .* NoneType.$"),
        (Kernel(init, lambda p, s, _: (s, Info(s.v[:1], s.v))), TypeError, r"info.v .* \(3, 4\), got shape \(1, 4\)"),
    ],
)
def test_what_is_no_kernel(known, method, error, message):
    calls = [
        lambda: known.sample(3, method=method),
        lambda: known.sample(3, 5, method=method, return_chain=True),
        lambda: known.complete(np.tile(CONDITION, (3, 1)), method=method),
    ]
    for call in calls:
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(error, match=message.replace(r"\(3, 4\)", r"\(\d+, 4\)")):
        known.diagnose([method], n_chains=3)


def test_a_kernel_that_moves_what_is_given_is_found_out(known):
    def forgetful_init(params, v, stream, given):
        return State(v, None)

    for call in (known.sample, lambda **kwargs: known.complete(np.tile(CONDITION, (9, 1)), method=kwargs["method"])):
        with pytest.raises(ValueError, match="has moved visible units that are given"):
            call(n_samples=9, method=Kernel(forgetful_init, lazy_step), condition=CONDITION)
