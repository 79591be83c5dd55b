"""Annealing along the path between a machine without weights and a machine: log Z by AIS, both ways, and RAISE.

All chains move through the bridges of a path at given inverse temperatures `betas`, see `inverse_temperatures`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.likelihood.result import LogPartition, warn_if_few_count
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.machines.units import Unit
from skrbm.sampling.compiled import CompiledAnnealing, Weights
from skrbm.sampling.kernels import gibbs_init, gibbs_step
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.sweeps import sweep_
from skrbm.support.kernels import linear
from skrbm.support.progress import Progress
from skrbm.support.randomness import Stream

Schedule = Literal["uniform", "adaptive"] | Sequence[float]

_BLOCK = 1 << 22  # elements of a layer that are annealed at a time: 16 MB in float32
_STEPS_TOGETHER = 50  # that compiled loops make at a time
_RAISE_BLOCK = 1 << 20  # the same, of rows that each have several runs
_PILOT_STEPS, _PILOT_CHAINS = 500, 50  # of the runs that an adapted schedule rests on


class Annealed(NamedTuple):
    """Chains that have been moved through bridges: with their weights, samples of the last one.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Where they are.
    log_weight : Tensor of shape (n_chains,), float64
        In nats.
    """

    v: Tensor
    log_weight: Tensor


@torch.no_grad()
def anneal(
    path: AnnealingPath, v: Tensor, betas: Sequence[float], stream: Stream, progress: Progress | None = None
) -> Annealed:
    """Move chains through the bridges at inverse temperatures `betas`.

    Parameters
    ----------
    path : AnnealingPath
        Where the bridges are.
    v : Tensor of shape (n_chains, n_features)
        Where the chains start: distributed as the bridge at the first β.
    betas : sequence of float
        Inverse temperatures: rising from 0 to 1 for AIS, falling from 1 to 0 for its reverse and for RAISE.
    stream : Stream
        Randomness.
    progress : callable, optional
        See `skrbm.support.progress.Progress`.

    Returns
    -------
    Annealed
        Their states, and log-weights Σ_k log f_k(v_{k-1}) - log f_{k-1}(v_{k-1}), where v_k is one Gibbs step from
        v_{k-1} under bridge k.

    Notes
    -----
    log f_β(v) = ((1-β) base_b + β b)'v + β ½ v'Rv + Σ_j softplus(β (c_j + W_j v)) (Neal 2001; Salakhutdinov & Murray
    2008, section 4.1); coupled units are moved by a sweep. Products are in the float type of the parameters, sums over
    units and steps in float64. All chains move in one product, up to a few thousand; more follow one block after
    another, so that memory stays bounded.
    """
    machine = path.machine
    size = max(1, _BLOCK // max(machine.n_features, machine.n_hidden))
    blocks = torch.split(v, size)
    bases = torch.split(path.base_b, size) if path.base_b.ndim == 2 else [path.base_b] * len(blocks)
    n_steps = len(betas) - 1
    states, log_weights = [], []
    for n_done, (block, base_b) in enumerate(zip(blocks, bases, strict=True)):
        state, log_weight = block, torch.zeros(len(block), dtype=torch.float64, device=v.device)
        increments = _increments(AnnealingPath(machine, base_b), block, betas, stream)
        for step, (state, increment) in enumerate(increments, 1):  # noqa: B007
            log_weight += increment
            if progress is not None and step % 50 == 0:
                progress(n_done * n_steps + step, len(blocks) * n_steps)
        states.append(state)
        log_weights.append(log_weight)
    return Annealed(torch.cat(states), torch.cat(log_weights))


def _increments(
    path: AnnealingPath, v: Tensor, betas: Sequence[float], stream: Stream
) -> Iterator[tuple[Tensor, Tensor]]:
    """The chains before each step, and what it adds to their log-weights (n_chains,)."""
    machine = path.machine
    W, c, visible, hidden = machine.W, machine.c, machine.visible, machine.hidden
    weights = Weights.of(machine, len(v), len(betas) - 1)
    if weights is not None and _steps_are_small(machine, betas):
        chains = CompiledAnnealing(weights, path.base_b, v)
        for first in range(0, len(betas) - 1, _STEPS_TOGETHER):
            some = torch.tensor(betas[first : first + _STEPS_TOGETHER + 1], dtype=torch.float64)
            is_last = first + _STEPS_TOGETHER >= len(betas) - 1
            for increment in chains.run_(some, stream, is_last):
                yield chains.v, increment
        return
    bias_difference = machine.b - path.base_b
    largest_input = _largest_input(machine)
    for step, (before, beta) in enumerate(pairwise(betas), 1):
        inputs = linear(v, W, c)  # (n_chains, n_hidden), at inverse temperature 1
        along = v @ bias_difference if bias_difference.ndim == 1 else (v * bias_difference).sum(1)
        if machine.R is not None:
            along = along + machine.log_weight_of_couplings(v)
        increment = along.double() * (beta - before)
        increment += _cumulant_step(hidden, inputs, before, beta, largest_input).sum(1, dtype=torch.float64)
        yield v, increment
        if step < len(betas) - 1:
            h = hidden.sample(hidden.mean_(inputs.mul_(beta)), stream)
            of_v = linear(h.mul_(beta), W.T, path.bias(beta))
            if machine.R is None:
                v = visible.sample(visible.mean_(of_v), stream)
            else:
                v = v.clone()
                sweep_(machine, v, of_v, stream.numbers(v.numel(), v.device), scale=beta)


def _largest_input(machine: RBMParameters) -> float:
    return float((machine.c.abs() + machine.W.abs().sum(1)).max()) if machine.n_hidden else 0.0


def _steps_are_small(machine: RBMParameters, betas: Sequence[float]) -> bool:
    """Whether no input of a hidden unit moves by 1 or more from one bridge to the next."""
    return max(abs(beta - before) for before, beta in pairwise(betas)) * _largest_input(machine) < 1.0


def _cumulant_step(unit: Unit, inputs: Tensor, before: float, beta: float, largest: float) -> Tensor:
    """cumulant(beta inputs) - cumulant(before inputs), where |inputs| <= `largest`."""
    if abs(beta - before) * largest < 1.0:
        return unit.cumulant_step(inputs, before, beta - before)
    wide = inputs.double()
    return unit.cumulant(wide * beta) - unit.cumulant(wide * before)


# -- schedules -------------------------------------------------------------------------------------------------------


def inverse_temperatures(
    path: AnnealingPath, stream: Stream, n_temperatures: int = 10_000, schedule: Schedule = "adaptive"
) -> Sequence[float]:
    """Inverse temperatures that rise from 0 to 1.

    Parameters
    ----------
    path : AnnealingPath
        What they are for.
    stream : Stream
        Randomness of the pilot runs of "adaptive".
    n_temperatures : int
        Number of steps.
    schedule : {"uniform", "adaptive"} or sequence of float
        Even steps; or steps from pilot runs, see `adapted_schedule`; or the inverse temperatures themselves, whatever
        `n_temperatures` is.

    Raises
    ------
    ValueError
        If the schedule is neither.
    """
    schedule = checked_schedule(schedule)
    if schedule == "uniform":
        return uniform_schedule(n_temperatures)
    if schedule == "adaptive":
        return adapted_schedule(path, n_temperatures, stream)
    return schedule


def checked_schedule(schedule: Any) -> Any:
    """The schedule by its name, or as a list of inverse temperatures.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(schedule, str) and schedule in ("uniform", "adaptive"):
        return schedule
    try:
        betas = np.asarray(schedule, dtype=np.float64)
    except (TypeError, ValueError):
        betas = np.empty(0)
    if betas.ndim != 1 or len(betas) < 2 or betas[0] != 0.0 or betas[-1] != 1.0 or not (np.diff(betas) >= 0).all():
        raise ValueError(
            f"schedule={schedule!r} must be 'uniform', 'adaptive', or inverse temperatures that rise from 0 to 1."
        )
    return betas.tolist()


def uniform_schedule(n_temperatures: int) -> list[float]:
    """Inverse temperatures 0, …, 1 with `n_temperatures` even steps between them."""
    return [step / n_temperatures for step in range(n_temperatures + 1)]


@torch.no_grad()
def adapted_schedule(path: AnnealingPath, n_temperatures: int, stream: Stream) -> list[float]:
    """Inverse temperatures 0, …, 1 with `n_temperatures` steps, denser where the log-weights spread faster.

    A step's length is the inverse of the standard deviation of d log f / dβ over the chains of a pilot run, smoothed,
    so that each adds about the same variance (Grosse, Maddison & Salakhutdinov 2013, section 3); a fifth of the steps
    stays where it was, lest the pilot missed something. Of two pilot runs the first is in even steps, the second in
    adapted ones.
    """
    betas = uniform_schedule(_PILOT_STEPS)
    for n_steps in (_PILOT_STEPS, n_temperatures):
        v = path.samples_of_base(_PILOT_CHAINS, stream)
        spread = np.array([float(x.std()) for _, x in _increments(path, v, betas, stream)])
        betas = _even_out(betas, spread, n_steps)
    return betas


def _even_out(betas: list[float], spread: np.ndarray, n_steps: int) -> list[float]:
    """`n_steps` steps that share evenly in the `spread` of the steps between `betas`."""
    width = max(1, len(spread) // 50)
    padded = np.pad(spread, width, mode="edge")
    smooth = np.convolve(padded, np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
    share = 0.8 * smooth / max(smooth.mean(), 1e-300) + 0.2
    passed = np.concatenate([[0.0], np.cumsum(share)])
    new = np.interp(np.linspace(0.0, passed[-1], n_steps + 1), passed, betas)
    new[0], new[-1] = 0.0, 1.0
    return [float(beta) for beta in new]


# -- estimates -------------------------------------------------------------------------------------------------------


def log_partition_ais(
    path: AnnealingPath, betas: Sequence[float], stream: Stream, n_chains: int = 100, progress: Progress | None = None
) -> LogPartition:
    """Logarithm of the partition function by annealed importance sampling (AIS).

    Parameters
    ----------
    path : AnnealingPath
        The way to the machine.
    betas : sequence of float
        Inverse temperatures, rising from 0 to 1.
    stream : Stream
        Randomness.
    n_chains : int
        Number of independent runs.
    progress : callable, optional
        See `skrbm.support.progress.Progress`.

    Returns
    -------
    LogPartition
        With `lower` = `value`: in expectation AIS lies below log Z.

    Warns
    -----
    LogPartitionWarning
        If the effective sample size is less than a tenth of the chains.

    Notes
    -----
    log Z ≈ log Z_0 + log mean w (Salakhutdinov & Murray 2008, section 4.1).
    """
    began = time.perf_counter()
    log_weight = anneal(path, path.samples_of_base(n_chains, stream), betas, stream, progress).log_weight
    return _of_weights("ais", path, log_weight, betas, began)


def log_partition_reverse_ais(
    path: AnnealingPath, v: Tensor, betas: Sequence[float], stream: Stream, progress: Progress | None = None
) -> LogPartition:
    """Logarithm of the partition function by AIS run backwards, from samples of the machine to the base machine.

    Parameters
    ----------
    path, betas, stream, progress
        As in `log_partition_ais`.
    v : Tensor of shape (n_chains, n_features)
        Independent samples of the machine, one for each run.

    Returns
    -------
    LogPartition
        With `upper` = `value`: in expectation it lies above log Z, if `v` are samples at equilibrium.

    Warns
    -----
    LogPartitionWarning
        If the effective sample size is less than a tenth of the chains.

    Notes
    -----
    log Z ≈ log Z_0 - log mean w, as 1/w of AIS has the mean Z_0 / Z over reversed runs (Burda, Grosse & Salakhutdinov
    2015, section 3.1; Grosse, Ghahramani & Adams 2015).
    """
    began = time.perf_counter()
    log_weight = anneal(path, v.to(path.machine.W), betas[::-1], stream, progress).log_weight
    return _of_weights("reverse_ais", path, log_weight, betas, began)


def _of_weights(
    method: str, path: AnnealingPath, log_weight: Tensor, betas: Sequence[float], began: float
) -> LogPartition:
    """log Z = log Z_0 ± log mean w, - for the reverse."""
    sign = 1 if method == "ais" else -1
    n = len(log_weight)
    w = (log_weight - log_weight.max()).exp()
    value = path.log_z_of_base + sign * (float(log_weight.logsumexp(0)) - math.log(n))
    found = LogPartition(
        value,
        standard_error=float(w.std() / w.mean()) / math.sqrt(n) if n > 1 else math.inf,
        lower=value if sign > 0 else None,
        upper=value if sign < 0 else None,
        effective_sample_size=float(w.sum() ** 2 / (w**2).sum()),
        n_chains=n,
        n_temperatures=len(betas) - 1,
        seconds=time.perf_counter() - began,
        method=method,
    )
    warn_if_few_count(found)
    return found


@torch.no_grad()
def log_likelihood_raise(
    path: AnnealingPath,
    v: Tensor,
    betas: Sequence[float],
    stream: Stream,
    n_chains: int = 10,
    progress: Progress | None = None,
) -> Tensor:
    """Log-probabilities under the *annealed* model, by the reverse AIS estimator (RAISE).

    Parameters
    ----------
    path, betas, stream, progress
        As in `log_partition_ais`.
    v : Tensor of shape (n, n_features)
        Rows.
    n_chains : int
        Runs for each row.

    Returns
    -------
    Tensor of shape (n,), float64
        In expectation at most log p_annealed(v), nats.

    Notes
    -----
    The annealed model draws from the base machine and follows the bridges up to the machine. Its log-probability of a
    row is not bounded by log p(v); but its mean over rows drawn from p lies below the mean of log p(v), by the
    divergence between the two (Burda, Grosse & Salakhutdinov 2015, section 3.2). A test set's mean is a bound as far as
    the test rows are like the machine's.
    """
    machine = path.machine
    log_means = []
    for rows in torch.split(
        v.to(machine.W), max(1, _RAISE_BLOCK // (n_chains * max(machine.n_features, machine.n_hidden)))
    ):
        state = gibbs_init(machine, rows.repeat_interleave(n_chains, 0), stream)
        _, info = gibbs_step(machine, state, stream)  # the transition under the last bridge
        log_weight = anneal(path, info.v, betas[::-1], stream, progress).log_weight.view(-1, n_chains)
        log_means.append(log_weight.logsumexp(1) - math.log(n_chains) - free_energy(machine, rows).double())
    return torch.cat(log_means) - path.log_z_of_base
