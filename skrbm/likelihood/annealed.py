"""Annealing between a machine without weights and a machine: the weights that estimates of log Z are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.support.kernels import linear
from skrbm.support.randomness import Stream

__all__ = ["Progress", "adapted_schedule", "anneal", "log_partition_base", "uniform_schedule"]

Progress = Callable[[int, int], None]
_CHUNK = 1 << 22  # elements of a layer that are annealed at a time


def log_partition_base(params: RBMParameters, base_b: Tensor) -> float:
    """log Z of the machine at inverse temperature 0: visible bias `base_b`, no weights, no hidden bias; in nats."""
    hidden = float(params.hidden.cumulant(torch.zeros((), dtype=torch.float64)))
    return float(params.visible.cumulant(base_b.double()).sum()) + params.n_hidden * hidden


@torch.no_grad()
def anneal(
    params: RBMParameters,
    base_b: Tensor,
    v: Tensor,
    betas: Sequence[float],
    stream: Stream,
    progress: Progress | None = None,
) -> Tensor:
    """Log-weights of chains that move through the bridges at inverse temperatures `betas`.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    base_b : Tensor of shape (n_features,)
        Visible bias of the base model, the bridge at β = 0.
    v : Tensor of shape (n_chains, n_features)
        Where the chains start: distributed as the bridge at the first β.
    betas : sequence of float
        Inverse temperatures: rising from 0 to 1 for AIS, falling from 1 to 0 for its reverse and for RAISE.
    stream : Stream
        Randomness.
    progress : callable, optional
        Called now and then with the number of steps done and that of all.

    Returns
    -------
    Tensor of shape (n_chains,), float64
        Σ_k log f_k(v_{k-1}) - log f_{k-1}(v_{k-1}), in nats, where v_k is one Gibbs step from v_{k-1} under bridge k.

    Notes
    -----
    log f_β(v) = ((1-β) base_b + β b)'v + Σ_j softplus(β (c_j + W_j v)) (Neal 2001; Salakhutdinov & Murray 2008,
    section 4.1). Products are in the float type of the parameters, sums over units and steps in float64. All chains
    move in one product, up to a few thousand; more follow one block after another, so that memory stays bounded.
    """
    blocks = torch.split(v, max(1, _CHUNK // max(params.n_features, params.n_hidden)))
    n_steps = len(betas) - 1
    log_weights = []
    for n_done, block in enumerate(blocks):
        log_weight = torch.zeros(len(block), dtype=torch.float64, device=v.device)
        for step, increment in enumerate(_increments(params, base_b, block, betas, stream), 1):
            log_weight += increment
            if progress is not None and step % 50 == 0:
                progress(n_done * n_steps + step, len(blocks) * n_steps)
        log_weights.append(log_weight)
    return torch.cat(log_weights)


def _increments(
    params: RBMParameters, base_b: Tensor, v: Tensor, betas: Sequence[float], stream: Stream
) -> Iterator[Tensor]:
    """What each step adds to the log-weights, (n_chains,)."""
    W, b, c = params.W, params.b, params.c
    bias_difference = b - base_b
    largest_input = float((c.abs() + W.abs().sum(1)).max())
    for step, (before, beta) in enumerate(pairwise(betas), 1):
        inputs = linear(v, W, c)  # (n_chains, n_hidden), at inverse temperature 1
        increment = (v @ bias_difference).double() * (beta - before)
        increment += _cumulant_step(params.hidden, inputs, before, beta, largest_input).sum(1, dtype=torch.float64)
        yield increment
        if step < len(betas) - 1:
            _, h = params.hidden.mean_and_sample(inputs.mul_(beta), stream)
            _, v = params.visible.mean_and_sample(linear(h.mul_(beta), W.T, torch.lerp(base_b, b, beta)), stream)


def _cumulant_step(unit: Unit, inputs: Tensor, before: float, beta: float, largest: float) -> Tensor:
    """cumulant(beta inputs) - cumulant(before inputs), where |inputs| <= `largest`."""
    if abs(beta - before) * largest < 1.0:
        return unit.cumulant_step(inputs, before, beta - before)
    wide = inputs.double()
    return unit.cumulant(wide * beta) - unit.cumulant(wide * before)


def uniform_schedule(n_temperatures: int) -> list[float]:
    """Inverse temperatures 0, …, 1 with `n_temperatures` even steps between them."""
    return [step / n_temperatures for step in range(n_temperatures + 1)]


@torch.no_grad()
def adapted_schedule(
    params: RBMParameters,
    base_b: Tensor,
    n_temperatures: int,
    stream: Stream,
    *,
    n_pilot: int = 500,
    n_chains: int = 50,
) -> list[float]:
    """Inverse temperatures 0, …, 1, denser where the log-weights spread faster.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    base_b : Tensor of shape (n_features,)
        Visible bias of the base model.
    n_temperatures : int
        Number of steps.
    stream : Stream
        Randomness of the pilot run.
    n_pilot, n_chains : int
        Steps and chains of the two pilot runs, the first in even steps, the second in adapted ones.

    Returns
    -------
    list of float
        `n_temperatures` + 1 numbers. A step's length is the inverse of the standard deviation of d log f / dβ over the
        pilot's chains, smoothed, so that each adds about the same variance (Grosse, Maddison & Salakhutdinov 2013,
        section 3); a fifth of the steps stays where it was, lest the pilot missed something.
    """
    betas = uniform_schedule(n_pilot)
    for n_steps in (n_pilot, n_temperatures):
        v = stream.bernoulli_logits(base_b.expand(n_chains, -1))
        spread = np.array([float(x.std()) for x in _increments(params, base_b, v, betas, stream)])
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
