"""Rows that pass by in batches, from loaders, datasets, iterators and Parquet files: none is kept but a sample."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skrbm.rows.gaps import bits_or_gaps, gaps_in
from skrbm.rows.source import Batch, Binarize, Mean, RowSource
from skrbm.support.checks import optional
from skrbm.support.randomness import Stream
from skrbm.support.ranges import Range
from skrbm.support.tensors import Placement, to_tensor

_KEPT = 1000  # rows of the sample: enough for the measures after an epoch
NO_ROWS = "{} yields no rows. Pass what yields arrays of shape (n, n_features) with rows in them."


class PassingRows(RowSource):
    """Rows that are not kept but for a sample of a thousand; what is to be known of them is seen before training.

    Attributes
    ----------
    n_rows : int
        Rows that were seen beforehand.
    is_binary : bool
        Whether all values of these are 0 or 1.
    range : Range
        What values they have.
    """

    n_features: int
    n_rows: int
    total_weight: float
    is_binary: bool
    is_weighted: bool = False
    has_full_batches: bool = False
    has_gaps: bool
    has_absent: bool
    shuffle: bool
    range: Range

    def _look_at(
        self,
        seen: Iterable[Any],
        check: Callable[[Any], Any],
        *,
        rule: Binarize,
        shuffle: bool,
        place: Placement,
        stream: Stream,
        absent: bool = False,
    ) -> None:
        """Find out what is to be known beforehand, from batches that are best all rows once.

        Parameters
        ----------
        seen : iterable
            The batches.
        check : callable
            Turns a batch into an array of numbers with the right columns, NaN where cells are missing, or raises.
        rule : {"none", "sample"} or float
            See `binarize_rows`; of `mean`.
        shuffle : bool
            Whether rows are shuffled.
        place : Placement
            Of the batches.
        stream : Stream
            Decides which rows are kept.
        absent : bool
            Whether missing cells are not there; see `RowSource`.

        Raises
        ------
        ValueError
            If there are no rows.
        """
        self._check, self._place, self.shuffle = check, place, shuffle
        mean, kept = Mean(rule), Sample(_KEPT, stream)
        self._sizes: list[int] = []
        self.n_rows, self.is_binary, self.has_gaps, self.range = 0, True, False, Range()
        for rows in map(check, seen):
            v = to_tensor(rows, *place)
            mean.add_(v)
            kept.add_(v)
            self.n_rows += len(v)
            self._sizes.append(len(v))
            self.is_binary = self.is_binary and bits_or_gaps(v)
            self.has_gaps = self.has_gaps or gaps_in(v) is not None
            self.range = self.range | Range.of(rows, kinds=True)
        if not self.n_rows:
            raise ValueError(NO_ROWS.format("X"))
        self.has_absent, self.has_gaps = absent, self.has_gaps and not absent  # batches to come may have some
        self._mean, self._known = mean.value, mean.share_known
        self._sample = kept.rows if self.has_absent else self._filled(kept.rows)[0]
        self.n_features, self.total_weight = len(self._mean), float(self.n_rows)

    @abstractmethod
    def n_batches(self, batch_size: int) -> int:
        """Number of batches in an epoch, if those that pass by always have the same sizes."""

    @abstractmethod
    def _passing(self, stream: Stream, batch_size: int) -> Iterable[Any]:
        """The batches of an epoch."""

    def mean(self, rule: Binarize) -> Tensor:
        return self._mean  # by the rule that was given at first

    def share_known(self) -> Tensor:
        return self._known

    def some(self, n: int, stream: Stream) -> Tensor:
        order = torch.from_numpy(np.sort(stream.permutation(len(self._sample))[:n]))
        return self._sample[order.to(self._place.device)]

    def put_(self, batch: Batch) -> None:
        """Nothing: rows that pass by aren't known again."""

    def provisional(self) -> np.ndarray | None:
        return None

    def set_provisional_(self, values: np.ndarray) -> None:
        """Nothing to go on from."""

    def _filled(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows whose missing cells are the means of their columns, or 0, and which these are."""
        free = gaps_in(v)
        if free is None:
            return v, None
        values = 0.0 if self.has_absent else self._mean.to(v).nan_to_num(0.0)
        return torch.where(free, values, v), free

    def epoch(self, stream: Stream, batch_size: int = 100, as_kept: bool = False) -> Iterator[Batch]:
        n_seen = 0
        for v in map(self._tensor, self._passing(stream, batch_size)):
            if self.shuffle:
                v = v[torch.from_numpy(stream.permutation(len(v))).to(v.device)]
            n_seen += len(v)
            for rows in torch.split(v, batch_size):
                filled, free = self._filled(rows)
                yield Batch(filled, free=free)
        if n_seen < self.n_rows:
            raise ValueError(
                f"X yielded {self.n_rows} rows the first time and {n_seen} now. Pass what begins anew each time it is "
                "iterated over, or give an iterator that ends to partial_fit."
            )

    def _tensor(self, batch: Any) -> Tensor:
        return to_tensor(self._check(batch), *self._place)


class IterableRows(PassingRows):
    """Rows of what yields arrays of shape (n, n_features) each time it is asked for an iterator: all rows once.

    Or of an iterator over them, for a single epoch; what is to be known of the rows is then taken from its first batch.
    Larger batches than asked for are split (after shuffling their rows), smaller ones are used as they come.

    Parameters
    ----------
    batches : iterable
        The batches.
    check, **settings
        See `PassingRows._look_at`.
    """

    def __init__(self, batches: Iterable[Any], check: Callable[[Any], Any], **settings: Any) -> None:
        self._batches, seen = batches, batches
        if isinstance(batches, Iterator):
            seen = list(islice(batches, 1))
            self._batches = chain(seen, batches)
        self._look_at(seen, check, **settings)

    def n_batches(self, batch_size: int) -> int:
        return sum(-(-size // batch_size) for size in self._sizes)

    def _passing(self, stream: Stream, batch_size: int) -> Iterable[Any]:
        return self._batches


class DatasetRows(PassingRows):
    """Rows of a `torch.utils.data.Dataset` that can be asked for its i-th row, in a new order each epoch.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Of rows, or of pairs (row, label).
    check, **settings
        See `PassingRows._look_at`.
    """

    def __init__(self, dataset: Dataset[Any], check: Callable[[Any], Any], **settings: Any) -> None:
        self._dataset = dataset
        self._look_at(DataLoader(dataset, batch_size=_KEPT), check, **settings)

    def n_batches(self, batch_size: int) -> int:
        return -(-self.n_rows // batch_size)

    def _passing(self, stream: Stream, batch_size: int) -> Iterable[Any]:
        order = stream.permutation(self.n_rows) if self.shuffle else np.arange(self.n_rows)
        return DataLoader(self._dataset, batch_size=batch_size, sampler=order.tolist())


def rows_in_passing(X: Any, check: Callable[[Any], Any], **settings: Any) -> PassingRows:
    """The rows of X, which yields batches or is a dataset of torch's."""
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset):
        return DatasetRows(X, check, **settings)
    return IterableRows(X, check, **settings)


def batches_in_order(X: Any) -> Iterable[Any]:
    """The batches that X yields; the rows of a dataset of torch's in their order."""
    if isinstance(X, Dataset) and not isinstance(X, IterableDataset):
        return DataLoader(X, batch_size=_KEPT)
    return X


class Sample:
    """A sample of rows that pass by, all with the same chance (Vitter 1985, algorithm R).

    Parameters
    ----------
    size : int
        How many rows are kept at most.
    stream : Stream
        Decides which.

    Attributes
    ----------
    rows : Tensor of shape (n, n_features)
        Those that are kept; the first `size` are so in their order.
    """

    def __init__(self, size: int, stream: Stream) -> None:
        self._size, self._stream, self._n_seen = size, stream, 0
        self.rows: Tensor = torch.empty(0)

    def add_(self, v: Tensor) -> None:
        """Rows (n, n_features) that come next."""
        n_free = self._size - self._n_seen
        if n_free > 0:
            self.rows = v[:n_free].clone() if not self._n_seen else torch.cat((self.rows, v[:n_free]))
        later = np.arange(max(n_free, 0), len(v))
        places = self._stream.integers(self._n_seen + later + 1, later.shape)
        for i, place in zip(later[places < self._size], places[places < self._size], strict=True):
            self.rows[place] = v[i]
        self._n_seen += len(v)


class ParquetRows:
    """Rows of Parquet files, a batch at a time: for `fit` and `partial_fit`, of files larger than memory.

    Parameters
    ----------
    path : path or sequence of path
        The files, read in this order.
    columns : sequence of str, optional
        Columns of numbers or booleans, by default all.
    batch_rows : int, default=8192
        Rows that are in memory at a time, and that are shuffled together: as the rows of a file keep their order
        otherwise, write them in a random one.

    Yields
    ------
    ndarray of shape (n, n_columns)
        float32, each time it is iterated over.

    Raises
    ------
    ImportError
        If pyarrow is missing: `pip install "skrbm[parquet]"`.
    TypeError
        If `path` is something else, such as a `pyarrow.dataset.Dataset`, whose `files` are paths.
    ValueError
        If a file isn't Parquet, a column is missing, or has no numbers.
    """

    paths: list[str | os.PathLike[str]]
    columns: list[str] | None
    batch_rows: int

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        columns: Sequence[str] | None = None,
        batch_rows: int = 8192,
    ) -> None:
        given: Any = path
        is_one = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
        paths = [given] if is_one else list(given)
        if not all(isinstance(each, str | os.PathLike) for each in paths):
            remedy = " Pass its `files`." if hasattr(path, "files") else ""
            raise TypeError(f"path must be the path of a file, or a list of paths, got {type(path).__name__}.{remedy}")
        self.paths = paths
        self.columns = None if columns is None else list(columns)
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1; got batch_rows={batch_rows}.")
        self.batch_rows = batch_rows
        self._parquet = optional("pyarrow.parquet", "Parquet", "parquet")
        self._arrow_error = optional("pyarrow", "Parquet", "parquet").ArrowException

    def __iter__(self) -> Iterator[np.ndarray]:
        for path in self.paths:
            with open(path, "rb") as file:
                try:
                    yield from self._batches(file)
                except (self._arrow_error, ValueError) as error:
                    raise ValueError(f"{os.fspath(path)} is not usable as Parquet: {error}") from error

    def _batches(self, file: BinaryIO) -> Iterator[np.ndarray]:
        table = self._parquet.ParquetFile(file, pre_buffer=False)
        known = table.schema_arrow.names
        if missing := [name for name in self.columns or () if name not in known]:
            raise ValueError(f"it has no columns {missing}; it has {known}.")
        for batch in table.iter_batches(self.batch_rows, columns=self.columns, use_threads=False):
            names = self.columns or batch.schema.names
            rows = np.empty((batch.num_rows, len(names)), np.float32)
            for i, name in enumerate(names):
                column = batch.column(name)
                values = column.to_numpy(zero_copy_only=False)
                if values.dtype.kind not in "biuf":
                    raise ValueError(f"its column {name!r} is of {column.type}, not of numbers.")
                rows[:, i] = values
            yield rows
