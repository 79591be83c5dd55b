"""In what form rows go into an estimator and come out: as numbers, as numbers of any scale, as tables."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import validate_data

from skrbm.distributed import Group
from skrbm.estimators._compat import in_container
from skrbm.estimators.coding import PLAIN, Bits, Coding, Standardized, Table, standardized_for, table_for
from skrbm.estimators.tables import Column, as_table, frame_kind, is_frame, numbers_of
from skrbm.support.tensors import from_torch


class Form(ABC):
    """In what form rows go in and come out."""

    @abstractmethod
    def coding(self, model: Any) -> Coding:
        """How rows, as numbers, become states of a fitted machine."""

    @abstractmethod
    def new_coding(self, X: Any, columns: Any, weight: np.ndarray | None, group: Group) -> Coding:
        """How they are to become rows that a new machine learns from; `columns` are those of `learn`."""

    @abstractmethod
    def coding_of(self, n_features: int) -> Coding:
        """That of a machine with given parameters for so many columns, which has seen no rows.

        Raises
        ------
        ValueError
            If rows are needed to tell what the columns are.
        """

    @abstractmethod
    def learn(self, X: Any) -> Any:
        """What is to be known of the columns of X before a fit."""

    @abstractmethod
    def numbers_of(self, model: Any, X: Any, name: str, reset: bool, columns: Any, has_gaps: bool) -> np.ndarray | None:
        """X as numbers, validated; None where it is to be numbers already.

        Parameters
        ----------
        model : estimator
            Fitted, or about to be.
        X : data frame or array
            Rows.
        name : str
            What they are called, for messages.
        reset : bool
            Whether number and names of the columns are learned here.
        columns : object or None
            What `learn` has found, as long as the model isn't fitted.
        has_gaps : bool
            Whether values may be missing.
        """

    @abstractmethod
    def number_of(self, model: Any, place: int, value: Any) -> float:
        """A value of the column with that number, as a number."""

    @abstractmethod
    def as_named(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        """Rows of other columns, with these names, such as hidden states beside rows, as they are handed out."""

    @abstractmethod
    def tagged(self, tags: Tags) -> Tags:
        """scikit-learn's tags of an estimator, with those of what it takes."""

    @abstractmethod
    def as_given(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        """Rows as they are handed out; a pandas frame among `given` with as many rows lends its index."""


class Numbers(Form):
    """Numbers go in as they are, or standardised, and come out in what `set_output` asks for.

    Parameters
    ----------
    is_standardized : bool
        Whether columns have a location and a scale of their own.
    n_latent : int
        Units without a column, see `Coding`; only of columns that go in as they are.
    are_spins : bool
        Whether rows have -1 and 1 for 0 and 1.
    """

    def __init__(self, is_standardized: bool = False, n_latent: int = 0, are_spins: bool = False) -> None:
        self._is_standardized = is_standardized
        self._as_they_are = Bits(n_latent, are_spins) if n_latent or are_spins else PLAIN

    def coding(self, model: Any) -> Coding:
        if not self._is_standardized:
            return self._as_they_are
        return Standardized(np.asarray(model.location_, np.float64), np.asarray(model.scale_, np.float64))

    def new_coding(self, X: Any, columns: Any, weight: np.ndarray | None, group: Group) -> Coding:
        return standardized_for(X, weight, group) if self._is_standardized else self._as_they_are

    def coding_of(self, n_features: int) -> Coding:
        return Standardized(np.zeros(n_features), np.ones(n_features)) if self._is_standardized else self._as_they_are

    def learn(self, X: Any) -> Any:
        return None

    def numbers_of(self, model: Any, X: Any, name: str, reset: bool, columns: Any, has_gaps: bool) -> np.ndarray | None:
        return None

    def number_of(self, model: Any, place: int, value: Any) -> float:
        if isinstance(value, str):
            raise TypeError("text is no number")
        return float(value)

    def tagged(self, tags: Tags) -> Tags:
        tags.input_tags.sparse = True
        return tags

    def as_given(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        return self.as_named(model, rows, names, *given)

    def as_named(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        frames = [X for X in given if hasattr(X, "iloc") and np.ndim(X) == 2 and len(X) == len(rows)]
        return in_container(model, rows, frames[0] if frames else None, names)


class Tables(Form):
    """Tables go in with columns of every kind, and come out in the form that was learned from.

    Parameters
    ----------
    learn : callable
        What finds out the columns of a table, see `learn_columns`.
    """

    def __init__(self, learn: Callable[[Any], list[Column]]) -> None:
        self._learn = learn

    def coding(self, model: Any) -> Coding:
        return Table(model.columns_, model.location_, model.scale_, model.frame_)

    def new_coding(self, X: Any, columns: Any, weight: np.ndarray | None, group: Group) -> Coding:
        columns, frame = columns
        found = [
            (column.name, column.kind, None if column.labels is None else column.labels.tolist()) for column in columns
        ]
        if any(other != found for other in group.gather_everywhere(found)):
            raise ValueError(
                "Processes have found different columns, or labels, in their rows. Name these to all: pass columns "
                "of categories that have all labels (pandas.Categorical), or `categories`, and `columns` for the kinds."
            )
        return table_for(columns, X, weight, group, frame)

    def coding_of(self, n_features: int) -> Coding:
        raise ValueError(
            "Weights and biases don't say what labels and kinds the columns of a table have: fit the machine."
        )

    def learn(self, X: Any) -> Any:
        table = table_of(X)
        return self._learn(table), frame_kind(table)

    def numbers_of(self, model: Any, X: Any, name: str, reset: bool, columns: Any, has_gaps: bool) -> np.ndarray | None:
        table = table_of(X)
        validate_data(model, table, reset=reset, skip_check_array=True)
        _check_finite(table, name, has_gaps)
        unknown = "error" if columns is not None else model.handle_unknown
        columns = model.columns_ if columns is None else columns[0]
        numbers = numbers_of(table, columns, unknown, name)
        if getattr(table, "dtype", None) == np.float32:
            numbers = numbers.astype(np.float32)
        if not has_gaps and np.isnan(numbers).any():
            gaps = [column.name for column, some in zip(columns, np.isnan(numbers).T, strict=True) if some.any()]
            raise ValueError(
                f"Input {name} contains NaN, or values that fit didn't know, in {', '.join(gaps[:5])}. Drop the rows "
                "that have gaps, or fill these first; once fitted, `complete` fills the gaps of rows."
            )
        return numbers

    def number_of(self, model: Any, place: int, value: Any) -> float:
        values = np.empty(1, object)
        values[0] = value
        return float(model.columns_[place].numbers_of(values, where="condition")[0])

    def tagged(self, tags: Tags) -> Tags:
        tags.input_tags.categorical = tags.input_tags.string = True
        return tags

    def as_given(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        if rows.ndim == 3:
            return rows
        frames = [X for X in given if frame_kind(X) == "pandas" and len(X) == len(rows)]
        return as_table(rows, model.columns_, model.frame_, frames[0].index if frames else None)

    def as_named(self, model: Any, rows: np.ndarray, names: list[str], *given: Any) -> Any:
        columns = [Column(name, "gaussian", None, str(rows.dtype).capitalize()) for name in names]
        if model.frame_ == "pandas":
            columns = [replace(column, dtype=str(rows.dtype)) for column in columns]
        return rows if model.frame_ is None else as_table(rows, columns, model.frame_)


def table_of(X: Any) -> Any:
    """X as a frame, or as an array of any type that scikit-learn takes for a table."""
    if is_frame(X):
        if 0 in X.shape:
            what = "sample" if not len(X) else "feature"
            raise ValueError(f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is required.")
        return X
    return check_array(from_torch(X), dtype=None, ensure_all_finite=False, input_name="X")


def _check_finite(table: Any, name: str, has_gaps: bool) -> None:
    """Raise a ValueError if an array of floats has infinite values, or gaps where there may be none."""
    if isinstance(table, np.ndarray) and table.dtype.kind == "f":
        if np.isinf(table).any():
            raise ValueError(f"Input {name} contains infinity or a value too large for {table.dtype!r}.")
        if not has_gaps and np.isnan(table).any():
            raise ValueError(f"Input {name} contains NaN. Drop the rows that have gaps, or fill these first.")
