"""Training: a state that is data, one update of it, and epochs as a loop over updates.

Examples
--------
>>> import numpy as np
>>> from skrbm.batches import ArrayRows, mean_row
>>> from skrbm.model import initial_parameters
>>> source = ArrayRows(np.eye(20), batch_size=5)
>>> mean_v, streams = mean_row(source, "none"), Streams.from_seed(0)
>>> params = initial_parameters(mean_v, 8, streams.start, smoothing=1 / source.n_rows)
>>> state = start(params, mean_v, TrainSettings(), streams, n_epochs=2)
>>> [(record.epoch, record.learning_rate) for record in epochs(state, source, n_epochs=2)]
[(1, 0.1), (2, 0.05)]
>>> state.params.W.shape, state.n_updates
(torch.Size([8, 20]), 8)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.batches import Binarize, RowSource, binarize_rows
from skrbm.gradients import Offsets, Statistics, centered_biases, loss_gradient, plain_biases, statistics
from skrbm.model import RBMParameters, input_to_h, mean_h_given_v
from skrbm.randomness import Stream
from skrbm.samplers import GibbsState, gibbs_step
from skrbm.trajectory import Trajectory

__all__ = [
    "EpochRecord",
    "OptimizerFactory",
    "Streams",
    "TrainSettings",
    "TrainState",
    "carried_state",
    "epochs",
    "resume_",
    "start",
    "update_",
]


class OptimizerFactory(Protocol):
    """What makes an optimiser, such as a class of `torch.optim` or a `functools.partial` of one."""

    def __call__(self, params: list[Tensor], *, lr: float) -> Optimizer: ...


Reduce = Callable[[Statistics, Statistics], tuple[Statistics, Statistics]]
Schedule = Literal["constant", "linear"] | Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class TrainSettings:
    """What an update needs to know besides the state; the words are `skrbm.BernoulliRBMTorch`'s."""

    algorithm: Literal["cd", "pcd"] = "pcd"
    k: int = 1
    n_chains: int = 100
    learning_rate: float = 0.1
    learning_rate_schedule: Schedule = "linear"
    optimizer: Literal["sgd", "adam"] | OptimizerFactory = "sgd"
    momentum: float = 0.0
    weight_decay: float = 1e-4
    centered: bool | Literal["visible"] = "visible"
    binarize: Binarize = "sample"
    offset_rate: float = 0.01  # of the moving averages that give the offsets of centring


class Streams(NamedTuple):
    """The randomness of training, a stream for each use."""

    start: Stream
    shuffle: Stream
    pixels: Stream
    chains: Stream

    @classmethod
    def from_seed(cls, seed: Any) -> Streams:
        """Streams that depend on `seed` (int, sequence of int or None) and are independent of each other."""
        return cls(*(Stream(seed, use) for use in cls._fields))


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
        What the optimiser moves: W itself, and the biases b̃ and c̃ in centred coordinates.
    offsets : Offsets or None
        Moving averages of the data's ⟨v⟩ and ⟨h⟩, the latter zero where only the visible layer is centred. None where
        neither is.
    chains : GibbsState
        The persistent chains (fantasy particles); for contrastive divergence, its last reconstructions.
    optimizer : torch.optim.Optimizer
        Acts on `trained`.
    scheduler : torch.optim.lr_scheduler.LRScheduler or None
        Moves the learning rate after each epoch; None keeps it.
    streams : Streams
        Randomness.
    buffers : tuple of Tensor
        Memory of W's shape for the statistics of the two phases and for the gradient, to be used at every update.
    n_updates, n_epochs : int
        Position.
    """

    settings: TrainSettings
    params: RBMParameters
    trained: tuple[Tensor, Tensor, Tensor]
    offsets: Offsets | None
    chains: GibbsState
    optimizer: Optimizer
    scheduler: LRScheduler | None
    streams: Streams
    buffers: tuple[Tensor, Tensor, Tensor]
    n_updates: int = 0
    n_epochs: int = 0


class EpochRecord(NamedTuple):
    """What `epochs` yields after each epoch: its number from 1, its learning rate, its duration in seconds."""

    epoch: int
    learning_rate: float
    seconds: float


@torch.no_grad()
def start(
    params: RBMParameters,
    mean_v: Tensor,
    settings: TrainSettings,
    streams: Streams,
    *,
    chains: GibbsState | None = None,
    n_epochs: int | None = None,
) -> TrainState:
    """A state before its first update.

    Parameters
    ----------
    params : RBMParameters
        Where to start from; copied.
    mean_v : Tensor of shape (n_features,)
        Mean of the training rows, the first visible offset.
    settings : TrainSettings
        How to train.
    streams : Streams
        Randomness.
    chains : GibbsState, optional
        Persistent chains to go on with; by default `settings.n_chains` random ones.
    n_epochs : int, optional
        How long a learning-rate schedule by name lasts; None keeps the rate constant.
    """
    params = params.clone()
    mean_h = mean_h_given_v(params, mean_v[None])[0]
    if settings.centered:
        only_visible = settings.centered == "visible"
        offsets = Offsets(mean_v.clone(), torch.zeros_like(mean_h) if only_visible else mean_h.clone())
        trained = (params.W, *centered_biases(params, offsets))
    else:
        offsets, trained = None, (params.W, params.b, params.c)
    if chains is None:
        chains = GibbsState(streams.chains.bernoulli(mean_h.expand(settings.n_chains, -1)))
    optimizer = _make_optimizer(list(trained), settings)
    scheduler = None if n_epochs is None else _make_scheduler(optimizer, settings.learning_rate_schedule, n_epochs)
    W = params.W
    buffers = (torch.empty_like(W), torch.empty_like(W), torch.empty_like(W))
    return TrainState(settings, params, trained, offsets, chains, optimizer, scheduler, streams, buffers)


@torch.no_grad()
def update_(state: TrainState, v: Tensor, weight: Tensor | None = None, reduce: Reduce | None = None) -> None:
    """One update of the parameters, by contrastive divergence (CD-k) or by persistent chains (PCD-k).

    Parameters
    ----------
    state : TrainState
        Changed in place.
    v : Tensor of shape (n, n_features)
        A batch of any number of rows.
    weight : Tensor of shape (n,), optional
        Weights of the rows.
    reduce : callable, optional
        Maps the two `Statistics`, of the data and of the chains, to those that the gradient is made from: the
        place where several processes average theirs.

    References
    ----------
    Hinton 2002 (CD); Tieleman 2008 (PCD); Melchior, Fischer & Wiskott 2016, algorithm 1 (centring).
    """
    params, settings = state.params, state.settings
    if contrastive := settings.algorithm == "cd":
        mean_h, h = params.hidden.mean_and_sample(input_to_h(params, v), state.streams.chains)  # both (n, n_hidden)
        chains = GibbsState(h)
    else:
        mean_h, chains = mean_h_given_v(params, v), state.chains
    for _ in range(settings.k):
        chains, info = gibbs_step(params, chains, state.streams.chains)
    data = statistics(v, mean_h, weight, state.buffers[0])
    model = statistics(info.v, info.mean_h, weight if contrastive else None, state.buffers[1])
    if reduce is not None:
        data, model = reduce(data, model)
    _descend_(state, data, model)
    state.chains = chains
    state.n_updates += 1


def _descend_(state: TrainState, data: Statistics, model: Statistics) -> None:
    """Move the offsets towards the data's means, then the parameters down the gradient of the loss."""
    params, (W, b, c), settings, offsets = state.params, state.trained, state.settings, state.offsets
    if offsets is not None:
        offsets.v.lerp_(data.v, settings.offset_rate)
        if settings.centered != "visible":
            offsets.h.lerp_(data.h, settings.offset_rate)
        _copy_((b, c), centered_biases(params, offsets))
    W.grad, b.grad, c.grad = loss_gradient(data, model, W, offsets, settings.weight_decay, state.buffers[2])
    state.optimizer.step()
    if offsets is not None:
        _copy_((params.b, params.c), plain_biases(W, b, c, offsets))


def _copy_(targets: tuple[Tensor, ...], sources: tuple[Tensor, ...]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def epochs(
    state: TrainState,
    source: RowSource,
    n_epochs: int,
    reduce: Reduce | None = None,
    trajectory: Trajectory | None = None,
) -> Iterator[EpochRecord]:
    """Train for `n_epochs` passes over `source`, in place, and yield a record after each.

    A `trajectory` is shown the machine after every update.

    Raises
    ------
    FloatingPointError
        If a parameter is no longer finite after an epoch.
    """
    for _ in range(n_epochs):
        began = time.perf_counter()
        learning_rate = state.optimizer.param_groups[0]["lr"]
        for v, weight in source.epoch(state.streams.shuffle):
            update_(state, binarize_rows(v, state.settings.binarize, state.streams.pixels), weight, reduce)
            if trajectory is not None:
                trajectory.observe_(state.params)
        if state.scheduler is not None:
            state.scheduler.step()
        state.n_epochs += 1
        _check_finite(state.params, learning_rate)
        yield EpochRecord(state.n_epochs, float(learning_rate), time.perf_counter() - began)


def _check_finite(params: RBMParameters, learning_rate: float) -> None:
    for name, values in (("weights", params.W), ("visible biases", params.b), ("hidden biases", params.c)):
        if not bool(torch.isfinite(values).all()):
            raise FloatingPointError(
                f"The {name} are no longer finite after an epoch at learning rate {learning_rate:g}. "
                "Lower `learning_rate` (a tenth of it is a good next try), or scale X into [0, 1]."
            )


def carried_state(state: TrainState) -> dict[str, Any]:
    """All of `state` but the parameters, the chains and the settings, on the CPU: for `resume_`, here or elsewhere."""
    return {
        "offsets": None if state.offsets is None else _to_cpu(state.offsets._asdict()),
        "optimizer": (type(state.optimizer).__name__, _to_cpu(state.optimizer.state_dict())),
        "streams": {use: stream.state() for use, stream in state.streams._asdict().items()},
        "n_updates": state.n_updates,
        "n_epochs": state.n_epochs,
    }


def resume_(state: TrainState, carried: dict[str, Any]) -> None:
    """Set what `carried_state` returned, in place. The learning rate stays that of `state.settings`.

    The memory of another kind of optimiser is left aside.
    """
    if state.offsets is not None and carried["offsets"] is not None:
        state.offsets.v.copy_(carried["offsets"]["v"])
        if state.settings.centered != "visible":
            state.offsets.h.copy_(carried["offsets"]["h"])
    name, memory = carried["optimizer"]
    if name == type(state.optimizer).__name__:
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": memory["state"], "param_groups": groups})
    for use, stream in state.streams._asdict().items():
        stream.set_state(carried["streams"][use])
    state.n_updates, state.n_epochs = carried["n_updates"], carried["n_epochs"]


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _to_cpu(item) for key, item in value.items()}
    return value


def _make_optimizer(tensors: list[Tensor], settings: TrainSettings) -> Optimizer:
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return torch.optim.SGD(tensors, lr=rate, momentum=settings.momentum)
    if settings.optimizer == "adam":
        return torch.optim.Adam(tensors, lr=rate)
    optimizer = settings.optimizer(tensors, lr=rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, but returned {type(optimizer).__name__}.")
    return optimizer


def _make_scheduler(optimizer: Optimizer, schedule: Schedule, n_epochs: int) -> LRScheduler | None:
    if schedule == "constant":
        return None
    if schedule == "linear":  # epoch i of n at (1 - i/n) of the first rate
        return torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=n_epochs, power=1.0)
    scheduler = schedule(optimizer)
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            "learning_rate_schedule must return a torch.optim.lr_scheduler.LRScheduler, "
            f"but returned {type(scheduler).__name__}."
        )
    return scheduler
