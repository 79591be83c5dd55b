"""Units that are one of several categories, each a block of columns of which one is 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from skrbm.machines.units import Points, Unit
from skrbm.support.randomness import Stream, Uniform
from skrbm.support.tensors import is_bits

_TINY = 1e-30  # log p of what is impossible


class Categorical(Unit):
    """Units that are one of K categories (Potts units), as K columns of zeros and a one.

    Given the inputs x of its columns a unit is category k with probability exp(x_k) / Σ_l exp(x_l). Adding the same to
    all inputs of a unit changes nothing: parameters have that freedom (a gauge), and nothing else depends on it.

    Parameters
    ----------
    sizes : sequence of int
        How many categories each unit has, two at least.
    """

    states: ClassVar[tuple[float, ...] | None] = None
    activation: ClassVar[str] = "none"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    sizes: tuple[int, ...]

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        if not self.sizes or min(self.sizes) < 2:
            raise ValueError(f"sizes={tuple(sizes)!r} must be numbers of categories, two or more for each unit.")

    @property
    def identity(self) -> Any:
        return self.sizes

    @property
    def n_columns(self) -> int:
        """Columns of the layer."""
        return sum(self.sizes)

    def _by_unit(self, x: Tensor, padding: float) -> Tensor:
        """The columns of each unit one above the other: (..., most categories, n_units), filled up with `padding`."""
        padded = torch.cat((x, x.new_full((*x.shape[:-1], 1), padding)), -1)
        places = _places(self.sizes, x.device)
        return padded.index_select(-1, places.flatten()).view(*x.shape[:-1], *places.shape)

    def _in_columns(self, by_unit: Tensor) -> Tensor:
        """The reverse."""
        return by_unit.flatten(-2).index_select(-1, _filled(self.sizes, by_unit.device))

    def cumulant(self, x: Tensor) -> Tensor:
        """log Σ_k exp(x_k) of each unit: (..., n_units)."""
        return self._by_unit(x, -math.inf).logsumexp(-2)

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """log Σ_k p_k exp(step x_k), where p are the probabilities at `scale`: log1p(Σ_k p_k (exp(step x_k) - 1))."""
        p = self._by_unit(x * scale, -math.inf).softmax(-2)
        return (p * self._by_unit(x * step, 0.0).expm1()).sum(-2).log1p()

    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """bias's, as ρ is 1."""
        return s @ bias

    def mean_(self, x: Tensor) -> Tensor:
        """The probabilities of the categories."""
        return x.copy_(self._in_columns(self._by_unit(x, -math.inf).softmax(-2)))

    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """The category in whose share of [0, 1) the number of the unit's first column lies."""
        numbers = uniform.numbers() if isinstance(uniform, Uniform) else uniform
        firsts, lasts = _ends(self.sizes, mean.device)
        u = numbers.view(mean.shape).index_select(-1, firsts).to(torch.promote_types(mean.dtype, torch.float32))
        upper = self._by_unit(mean.to(u.dtype), 0.0).cumsum(-2)
        is_below = u[..., None, :] * upper[..., -1:, :] >= upper  # of the sum: rounding keeps that from being 1
        out.zero_().view(mean.shape).scatter_(-1, torch.minimum(firsts + is_below.sum(-2), lasts), 1)
        return out

    def statistics(self, s: Tensor) -> Tensor:
        """The state itself."""
        return s

    def bias_of(self, mean: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
        """log p, less its mean in a unit, where p is the mean as if each category had `smoothing` as many rows more."""
        shares = self._by_unit(mean.clamp_min(0.0), 0.0)
        sizes = torch.tensor(self.sizes, device=mean.device)
        if isinstance(smoothing, Tensor):
            smoothing = self._by_unit(smoothing, 0.0).amax(-2)
        p = (shares + smoothing) / (shares.sum(-2, keepdim=True) + smoothing * sizes)
        return self.centered(self._in_columns(p.clamp_min(_TINY).log()))

    def centered(self, x: Tensor) -> Tensor:
        """Inputs, biases or weights in the zero-sum gauge: less the mean over the categories of each unit."""
        sizes = torch.tensor(self.sizes, device=x.device)
        mean = self._by_unit(x, 0.0).sum(-2) / sizes
        return x - mean.repeat_interleave(sizes, -1)

    def check_range(self, low: float, high: float) -> str | None:
        """Columns are zeros and ones, or probabilities."""
        if low >= 0.0 and high <= 1.0:
            return None
        return f"values from {low:g} to {high:g}, but columns of categories are zeros and ones."

    def are_states(self, v: Tensor) -> bool:
        """Whether each unit has a single one among zeros."""
        return is_bits(v) and bool((self._by_unit(v, 0.0).sum(-2) == 1).all())

    def states_of(self, rows: Tensor, stream: Stream) -> Tensor:
        """Themselves."""
        return rows

    def unit_at(self, columns: slice) -> Unit:
        """That of one such unit."""
        return Categorical([columns.stop - columns.start])

    def columns(self, n_columns: int) -> Iterator[slice]:
        first = 0
        for size in self.sizes:
            yield slice(first, first + size)
            first += size

    def points(self, columns: slice, low: float, high: float, like: Tensor) -> Points:
        """Each of the categories."""
        n = columns.stop - columns.start
        return Points(torch.eye(n, dtype=like.dtype, device=like.device), like.new_zeros(n))

    def n_bits(self, n_columns: int) -> float:
        return float(sum(math.log2(size) for size in self.sizes))


@cache
def _ends(sizes: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """The first column of each unit, and the last."""
    ends = torch.tensor(sizes, device=device).cumsum(0)
    return ends - torch.tensor(sizes, device=device), ends - 1


@cache
def _places(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Which column the k-th category of each unit has, row by row; the one behind the last where it has none."""
    firsts, lasts = _ends(sizes, device)
    columns = firsts + torch.arange(max(sizes), device=device)[:, None]
    return torch.where(columns <= lasts, columns, sum(sizes))


@cache
def _filled(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Where in `_places`, row by row, each column is."""
    return torch.tensor([k * len(sizes) + i for i, size in enumerate(sizes) for k in range(size)], device=device)
