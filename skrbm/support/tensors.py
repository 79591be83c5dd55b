"""Arrays to tensors and back, where tensors live, and rows a few thousand at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK_ROWS = 4096  # rows that become dense floats at a time: 25 MB of 784 columns in float64
_SERVED = ("cpu", "cuda")  # types of devices
_REASONS = {  # why others are not served
    "meta": "its tensors have no values",
    "mps": "Apple's MPS has no float64, which sums are taken in",
}


class Placement(NamedTuple):
    """Float type and device of tensors."""

    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> Placement:
        """Where a tensor lives."""
        return cls(tensor.dtype, tensor.device)


def find_device(device: Any, fall_back: bool = False) -> torch.device:
    """The device of that name. With `fall_back` the CPU serves for one that this machine lacks, or that isn't served.

    "auto" is CUDA where there is one, else the CPU; "cuda" is torch's current CUDA device, by its number.

    Raises
    ------
    ValueError
        If it is neither the CPU nor CUDA, or not available, without `fall_back`.
    """
    try:
        if isinstance(device, str) and device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        found = torch.device(device)
        if found.type in _SERVED:
            found = torch.zeros(1, dtype=torch.float64, device=found).device
    except Exception as error:  # what torch raises depends on the device
        if fall_back:
            return torch.device("cpu")
        raise _missing(device, error) from error
    if found.type in _SERVED:
        return found
    if fall_back:
        return torch.device("cpu")
    reason = _REASONS.get(found.type, "only the CPU and CUDA have been tried")
    raise ValueError(f"device={device!r} is not supported: {reason}. Choose {_choices()}.")


def _missing(device: Any, error: Exception) -> ValueError:
    words = str(error).strip() or type(error).__name__
    reason = words.splitlines()[0].partition(". ")[0].rstrip(".")  # torch goes on to list all its kernels
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        return ValueError(
            f"CUDA is not available, but device={device!r} asks for it ({reason}). Choose 'cpu', or 'auto', which "
            "takes CUDA where there is one."
        )
    return ValueError(f"device={device!r} is not available ({reason}). Choose {_choices()}.")


def _choices() -> str:
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return "one of 'auto', 'cpu'" + "".join(f", 'cuda:{i}'" for i in range(n_gpus))


def clock(device: torch.device) -> float:
    """`time.perf_counter`, once the device has done what it was asked for: launches alone take no time."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def aligned_empty(shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a matrix whose rows begin at multiples of 16 bytes, which a GPU's products are fastest with."""
    step = 1 if device.type == "cpu" else max(1, 16 // dtype.itemsize)
    return torch.empty((shape[0], -(-shape[1] // step) * step), dtype=dtype, device=device)[:, : shape[1]]


def read_later(value: Tensor) -> Callable[[], float]:
    """What gives a number on a device, without waiting for the work that is launched there in the meantime."""
    if not value.is_cuda:
        return value.item
    copy = torch.empty_like(value, device="cpu", pin_memory=True)
    is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copy.copy_(value, non_blocking=True)
    is_there.record(torch.cuda.current_stream(value.device))

    def read() -> float:
        is_there.synchronize()
        return copy.item()

    return read


def from_torch(X: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy on the CPU."""
    return from_torch(tensor).copy()


def to_tensor(X: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """An array or a sparse matrix as a dense tensor; shares memory with X where that is possible."""
    array = np.ascontiguousarray(dense(X), dtype=numpy_type(dtype))
    if not array.flags.writeable:  # torch has no read-only tensors
        array = array.copy()
    return torch.from_numpy(array).to(device)


def numpy_type(dtype: torch.dtype) -> np.dtype:
    """numpy's name for a type of torch's."""
    return np.dtype(str(dtype).removeprefix("torch."))


def dense(X: Any) -> np.ndarray:
    """An array, or a sparse matrix as one."""
    return X.toarray() if hasattr(X, "toarray") else np.asarray(X)


def is_bits(v: Any) -> bool:
    """Whether all values of a tensor or an array are 0 or 1."""
    return bool(((v == 0) | (v == 1)).all())


def chunks(n_rows: int, size: int = CHUNK_ROWS) -> Iterator[slice]:
    """0 … n_rows-1, some thousands at a time."""
    for first in range(0, n_rows, size):
        yield slice(first, min(first + size, n_rows))


def take_rows(X: Any, rows: Any) -> Any:
    """Rows of X, by a slice or by their numbers, in X's own type."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]
