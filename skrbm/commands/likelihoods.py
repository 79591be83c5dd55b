"""Mean log-likelihoods as the commands print them: with their errors, and no longer annealed for than they need."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np

from skrbm.estimators.base import BaseRBM
from skrbm.likelihood.result import LogPartition

_FEW_TEMPERATURES = 1000  # a tenth of the default: enough for most small machines, and its own error tells
_ENOUGH = 0.02  # nats: the error of log Z that more temperatures aren't worth lowering


class MeanLogLikelihood(NamedTuple):
    """The mean of log p(v) over rows, in nats.

    Attributes
    ----------
    nats : float
        The mean.
    error_of_rows : float
        Its standard error as that of a sample of rows; NaN for one row.
    log_z : LogPartition
        log Z, with the standard error that all rows share.
    notes : list of str
        Warnings.
    """

    nats: float
    error_of_rows: float
    log_z: LogPartition
    notes: list[str]

    @property
    def how(self) -> str:
        """How log Z was found, and its error."""
        if self.log_z.method == "exact":
            return "exact"
        size = f"{self.log_z.effective_sample_size or 0:.0f} of {self.log_z.n_chains}"
        return f"± {self.log_z.standard_error:.2f}; effective sample size {size}"


def mean_log_likelihood(model: BaseRBM, rows: np.ndarray) -> MeanLogLikelihood:
    """Of rows (n, n_features) under a machine, by enumeration or AIS.

    AIS is run with few temperatures first, and once more with as many as it has by default where these give an error
    over 0.02 nats, or chains that don't count.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log_z = model.log_partition(n_temperatures=_FEW_TEMPERATURES, random_state=0)
        size = log_z.effective_sample_size
        if log_z.standard_error > _ENOUGH or (size is not None and size < log_z.n_chains / 2):
            caught.clear()
            log_z = model.log_partition(random_state=0)
        nats = model.log_likelihood(rows)  # by the log Z that was found last
    n = len(nats)
    error = float(nats.std(ddof=1, dtype=np.float64)) / math.sqrt(n) if n > 1 else math.nan
    notes = list(dict.fromkeys(str(warning.message) for warning in caught))
    return MeanLogLikelihood(float(nats.mean(dtype=np.float64)), error, log_z, notes)
