"""The range that values lie in, and what kind of numbers they are: whole, bytes, signs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

_AT_A_TIME = 1 << 18  # values that are looked at together: they stay in the cache for the second look


class Range(NamedTuple):
    """What values have in common; without any, the range that leaves another as it is.

    Attributes
    ----------
    low, high : float
        The lowest and the highest.
    is_whole : bool
        Whether all are whole numbers.
    is_bytes : bool
        Whether they are unsigned integers of 8 bits, as pixels are.
    is_signs : bool
        Whether all are -1 or 1.
    """

    low: float = np.inf
    high: float = -np.inf
    is_whole: bool = True
    is_bytes: bool = True
    is_signs: bool = True

    @classmethod
    def of(cls, X: Any, kinds: bool = False) -> Self:
        """The range of an array or a sparse matrix of finite numbers, but for NaN, which is no value.

        Parameters
        ----------
        X : ndarray or sparse matrix
            The values. Those that a sparse matrix doesn't store are zeros.
        kinds : bool
            Whether to tell the kind also of values that lie in [0, 1], for a union of ranges. That takes longer.
        """
        values = X if isinstance(X, np.ndarray) else X.data
        zeros = cls(0.0, 0.0, is_signs=False)
        found = cls() if values.size == np.prod(X.shape) else zeros
        if values.dtype == bool:
            return found | cls(0.0, 1.0, is_signs=False)
        if not values.size:
            return found
        extremes = [(part.min(), part.max()) for part in _parts(values)]
        if any(np.isnan(low) for low, _ in extremes):
            return found | cls.of(values[~np.isnan(values)], kinds)
        low, high = (float(pick(ends)) for pick, ends in zip((min, max), zip(*extremes, strict=True), strict=True))
        if low >= 0 and high <= 1 and not kinds:
            return found | cls(low, high, is_whole=False, is_bytes=False, is_signs=False)
        whole = values.dtype.kind in "ui" or all(bool((part == np.rint(part)).all()) for part in _parts(values))
        signs = whole and low >= -1 and high <= 1 and all(bool((abs(part) == 1).all()) for part in _parts(values))
        return found | cls(low, high, whole, values.dtype == np.uint8, signs)

    def __or__(self, other: Any) -> Self:
        """The range of the values of both."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        kinds = (mine and its for mine, its in zip(self[2:], other[2:], strict=True))
        return type(self)(low, high, *kinds)


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values, as many at a time as the cache holds."""
    n = max(1, _AT_A_TIME // max(1, values[:1].size))
    for first in range(0, len(values), n):
        yield values[first : first + n]
