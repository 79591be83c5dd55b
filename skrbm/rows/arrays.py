"""Sources of rows: where the batches of training come from.

A source has `n_features`, `n_rows`, and `epoch(stream)`, which yields every row once in batches (v, weight): v a tensor
of shape (n, n_features), of floats or of zeros and ones as uint8, weight a tensor (n,) or None. `ArrayRows` keeps the
rows once, in the narrowest form that holds them exactly: bits, bytes, or as they were given; a batch at a time becomes
wider. Arrays that lie in a file (`numpy.memmap`) stay there. `StreamedRows` keeps none but a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from mmap import mmap
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from skrbm.support.randomness import Stream, bernoulli_

__all__ = ["ArrayRows", "Binarize", "RowSource", "StreamedRows", "binarize_rows", "chunks", "is_mapped", "to_tensor"]

Binarize = Literal["none", "sample"] | float
_CHUNK_ROWS = 4096
_MAX_STORE = 1 << 28  # bytes that a narrower copy of the rows may take
_LEVELS = (255, 16)  # greys are often multiples of one over these
_BLOCK, _BLOCKS = 256, 32  # rows of a file that are read together, and blocks that are shuffled together
_KEPT = 1000  # of the rows that pass by


class RowSource(Protocol):
    """What training needs of a source of rows."""

    batch_size: int

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def n_rows(self) -> int:
        """Number of rows in an epoch, as far as it is known."""

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch."""

    @property
    def total_weight(self) -> float:
        """Sum of the weights of the rows; their number where they have none."""

    @property
    def is_binary(self) -> bool:
        """Whether all values are 0 or 1."""

    @property
    def is_weighted(self) -> bool:
        """Whether batches have weights."""

    def mean(self, rule: Binarize) -> Tensor:
        """Weighted mean over the rows as `rule` (see `binarize_rows`) shows them to the machine, (n_features,)."""

    def some(self, n: int, stream: Stream) -> Tensor:
        """`n` different rows, or all if there are fewer, as floats (n, n_features)."""

    def epoch(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches; `stream` decides on their order."""


class ArrayRows:
    """Rows of an array or of a CSR matrix.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        The rows, of any real type. What isn't zeros and ones, or multiples of 1/255 or 1/16, is kept as it is; a CSR
        matrix then becomes dense one batch at a time. Nothing is kept of an array that lies in a file.
    weight : ndarray of shape (n_rows,), optional
        Weights of the rows, >= 0. Rows of weight zero are left out, as if they weren't there.
    batch_size : int
        Rows in a batch; the last batch of an epoch has what remains.
    shuffle : bool
        Whether each epoch has an order of its own. That of large arrays in files keeps neighbours, 256 of them,
        together in 8,192 rows that are shuffled, so that the file is read in blocks.
    dtype, device
        Of the batches; those of zeros and ones are uint8.
    rows : ndarray of int, optional
        Numbers of the rows that are meant; by default all. `take` hands out the others too.

    Attributes
    ----------
    is_binary : bool
        Whether all values are 0 or 1.
    is_weighted : bool
        Whether batches have weights.
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
        rows: np.ndarray | None = None,
    ) -> None:
        rows = np.arange(X.shape[0]) if rows is None else rows
        self._rows = rows if weight is None else rows[weight[rows] != 0]
        self._weight = None if weight is None else to_tensor(weight, dtype, device)
        self._dtype, self._device = dtype, torch.device(device)
        self.batch_size, self.shuffle, self.is_weighted = batch_size, shuffle, weight is not None
        self.n_rows = len(self._rows)
        self.n_features = int(X.shape[1])
        mapped = is_mapped(X)
        store = (None if mapped else _Bits.of(X) or _Greys.of(X, dtype)) or _AsGiven(X, dtype)
        self._in_blocks = mapped and X.nbytes > _MAX_STORE
        self.is_binary = isinstance(store, _Bits) or self._all_bits(store)
        # On another device than the CPU the rows lie there as a whole if they can, to be copied once.
        self._store = store if self._device.type == "cpu" else _on_device(store, X.shape[0], self._device)

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch."""
        return -(-self.n_rows // self.batch_size)

    @property
    def total_weight(self) -> float:
        """Sum of the weights of the rows; their number where they have none."""
        return float(self.n_rows if self._weight is None else self._weight.sum(dtype=torch.float64))

    def epoch(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches; `stream` decides on their order."""
        rows = self._rows
        if self.shuffle:
            rows = rows[(_block_order if self._in_blocks else Stream.permutation)(stream, self.n_rows)]
        for batch in torch.split(self._store.index(rows), self.batch_size):
            yield self._store.take(batch), None if self._weight is None else self._weight[batch]

    def in_order(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches and in the order of X, as floats."""
        for first in range(0, self.n_rows, _CHUNK_ROWS):
            yield self.take(self._rows[first : first + _CHUNK_ROWS])

    def mean(self, rule: Binarize) -> Tensor:
        """Weighted mean over the rows as `rule` (see `binarize_rows`) shows them to the machine, (n_features,)."""
        total = _Mean(rule)
        for v, weight in self.in_order():
            total.add_(v, weight)
        return total.value

    def some(self, n: int, stream: Stream) -> Tensor:
        """`n` different rows, or all if there are fewer, as floats (n, n_features)."""
        return self.take(self._rows[np.sort(stream.permutation(self.n_rows)[:n])])[0]

    def take(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The given rows of X as floats, and their weights."""
        index = self._store.index(rows)
        return self._store.take(index).to(self._dtype), None if self._weight is None else self._weight[index]

    def _all_bits(self, store: _Store) -> bool:
        """Of rows too many to be packed."""
        parts = (store.take(store.index(self._rows[rows])) for rows in chunks(self.n_rows))
        return all(bool(((v == 0) | (v == 1)).all()) for v in parts)


class _Store(Protocol):
    """Keeps rows, and hands some of them out."""

    def index(self, rows: np.ndarray) -> Tensor:
        """Numbers of rows where `take` wants them."""
        return torch.from_numpy(rows)

    def take(self, rows: Tensor) -> Tensor:
        """Those rows, (len(rows), n_features)."""


class _Bits(_Store):
    """Rows of zeros and ones, eight to a byte."""

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
            dense = _dense(X[rows])
            ones = dense != 0
            if not np.array_equal(dense, ones):
                return None
            packed[rows] = np.packbits(ones, axis=1)
        return cls(packed, n_features)

    def take(self, rows: Tensor) -> Tensor:
        packed = self._packed.take(rows.numpy(), axis=0)
        return torch.from_numpy(np.unpackbits(packed, axis=1, count=self._n_features))


class _Greys(_Store):
    """Rows of multiples of 1/level, a byte each."""

    def __init__(self, codes: np.ndarray, level: int, dtype: torch.dtype) -> None:
        self._codes, self._level, self._dtype = codes, level, dtype

    @classmethod
    def of(cls, X: Any, dtype: torch.dtype) -> _Greys | None:
        """The rows of X; None if that isn't what they are, or if it would save nothing."""
        if X.dtype.kind != "f" or not isinstance(X, np.ndarray) or X.size > _MAX_STORE:
            return None
        float_type = _numpy_type(dtype)
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

    def take(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self._codes.take(rows.numpy(), axis=0)).to(self._dtype).div_(self._level)


class _AsGiven(_Store):
    """Rows of an array or a CSR matrix of any type."""

    def __init__(self, X: Any, dtype: torch.dtype) -> None:
        self._X, self._dtype = X, dtype

    def take(self, rows: Tensor) -> Tensor:
        return to_tensor(self._X[rows.numpy()], self._dtype)


class _Resident(_Store):
    """All rows of another store, on a device."""

    def __init__(self, store: _Store, n_rows: int, device: torch.device) -> None:
        numbers = torch.arange(n_rows)
        self._all = torch.cat([store.take(numbers[rows]).to(device) for rows in chunks(n_rows)])

    def index(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self._all.device)

    def take(self, rows: Tensor) -> Tensor:
        return self._all.index_select(0, rows)


class _Sent(_Store):
    """Rows of another store, sent to a device batch by batch."""

    def __init__(self, store: _Store, device: torch.device) -> None:
        self._store, self._device = store, device

    def index(self, rows: np.ndarray) -> Tensor:
        return self._store.index(rows)

    def take(self, rows: Tensor) -> Tensor:
        return self._store.take(rows).to(self._device)


def _on_device(store: _Store, n_rows: int, device: torch.device) -> _Store:
    """The rows on a device: as a whole if its memory is large enough, else a batch at a time."""
    try:
        return _Resident(store, n_rows, device)
    except torch.cuda.OutOfMemoryError:
        return _Sent(store, device)


def chunks(n_rows: int) -> Iterator[slice]:
    """0 … n_rows-1, some thousands at a time."""
    for first in range(0, n_rows, _CHUNK_ROWS):
        yield slice(first, min(first + _CHUNK_ROWS, n_rows))


def _dense(X: Any) -> np.ndarray:
    return X if isinstance(X, np.ndarray) else X.toarray()


def _numpy_type(dtype: torch.dtype) -> np.dtype:
    return np.dtype(str(dtype).removeprefix("torch."))


def to_tensor(X: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """An array or a sparse matrix as a dense tensor; shares memory with X where that is possible."""
    array = np.ascontiguousarray(_dense(X), dtype=_numpy_type(dtype))
    if not array.flags.writeable:  # torch has no read-only tensors
        array = array.copy()
    return torch.from_numpy(array).to(device)


class _Mean:
    """Weighted mean of rows as `rule` shows them, added up in float64."""

    def __init__(self, rule: Binarize) -> None:
        self._rule, self._total, self._weight = rule, torch.zeros((), dtype=torch.float64), 0.0
        self._dtype = torch.float64

    def add_(self, v: Tensor, weight: Tensor | None = None) -> None:
        v = v.clamp(0.0, 1.0) if self._rule == "sample" else binarize_rows(v, self._rule, Stream(0))
        self._total = self._total + (v.sum(0, dtype=torch.float64) if weight is None else weight.double() @ v.double())
        self._weight += len(v) if weight is None else float(weight.double().sum())
        self._dtype = v.dtype

    @property
    def value(self) -> Tensor:
        return (self._total / self._weight).to(self._dtype)


class StreamedRows:
    """Rows that pass by in batches, epoch after epoch, and are not kept but for a sample of a thousand.

    Parameters
    ----------
    batches : iterable
        Yields arrays of shape (n, n_features), each time it is asked for an iterator: all rows once. Or an iterator
        over them, for a single epoch; what is to be known of the rows beforehand is then taken from its first batch.
    check : callable
        Turns a batch into an array of finite numbers with the right columns, or raises.
    rule : {"none", "sample"} or float
        See `binarize_rows`; of `mean`.
    batch_size : int
        Larger batches are split (after shuffling their rows, with `shuffle`), smaller ones are used as they come.
    shuffle : bool
        Whether rows are shuffled within what passes by at once.
    dtype, device
        Of the batches.
    stream : Stream
        Decides which rows are kept.

    Attributes
    ----------
    n_rows : int
        Rows that were seen beforehand.
    is_binary : bool
        Whether all values of these are 0 or 1.
    low, high : float
        Their range.
    is_whole : bool
        Whether they are all whole numbers.

    Raises
    ------
    ValueError
        If there are no rows.
    """

    is_weighted = False

    def __init__(
        self,
        batches: Iterable[Any],
        check: Callable[[Any], Any],
        *,
        rule: Binarize,
        batch_size: int = 100,
        shuffle: bool = True,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        stream: Stream,
    ) -> None:
        self._check, self._dtype, self._device = check, dtype, torch.device(device)
        self.batch_size, self.shuffle = batch_size, shuffle
        self._batches, seen = batches, self._all(batches)
        if isinstance(batches, Iterator):
            seen = list(islice(batches, 1))
            self._batches = chain(seen, batches)
        self._look_at(seen, rule, stream)

    def _look_at(self, batches: Iterable[Any], rule: Binarize, stream: Stream) -> None:
        mean, kept = _Mean(rule), _Reservoir(_KEPT, stream)
        self._sizes: list[int] = []
        self.n_rows, self.is_binary, self.is_whole, self.low, self.high = 0, True, True, np.inf, -np.inf
        for v in map(self._tensor, batches):
            mean.add_(v)
            kept.add_(v)
            self.n_rows += len(v)
            self._sizes.append(len(v))
            self.is_binary = self.is_binary and bool(((v == 0) | (v == 1)).all())
            self.is_whole = self.is_whole and bool((v == v.round()).all())
            self.low, self.high = min(self.low, float(v.min())), max(self.high, float(v.max()))
        if not self.n_rows:
            raise ValueError("X yields no rows. Pass what yields arrays of shape (n, n_features) with rows in them.")
        self._mean, self._sample = mean.value, kept.rows
        self.n_features = len(self._mean)

    @property
    def n_batches(self) -> int:
        """Number of batches in an epoch, if those that pass by have always the same sizes."""
        return sum(-(-size // self.batch_size) for size in self._sizes)

    @property
    def total_weight(self) -> float:
        """Number of the rows."""
        return float(self.n_rows)

    def mean(self, rule: Binarize) -> Tensor:
        """Mean over the rows as the machine sees them, (n_features,)."""
        return self._mean

    def some(self, n: int, stream: Stream) -> Tensor:
        """`n` different rows, or as many as are kept, as floats (n, n_features)."""
        order = torch.from_numpy(np.sort(stream.permutation(len(self._sample))[:n]))
        return self._sample[order.to(self._device)]

    def epoch(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Every row once, in batches; `stream` decides on the order of rows that pass by together."""
        n_seen = 0
        for v in map(self._tensor, self._passing(stream)):
            if self.shuffle:
                v = v[torch.from_numpy(stream.permutation(len(v))).to(self._device)]
            n_seen += len(v)
            for batch in torch.split(v, self.batch_size):
                yield batch, None
        if n_seen < self.n_rows:
            raise ValueError(
                f"X yielded {self.n_rows} rows the first time and {n_seen} now. Pass what begins anew each time it is "
                "iterated over, or give an iterator that ends to partial_fit."
            )

    def _passing(self, stream: Stream) -> Iterable[Any]:
        """The batches of an epoch."""
        return self._batches

    def _all(self, batches: Any) -> Iterable[Any]:
        """The batches that are looked at beforehand."""
        return batches

    def _tensor(self, batch: Any) -> Tensor:
        return to_tensor(self._check(batch), self._dtype, self._device)


class _Reservoir:
    """A sample of rows that pass by, all with the same chance (Vitter 1985, algorithm R)."""

    def __init__(self, size: int, stream: Stream) -> None:
        self._size, self._stream, self._n_seen = size, stream, 0
        self.rows = torch.empty(0)

    def add_(self, v: Tensor) -> None:
        n_free = self._size - self._n_seen
        if n_free > 0:
            self.rows = v[:n_free].clone() if not self._n_seen else torch.cat((self.rows, v[:n_free]))
        later = np.arange(max(n_free, 0), len(v))
        places = self._stream.integers(self._n_seen + later + 1, later.shape)
        for i, place in zip(later[places < self._size], places[places < self._size], strict=True):
            self.rows[place] = v[i]
        self._n_seen += len(v)


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


def binarize_rows(v: Tensor, rule: Binarize, stream: Stream, out: Tensor | None = None) -> Tensor:
    """Rows as the machine shall see them.

    Parameters
    ----------
    v : Tensor of shape (n, n_features)
        Values in [0, 1], floats; or zeros and ones of an integer type, which stay as they are.
    rule : {"none", "sample"} or float
        Leave the values as they are, draw each as a Bernoulli variable of that probability, or cut: 1 where the value
        exceeds the threshold.
    stream : Stream
        Randomness of the draws.
    out : Tensor of shape (n, n_features), optional
        Where to write to, contiguous, of a float type or int8.

    Returns
    -------
    Tensor of shape (n, n_features)
        `out` if given; else of the type of `v`, and `v` itself where nothing changes.
    """
    if rule == "none" or not v.is_floating_point():
        return v if out is None else out.copy_(v)
    if rule == "sample":
        return stream.bernoulli(v) if out is None else bernoulli_(out, v, stream.uniform(v.numel(), v.device))
    above = v.gt(rule)
    return above.to(v.dtype) if out is None else out.copy_(above)
