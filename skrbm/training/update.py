"""One update of training, and an epoch of them.

Examples
--------
>>> import numpy as np
>>> from skrbm.machines import initial_parameters
>>> from skrbm.rows import ArrayRows, SharedRows
>>> from skrbm.training import Streams, TrainSettings, epoch_, start_state
>>> rows = SharedRows(ArrayRows(np.eye(20)))
>>> settings = TrainSettings(n_hidden=8, learning_rate=0.2, batch_size=5, n_epochs=2).resolved(rows)
>>> mean_v, streams = rows.mean("none"), Streams.from_seed(0)
>>> params = initial_parameters(mean_v, 8, streams.start, smoothing=1 / rows.n_rows)
>>> state = start_state(params, mean_v, settings, streams)
>>> [(record.epoch, record.learning_rate) for record in (epoch_(state, rows), epoch_(state, rows))]
[(1, 0.2), (2, 0.1)]
>>> state.params.W.shape, state.n_updates
(torch.Size([8, 20]), 8)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skrbm.backends.protocol import Phases
from skrbm.distributed import ALONE, Group
from skrbm.machines.restricted import RBMParameters, input_to_v
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Batch, binarize_rows
from skrbm.sampling.kernels import gibbs_step_
from skrbm.sampling.sweeps import sweep_
from skrbm.training.absent import reconstruct_absent_
from skrbm.training.compiled_updates import CompiledUpdates
from skrbm.training.coupled import gradient_of_couplings, mask_of_layers
from skrbm.training.device_updates import DeviceUpdates
from skrbm.training.gaps import filled_batch, summed_batch
from skrbm.training.gradients import Gradient, difference, move_scale_, penalize_, statistics
from skrbm.training.observers import Observer
from skrbm.training.settings import FRESH_STEPS, gibbs_steps
from skrbm.training.state import SeveralUpdates, TrainState

_FILLED_TOGETHER = 200  # rows whose missing cells are moved on by one machine
_WORDS = {"W": "weights", "b": "visible biases", "c": "hidden biases"}


class EpochRecord(NamedTuple):
    """What `epoch_` returns.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    learning_rate : float
        At its beginning.
    k : int
        Gibbs steps an update.
    step_divergence : float
        What an update has moved the machine by, in nats: the median of those looked at, see
        `skrbm.training.pace.step_divergence`. NaN where none was.
    seconds : float
        What it took.
    """

    epoch: int
    learning_rate: float
    k: int
    step_divergence: float
    seconds: float


def epoch_(state: TrainState, rows: SharedRows, *observers: Observer) -> EpochRecord:
    """Train for one pass over the rows, in place. Observers are shown the machine after every update.

    Raises
    ------
    FloatingPointError
        If a parameter is no longer finite.
    """
    began, settings, learning_rate = time.perf_counter(), state.settings, state.learning_rate
    state.k = gibbs_steps(settings.k, state.n_epochs, settings.n_epochs)
    if state.average is not None:
        observers = (state.average, *observers)
    if state.several is None and rows.group.size == 1 and not rows.is_weighted and not rows.has_absent:
        if settings.is_compiled:
            state.several = CompiledUpdates(state)
        elif state.params.W.is_cuda and state.params.log_scale is None and state.params.R is None:
            state.several = DeviceUpdates(state)
    if state.several is not None:
        state.several.begin_()
        try:
            _make_several_(state, state.several, rows, observers)
        finally:
            state.several.end_()
    else:
        for batch in _batches(state, rows, int(settings.batch_size)):
            before = state.snapshot()
            update_(state, batch, rows.group)
            _look_(state, before, len(batch.v), rows.group, observers)
    state.hear_of_look_()
    state.forget_unseen_()
    state.recompute_derived_()
    if not state.backend.suffices:
        state.use_("float32")
    if state.average is not None:
        state.average.look_(state.params)
    if state.scheduler is not None:
        state.scheduler.step()
    state.n_epochs += 1
    _check_finite(state.params, learning_rate)
    return EpochRecord(state.n_epochs, learning_rate, state.k, state.pace.take(), time.perf_counter() - began)


def _make_several_(state: TrainState, several: SeveralUpdates, rows: SharedRows, observers: Sequence[Observer]) -> None:
    """An epoch of updates, several at a time, as far as nothing is to be looked at in between."""
    size, together = int(state.settings.batch_size), 1
    if rows.has_full_batches and state.is_plain_descent:
        together = several.most_together
    n_to_come = max(state.settings.n_epochs - state.n_epochs, 1) * rows.n_batches(size)
    as_kept = several.takes_kept and state.is_plain_descent
    n_read = max(together, _filled_together(state, rows, size))
    for batch in rows.epoch(state.streams.shuffle, size * n_read, as_kept):
        batch = _filled_(state, rows, batch)
        left, n_data = batch.v, size if rows.has_full_batches else len(batch.v)
        while len(left):
            looks_itself = several.looks_itself and state.is_plain_descent
            before = None if looks_itself else state.snapshot()
            others = [observer for observer in observers if not (looks_itself and observer is state.average)]
            n_quiet = state.pace.until_look(state.n_updates) if looks_itself else state.pace.until_due(state.n_updates)
            n_quiet = min([n_quiet, *(observer.until_look for observer in others)])
            n_most = 1 if before is not None else max(min(together, len(left) // n_data, n_quiet), 1)
            n = n_most if looks_itself else 1 << n_most.bit_length() - 1  # the largest power of two, for a CUDA graph
            some, left = batch._replace(v=left[: n * n_data]), left[n * n_data :]
            if not several.make_(some, n, n_to_come):
                for part in torch.split(some.v, n_data):
                    update_(state, Batch(part))
            _look_(state, before, min(n_data, len(some.v)), rows.group, others, n)


def _batches(state: TrainState, rows: SharedRows, size: int) -> Iterator[Batch]:
    """The batches of an epoch, their missing cells moved on; those of several batches at a time."""
    n = _filled_together(state, rows, size)
    for batch in rows.epoch(state.streams.shuffle, size * n):
        batch = _filled_(state, rows, batch)
        if n == 1:
            yield batch
            continue
        for first in range(0, len(batch.v), size):
            part = slice(first, first + size)
            yield Batch(batch.v[part], None if batch.weight is None else batch.weight[part])


def _filled_together(state: TrainState, rows: SharedRows, size: int) -> int:
    """How many batches are read, and their missing cells moved on, at a time: under machines that hardly differ."""
    if state.settings.sums_latent:  # each row becomes many
        return 1
    return max(1, _FILLED_TOGETHER // size) if rows.has_gaps and rows.has_full_batches else 1


def _filled_(state: TrainState, rows: SharedRows, batch: Batch) -> Batch:
    """The batch, whose missing cells, if there are any, have been moved on."""
    if batch.free is None or state.settings.missing == "absent":
        return batch
    settings, is_known = state.settings, batch.rows is not None
    n_steps = settings.gap_steps if is_known else max(settings.gap_steps, FRESH_STEPS)
    backend = state.backend if state.is_narrow else None
    batch = filled_batch(state.params, batch, settings.binarize, n_steps, state.streams.gaps, backend)
    if settings.sums_latent:
        summed, drawn = summed_batch(state.params, batch, settings.n_latent, state.streams.gaps)
        rows.put_(batch._replace(v=drawn))
        return summed
    rows.put_(batch)
    return Batch(batch.v, batch.weight, batch.is_even)


def _look_(
    state: TrainState,
    before: RBMParameters | None,
    n_data: int,
    group: Group,
    observers: Sequence[Observer],
    n_updates: int = 1,
) -> None:
    """What follows so many updates: the last, of `n_data` rows, is looked at if there is a machine from before it."""
    if before is not None:
        state.keep_pace_(before, n_data, group)
    for observer in observers:
        observer.observe_(state.params, n_updates)


@torch.inference_mode()
def update_(state: TrainState, batch: Batch, group: Group = ALONE) -> None:
    """One update of the parameters, by contrastive divergence (CD-k) or by persistent chains (PCD-k).

    Parameters
    ----------
    state : TrainState
        Changed in place.
    batch : Batch
        Any number of rows. What `settings.binarize` makes of them is learned; cells that are `free` are absent.
    group : Group
        The processes whose statistics are averaged.

    References
    ----------
    Hinton 2002 (CD); Tieleman 2008 (PCD); Melchior, Fischer & Wiskott 2016, algorithm 1 (centring).
    """
    settings, n_data = state.settings, len(batch.v)
    contrastive = settings.algorithm == "cd"
    phases = state.buffer.phases(n_data, n_data if contrastive else len(state.h))
    binarize_rows(batch.v, settings.binarize, state.streams.pixels, out=phases.data)
    state.params.scale_(phases.data)
    if state.v is not None:
        phases.chains.copy_(phases.data if contrastive else state.v)
    if batch.free is not None:
        mean_h = reconstruct_absent_(state, phases, batch.free)
    else:
        mean_h = (_reconstruct_ if contrastive else _move_chains_)(state, phases)
    if state.v is not None:
        state.v = phases.chains.clone()
    if settings.learns_scale:
        data_h = phases.of(mean_h).data
        rate = settings.scale_rate * state.learning_rate / state.first_rate
        move_scale_(state.params, phases.data, data_h, rate, batch.weight, group)
    if group.size == 1 and batch.weight is None and state.is_plain_descent:
        max_change = _descend_(state, phases, mean_h)
    else:
        gradient, data_v, data_h = _gradient(state, phases, mean_h, batch, group)
        of_couplings = () if state.v is None else (gradient_of_couplings(state, phases, batch.weight, group),)
        for tensor, grad in zip(state.trained, (*gradient, *of_couplings), strict=True):
            tensor.grad = grad
        state.optimizer.step()
        state.centering.follow_(state.params, state.trained, data_v, data_h)
        max_change = math.inf
    state.backend.refresh_(max_change)
    state.n_updates += 1


# -- the two phases: what follows fills the rows of the chains and returns P(h = 1 | v) of all rows --------------------


def _move_chains_(state: TrainState, phases: Phases) -> Tensor:
    """k Gibbs steps of the persistent chains (PCD-k); the last product takes the data along."""
    for step in range(state.k):
        rows = phases.all if step == state.k - 1 else None
        _, mean_h = gibbs_step_(state.backend, state.h, phases.chains, state.streams.chains, rows=rows)
    return mean_h


def _reconstruct_(state: TrainState, phases: Phases) -> Tensor:
    """k Gibbs steps from the data (CD-k), which begin and end in between: h drawn, then v, then P(h = 1 | v)."""
    backend, machine, chains = state.backend, state.params, phases.chains
    mean_h = mean_h_data = backend.mean_h(phases.data)
    h = torch.empty_like(mean_h, dtype=backend.state_dtype)
    for _ in range(state.k):
        for_h, for_v = state.streams.chains.numbers_for(h, chains)
        machine.hidden.draw_(h, mean_h, for_h)
        if machine.R is None:
            machine.visible.draw_(chains, backend.mean_v(h), for_v)
        else:
            sweep_(machine, chains, input_to_v(machine, h), for_v)
        mean_h = backend.mean_h(chains)
    state.h = h
    return torch.cat((mean_h_data, mean_h))


# -- from the phases to new parameters ---------------------------------------------------------------------------------


def _descend_(state: TrainState, phases: Phases, mean_h: Tensor) -> float:
    """A step of plain gradient descent, centred or not, in as few passes over W as there are.

    The biases b = b̃ - W'λ and c = c̃ - Wμ move by rate Δ⟨v⟩ - ΔW'λ and rate Δ⟨h⟩ - ΔW μ. What ΔW does to the offsets
    comes from the rows, without a product with W: ΔW = rate (Δ⟨h(v-μ)'⟩ - λ Δ⟨v⟩').

    Returns
    -------
    float
        A bound of what a weight has moved by, apart from its decay.
    """
    params, centering, rate = state.params, state.centering, state.learning_rate
    mu, lam = centering.mu, centering.lam
    decay = 1.0 - rate * state.settings.decay
    centering.keep_biases_(params, decay, state.n_updates)
    if lam is not None:  # before mean_h is overwritten
        data_h, dhv_lam = _against_hidden_offset(phases, mean_h, lam)
    damping = state.damping
    data_v, model_v, dh, dW_mu, excess = state.backend.add_contrast_(
        params.W, mean_h, phases, state.streams.chains, rate, decay, mu, damping
    )
    dv, max_change = data_v - model_v, 1.1 * rate  # |Δ⟨h (v - μ)'⟩| <= 1, and a tenth for rounding
    params.b.add_(dv, alpha=rate)
    params.c.add_(dh if dW_mu is None else dh - dW_mu, alpha=rate)
    if lam is not None and mu is not None:
        damped = dv if damping is None else damping.of(dv)
        params.W.addr_(lam, damped, alpha=-rate)
        params.c.add_(lam * torch.dot(damped, mu), alpha=rate)
        dW_lam = dhv_lam - torch.dot(dh, lam) * mu - torch.dot(lam, lam) * dv
        params.b.sub_(dW_lam if damping is None else damping.of(dW_lam), alpha=rate)
        max_change = 2.2 * rate  # |λ Δ⟨v⟩'| <= 1 comes on top
        if damping is not None:
            max_change += rate * _largest_product(lam[None], dv[None] - damped[None])
    if excess is not None and damping is not None:
        max_change = math.inf if params.W.is_cuda else max_change + rate * _largest_product(excess, damping.directions)
    centering.move_(data_v, None if lam is None else data_h)
    return max_change


def _largest_product(a: Tensor, b: Tensor) -> float:
    """A bound of the entries of a'b, by Cauchy and Schwarz, and a tenth for rounding; (n, n_a) and (n, n_b)."""
    return 1.1 * math.sqrt(float(a.square().sum(0).max() * b.square().sum(0).max()))


def _against_hidden_offset(phases: Phases, mean_h: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """⟨h⟩ of the data, and Δ⟨λ'h v⟩."""
    n_data = phases.n_data
    share = torch.mv(mean_h, lam)
    share[:n_data].div_(n_data)
    share[n_data:].div_(-phases.n_chains)
    return mean_h[:n_data].mean(0), torch.mv(phases.all.to(mean_h.dtype).T, share)


def _gradient(
    state: TrainState, phases: Phases, mean_h: Tensor, batch: Batch, group: Group
) -> tuple[Gradient, Tensor, Tensor]:
    """Gradient of the loss in centred coordinates, and ⟨v⟩ and ⟨h⟩ of the data."""
    if batch.weight is None and (group.size == 1 or batch.is_even):
        gradient, data_v, data_h = _contrast(state, phases, mean_h, group)
    else:
        rows, weight = phases.of(phases.all.to(mean_h.dtype)), batch.weight
        means, visible = phases.of(mean_h), state.params.visible
        data = statistics(rows.data, means.data, weight, visible)
        chain_weight = weight if state.settings.algorithm == "cd" else None  # reconstructions count as their rows do
        model = statistics(rows.chains, means.chains, chain_weight, visible)
        data, model = group.pooled(data, model)
        gradient, data_v, data_h = difference(data, model), data.v, data.h
    centering = state.centering
    centering.gradient_(gradient)
    if state.damping is not None:
        gradient.W.copy_(state.damping.of(gradient.W))
    penalize_(gradient, state.settings, state.params.W, data_v, data_h, centering.mu)
    if state.settings.has_masked_weights:
        n_visible = state.params.n_features - state.settings.n_latent
        gradient.W.mul_(mask_of_layers(state.settings.hidden_layer_sizes, n_visible).to(gradient.W))
    return gradient, data_v, data_h


def _contrast(state: TrainState, phases: Phases, mean_h: Tensor, group: Group) -> tuple[Gradient, Tensor, Tensor]:
    """The plain gradient by the backend's product, and ⟨v⟩ and ⟨h⟩ of the data; averaged over processes at once."""
    W = state.params.W
    sizes = [W.numel(), *(2 * [W.shape[1]]), *(2 * [W.shape[0]])]
    everything = W.new_empty(sum(sizes))  # in one piece, to be handed on by one call
    flat, *others = torch.split(everything, sizes)
    dW, found_h = flat.view_as(W), phases.of(mean_h).data.mean(0)
    contrast = state.backend.add_contrast_(dW, mean_h, phases, state.streams.chains, -1.0, 0.0)
    for target, source in zip(others, (contrast.data_v, contrast.model_v, contrast.dh, found_h), strict=True):
        target.copy_(source)
    group.mean_(everything)
    data_v, model_v, dh, data_h = others
    return Gradient(dW, model_v - data_v, -dh), data_v, data_h


def _check_finite(params: RBMParameters, learning_rate: float) -> None:
    for name, values in params.tensors.items():
        if not bool(torch.isfinite(values).all()):
            raise FloatingPointError(
                f"The {_WORDS.get(name, name)} are no longer finite after an epoch at learning rate "
                f"{learning_rate:g}. Lower `learning_rate` (a tenth of it is a good next try), or scale X into [0, 1]."
            )
