"""What a kind of unit is: all that the layers of a machine, training and sampling ask of their units.

A unit with base measure ρ and input x has p(s | x) = ρ(s) exp(s x - cumulant(x)), and its mean is the derivative of
the cumulant. Nothing outside this folder and the backends asks which kind it is; a new kind is a file beside
`bernoulli.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from skrbm.support.randomness import Stream, Uniform, check_stream
from skrbm.support.ranges import Range


class Unit(ABC):
    """A kind of unit; `x` is the input (for Bernoulli units the logit), `s` a state, both of any shape.

    Attributes
    ----------
    states : tuple of float or None
        All states, for enumeration; None if there are too many.
    activation : str
        The name by which a backend that can do so fuses `mean_` into its product; "none" where there is none.
    """

    states: ClassVar[tuple[float, ...] | None]
    activation: ClassVar[str]

    @abstractmethod
    def cumulant(self, x: Tensor) -> Tensor:
        """log Σ_s ρ(s) exp(s x), in nats, elementwise."""

    @abstractmethod
    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """cumulant((scale + step) x) - cumulant(scale x), exact for small steps, elementwise; |step x| < 1."""

    @abstractmethod
    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """Σ_i log ρ(s_i) + bias_i s_i of rows, (n,): what a layer at given states adds to -F, in nats."""

    @abstractmethod
    def mean_(self, x: Tensor) -> Tensor:
        """Mean state given the input, elementwise; written over `x`."""

    @abstractmethod
    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """Write states drawn given their `mean` to `out`, by as many numbers `uniform` on [0, 1); return `out`."""

    @abstractmethod
    def statistics(self, s: Tensor) -> Tensor:
        """What the gradient takes the mean of: the derivative of log ρ(s) + s x by the unit's parameters."""

    @abstractmethod
    def bias_of(self, mean: Tensor, smoothing: float = 0.0) -> Tensor:
        """The input at which the mean is `mean`, shrunk as if `smoothing` times as many rows had shown each extreme."""

    @abstractmethod
    def check_range(self, low: float, high: float) -> str | None:
        """What is wrong with data of values from `low` to `high`, as the object of "X has …"; None if nothing is."""

    def remedy(self, values: Range) -> str | None:  # noqa: B027
        """How to bring data of that range, in which something is wrong, into the right one; None if nobody knows."""

    def mean(self, x: Tensor) -> Tensor:
        """Mean state given the input, elementwise."""
        return self.mean_(x.clone())

    def sample(self, mean: Tensor, stream: Stream) -> Tensor:
        """States drawn given their mean, in its shape and type."""
        check_stream(stream)
        return self.draw_(mean.new_empty(mean.shape), mean, stream.numbers(mean.numel(), mean.device))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
