"""Tables with columns of every kind: what kind each is, as numbers and back, with names, dtypes and labels."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from scipy.sparse import issparse

from skrbm.support.checks import optional
from skrbm.support.tensors import dense, from_torch

Kind = Literal["binary", "gaussian", "categorical"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_WHOLE = 10  # different whole numbers up to which a column of integers is one of categories


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        What it is called; "x0", "x1" … where it has no name.
    kind : {"binary", "gaussian", "categorical"}
        What kind of unit it is for.
    labels : ndarray of shape (n_labels,) or None
        The values of a column that isn't Gaussian, by their codes.
    dtype : str
        Of the values, in the words of numpy, pandas or Polars.
    """

    name: str
    kind: Kind
    labels: np.ndarray | None
    dtype: str

    @classmethod
    def of(cls, name: str, values: Any, kind: Kind | None = None, labels: Sequence[Any] | None = None) -> Self:
        """From its values, as an array or a column of a frame; `kind` and `labels` are found out unless given.

        Raises
        ------
        ValueError
            If all values are missing, there are not two different ones where there have to be two, or a Gaussian
            column has text.
        """
        array, missing = values_of(values)
        known = array[~missing]
        if not len(known) and labels is None:
            raise ValueError(f"Column {name!r} has no values at all. Leave it out.")
        dtype = _dtype_of(values, array)
        found = list(_categories_of(values, known)) if labels is None else list(labels)
        kind = _kind_of(dtype, known, found) if kind is None else kind
        if kind == "gaussian":
            as_numbers(name, known)
            return cls(name, kind, None, dtype)
        if kind == "binary" and len(found) > 2:
            raise ValueError(f"Column {name!r} is to be binary, but has {len(found)} different values.")
        if len(found) < 2:
            found = [*found, *_second_label(found)]
        return cls(name, kind, _as_labels(found), dtype)

    def numbers_of(self, values: Any, unknown: str = "error", where: str = "X") -> np.ndarray:
        """Values as numbers, float64: themselves, or the codes of their labels; NaN where they are missing.

        Raises
        ------
        ValueError
            If there are labels that the column doesn't know, and `unknown` isn't "missing".
        """
        array, missing = values_of(values)
        found = np.full(len(array), np.nan)
        if self.labels is None:
            found[~missing] = as_numbers(self.name, array[~missing])
            return found
        codes = {_key(label): float(code) for code, label in enumerate(self.labels)}
        found[~missing] = [codes.get(_key(value), np.nan) for value in array[~missing]]
        strange = np.isnan(found) & ~missing
        if strange.any() and unknown != "missing":
            names = sorted({repr(_plain(value)) for value in array[strange]})
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(
                f"{where} has unknown values in column {self.name!r}: {', '.join(names[:5])}{more}. Those of fit were "
                f"{', '.join(repr(_plain(label)) for label in self.labels[:10])}. With handle_unknown='missing' others "
                "count as missing."
            )
        return found

    def values_of_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """The reverse: labels, or numbers, rounded where the column was whole; NaN stays."""
        missing = np.isnan(numbers)
        if self.labels is None:
            return np.rint(numbers) if self.is_whole else numbers
        codes = np.clip(np.rint(np.where(missing, 0.0, numbers)), 0, len(self.labels) - 1).astype(int)
        values = self.labels[codes]
        if missing.any():
            values = values.astype(object)
            values[missing] = None if values.dtype.kind == "O" and self.labels.dtype.kind not in "biuf" else np.nan
        return values

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return _is_whole(self.dtype)

    @property
    def width(self) -> int:
        """How many columns of a machine it takes."""
        return len(self.labels) if self.kind == "categorical" and self.labels is not None else 1


def values_of(values: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of a column as an array, and which of them are missing: None, NaN and pandas' NA."""
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if array.dtype.kind == "f":
        return array, np.isnan(array)
    if array.dtype.kind != "O":
        return array, np.zeros(len(array), bool)
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        return array, np.asarray(pandas.isna(array), bool)
    return array, np.array([value is None or value != value for value in array], bool)


def as_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """Values of a Gaussian column as float64.

    Raises
    ------
    ValueError
        If they aren't finite numbers.
    """
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {name!r} is Gaussian, but has values that are no numbers: {error}.") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"Column {name!r} contains infinity or a value too large for dtype('float64').")
    return numbers


def _key(value: Any) -> Any:
    """By what values are the same: 1, 1.0 and numpy's 1 are, and True is too."""
    plain = _plain(value)
    return float(plain) if isinstance(plain, bool | int | float) else plain


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_whole(dtype: str) -> bool:
    return dtype.lower().startswith(("int", "uint"))


def _dtype_of(values: Any, array: np.ndarray) -> str:
    return str(getattr(values, "dtype", array.dtype))


def _categories_of(values: Any, known: np.ndarray) -> Iterable[Any]:
    """The different values in order: those of a column of categories in its own, others sorted."""
    categories = getattr(getattr(values, "cat", None), "categories", None)  # of pandas
    if categories is None and str(getattr(values, "dtype", "")).startswith("Enum"):  # of Polars
        categories = values.dtype.categories
    if categories is not None:
        return list(categories)
    unique = {_key(value): _plain(value) for value in (np.unique(known) if known.dtype.kind != "O" else known)}
    return sorted(unique.values(), key=_order)


def _order(value: Any) -> tuple[int, Any]:
    """Numbers, then text, then all else by how it prints."""
    if isinstance(value, bool | int | float):
        return 0, float(value)
    return (1, value) if isinstance(value, str) else (2, repr(value))


def _kind_of(dtype: str, known: np.ndarray, labels: list[Any]) -> Kind:
    """By the dtype and the values; see `MixedRBM`."""
    name = dtype.lower()
    if name.startswith("bool") or len(labels) == 2:
        return "binary"
    if name.startswith("float") or (_is_whole(dtype) and len(labels) > MOST_WHOLE):
        return "gaussian"
    if known.dtype.kind in "iu" and len(labels) > MOST_WHOLE:
        return "gaussian"
    if name.startswith(("category", "enum", "object", "str", "<u", "|s", "utf8", "categorical", "int", "uint")):
        numbers = all(isinstance(label, bool | int | float) for label in labels)
        return "gaussian" if name == "object" and numbers and len(labels) > MOST_WHOLE else "categorical"
    raise ValueError(f"Columns of type {dtype} are not supported. Make numbers, text or categories of them.")


def _second_label(found: list[Any]) -> list[Any]:
    """Another label for a column that has only one."""
    only = found[0]
    if isinstance(only, bool):
        return [not only]
    return [only + 1] if isinstance(only, int | float) else [f"not {only}"]


def _as_labels(labels: list[Any]) -> np.ndarray:
    """An array of one type where they have one, else of objects."""
    kinds = {type(_plain(label)) for label in labels}
    if len(kinds) == 1 and kinds <= {bool, int, float}:
        return np.array(labels)
    array = np.empty(len(labels), object)
    array[:] = labels
    return array


# -- frames ------------------------------------------------------------------------------------------------------------


def is_frame(X: Any) -> bool:
    """Whether this is a data frame of pandas or Polars."""
    return frame_kind(X) is not None


def frame_kind(X: Any) -> str | None:
    """Whose data frame this is: "pandas", "polars", or None."""
    module = type(X).__module__.partition(".")[0]
    is_frame = module in ("pandas", "polars") and type(X).__name__ == "DataFrame"
    return module if is_frame else None


def as_pandas(X: Any) -> Any:
    """A frame of Polars as one of pandas, whose columns have types of the same meaning."""
    import pandas as pd

    found = {}
    for series in X.get_columns():
        if (labels := str(series.dtype)).startswith(("Categorical", "Enum")):
            categories = series.dtype.categories if labels.startswith("Enum") else series.unique().drop_nulls()
            found[series.name] = pd.Categorical(series.to_list(), categories=list(categories))
        else:
            found[series.name] = series.to_numpy() if series.dtype.is_numeric() else series.to_list()
    return pd.DataFrame(found)


def columns_of(X: Any) -> list[tuple[str, Any]]:
    """Names and columns of a frame, or of an array, whose columns are called x0, x1, x2 and so on."""
    if is_frame(X):
        is_pandas = frame_kind(X) == "pandas"
        return [(str(name), X.iloc[:, i] if is_pandas else X.to_series(i)) for i, name in enumerate(X.columns)]
    array = X if isinstance(X, np.ndarray) else np.asarray(dense(from_torch(X)) if not issparse(X) else X.toarray())
    if array.ndim != 2:
        raise ValueError(f"X must be a table of rows and columns, but has {array.ndim} dimensions.")
    return [(f"x{i}", array[:, i]) for i in range(array.shape[1])]


def learn_columns(
    X: Any,
    kinds: Mapping[str, Iterable[Any]] | str = "auto",
    categories: Sequence[Sequence[Any]] | None = None,
) -> list[Column]:
    """What the columns of a table are.

    Parameters
    ----------
    X : data frame or array of shape (n_rows, n_columns)
        The table.
    kinds : mapping of str to columns, "auto", or the one kind of all
        Which columns (names, or numbers) are "binary", "gaussian" and "categorical"; those that aren't named, and all
        with "auto", go by their values.
    categories : sequence of sequences, optional
        The values of each column, where they aren't taken from X.

    Raises
    ------
    ValueError, TypeError
        If two columns have one name, a column is named twice, or unknown, or isn't what it is said to be.
    """
    columns = columns_of(X)
    names = [name for name, _ in columns]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"X has more than one column called {twice[0]!r}. Give each a name of its own.")
    given: list[Kind | None] = [None] * len(columns)
    if isinstance(kinds, Mapping):
        given = _given_kinds(names, kinds)
    elif kinds != "auto":
        given = [kinds] * len(columns)  # type: ignore[list-item]
    if categories is not None and len(categories) != len(columns):
        raise ValueError(f"categories has entries for {len(categories)} columns, but X has {len(columns)}.")
    return [
        Column.of(name, values, kind, None if categories is None else list(categories[i]))
        for i, ((name, values), kind) in enumerate(zip(columns, given, strict=True))
    ]


def _given_kinds(names: list[str], kinds: Mapping[str, Iterable[Any]]) -> list[Kind | None]:
    found: list[Kind | None] = [None] * len(names)
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"columns has the key {unknown[0]!r}, but kinds are {', '.join(map(repr, KINDS))}.")
    for kind in KINDS:
        some = kinds.get(kind, ())
        for which in [some] if isinstance(some, str | int) else some:
            place = names.index(which) if isinstance(which, str) and which in names else which
            if isinstance(place, str) or not -len(names) <= int(place) < len(names):
                raise ValueError(f"columns names {which!r}, which X doesn't have. It has {', '.join(names[:10])}.")
            if found[int(place)] is not None:
                raise ValueError(f"columns names {which!r} more than once.")
            found[int(place)] = kind
    return found


def numbers_of(X: Any, columns: Sequence[Column], unknown: str = "error", where: str = "X") -> np.ndarray:
    """A table as numbers (n_rows, n_columns), float64: see `Column.numbers_of`."""
    found = [
        column.numbers_of(values, unknown, where) for column, (_, values) in zip(columns, columns_of(X), strict=True)
    ]
    return np.stack(found, 1)


def as_table(numbers: np.ndarray, columns: Sequence[Column], frame: str | None, index: Any = None) -> Any:
    """Numbers (n_rows, n_columns) as a table: a frame of pandas or Polars, or an array of values."""
    values = [column.values_of_numbers(numbers[:, i]) for i, column in enumerate(columns)]
    if frame == "pandas":
        import pandas as pd

        series = {column.name: _pandas_series(column, some) for column, some in zip(columns, values, strict=True)}
        return pd.DataFrame(series).set_axis(pd.RangeIndex(len(numbers)) if index is None else index)
    if frame == "polars":
        pl = optional("polars", "Data frames of Polars", "polars")
        return pl.DataFrame([_polars_series(pl, column, some) for column, some in zip(columns, values, strict=True)])
    if all(some.dtype.kind in "biuf" for some in values):
        return np.stack([some.astype(np.float64) for some in values], 1)
    table = np.empty(numbers.shape, object)
    for i, some in enumerate(values):
        table[:, i] = some
    return table


def _pandas_series(column: Column, values: np.ndarray) -> Any:
    import pandas as pd

    if column.dtype == "category":
        return pd.Categorical(list(values), categories=list(column.labels if column.labels is not None else []))
    missing = np.asarray(pd.isna(values))
    if missing.any() and (column.dtype == "bool" or column.dtype.startswith(("int", "uint"))):  # without place for it
        return pd.Series(values, dtype=object if column.dtype == "bool" else "float64")
    return pd.Series(list(values), dtype=column.dtype)


def _polars_series(pl: Any, column: Column, values: np.ndarray) -> Any:
    plain = [None if value is None or value != value else _plain(value) for value in values]
    name = column.dtype.partition("(")[0]
    dtype = pl.Enum(list(column.labels)) if name == "Enum" and column.labels is not None else getattr(pl, name)
    if column.is_whole:
        plain = [None if value is None else int(value) for value in plain]
    return pl.Series(column.name, plain, dtype=dtype)
