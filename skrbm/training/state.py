"""Everything that training carries on from one update to the next, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import backend_for
from skrbm.backends.protocol import Backend, Damping, RowBuffer
from skrbm.distributed import Group
from skrbm.machines.restricted import RBMParameters, mean_h_given_v
from skrbm.rows.source import Batch
from skrbm.support.files import from_plain, to_plain
from skrbm.support.randomness import Stream
from skrbm.support.tensors import aligned_empty, read_later
from skrbm.training.descent import SGD, NamedSchedule
from skrbm.training.gradients import Centering
from skrbm.training.observers import Average
from skrbm.training.pace import LOOKED_AT, Pace, step_divergence
from skrbm.training.settings import TrainSettings, gibbs_steps, rate_scheduler


class SeveralUpdates(Protocol):
    """Makes several updates at a time."""

    @property
    def most_together(self) -> int:
        """How many at most: a power of two."""

    @property
    def looks_itself(self) -> bool:
        """Whether it looks at the last update of a call, and lets the running mean follow."""

    @property
    def takes_kept(self) -> bool:
        """Whether it takes rows as they are kept, see `Batch`."""

    def begin_(self) -> None:
        """Before an epoch: the machine may be another than after the last call."""

    def end_(self) -> None:
        """After an epoch."""

    def make_(self, batch: Batch, n: int, n_to_come: int) -> bool:
        """Make `n` updates on as many rows each, of `n_to_come` that are to follow; whether it could."""


class Streams(NamedTuple):
    """The randomness of training, a stream for each use."""

    start: Stream
    shuffle: Stream
    pixels: Stream
    chains: Stream
    gaps: Stream

    @classmethod
    def from_seed(cls, seed: Any, own: Any = None) -> Streams:
        """Streams that depend on `seed` (int, sequence of int or None) and are independent of each other.

        All but the first depend on the seed `own` instead, if it is given: that of one of several processes.
        """
        first, *others = cls._fields
        return cls(Stream(seed, first), *(Stream(seed if own is None else own, use) for use in others))


@dataclass
class TrainState:
    """Everything that training carries on from one update to the next.

    Attributes
    ----------
    settings : TrainSettings
        What does not change.
    params : RBMParameters
        The machine.
    trained : tuple of Tensor
        What the optimiser moves: W itself, the biases b̃ and c̃ in centred coordinates, and R, where there are couplings.
    centering : Centering
        The offsets.
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states of the persistent chains (fantasy particles); for contrastive divergence, those that its last
        reconstructions were drawn from.
    optimizer : SGD or torch.optim.Optimizer
        Acts on `trained`.
    scheduler : NamedSchedule, torch.optim.lr_scheduler.LRScheduler or None
        Moves the learning rate after each epoch; None keeps it.
    streams : Streams
        Randomness.
    backend : Backend
        How to multiply with the weights.
    buffer : RowBuffer
        Memory for the rows of an update.
    k : int
        Gibbs steps of an update.
    pace : Pace
        Looks after the learning rate.
    damping : Damping or None
        What the gradient is damped by; only where the rate is left to the rows.
    average : Average or None
        Mean of the parameters on the way; None without `settings.averaging`.
    n_updates, n_epochs : int
        Position.
    several : SeveralUpdates or None
        Makes the updates, on a GPU or by compiled loops, from the first epoch on.
    unseen : Tensor of shape (n_features,) or None
        Columns whose cells are all missing, of which nothing can be learned.
    v : Tensor of shape (n_chains, n_features) or None
        Visible states of the chains, which these go on from where they are coupled; None where they aren't.
    """

    settings: TrainSettings
    params: RBMParameters
    trained: tuple[Tensor, ...]
    centering: Centering
    h: Tensor
    optimizer: SGD | Optimizer
    scheduler: NamedSchedule | LRScheduler | None
    streams: Streams
    backend: Backend
    buffer: RowBuffer
    k: int
    pace: Pace
    damping: Damping | None = None
    average: Average | None = None
    n_updates: int = 0
    n_epochs: int = 0
    several: SeveralUpdates | None = None
    unseen: Tensor | None = None
    v: Tensor | None = None
    _before: RBMParameters | None = None
    _look: tuple[Callable[[], float], float, int] | None = None  # at the last update looked at, not heard of yet

    @property
    def model(self) -> RBMParameters:
        """What has been learned so far: the mean on the way if there is one, else the parameters."""
        return self.params if self.average is None else self.average.params

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def first_rate(self) -> float:
        """What the schedule started from, or would have to, had the rate been then what it is by now."""
        return self.settings.rate * self.pace.factor

    def scale_rate_(self, factor: float) -> None:
        """Multiply the rates of this and all later epochs."""
        if factor == 1.0:
            return
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
        if isinstance(self.scheduler, LRScheduler):
            self.scheduler.base_lrs = [rate * factor for rate in self.scheduler.base_lrs]

    def snapshot(self) -> RBMParameters | None:
        """The machine before an update that will be looked at, in memory that is used again; None before others."""
        if not self.pace.is_due(self.n_updates):
            return None
        if self._before is None:
            self._before = self.params.clone()
        self._before.copy_(self.params)
        return self._before

    @torch.no_grad()
    def keep_pace_(self, before: RBMParameters, n_data: int, group: Group) -> None:
        """Look at how far the last update, of so many rows, has moved the machine; the rate may change."""
        chains = self.buffer.phases(n_data, n_data if self.settings.algorithm == "cd" else len(self.h)).chains
        divergence = group.mean(step_divergence(before, self.params, chains[:LOOKED_AT].to(self.params.W.dtype)))
        self.hear_of_look_()
        self._look = read_later(divergence), self.learning_rate / self.first_rate, self.n_updates
        if not divergence.is_cuda:
            self.hear_of_look_()

    def take_look_(self, divergence: float, n_updates: int) -> None:
        """Let the rate follow a look at the last of so many updates."""
        self.scale_rate_(self.pace.look(divergence, self.learning_rate / self.first_rate, n_updates))

    def hear_of_look_(self) -> None:
        """Let the rate follow the last look, if it hasn't yet: a GPU is asked at the next one, and so never waited for.

        Without that a GPU would run dry at every look.
        """
        if self._look is not None:
            (read, share, n_updates), self._look = self._look, None
            self.scale_rate_(self.pace.look(read(), share, n_updates))

    def slow_down_(self, factor: float) -> None:
        """Go on at a lower rate."""
        self.scale_rate_(self.pace.scale(factor))

    @property
    def is_plain_descent(self) -> bool:
        """Whether the next update can be made in one pass over the weights."""
        return self.settings.is_plain_descent(self.learning_rate)

    @property
    def is_narrow(self) -> bool:
        """Whether states, and so the products, have fewer bits than the weights."""
        return self.backend.state_dtype != self.params.W.dtype

    def use_(self, precision: str) -> None:
        """Multiply by the backend of that precision from now on."""
        self.backend = backend_for(precision, self.params)
        self.buffer = RowBuffer(self.params.n_features, self.backend.state_dtype, self.params.W.device)
        self.h = _aligned(self.h, self.backend.state_dtype)

    @torch.no_grad()
    def forget_unseen_(self) -> None:
        """Leave columns that are missing everywhere as they began: chains alone would let them drift."""
        if self.unseen is not None:
            for params in {id(params): params for params in (self.params, self.model)}.values():
                params.W[:, self.unseen] = 0.0
                params.b[self.unseen] = 0.0
                if params.R is not None:
                    params.R[self.unseen] = 0.0
                    params.R[:, self.unseen] = 0.0

    @torch.no_grad()
    def recompute_derived_(self) -> None:
        """Make anew, between two epochs, whatever follows from the rest.

        What rounding has gathered in it is gone then, so that `state()` is all that the next epoch depends on.
        """
        for tensor, exact in zip(self.trained, self.centering.trained(self.params), strict=True):
            if tensor is not exact:
                tensor.copy_(exact)
        self.centering.forget_()
        self.backend.refresh_()
        self.optimizer.zero_grad()  # the last update's, where it had any
        if self.settings.is_plain_descent(0.0):
            self.optimizer.step()  # without gradients: lets the schedule know that it may move

    # -- state ---------------------------------------------------------------------------------------------------------

    def carried(self) -> dict[str, Any]:
        """All but the machine and its chains, as plain data: what another pass over other rows goes on with."""
        return {
            "centering": self.centering.state(),
            "optimizer": (type(self.optimizer).__name__, to_plain(self.optimizer.state_dict())),
            "streams": {use: stream.state() for use, stream in self.streams._asdict().items()},
            "n_updates": self.n_updates,
            "n_epochs": self.n_epochs,
            "is_compiled": self.settings.is_compiled,
            "pace": self.pace.state(),
            "damping": None if self.damping is None else [to_plain(values) for values in self.damping],
        }

    def carry_on_(self, carried: dict[str, Any]) -> None:
        """Set what `carried` returned. The learning rate stays that of `settings`, as its pace has changed it.

        The memory of another kind of optimiser is left aside.
        """
        self.centering.set_state(carried["centering"])
        self.recompute_derived_()
        name, memory = carried["optimizer"]
        if name == type(self.optimizer).__name__:
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": from_plain(memory["state"]), "param_groups": groups})
        if self.pace.is_free and "pace" in carried:
            self.scale_rate_(carried["pace"]["factor"] / self.pace.factor)
            self.pace.set_state(carried["pace"])
        if self.pace.is_free and carried.get("damping") is not None:  # of the first rows
            self.damping = Damping(*(from_plain(values).to(self.params.W) for values in carried["damping"]))
        for use, stream in self.streams._asdict().items():
            if use in carried["streams"]:  # not of an older version that knew no gaps
                stream.set_state(carried["streams"][use])
        self.n_updates, self.n_epochs = carried["n_updates"], carried["n_epochs"]

    def state(self) -> dict[str, Any]:
        """All that the coming epochs depend on, as plain data. Take it between two epochs.

        Training that goes on from it gives the same parameters, bit by bit, on the same kind of processor.
        """
        return self.carried() | {
            "params": to_plain(self.params.tensors),
            "h": to_plain(self.h),
            "v": to_plain(self.v),
            "is_narrow": self.is_narrow,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state(),
        }

    @torch.no_grad()
    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken, in a state that was started by the same settings."""
        self.params.copy_(self.params.with_tensors(state["params"]))
        if self.is_narrow and not state["is_narrow"]:  # the weights had become too large for fewer bits
            self.use_("float32")
        self.h = _aligned(from_plain(state["h"]).to(self.h), self.h.dtype)
        if self.v is not None:
            self.v = from_plain(state["v"]).to(self.v)
        self._look = None
        self.carry_on_(state)
        self.optimizer.load_state_dict(from_plain(state["optimizer"][1]))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.set_state(state["average"])


@torch.no_grad()
def start_state(
    params: RBMParameters,
    mean_v: Tensor,
    settings: TrainSettings,
    streams: Streams,
    *,
    h: Tensor | None = None,
    v: Tensor | None = None,
    mean_h: Tensor | None = None,
) -> TrainState:
    """A state before its first update.

    Parameters
    ----------
    params : RBMParameters
        Where to start from; copied.
    mean_v : Tensor of shape (n_features,)
        Mean of the training rows, the first visible offset.
    settings : TrainSettings
        How to train; without any "auto" left, see `TrainSettings.resolved`.
    streams : Streams
        Randomness.
    h : Tensor of shape (n_chains, n_hidden), optional
        Hidden states of persistent chains to go on with; by default `settings.n_chains` random ones.
    v : Tensor of shape (n_chains, n_features), optional
        Their visible states, which matter where these are coupled.
    mean_h : Tensor of shape (n_hidden,), optional
        Mean of the hidden units, the first hidden offset; by default that at `mean_v`.
    """
    params = params.clone()
    mean_h = mean_h_given_v(params, mean_v[None])[0] if mean_h is None else mean_h
    centering = Centering.of(settings.centered, mean_v, mean_h, settings.offset_rate)
    trained = centering.trained(params)
    if h is None:
        h = params.hidden.sample(mean_h.expand(settings.n_chains, -1), streams.chains)
    if params.R is not None and v is None:
        v = params.visible.sample(mean_v.expand(settings.n_chains, -1), streams.chains)
    backend = backend_for(settings.precision, params)
    optimizer = _make_optimizer(list(trained), settings)
    is_damped = settings.spectrum is not None and settings.optimizer != "adam"  # which has a rate for each weight
    damping = settings.spectrum.damping(params.W) if settings.spectrum is not None and is_damped else None
    return TrainState(
        settings,
        params,
        trained,
        centering,
        _aligned(h, backend.state_dtype),
        optimizer,
        rate_scheduler(optimizer, settings.learning_rate_schedule, settings.n_epochs),
        streams,
        backend,
        RowBuffer(params.n_features, backend.state_dtype, params.W.device),
        k=gibbs_steps(settings.k, 0, settings.n_epochs),
        pace=settings.pace(),
        damping=damping,
        average=Average(params, settings.averaging) if settings.averaging else None,
        v=None if params.R is None else v,
    )


def _aligned(h: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of hidden states in memory that products are fastest with."""
    n_chains, n_hidden = h.shape
    return aligned_empty((n_chains, n_hidden), dtype, h.device).copy_(h)


def _make_optimizer(tensors: list[Tensor], settings: TrainSettings) -> SGD | Optimizer:
    rate = settings.rate
    if settings.optimizer == "sgd" or settings.optimizer == "nesterov":
        make = torch.optim.SGD if callable(settings.learning_rate_schedule) else SGD
        return make(tensors, rate, settings.momentum, nesterov=settings.optimizer == "nesterov")
    if settings.optimizer == "adam":
        return torch.optim.Adam(tensors, lr=rate, fused=True)
    optimizer = settings.optimizer(tensors, lr=rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, but returned {type(optimizer).__name__}.")
    return optimizer
