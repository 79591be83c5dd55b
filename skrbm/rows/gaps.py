"""Rows with gaps, whose missing cells have values for the time being: those that chains of training have come to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.support.randomness import Stream
from skrbm.support.tensors import chunks, is_bits


class Gaps:
    """The missing cells of a table and what they hold, one behind the other, row by row.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Rows, NaN where a cell is missing.
    stream : Stream
        Randomness of the first values: those of other rows, drawn from what their column has; 0 where it has nothing.

    Attributes
    ----------
    values : ndarray of shape (n_gaps,)
        In the float type of X: four or eight bytes a cell, and eight a row.
    """

    values: np.ndarray

    def __init__(self, X: np.ndarray, stream: Stream) -> None:
        self._X, self._first = X, np.zeros(len(X) + 1, np.int64)
        for rows in chunks(len(X)):
            self._first[1:][rows] = np.isnan(X[rows]).sum(1)
        self._first = self._first.cumsum()
        self.values = np.zeros(self._first[-1], X.dtype)
        donors = Donors(X)
        for rows in chunks(len(X)):
            free = np.isnan(X[rows])
            free[free.all(1)] = False
            numbers = np.flatnonzero(free.any(1))
            self.values[self._places(rows.start + numbers)] = donors.draw(free[numbers], stream)

    @classmethod
    def of(cls, X: Any, stream: Stream) -> Gaps | None:
        """Those of X; None if there are none."""
        return cls(X, stream) if has_gaps(X) else None

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those rows, and them with their missing cells filled in."""
        given = self._X[rows]
        filled = given.copy()
        filled[np.isnan(given)] = self.values[self._places(rows)]
        return given, filled

    def put_(self, rows: np.ndarray, filled: np.ndarray) -> None:
        """Take note of what the missing cells of those rows have come to."""
        self.values[self._places(rows)] = filled[np.isnan(self._X[rows])]

    def _places(self, rows: np.ndarray) -> np.ndarray:
        """Where the cells of those rows are, in their order."""
        first, n = self._first[rows], self._first[rows + 1] - self._first[rows]
        if len(n) and (n == n[0]).all():
            return (first[:, None] + np.arange(n[0])).ravel()
        return np.repeat(first - (n.cumsum() - n), n) + np.arange(n.sum())


def has_gaps(X: Any) -> bool:
    """Whether X is an array with NaN in it."""
    if not isinstance(X, np.ndarray) or X.dtype.kind != "f":
        return False
    return any(_has_nan(X[rows]) for rows in chunks(len(X)))


def is_empty(X: np.ndarray) -> np.ndarray:
    """Which rows have nothing but gaps, (n_rows,)."""
    return np.concatenate([np.isnan(X[rows]).all(1) for rows in chunks(len(X))])


def _has_nan(part: np.ndarray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        total = part.sum()  # four times as fast as to look at each value
    return bool(np.isnan(total)) and bool(np.isnan(part).any())


class Donors:
    """Columns of a table, for values of other rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Rows, NaN where a cell is missing.
    """

    def __init__(self, X: np.ndarray) -> None:
        self._X = X

    def draw(self, free: np.ndarray, stream: Stream) -> np.ndarray:
        """A value for each cell that is free (n, n_columns), row by row; 0 where no other row has any."""
        drawn = np.zeros(free.shape, self._X.dtype)
        for column in np.flatnonzero(free.any(0)):
            known = self._X[:, column]
            if len(known := known[~np.isnan(known)]):
                n = int(free[:, column].sum())
                drawn[free[:, column], column] = known[stream.integers(len(known), (n,))]
        return drawn[free]


def bits_or_gaps(v: Tensor) -> bool:
    """Whether all values are 0 or 1, but for those that are missing."""
    return bool(((v == 0) | (v == 1) | torch.isnan(v)).all()) if v.is_floating_point() else is_bits(v)


def gaps_in(v: Tensor) -> Tensor | None:
    """Where rows of floats have gaps; None if they have none."""
    if not v.is_floating_point():
        return None
    free = torch.isnan(v)
    return free if bool(free.any()) else None
