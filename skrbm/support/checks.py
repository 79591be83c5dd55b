"""Checks and conversions that the scikit-learn face shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["ROUNDING", "check_choice", "find_device", "from_torch", "to_numpy"]


def check_choice(name: str, value: Any, choices: tuple[str, ...], other: str = "") -> None:
    """Raise a ValueError if `value` is not one of `choices`; `other` says what else the parameter takes."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices)) + (f", or {other}" if other else "")
        raise ValueError(f"{name}={value!r} is not known. Choose one of: {known}.")


ROUNDING = 1e-6  # by which what is meant to lie in [0, 1] may miss it


def find_device(device: Any, fall_back: bool = False) -> torch.device:
    """The device of that name. With `fall_back` the CPU serves for one that this machine lacks."""
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        if found.type != "cpu":
            torch.zeros(1, device=found).cpu()
    except Exception as error:
        if fall_back:
            return torch.device("cpu")
        raise ValueError(
            f"device={device!r} is not to be had here ({error}). Choose 'auto', 'cpu', or a device that torch finds on "
            "this machine, such as 'cuda' or 'cuda:1'."
        ) from error
    return found


def from_torch(X: Any) -> Any:
    """A tensor as an array; anything else as it is."""
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A copy on the CPU."""
    return tensor.detach().cpu().numpy().copy()
