"""Couplings within a layer: what they add to the inputs of its units, and which there are, where these are few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

_MOST_NEIGHBOURS = 1 / 16  # of the units of a layer, up to which sums over neighbours are quicker than products
_BLOCK = 1 << 24  # elements of a temporary


@dataclass(frozen=True, eq=False)
class Graph:
    """Which units of a layer are coupled, where each has few neighbours.

    Attributes
    ----------
    colors : tuple of Tensor
        The units, divided such that no two of a part are neighbours: given the others, those of a part are independent.
    neighbours : Tensor of shape (n_units, most_neighbours), int64
        Those of each unit, and the unit itself where it has fewer.
    """

    colors: tuple[Tensor, ...]
    neighbours: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> Self | None:
        """That of a symmetric mask (n_units, n_units) without a diagonal; None where units have many neighbours."""
        n, degrees = len(mask), mask.sum(1)
        most = int(degrees.max()) if n else 0
        if most > _MOST_NEIGHBOURS * n:
            return None
        neighbours = torch.arange(n, device=mask.device)[:, None].repeat(1, max(most, 1))
        unit, other = mask.nonzero(as_tuple=True)
        place = torch.arange(len(unit), device=mask.device) - (degrees.cumsum(0) - degrees)[unit]
        neighbours[unit, place] = other
        color = _colored(neighbours.tolist())
        parts = (torch.tensor(color) == c for c in range(max(color, default=-1) + 1))
        return cls(tuple(part.nonzero().flatten().to(mask.device) for part in parts), neighbours)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """With `function` of each of its tensors, such as what moves it to a device."""
        return type(self)(tuple(map(function, self.colors)), function(self.neighbours))


def _colored(neighbours: list[list[int]]) -> list[int]:
    """The colour of each unit, in their order the least that none of its neighbours has."""
    colors: list[int] = []
    for unit, others in enumerate(neighbours):
        taken = {colors[other] for other in others if other < unit}
        colors.append(next(color for color in range(len(taken) + 1) if color not in taken))
    return colors


def fields(R: Tensor, graph: Graph | None, v: Tensor, units: Tensor | None = None) -> Tensor:
    """Σ_j R_ij v_j of each unit, or of some: (n, n_units) for v (n, n_units)."""
    if graph is None:
        return v @ (R if units is None else R[:, units])
    units = torch.arange(len(R), device=R.device) if units is None else units
    others = graph.neighbours[units]  # (n_units, most_neighbours)
    weight, found = R[units[:, None], others], v.new_empty((len(v), len(units)))
    size = max(1, _BLOCK // max(1, others.numel()))
    for first in range(0, len(v), size):
        rows = slice(first, first + size)
        found[rows] = torch.einsum("nij,ij->ni", v[rows][:, others], weight)
    return found


def log_weight_of_couplings(R: Tensor | None, graph: Graph | None, v: Tensor) -> Tensor:
    """½ v'Rv of rows, in nats, shape (n,); 0 where nothing is coupled."""
    return v.new_zeros(len(v)) if R is None else 0.5 * (fields(R, graph, v) * v).sum(1)
