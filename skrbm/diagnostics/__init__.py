"""How well chains mix, and how good samples are. Imports `likelihood` and what is below."""

from skrbm.diagnostics.chains import (
    autocorrelation,
    autocorrelation_time,
    effective_sample_size,
    merge_time,
    r_hat,
    round_trips,
)
from skrbm.diagnostics.mixing import STATISTICS, diagnose, statistics_of
from skrbm.diagnostics.samples import (
    MMD,
    AdversarialAccuracy,
    MomentErrors,
    adversarial_accuracy,
    mmd2,
    moment_errors,
    nearest_distances,
    quality_table,
)
from skrbm.diagnostics.verdict import Verdict, judge

# fmt: off
__all__ = [
    "MMD", "STATISTICS", "AdversarialAccuracy", "MomentErrors", "Verdict", "adversarial_accuracy", "autocorrelation",
    "autocorrelation_time", "diagnose", "effective_sample_size", "judge", "merge_time", "mmd2", "moment_errors",
    "nearest_distances", "quality_table", "r_hat", "round_trips", "statistics_of",
]
# fmt: on
