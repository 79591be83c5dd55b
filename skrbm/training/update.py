"""Training: a state that is data, one update of it, and epochs as a loop over updates.

Examples
--------
>>> import numpy as np
>>> from skrbm.rows.arrays import ArrayRows
>>> from skrbm.machines.restricted import initial_parameters
>>> source = ArrayRows(np.eye(20), batch_size=5)
>>> mean_v, streams = source.mean("none"), Streams.from_seed(0)
>>> params = initial_parameters(mean_v, 8, streams.start, smoothing=1 / source.n_rows)
>>> state = start(params, mean_v, TrainSettings(), streams, n_epochs=2)
>>> [(record.epoch, record.learning_rate) for record in epochs(state, source, n_epochs=2)]
[(1, 0.1), (2, 0.05)]
>>> state.params.W.shape, state.n_updates
(torch.Size([8, 20]), 8)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.cuda_graph import record
from skrbm.backends.products import Bfloat16Products, FloatProducts, Int8Products, Products
from skrbm.machines.restricted import RBMParameters, mean_h_given_v
from skrbm.rows.arrays import Binarize, RowSource, binarize_rows
from skrbm.sampling.kernels import GibbsState
from skrbm.support.randomness import Stream, bernoulli_
from skrbm.training.averaging import Average, as_tuple, copy_
from skrbm.training.gradients import (
    Gradient,
    Offsets,
    Statistics,
    centered_biases,
    centered_gradient_,
    loss_gradient,
    penalize_,
    statistics,
)
from skrbm.training.schedules import KSchedule, RateSchedule, gibbs_steps, rate_scheduler
from skrbm.training.trajectory import Trajectory

__all__ = [
    "EpochRecord",
    "OptimizerFactory",
    "ProductsName",
    "Streams",
    "TrainSettings",
    "TrainState",
    "UpdateGraph",
    "carried_state",
    "epochs",
    "restore_",
    "resume_",
    "saved_state",
    "start",
    "update_",
]


class OptimizerFactory(Protocol):
    """What makes an optimiser, such as a class of `torch.optim` or a `functools.partial` of one."""

    def __call__(self, params: list[Tensor], *, lr: float) -> Optimizer: ...


_MAX_INPUT_ERROR = 0.15  # of products in 8 bits; the largest weight is about 6 then
_DECAY_EVERY = 16  # updates for which Wμ is taken for constant where weights decay slowly

ProductsName = Literal["float", "int8", "bfloat16"]
_PRODUCTS: dict[str, Callable[[RBMParameters], Products]] = {
    "float": FloatProducts,
    "int8": Int8Products,
    "bfloat16": Bfloat16Products,
}

Reduce = Callable[[Statistics, Statistics], tuple[Statistics, Statistics]]


@dataclass(frozen=True)
class TrainSettings:
    """What an update needs to know besides the state; the words are `skrbm.BernoulliRBMTorch`'s."""

    algorithm: Literal["cd", "pcd"] = "pcd"
    k: KSchedule = 1
    n_chains: int = 100
    learning_rate: float = 0.1
    learning_rate_schedule: RateSchedule = "linear"
    optimizer: Literal["sgd", "nesterov", "adam"] | OptimizerFactory = "sgd"
    momentum: float = 0.0
    weight_decay: float = 1e-4
    l1_penalty: float = 0.0
    sparsity_target: float | None = None
    sparsity_cost: float = 0.1
    averaging: float = 0.0
    centered: bool | Literal["visible"] = "visible"
    binarize: Binarize = "sample"
    products: Literal["float", "int8", "bfloat16"] = (
        "float"  # the others for float32, and rows of bits after `binarize`
    )
    offset_rate: float = 0.01  # of the moving averages that give the offsets of centring

    def is_plain_descent(self, rate: float) -> bool:
        """Whether `_descend_` can do it: no memory of earlier gradients, no penalties but weight decay."""
        plain = self.optimizer == "sgd" and self.momentum == 0.0 and rate * self.weight_decay < 1.0
        return plain and not self.has_penalties

    @property
    def has_penalties(self) -> bool:
        """Whether there are others than weight decay."""
        return self.l1_penalty > 0.0 or self.sparsity_target is not None


class Streams(NamedTuple):
    """The randomness of training, a stream for each use."""

    start: Stream
    shuffle: Stream
    pixels: Stream
    chains: Stream

    @classmethod
    def from_seed(cls, seed: Any, own: Any = None) -> Streams:
        """Streams that depend on `seed` (int, sequence of int or None) and are independent of each other.

        All but the first depend on the seed `own` instead, if it is given: that of one of several processes.
        """
        first, *others = cls._fields
        return cls(Stream(seed, first), *(Stream(seed if own is None else own, use) for use in others))


class Phases:
    """The rows of an update: those of the data, and right behind them the chains', for one product over both.

    Parameters
    ----------
    n_features : int
        Number of columns.
    dtype, device
        Of the rows.
    """

    def __init__(self, n_features: int, dtype: torch.dtype, device: torch.device) -> None:
        self._rows = torch.empty((0, n_features), dtype=dtype, device=device)
        self._n_data = 0  # the most rows of data so far

    def rows(self, n_data: int, n_chains: int) -> Tensor:
        """Memory for so many rows of data and chains, contiguous, (n_data + n_chains, n_features)."""
        if n_data > self._n_data or self._n_data + n_chains > len(self._rows):
            self._n_data = max(n_data, self._n_data)
            self._rows = self._rows.new_empty((self._n_data + n_chains, self._rows.shape[1]))
        return self._rows[self._n_data - n_data : self._n_data + n_chains]


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
    products : Products
        How to multiply with the weights.
    phases : Phases
        The rows of an update.
    k : int
        Gibbs steps of an update.
    average : Average or None
        Mean of the parameters on the way; None without `settings.averaging`.
    planned_epochs : int or None
        How many there will be, if that is known.
    W_mu, W_lam : Tensor or None
        Wμ and W'λ some updates ago, which is all that weight decay needs of them.
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
    products: Products
    phases: Phases
    k: int
    average: Average | None = None
    planned_epochs: int | None = None
    W_mu: Tensor | None = None
    W_lam: Tensor | None = None
    n_updates: int = 0
    n_epochs: int = 0

    @property
    def model(self) -> RBMParameters:
        """What has been learned so far: the mean on the way if there is one, else the parameters."""
        return self.params if self.average is None else self.average.params


class EpochRecord(NamedTuple):
    """What `epochs` yields after each epoch: its number from 1, learning rate, Gibbs steps an update, and seconds."""

    epoch: int
    learning_rate: float
    k: int
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
        How long the schedules of the learning rate and of k last; None keeps both as they are at first, and there
        is no averaging then.
    """
    params = params.clone()
    mean_h = mean_h_given_v(params, mean_v[None])[0]
    if settings.centered:
        only_visible = settings.centered == "visible"
        offsets = Offsets(mean_v.clone(), torch.zeros_like(mean_h) if only_visible else mean_h.clone())
        b, c = centered_biases(params, offsets)
        trained = (params.W, params.b if only_visible else b, c)
    else:
        offsets, trained = None, (params.W, params.b, params.c)
    if chains is None:
        chains = GibbsState(streams.chains.bernoulli(mean_h.expand(settings.n_chains, -1)))
    products = _PRODUCTS[settings.products](params)
    phases = Phases(params.n_features, products.state_dtype, params.W.device)
    chains = GibbsState(chains.h.to(products.state_dtype, copy=True))
    optimizer = _make_optimizer(list(trained), settings)
    scheduler = None if n_epochs is None else rate_scheduler(optimizer, settings.learning_rate_schedule, n_epochs)
    return TrainState(
        settings,
        params,
        trained,
        offsets,
        chains,
        optimizer,
        scheduler,
        streams,
        products,
        phases,
        k=gibbs_steps(settings.k, 0, n_epochs),
        average=None if n_epochs is None or not settings.averaging else Average(params, settings.averaging),
        planned_epochs=n_epochs,
    )


@torch.inference_mode()
def update_(
    state: TrainState,
    v: Tensor,
    weight: Tensor | None = None,
    reduce: Reduce | None = None,
    mean_: Callable[[Tensor], None] | None = None,
) -> None:
    """One update of the parameters, by contrastive divergence (CD-k) or by persistent chains (PCD-k).

    Parameters
    ----------
    state : TrainState
        Changed in place.
    v : Tensor of shape (n, n_features)
        A batch of any number of rows, floats or integers. What `settings.binarize` makes of them is learned.
    weight : Tensor of shape (n,), optional
        Weights of the rows.
    reduce : callable, optional
        Maps the two `Statistics`, of the data and of the chains, to those that the gradient is made from: the
        place where several processes average theirs.
    mean_ : callable, optional
        Averages a tensor over several processes, in place: what serves instead of `reduce`, and hands on half as much,
        where all have as many rows, without weights, and as many chains.

    References
    ----------
    Hinton 2002 (CD); Tieleman 2008 (PCD); Melchior, Fischer & Wiskott 2016, algorithm 1 (centring).
    """
    settings, n_data = state.settings, len(v)
    contrastive = settings.algorithm == "cd"
    rows = state.phases.rows(n_data, n_data if contrastive else len(state.chains.h))
    binarize_rows(v, settings.binarize, state.streams.pixels, out=rows[:n_data])
    mean_h = (_reconstruct_ if contrastive else _move_chains_)(state, rows, n_data)
    if (
        reduce is None
        and mean_ is None
        and weight is None
        and settings.is_plain_descent(state.optimizer.param_groups[0]["lr"])
    ):
        reach = _descend_(state, rows, mean_h, n_data)
    else:
        gradient, data_v, data_h = _gradient(state, rows, mean_h, n_data, weight, reduce, mean_)
        for tensor, grad in zip(state.trained, gradient, strict=True):
            tensor.grad = grad
        state.optimizer.step()
        _move_offsets_(state, data_v, data_h)
        reach = math.inf
    state.products.refresh_(reach)
    state.n_updates += 1


def _move_chains_(state: TrainState, rows: Tensor, n_data: int) -> Tensor:
    """Move the chains by k Gibbs steps, their last visible states to their rows; P(h = 1 | v) of all rows (PCD-k)."""
    products, stream, h, chains = state.products, state.streams.chains, state.chains.h, rows[n_data:]
    for step in range(state.k):
        uniform = stream.uniform(chains.numel() + h.numel(), h.device)
        bernoulli_(chains, products.mean_v(h), uniform[: chains.numel()])
        mean_h = products.mean_h(chains if step < state.k - 1 else rows)  # the last time with the data
        bernoulli_(h, mean_h[-len(h) :], uniform[chains.numel() :])
    return mean_h


def _reconstruct_(state: TrainState, rows: Tensor, n_data: int) -> Tensor:
    """Fill the chains' rows by k Gibbs steps from the data; P(h = 1 | v) of all rows (CD-k)."""
    products, stream, chains = state.products, state.streams.chains, rows[n_data:]
    mean_h = mean_h_data = products.mean_h(rows[:n_data])
    h = torch.empty_like(mean_h, dtype=products.state_dtype)
    for _ in range(state.k):
        uniform = stream.uniform(h.numel() + chains.numel(), h.device)
        bernoulli_(h, mean_h, uniform[: h.numel()])
        bernoulli_(chains, products.mean_v(h), uniform[h.numel() :])
        mean_h = products.mean_h(chains)
    state.chains = GibbsState(h)
    return torch.cat((mean_h_data, mean_h))


def _descend_(state: TrainState, rows: Tensor, mean_h: Tensor, n_data: int) -> float:
    """A step of plain gradient descent, centred or not, in as few passes over W as there are.

    The biases b = b̃ - W'λ and c = c̃ - Wμ move by rate Δ⟨v⟩ - ΔW'λ and rate Δ⟨h⟩ - ΔW μ. What ΔW does to the offsets
    comes from the rows, without a product with W: ΔW = rate (Δ⟨h(v-μ)'⟩ - λ Δ⟨v⟩').

    Returns
    -------
    float
        A bound of what a weight has moved by, apart from its decay.
    """
    params, settings, rate = state.params, state.settings, state.optimizer.param_groups[0]["lr"]
    mu, lam = (None, None) if state.offsets is None else state.offsets
    lam = lam if settings.centered is True else None
    decay = 1.0 - rate * settings.weight_decay
    if mu is not None:
        on_cpu = mu.device.type == "cpu"  # elsewhere a CUDA graph repeats one update, and the products cost little
        if state.W_mu is None or decay < 1.0 - 1e-4 or state.n_updates % _DECAY_EVERY == 0 or not on_cpu:
            state.W_mu = torch.mv(params.W, mu)
            state.W_lam = None if lam is None else torch.mv(params.W.T, lam)
        params.c.add_(state.W_mu, alpha=1.0 - decay)
    if state.W_lam is not None and lam is not None:
        params.b.add_(state.W_lam, alpha=1.0 - decay)
        data_h, dhv_lam = _against_hidden_offset(rows, mean_h, n_data, lam)
    data_v, model_v, dh, dW_mu = state.products.add_contrast_(
        params.W, mean_h, rows, n_data, state.streams.chains, rate, decay, mu
    )
    dv = data_v - model_v
    params.b.add_(dv, alpha=rate)
    params.c.add_(dh if dW_mu is None else dh - dW_mu, alpha=rate)
    if lam is not None and mu is not None:
        dh_lam = torch.dot(dh, lam)
        params.W.addr_(lam, dv, alpha=-rate)
        params.c.add_(lam * torch.dot(dv, mu), alpha=rate)
        params.b.add_(dv * torch.dot(lam, lam) + dh_lam * mu - dhv_lam, alpha=rate)
        lam.lerp_(data_h, settings.offset_rate)
    if mu is not None:
        mu.lerp_(data_v, settings.offset_rate)
    return 1.1 * rate * (1.0 if lam is None else 2.0)  # |Δ⟨h (v - μ)'⟩| <= 1 and |λ Δ⟨v⟩'| <= 1, and rounding


def _against_hidden_offset(rows: Tensor, mean_h: Tensor, n_data: int, lam: Tensor) -> tuple[Tensor, Tensor]:
    """⟨h⟩ of the data, and Δ⟨λ'h v⟩."""
    share = torch.mv(mean_h, lam)
    share[:n_data].div_(n_data)
    share[n_data:].div_(n_data - len(rows))
    return mean_h[:n_data].mean(0), torch.mv(rows.to(mean_h.dtype).T, share)


def _gradient(
    state: TrainState,
    rows: Tensor,
    mean_h: Tensor,
    n_data: int,
    weight: Tensor | None,
    reduce: Reduce | None,
    mean_: Callable[[Tensor], None] | None,
) -> tuple[Gradient, Tensor, Tensor]:
    """Gradient of the loss in centred coordinates, and ⟨v⟩ and ⟨h⟩ of the data."""
    W, settings = state.params.W, state.settings
    if weight is None and (reduce is None or mean_ is not None):
        data_h, sizes = mean_h[:n_data].mean(0), [W.numel(), *(2 * [W.shape[1]]), *(2 * [W.shape[0]])]
        everything = W.new_empty(sum(sizes))  # in one piece, to be averaged over processes at once
        flat, *others = torch.split(everything, sizes)
        dW = flat.view_as(W)
        contrast = state.products.add_contrast_(dW, mean_h, rows, n_data, state.streams.chains, -1.0, 0.0)
        _copy_(tuple(others), (contrast.data_v, contrast.model_v, contrast.dh, data_h))
        if mean_ is not None:
            mean_(everything)
        data_v, model_v, dh, data_h = others
        gradient = centered_gradient_(Gradient(dW, model_v - data_v, -dh), W, state.offsets, settings.weight_decay)
        return _penalized_(gradient, state, data_v, data_h), data_v, data_h
    rows = rows.to(mean_h.dtype)
    data = statistics(rows[:n_data], mean_h[:n_data], weight)
    model = statistics(rows[n_data:], mean_h[n_data:], weight if settings.algorithm == "cd" else None)
    if reduce is not None:
        data, model = reduce(data, model)
    gradient = loss_gradient(data, model, W, state.offsets, settings.weight_decay)
    return _penalized_(gradient, state, data.v, data.h), data.v, data.h


def _penalized_(gradient: Gradient, state: TrainState, data_v: Tensor, data_h: Tensor) -> Gradient:
    settings = state.settings
    if settings.has_penalties:
        target, cost = settings.sparsity_target, settings.sparsity_cost
        penalize_(gradient, state.params.W, data_v, data_h, state.offsets, settings.l1_penalty, target, cost)
    return gradient


def _move_offsets_(state: TrainState, data_v: Tensor, data_h: Tensor) -> None:
    """The biases from what they are in centred coordinates; then move the offsets towards the data's means."""
    (W, b, c), params, offsets, rate = state.trained, state.params, state.offsets, state.settings.offset_rate
    if offsets is None:
        return
    _move_offset_(W, offsets.v, data_v, c, params.c, rate)
    if state.settings.centered != "visible":
        _move_offset_(W.T, offsets.h, data_h, b, params.b, rate)


def _move_offset_(W: Tensor, offset: Tensor, mean: Tensor, centered: Tensor, plain: Tensor, rate: float) -> None:
    """plain ← centered - W offset; then offset towards mean, and centered ← plain + W offset."""
    at_offset = torch.mv(W, offset)
    torch.sub(centered, at_offset, out=plain)
    centered.add_(torch.mv(W, mean).sub_(at_offset), alpha=rate)
    offset.lerp_(mean, rate)


def _copy_(targets: tuple[Tensor, ...], sources: tuple[Tensor, ...]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


def epochs(
    state: TrainState,
    source: RowSource,
    n_epochs: int,
    reduce: Reduce | None = None,
    trajectory: Trajectory | None = None,
    n_batches: int | None = None,
    mean_: Callable[[Tensor], None] | None = None,
) -> Iterator[EpochRecord]:
    """Train for `n_epochs` passes over `source`, in place, and yield a record after each.

    A `trajectory` is shown the machine after every update. An epoch has `n_batches` at most, if that is given.
    `mean_` (see `update_`) is for all of them but the last, which may have fewer rows in one process than in another.

    Raises
    ------
    FloatingPointError
        If a parameter is no longer finite after an epoch.
    """
    for _ in range(n_epochs):
        began = time.perf_counter()
        learning_rate = state.optimizer.param_groups[0]["lr"]
        state.k = gibbs_steps(state.settings.k, state.n_epochs, state.planned_epochs)
        graph = UpdateGraph(state) if state.params.W.is_cuda and reduce is None else None
        for i, (v, weight) in enumerate(islice(source.epoch(state.streams.shuffle), n_batches)):
            if graph is None or weight is not None or not graph.update_(v):
                update_(state, v, weight, reduce, mean_ if n_batches is not None and i < n_batches - 1 else None)
            for observer in (state.average, trajectory):
                if observer is not None:
                    observer.observe_(state.params)
        _settle_(state)
        if state.average is not None:
            state.average.look_(state.params)
        if state.scheduler is not None:
            state.scheduler.step()
        state.n_epochs += 1
        _check_finite(state.params, learning_rate)
        yield EpochRecord(state.n_epochs, float(learning_rate), state.k, time.perf_counter() - began)


class UpdateGraph:
    """The update of a training as a CUDA graph: recorded once an epoch, as its learning rate is in it, and replayed.

    A replay costs the host one launch instead of some fifty. Only plain descent without weights is recorded; batches of
    another size than the first, and where recording fails, are left to `update_`.
    """

    def __init__(self, state: TrainState) -> None:
        self._state, self._v, self._n_seen = state, torch.empty(0), 0
        self._replay: Callable[[], None] | None = None

    def update_(self, v: Tensor) -> bool:
        """`training.update_` if that is recorded, and whether it was."""
        self._n_seen += 1
        state = self._state
        if self._n_seen == 1 or not state.settings.is_plain_descent(state.optimizer.param_groups[0]["lr"]):
            return False  # the first update warms up what must not be set up during a recording
        if self._n_seen == 2:
            self._v = v.clone()
            n_updates, streams = state.n_updates, [state.streams.pixels, state.streams.chains]
            self._replay = record(lambda: update_(state, self._v), streams, v.device)
            state.n_updates = n_updates  # recording isn't updating
        if self._replay is None or v.shape != self._v.shape:
            return False
        self._v.copy_(v)
        self._replay()
        state.n_updates += 1
        return True


@torch.no_grad()
def _settle_(state: TrainState) -> None:
    """Let go of what rounding has gathered, so that what `carried_state` has is all that the next epoch depends on."""
    if state.offsets is not None:
        _copy_(state.trained[1:], centered_biases(state.params, state.offsets))
    state.products.refresh_()
    if isinstance(state.products, Int8Products) and state.products.input_error > _MAX_INPUT_ERROR:
        _multiply_in_floats_(state)
    state.W_mu = state.W_lam = None
    state.optimizer.zero_grad()  # the last update's, where it had any
    if state.settings.is_plain_descent(0.0):
        state.optimizer.step()  # without gradients: lets the schedule know that it may move


def _multiply_in_floats_(state: TrainState) -> None:
    """From now on."""
    state.products = FloatProducts(state.params)
    state.phases = Phases(state.params.n_features, state.params.W.dtype, state.params.W.device)
    state.chains = GibbsState(state.chains.h.to(state.params.W.dtype))


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
    _settle_(state)
    name, memory = carried["optimizer"]
    if name == type(state.optimizer).__name__:
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": memory["state"], "param_groups": groups})
    for use, stream in state.streams._asdict().items():
        stream.set_state(carried["streams"][use])
    state.n_updates, state.n_epochs = carried["n_updates"], carried["n_epochs"]


def saved_state(state: TrainState) -> dict[str, Any]:
    """All that the coming epochs depend on, on the CPU: for `restore_`, here or elsewhere. Take it between two epochs.

    Training that goes on from it gives the same parameters, bit by bit, on the same kind of processor.
    """
    return carried_state(state) | {
        "params": as_tuple(state.params),
        "h": state.chains.h.cpu().clone(),
        "products": type(state.products).__name__,
        "scheduler": None if state.scheduler is None else state.scheduler.state_dict(),
        "average": None if state.average is None else state.average.state(),
    }


@torch.no_grad()
def restore_(state: TrainState, saved: dict[str, Any]) -> None:
    """Set what `saved_state` returned, in place, in a state that was started by the same settings."""
    copy_(state.params, saved["params"])
    if type(state.products).__name__ != saved["products"]:
        _multiply_in_floats_(state)
    state.chains = GibbsState(saved["h"].to(state.chains.h, copy=True))
    resume_(state, saved)
    state.optimizer.load_state_dict(saved["optimizer"][1])
    if state.scheduler is not None:
        state.scheduler.load_state_dict(saved["scheduler"])
    if state.average is not None:
        state.average.set_state(saved["average"])


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _to_cpu(item) for key, item in value.items()}
    return value


def _make_optimizer(tensors: list[Tensor], settings: TrainSettings) -> Optimizer:
    rate = settings.learning_rate
    if settings.optimizer == "sgd" or settings.optimizer == "nesterov":
        return torch.optim.SGD(tensors, rate, settings.momentum, nesterov=settings.optimizer == "nesterov")
    if settings.optimizer == "adam":
        return torch.optim.Adam(tensors, lr=rate, fused=True)
    optimizer = settings.optimizer(tensors, lr=rate)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer, but returned {type(optimizer).__name__}.")
    return optimizer
