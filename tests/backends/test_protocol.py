import math

import pytest
import torch

from skrbm.backends import products
from skrbm.backends.products import Bfloat16Products, FloatProducts, Int8Products, has_int8
from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_h
from skrbm.support.randomness import Stream

int8 = pytest.mark.skipif(not has_int8(torch.device("cpu")), reason="the processor has no units for 8-bit integers")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(n_hidden=30, n_features=50, scale=0.5, dtype=torch.float32):
    tensors = (
        torch.randn(*shape, generator=generator(1)) for shape in ((n_hidden, n_features), (n_features,), (n_hidden,))
    )
    return RBMParameters(*((scale * t).to(dtype) for t in tensors))


def bits(n, n_columns, dtype=torch.float32, seed=2):
    return torch.randint(0, 2, (n, n_columns), generator=generator(seed)).to(dtype)


def test_a_kernel_that_does_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b, out: out.zero_())
    assert products._find_int8() is None


def test_missing_kernels(monkeypatch):
    monkeypatch.delattr(torch, "_int_mm")
    assert products._find_int8() is None
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert products._find_int8() is None


@int8
def test_int8_is_exact_where_the_weights_are():
    W = torch.randint(-127, 128, (30, 50), generator=generator()).float() / 100
    W[0, 0] = 1.27
    params = RBMParameters(W, torch.randn(50, generator=generator()), torch.randn(30, generator=generator()))
    ours = Int8Products(params)
    torch.testing.assert_close(ours.mean_h(bits(9, 50, torch.int8)), mean_h_given_v(params, bits(9, 50)))
    torch.testing.assert_close(ours.mean_v(bits(9, 30, torch.int8)), mean_v_given_h(params, bits(9, 30)))


@int8
def test_input_error_of_int8_is_what_it_says():
    params = machine(300, 400)
    ours, v = Int8Products(params), bits(500, 400)
    off = ours.mean_h(v.to(torch.int8)).logit() - (v @ params.W.T + params.c)
    off = off[off.abs() < 1]  # without those where the sigmoid leaves no digits
    assert off.std() == pytest.approx(ours.input_error * math.sqrt(200 / 100), rel=0.1)


@int8
@pytest.mark.parametrize("reach", [0.01, 0.3, math.inf])
def test_rounded_weights_follow_the_weights_without_overflow(reach):
    params = machine(scale=0.01)
    ours = Int8Products(params)
    move = torch.sign(params.W) * min(reach, 0.5)
    for _ in range(40):
        params.W.add_(move)
        ours.refresh_(reach)
        assert (ours._W.float() * ours._step - params.W).abs().max() <= 0.501 * ours._step
    assert ours._step < 2 * params.W.abs().max() / 127


@int8
def test_rounded_weights_overflow_if_the_reach_is_wrong():
    params = machine(scale=0.01)
    ours = Int8Products(params)
    for _ in range(40):
        params.W.add_(torch.sign(params.W) * 0.3)
        ours.refresh_(1e-6)
    assert (ours._W.float() * ours._step - params.W).abs().max() > ours._step


def contrast(kind, params, v, n_data, mu=None, beta=0.5, alpha=2.0, n_calls=1):
    """Means over the calls of what the target becomes, from 1, and of dW_mu; and what else there is."""
    ours, stream = kind(params), Stream(0)
    total, along = torch.zeros_like(params.W), torch.zeros_like(params.c)
    for _ in range(n_calls):
        target = torch.ones_like(params.W)
        found = ours.add_contrast_(
            target, mean_h_given_v(params, v), v.to(ours.state_dtype), n_data, stream, alpha, beta, mu
        )
        total += target / n_calls
        along += (found.dW_mu if mu is not None else 0.0) / n_calls
    return total, along, found


def expected_contrast(params, v, n_data, mu, beta, alpha):
    mean_h, mu = mean_h_given_v(params, v), 0.0 if mu is None else mu
    one, other = ((h.T @ (x - mu)) / len(x) for h, x in ((mean_h[:n_data], v[:n_data]), (mean_h[n_data:], v[n_data:])))
    return beta + alpha * (one - other), (one - other) @ (
        mu if isinstance(mu, torch.Tensor) else torch.zeros(v.shape[1])
    )


KINDS = [FloatProducts, Bfloat16Products, pytest.param(Int8Products, marks=int8)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_data", [1, 20, 35])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_contrast(kind, n_data, centred, beta, monkeypatch):
    monkeypatch.setattr(products, "_BLOCK", 64)  # rows of W in several blocks
    params, v = machine(150, 50), bits(40, 50)
    mu = torch.rand(50, generator=generator()) if centred else None
    target, along, found = contrast(kind, params, v, n_data, mu, beta, n_calls=400 if kind is Int8Products else 1)
    expected, expected_along = expected_contrast(params, v, n_data, mu, beta, 2.0)
    few, many = sorted((n_data, 40 - n_data))
    rounding = 2.0 * 0.3 * many / few / 127 / math.sqrt(400) / (1 if few == many else math.sqrt(many))  # one sigma
    tolerance = {FloatProducts: 1e-5, Bfloat16Products: 0.01, Int8Products: 5.5 * rounding}[kind]
    torch.testing.assert_close(target, expected, atol=tolerance, rtol=0)
    if centred:
        torch.testing.assert_close(along, expected_along, atol=0.05 if kind is Bfloat16Products else 1e-5, rtol=1e-4)
    torch.testing.assert_close(found.data_v, v[:n_data].mean(0))
    torch.testing.assert_close(found.model_v, v[n_data:].mean(0))
    mean_h = mean_h_given_v(params, v)
    torch.testing.assert_close(found.dh, mean_h[:n_data].mean(0) - mean_h[n_data:].mean(0))


def test_means_in_bfloat16():
    params = machine()
    ours = Bfloat16Products(params)
    for _ in range(2):
        torch.testing.assert_close(
            ours.mean_h(bits(9, 50).bfloat16()), mean_h_given_v(params, bits(9, 50)), atol=0.01, rtol=0
        )
        torch.testing.assert_close(
            ours.mean_v(bits(9, 30).bfloat16()), mean_v_given_h(params, bits(9, 30)), atol=0.01, rtol=0
        )
        params.W.neg_()
        ours.refresh_()


@int8
def test_that_test_rejects_rounding_down(monkeypatch):
    monkeypatch.setattr(Stream, "dither", lambda self, n: torch.zeros(n))
    params, v = machine(150, 50), bits(40, 50)
    target, _, _ = contrast(Int8Products, params, v, 35)
    expected, _ = expected_contrast(params, v, 35, None, 0.5, 2.0)
    assert (target - expected).abs().max() > 5e-3
