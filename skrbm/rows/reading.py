"""From a user's X to a source of rows: what kind it is, and whether its values make sense."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skrbm.rows.arrays import StreamedRows, chunks
from skrbm.support.checks import ROUNDING
from skrbm.support.randomness import Stream

__all__ = [
    "DataRangeWarning",
    "DatasetRows",
    "first_of",
    "is_stream",
    "range_of",
    "source_type",
    "warn_if_out_of_range",
]


class DataRangeWarning(UserWarning):
    """Some values of X lie outside [0, 1], where a Bernoulli machine reads probabilities."""


def is_stream(X: Any) -> bool:
    """Whether X yields batches of rows, or is a dataset of torch's, rather than holding the rows like an array."""
    if isinstance(X, Dataset | DataLoader):
        return True
    holds = isinstance(X, Sequence | Set | Mapping | Tensor) or hasattr(X, "__array__") or hasattr(X, "shape")
    return isinstance(X, Iterable) and not holds


def first_of(batch: Any) -> Any:
    """The rows of a batch: of a pair (rows, labels), as data loaders yield them, the rows."""
    pair = isinstance(batch, tuple | list) and len(batch) > 0 and getattr(batch[0], "ndim", 0) > 1
    return batch[0] if pair else batch


class DatasetRows(StreamedRows):
    """Rows of a `torch.utils.data.Dataset` that can be asked for its i-th row, in a new order each epoch."""

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.n_rows // self.batch_size)

    def _passing(self, stream: Stream) -> Iterable[Any]:
        order = stream.permutation(self.n_rows) if self.shuffle else np.arange(self.n_rows)
        return DataLoader(self._batches, batch_size=self.batch_size, sampler=order.tolist())  # type: ignore[arg-type]

    def _all(self, batches: Any) -> Iterable[Any]:
        return DataLoader(batches, batch_size=1000)


def source_type(X: Any) -> type[StreamedRows]:
    """The kind of source for a stream."""
    return DatasetRows if isinstance(X, Dataset) and not isinstance(X, IterableDataset) else StreamedRows


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


def warn_if_out_of_range(low: float, high: float, whole: bool, stacklevel: int) -> None:
    """Warn if the range isn't that of probabilities."""
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return
    pixels = low >= 0 and 1 < high <= 255 and whole
    remedy = "These look like pixels of 0 to 255: pass X / 255." if pixels else "Scale it, with MinMaxScaler for one."
    warnings.warn(
        f"X has values from {low:g} to {high:g}, but the machine reads values in [0, 1] as probabilities. {remedy}",
        DataRangeWarning,
        stacklevel=stacklevel + 1,
    )
