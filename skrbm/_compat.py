"""What skrbm takes from scikit-learn that is private or differs between versions: this file, and no other, knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import _scorer
from sklearn.utils.validation import _check_sample_weight

__all__ = ["check_sample_weight", "register_scorer"]


def check_sample_weight(sample_weight: Any, X: Any) -> np.ndarray:
    """Weights (n_samples,) as float64, checked for shape, NaN and sign.

    Raises
    ------
    ValueError
        If a weight is negative, NaN or infinite, if there are not as many as rows, or if all are zero.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if weight.min() < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: the smallest is {weight.min():g}. "
            "Weights count rows; pass zeros to leave rows out."
        )
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number; all in `sample_weight` are 0.")
    return weight


def register_scorer(name: str, scorer: Callable[..., float]) -> None:
    """Let scikit-learn know `scorer` by `name`, as in `scoring=name`, if it has no scorer of that name."""
    known = getattr(_scorer, "_SCORERS", None)
    if isinstance(known, dict):
        known.setdefault(name, scorer)
