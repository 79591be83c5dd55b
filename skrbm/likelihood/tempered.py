"""log Z from the swaps of tempering."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from scipy.special import expit, logsumexp

from skrbm.likelihood.result import LogPartition, LogPartitionWarning
from skrbm.sampling.kernels import steps
from skrbm.sampling.ladder import Ladder
from skrbm.sampling.tempering import TEMPERING, SwapRates, tempering_init
from skrbm.support.checks import warn
from skrbm.support.progress import Progress
from skrbm.support.randomness import Stream


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
        See `skrbm.support.progress.Progress`.

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
    rates = SwapRates(ladder)
    up, down = _log_ratios(ladder, n_steps, n_chains, stream, rates, progress)
    base = ladder.rung(0)
    log_base = float(base.visible.cumulant(base.b.double()).sum() + base.hidden.cumulant(base.c.double()).sum())
    ratios, influence = zip(*map(_bennett, up, down), strict=True)
    standard_error = float(np.std(np.sum(influence, 0), ddof=1)) / math.sqrt(n_chains) if n_chains > 1 else math.inf
    if text := rates.warning_text():
        standard_error = math.inf
        warn(f"log Z by tempering is not to be trusted. {text}", LogPartitionWarning)
    return LogPartition(
        log_base + float(np.sum(ratios)),
        standard_error,
        lower=log_base + sum(_log_mean_exp(x) for x in up),
        upper=log_base - sum(_log_mean_exp(x) for x in down),
        effective_sample_size=None,
        n_chains=n_chains,
        n_temperatures=ladder.n_rungs,
        seconds=time.perf_counter() - began,
        method="tempering",
    )


def _log_ratios(
    ladder: Ladder, n_steps: int, n_chains: int, stream: Stream, rates: SwapRates, progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """log f_{t+1}/f_t at samples of each rung t, and log f_t/f_{t+1} at those of rung t+1, as the swaps need them.

    Both (n_pairs, n, n_chains), where n is about half of `n_steps`: a pair tries to swap at every other step.
    """
    visible = ladder.visible
    v = visible.sample(visible.mean(ladder.b[0]).expand(n_chains, -1), stream)
    start = tempering_init(ladder, v, stream)
    rates.start_(start)
    n_pairs, n_kept, burn_in = ladder.n_rungs - 1, (n_steps + 1) // 2, n_steps // 2
    n_all = burn_in + 2 * n_kept
    up, down = np.empty((n_pairs, n_kept, n_chains)), np.empty((n_pairs, n_kept, n_chains))
    for step, (state, info) in enumerate(steps(TEMPERING, ladder, start, n_all, stream)):
        rates.add_(state, info, late=step >= burn_in)
        if step >= burn_in:
            up[info.lower, (step - burn_in) // 2] = info.log_ratio_up.cpu().numpy()
            down[info.lower, (step - burn_in) // 2] = info.log_ratio_down.cpu().numpy()
        if progress is not None:
            progress(step + 1, n_all)
    return up, down


def _log_mean_exp(x: np.ndarray) -> float:
    return float(logsumexp(x)) - math.log(x.size)


def _bennett(up: np.ndarray, down: np.ndarray) -> tuple[float, np.ndarray]:
    """log Z_1 / Z_0 from log f_1/f_0 at samples of p_0 and log f_0/f_1 at samples of p_1, both (n_steps, n_chains).

    Also each chain's influence on it, (n_chains,): the estimate moves by the mean of these.
    """
    from scipy.optimize import brentq  # late

    def imbalance(x: float) -> float:
        return float(expit(up - x).mean() - expit(down + x).mean())

    reach = max(np.abs(up).max(), np.abs(down).max()) + 50.0
    ratio = float(brentq(imbalance, -reach, reach, xtol=1e-10))
    p, q = expit(up - ratio), expit(down + ratio)
    slope = (p * (1 - p)).mean() + (q * (1 - q)).mean()
    return ratio, (p - q).mean(0) / max(slope, 1e-300)
