"""Gradient descent and schedules of its rate without an optimiser of torch, the first of which costs a second."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer

RateScheduleName = Literal["constant", "linear", "cosine", "exponential"]
_LAST_SHARE = 0.01  # of the first rate, that "exponential" falls to


class SGD:
    """What `torch.optim.SGD` does, to the last bit, and with a state of the same form.

    The first optimiser of torch that a process makes imports torch._dynamo and sympy, some 800 modules.

    Parameters
    ----------
    tensors : list of Tensor
        Updated in place, by what is in their `grad`.
    rate : float
        The learning rate; as in torch it is `param_groups[0]["lr"]`, which schedules move.
    momentum : float
        Share of the last step that is added to the next one.
    nesterov : bool
        Whether to look ahead by that.
    """

    def __init__(self, tensors: list[Tensor], rate: float, momentum: float = 0.0, nesterov: bool = False) -> None:
        self._tensors, self._momentum, self._nesterov = tensors, momentum, nesterov
        self._steps: dict[int, Tensor] = {}  # the last ones, by the position of their tensor
        self.param_groups: list[dict[str, Any]] = [{"lr": rate, "params": tensors}]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self._tensors:
            tensor.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move each tensor that has a gradient against it."""
        rate = self.param_groups[0]["lr"]
        for i, tensor in enumerate(self._tensors):
            if tensor.grad is not None:
                tensor.add_(self._direction(i, tensor.grad), alpha=-rate)

    def _direction(self, i: int, grad: Tensor) -> Tensor:
        if not self._momentum:
            return grad
        if i in self._steps:
            self._steps[i].mul_(self._momentum).add_(grad)
        else:
            self._steps[i] = grad.clone()
        return grad.add(self._steps[i], alpha=self._momentum) if self._nesterov else self._steps[i]

    def state_dict(self) -> dict[str, Any]:
        """Rate and momentum, in the form of `torch.optim.SGD`."""
        state = {i: {"momentum_buffer": step} for i, step in self._steps.items()}
        return {"state": state, "param_groups": [{"lr": self.param_groups[0]["lr"]}]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken, here or of `torch.optim.SGD`."""
        memory = {i: kept.get("momentum_buffer") for i, kept in state["state"].items()} if self._momentum else {}
        self._steps = {i: step.to(self._tensors[i], copy=True) for i, step in memory.items() if step is not None}
        self.param_groups[0]["lr"] = state["param_groups"][0]["lr"]


class NamedSchedule:
    """The rate of epoch i = 0 … n-1 is the first times 1 - i/n, (1 + cos(π i/n)) / 2, or 0.01^(i/n); then it stays.

    Parameters
    ----------
    optimizer : SGD or torch.optim.Optimizer
        Whose rate it moves.
    name : {"linear", "cosine", "exponential"}
        Which of these.
    n_epochs : int
        n.
    """

    def __init__(self, optimizer: SGD | Optimizer, name: RateScheduleName, n_epochs: int) -> None:
        if name not in get_args(RateScheduleName):
            raise ValueError(f"schedule={name!r} must be one of {get_args(RateScheduleName)}, or a callable.")
        self._optimizer, self._name, self._n_epochs = optimizer, name, n_epochs
        self._epoch = 0

    def step(self) -> None:
        """Set the rate of the next epoch; what else has moved it meanwhile stays in it."""
        self._epoch += 1
        if self._epoch <= self._n_epochs:
            for group in self._optimizer.param_groups:
                group["lr"] *= self._factor()

    def _factor(self) -> float:
        """From the last epoch to this one, by the formulas of torch.optim.lr_scheduler: the same bits."""
        n, epoch = self._n_epochs, self._epoch
        if self._name == "linear":
            return (1.0 - epoch / n) / (1.0 - (epoch - 1) / n)
        if self._name == "cosine":
            return (1 + math.cos(math.pi * epoch / n)) / (1 + math.cos(math.pi * (epoch - 1) / n))
        return _LAST_SHARE ** (1 / n) if self._name == "exponential" else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Its position."""
        return {"last_epoch": self._epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict()` was taken."""
        self._epoch = state["last_epoch"]
