"""The product of rows with weights, by the fastest kernel that is to be had."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["linear"]


def linear(v: Tensor, W: Tensor, bias: Tensor, sigmoid: bool = False) -> Tensor:
    """v W' + bias, or its sigmoid.

    Parameters
    ----------
    v : Tensor of shape (n, n_in)
        Rows.
    W : Tensor of shape (n_out, n_in)
        Weights; a transposed view is as good.
    bias : Tensor of shape (n_out,)
        Bias.
    sigmoid : bool
        Whether to return 1 / (1 + exp(-x)) of the result x.

    Returns
    -------
    Tensor of shape (n, n_out)

    Notes
    -----
    For float32 on the CPU this is oneDNN's, which takes the sigmoid along, and which is up to twice as fast as torch's
    own choice (MKL) on AMD processors; for anything else, and where gradients are asked for, it is torch's.
    """
    differentiated = torch.is_grad_enabled() and (v.requires_grad or W.requires_grad or bias.requires_grad)
    suits = v.dtype == torch.float32 and v.device.type == "cpu" and len(v) > 1 and not differentiated
    if _onednn is not None and suits:
        return _onednn(v, W, bias, "sigmoid" if sigmoid else "none", [], "")
    inputs = torch.addmm(bias, v, W.T)
    return inputs.sigmoid() if sigmoid else inputs


def _find_onednn() -> Any:
    """oneDNN's linear layer, private to torch; None where it is missing or doesn't do what is expected."""
    try:
        kernel = torch.ops.mkldnn._linear_pointwise
        v, W, bias = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, -4.0]]), torch.tensor([0.5])
        for weights in (W, W.T.contiguous().T):
            if not torch.allclose(kernel(v, weights, bias, "sigmoid", [], ""), torch.addmm(bias, v, W.T).sigmoid()):
                return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return kernel


_onednn = _find_onednn()
