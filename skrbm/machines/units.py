"""What a kind of unit is: the cumulant of its input, the mean and the sample of its state given that input.

A unit with base measure ρ and input x has p(s | x) = ρ(s) exp(s x - cumulant(x)), and its mean is the derivative of
the cumulant. The layers of an RBM know no more of their units than that.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn.functional import softplus

from skrbm.support.randomness import Stream

__all__ = ["BERNOULLI", "Bernoulli", "Unit"]


class Unit(Protocol):
    """A kind of unit; `x` is the input (for Bernoulli units the logit), of any shape."""

    def cumulant(self, x: Tensor) -> Tensor:
        """log Σ_s ρ(s) exp(s x), in nats, elementwise."""

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """cumulant((scale + step) x) - cumulant(scale x), exact for small steps, elementwise; |step x| < 1."""

    def mean(self, x: Tensor) -> Tensor:
        """Mean state given the input, elementwise."""

    def mean_and_sample(self, x: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """Mean state and a state drawn, given the input, elementwise."""


class Bernoulli:
    """Units with states 0 and 1."""

    def cumulant(self, x: Tensor) -> Tensor:
        """log(1 + exp(x)), without overflow and exact in the tails."""
        return softplus(x, threshold=40.0)  # torch's default of 20 is off by 2e-9 in float64

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """log(1 + σ(scale x) (exp(step x) - 1)): the same difference without its cancellation; |step x| < 1."""
        return (x * scale).sigmoid_().mul_((x * step).expm1_()).log1p_()

    def mean(self, x: Tensor) -> Tensor:
        """P(s = 1 | x)."""
        return x.sigmoid()

    def mean_and_sample(self, x: Tensor, stream: Stream) -> tuple[Tensor, Tensor]:
        """P(s = 1 | x), and 1 drawn with that probability, else 0."""
        mean = x.sigmoid()
        return mean, stream.bernoulli_logits(x, mean)

    def __repr__(self) -> str:
        return "Bernoulli()"


BERNOULLI = Bernoulli()
