import importlib

import pytest
import torch

from skrbm.support.kernels import bfloat16_mm, has_bfloat16_mm, has_int8_mm, int8_mm, linear, sums_in_float32
from tests.backends.test_protocol import needs_int8
from tests.fake_cuda import fake_driver

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


def test_int8_kernels_that_do_something_else_or_are_missing_are_not_used(monkeypatch):
    monkeypatch.setattr(torch, "_int_mm", lambda a, b, out: out.zero_())
    assert module._find_int8_mm() is None
    monkeypatch.delattr(torch, "_int_mm")
    assert module._find_int8_mm() is None
    monkeypatch.undo()
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert module._find_int8_mm() is None


@needs_int8
def test_products_of_bytes_are_exact():
    a, b = (
        torch.randint(-127, 128, shape, generator=torch.Generator().manual_seed(0)) for shape in ((20, 33), (33, 9))
    )
    exact = (a @ b).to(torch.int32)
    assert torch.equal(int8_mm(a.to(torch.int8), b.to(torch.int8)), exact)
    out = torch.empty_like(exact)
    assert int8_mm(a.to(torch.int8), b.to(torch.int8), out) is out
    assert torch.equal(out, exact)


@needs_int8
@pytest.mark.parametrize("shape", [(20, 1, 9), (1, 33, 9), (20, 33, 1), (1, 1, 9), (20, 1, 1), (1, 33, 1), (1, 1, 1)])
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_products_of_rows_and_columns_of_bytes(shape, turned):
    """However they lie in memory."""
    n, n_in, n_out = shape
    a, b = (torch.randint(-127, 128, size).to(torch.int8) for size in ((n, n_in), (n_in, n_out)))
    turn = lambda x: x.T.reshape(-1).view(x.T.shape).T  # noqa: E731
    one, other = turn(a) if "a" in turned else a, turn(b) if "b" in turned else b
    exact = (a.int() @ b.int()).to(torch.int32)
    for _ in range(10):  # where memory is read that isn't theirs, it is another each time
        assert torch.equal(int8_mm(one, other), exact)
        assert torch.equal(int8_mm(one, other, out=torch.empty_like(exact)), exact)


def test_no_bytes_without_a_kernel(monkeypatch):
    monkeypatch.setattr(module, "_int8_mm", None)
    assert not has_int8_mm(torch.device("cpu"))
    assert not has_int8_mm(torch.device("cuda"))


def test_products_in_bfloat16():
    a, W, _ = tensors(20)
    found = bfloat16_mm(a.bfloat16(), W.T.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, a.bfloat16().float() @ W.T.bfloat16().float(), atol=0.1, rtol=0.01)


def in_float32(a, b, out_dtype=None):
    return a.float() @ b.float()


def in_bfloat16(a, b, out_dtype=None):
    return (a @ b).float()


def older_torch(a, b):
    return a @ b


def other_build(a, b, out_dtype=None):
    raise RuntimeError("out_dtype is not supported")


@pytest.mark.parametrize(
    ("mm", "expected"), [(in_float32, True), (in_bfloat16, False), (older_torch, False), (other_build, False)]
)
def test_where_bfloat16_is_summed_in_float32_is_tried(mm, expected, monkeypatch):
    monkeypatch.setattr(torch, "mm", mm)
    assert sums_in_float32.__wrapped__(torch.device("cpu")) is expected  # it serves as another


@pytest.mark.parametrize("sums", [False, True])
def test_units_for_bfloat16(sums, monkeypatch):
    driver, device = fake_driver(monkeypatch), torch.device("cuda")
    monkeypatch.setattr(module, "sums_in_float32", lambda device: sums)
    for capability, has_units in (((7, 5), False), ((8, 0), True), ((12, 1), True)):
        driver.capability = capability
        assert has_bfloat16_mm(device) is (has_units and sums)
    assert not has_bfloat16_mm(torch.device("cpu"))
