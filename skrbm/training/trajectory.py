"""The trajectory of training: averaged checkpoints close enough to each other to be the rungs of a ladder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.sampling.kernels import GibbsState, gibbs_init, gibbs_step
from skrbm.support.randomness import Stream
from skrbm.training.averaging import Observer, as_tuple, copy_, move_towards_

__all__ = ["Trajectory"]

_MAX_INTERVAL = 200  # looks between two checks


class Trajectory(Observer):
    """Keeps machines on the way of training, for trajectory tempering.

    Parameters
    ----------
    first : RBMParameters
        The machine before the first to be kept: one without weights, or the last one kept in an earlier training.
    v : Tensor of shape (n_chains, n_features)
        Samples of it.
    stream : Stream
        Randomness.
    kept : sequence of RBMParameters
        Those that are kept already.
    acceptance : float
        A machine is kept where the probability of a swap with the last one falls to this.
    rate : float
        Of the moving average over the machines that `look_` is shown.

    Attributes
    ----------
    kept : list of RBMParameters
        In the order of training.

    Notes
    -----
    After Béreux, Decelle, Furtlehner & Seoane 2024, with two differences. What is kept is a moving average of the
    parameters: training at a high rate leaves machines whose persistent chains are far from equilibrium, and which
    their neighbours never swap with; their averages do. And the probability of a swap is estimated from chains of the
    averages' own, whatever training uses: a little too high where the averages mix slowly and the chains lag behind. A
    chain is compared with another one's past, as it is correlated with its own.
    """

    every = 4

    def __init__(
        self,
        first: RBMParameters,
        v: Tensor,
        stream: Stream,
        *,
        kept: list[RBMParameters] | None = None,
        acceptance: float = 0.25,
        rate: float = 0.02,
    ) -> None:
        self.kept = [] if kept is None else kept
        self._stream, self._least, self._rate = stream, acceptance, rate
        self._average, self._chains = first.clone(), gibbs_init(first, v, stream)
        self._last, self._last_v = first.clone(), v
        self._candidate: tuple[RBMParameters, Tensor] | None = None  # the latest that is near enough
        self._interval, self._wait = 1, 1

    @torch.no_grad()
    def settle_(self, params: RBMParameters) -> None:
        """Called at the end of training: let the average come close to `params`, and keep what it needs for that."""
        for _ in range(int(8 / self._rate)):
            self.look_(params)

    def look_(self, params: RBMParameters) -> None:
        """Move the average towards `params` and its chains by a step; keep it where it has gone far enough."""
        average = self._average
        move_towards_(average, params, self._rate)
        self._chains, info = gibbs_step(average, self._chains, self._stream)
        self._wait -= 1
        if self._wait == 0:
            self._check(info.v)

    def state(self) -> dict[str, Any]:
        """Everything that it carries on, on the CPU."""
        kept = [as_tuple(params) for params in self.kept]
        last = len(kept) - 1 if self.kept and self._last is self.kept[-1] else None
        return {
            "kept": kept,
            "average": as_tuple(self._average),
            "h": self._chains.h.cpu().clone(),
            "last": as_tuple(self._last) if last is None else None,
            "last_v": self._last_v.cpu().clone(),
            "candidate": self._candidate and (as_tuple(self._candidate[0]), self._candidate[1].cpu().clone()),
            "position": (self._interval, self._wait, self._n_updates),
            "stream": self._stream.state(),
        }

    @torch.no_grad()
    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""

        def machine(values: tuple[Tensor, Tensor, Tensor]) -> RBMParameters:
            new = self._average.clone()
            copy_(new, values)
            return new

        device = self._last_v.device
        self.kept[:] = [machine(values) for values in state["kept"]]
        self._last = self.kept[-1] if state["last"] is None else machine(state["last"])
        self._last_v = state["last_v"].to(device)
        candidate = state["candidate"]
        self._candidate = candidate and (machine(candidate[0]), candidate[1].to(device))
        self._average = machine(state["average"])
        self._chains = GibbsState(state["h"].to(device))
        self._interval, self._wait, self._n_updates = state["position"]
        self._stream.set_state(state["stream"])

    def _check(self, v: Tensor) -> None:
        acceptance = self._acceptance(v)
        if acceptance < self._least:
            self._last, self._last_v = self._candidate or (self._average.clone(), v)
            self.kept.append(self._last)
            acceptance = self._acceptance(v)
        self._candidate = (self._average.clone(), v)
        if acceptance > 0.7:
            self._interval = min(2 * self._interval, _MAX_INTERVAL)
        elif acceptance < 0.5:
            self._interval = max(1, self._interval // 2)
        self._wait = self._interval

    def _acceptance(self, v: Tensor) -> float:
        """Mean probability of a swap between the average, at `v`, and the last machine kept."""
        past = self._last_v.roll(1, 0)
        log_r = free_energy(self._last, past) - free_energy(self._last, v)
        log_r += free_energy(self._average, v) - free_energy(self._average, past)
        return float(log_r.clamp(max=0.0).exp().mean())
