"""What training asks of a source of rows, and what kind of X it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from skrbm.rows.gaps import gaps_in
from skrbm.support.randomness import Stream, bernoulli_

Binarize = Literal["none", "sample"] | float


class Batch(NamedTuple):
    """Rows of an update.

    Attributes
    ----------
    v : Tensor of shape (n, n_features)
        Floats, or zeros and ones as uint8; but see `form`.
    weight : Tensor of shape (n,) or None
        Their weights.
    is_even : bool
        Of several processes: whether all have as many rows in theirs, without weights.
    form : {"values", "packed", "codes"}
        Where rows are handed out as they are kept, `v` may be bits, eight to a byte, or bytes that stand for multiples
        of 1 / `divisor`.
    divisor : float
        See there.
    free : Tensor of shape (n, n_features) or None
        Which cells are missing, whose values in `v` are provisional; None if none are.
    rows : ndarray of shape (n,) or None
        Numbers by which the source knows the rows, to be told what their missing cells have come to; None if it
        doesn't.
    """

    v: Tensor
    weight: Tensor | None = None
    is_even: bool = False
    form: Literal["values", "packed", "codes"] = "values"
    divisor: float = 1.0
    free: Tensor | None = None
    rows: np.ndarray | None = None


class HeldOut(NamedTuple):
    """Rows that learning doesn't see.

    Attributes
    ----------
    v : Tensor of shape (n, n_features)
        The rows.
    weight : Tensor of shape (n,) or None
        Their weights.
    free : Tensor of shape (n, n_features) or None
        Which cells are missing, whose values in `v` are provisional.
    """

    v: Tensor
    weight: Tensor | None = None
    free: Tensor | None = None


class RowSource(Protocol):
    """Where rows come from.

    Attributes
    ----------
    n_features : int
        Number of columns.
    n_rows : int
        Number of rows in an epoch, as far as it is known.
    total_weight : float
        Sum of the weights of the rows; their number where they have none.
    is_binary : bool
        Whether all values are 0 or 1.
    is_weighted : bool
        Whether batches have weights.
    has_full_batches : bool
        Whether all batches of an epoch but the last have as many rows as was asked for.
    has_gaps : bool
        Whether cells are missing that are to be drawn. In batches and samples they have provisional values.
    has_absent : bool
        Whether cells are missing that are not there: 0 in batches, which say where they are, and NaN in samples.
    """

    n_features: int
    n_rows: int
    total_weight: float
    is_binary: bool
    is_weighted: bool
    has_full_batches: bool
    has_gaps: bool = False
    has_absent: bool = False

    def n_batches(self, batch_size: int) -> int:
        """Number of batches in an epoch."""

    def mean(self, rule: Binarize) -> Tensor:
        """Weighted mean over the rows as `rule` (see `binarize_rows`) shows them to the machine, (n_features,).

        Of the cells that aren't missing; NaN where a column has none.
        """

    def share_known(self) -> Tensor:
        """Weighted share of the rows in which a column isn't missing, (n_features,)."""

    def some(self, n: int, stream: Stream) -> Tensor:
        """`n` different rows, or all if there are fewer, as floats (n, n_features)."""

    def epoch(self, stream: Stream, batch_size: int = 100, as_kept: bool = False) -> Iterator[Batch]:
        """Every row once, in batches of so many; `stream` decides on their order. The last batch has what remains.

        With `as_kept` they may be handed out in another form than that of values, see `Batch`.
        """

    def put_(self, batch: Batch) -> None:
        """Take note of what the missing cells of a batch have come to, if the source knows its rows."""

    def provisional(self) -> np.ndarray | None:
        """What the missing cells of rows that the source knows have come to, (n_gaps,); None where there are none."""

    def set_provisional_(self, values: np.ndarray) -> None:
        """Go on from where `provisional()` was taken."""


class Mean:
    """Weighted mean of rows as `rule` shows them, added up in float64; of each column those that have no NaN there."""

    def __init__(self, rule: Binarize) -> None:
        self._rule, self._total, self._weight = rule, torch.zeros((), dtype=torch.float64), 0.0
        self._missing: Any = 0.0
        self._dtype = torch.float64

    def add_(self, v: Tensor, weight: Tensor | None = None) -> None:
        """Count rows (n, n_features) with their weights."""
        free = gaps_in(v)
        v = v.clamp(0.0, 1.0) if self._rule == "sample" else binarize_rows(v, self._rule, Stream(0))
        if free is not None:
            v = v.masked_fill(free, 0.0)
            missing = free.sum(0) if weight is None else weight.double() @ free.double()
            self._missing = self._missing + missing.double()
        self._total = self._total + (v.sum(0, dtype=torch.float64) if weight is None else weight.double() @ v.double())
        self._weight += len(v) if weight is None else float(weight.double().sum())
        self._dtype = v.dtype

    @property
    def value(self) -> Tensor:
        """The mean of those counted so far, (n_features,); NaN where all are missing."""
        return (self._total / (self._weight - self._missing)).to(self._dtype)

    @property
    def share_known(self) -> Tensor:
        """Share of those counted so far, by weight, in which a column isn't missing, (n_features,)."""
        return (1.0 - self._missing / self._weight + torch.zeros_like(self._total)).to(self._dtype)


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
        return stream.bernoulli(v) if out is None else bernoulli_(out, v, stream.numbers(v.numel(), v.device))
    above = v.gt(rule)
    return above.to(v.dtype) if out is None else out.copy_(above)


class DataRangeWarning(UserWarning):
    """Some values of rows lie outside [0, 1], where a Bernoulli machine reads probabilities."""


def yields_batches(X: Any) -> bool:
    """Whether X yields batches of rows, or is a dataset of torch's, rather than holding the rows like an array.

    A list or a tuple does if each of its items has rows of its own, or labels beside these.
    """
    if isinstance(X, Dataset | DataLoader):
        return True
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(map(_has_rows, X))
    holds = isinstance(X, Sequence | Set | Mapping | Tensor) or hasattr(X, "__array__") or hasattr(X, "shape")
    return isinstance(X, Iterable) and not holds


def _has_rows(batch: Any) -> bool:
    """Whether this is an array or a frame, or has one in front or under a key."""
    if isinstance(batch, Mapping):
        return any(_n_axes(values) > 1 for values in batch.values())
    return _n_axes(batch) > 1 or (isinstance(batch, tuple | list) and len(batch) > 0 and _n_axes(batch[0]) > 1)


def _n_axes(X: Any) -> int:
    shape = getattr(X, "shape", ())
    return len(shape) if isinstance(shape, tuple) else 0


def rows_of_batch(batch: Any, name: str = "X") -> Any:
    """The rows of a batch, without the labels that data loaders yield beside them in a pair (rows, labels).

    Images, and whatever else has more than two axes, become rows: (n, 1, 28, 28) is (n, 784) then.

    Raises
    ------
    TypeError
        If the batch is a dict, in which nobody can tell what the rows are.
    """
    if isinstance(batch, tuple | list) and len(batch) > 0 and (_n_axes(batch[0]) > 1 or isinstance(batch[0], Mapping)):
        batch = batch[0]
    if isinstance(batch, Mapping):
        raise TypeError(
            f"A batch of {name} is a dict with {named('key', batch)}. Yield the tensor under one of them: by the "
            "collate_fn of a DataLoader, or from the __iter__ of a class of your own."
        )
    return batch.reshape(len(batch), -1) if _n_axes(batch) > 2 and len(batch) else batch


def named(what: str, names: Iterable[Any], n: int = 5) -> str:
    """The first few names with what they name, as "the keys 'image', 'label'"."""
    known = [repr(name) for name in names]
    more = f" and {len(known) - n} more" if len(known) > n else ""
    return f"the {what}{'s' if len(known) > 1 else ''} {', '.join(known[:n])}{more}" if known else f"no {what}s"
