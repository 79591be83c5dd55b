"""How far an update moves the machine, and a rate that the chains can follow."""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, free_energy

_EARLY, _EARLY_EVERY = 200, 2  # of the first updates every second is looked at, then
_EVERY = 16  # one in so many
LOOKED_AT = 25  # chains: two products with so few rows each time, some hundredths of a fit
# Of the way to the rate that a look asks for. A look is of one update, and as noisy as that: many with a low gain
# follow a burst of the chains in time, few with a high one don't, and leave the modes in wrong proportions. What the
# first updates do, which sort the units out, is over soon: who slows down for good there ends at a worse machine.
_EARLY_GAIN, _GAIN = 0.2, 0.1
_GROWTH = 0.005  # at most, of the rate from one late look to the next: some twentyfold in 10,000 updates


@torch.no_grad()
def step_divergence(before: RBMParameters, after: RBMParameters, v: Tensor) -> Tensor:
    """About the Kullback-Leibler divergence between a machine and the one that an update has made of it, in nats.

    Parameters
    ----------
    before, after : RBMParameters
        The two machines.
    v : Tensor of shape (n, n_features)
        Samples of `before`.

    Returns
    -------
    Tensor of shape (), float64
        ½ Var(F_after(v) - F_before(v)), the second order of log⟨e^-ΔF⟩ + ⟨ΔF⟩. It needs no log Z.
    """
    return 0.5 * (free_energy(after, v) - free_energy(before, v)).double().var(correction=0)


class Pace:
    """Holds the learning rate at what persistent chains can follow.

    The chains lag behind the machine by what it moves while they mix. So the divergence of a step (see
    `step_divergence`) is held near `limit` times the square of what the schedule leaves of the rate: it falls with the
    square of the rate. Where it is more, the rate goes down at once; where it is less, it grows slowly.

    Parameters
    ----------
    limit : float
        Nats an update, at the schedule's full rate.
    most : float
        What the rate may grow to, as a multiple of the first; 1 or more.
    is_free : bool
        Whether it moves the rate, or only looks.

    Attributes
    ----------
    factor : float
        What the rate has been multiplied by so far.
    """

    limit: float
    is_free: bool
    factor: float

    def __init__(self, limit: float, most: float, is_free: bool) -> None:
        self.limit, self.is_free, self.factor = limit, is_free, 1.0
        self._most = most
        self._seen: list[float] = []  # divergences of this epoch

    def is_due(self, n_updates: int) -> bool:
        """Whether to look at the update after so many."""
        return n_updates % (_EARLY_EVERY if n_updates < _EARLY else _EVERY) == 0

    def until_due(self, n_updates: int) -> int:
        """How many updates after so many there are to the next look, 1 or more."""
        every = _EARLY_EVERY if n_updates < _EARLY else _EVERY
        return every - n_updates % every

    def until_look(self, n_updates: int) -> int:
        """How many updates after so many there are to the end of the next one that is looked at, 1 or more."""
        return 1 if self.is_due(n_updates) else 1 + self.until_due(n_updates)

    def look(self, divergence: float, share: float, n_updates: int) -> float:
        """What to multiply the rate by, after an update of this divergence at `share` of the schedule's full rate."""
        self._seen.append(divergence)
        if not self.is_free or share <= 0.0:
            return 1.0
        if not math.isfinite(divergence):
            change = 0.5
        else:
            wanted = 0.5 * math.log(max(self.limit * share**2, 1e-30) / max(divergence, 1e-30))
            gain, growth = (_EARLY_GAIN, 0.0) if n_updates < _EARLY else (_GAIN, _GROWTH)
            change = math.exp(min(max(gain * wanted, -1.0), growth))
        return self.scale(change)

    def scale(self, change: float) -> float:
        """Multiply the factor by so much, as far as it may go; what it is multiplied by."""
        change = min(change, max(self._most / self.factor, 1.0))
        self.factor *= change
        return change

    def take(self) -> float:
        """Median of the divergences since the last call; NaN if there were none."""
        seen, self._seen = self._seen, []
        return statistics.median(seen) if seen else math.nan

    def state(self) -> dict[str, Any]:
        """Everything that it carries on, between two epochs."""
        return {"factor": self.factor}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self.factor, self._seen = state["factor"], []
