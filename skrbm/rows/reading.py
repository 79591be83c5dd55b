"""What kind of X it is, and whether its values make sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from skrbm.support.checks import warn
from skrbm.support.tensors import chunks


class DataRangeWarning(UserWarning):
    """Some values of X lie outside [0, 1], where a Bernoulli machine reads probabilities."""


def yields_batches(X: Any) -> bool:
    """Whether X yields batches of rows, or is a dataset of torch's, rather than holding the rows like an array."""
    if isinstance(X, Dataset | DataLoader):
        return True
    holds = isinstance(X, Sequence | Set | Mapping | Tensor) or hasattr(X, "__array__") or hasattr(X, "shape")
    return isinstance(X, Iterable) and not holds


def rows_of_batch(batch: Any) -> Any:
    """The rows of a batch, without the labels that data loaders yield beside them in a pair (rows, labels)."""
    pair = isinstance(batch, tuple | list) and len(batch) > 0 and getattr(batch[0], "ndim", 0) > 1
    return batch[0] if pair else batch


def range_of(X: Any) -> tuple[float, float, bool]:
    """The lowest and the highest value of an array or a sparse matrix, and whether all are whole."""
    values = X if isinstance(X, np.ndarray) else X.data
    if values.dtype == bool or not values.size:
        return 0.0, 1.0, True
    low, high = values.min(), values.max()
    if low >= 0 and high <= 1:
        return low, high, False
    whole = values.dtype.kind in "ui" or all(
        bool((values[rows] == np.round(values[rows])).all()) for rows in chunks(len(values))
    )
    return low, high, whole


def warn_of_range(complaint: str | None) -> None:
    """Warn if a unit has complained about the range of X; see `Unit.check_range`."""
    if complaint is not None:
        warn(f"X has {complaint}", DataRangeWarning)
