"""Tables with gaps, cell by cell: where they are, and the table with these filled, in the form that it came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrbm.estimators.tables import columns_of, frame_kind, values_of
from skrbm.support.checks import optional

_OF_NUMBERS = ("int", "uint", "float")


def gaps_of(table: Any) -> np.ndarray:
    """Which cells are missing, (n_rows, n_columns): None, NaN and pandas' NA."""
    if isinstance(table, np.ndarray) and table.dtype.kind != "O":
        return np.isnan(table) if table.dtype.kind == "f" else np.zeros(table.shape, bool)
    return np.stack([values_of(values)[1] for _, values in columns_of(table)], 1)


def dtypes_of(table: Any) -> list[str]:
    """Types of the columns, in the words of numpy, pandas or Polars."""
    return [str(values.dtype) for _, values in columns_of(table)]


def is_whole(dtype: str) -> bool:
    """Whether columns of this type have whole numbers, or truth values."""
    return dtype.lower().startswith(("int", "uint", "bool"))


def only_value(values: Any) -> Any:
    """What stands for all values of a column that has less than two different ones; None of others.

    Of a column without any values that is 0, False or "missing", by its type.
    """
    array, missing = values_of(values)
    known = array[~missing]
    if len(known):
        first = known[0]
        is_only = all(value == first for value in known) if known.dtype.kind == "O" else bool((known == first).all())
        return (first.item() if isinstance(first, np.generic) else first) if is_only else None
    dtype = str(values.dtype).lower()
    if dtype.startswith("bool"):
        return False
    return 0 if dtype.startswith(_OF_NUMBERS) else "missing"


def with_columns(table: Any, places: np.ndarray) -> Any:
    """The columns with these numbers."""
    kind = frame_kind(table)
    if kind == "polars":
        return table[:, places.tolist()]
    return table[:, places] if kind is None else table.iloc[:, places]


def with_new_columns(table: Any, columns: Mapping[str, np.ndarray]) -> Any:
    """A frame with more columns."""
    if frame_kind(table) == "pandas":
        return table.assign(**columns)
    pl = optional("polars", "Data frames of Polars", "polars")
    return table.with_columns([pl.Series(name, values) for name, values in columns.items()])


def filled_table(
    table: Any, places: np.ndarray, gaps: np.ndarray, fills: Mapping[int, np.ndarray], dtypes: Sequence[str]
) -> Any:
    """The columns with these numbers, and what else stays is the same to the last bit.

    Parameters
    ----------
    table : data frame or ndarray
        With gaps.
    places : ndarray of int
        Which columns are wanted.
    gaps : ndarray of shape (n_rows, n_columns)
        Which cells are missing.
    fills : mapping of int to ndarray
        What fills the gaps of a column, one after another.
    dtypes : sequence of str
        Types that the columns had in `fit`, which they are given where that changes no value.

    Returns
    -------
    data frame or ndarray
        Arrays of numbers are such of floats.
    """
    kind, kept = frame_kind(table), with_columns(table, places)
    if kind is None:
        return _filled_array(kept, places, gaps, fills)
    new = {
        i: _filled_series(
            kind,
            kept.iloc[:, i] if kind == "pandas" else kept.to_series(i),
            gaps[:, place],
            fills[place],
            dtypes[place],
        )
        for i, place in enumerate(map(int, places))
        if gaps[:, place].any()
    }
    if kind == "polars":
        return kept.with_columns(list(new.values()))
    kept = kept.copy()
    for i, series in new.items():
        kept.isetitem(i, series)
    return kept


def _filled_array(kept: np.ndarray, places: np.ndarray, gaps: np.ndarray, fills: Mapping[int, np.ndarray]) -> Any:
    if kept.dtype.kind not in "OUS":
        kept = kept.astype(kept.dtype if kept.dtype.kind == "f" else np.float64)
    else:
        kept = kept.astype(object)
    for i, place in enumerate(map(int, places)):
        if gaps[:, place].any():
            kept[gaps[:, place], i] = fills[place]
    if kept.dtype.kind == "O" and not any(isinstance(value, str) for value in kept.flat):
        try:
            return kept.astype(np.float64)
        except (TypeError, ValueError):
            return kept
    return kept


def _filled_series(kind: str, series: Any, missing: np.ndarray, fills: np.ndarray, dtype: str) -> Any:
    """A column of a frame, filled; of the type that it had, or of that which was learned."""
    values = np.empty(len(missing), dtype=object)
    values[:] = series.to_list()
    values[missing] = [fill.item() if isinstance(fill, np.generic) else fill for fill in fills]
    has_broken = any(isinstance(value, float) and not value.is_integer() for value in values[missing])
    return (_pandas if kind == "pandas" else _polars)(series, values, dtype, has_broken)


def _pandas(series: Any, values: np.ndarray, dtype: str, has_broken: bool) -> Any:
    import pandas as pd

    def as_type(wanted: Any) -> Any:
        return pd.Series(list(values), index=series.index, name=series.name, dtype=wanted)

    own = series.dtype
    if isinstance(own, pd.CategoricalDtype):
        strange = [value for value in dict.fromkeys(values) if value not in own.categories]
        if strange and has_broken and pd.api.types.is_numeric_dtype(own.categories.dtype):
            return as_type("Float64")  # means of labels
        return as_type(pd.CategoricalDtype([*own.categories, *strange], own.ordered) if strange else own)
    if str(own) != dtype and dtype != "category":  # such as floats, in a column that had whole numbers before
        try:
            found = as_type(dtype)
        except (TypeError, ValueError):
            found = None
        if found is not None and all(one == other for one, other in zip(found, values, strict=True)):
            return found
    return as_type("Float64" if is_whole(str(own)) and has_broken else own)


def _polars(series: Any, values: np.ndarray, dtype: str, has_broken: bool) -> Any:
    pl = optional("polars", "Data frames of Polars", "polars")
    own = str(series.dtype)
    if own == "Null":
        wanted = getattr(pl, dtype.partition("(")[0]) if dtype not in ("Null",) and "(" not in dtype else None
    elif is_whole(own) and not own.startswith("Bool"):
        if not has_broken:
            values = np.array([int(value) for value in values], dtype=object)
        wanted = pl.Float64 if has_broken else series.dtype
    else:
        wanted = series.dtype
    return pl.Series(series.name, values.tolist(), dtype=wanted)
