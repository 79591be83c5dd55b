"""Names of features: rows of a machine as data frames, and conditions by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skrbm.estimators.inputs import array_with_gaps, check_gaps
from skrbm.rows.source import named
from skrbm.support.tensors import from_torch


def names_of(model: Any) -> list[str]:
    """Of its features: those that it was fitted with, or x0, x1 … as scikit-learn has it."""
    names = getattr(model, "feature_names_in_", None)
    return [f"x{i}" for i in range(model.n_features_in_)] if names is None else list(names)


def as_configured(model: Any, rows: np.ndarray, *given: Any, names: list[str] | None = None) -> Any:
    """Rows in what `set_output` asks for, with the index of the first pandas frame among `given`.

    Only a frame of as many rows lends its index. `names` are those of columns that aren't the model's features.
    """
    if names is not None:
        return model.form.as_named(model, rows, names, *given)
    return model.form.as_given(model, rows, names_of(model), *given)


def condition_of(model: Any, condition: Any, n_samples: int) -> np.ndarray:
    """What is given of each sample, (n_samples, n_features), NaN where it is free.

    Parameters
    ----------
    model : estimator
        Must be fitted.
    condition : array-like, data frame, mapping or pandas Series
        One row, or as many as samples; or values by the names of features, in a mapping or a Series that has them as
        its index. What isn't named is free.
    n_samples : int
        The number of samples.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown or comes twice, a value is not a number, or out of range, or there are other numbers of
        rows or columns.
    """
    pairs = _pairs(condition)
    if pairs is None:
        condition = from_torch(condition)
        one_row = np.ndim(condition) == 1
        given = array_with_gaps(model, np.asarray(condition)[None] if one_row else condition, "condition")
    else:
        given = _by_name(model, pairs)[None]
        check_gaps(model, given, "condition")
    if len(given) not in (1, n_samples):
        raise ValueError(
            f"condition has {len(given)} rows, but n_samples={n_samples}. Pass one row, or as many as samples."
        )
    return np.broadcast_to(given, (n_samples, given.shape[1]))


def _pairs(condition: Any) -> list[tuple[Any, Any]] | None:
    """Names and values; None of what goes by places, such as a Series with an index of numbers."""
    if isinstance(condition, Mapping):
        return list(condition.items())
    if not (hasattr(condition, "items") and hasattr(condition, "index") and np.ndim(condition) == 1):
        return None
    pairs = list(condition.items())
    return pairs if any(isinstance(name, str) for name, _ in pairs) else None


def _by_name(model: Any, pairs: list[tuple[Any, Any]]) -> np.ndarray:
    names = names_of(model)
    places, row = {name: i for i, name in enumerate(names)}, np.full(len(names), np.nan)
    if unknown := [name for name, _ in pairs if name not in places]:
        raise ValueError(f"condition has {named('unknown name', unknown)}. The model knows {named('name', names)}.")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("condition has a name more than once. Give each feature one value.")
    for name, value in pairs:
        try:
            row[places[name]] = model.form.number_of(model, places[name], value)
        except TypeError as error:
            raise TypeError(
                f"condition[{name!r}] must be a number, got {type(value).__name__}. Leave out what is free, or set NaN."
            ) from error
    return row
