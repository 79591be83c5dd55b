"""The fastest products that torch has for a machine, the private ones among them: no other file knows their names."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor


def linear(v: Tensor, W: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """v W' + bias, or a function of it that the product takes along.

    Parameters
    ----------
    v : Tensor of shape (n, n_in)
        Rows.
    W : Tensor of shape (n_out, n_in)
        Weights; a transposed view is as good.
    bias : Tensor of shape (n_out,) or (n, n_out)
        Bias, the same for all rows or one for each.
    activation : {"none", "sigmoid"}
        The function, elementwise.

    Returns
    -------
    Tensor of shape (n, n_out)

    Notes
    -----
    For float32 on the CPU this is oneDNN's, which takes the function along, and which is up to twice as fast as torch's
    own choice (MKL) on AMD processors; for anything else, and where gradients are asked for, it is torch's.
    """
    differentiated = torch.is_grad_enabled() and (v.requires_grad or W.requires_grad or bias.requires_grad)
    # A single row is a matrix-vector product, which MKL does as fast.
    suits = v.dtype == torch.float32 and v.device.type == "cpu" and len(v) > 1 and bias.ndim == 1 and not differentiated
    if _onednn is not None and suits and W.numel():
        return _onednn(v, W, bias, activation, [], "")
    inputs = torch.addmm(bias, v, W.T)
    return inputs if activation == "none" else getattr(inputs, activation)()


def int8_mm(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices of int8 as int32; see `has_int8_mm`."""
    if 1 in a.shape or 1 in b.shape:  # torch takes a row whose strides are a column's for one, and reads beyond it
        a, b = a.reshape(-1).view(a.shape), b.reshape(-1).view(b.shape)
    return _int8_mm(a, b) if out is None else _int8_mm(a, b, out=out)


def has_int8_mm(device: torch.device) -> bool:
    """Whether `int8_mm` works on this device, and is faster than float32 there."""
    return device.type == "cpu" and _int8_mm is not None


def bfloat16_mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of bfloat16 matrices as float32, with sums in float32 where torch can do that (on CUDA)."""
    if sums_in_float32(a.device):
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b).float()


def bfloat16_linear(a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
    """The product of bfloat16 matrices and a bias in float32, as float32: see `bfloat16_mm`."""
    if sums_in_float32(a.device):
        return torch.ops.aten.addmm.dtype(bias, a, b, torch.float32)
    return bfloat16_mm(a, b).add_(bias)


def float_mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices of one float type; of bfloat16 as float32."""
    return bfloat16_mm(a, b) if a.dtype == torch.bfloat16 else torch.mm(a, b)


def add_mm_(target: Tensor, a: Tensor, b: Tensor) -> None:
    """target ← target + a b, where `target` may be float32 while `a` and `b` are bfloat16."""
    if a.dtype == target.dtype:
        target.addmm_(a, b)
    elif sums_in_float32(a.device):
        torch.ops.aten.addmm.dtype_out(target, a, b, torch.float32, out=target)
    else:
        target.add_(bfloat16_mm(a, b))


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether this is a GPU with units for bfloat16: NVIDIA's have them from compute capability 8.0 (Ampere) on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def has_bfloat16_mm(device: torch.device) -> bool:
    """Whether `bfloat16_mm` is faster than float32 on this device, and sums in float32."""
    return has_bfloat16_units(device) and sums_in_float32(device)


@cache
def sums_in_float32(device: torch.device) -> bool:
    """Whether torch, on this device, can sum products of bfloat16 in float32. It is tried once."""
    try:
        a = torch.ones((16, 16), dtype=torch.bfloat16, device=device)
        b = a * 256.0
        b[1:] = 1.0
        return bool((torch.mm(a, b, out_dtype=torch.float32) == 256.0 + 15.0).all())  # bfloat16 has no 271
    except (RuntimeError, TypeError):  # by the version of torch, and the build
        return False


def _find_onednn() -> Any:
    """oneDNN's linear layer; None where it is missing or doesn't do what is expected."""
    try:
        kernel = torch.ops.mkldnn._linear_pointwise
        v, W, bias = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, -4.0]]), torch.tensor([0.5])
        for weights in (W, W.T.contiguous().T):
            if not torch.allclose(kernel(v, weights, bias, "sigmoid", [], ""), torch.addmm(bias, v, W.T).sigmoid()):
                return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return kernel


def _find_int8_mm() -> Any:
    """torch's product of integers of 8 bits; None where it is missing or the processor has no units for it."""
    try:
        capabilities = torch.cpu.get_capabilities()
        if not any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
            return None
        kernel = torch._int_mm
        # At the ends of the range.
        a, b = (torch.tensor(rows, dtype=torch.int8) for rows in ([[127, -127]] * 20, [[127, 1], [-127, 1]]))
        out = torch.empty((20, 2), dtype=torch.int32)
        kernel(a, b, out=out)
        if out[-1].tolist() != [2 * 127 * 127, 0]:
            return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return kernel


_onednn, _int8_mm = _find_onednn(), _find_int8_mm()
