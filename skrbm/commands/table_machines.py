"""Machines of tables: which one a table takes, its rows as that takes them, and as they come out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skrbm.commands.table_files import Rows, Values, listed, numbers_rows
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.tables import KINDS, Column, Kind
from skrbm.estimators.tabular import CategoricalRBM, MixedRBM

_MOST_NAMED = 10  # columns that a line tells of
_FEW_LABELS = 10  # of which nobody would say that each row has another


def new_machine(
    rows: Rows, machine: str, kinds: Mapping[Kind, Sequence[str]], settings: Mapping[str, Any]
) -> tuple[BaseRBM, list[Column]]:
    """A machine that is to learn a table, and what it will take the columns as; nothing of columns that are all alike.

    Parameters
    ----------
    rows : Rows
        The table.
    machine : {"auto", "bernoulli", "gaussian", "categorical", "mixed"}
        Which; "auto" is Bernoulli for zeros and ones, and else mixed.
    kinds : mapping
        Names of columns that are "binary", "gaussian" and "categorical"; others go by what they hold.
    settings : mapping
        Parameters of the machine.

    Raises
    ------
    ValueError
        If a column isn't of the kind that it is to be.

    Warns
    -----
    UserWarning
        If columns number or name the rows.
    """
    if machine == "auto":
        machine = "bernoulli" if not kinds and rows.are_bits() else "mixed"
    if machine == "bernoulli":
        return BernoulliRBMTorch(**settings), []
    if machine == "gaussian":
        _warn_of_names(rows, [])
        return GaussianRBM(**settings), []
    given: dict[str, Kind] = {name: kind for kind, names in kinds.items() for name in names}
    if machine == "categorical":
        given = dict.fromkeys(rows.names, "categorical")
    columns = [_column(rows, place, given.get(name)) for place, name in enumerate(rows.names)]
    _warn_of_names(rows, columns)
    if machine == "categorical":
        return CategoricalRBM(**settings), columns
    places: dict[str, list[int]] = {
        kind: [place for place, column in enumerate(columns) if column.kind == kind] for kind in KINDS
    }
    return MixedRBM(columns=places, **settings), columns


def columns_of(model: BaseRBM) -> list[Column]:
    """What a fitted machine takes the columns as; nothing where they are all alike."""
    return list(getattr(model, "columns_", []))


def texts_of(model: BaseRBM, names: Sequence[str] | None) -> list[str | int]:
    """Its columns of text: their names, or numbers where it knows no names."""
    return [place if names is None else names[place] for place, one in enumerate(columns_of(model)) if _is_text(one)]


def values_for(rows: Rows, model: BaseRBM, columns: Sequence[Column]) -> np.ndarray:
    """A table (n_rows, n_columns) as a machine takes it, with columns in the order that it has them in.

    Raises
    ------
    ValueError
        If it has values that the machine can't have; the message says where.
    """
    if not isinstance(model, CategoricalRBM | MixedRBM):
        return rows.bits() if isinstance(model, BernoulliRBMTorch) else rows.numbers()
    table = np.empty((len(rows.columns[0]), len(columns)), object)
    for place, column in enumerate(columns):
        table[:, place] = rows.columns[place] if _is_text(column) else rows.numbers_in(place)
        column.numbers_of(table[:, place], model.handle_unknown, "it")  # which names an unknown label
    return table


def rows_from(table: np.ndarray, model: BaseRBM, names: Sequence[str]) -> Rows:
    """The reverse, of what a machine has drawn or filled in: labels and whole numbers as they were learned."""
    if isinstance(model, BernoulliRBMTorch):
        return Rows(list(names), list(table.astype(float).round(6).T))
    columns = columns_of(model) or [Column(name, "gaussian", None, "float64") for name in names]
    values: list[Values] = []
    scales = iter(np.asarray(getattr(model, "scale_", ())))
    for column, drawn in zip(columns, table.T, strict=True):
        if column.labels is not None:
            values.append(drawn.astype(column.labels.dtype))
            continue
        decimals = max(0, 2 - math.floor(math.log10(next(scales))))  # a hundredth of the noise tells nothing
        numbers = drawn.astype(float)
        values.append(numbers.astype(np.int64) if column.is_whole else numbers.round(decimals))
    return Rows(list(names), values)


def filled_in(rows: Rows, full: Rows) -> Rows:
    """Rows whose empty cells are taken from others, of the same columns."""
    return rows._replace(columns=[_filled(*both) for both in zip(rows.columns, full.columns, rows.gaps.T, strict=True)])


def imputed(rows: Rows, *, is_draw: bool, random_state: int | None) -> Rows:
    """Rows whose empty cells are filled in by a machine that learns them, gaps and all.

    Raises
    ------
    ValueError
        If columns have no values.
    """
    from skrbm.estimators.imputer import RBMImputer, n_hidden_for

    if empty := [name for name, gaps in zip(rows.names, rows.gaps.T, strict=True) if gaps.all()]:
        raise ValueError(f"columns without any value can't be filled in. Leave out {listed(empty)}")
    machine: Any = "auto"
    if all(column.dtype.kind == "f" for column in rows.columns):
        values = rows.numbers()
    else:
        settings = {"n_hidden": n_hidden_for(rows.gaps), "handle_unknown": "missing"}
        machine, columns = new_machine(rows, "mixed", {}, settings)
        values = values_for(rows, machine, columns)
    table = RBMImputer(machine, sample_posterior=is_draw, random_state=random_state).fit_transform(values)
    return filled_in(rows, Rows(rows.names, [_as_given(*both) for both in zip(rows.columns, table.T, strict=True)], []))


def _as_given(given: Values, filled: np.ndarray) -> Values:
    """A column with its gaps filled in; numbers with a thousandth of their spread as the last digit."""
    if given.dtype == object:
        return filled.astype(object)
    numbers = filled.astype(float)
    known = given.astype(float)
    spread = float(np.nanstd(known))
    decimals = max(0, 3 - math.floor(math.log10(spread))) if spread > 0 else 0
    is_whole = bool((known[~np.isnan(known)] % 1 == 0).all())  # floats, it may be, for their gaps alone
    return np.rint(numbers).astype(np.int64) if is_whole else numbers.round(decimals)


def told_kinds(model: BaseRBM, names: Sequence[str]) -> list[str]:
    """Lines that say what a machine takes the columns as; none if that goes without saying."""
    if isinstance(model, BernoulliRBMTorch):
        return []
    columns = columns_of(model) or [Column(name, "gaussian", None, "float64") for name in names]
    scales = iter(np.asarray(getattr(model, "scale_", ())))
    told: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for column in columns:
        if column.labels is None:
            what = f"noise {float(f'{next(scales):.3g}'):g}"
        else:
            what = ", ".join(map(str, column.labels)) if len(column.labels) <= 3 else f"{len(column.labels)} values"
        told[column.kind].append(f"{column.name} ({what})")
    return [
        f"{kind}: {', '.join(some[:_MOST_NAMED])}{_more(len(some) - _MOST_NAMED)}"
        for kind, some in told.items()
        if some
    ]


def _more(n: int) -> str:
    return f" and {n:,} more" if n > 0 else ""


def _column(rows: Rows, place: int, kind: Kind | None) -> Column:
    values = rows.numbers_in(place) if kind == "gaussian" else rows.columns[place]
    column = Column.of(rows.names[place], values, kind)
    return Column(column.name, column.kind, column.labels, str(rows.columns[place].dtype))


def _is_text(column: Column) -> bool:
    return column.labels is not None and column.labels.dtype == object


def _warn_of_names(rows: Rows, columns: Sequence[Column]) -> None:
    """Warn of columns that number the rows, or of which almost every row has another value."""
    bad = [name for name, values in zip(rows.names, rows.columns, strict=True) if numbers_rows(values)]
    n_rows = len(rows.places)
    bad += [
        column.name
        for column in columns
        if column.kind == "categorical" and column.width > max(_FEW_LABELS, n_rows / 2) and column.name not in bad
    ]
    if bad:
        warnings.warn(
            f"Columns that number or name the rows tell nothing of others. Leave out {listed(bad)}.",
            UserWarning,
            stacklevel=2,
        )


def _filled(given: Values, full: Values, gaps: Values) -> Values:
    """Values whose gaps are filled from others, in the form of those that are given."""
    if gaps.all() or not gaps.any():
        return full if gaps.all() else given
    if given.dtype == object:
        kind = type(given[~gaps][0])
        values = given.copy()
        values[gaps] = [kind(value) for value in full[gaps].tolist()]
        return values.astype(bool) if kind is bool else values
    values = np.where(gaps, full.astype(float), given)
    return values.astype(np.int64) if full.dtype.kind in "biu" and bool((values % 1 == 0).all()) else values
