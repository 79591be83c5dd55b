"""A running mean of the machines that training passes through: steadier than the last of them, and at any time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters

__all__ = ["Average", "Observer", "as_tuple", "copy_", "move_towards_"]


def move_towards_(mean: RBMParameters, params: RBMParameters, rate: float) -> None:
    """mean ← mean + rate (params - mean)."""
    for old, new in ((mean.W, params.W), (mean.b, params.b), (mean.c, params.c)):
        old.lerp_(new, rate)


def as_tuple(params: RBMParameters) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of W, b and c on the CPU."""
    return tuple(tensor.detach().cpu().clone() for tensor in (params.W, params.b, params.c))  # type: ignore[return-value]


def copy_(params: RBMParameters, values: tuple[Tensor, Tensor, Tensor]) -> None:
    """Set W, b and c in place."""
    for tensor, value in zip((params.W, params.b, params.c), values, strict=True):
        tensor.copy_(value)


class Observer:
    """Looks at the machine at every so many updates of training."""

    every: int
    _n_updates = 0

    @torch.no_grad()
    def observe_(self, params: RBMParameters) -> None:
        """Called after each update."""
        self._n_updates += 1
        if self._n_updates % self.every == 0:
            self.look_(params)

    def look_(self, params: RBMParameters) -> None:
        """Take note of the machine."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""
        raise NotImplementedError

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        raise NotImplementedError


class Average(Observer):
    """Mean of the parameters over about the last `share` of training so far, whenever it is asked for.

    Parameters
    ----------
    params : RBMParameters
        The machine before training; copied.
    share : float
        In (0, 1].

    Attributes
    ----------
    params : RBMParameters
        The mean, and `params` before anything was observed.

    Notes
    -----
    Persistent chains let the weights swing around their mean, all the more at a high learning rate; in the mean over
    the last iterates the swings are gone (Polyak & Juditsky 1992). The t-th look counts in proportion to about
    t^(2/share - 2), by the recursion m ← m + (x - m) min(1, n / (t + n - 1)), n = 2 / share - 1: polynomial-decay
    averaging (Shamir & Zhang 2013), with the mean age of a uniform mean over the last `share`. Unlike that it need not
    know when training ends.
    """

    every = 10  # the end of an epoch is another occasion to look

    def __init__(self, params: RBMParameters, share: float) -> None:
        self.params = params.clone()
        self._n, self._n_looks = 2.0 / share - 1.0, 0

    @torch.no_grad()
    def look_(self, params: RBMParameters) -> None:
        """Take the machine into the mean."""
        self._n_looks += 1
        rate = min(1.0, self._n / (self._n_looks + self._n - 1.0))
        move_towards_(self.params, params, rate)

    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""
        return {"params": as_tuple(self.params), "n_updates": self._n_updates, "n_looks": self._n_looks}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        copy_(self.params, state["params"])
        self._n_updates, self._n_looks = state["n_updates"], state["n_looks"]
