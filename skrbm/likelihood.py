"""Likelihoods in nats: log Z exactly for small machines and by annealing for others, exact pseudo-likelihood."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from skrbm.model import RBMParameters, free_energy, input_to_h
from skrbm.randomness import Stream
from skrbm.units import BERNOULLI

__all__ = [
    "LogPartition",
    "log_likelihood_exact",
    "log_partition_ais",
    "log_partition_exact",
    "pseudo_log_likelihood",
]

_MAX_ENUMERATED = 30
_CHUNK = 1 << 20  # elements of a temporary


def log_partition_exact(params: RBMParameters) -> float:
    """Logarithm of the partition function Z = Σ_v Σ_h exp(-E(v, h)), by enumeration of the smaller layer.

    Parameters
    ----------
    params : RBMParameters
        A machine with at most 30 units in its smaller layer. Up to about 20 take a second, each further one doubles
        the time. Memory stays bounded.

    Returns
    -------
    float
        log Z in nats, computed in float64.

    Raises
    ------
    ValueError
        If the smaller layer has more than 30 units, or units that are not Bernoulli.

    Notes
    -----
    Σ_v exp(-F(v)) over the 2^n_features visible states, or the same with the layers exchanged (Salakhutdinov & Murray
    2008, section 2).
    """
    small = params.transposed() if params.n_hidden < params.n_features else params
    if small.n_features > _MAX_ENUMERATED:
        raise ValueError(
            f"Enumeration needs a layer of at most {_MAX_ENUMERATED} units; this machine has {params.n_features} "
            f"visible and {params.n_hidden} hidden ones. Estimate log Z instead, or train a smaller machine."
        )
    if small.visible is not BERNOULLI:
        raise ValueError(f"Only Bernoulli units can be enumerated, got {small.visible!r}.")
    small = small.to(torch.float64)
    # States are split into low bits, whose inputs are kept, and high bits, which are looped over.
    n_low = min(small.n_features, max(0, int(math.log2(max(1, _CHUNK // small.n_hidden)))))
    low = _all_states(n_low, small.W)  # (2^n_low, n_low)
    input_low = low @ small.W[:, :n_low].T + small.c  # (2^n_low, n_hidden)
    bias_low = low @ small.b[:n_low]
    total = torch.tensor(-math.inf, dtype=torch.float64, device=small.W.device)
    n_high = small.n_features - n_low
    for code in range(1 << n_high):
        high = _bits(torch.tensor([code], device=small.W.device), n_high).to(small.W)[0]
        inputs = input_low + small.W[:, n_low:] @ high
        minus_free_energy = bias_low + small.b[n_low:] @ high + small.hidden.cumulant(inputs).sum(1)
        total = torch.logaddexp(total, minus_free_energy.logsumexp(0))
    return float(total)


def log_likelihood_exact(params: RBMParameters, v: Tensor, log_partition: float | None = None) -> Tensor:
    """log p(v) = -F(v) - log Z of each row, in nats, float64.

    Parameters
    ----------
    params : RBMParameters
        A machine with at most 30 units in its smaller layer.
    v : Tensor of shape (n, n_features)
        Rows.
    log_partition : float, optional
        log Z, if it is known already.

    Returns
    -------
    Tensor of shape (n,)
    """
    log_partition = log_partition_exact(params) if log_partition is None else log_partition
    return -free_energy(params.to(torch.float64), v.to(torch.float64)) - log_partition


class LogPartition(NamedTuple):
    """An estimate of log Z.

    Attributes
    ----------
    value : float
        log Z, in nats.
    standard_error : float
        Of `value`, in nats, from the spread of the chains' weights.
    effective_sample_size : float
        (Σ w)² / Σ w², the number of chains that count. Below a tenth of the chains the estimate is not to be
        trusted; it then tends to be too low, which flatters the machine.
    """

    value: float
    standard_error: float
    effective_sample_size: float


@torch.no_grad()
def log_partition_ais(
    params: RBMParameters, base_b: Tensor, stream: Stream, *, n_temperatures: int = 10_000, n_chains: int = 100
) -> LogPartition:
    """Logarithm of the partition function by annealed importance sampling (AIS).

    Parameters
    ----------
    params : RBMParameters
        A machine with Bernoulli units.
    base_b : Tensor of shape (n_features,)
        Visible bias of the base model, which has no weights: the (smoothed) log-odds of the data.
    stream : Stream
        Randomness.
    n_temperatures : int
        Number of steps from the base model to the machine, evenly spaced.
    n_chains : int
        Number of independent runs.

    Returns
    -------
    LogPartition

    Notes
    -----
    Salakhutdinov & Murray 2008, section 4.1. The bridge at inverse temperature β has
    log f_β(v) = ((1-β) base_b + β b)'v + Σ_j softplus(β (c_j + W_j v)); the log-weights add up in float64.
    """
    W, b, c = params.W, params.b, params.c
    cumulant = params.hidden.cumulant
    log_base = float(cumulant(base_b.double()).sum()) + params.n_hidden * math.log(2.0)
    bias_difference = b - base_b
    v = stream.bernoulli_logits(base_b.expand(n_chains, -1))
    log_weight = torch.zeros(n_chains, dtype=torch.float64, device=W.device)
    previous = torch.full((n_chains,), params.n_hidden * math.log(2.0), device=W.device, dtype=torch.float64)
    for step in range(1, n_temperatures + 1):
        beta = step / n_temperatures
        inputs = torch.addmm(c, v, W.T)  # (n_chains, n_hidden), at inverse temperature 1
        if step > 1:  # the same v seen from the bridge before
            previous = cumulant(inputs * ((step - 1) / n_temperatures)).sum(1, dtype=torch.float64)
        scaled = inputs.mul_(beta)
        log_weight += cumulant(scaled).sum(1, dtype=torch.float64) - previous
        log_weight += (v @ bias_difference).double() / n_temperatures
        if step < n_temperatures:
            _, h = params.hidden.mean_and_sample(scaled, stream)
            bias = torch.lerp(base_b, b, beta)
            v = stream.bernoulli_logits(torch.addmm(bias, h, W, alpha=beta))
    log_mean = float(log_weight.logsumexp(0)) - math.log(n_chains)
    w = (log_weight - log_weight.max()).exp()
    standard_error = float(w.std() / w.mean() / math.sqrt(n_chains)) if n_chains > 1 else math.inf
    return LogPartition(log_base + log_mean, standard_error, float(w.sum() ** 2 / (w**2).sum()))


def pseudo_log_likelihood(params: RBMParameters, v: Tensor) -> Tensor:
    """Pseudo-log-likelihood of each row: Σ_i v_i log p_i + (1 - v_i) log(1 - p_i), p_i = P(v_i = 1 | the other v).

    Parameters
    ----------
    params : RBMParameters
        A machine with Bernoulli units.
    v : Tensor of shape (n, n_features)
        Rows. Values between 0 and 1 count as probabilities of a one.

    Returns
    -------
    Tensor of shape (n,)
        Nats, in the float type of `v`. Exact up to rounding and deterministic; takes O(n_features · n_hidden) time a
        row and bounded memory.

    Notes
    -----
    Besag 1975; Hyvärinen 2006. With a_j = c_j + W_j v, the logit of p_i is b_i plus
    Σ_j softplus(a_j + W_ji (1 - v_i)) - softplus(a_j - W_ji v_i).
    """
    params = params.to(v.dtype)
    inputs = input_to_h(params, v)  # (n, n_hidden)
    # The quick form raises e to every weight: it needs bits, and numbers that stay in range.
    quick = bool(((v == 0) | (v == 1)).all()) and float(params.W.abs().max()) + float(inputs.abs().max()) < 60.0
    logits = params.b.repeat(v.shape[0], 1)  # (n, n_features)
    n_hidden = max(1, min(params.n_hidden, _CHUNK // params.n_features))
    n_rows = max(1, _CHUNK // (n_hidden * params.n_features))
    for first in range(0, v.shape[0], n_rows):
        rows = slice(first, first + n_rows)
        for first_hidden in range(0, params.n_hidden, n_hidden):
            hidden = slice(first_hidden, first_hidden + n_hidden)
            effect = _effect_of_bits if quick else _effect
            logits[rows] += effect(v[rows], inputs[rows, hidden], params.W[hidden])
    return (v * logits - BERNOULLI.cumulant(logits)).sum(1)


def _effect(v: Tensor, inputs: Tensor, W: Tensor) -> Tensor:
    """What hidden units (their inputs (n, n_hidden)) add to the logit of each v_i given the others: (n, n_features)."""
    without = inputs[:, :, None] - W * v[:, None, :]  # (n, n_hidden, n_features), the input without v_i
    return (BERNOULLI.cumulant(without + W) - BERNOULLI.cumulant(without)).sum(1)


def _effect_of_bits(v: Tensor, inputs: Tensor, W: Tensor) -> Tensor:
    """The same for v of zeros and ones, with one logarithm in place of two cumulants.

    Flipping v_i moves the cumulant of a_j by log(σ(-a_j) + σ(a_j) exp(±W_ji)), a sum of positive terms.
    """
    sign = 1.0 - 2.0 * v  # (n, n_features)
    ratio = (W * sign[:, None, :]).exp_()  # (n, n_hidden, n_features)
    ratio.mul_(inputs.sigmoid()[:, :, None]).add_(inputs.neg().sigmoid()[:, :, None])
    return ratio.log_().sum(1) * sign


def _all_states(n: int, like: Tensor) -> Tensor:
    """All 2^n states of n bits, (2^n, n)."""
    return _bits(torch.arange(1 << n, device=like.device), n).to(like)


def _bits(codes: Tensor, n: int) -> Tensor:
    return (codes[:, None] >> torch.arange(n, device=codes.device)) & 1
