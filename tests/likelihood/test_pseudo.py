from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skrbm.likelihood import pseudo
from skrbm.likelihood.pseudo import log_conditionals, pseudo_log_likelihood
from skrbm.machines.bernoulli import Bernoulli
from skrbm.machines.restricted import RBMParameters
from tests import reference
from tests.fake_cuda import fake_cuda
from tests.likelihood.test_layers import machine_of, rows_of
from tests.machines.layers import LAYERS


def grey(values):
    return np.array(values, dtype=float)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n, max_size=n)),
    st.sampled_from([0.1, 1.0, 4.0]),
    st.integers(0, 1000),
)
@example(3, [0.0, 1.0, 0.0, 0.0], 4.0, 442)  # where p is 1 but for 1e-14
def test_pseudo_log_likelihood_of_grey_values(n_hidden, values, scale, seed):
    params = reference.random_params(n_hidden, len(values), scale, seed)
    # The reference keeps the other places as they are, grey values too, as p_i is defined there.
    expected = reference.pseudo_log_likelihood(params, grey(values))
    ours = pseudo_log_likelihood(params, torch.tensor([values], dtype=torch.float64))
    assert float(ours[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_pseudo_log_likelihood_of_bits(scale):
    params = reference.random_params(3, 5, scale)
    V = reference.states(5)
    expected = [reference.pseudo_log_likelihood(params, v) for v in V]
    np.testing.assert_allclose(pseudo_log_likelihood(params, torch.from_numpy(V)), expected, rtol=1e-11)


@pytest.mark.parametrize("largest", [1e-9, 0.1, 1.5, 5.0, 9.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["", "_at_once"])
def test_all_forms_agree_whatever_the_weights(largest, dtype, form, monkeypatch):
    """Products, by points or at once, and flips one by one; inputs of all sizes."""
    for name in ("_lagrange", "_values"):
        monkeypatch.setattr(pseudo, name, getattr(pseudo, name + form))
    params = reference.random_params(30, 20, 1.0)
    params = RBMParameters(params.W * largest / params.W.abs().max(), params.b, 6 * params.c).to(dtype)
    v = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (200, 20))).to(dtype)
    ours = pseudo_log_likelihood(params, v)
    monkeypatch.setattr(pseudo, "_MAX_NODES", 0)
    flips = pseudo_log_likelihood(params.to(torch.float64), v.double())
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), flips, rtol=1e-6 if dtype == torch.float32 else 1e-13, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_the_terms_are_those_of_the_units(name):
    """Each alone: what is added to one unit's input changes its own term by what it adds to the sum."""
    machine = machine_of(name)
    v = rows_of(machine, 20)
    terms, total = log_conditionals(machine, v), pseudo_log_likelihood(machine, v)
    assert terms.shape == (20, len(list(machine.visible.columns(machine.n_features))))
    torch.testing.assert_close(terms.sum(1), total)
    for i, columns in enumerate(machine.visible.columns(machine.n_features)):
        b = machine.b.clone()
        b[columns.start] += 0.7
        other = replace(machine, b=b)
        changed = log_conditionals(other, v) - terms
        assert (changed[:, i].abs() > 1e-3).any()
        changed[:, i] = 0.0
        assert changed.abs().max() < 1e-12


def test_that_test_rejects_too_few_points(monkeypatch):
    params = reference.random_params(30, 20, 0.5)
    v = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (200, 20))).double()
    ours = pseudo_log_likelihood(params, v)
    nodes = pseudo._nodes
    monkeypatch.setattr(pseudo, "_nodes", lambda largest, dtype: nodes(largest, torch.float32))
    assert (pseudo_log_likelihood(params, v) / ours - 1).abs().max() > 1e-12


def test_pseudo_log_likelihood_does_not_depend_on_the_blocks(monkeypatch):
    params = reference.random_params(7, 6)
    bits = torch.from_numpy(reference.states(6))
    for v in (bits, 0.5 * bits):
        whole = pseudo_log_likelihood(params, v)
        for block in (1, 13, 100):
            with monkeypatch.context() as patch:
                patch.setattr(pseudo, "_BLOCK", block)
                patch.setattr(pseudo, "_PRODUCT_BLOCK", block)
                torch.testing.assert_close(pseudo_log_likelihood(params, v), whole)


class Spin(Bernoulli):
    """Units with the states -1 and 1."""

    states = (-1.0, 1.0)

    def cumulant(self, x):
        return torch.logaddexp(x, -x)


def test_hidden_units_of_another_kind():
    W, b, c = reference.random_params(3, 5).tensors.values()
    params = RBMParameters(W, b, c, hidden=Spin())
    V = reference.states(5)
    hidden = 2 * reference.states(3) - 1
    p = np.array([[np.exp(-reference.energy(params, v, h)) for h in hidden] for v in V]).sum(1)
    p /= p.sum()
    flipped = p[[[reference.index(np.abs(v - np.eye(5)))] for v in V]][:, 0]  # (n, 5)
    expected = np.log(p[:, None] / (p[:, None] + flipped)).sum(1)
    np.testing.assert_allclose(pseudo_log_likelihood(params, torch.from_numpy(V)), expected, rtol=1e-11)


def test_visible_units_of_another_kind():
    """Spins, unit by unit, are the bits of another machine."""
    W, b, c = reference.random_params(3, 5).tensors.values()
    bits = torch.from_numpy(reference.states(5))
    twin = RBMParameters(2 * W, 2 * b, c - W.sum(1))
    found = pseudo_log_likelihood(RBMParameters(W, b, c, visible=Spin()), 2 * bits - 1)
    torch.testing.assert_close(found, pseudo_log_likelihood(twin, bits))


@pytest.mark.parametrize(("reads", "at_most"), [(1.0, 70), (0.0, 40)], ids=["bits", "greys"])
def test_launches_on_a_gpu(reads, at_most):
    """Which take longer than the work where there are a thousand."""
    with fake_cuda(reads=reads) as launches:
        params = RBMParameters(*(torch.zeros(shape, device="cuda:0") for shape in ((500, 784), (784,), (500,))))
        v = torch.zeros(100, 784, device="cuda:0")
        launches.kernels.clear()
        assert pseudo_log_likelihood(params, v).device == v.device
    assert 10 <= len(launches.kernels) <= at_most
    assert len(launches.fetched) <= 2


@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        (np.zeros((2, 4)), TypeError, r"v must be a tensor, got ndarray. Pass torch.from_numpy\(array\)"),
        (torch.zeros(2, 5), ValueError, r"v must have shape \(n, 4\), but its shape is \(2, 5\)"),
        (torch.zeros(4), ValueError, r"v must have shape \(n, 4\), but its shape is \(4,\)"),
        (torch.zeros(2, 4, dtype=torch.uint8), TypeError, r"v must be a tensor of floats, got torch.uint8. Pass v.to"),
    ],
    ids=["array", "wide", "one row", "bytes"],
)
def test_rows_of_the_wrong_kind(v, error, message):
    with pytest.raises(error, match=message):
        pseudo_log_likelihood(reference.random_params(3, 4), v)
