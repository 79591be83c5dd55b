"""Units that take any real value, with noise of variance 1."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from skrbm.machines.units import ColumnUnit, Points
from skrbm.support.randomness import Uniform

_STEP, _TAIL = 0.8, 7.0  # of the quadrature: the trapezoidal rule is off by exp(-2 π² / step²) = 4e-14 here
_MIDDLE = 2.0**-24  # uniform numbers have 24 bits: 2u - 1 plus half a step is never -1 or 1


class Gaussian(ColumnUnit):
    """Units with base measure N(s; 0, 1): given the input x they are normal with mean x and variance 1.

    Data of other variances is divided by a scale first, see `RBMParameters.log_scale`.
    """

    states: ClassVar[tuple[float, ...] | None] = None
    activation: ClassVar[str] = "none"
    scaled: slice | None = slice(None)

    def cumulant(self, x: Tensor) -> Tensor:
        """x² / 2."""
        return x.square().mul_(0.5) if not x.requires_grad else 0.5 * x.square()

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """step (scale + step / 2) x²."""
        return x.square() * (step * (scale + 0.5 * step))

    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """Σ_i bias_i s_i - s_i² / 2 - log(2π) / 2."""
        return s @ bias - 0.5 * s.square().sum(1) - 0.5 * s.shape[1] * math.log(2.0 * math.pi)

    def mean_(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x

    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """The mean and normal noise, which is the quantile of the number: up to 5.4 standard deviations."""
        numbers = uniform.numbers() if isinstance(uniform, Uniform) else uniform
        noise = numbers.to(torch.promote_types(mean.dtype, torch.float32), copy=True).mul_(2.0).sub_(1.0).add_(_MIDDLE)
        return out.copy_(mean + noise.erfinv_().mul_(math.sqrt(2.0)).view(mean.shape))

    def statistics(self, s: Tensor) -> Tensor:
        """The state itself."""
        return s

    def bias_of(self, mean: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
        """The mean itself, shrunk as if `smoothing` times as many rows had been 1 and as many -1."""
        return mean / (1.0 + 2.0 * smoothing)

    def check_range(self, low: float, high: float) -> str | None:
        """Any value is a state."""
        return None

    def nodes(self, low: float, high: float, like: Tensor) -> Points:
        """Evenly spaced nodes that reach seven standard deviations beyond the means."""
        n = math.ceil((high - low + 2.0 * _TAIL) / _STEP) + 1
        s = low - _TAIL + _STEP * torch.arange(n, dtype=torch.float64)
        log_weight = -0.5 * s.square() + (math.log(_STEP) - 0.5 * math.log(2.0 * math.pi))
        return Points(s[:, None].to(like), log_weight.to(like))


GAUSSIAN = Gaussian()
