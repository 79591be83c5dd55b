"""log Z of a machine as a result: a value, how far it can be trusted, and the warnings where it can't."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skrbm.support.checks import warn

_NAMES = {  # of methods, in print
    "ais": "AIS",
    "reverse_ais": "reverse AIS",
    "parallel_tempering": "parallel tempering",
    "trajectory_tempering": "trajectory tempering",
}


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
        AIS, the others only as far as the samples that they are made from are at equilibrium. In print "from below" and
        "from above". Both have errors of their own: where they agree within these they may lie the wrong way round, and
        `value`, which is made from the samples of both sides, beside them.
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

    Examples
    --------
    >>> found = LogPartition(60.6099, 0.0353, 60.6099, None, 35.2, 100, 10_000, 1.5, "ais")
    >>> found
    60.61 ± 0.04 nats (AIS, effective sample size 35.2 of 100)
    >>> float(found), f"{found:.1f}"
    (60.6099, '60.6')
    >>> LogPartition(60.3752, 0.0102, 60.3711, 60.3806, None, 100, 8, 1.5, "parallel_tempering")
    60.38 ± 0.01 nats (parallel tempering, from below 60.37, from above 60.38)
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

    def __repr__(self) -> str:
        if self.method == "exact":
            return f"{self.value:.6f} nats (exact)"
        small = math.isfinite(self.standard_error) and self.standard_error > 0.0
        n_digits = min(max(2, -math.floor(math.log10(self.standard_error))), 6) if small else 2
        facts = [_NAMES.get(self.method, self.method)]
        if self.effective_sample_size is not None:
            facts.append(f"effective sample size {self.effective_sample_size:.3g} of {self.n_chains}")
        for side, end in (("below", self.lower), ("above", self.upper)):
            if end not in (None, self.value):  # that of AIS is its value
                facts.append(f"from {side} {end:.{n_digits}f}")
        return f"{self.value:.{n_digits}f} ± {self.standard_error:.{n_digits}f} nats ({', '.join(facts)})"

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __float__(self) -> float:
        return self.value

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of log Z: `value` ± as many standard errors as Student's t asks for at `level`."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} must lie between 0 and 1.")
        if self.standard_error == 0.0 or self.n_chains < 2:
            return self.value - self.standard_error, self.value + self.standard_error
        from scipy.stats import t as student_t  # late: half a second

        half = float(student_t.ppf(0.5 + level / 2, self.n_chains - 1)) * self.standard_error
        return self.value - half, self.value + half


def warn_if_few_count(found: LogPartition) -> None:
    """Warn if less than a tenth of the chains count, or less than two."""
    n, size = found.n_chains, found.effective_sample_size
    # Of two chains that are alike, 2 count but for rounding.
    if size is not None and size < max(n / 10, min(n, 2) - 1e-6):
        warn(
            f"Only {size:.1f} of {n} chains count (effective sample size): this estimate of log Z by {found.method} is "
            "not to be trusted. Take more temperatures; if that doesn't help, the machine mixes too badly for "
            "annealing.",
            LogPartitionWarning,
        )


def warn_if_wide(found: LogPartition, max_width: float | None) -> None:
    """Warn if the bracket from `lower` to `upper` is wider than `max_width`, or as much the wrong way round."""
    lower, upper = found.lower, found.upper
    if max_width is None or lower is None or upper is None or abs(upper - lower) <= max_width:
        return
    what = f"is wider than {max_width:g} nats"
    if lower > upper:
        what = f"lies the wrong way round by more than {max_width:g} nats: few samples, or not at equilibrium"
    warn(
        f"The bracket of log Z, {lower:.2f} … {upper:.2f}, {what}. Take more temperatures or steps, and samples of "
        "longer or tempered chains.",
        LogPartitionWarning,
    )
