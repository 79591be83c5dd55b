import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrbm.likelihood import exact
from skrbm.likelihood.exact import bits_to_enumerate, log_likelihood_exact, log_partition_exact
from skrbm.machines.bernoulli import Bernoulli
from skrbm.machines.restricted import RBMParameters
from tests import reference


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.1, 1.0, 5.0]), st.integers(0, 1000))
def test_log_partition_by_enumeration_of_both_layers(n_hidden, n_features, scale, seed):
    params = reference.random_params(n_hidden, n_features, scale, seed)
    assert log_partition_exact(params) == pytest.approx(reference.log_partition(params), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (12, 13)])
def test_log_partition_does_not_depend_on_the_blocks(shape, monkeypatch):
    params = reference.random_params(*shape)
    whole = log_partition_exact(params)
    monkeypatch.setattr(exact, "_BLOCK", 16)
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


def test_rows_of_the_wrong_kind_are_refused_before_the_enumeration(monkeypatch):
    params = reference.random_params(3, 4)
    monkeypatch.setattr(exact, "log_partition_exact", None)
    with pytest.raises(TypeError, match=r"v must be a tensor, got ndarray. Pass torch.from_numpy\(array\)"):
        log_likelihood_exact(params, np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"v must have shape \(n, 4\), but its shape is \(2, 5\)"):
        log_likelihood_exact(params, torch.zeros(2, 5))


def test_rows_of_any_type_have_the_same_likelihood():
    params, v = reference.random_params(3, 4), torch.from_numpy(reference.states(4))
    for dtype in (torch.float32, torch.uint8, torch.bool):
        assert torch.equal(log_likelihood_exact(params, v.to(dtype)), log_likelihood_exact(params, v))


# -- other units -------------------------------------------------------------------------------------------------------


class Three(Bernoulli):
    """Units with the states -1, 0 and 2, of the weights 1, 1 and e: slow and obvious."""

    states = (-1.0, 0.0, 2.0)

    def cumulant(self, x):
        return torch.stack([-x, 0 * x, 2 * x + 1]).logsumexp(0)

    def log_weight(self, s, bias):
        return s @ bias + (s == 2).to(s.dtype).sum(1)


class Endless(Bernoulli):
    states = None


def test_enumeration_takes_any_states(monkeypatch):
    W, b, c = reference.random_params(5, 3, seed=2).tensors.values()
    params = RBMParameters(W, b, c, visible=Three())
    V = np.array(np.meshgrid(*[Three.states] * 3)).reshape(3, -1).T
    weights = [np.exp((v == 2).sum() - reference.energy(params, v, h)) for v in V for h in reference.states(5)]
    assert bits_to_enumerate(params) == pytest.approx(3 * math.log2(3))
    for block in (1 << 20, 16):
        monkeypatch.setattr(exact, "_BLOCK", block)
        assert log_partition_exact(params) == pytest.approx(np.log(np.sum(weights)), rel=1e-12)
    log_p = log_likelihood_exact(params, torch.from_numpy(V))
    assert float(log_p.logsumexp(0)) == pytest.approx(0, abs=1e-12)


def test_the_layer_with_fewer_states_is_enumerated():
    W, b, c = reference.random_params(5, 4, seed=2).tensors.values()
    assert bits_to_enumerate(RBMParameters(W, b, c)) == 4
    assert bits_to_enumerate(RBMParameters(W, b, c, visible=Three())) == 5
    # The cumulant of the visible units is all that is asked of them.
    truth = log_partition_exact(RBMParameters(W, b, c))
    assert log_partition_exact(RBMParameters(W, b, c, visible=Endless())) == pytest.approx(truth, rel=1e-12)
    with pytest.raises(ValueError, match=r"Neither Endless\(\) nor Endless\(\) units can be enumerated"):
        log_partition_exact(RBMParameters(W, b, c, Endless(), Endless()))
