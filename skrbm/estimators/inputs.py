"""X, validated, as an array or as rows to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from skrbm.distributed import Group
from skrbm.estimators._compat import check_sample_weight
from skrbm.rows.arrays import ArrayRows
from skrbm.rows.iterables import rows_in_passing
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import HeldOut, RowSource, binarize_rows, range_of, rows_of_batch, warn_of_range, yields_batches
from skrbm.support.randomness import Stream
from skrbm.support.tensors import from_torch
from skrbm.training.settings import TrainSettings

_HELD_OUT_ROWS = 1000  # that are looked at after each epoch, at most


def array_of(model: Any, X: Any, name: str = "X", reset: bool = False) -> Any:
    """X as an array or a CSR matrix of finite numbers, with the features that the model knows."""
    return _validated(model, X, name, reset, accept_sparse="csr", dtype="numeric")


def array_with_gaps(model: Any, X: Any, name: str) -> np.ndarray:
    """X as a float array whose NaN are gaps, and whose other values are in the range of the model's units."""
    rows = _validated(model, X, name, False, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
    known = rows[~np.isnan(rows)]
    visible, _ = model.units
    if known.size and (complaint := visible.check_range(float(known.min()), float(known.max()))):
        raise ValueError(f"{name} has {complaint} What is free must be NaN.")
    return rows


def _validated(model: Any, X: Any, name: str, reset: bool, **kwargs: Any) -> Any:
    if not reset:
        check_is_fitted(model)
    X = from_torch(X)
    if isinstance(X, np.ndarray) and not X.dtype.isnative:  # in which scikit-learn 1.6 overlooks infinity
        X = X.astype(X.dtype.newbyteorder("="))
    try:
        rows = validate_data(model, X, reset=reset, **kwargs)
        if rows.dtype.kind not in "biuf":
            raise TypeError(f"{'X' if name == 'X' else 'it'} has values of type {rows.dtype}. Pass numbers.")
        return rows
    except (TypeError, ValueError) as error:
        if name == "X":
            raise
        raise type(error)(f"{name} is not usable as rows: {error}") from error


def rows_of(
    model: Any,
    X: Any,
    sample_weight: Any,
    settings: TrainSettings,
    group: Group,
    *,
    reset: bool,
    split: list[int] | None = None,
) -> SharedRows:
    """X as rows to learn from; with the seed `split` some of them are held out for early stopping.

    Raises
    ------
    ValueError, TypeError
        If X or the weights are not as they must be, or X yields rows in passing where they must be chosen from.
    """
    if yields_batches(X):
        return SharedRows(_in_passing(model, X, sample_weight, settings, reset), group)
    X = array_of(model, X, reset=reset)
    weight = None if sample_weight is None else check_sample_weight(from_torch(sample_weight), X)
    warn_of_range(settings.visible.check_range(*range_of(X)))
    rows, held_out = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight), None
    stream = Stream(group.seed(split), "validation") if split is not None and settings.early_stopping else None
    if stream is not None:
        from sklearn.model_selection import train_test_split  # late: it imports all metrics

        seed = int(stream.integers(2**32, ()))
        rows, others = train_test_split(rows, test_size=settings.validation_fraction, random_state=seed)
    dtype, device = settings.place
    source = ArrayRows(X, weight, shuffle=settings.shuffle, dtype=dtype, device=device, rows=np.sort(rows))
    if stream is not None:
        some = source.take(np.sort(others[:_HELD_OUT_ROWS]))
        held_out = HeldOut(binarize_rows(some.v, settings.binarize, stream), some.weight)
    return SharedRows(source, group, held_out)


def _in_passing(model: Any, X: Any, sample_weight: Any, settings: TrainSettings, reset: bool) -> RowSource:
    """X, which yields batches, as a source of rows."""
    for name, value in (("sample_weight", sample_weight), ("early_stopping", settings.early_stopping or None)):
        if value is not None:
            raise ValueError(
                f"{name} needs rows that can be chosen from, but X ({type(X).__name__}) yields them in passing. "
                "Pass an array, which may lie in a file (numpy.memmap), or do without it."
            )

    def check(batch: Any) -> Any:
        nonlocal reset
        rows, reset = array_of(model, rows_of_batch(batch), reset=reset), False
        return rows

    source = rows_in_passing(
        X,
        check,
        rule=settings.binarize,
        shuffle=settings.shuffle,
        place=settings.place,
        stream=Stream(0, "rows that are kept"),
    )
    warn_of_range(settings.visible.check_range(source.low, source.high, source.is_whole))
    return source
