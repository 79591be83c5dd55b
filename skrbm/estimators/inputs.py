"""X, validated, as an array or as rows to learn from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from skrbm.distributed import Group
from skrbm.estimators._compat import check_sample_weight
from skrbm.estimators.coding import Coding
from skrbm.machines.units import Unit
from skrbm.rows.arrays import ArrayRows
from skrbm.rows.gaps import gaps_in
from skrbm.rows.iterables import NO_ROWS, Sample, batches_in_order, rows_in_passing
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import DataRangeWarning, HeldOut, RowSource, binarize_rows, named, rows_of_batch, yields_batches
from skrbm.support.checks import warn
from skrbm.support.randomness import Stream
from skrbm.support.ranges import Range
from skrbm.support.tensors import dense, from_torch, to_tensor
from skrbm.training.settings import TrainSettings

_HELD_OUT_ROWS = 1000  # that are looked at after each epoch, at most
_AS_IN_FIT = "Scale or encode it as the rows of fit were."


def any_array_of(
    model: Any, X: Any, name: str = "X", reset: bool = False, columns: Any = None, has_gaps: bool = False
) -> Any:
    """X as an array or a CSR matrix of finite numbers, with the features that the model knows.

    Before a fit, `reset`, with `columns` as the model's form has learned them. An array `has_gaps` where it may have
    NaN.
    """
    finite = "allow-nan" if has_gaps and not issparse(X) else True
    return _validated(model, X, name, reset, columns, accept_sparse="csr", dtype="numeric", ensure_all_finite=finite)


def array_of(model: Any, X: Any, name: str = "X", has_gaps: bool = False) -> Any:
    """The same for a fitted model, with a warning of values out of the range of its visible units."""
    rows = any_array_of(model, X, name, has_gaps=has_gaps)
    if model.form.coding(model).takes_bits:
        _warn_of_new_range(model, name, _range_of(rows))
    return rows


def _range_of(rows: Any) -> Range:
    """The range of all values but NaN."""
    has_gaps = not issparse(rows) and rows.dtype.kind == "f" and np.isnan(rows.min())
    return Range.of(rows[~np.isnan(rows)] if has_gaps else rows)


def batches_of(model: Any, X: Any, check: bool = True, has_gaps: bool = False) -> Iterator[Any]:
    """The batches that X yields, as arrays; if `check`, a warning in the end of values out of range in any of them."""
    values, is_empty = Range(), True
    for batch in batches_in_order(X):
        is_empty = False
        rows = any_array_of(model, rows_of_batch(batch), has_gaps=has_gaps)
        check = check and model.form.coding(model).takes_bits
        values = values | _range_of(rows) if check else values
        yield rows
    if is_empty:
        raise ValueError(NO_ROWS.format("X"))
    if check:
        _warn_of_new_range(model, "X", values)


def array_with_gaps(model: Any, X: Any, name: str) -> np.ndarray:
    """X as a float array whose NaN are gaps, and whose other values are in the range of the model's units."""
    rows = _validated(model, X, name, False, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
    check_gaps(model, rows, name)
    return rows


def check_gaps(model: Any, rows: np.ndarray, name: str) -> None:
    """Raise a ValueError if rows have values, but for NaN, out of the range of the model's visible units."""
    known = Range.of(rows[~np.isnan(rows)])
    if not model.form.coding(model).takes_bits:
        return
    if wrong := model.units[0].check_range(known.low, known.high):
        raise ValueError(f"{name} has {wrong} {_AS_IN_FIT} What is free must be NaN.")


def warn_of_range(name: str, values: Range, unit: Unit, remedy: str | None = None) -> None:
    """Warn if what `name` has is out of the unit's range, and say what to do: `remedy`, or what the unit knows."""
    if wrong := unit.check_range(values.low, values.high):
        told = unit.remedy(values) if remedy is None else remedy
        warn(f"{name} has {wrong} {told or ''}".rstrip(), DataRangeWarning)


def _validated(model: Any, X: Any, name: str, reset: bool, columns: Any = None, **kwargs: Any) -> Any:
    if not reset:
        check_is_fitted(model)
    X = _as_array(X, name)
    has_gaps = kwargs.get("ensure_all_finite") == "allow-nan"
    numbers = model.form.numbers_of(model, X, name, reset, columns, has_gaps)
    if numbers is not None:
        return numbers
    if isinstance(X, np.ndarray) and not X.dtype.isnative:  # in which scikit-learn 1.6 overlooks infinity
        X = X.astype(X.dtype.newbyteorder("="))
    try:
        rows = validate_data(model, X, reset=reset, **kwargs)
        if rows.dtype.kind == "O":  # a frame of nothing but categories, which may be numbers
            rows = check_array(rows.astype(np.float64), input_name="X", **kwargs)
        if rows.dtype.kind not in "biuf":
            raise TypeError(f"{'X' if name == 'X' else 'it'} has values of type {rows.dtype}. Pass numbers.")
        return rows
    except (TypeError, ValueError) as error:
        told = _with_remedy(str(error), X)
        if name == "X" and told == str(error):
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(told if name == "X" else f"{name} is not usable as rows: {told}") from error


def _warn_of_new_range(model: Any, name: str, values: Range) -> None:
    """Warn of rows that a fitted model can't mean: either they lack what was done to the rows of fit, or those did."""
    unit, kept = model.units[0], np.asarray(getattr(model, "data_samples_", ()))
    if unit.check_range(values.low, values.high):
        fitted = Range.of(kept)
        warn_of_range(name, values, unit, None if unit.check_range(fitted.low, fitted.high) else _AS_IN_FIT)


def _as_array(X: Any, name: str) -> Any:
    """X, of a tensor an array, unless it is something else than rows."""
    if isinstance(X, Mapping) and not issparse(X):  # SciPy's by keys were dicts until 1.15
        raise TypeError(f"{name} is a dict with {named('key', X)}. Pass the rows under one of them.")
    if type(X).__name__ == "LazyFrame":  # of Polars
        raise TypeError(f"{name} is a lazy frame, which has no rows yet. Pass {name}.collect().")
    if yields_batches(X):
        raise TypeError(
            f"{name} must be rows, but this {type(X).__name__} yields batches of them. Go over it and pass each batch."
        )
    return _without_na(from_torch(X))


def _without_na(X: Any) -> Any:
    """X with NaN for the NA of pandas among objects, which numpy can't convert."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return X
    is_frame = isinstance(X, pandas.DataFrame)
    types = list(X.dtypes) if is_frame else [X.dtype] if isinstance(X, np.ndarray) else []
    if np.dtype(object) in types:
        missing = np.asarray(pandas.isna(X))
        if missing.any():
            values = np.where(missing, np.nan, np.asarray(X, dtype=object))
            return pandas.DataFrame(values, X.index, X.columns) if is_frame else values
    return X


def _with_remedy(text: str, X: Any) -> str:
    """What scikit-learn says of X, and what can be done about it here."""
    if "contains NaN" in text:  # what follows recommends classifiers
        first_line = text.partition("\n")[0].rstrip(".")
        return (
            f"{first_line}. Drop the rows that have gaps, or fill these first, with SimpleImputer for one; once "
            "fitted, `complete` fills the gaps of rows."
        )
    try:
        values = np.asarray(X)
    except (TypeError, ValueError):  # rows of different lengths
        return text
    if values.ndim > 2:
        return f"{text} Make each of them a row, such as an image: X.reshape(len(X), -1)."
    if values.ndim == 2 and (values.dtype.kind in "US" or any(isinstance(value, str | bytes) for value in values.flat)):
        return (
            f"{text.rstrip('.')}. X has text: make categories columns of zeros and ones first, with OneHotEncoder, or "
            "take MixedRBM."
        )
    return text


def activations_of(model: Any, H: Any) -> np.ndarray:
    """H as a float array (n_samples, n_hidden), with a warning of values out of the range of the hidden units."""
    check_is_fitted(model)
    H = check_array(_as_array(H, "X"), dtype=[np.float64, np.float32], input_name="X")
    n_hidden = np.shape(model.components_)[0]
    if H.shape[1] == len(model.get_feature_names_out()) > n_hidden > 0:  # of all layers, the odd ones first
        H = H[:, :n_hidden]
    if H.shape[1] != n_hidden:
        raise ValueError(f"X has {H.shape[1]} columns, but the model has {n_hidden} hidden units.")
    warn_of_range("X", Range.of(H), model.units[1], "Pass activations of hidden units, such as transform returns.")
    return H


def rows_of(
    model: Any,
    X: Any,
    sample_weight: Any,
    settings: TrainSettings,
    group: Group,
    *,
    reset: bool,
    split: list[int] | None = None,
    X_val: Any = None,
) -> tuple[SharedRows, Coding]:
    """X as rows to learn from, beside those that are held out, and how they have been coded.

    Held out are rows of X_val. Where there is none and early stopping is set, they are split off from X. Both need the
    seed `split`.

    Raises
    ------
    ValueError, TypeError
        If X, X_val or the weights are not as they must be, or X yields rows in passing where they must be chosen from.
    """
    stream = None if split is None else Stream(group.seed(split), "validation")
    if yields_batches(X):
        passing, coding = _in_passing(model, X, sample_weight, settings, group, reset, X_val is not None)
        held_out = _named_rows(model, X_val, settings, stream, coding)
        _check_held_out(settings, held_out)
        return SharedRows(passing, group, held_out), coding
    columns = model.form.learn(X) if reset else None
    X = any_array_of(model, X, reset=reset, columns=columns, has_gaps=True)
    weight = None if sample_weight is None else check_sample_weight(from_torch(sample_weight), X)
    coding = model.form.new_coding(X, columns, weight, group) if reset else model.form.coding(model)
    if coding.takes_bits:
        warn_of_range("X", Range.of(X), settings.visible)
    elif getattr(model, "encoding", None) == "spin" and (found := _range_of(X)).low >= 0.0:
        warn(
            f"X has values from {found.low:g} to {found.high:g}, but with encoding='spin' rows have -1 and 1, and 0 is "
            "half way between them. Rows of zeros and ones are for encoding='binary'.",
            DataRangeWarning,
        )
    held_out, others = _named_rows(model, X_val, settings, stream, coding, columns), None
    rows = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
    if stream is not None and settings.early_stopping and held_out is None:
        from sklearn.model_selection import train_test_split  # late: it imports all metrics

        seed = int(stream.integers(2**32, ()))
        rows, others = train_test_split(rows, test_size=settings.validation_fraction, random_state=seed)
    dtype, device = settings.place
    if coding.n_latent:  # whose values are kept beside those of gaps
        X, encode, decode = coding.encode_array(np.asarray(dense(X), np.float32)), None, None
    else:
        encode, decode = (None, None) if coding.is_plain else (coding.encode, coding.decode)
    source = ArrayRows(
        X,
        weight,
        shuffle=settings.shuffle,
        dtype=dtype,
        device=device,
        rows=np.sort(rows),
        encode=encode,
        decode=decode,
        absent=settings.missing == "absent",
    )
    if stream is not None and others is not None:
        some = source.take(np.sort(others[:_HELD_OUT_ROWS]))
        held_out = HeldOut(binarize_rows(some.v, settings.binarize, stream), some.weight, some.free)
    _check_held_out(settings, held_out)
    return SharedRows(source, group, held_out), coding


def _check_held_out(settings: TrainSettings, held_out: HeldOut | None) -> None:
    if settings.early_stopping != "log_likelihood" or held_out is None or held_out.free is None:
        return
    if settings.hidden_couplings is not False or settings.n_latent:
        raise ValueError(
            "early_stopping='log_likelihood' is not available where hidden units are coupled, or in several layers. "
            "Set early_stopping=True, which goes by the pseudo-log-likelihood."
        )
    raise ValueError(
        "early_stopping='log_likelihood' needs held-out rows without gaps. Pass such as X_val, or set "
        "early_stopping=True, which goes by the pseudo-log-likelihood of the cells that aren't missing."
    )


def _named_rows(
    model: Any, X_val: Any, settings: TrainSettings, stream: Stream | None, coding: Coding, columns: Any = None
) -> HeldOut | None:
    """Rows of X_val as held out, all or a thousand at random; None without any. X must have been validated before."""
    if X_val is None or stream is None:
        return None
    kept, values = Sample(_HELD_OUT_ROWS, stream), Range()
    if yields_batches(X_val):
        for batch in batches_in_order(X_val):
            rows = any_array_of(model, rows_of_batch(batch, "X_val"), "X_val", columns=columns, has_gaps=True)
            values = values | Range.of(rows)
            kept.add_(_encoded(rows, coding, settings))
        if not len(kept.rows):
            raise ValueError(NO_ROWS.format("X_val"))
    else:
        rows = any_array_of(model, X_val, "X_val", columns=columns, has_gaps=True)
        values = Range.of(rows)
        some = np.sort(stream.permutation(rows.shape[0])[:_HELD_OUT_ROWS])
        kept.add_(_encoded(rows[some], coding, settings))
    if coding.takes_bits:
        warn_of_range("X_val", values, settings.visible, "Scale or encode it as the rows of X.")
    v, free = kept.rows, gaps_in(kept.rows)
    if free is not None:
        mean = v.nanmean(0).nan_to_num(0.0)
        v = torch.where(free, 0.0 if settings.missing == "absent" else mean, v)  # provisionally
    return HeldOut(binarize_rows(v, settings.binarize, stream), free=free)


def _encoded(rows: Any, coding: Coding, settings: TrainSettings) -> Tensor:
    """Rows of X as rows of the machine that learns."""
    place = settings.place
    if coding.is_plain:
        return to_tensor(rows, *place)
    return coding.encode(to_tensor(rows, torch.float64)).to(place.device, place.dtype)


def _in_passing(
    model: Any, X: Any, sample_weight: Any, settings: TrainSettings, group: Group, reset: bool, has_held_out: bool
) -> tuple[RowSource, Coding]:
    """X, which yields batches, as a source of rows, coded by what the first batch is like."""
    where = f"X ({type(X).__name__}) yields them in passing. "
    array = "an array as X, which may lie in a file (numpy.memmap), or do without it."
    if sample_weight is not None:
        raise ValueError(f"sample_weight needs rows that can be chosen from, but {where}Pass {array}")
    if settings.early_stopping and not has_held_out:
        raise ValueError(
            f"early_stopping={settings.early_stopping!r} needs rows that learning doesn't see, but {where}Name them, "
            f"fit(X, X_val=...), or pass {array}"
        )

    columns, coding = None, None if reset else model.form.coding(model)

    def check(batch: Any) -> Any:
        nonlocal columns, coding
        batch = rows_of_batch(batch)
        if is_first := coding is None:
            columns = model.form.learn(batch)
        rows = any_array_of(model, batch, reset=is_first, columns=columns, has_gaps=True)
        if coding is None:
            coding = model.form.new_coding(rows, columns, None, group)
        return rows if coding.is_plain else coding.encode_array(np.asarray(dense(rows), np.float64))

    source = rows_in_passing(
        X,
        check,
        rule=settings.binarize,
        shuffle=settings.shuffle,
        place=settings.place,
        stream=Stream(0, "rows that are kept"),
        absent=settings.missing == "absent",
    )
    assert coding is not None, "there was a batch at least"
    if coding.takes_bits:
        warn_of_range("X", source.range, settings.visible)
    return source, coding
