"""Likelihoods in nats: log Z exactly, by annealing and by tempering, with error bars."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit, logsumexp
from scipy.stats import t as student_t
from torch import Tensor

from skrbm.likelihood.annealed import Progress, adapted_schedule, anneal, log_partition_base, uniform_schedule
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.sampling.kernels import gibbs_init, gibbs_step, steps
from skrbm.sampling.tempering import TEMPERING, Ladder, SwapRates, ladder_by_name, tempering_init
from skrbm.support.randomness import Stream

__all__ = [
    "METHODS",
    "LogPartition",
    "LogPartitionWarning",
    "Schedule",
    "checked_schedule",
    "log_likelihood_exact",
    "log_likelihood_raise",
    "log_partition",
    "log_partition_ais",
    "log_partition_exact",
    "log_partition_reverse_ais",
    "log_partition_tempering",
    "method_for",
]

Schedule = Literal["uniform", "adaptive"] | Sequence[float]

METHODS = ("auto", "exact", "ais", "parallel_tempering", "trajectory_tempering")
_MAX_ENUMERATED = 30
_MAX_AUTO = 20
_CHUNK = 1 << 20  # elements of a temporary


def log_partition_exact(params: RBMParameters) -> float:
    """Logarithm of the partition function Z = Σ_v Σ_h exp(-E(v, h)), by enumeration of the smaller layer.

    Parameters
    ----------
    params : RBMParameters
        A machine with at most 30 units in its smaller layer. 20 beside 784 take a few seconds, each further one
        doubles the time. Memory stays bounded.

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


class LogPartitionWarning(UserWarning):
    """An estimate of log Z is not to be trusted: too few effective chains, or a bracket wider than asked."""


@dataclass(frozen=True)
class LogPartition:
    """log Z of a machine, in nats.

    Attributes
    ----------
    value : float
        log Z, or its estimate.
    standard_error : float
        Of `value`, from the spread between independent chains; 0 if exact, infinite if there is only one chain or
        rungs hardly ever swap. That of AIS can't exceed 1, and means little where there was a warning.
    lower, upper : float or None
        Estimates that lie below and above log Z in expectation, where they are known: without condition the `lower` of
        AIS, the others only as far as the samples that they are made from are at equilibrium.
    effective_sample_size : float or None
        (Σ w)² / Σ w² of the chains' weights: how many chains count. Below a tenth of them the estimate tends to be too
        low, which flatters the machine. None without weights.
    n_chains : int
        Independent chains, or systems of chains.
    n_temperatures : int
        Steps of the annealing, or rungs of the ladder.
    seconds : float
        Wall time.
    method : str
        "exact", "ais", "reverse_ais", "tempering", "parallel_tempering", or "trajectory_tempering".
    """

    value: float
    standard_error: float
    lower: float | None
    upper: float | None
    effective_sample_size: float | None
    n_chains: int
    n_temperatures: int
    seconds: float
    method: str

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of log Z: `value` ± as many standard errors as Student's t asks for at `level`."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} must lie between 0 and 1.")
        if self.standard_error == 0.0 or self.n_chains < 2:
            return self.value - self.standard_error, self.value + self.standard_error
        reach = float(student_t.ppf(0.5 + level / 2, self.n_chains - 1)) * self.standard_error
        return self.value - reach, self.value + reach


@torch.no_grad()
def log_partition(
    params: RBMParameters,
    method: str = "auto",
    *,
    base_b: Tensor | None = None,
    stream: Stream | None = None,
    n_temperatures: int | None = None,
    n_chains: int = 100,
    n_steps: int = 500,
    schedule: Schedule = "adaptive",
    samples: Tensor | None = None,
    max_width: float | None = None,
    checkpoints: Sequence[RBMParameters] | None = None,
    progress: Progress | None = None,
) -> LogPartition:
    """Logarithm of the partition function Z, by the method of that name.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    method : {"auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"}
        "auto" enumerates if the smaller layer has at most 20 units, and else is "ais".
    base_b : Tensor of shape (n_features,), optional
        Visible bias of the machine without weights that estimates start from; best the (smoothed) log-odds of the
        data. By default 0.
    stream : Stream, optional
        Randomness, fresh by default.
    n_temperatures : int, optional
        Steps of AIS, 10,000 by default; rungs of parallel tempering, by default as many as it needs.
    n_chains : int
        Independent chains of AIS, or systems of chains of tempering.
    n_steps : int
        Steps of tempering that count; half as many go before.
    schedule : {"uniform", "adaptive"} or sequence of float
        See `log_partition_ais`.
    samples : Tensor of shape (n_samples, n_features), optional
        Samples of the machine at equilibrium: AIS is run backwards from them too, and gives `upper`.
    max_width : float, optional
        Width of the bracket, in nats, from which on there is a warning; also where the ends lie the wrong way round,
        as they may where chains are far from equilibrium.
    checkpoints : sequence of RBMParameters, optional
        The rungs of trajectory tempering below the machine.
    progress : callable, optional
        Called now and then with the number of steps done and that of all.

    Returns
    -------
    LogPartition

    Raises
    ------
    ValueError
        If the method is not known, or is "exact" for a machine that is too large, or lacks checkpoints.

    Warns
    -----
    LogPartitionWarning
        If the effective sample size is less than a tenth of the chains, neighbouring rungs hardly ever swap, or the
        bracket is wider than `max_width`.
    """
    began = time.perf_counter()
    method = method_for(params, method)
    if method == "exact":
        value = log_partition_exact(params)
        return LogPartition(value, 0.0, value, value, None, 0, 0, time.perf_counter() - began, "exact")
    stream = Stream() if stream is None else stream
    base_b = torch.zeros_like(params.b) if base_b is None else base_b
    if method == "ais":
        betas = _betas(params, base_b, 10_000 if n_temperatures is None else n_temperatures, schedule, stream)
        found = log_partition_ais(params, base_b, stream, n_chains=n_chains, schedule=betas, progress=progress)
        if samples is not None:
            reverse = log_partition_reverse_ais(params, base_b, samples, stream, schedule=betas, progress=progress)
            found = replace(found, upper=reverse.value)
    else:
        ladder = ladder_by_name(method, params, base_b, stream, n_temperatures=n_temperatures, checkpoints=checkpoints)
        found = log_partition_tempering(ladder, stream, n_steps=n_steps, n_chains=n_chains, progress=progress)
        found = replace(found, method=method)
    _warn_if_wide(found, max_width)
    return replace(found, seconds=time.perf_counter() - began)


def method_for(params: RBMParameters, method: str) -> str:
    """The name of the method, where "auto" is the one that it stands for."""
    if method not in METHODS:
        raise ValueError(f"method={method!r} is not known. Choose one of: {', '.join(map(repr, METHODS))}.")
    if method == "auto":
        return "exact" if min(params.n_hidden, params.n_features) <= _MAX_AUTO else "ais"
    return method


def _warn_if_wide(found: LogPartition, max_width: float | None) -> None:
    if max_width is None or found.lower is None or found.upper is None or abs(found.upper - found.lower) <= max_width:
        return
    what = f"is wider than {max_width:g} nats"
    if found.lower > found.upper:
        what = f"lies the wrong way round by more than {max_width:g} nats: few samples, or not at equilibrium"
    warnings.warn(
        f"The bracket of log Z, {found.lower:.2f} … {found.upper:.2f}, {what}. Take more temperatures or steps, and "
        "samples of longer or tempered chains.",
        LogPartitionWarning,
        stacklevel=4,
    )


def _of_weights(
    method: str, log_base: float, log_weight: Tensor, sign: int, n_temperatures: int, began: float
) -> LogPartition:
    """log Z = log Z_0 ± log mean w."""
    n = len(log_weight)
    w = (log_weight - log_weight.max()).exp()
    value = log_base + sign * (float(log_weight.logsumexp(0)) - math.log(n))
    standard_error = float(w.std() / w.mean()) / math.sqrt(n) if n > 1 else math.inf
    size = float(w.sum() ** 2 / (w**2).sum())
    if size < max(n / 10, min(n, 2) - 1e-6):
        warnings.warn(
            f"Only {size:.1f} of {n} chains count (effective sample size): this estimate of log Z by {method} is not "
            "to be trusted. Take more temperatures; if that doesn't help, the machine mixes too badly for annealing.",
            LogPartitionWarning,
            stacklevel=4,
        )
    lower, upper = (value, None) if sign > 0 else (None, value)
    seconds = time.perf_counter() - began
    return LogPartition(value, standard_error, lower, upper, size, n, n_temperatures, seconds, method)


@torch.no_grad()
def log_partition_ais(
    params: RBMParameters,
    base_b: Tensor,
    stream: Stream,
    *,
    n_temperatures: int = 10_000,
    n_chains: int = 100,
    schedule: Schedule = "adaptive",
    progress: Progress | None = None,
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
        Number of steps from the base model to the machine.
    n_chains : int
        Number of independent runs.
    schedule : {"uniform", "adaptive"} or sequence of float
        Even steps; or steps from a pilot run, see `skrbm.likelihood.annealed.adapted_schedule`; or the inverse temperatures
        themselves, rising from 0 to 1.
    progress : callable, optional
        Called now and then with the number of steps done and that of all.

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
    betas = _betas(params, base_b, n_temperatures, schedule, stream)
    v = stream.bernoulli_logits(base_b.expand(n_chains, -1))
    log_weight = anneal(params, base_b, v, betas, stream, progress)
    return _of_weights("ais", log_partition_base(params, base_b), log_weight, +1, len(betas) - 1, began)


@torch.no_grad()
def log_partition_reverse_ais(
    params: RBMParameters,
    base_b: Tensor,
    v: Tensor,
    stream: Stream,
    *,
    n_temperatures: int = 10_000,
    schedule: Schedule = "adaptive",
    progress: Progress | None = None,
) -> LogPartition:
    """Logarithm of the partition function by AIS run backwards, from samples of the machine to the base model.

    Parameters
    ----------
    params, base_b, stream, n_temperatures, schedule, progress
        As in `log_partition_ais`.
    v : Tensor of shape (n_chains, n_features)
        Independent samples of the machine, zeros and ones, one for each run.

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
    betas = _betas(params, base_b, n_temperatures, schedule, stream)[::-1]
    log_weight = anneal(params, base_b, v.to(params.W), betas, stream, progress)
    return _of_weights("reverse_ais", log_partition_base(params, base_b), log_weight, -1, len(betas) - 1, began)


@torch.no_grad()
def log_likelihood_raise(
    params: RBMParameters,
    v: Tensor,
    base_b: Tensor,
    stream: Stream,
    *,
    n_temperatures: int = 1000,
    n_chains: int = 10,
    schedule: Schedule = "adaptive",
    progress: Progress | None = None,
) -> Tensor:
    """Log-probabilities under the *annealed* model, by the reverse AIS estimator (RAISE).

    Parameters
    ----------
    params, base_b, stream, n_temperatures, schedule, progress
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
    The annealed model draws from the base model and follows the bridges up to the machine. Its log-probability of a
    row is not bounded by log p(v); but its mean over rows drawn from p lies below the mean of log p(v), by the
    divergence between the two (Burda, Grosse & Salakhutdinov 2015, section 3.2). A test set's mean is a bound as far as
    the test rows are like the machine's.
    """
    betas = _betas(params, base_b, n_temperatures, schedule, stream)[::-1]
    log_means = []
    for rows in torch.split(v.to(params.W), max(1, _CHUNK // (n_chains * max(params.n_features, params.n_hidden)))):
        state = gibbs_init(params, rows.repeat_interleave(n_chains, 0), stream)
        _, info = gibbs_step(params, state, stream)  # the transition under the last bridge
        log_weight = anneal(params, base_b, info.v, betas, stream, progress).view(-1, n_chains)
        log_means.append(log_weight.logsumexp(1) - math.log(n_chains) - free_energy(params, rows).double())
    return torch.cat(log_means) - log_partition_base(params, base_b)


def _betas(
    params: RBMParameters, base_b: Tensor, n_temperatures: int, schedule: Schedule, stream: Stream
) -> Sequence[float]:
    schedule = checked_schedule(schedule)
    if schedule == "uniform":
        return uniform_schedule(n_temperatures)
    if schedule == "adaptive":
        return adapted_schedule(params, base_b, n_temperatures, stream)
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


@torch.no_grad()
def log_partition_tempering(
    ladder: Ladder,
    stream: Stream,
    *,
    n_steps: int = 1000,
    n_chains: int = 100,
    progress: Progress | None = None,
) -> LogPartition:
    """Logarithm of the highest rung's partition function, from the swaps of tempering.

    Parameters
    ----------
    ladder : Ladder
        Machines whose first has no weights.
    stream : Stream
        Randomness.
    n_steps : int
        Steps that count, at least 2; half as many go before. All rungs start from samples of the first.
    n_chains : int
        Number of independent systems of chains. Memory holds all their rungs at once, and two numbers for each step,
        system and pair of rungs.
    progress : callable, optional
        Called now and then with the number of steps done and that of all.

    Returns
    -------
    LogPartition
        `lower` and `upper` are the sums of the log-means over one side's samples each.

    Warns
    -----
    LogPartitionWarning
        If two neighbours hardly ever swap.

    Notes
    -----
    log Z is that of the first rung and the sum of log Z_{t+1} / Z_t over neighbours, each by Bennett's acceptance ratio
    (Bennett 1976) from the free-energy differences that the swaps need anyway (Béreux et al. 2024). The
    standard error is the spread between systems, so the correlation of successive steps is in it.
    """
    began = time.perf_counter()
    if bool((ladder.W[0] * ladder.scale[0]).any()):
        raise ValueError("The first rung of the ladder has weights; log Z is known only of a machine without.")
    state = tempering_init(ladder, stream.bernoulli_logits(ladder.b[0].expand(n_chains, -1)), stream)
    n_pairs, n_kept, burn_in = ladder.n_rungs - 1, (n_steps + 1) // 2, n_steps // 2
    n_all = burn_in + 2 * n_kept
    up, down = np.empty((n_pairs, n_kept, n_chains)), np.empty((n_pairs, n_kept, n_chains))
    rates = SwapRates(ladder.n_rungs)
    for step, (_, info) in enumerate(steps(TEMPERING, ladder, state, n_all, stream)):
        if step >= burn_in:
            up[info.lower, (step - burn_in) // 2] = info.log_ratio_up.cpu().numpy()
            down[info.lower, (step - burn_in) // 2] = info.log_ratio_down.cpu().numpy()
            rates.add_(info)
        if progress is not None:
            progress(step + 1, n_all)
    base = ladder.rung(0)
    log_base = float(base.visible.cumulant(base.b.double()).sum() + base.hidden.cumulant(base.c.double()).sum())
    ratios, influence = zip(*map(_bennett, up, down), strict=True)
    standard_error = float(np.std(np.sum(influence, 0), ddof=1)) / math.sqrt(n_chains) if n_chains > 1 else math.inf
    if complaint := rates.complaint():
        standard_error = math.inf
        warnings.warn(f"log Z by tempering is not to be trusted. {complaint}", LogPartitionWarning, stacklevel=3)
    return LogPartition(
        log_base + float(np.sum(ratios)),
        standard_error,
        log_base + sum(_log_mean_exp(x) for x in up),
        log_base - sum(_log_mean_exp(x) for x in down),
        None,
        n_chains,
        ladder.n_rungs,
        time.perf_counter() - began,
        "tempering",
    )


def _log_mean_exp(x: np.ndarray) -> float:
    return float(logsumexp(x)) - math.log(x.size)


def _bennett(up: np.ndarray, down: np.ndarray) -> tuple[float, np.ndarray]:
    """log Z_1 / Z_0 from log f_1/f_0 at samples of p_0 and log f_0/f_1 at samples of p_1, both (n_steps, n_chains).

    Also each chain's influence on it, (n_chains,): the estimate moves by the mean of these.
    """

    def imbalance(x: float) -> float:
        return float(expit(up - x).mean() - expit(down + x).mean())

    reach = max(np.abs(up).max(), np.abs(down).max()) + 50.0
    ratio = float(brentq(imbalance, -reach, reach, xtol=1e-10))
    p, q = expit(up - ratio), expit(down + ratio)
    slope = (p * (1 - p)).mean() + (q * (1 - q)).mean()
    return ratio, (p - q).mean(0) / max(slope, 1e-300)


def _all_states(n: int, like: Tensor) -> Tensor:
    """All 2^n states of n bits, (2^n, n)."""
    return _bits(torch.arange(1 << n, device=like.device), n).to(like)


def _bits(codes: Tensor, n: int) -> Tensor:
    return (codes[:, None] >> torch.arange(n, device=codes.device)) & 1
