"""Units that are on or off."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skrbm.machines.units import ColumnUnit
from skrbm.support.randomness import Stream, Uniform, bernoulli_
from skrbm.support.ranges import Range

ROUNDING = 1e-6  # by which what is meant to lie in [0, 1] may miss it: float32 arithmetic on the user's side
_DARKEST = 128  # whole numbers that go beyond are pixels of a byte; digits, ratings and counts seldom do


class Bernoulli(ColumnUnit):
    """Units with states 0 and 1."""

    states: ClassVar[tuple[float, ...] | None] = (0.0, 1.0)
    activation: ClassVar[str] = "sigmoid"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def cumulant(self, x: Tensor) -> Tensor:
        """log(1 + exp(x)), without overflow and exact in the tails."""
        return softplus(x, threshold=40.0)  # torch's default of 20 is off by 2e-9 in float64

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """log(1 + σ(scale x) (exp(step x) - 1)): the same difference without its cancellation; |step x| < 1."""
        return (x * scale).sigmoid_().mul_((x * step).expm1_()).log1p_()

    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """bias's, as ρ is 1."""
        return s @ bias

    def mean_(self, x: Tensor) -> Tensor:
        """P(s = 1 | x) = 1 / (1 + exp(-x))."""
        return x.sigmoid_()

    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """1 where the number lies below the mean, else 0."""
        return bernoulli_(out, mean, uniform)

    def statistics(self, s: Tensor) -> Tensor:
        """The state itself."""
        return s

    def bias_of(self, mean: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
        """log(p / (1-p)) with p the mean shrunk towards a half: (mean + smoothing) / (1 + 2 smoothing).

        With `smoothing` = 1/n this is the estimate from n rows and one more of either kind (Laplace). Means outside
        [0, 1] act as the nearest bound.
        """
        return torch.logit((mean.clamp(0.0, 1.0) + smoothing) / (1.0 + 2.0 * smoothing))

    def drawn(self, rows: Tensor, stream: Stream) -> Tensor:
        """Values between 0 and 1 are probabilities; beyond, they act as the nearest bound."""
        return stream.bernoulli(rows.clamp(0.0, 1.0))

    def check_range(self, low: float, high: float) -> str | None:
        """Probabilities lie in [0, 1]."""
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            return None
        return f"values from {low:g} to {high:g}, but the machine reads values in [0, 1] as probabilities."

    def remedy(self, values: Range) -> str:
        """By what the numbers look like."""
        low, high = values.low, values.high
        if values.is_signs:
            return "Values of -1 and 1 become bits by (X + 1) / 2."
        if values.is_whole and low >= 0 and _DARKEST < high <= 255:
            return "These look like pixels of 0 to 255: pass X / 255."
        if values.is_whole and low >= 1:
            return "One-hot encode codes of categories (OneHotEncoder); scale amounts (MinMaxScaler)."
        if values.is_bytes:
            return f"If these are pixels of 0 to 255, pass X / 255; else divide by the maximum: pass X / {high:g}."
        if values.is_whole and low >= 0 and high <= _DARKEST:
            return f"Divide by the maximum: pass X / {high:g}. Or one-hot encode codes of categories (OneHotEncoder)."
        return "Scale it, with MinMaxScaler for one."


BERNOULLI = Bernoulli()
