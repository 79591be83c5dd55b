"""Whether a machine has learned its rows: what is off, if something is."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.likelihood.annealed import log_partition_ais, log_partition_reverse_ais, uniform_schedule
from skrbm.sampling.kernels import GIBBS, run_chains
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream, check_stream

_LEVEL = 1e-3  # chance of a false alarm, over all columns and directions together
_N_DIRECTIONS = 5  # leading ones of the rows, in which means and variances are compared; fewer for few hidden units,
_UNITS_PER_DIRECTION = 8  # which have other things to learn
LEAST_UPDATES = 200  # a shorter fit is a trial, whose machine nobody expects to have learned the rows
N_CHAINS = 100
_LEAST_ROWS = 10  # to compare directions with
LEAST_LEARNED = 0.1  # share of the rows' squared correlations below which next to nothing has been learned
_UPDATES_TO_LEARN = 500  # before, nobody expects more of few rows
_MOST_COLUMNS, _N_SHUFFLES, _LEAST_Z = 300, 20, 6.0  # that tell whether the rows have any
_N_STEPS, _N_TEMPERATURES = (50, 200), (50, 1000)  # at least, and at most
_MOST_ELSEWHERE = 7.0  # nats: AIS overstates log Z by so much with a probability of e^-7


class Verdict(NamedTuple):
    """What was found about a machine.

    Attributes
    ----------
    problems : tuple of str
        What is off, in words; empty if nothing is.
    worst_column, worst_direction : float
        The least p-values of chains against rows, times the number of comparisons: below 1e-3 they count. Of directions
        it is NaN where there are too few rows to compare any, fewer than 20.
    elsewhere : float
        Nats by which log Z is more than chains near the rows account for, see Notes of `judge`.
    effective_sample_size : float
        Of a short AIS of a hundred chains.
    learned : float
        Squared correlations between columns in chains from rows, as a share of those in the rows, each less what chance
        brings. About 1 where the machine has learned them; below 0.1 it counts, if the rows have more than by chance.
    """

    problems: tuple[str, ...]
    worst_column: float
    worst_direction: float
    elsewhere: float
    effective_sample_size: float
    learned: float = math.nan

    def __str__(self) -> str:
        compared = not math.isnan(self.worst_direction)
        nothing = "nothing is off" if compared else "nothing is off, as far as so few rows can tell"
        directions = f"{self.worst_direction:.2g} of directions" if compared else "directions not compared"
        elsewhere = round(self.elsewhere, 1) + 0.0  # no -0.0
        return (
            f"Verdict: {'; '.join(self.problems) or nothing}. (Chains from rows against rows: "
            f"p = {self.worst_column:.2g} of columns, {directions}; log Z elsewhere {elsewhere:+.1f} nats; effective "
            f"sample size of a short AIS {self.effective_sample_size:.0f}.)"
        )

    @property
    def is_good(self) -> bool:
        """Whether nothing is off."""
        return not self.problems


@torch.no_grad()
def judge(path: AnnealingPath, rows: Tensor, stream: Stream, n_updates: int = 10_000) -> Verdict:
    """Judge a machine by chains that start at rows, and by annealing there and back.

    Parameters
    ----------
    path : AnnealingPath
        The machine, and the one without weights that annealing starts from.
    rows : Tensor of shape (n, n_features)
        Rows that it has learned from, as states, in any order.
    stream : Stream
        Randomness.
    n_updates : int
        How long it has learned for: the judgement takes some hundredths of that, between 50 and 200 Gibbs steps, and 50
        and 1,000 temperatures.

    Notes
    -----
    After Gibbs steps from rows the columns' means, and the means and variances along the leading directions of the
    rows, have to be those of the rows: else the machine has not learned them, or has been thrown off. Persistent chains
    can't tell, as learning holds them to the rows whatever the machine is like (Tieleman 2008; Decelle, Furtlehner &
    Seoane 2021). The directions come from one half of the rows, what they are compared with from the other.

    A machine may be right near the rows and have its mass elsewhere, or in other proportions than the rows. AIS from
    the base rates finds log Z of all of it; AIS backwards from the chains near the rows that of their part, or more
    (Burda, Grosse & Salakhutdinov 2015). The former must not be more than the latter.

    Where rows are few, or hardly learned from, neither of these need show anything. So it is also looked at whether
    chains from rows still have any of their correlations.
    """
    check_stream(stream)
    machine = path.machine
    n_steps, n_temperatures = (
        min(max(n_updates // share, least), most) for share, (least, most) in ((20, _N_STEPS), (10, _N_TEMPERATURES))
    )
    starts = rows[torch.from_numpy(stream.integers(len(rows), (N_CHAINS,))).to(rows.device)].to(machine.W)
    chains, _ = run_chains(GIBBS, machine, starts, n_steps, stream)
    columns, directions = _against_columns(chains, rows), _against_directions(chains, rows, machine.n_hidden)
    elsewhere, size = _elsewhere(path, chains, stream, n_temperatures)
    learned = _share_learned(chains, rows, stream) if n_updates >= _UPDATES_TO_LEARN else math.nan
    problems = []
    if columns < _LEVEL or directions < _LEVEL:
        what = "the leading directions" if directions <= columns else "the means of columns"
        problems.append(f"chains that start at training rows drift away from them, by {what}")
    if elsewhere > _MOST_ELSEWHERE:
        problems.append(
            f"it has its mass where no training rows are, or too much of it in one mode (by {elsewhere:.0f} nats)"
        )
    if learned < LEAST_LEARNED:
        problems.append("it has learned next to nothing of how columns go together")
    return Verdict(tuple(problems), columns, directions, elsewhere, size, learned)


def _against_columns(chains: Tensor, rows: Tensor) -> float:
    """The least p-value of a column's test, two-sided, times their number: Fisher's exact one of bits, else Welch's."""
    from scipy.stats import hypergeom, ttest_ind  # late: half a second

    n, m, n_columns = len(chains), len(rows), chains.shape[1]
    are_bits = (((chains == 0) | (chains == 1)).all(0) & ((rows == 0) | (rows == 1)).all(0)).cpu().numpy()
    ours, theirs = (v.double().cpu().numpy() for v in (chains, rows))
    least = 0.5
    if are_bits.any():
        counts, of_rows = ours[:, are_bits].sum(0), theirs[:, are_bits].sum(0)
        under = hypergeom(n + m, counts + of_rows, n)
        least = min(float(under.cdf(counts).min()), float(under.sf(counts - 1).min()))
    varies = ~are_bits & (theirs.std(0) > 1e-6)
    if varies.any():
        p = ttest_ind(ours[:, varies], theirs[:, varies], equal_var=False).pvalue
        least = min(least, 0.5 * float(np.nan_to_num(p, nan=1.0).min()))
    return min(1.0, 2.0 * least * n_columns)


def _against_directions(chains: Tensor, rows: Tensor, n_hidden: int) -> float:
    """The least p-value of means (Welch's t-test) and of variances along directions of the rows, times their number.

    NaN where there are too few rows.

    Variances have to differ by their logarithms, whose variance is (κ - 1) / n, and as means of squares, whose variance
    is that of all squares over n. The kurtosis κ is 3 for a normal distribution, which an F-test asks for, and hundreds
    for a column that is hardly ever on. One more value of the common variance goes into that of the chains, which may
    have none.
    """
    from scipy.stats import kurtosis, norm, ttest_ind  # late: half a second

    n_directions = min(_N_DIRECTIONS, 1 + n_hidden // _UNITS_PER_DIRECTION)
    chains, some, others = chains.double(), rows[::2].double(), rows[1::2].double()
    if len(others) < _LEAST_ROWS:
        return math.nan
    _, _, directions = torch.linalg.svd(some - some.mean(0), full_matrices=False)
    ours, theirs = ((v @ directions[:n_directions].T).cpu().numpy() for v in (chains, others))
    varies = theirs.std(0) > 1e-6
    if not varies.any():
        return 1.0
    ours, theirs = ours[:, varies], theirs[:, varies]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are all the same
        p_means = ttest_ind(ours, theirs, equal_var=False).pvalue
    n, m, both = len(ours), len(theirs), np.concatenate([ours, theirs])
    variance = (n * ours.var(0) + both.var(0)) / (n + 1)
    kurtosis_less_1 = np.maximum(kurtosis(both, fisher=False) - 1.0, 1.0)  # 0 for two values that are as frequent
    z_of_logs = np.log(variance / theirs.var(0)) / np.sqrt(kurtosis_less_1 * (1 / n + 1 / m))
    squares = np.square(both - theirs.mean(0))
    differ = np.maximum(squares.std(0), 1e-6)  # those of two values that are as frequent are the same
    z_of_squares = (squares[:n].mean(0) - squares[n:].mean(0)) / (differ * math.sqrt(1 / n + 1 / m))
    p_spread = 2.0 * norm.sf(np.minimum(np.abs(z_of_logs), np.abs(z_of_squares)))
    least = min(float(np.nan_to_num(p_means, nan=1.0).min()), float(p_spread.min()))
    return min(1.0, 2.0 * least * ours.shape[1])


def _share_learned(chains: Tensor, rows: Tensor, stream: Stream) -> float:
    """See `Verdict.learned`; of some hundred columns at most. NaN where rows have too little that so few chains show.

    Few rows tell little along single directions, but all pairs of columns together tell whether there is anything.
    """
    few = torch.from_numpy(np.sort(stream.permutation(rows.shape[1])[:_MOST_COLUMNS])).to(rows.device)
    rows, chains = rows[:, few].double(), chains[:, few].double()
    ours, theirs = _excess_correlation(chains), _excess_correlation(rows)
    if theirs < _LEAST_Z * len(few) / len(chains):  # the spread of what chains of independent columns have
        return math.nan
    if ours >= LEAST_LEARNED * theirs:
        return ours / theirs
    generator = np.random.default_rng(stream.integers(1 << 31, (4,)))
    by_chance = [
        _excess_correlation(torch.from_numpy(generator.permuted(rows.cpu().numpy(), axis=0)))
        for _ in range(_N_SHUFFLES)
    ]
    is_real = theirs > np.mean(by_chance) + _LEAST_Z * np.std(by_chance)
    return ours / theirs if is_real else math.nan


def _excess_correlation(v: Tensor) -> float:
    """Σ r² over all pairs of columns that vary, less what it comes to on average where columns are independent."""
    deviations = v - v.mean(0)
    scale = deviations.square().mean(0).sqrt()
    deviations = deviations[:, scale > 1e-6] / scale[scale > 1e-6]
    n, n_columns = deviations.shape
    squares = float((deviations.T @ deviations / n).square().sum()) - n_columns
    return 0.5 * (squares - n_columns * (n_columns - 1) / max(n - 1, 1))


def _elsewhere(path: AnnealingPath, chains: Tensor, stream: Stream, n_temperatures: int) -> tuple[float, float]:
    """log Z by AIS less log Z by AIS backwards from the chains; and the effective sample size of the former."""
    betas = uniform_schedule(n_temperatures)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both are looked at here
        forth = log_partition_ais(path, betas, stream, len(chains))
        back = log_partition_reverse_ais(path, chains, betas, stream)
    size = forth.effective_sample_size
    return forth.value - back.value, math.nan if size is None else size
