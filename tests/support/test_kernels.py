import importlib

import pytest
import torch

from skrbm.support.kernels import linear

module = importlib.import_module("skrbm.support.kernels")


def tensors(n, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(*shape, generator=generator).to(dtype) for shape in ((n, 50), (30, 50), (30,)))


@pytest.mark.parametrize("n", [0, 1, 2, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", ["found", "missing"])
def test_linear(n, dtype, kernel, monkeypatch):
    if kernel == "missing":
        monkeypatch.setattr(module, "_onednn", None)
    v, W, bias = tensors(n, dtype)
    for weights in (W, W.T.contiguous().T):
        torch.testing.assert_close(linear(v, weights, bias), v @ W.T + bias)
        torch.testing.assert_close(linear(v, weights, bias, activation="sigmoid"), (v @ W.T + bias).sigmoid())


def test_gradients_are_not_lost():
    v, W, bias = tensors(5)
    linear(v, W.requires_grad_(), bias, activation="sigmoid").sum().backward()
    assert (W.grad != 0).any()


def test_a_kernel_that_does_something_else_or_is_missing_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda v, W, *args: torch.zeros(len(v), len(W)))
    assert module._find_onednn() is None
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert module._find_onednn() is None
