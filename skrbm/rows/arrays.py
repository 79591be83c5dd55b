"""Rows of arrays and CSR matrices, kept once and in the narrowest form that holds them exactly.

Bits, bytes, or as they were given; a batch at a time becomes wider. Arrays that lie in a file (`numpy.memmap`) stay
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from mmap import mmap
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from skrbm.rows.gaps import Gaps, bits_or_gaps, has_gaps, is_empty
from skrbm.rows.source import Batch, Binarize, Mean, RowSource
from skrbm.rows.stores import Levels, OnCPU, Sent, Store, on_device
from skrbm.support.randomness import Stream
from skrbm.support.tensors import chunks, dense, numpy_type, to_tensor

_MAX_STORE = 1 << 28  # bytes that a narrower copy of the rows may take; larger arrays stay as they are
_LEVELS = (255, 16)  # greys are often multiples of one over these: pixels of a byte, scikit-learn's digits
_BLOCK, _BLOCKS = 256, 32  # rows of a file that are read together, and blocks that are shuffled together


class ArrayRows(RowSource):
    """Rows of an array or of a CSR matrix.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The rows, of any real type, NaN where a cell is missing. What isn't zeros and ones, or multiples of 1/255 or
        1/16, is kept as it is; a CSR matrix then becomes dense one batch at a time. Nothing is kept of an array that
        lies in a file.
    weight : ndarray of shape (n_rows,), optional
        Weights of the rows, >= 0. Rows of weight zero are left out, as if they weren't there.
    shuffle : bool
        Whether each epoch has an order of its own. That of large arrays in files keeps neighbours, 256 of them,
        together in 8,192 rows that are shuffled, so that the file is read in blocks.
    dtype, device
        Of the batches; those of zeros and ones are uint8.
    rows : ndarray of int, optional
        Numbers of the rows that are meant; by default all. `take` hands out the others too.
    encode, decode : callable, optional
        Makes rows of a machine of rows of X, a batch at a time, and the reverse; X is kept as it is then.
    absent : bool
        Whether missing cells are not there, rather than to be drawn; see `RowSource`.
    """

    n_features: int
    n_rows: int
    total_weight: float
    is_binary: bool
    is_weighted: bool
    has_full_batches: bool = True
    has_gaps: bool
    has_absent: bool
    shuffle: bool

    def __init__(  # noqa: PLR0913 (whatever rows may be like)
        self,
        X: Any,
        weight: np.ndarray | None = None,
        *,
        shuffle: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        rows: np.ndarray | None = None,
        encode: Callable[[Tensor], Tensor] | None = None,
        decode: Callable[[Tensor], Tensor] | None = None,
        absent: bool = False,
    ) -> None:
        rows = np.arange(X.shape[0]) if rows is None else rows
        self.has_absent = absent and has_gaps(X)
        self._gaps = None if absent else Gaps.of(X, Stream(0, "gaps"))
        self._encode, self._decode, self.has_gaps = encode, decode, self._gaps is not None
        if self.has_absent or self.has_gaps:
            rows = rows[~is_empty(X)[rows]]
            if not len(rows):
                raise ValueError("X has no values at all: every cell is NaN. Pass rows that have some.")
        self._rows = rows if weight is None else rows[weight[rows] != 0]
        self._weight = None if weight is None else to_tensor(weight, dtype, device)
        self._dtype, self._device = dtype, torch.device(device)
        self.shuffle, self.is_weighted = shuffle, weight is not None
        self.n_rows = len(self._rows)
        self.total_weight = float(self.n_rows if weight is None else weight[self._rows].sum(dtype=np.float64))
        mapped = is_mapped(X)
        if self._gaps is not None:
            store: OnCPU = _Filled(self._gaps, X.dtype, dtype, encode)
        elif encode is not None or self.has_absent:
            store = _AsGiven(X, dtype, encode)
        else:
            store = (None if mapped else _Bits.of(X) or _Greys.of(X, dtype)) or _AsGiven(X, dtype)
        self.n_features = int(X.shape[1]) if encode is None else store.codes(torch.arange(1)).shape[1]
        self._in_blocks = mapped and X.nbytes > _MAX_STORE
        self.is_binary = isinstance(store, _Bits) or self._all_bits(store)
        # On another device than the CPU the rows lie there as a whole if they can, to be copied once.
        if self.has_absent or self._gaps is not None:  # values change, or are NaN
            self._store: Store = store if self._device.type == "cpu" else Sent(store, self._device)
        else:
            shape = (int(X.shape[0]), self.n_features)
            self._store = store if self._device.type == "cpu" else on_device(store, shape, self._device)

    def n_batches(self, batch_size: int) -> int:
        return -(-self.n_rows // batch_size)

    def epoch(self, stream: Stream, batch_size: int = 100, as_kept: bool = False) -> Iterator[Batch]:
        rows = self._rows
        if self.shuffle:
            rows = rows[(_block_order if self._in_blocks else Stream.permutation)(stream, self.n_rows)]
        kept = self._store if as_kept and isinstance(self._store, _Bits | _Greys) and self._weight is None else None
        for batch in torch.split(self._store.index(rows), batch_size):
            if kept is not None:
                yield Batch(kept.rows(batch), form=kept.form, divisor=kept.divisor)
                continue
            yield self._batch(batch)

    def _batch(self, rows: Tensor) -> Batch:
        weight = None if self._weight is None else self._weight[rows.to(self._device)]
        v = self._store.take(rows)
        if self.has_absent:
            free = torch.isnan(v)
            return Batch(v.masked_fill_(free, 0.0), weight, free=free if bool(free.any()) else None)
        if self._gaps is None:
            return Batch(v, weight)
        numbers = rows.cpu().numpy()
        given = torch.from_numpy(np.ascontiguousarray(self._gaps.take(numbers)[0]))
        free = torch.isnan(given if self._encode is None else self._encode(given)).to(self._device)
        return Batch(v, weight, free=free if bool(free.any()) else None, rows=numbers)

    def put_(self, batch: Batch) -> None:
        if self._gaps is not None and batch.rows is not None:
            v = batch.v.to("cpu", torch.float64)
            self._gaps.put_(batch.rows, (v if self._decode is None else self._decode(v)).numpy())

    def provisional(self) -> np.ndarray | None:
        return None if self._gaps is None else self._gaps.values.copy()

    def set_provisional_(self, values: np.ndarray) -> None:
        if self._gaps is not None:
            self._gaps.values[:] = values

    def in_order(self) -> Iterator[Batch]:
        """Every row once, in batches and in the order of X, as floats."""
        for rows in chunks(self.n_rows):
            yield self.take(self._rows[rows])

    def _mean(self, rule: Binarize) -> Mean:
        total = Mean(rule)
        for batch in self.in_order():
            total.add_(_with_nan(batch), batch.weight)
        return total

    def mean(self, rule: Binarize) -> Tensor:
        return self._mean(rule).value

    def share_known(self) -> Tensor:
        return self._mean("none").share_known

    def some(self, n: int, stream: Stream) -> Tensor:
        batch = self.take(self._rows[np.sort(stream.permutation(self.n_rows)[:n])])
        return _with_nan(batch) if self.has_absent else batch.v

    def take(self, rows: np.ndarray) -> Batch:
        """The given rows of X as floats, and their weights."""
        batch = self._batch(self._store.index(rows))
        return batch._replace(v=batch.v.to(self._dtype))

    def _all_bits(self, store: Store) -> bool:
        """Of rows too many to be packed."""
        return all(bits_or_gaps(store.take(store.index(self._rows[rows]))) for rows in chunks(self.n_rows))


def _with_nan(batch: Batch) -> Tensor:
    return batch.v if batch.free is None else batch.v.masked_fill(batch.free, torch.nan)


class _Bits(OnCPU):
    """Rows of zeros and ones, eight to a byte."""

    levels = Levels()
    form: Literal["packed"] = "packed"
    divisor = 1.0

    def __init__(self, packed: np.ndarray, n_features: int) -> None:
        self._packed, self._n_features = packed, n_features

    @classmethod
    def of(cls, X: Any) -> _Bits | None:
        """The rows of X; None if they aren't all zeros and ones, or too many."""
        n_rows, n_features = X.shape
        n_bytes = (n_features + 7) // 8
        if n_rows * n_bytes > _MAX_STORE:
            return None
        packed = np.empty((n_rows, n_bytes), np.uint8)
        for rows in chunks(n_rows):
            values = dense(X[rows])
            ones = values != 0
            if not np.array_equal(values, ones):
                return None
            packed[rows] = np.packbits(ones, axis=1)
        return cls(packed, n_features)

    def rows(self, rows: Tensor) -> Tensor:
        """Those rows as they are kept."""
        return torch.from_numpy(self._packed.take(rows.numpy(), axis=0))

    def codes(self, rows: Tensor) -> Tensor:
        packed = self._packed.take(rows.numpy(), axis=0)
        return torch.from_numpy(np.unpackbits(packed, axis=1, count=self._n_features))


class _Greys(OnCPU):
    """Rows of multiples of 1/level, a byte each."""

    form: Literal["codes"] = "codes"

    def __init__(self, codes: np.ndarray, level: int, dtype: torch.dtype) -> None:
        self._codes, self.levels, self.divisor = codes, Levels(torch.tensor(level, dtype=dtype)), float(level)

    @classmethod
    def of(cls, X: Any, dtype: torch.dtype) -> _Greys | None:
        """The rows of X; None if that isn't what they are, or if it would save nothing."""
        if X.dtype.kind != "f" or not isinstance(X, np.ndarray) or X.size > _MAX_STORE:
            return None
        float_type = numpy_type(dtype)
        for level in _LEVELS:
            codes = np.empty(X.shape, np.uint8)
            for rows in chunks(len(X)):
                values = X[rows].astype(float_type, copy=False)
                rounded = np.rint(values * float_type.type(level))
                if not 0 <= rounded.min() <= rounded.max() <= 255 or not np.array_equal(rounded / level, values):
                    break
                codes[rows] = rounded
            else:
                return cls(codes, level, dtype)
        return None

    def rows(self, rows: Tensor) -> Tensor:
        """Those rows as they are kept."""
        return self.codes(rows)

    def codes(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self._codes.take(rows.numpy(), axis=0))


class _Filled(OnCPU):
    """Rows with gaps, filled in provisionally."""

    levels = Levels()

    def __init__(
        self, gaps: Gaps, given: np.dtype[Any], dtype: torch.dtype, encode: Callable[[Tensor], Tensor] | None
    ) -> None:
        self._gaps, self._dtype, self._encode, self._wide = gaps, dtype, encode, _wide(given)

    def codes(self, rows: Tensor) -> Tensor:
        filled = self._gaps.take(rows.numpy())[1]
        if self._encode is None:
            return to_tensor(filled, self._dtype)
        return self._encode(to_tensor(filled, self._wide)).to(self._dtype)


class _AsGiven(OnCPU):
    """Rows of an array or a CSR matrix of any type, encoded where they come out."""

    levels = Levels()

    def __init__(self, X: Any, dtype: torch.dtype, encode: Callable[[Tensor], Tensor] | None = None) -> None:
        self._X, self._dtype, self._encode = X, dtype, encode
        self._wide = _wide(X.dtype)

    def codes(self, rows: Tensor) -> Tensor:
        values = self._X[rows.numpy()]
        if self._encode is None:
            return to_tensor(values, self._dtype)
        return self._encode(to_tensor(values, self._wide)).to(self._dtype)


def _wide(dtype: np.dtype[Any]) -> torch.dtype:
    """For a mean to be taken off: where it is large, float32 may have too few digits for what is left."""
    return torch.float32 if dtype in (np.float32, np.float16, np.uint8, np.int8, bool) else torch.float64


def is_mapped(X: Any) -> bool:
    """Whether an array lies in a file rather than in memory."""
    while isinstance(X, np.ndarray):
        X = X.base
    return isinstance(X, mmap)


def _block_order(stream: Stream, n: int) -> np.ndarray:
    """An order of 0 … n-1: blocks of neighbours at random, and random within some blocks that come together."""
    blocks = np.arange(-(-n // _BLOCK))[stream.permutation(-(-n // _BLOCK))]
    order = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
    order = order[order < n]
    for first in range(0, n, _BLOCK * _BLOCKS):
        part = order[first : first + _BLOCK * _BLOCKS]
        part[:] = part[stream.permutation(len(part))]
    return order
