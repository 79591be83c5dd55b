"""What a kind of unit is: all that the layers of a machine, training and sampling ask of their units.

A unit with base measure ρ and input x has p(s | x) = ρ(s) exp(s'x - cumulant(x)), and its mean is the derivative of
the cumulant. A unit may take several columns of its layer, as one of K categories takes K. Nothing outside this folder
and the backends asks which kind it is; a new kind is a file beside `bernoulli.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from skrbm.support.randomness import Stream, Uniform, check_stream
from skrbm.support.ranges import Range


class Points(NamedTuple):
    """States of one unit, over which sums stand for those over all its states.

    Attributes
    ----------
    s : Tensor of shape (n, n_columns)
        All states that there are, or the nodes of a quadrature.
    log_weight : Tensor of shape (n,)
        log ρ(s), and the logarithms of the weights of a quadrature.
    """

    s: Tensor
    log_weight: Tensor


class Unit(ABC):
    """A kind of unit; `x` is the input (for Bernoulli units the logit), `s` a state, both of shape (..., n_columns).

    Attributes
    ----------
    states : tuple of float or None
        All states of a unit that takes one column; None if there are too many, or units take more.
    activation : str
        The name by which a backend that can do so fuses `mean_` into its product; "none" where there is none.
    mean_range : tuple of float
        The least and the largest mean of a column.
    scaled : slice or None
        Columns whose states are data over a scale that is learned (see `RBMParameters.log_scale`), if there are any.
    """

    states: ClassVar[tuple[float, ...] | None]
    activation: ClassVar[str]
    mean_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    scaled: slice | None = None

    @abstractmethod
    def cumulant(self, x: Tensor) -> Tensor:
        """log Σ_s ρ(s) exp(s'x), in nats, of each unit: (..., n_units); elementwise where units take one column."""

    @abstractmethod
    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """cumulant((scale + step) x) - cumulant(scale x), exact for small steps; |step x| < 1. `x` stays as it is."""

    @abstractmethod
    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """Σ_i log ρ(s_i) + bias_i s_i of rows, (n,): what a layer at given states adds to -F, in nats."""

    @abstractmethod
    def mean_(self, x: Tensor) -> Tensor:
        """Mean state given the input; written over `x`."""

    @abstractmethod
    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """Write states drawn given their `mean` to `out`, by as many numbers `uniform` on [0, 1); return `out`."""

    @abstractmethod
    def statistics(self, s: Tensor) -> Tensor:
        """What the gradient takes the mean of: the derivative of log ρ(s) + s'x by the unit's parameters."""

    @abstractmethod
    def bias_of(self, mean: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
        """The input at which the mean is `mean`, shrunk as if `smoothing` times as many rows had shown each extreme.

        `smoothing` may be one for each column, (n_columns,), the same in all columns of a unit.
        """

    @abstractmethod
    def check_range(self, low: float, high: float) -> str | None:
        """What is wrong with data of values from `low` to `high`, as the object of "X has …"; None if nothing is."""

    def remedy(self, values: Range) -> str | None:  # noqa: B027
        """How to bring data of that range, in which something is wrong, into the right one; None if nobody knows."""

    @abstractmethod
    def columns(self, n_columns: int) -> Iterator[slice]:
        """The columns of each unit of a layer of so many."""

    @abstractmethod
    def unit_at(self, columns: slice) -> Unit:
        """The kind of the unit with these columns."""

    @abstractmethod
    def points(self, columns: slice, low: float, high: float, like: Tensor) -> Points:
        """States of the unit with these columns, for sums over its states: all there are, or nodes of a quadrature.

        Parameters
        ----------
        columns : slice
            See `columns`.
        low, high : float
            What the input lies between; it only matters where states are a continuum.
        like : Tensor
            Whose float type and device to take.
        """

    @abstractmethod
    def n_bits(self, n_columns: int) -> float:
        """log2 of the number of states of a layer; infinite where they can't be enumerated."""

    @abstractmethod
    def are_states(self, v: Tensor) -> bool:
        """Whether all rows are states."""

    @abstractmethod
    def states_of(self, rows: Tensor, stream: Stream) -> Tensor:
        """States for rows of data, whose values may be means: drawn where they aren't states already."""

    @property
    @abstractmethod
    def identity(self) -> Any:
        """What tells it from others of its kind, as it was made with; None where there is nothing."""

    def mean(self, x: Tensor) -> Tensor:
        """Mean state given the input."""
        return self.mean_(x.clone())

    def sample(self, mean: Tensor, stream: Stream) -> Tensor:
        """States drawn given their mean, in its shape and type."""
        check_stream(stream)
        return self.draw_(mean.new_empty(mean.shape), mean, stream.numbers(mean.numel(), mean.device))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unit) and type(self) is type(other) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash((type(self), self.identity))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.identity is None else self.identity})"


class ColumnUnit(Unit):
    """A kind of unit that takes one column of its layer, all of them alike."""

    def columns(self, n_columns: int) -> Iterator[slice]:
        """One each."""
        yield from (slice(i, i + 1) for i in range(n_columns))

    def unit_at(self, columns: slice) -> Unit:
        """This kind."""
        return self

    def points(self, columns: slice, low: float, high: float, like: Tensor) -> Points:
        """All states, or `nodes`."""
        if self.states is None:
            nodes = self.nodes(low, high, like)
            assert nodes is not None, "units with a continuum of states have nodes"
            return nodes
        s = torch.tensor(self.states).to(like)[:, None]
        return Points(s, self.log_weight(s, s.new_zeros(1)))

    def nodes(self, low: float, high: float, like: Tensor) -> Points | None:
        """See `points`, where states are a continuum."""

    def n_bits(self, n_columns: int) -> float:
        """Those of a unit times their number."""
        return math.inf if self.states is None else n_columns * math.log2(len(self.states))

    def are_states(self, v: Tensor) -> bool:
        """Whether all values are among the states, or finite."""
        if self.states is None:
            return bool(v.isfinite().all())
        if len(self.states) > 2:
            return bool(torch.isin(v, torch.tensor(self.states).to(v)).all())
        first, last = self.states
        return bool(((v == first) | (v == last)).all())  # in an eighth of the time

    def states_of(self, rows: Tensor, stream: Stream) -> Tensor:
        """Themselves, or what `drawn` makes of them."""
        return rows if self.are_states(rows) or (found := self.drawn(rows, stream)) is None else found

    def drawn(self, rows: Tensor, stream: Stream) -> Tensor | None:
        """States drawn for rows of means."""

    @property
    def identity(self) -> Any:
        """Nothing."""
        return None
