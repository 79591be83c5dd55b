"""Layers of units of several kinds, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from skrbm.machines.units import Points, Unit
from skrbm.support.randomness import Stream, Uniform


class Blocks(Unit):
    """Units of several kinds: blocks of columns, each of one kind.

    Parameters
    ----------
    blocks : sequence of (Unit, int)
        The kind of each block, and how many columns it has. One block at most has a scale that is learned.
    """

    states: ClassVar[tuple[float, ...] | None] = None
    activation: ClassVar[str] = "none"
    blocks: tuple[tuple[Unit, int], ...]
    scaled: slice | None

    def __init__(self, blocks: Sequence[tuple[Unit, int]]) -> None:
        self.blocks = tuple((unit, int(n)) for unit, n in blocks)
        if not self.blocks or min(n for _, n in self.blocks) < 1:
            raise ValueError(f"blocks={tuple(blocks)!r} must be kinds of units with their columns, one at least each.")
        scaled = [
            slice(first + (unit.scaled.start or 0), first + (n if unit.scaled.stop is None else unit.scaled.stop))
            for unit, first, n in self._placed()
            if unit.scaled is not None
        ]
        if len(scaled) > 1:
            raise ValueError("Only one block may have a scale: put all Gaussian columns into one.")
        self.scaled = scaled[0] if scaled else None

    def _placed(self) -> Iterator[tuple[Unit, int, int]]:
        """Each kind with its first column and how many it has."""
        first = 0
        for unit, n in self.blocks:
            yield unit, first, n
            first += n

    def _parts(self, x: Tensor) -> Iterator[tuple[Unit, Tensor]]:
        """The columns of each kind."""
        for unit, first, n in self._placed():
            yield unit, x[..., first : first + n]

    @property
    def identity(self) -> Any:
        return self.blocks

    def cumulant(self, x: Tensor) -> Tensor:
        """Those of all units, one behind the other."""
        return torch.cat([unit.cumulant(part) for unit, part in self._parts(x)], -1)

    def cumulant_step(self, x: Tensor, scale: float, step: float) -> Tensor:
        """Those of all units."""
        return torch.cat([unit.cumulant_step(part, scale, step) for unit, part in self._parts(x)], -1)

    def log_weight(self, s: Tensor, bias: Tensor) -> Tensor:
        """The sum over the blocks."""
        pairs = zip(self._parts(s), self._parts(bias), strict=True)
        return torch.stack([unit.log_weight(of_s, of_bias) for (unit, of_s), (_, of_bias) in pairs]).sum(0)

    def mean_(self, x: Tensor) -> Tensor:
        """Of each block."""
        for unit, part in self._parts(x):
            part.copy_(unit.mean(part.contiguous()))
        return x

    def draw_(self, out: Tensor, mean: Tensor, uniform: Uniform | Tensor) -> Tensor:
        """Of each block, by the numbers of its columns."""
        numbers = (uniform.numbers() if isinstance(uniform, Uniform) else uniform).view(mean.shape)
        drawn = out.view(mean.shape)
        for (unit, part), (_, some), (_, into) in zip(
            self._parts(mean), self._parts(numbers), self._parts(drawn), strict=True
        ):
            states = torch.empty(part.shape, dtype=out.dtype, device=out.device)
            into.copy_(unit.draw_(states, part.contiguous(), some.reshape(-1)))
        return out

    def statistics(self, s: Tensor) -> Tensor:
        """Of each block."""
        return torch.cat([unit.statistics(part) for unit, part in self._parts(s)], -1)

    def bias_of(self, mean: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
        """Of each block."""
        found = []
        for unit, first, n in self._placed():
            more = smoothing[first : first + n] if isinstance(smoothing, Tensor) else smoothing
            found.append(unit.bias_of(mean[..., first : first + n], more))
        return torch.cat(found, -1)

    def are_states(self, v: Tensor) -> bool:
        """Whether those of each block are."""
        return all(unit.are_states(part) for unit, part in self._parts(v))

    def states_of(self, rows: Tensor, stream: Stream) -> Tensor:
        """Of each block."""
        return torch.cat([unit.states_of(part, stream) for unit, part in self._parts(rows)], -1)

    def check_range(self, low: float, high: float) -> str | None:
        """Nothing is known of all columns together."""
        return None

    def columns(self, n_columns: int) -> Iterator[slice]:
        for unit, first, n in self._placed():
            for part in unit.columns(n):
                yield slice(first + part.start, first + part.stop)

    def unit_at(self, columns: slice) -> Unit:
        for unit, first, n in self._placed():
            if columns.start < first + n:
                return unit.unit_at(slice(columns.start - first, columns.stop - first))
        raise ValueError(f"There are no {columns}.")

    def points(self, columns: slice, low: float, high: float, like: Tensor) -> Points:
        return self.unit_at(columns).points(columns, low, high, like)

    def n_bits(self, n_columns: int) -> float:
        return math.fsum(unit.n_bits(n) for unit, n in self.blocks)
