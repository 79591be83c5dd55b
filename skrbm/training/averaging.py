"""A running mean of the machines that training passes through: steadier than the last of them, and at any time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from skrbm.machines.restricted import RBMParameters
from skrbm.support.files import to_plain


class Observer(ABC):
    """Looks at the machine once every so many updates of training."""

    every: int
    _n_updates = 0

    @torch.no_grad()
    def observe_(self, params: RBMParameters) -> None:
        """Called after each update."""
        self._n_updates += 1
        if self._n_updates % self.every == 0:
            self.look_(params)

    @abstractmethod
    def look_(self, params: RBMParameters) -> None:
        """Take note of the machine."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""


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
        self.params.lerp_(params, rate)

    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""
        return {"params": to_plain(self.params.tensors), "n_updates": self._n_updates, "n_looks": self._n_looks}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self.params.copy_(self.params.with_tensors(state["params"]))
        self._n_updates, self._n_looks = state["n_updates"], state["n_looks"]
