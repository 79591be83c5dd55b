"""Rows of Parquet files, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from skrbm.support.checks import optional


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
    ValueError
        If a file isn't Parquet, a column is missing, or has no numbers.
    """

    def __init__(self, path: Any, columns: Sequence[str] | None = None, batch_rows: int = 8192) -> None:
        self.paths = [path] if isinstance(path, str | os.PathLike) else list(path)
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
