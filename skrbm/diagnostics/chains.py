"""Diagnostics of Markov chains, from the series of a statistic.

A series is an array of shape (n_steps, n_chains): the value of one scalar statistic (an energy, say) at each step of
each of a number of independent chains. Times are in steps.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri, stdtr

from skrbm.sampling.tempering import RoundTrips

FloatArray = npt.NDArray[np.float64]

_MIN_STEPS = 4  # of which a half has two, the least for a variance


def autocorrelation(x: npt.ArrayLike, max_lag: int | None = None) -> FloatArray:
    """Autocorrelation ρ_t at the lags t = 0, 1, ..., of all chains together.

    Parameters
    ----------
    x : array-like of shape (n_steps, n_chains)
        A series, of at least 4 steps.
    max_lag : int, optional
        The last lag, at most n_steps - 1, which is the default.

    Returns
    -------
    ndarray of shape (max_lag + 1,)
        ρ_t; nan if the series has a single value throughout.

    Raises
    ------
    TypeError
        If `x` does not hold real numbers or `max_lag` is no integer.
    ValueError
        If `x` has the wrong shape, too few steps, or values that are not finite, or if `max_lag` is out of range.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, section 3.2: ρ_t = 1 - (W - mean_m s_m² ρ_{t,m}) / var⁺, with
    s_m² and ρ_{t,m} the variance and autocorrelation of chain m, W = mean_m s_m², and var⁺ the pooled variance, which
    counts the spread of the chains' means. Chains that disagree thus stay correlated at all lags. The covariances
    come by FFT, in O(n_chains · n_steps log n_steps) time.
    """
    x = _series(x)
    n_steps = x.shape[0]
    max_lag = n_steps - 1 if max_lag is None else max_lag
    if not isinstance(max_lag, int | np.integer):
        raise TypeError(f"max_lag must be an integer, got {max_lag!r}.")
    if not 0 <= max_lag < n_steps:
        raise ValueError(f"max_lag must be between 0 and n_steps - 1 = {n_steps - 1}, got {max_lag}.")
    within, between = _variances(x)
    pooled = (n_steps - 1) / n_steps * within + between
    if pooled == 0.0:
        return np.full(max_lag + 1, np.nan)
    length = next_fast_len(n_steps + max_lag, real=True)  # with enough zeros, no lag wraps around
    spectrum = np.square(np.abs(rfft(x - _mean(x), length, axis=0))).mean(1)
    covariance = irfft(spectrum, length)[: max_lag + 1] / (n_steps - 1)  # mean_m s_m² ρ_{t,m}
    rho: FloatArray = 1.0 - (covariance[0] - covariance) / pooled
    return rho


def autocorrelation_time(x: npt.ArrayLike) -> float:
    """Integrated autocorrelation time τ = 1 + 2 Σ_{t>0} ρ_t: the steps that are worth one independent draw.

    Parameters
    ----------
    x : array-like of shape (n_steps, n_chains)
        A series, of at least 4 steps. The estimate is good where n_steps is some 50 τ or more, and too low otherwise.

    Returns
    -------
    float
        τ in steps: 1 for independent draws, below 1 for draws that alternate. It is nan if the series has a single
        value throughout, and about 2 n_steps for chains that each stay at a value of their own.

    Raises
    ------
    TypeError, ValueError
        As `autocorrelation`.

    Notes
    -----
    The sum ends by the initial monotone sequence of Geyer 1992, section 3.3: ρ_t is summed in pairs
    ρ_{2k} + ρ_{2k+1}, up to the first that is negative, and no pair counts for more than the one before. As in Vehtari
    et al. 2021, τ is at least 1 / log10(n_steps · n_chains).
    """
    x = _series(x)
    rho = autocorrelation(x)
    if np.isnan(rho[0]):
        return math.nan
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2).sum(1)
    positive = np.logical_and.accumulate(pairs > 0.0)
    tau = -1.0 + 2.0 * float(np.minimum.accumulate(pairs[positive]).sum())
    return max(tau, 1.0 / math.log10(x.size))


def effective_sample_size(x: npt.ArrayLike) -> float:
    """How many independent draws would give the mean of the statistic as exactly, by chains that are cut into halves.

    Parameters
    ----------
    x : array-like of shape (n_steps, n_chains)
        A series, of at least 4 steps.

    Returns
    -------
    float
        nan if the series has a single value throughout; about n_chains for chains that each stay at a value of their
        own.

    Raises
    ------
    TypeError, ValueError
        As `autocorrelation`.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, section 3.2: n / τ of the n values, where the halves of the
    chains count as chains (the middle step of an odd number is left out), so that a chain which drifts disagrees with
    itself. That is ArviZ's ess(method="mean"). Of less than 8 steps the chains stay whole.

    Examples
    --------
    Two chains that go up and down, but each about a value of its own:

    >>> import numpy as np
    >>> chain = np.arange(1000) % 2
    >>> print(f"{effective_sample_size(np.column_stack([chain, chain + 10])):.1f}")
    2.0
    """
    x = _series(x)
    x = _halves(x) if x.shape[0] >= 2 * _MIN_STEPS else x
    return x.size / autocorrelation_time(x)


def r_hat(x: npt.ArrayLike) -> float:
    """Rank-normalised split R̂: 1 if the chains, and their halves, agree; below 1.01 is taken for agreement.

    Parameters
    ----------
    x : array-like of shape (n_steps, n_chains)
        A series, of at least 4 steps. A single chain is compared with itself, half with half.

    Returns
    -------
    float
        The larger of the R̂ of location and that of spread. It is 1 if the series has a single value throughout, and
        inf if the half-chains each stay at one value, but not all at the same.

    Raises
    ------
    TypeError, ValueError
        As `autocorrelation`.

    Notes
    -----
    Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, section 4. The chains are cut into halves (the middle step of
    an odd number is left out) and the values replaced by normal scores of their ranks, which makes R̂ good for heavy
    tails too. The R̂ of spread is that of |x - median|.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(1000, 4))
    >>> print(f"{r_hat(x):.2f} {r_hat(x + [0, 0, 0, 3]):.2f} {r_hat(x * [1, 1, 1, 9]):.2f}")
    1.00 1.48 1.35
    """
    x = _halves(_series(x))
    return max(_scale_reduction(x), _scale_reduction(np.abs(x - np.median(x))))


def merge_time(random_start: npt.ArrayLike, data_start: npt.ArrayLike, threshold: float = 3.0) -> float:
    """Time after which chains started at random can no longer be told from chains started at data.

    Parameters
    ----------
    random_start : array-like of shape (n_steps, n_random_chains)
        Series of the chains started at random, of at least 4 steps and 2 chains.
    data_start : array-like of shape (n_steps, n_data_chains)
        Series of the chains started at data, of as many steps and at least 2 chains. The chains must all be
        independent.
    threshold : float
        In standard deviations of a normal distribution: the difference from which on the groups are told apart.

    Returns
    -------
    float
        A number of steps: 0 or a power of two. It is inf if the groups still differ at the end of the run.

    Raises
    ------
    TypeError
        If a series does not hold real numbers.
    ValueError
        If a series has the wrong shape, too few steps or chains, or values that are not finite, if the numbers of
        steps differ, or if `threshold` is not positive.

    Notes
    -----
    Time is cut into blocks that double: [0, 1), [1, 2), [2, 4), [4, 8), ... The last ends with the run, and is joined
    with the one before if less than half of it is there. In each block the chains' means are two independent samples,
    whose difference over its standard error (variances may differ) is compared with Student's t. With as many degrees
    of freedom as the smaller group, less one, the level is never above the nominal one (Mickey & Brown 1966); those of
    Welch 1947 give several times as many false alarms where chains are few. The level is expressed as a z, and the
    result is the start of the first block from which on |z| < threshold. With the default threshold, a block of chains
    that agree differs with a chance of at most 0.3 %.

    Only a difference in means is seen, and a small one only by many chains: the time is a lower bound, best taken from
    ten chains or more in each group.
    """
    random_start = _series(random_start, "random_start", min_chains=2)
    data_start = _series(data_start, "data_start", min_chains=2)
    n_steps = random_start.shape[0]
    if n_steps != data_start.shape[0]:
        raise ValueError(
            f"random_start and data_start need as many steps, got {n_steps} and {data_start.shape[0]}; "
            "cut the longer one."
        )
    if not 0.0 < threshold < math.inf:
        raise ValueError(f"threshold must be positive and finite, got {threshold!r}.")
    edges = _doubling_edges(n_steps)
    apart = np.flatnonzero(_distance_z(_block_means(random_start, edges), _block_means(data_start, edges)) >= threshold)
    merged = int(apart[-1]) + 1 if apart.size else 0  # the first block after the last that differs
    return float(edges[merged]) if merged < len(edges) - 1 else math.inf


def round_trips(replica: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Number of round trips of tempering: from rung 0 up to the last rung and back to rung 0.

    Parameters
    ----------
    replica : array-like of int, shape (n_steps, n_rungs, n_systems)
        Which replica, 0 to n_rungs - 1, stands on which rung at each step, in each of n_systems independent systems.

    Returns
    -------
    ndarray of shape (n_systems,)
        Completed round trips of all replicas of each system.

    Raises
    ------
    TypeError
        If `replica` does not hold integers.
    ValueError
        If `replica` has the wrong shape, fewer than two rungs, or a step that is no permutation of the replicas.

    Examples
    --------
    Two rungs whose replicas are exchanged at each step. Each gets back to rung 0 every second step:

    >>> round_trips([[[0], [1]], [[1], [0]], [[0], [1]], [[1], [0]], [[0], [1]]])
    array([3])
    """
    replica = np.asarray(replica)
    if not np.issubdtype(replica.dtype, np.integer):
        raise TypeError(f"replica must hold integers, the numbers of replicas, got {replica.dtype}.")
    if replica.ndim != 3 or replica.shape[1] < 2:
        raise ValueError(
            f"replica must have the shape (n_steps, n_rungs, n_systems) with at least 2 rungs, got {replica.shape}."
        )
    _, n_rungs, n_systems = replica.shape
    if (np.sort(replica, axis=1) != np.arange(n_rungs)[:, None]).any():
        raise ValueError(f"replica must hold each of 0 to {n_rungs - 1} once along axis 1, at every step.")
    counter = RoundTrips(n_rungs, n_systems)
    for bottom, top in zip(replica[:, 0], replica[:, -1], strict=True):  # (n_systems,) each
        counter.add_(bottom, top)
    return counter.n_trips


def _series(x: npt.ArrayLike, name: str = "x", min_chains: int = 1) -> FloatArray:
    """A series as float64, checked."""
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {values.dtype}.")
    if values.ndim != 2:
        raise ValueError(
            f"{name} must have the shape (n_steps, n_chains), got {values.shape}; write one chain as {name}[:, None]."
        )
    n_steps, n_chains = values.shape
    if n_steps < _MIN_STEPS:
        raise ValueError(
            f"{name} needs at least {_MIN_STEPS} steps, got {n_steps}; axis 0 is time. Run the chains longer."
        )
    if n_chains < min_chains:
        raise ValueError(f"{name} needs n_chains of at least {min_chains}, got {n_chains}; run more chains.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity; leave out chains that have diverged.")
    return values.astype(np.float64)


# The first row is taken off before sums, so that rows that are all equal give exactly their value, and variance zero.


def _halves(x: FloatArray) -> FloatArray:
    """First and second half of each chain as chains, (n_steps // 2, 2 n_chains)."""
    half = x.shape[0] // 2
    return np.hstack([x[:half], x[-half:]])


def _mean(x: FloatArray) -> FloatArray:
    return x[0] + (x - x[0]).mean(0)


def _variance(x: FloatArray) -> FloatArray:
    return (x - x[0]).var(0, ddof=1)


def _variances(x: FloatArray) -> tuple[float, float]:
    """Mean of the chains' variances, W, and variance of their means, B / n_steps."""
    between = float(_variance(_mean(x))) if x.shape[1] > 1 else 0.0
    return float(_variance(x).mean()), between


def _scale_reduction(x: FloatArray) -> float:
    """R̂ of the normal scores of the ranks of `x`, without splitting."""
    from scipy.stats import rankdata  # late: half a second

    scores = ndtri((rankdata(x).reshape(x.shape) - 0.375) / (x.size + 0.25))
    within, between = _variances(scores)
    if within == 0.0:
        return math.inf if between > 0.0 else 1.0
    return math.sqrt((x.shape[0] - 1) / x.shape[0] + between / within)


def _doubling_edges(n_steps: int) -> list[int]:
    """Edges 0, 1, 2, 4, ..., n_steps of blocks."""
    edges = [0, *(1 << k for k in range((n_steps - 1).bit_length()))]
    if 2 * (n_steps - edges[-1]) < edges[-1]:
        edges.pop()
    return [*edges, n_steps]


def _block_means(x: FloatArray, edges: list[int]) -> FloatArray:
    """Mean of each block, (n_chains, n_blocks)."""
    return np.stack([_mean(x[start:stop]) for start, stop in pairwise(edges)], axis=1)


def _distance_z(a: FloatArray, b: FloatArray) -> FloatArray:
    """|z| with the level of the t-test of each column of `a` (n_a, n) against the same column of `b` (n_b, n)."""
    distance = np.abs(_mean(a) - _mean(b))
    error = np.sqrt(_variance(a) / len(a) + _variance(b) / len(b))
    t = np.divide(distance, error, out=np.where(distance > 0.0, np.inf, 0.0), where=error > 0.0)
    return -ndtri(stdtr(min(len(a), len(b)) - 1, -t))
