"""Sources of rows: where the batches of training come from.

A source has `n_features`, `n_rows`, and `epoch(stream)`, which yields every row once in batches (v, weight): v a float
tensor of shape (n, n_features), weight a tensor (n,) or None. It keeps the rows as they were given and turns a
batch at a time into floats on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from skrbm.randomness import Stream

__all__ = ["ArrayRows", "Binarize", "RowSource", "binarize_rows", "mean_row", "to_tensor"]

Binarize = Literal["none", "sample"] | float
_CHUNK_ROWS = 4096


class RowSource(Protocol):
    """What training needs of a source of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def n_rows(self) -> int | None:
        """Number of rows in an epoch, None where it is not known."""

    def epoch(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches; `stream` decides on their order."""


class ArrayRows:
    """Rows of an array or of a CSR matrix.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The rows, of any real type. A CSR matrix becomes dense one batch at a time.
    weight : ndarray of shape (n_rows,), optional
        Weights of the rows, >= 0. Rows of weight zero are left out, as if they weren't there.
    batch_size : int
        Rows in a batch; the last batch of an epoch has what remains.
    shuffle : bool
        Whether each epoch has an order of its own.
    dtype, device
        Of the batches.
    """

    def __init__(
        self,
        X: Any,
        weight: np.ndarray | None = None,
        *,
        batch_size: int = 100,
        shuffle: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self._X = X
        self._rows = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
        self._weight = None if weight is None else to_tensor(weight, dtype, device)
        self._dtype, self._device = dtype, torch.device(device)
        self.batch_size, self.shuffle = batch_size, shuffle
        self.n_rows = len(self._rows)
        self.n_features = int(X.shape[1])
        # On another device than the CPU the rows lie there as a whole, to be copied once and not once an epoch.
        self._resident = None if self._device.type == "cpu" else to_tensor(X, dtype, self._device)

    def epoch(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches; `stream` decides on their order."""
        rows = self._rows[stream.permutation(self.n_rows)] if self.shuffle else self._rows
        for first in range(0, self.n_rows, self.batch_size):
            yield self.take(rows[first : first + self.batch_size])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches and in the order of X."""
        for first in range(0, self.n_rows, _CHUNK_ROWS):
            yield self.take(self._rows[first : first + _CHUNK_ROWS])

    def is_binary(self) -> bool:
        """Whether all values are 0 or 1."""
        return all(bool(((v == 0) | (v == 1)).all()) for v, _ in self.in_order())

    def some(self, n: int, stream: Stream) -> Tensor:
        """`n` different rows, or all if there are fewer, (n, n_features)."""
        return self.take(self._rows[np.sort(stream.permutation(self.n_rows)[:n])])[0]

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The given rows of X, and their weights."""
        if self._resident is None:
            index = torch.from_numpy(rows)
            v = to_tensor(self._X[rows], self._dtype, self._device)
        else:
            index = torch.from_numpy(rows).to(self._device)
            v = self._resident[index]
        return v, None if self._weight is None else self._weight[index]


def to_tensor(X: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """An array or a sparse matrix as a dense tensor; shares memory with X where that is possible."""
    dense = X if isinstance(X, np.ndarray) else X.toarray()
    array = np.ascontiguousarray(dense, dtype=str(dtype).removeprefix("torch."))
    if not array.flags.writeable:  # torch has no read-only tensors
        array = array.copy()
    return torch.from_numpy(array).to(device)


def mean_row(source: ArrayRows, rule: Binarize) -> Tensor:
    """Weighted mean over the rows as `rule` (see `binarize_rows`) shows them to the machine, (n_features,)."""
    total, weights = torch.zeros(()), 0.0
    for v, weight in source.in_order():
        v = v.clamp(0.0, 1.0) if rule == "sample" else binarize_rows(v, rule, Stream(0))
        weight = v.new_ones(v.shape[0]) if weight is None else weight
        total = total + weight.double() @ v.double()
        weights += float(weight.double().sum())
    return (total / weights).to(v.dtype)


def binarize_rows(v: Tensor, rule: Binarize, stream: Stream) -> Tensor:
    """Rows as the machine shall see them.

    Parameters
    ----------
    v : Tensor of shape (n, n_features)
        Values in [0, 1].
    rule : {"none", "sample"} or float
        Leave the values as they are, draw each as a Bernoulli variable of that probability, or cut: 1 where the value
        exceeds the threshold.
    stream : Stream
        Randomness of the draws.
    """
    if rule == "none":
        return v
    if rule == "sample":
        return stream.bernoulli(v)
    return v.gt(rule).to(v.dtype)
