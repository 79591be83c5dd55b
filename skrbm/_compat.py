"""What skrbm takes from scikit-learn that is private or differs between versions: this file, and no other, knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
import sklearn.model_selection
from sklearn.metrics import _scorer
from sklearn.utils._param_validation import StrOptions
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
    """Let scikit-learn know `scorer` by `name`, as in `scoring=name`, if it has no scorer of that name.

    scikit-learn has no public way to do so; where its private one has changed, `scoring=scorer` remains.
    """
    known = getattr(_scorer, "_SCORERS", None)
    if not isinstance(known, dict) or known.setdefault(name, scorer) is not scorer:
        return
    for thing in (*vars(sklearn.metrics).values(), *vars(sklearn.model_selection).values()):
        for attribute in ("_skl_parameter_constraints", "_parameter_constraints"):  # of functions, and of classes
            constraints = getattr(thing, attribute, None)
            for constraint in constraints.get("scoring", ()) if isinstance(constraints, dict) else ():
                if isinstance(constraint, StrOptions):
                    constraint.options.add(name)
