"""What looks at the machine on the way of training: a running mean, and machines kept as the rungs of a ladder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skrbm.backends.compiled import Follow
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.sampling.kernels import GIBBS, GibbsState, gibbs_init, gibbs_step, steps
from skrbm.support.files import to_plain
from skrbm.support.randomness import Stream
from skrbm.support.tensors import to_tensor

_CHAINS = 100  # that tell how far apart two machines are
_MAX_INTERVAL = 200  # looks between two checks


class Observer(ABC):
    """Looks at the machine once every so many updates of training."""

    every: int
    _n_updates = 0

    @torch.no_grad()
    def observe_(self, params: RBMParameters, n_updates: int = 1) -> None:
        """Called after each update; or after several, `until_look` at most."""
        self._n_updates += n_updates
        if self._n_updates % self.every == 0:
            self.look_(params)

    @property
    def until_look(self) -> int:
        """How many updates there are to the next look."""
        return self.every - self._n_updates % self.every

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

    params: RBMParameters
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

    def follow(self) -> Follow:
        """The mean for a compiled loop that looks itself, and then says so by `has_followed_`."""
        tensors = self.params.tensors
        return Follow(tensors["W"], tensors["b"], tensors["c"], self.every, self.until_look, self._n_looks, self._n)

    def has_followed_(self, n_updates: int) -> None:
        """Take note of what a loop has done in so many updates."""
        before, self._n_updates = self._n_updates, self._n_updates + n_updates
        self._n_looks += self._n_updates // self.every - before // self.every

    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""
        return {"params": to_plain(self.params.tensors), "n_updates": self._n_updates, "n_looks": self._n_looks}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self.params.copy_(self.params.with_tensors(state["params"]))
        self._n_updates, self._n_looks = state["n_updates"], state["n_looks"]


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

    kept: list[RBMParameters]
    every = 4

    @classmethod
    def after(cls, kept: list[RBMParameters], params: RBMParameters, base_b: Tensor, stream: Stream) -> Self:
        """What goes on from the machines `kept`, or from one of the shape of `params` without weights."""
        check_rungs(kept, params)
        first = params.without_weights(base_b)
        v = first.visible.sample(first.visible.mean(first.b.expand(_CHAINS, -1)), stream)
        if kept:
            first = kept[-1]
            for _, info in steps(GIBBS, first, gibbs_init(first, v, stream), 100, stream):
                v = info.v
        return cls(first, v, stream, kept=kept)

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
    def catch_up_(self, params: RBMParameters) -> None:
        """Called at the end of training: let the average come close to `params`, and keep what it needs for that."""
        for _ in range(int(8 / self._rate)):  # e^-8 of the distance remains
            self.look_(params)

    def look_(self, params: RBMParameters) -> None:
        """Move the average towards `params` and its chains by a step; keep it where it has gone far enough."""
        average = self._average
        average.lerp_(params, self._rate)
        self._chains, info = gibbs_step(average, self._chains, self._stream)
        self._wait -= 1
        if self._wait == 0:
            self._check(info.v)

    def state(self) -> dict[str, Any]:
        """Everything that it carries on, as plain data."""
        last = len(self.kept) - 1 if self.kept and self._last is self.kept[-1] else None
        return {
            "kept": [to_plain(params.tensors) for params in self.kept],
            "average": to_plain(self._average.tensors),
            "h": to_plain(self._chains.h),
            "last": to_plain(self._last.tensors) if last is None else None,
            "last_v": to_plain(self._last_v),
            "candidate": self._candidate and (to_plain(self._candidate[0].tensors), to_plain(self._candidate[1])),
            "position": (self._interval, self._wait, self._n_updates),
            "stream": self._stream.state(),
        }

    @torch.no_grad()
    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        machine, place = self._average.with_tensors, self._average.placement

        def tensor(values: np.ndarray) -> Tensor:
            return to_tensor(values, *place)

        self.kept[:] = [machine(tensors) for tensors in state["kept"]]
        self._last = self.kept[-1] if state["last"] is None else machine(state["last"])
        self._last_v = tensor(state["last_v"])
        candidate = state["candidate"]
        self._candidate = candidate and (machine(candidate[0]), tensor(candidate[1]))
        self._average = machine(state["average"])
        self._chains = GibbsState(tensor(state["h"]))
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


def check_rungs(rungs: Sequence[RBMParameters], params: RBMParameters) -> None:
    """Raise a ValueError unless all rungs have the shape of the machine."""
    for rung in rungs:
        if rung.W.shape != params.W.shape:
            raise ValueError(
                f"trajectory_ has machines of shape {tuple(rung.W.shape)}, but components_ has shape "
                f"{tuple(params.W.shape)}. Delete trajectory_, or fit again."
            )
