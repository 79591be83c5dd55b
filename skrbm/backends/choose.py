"""The one place where a backend is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch

from skrbm.backends.floats import Bfloat16Backend, FloatBackend
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Backend
from skrbm.machines.restricted import RBMParameters
from skrbm.support.checks import warn
from skrbm.support.kernels import has_bfloat16_mm, has_bfloat16_units, has_int8_mm

Precision = Literal["auto", "float32", "float64", "int8", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
_MIN_NARROW = 1 << 17  # weights from which on fewer bits pay: below, the products are a small part of an update

BACKENDS: dict[str, Callable[[RBMParameters], Backend]] = {
    "float32": FloatBackend,
    "float64": FloatBackend,
    "int8": Int8Backend,
    "bfloat16": Bfloat16Backend,
}


def choose_precision(precision: str, n_weights: int, device: torch.device, *, bits: bool, weighted: bool) -> str:
    """What `precision` stands for: "auto" is the fastest that learns as well.

    Parameters
    ----------
    precision : {"auto", "float32", "float64", "int8", "bfloat16"}
        What is asked for.
    n_weights : int
        Of the machine.
    device : torch.device
        Where it learns.
    bits : bool
        Whether all rows are zeros and ones as training sees them.
    weighted : bool
        Whether rows have weights, which backends of few bits don't take in one product.

    Returns
    -------
    str
        A name that `backend_for` knows.

    Raises
    ------
    ValueError
        If the rows or the device don't allow it.

    Warns
    -----
    UserWarning
        If it is "bfloat16" on a GPU without units for that.
    """
    if precision == "auto":
        narrow = bits and n_weights >= _MIN_NARROW and not weighted
        if narrow and has_bfloat16_mm(device):
            return "bfloat16"
        return "int8" if narrow and has_int8_mm(device) else "float32"
    if precision in ("int8", "bfloat16") and not bits:
        raise ValueError(
            f"precision={precision!r} takes zeros and ones, but X has other values and binarize='none' keeps them. "
            "Choose precision='float32', or let binarize draw or cut them."
        )
    if precision == "int8" and not has_int8_mm(device):
        raise ValueError(f"precision='int8' is not available on {device}: no such units, or no product in torch.")
    if precision == "bfloat16" and device.type == "cuda" and not has_bfloat16_units(device):
        capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
        warn(
            f"precision='bfloat16' is slow on {device}, a GPU of compute capability {capability}: units for bfloat16 "
            "come with 8.0. precision='float32', or 'auto', is faster.",
            UserWarning,
        )
    return precision


def backend_for(precision: str, params: RBMParameters) -> Backend:
    """The backend of that name, for a machine."""
    return BACKENDS[precision](params)
