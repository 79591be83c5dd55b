"""log Z and what follows from it. Imports `sampling` and what is below."""

from skrbm.likelihood.absent import absent_log_likelihood, absent_means, absent_pseudo_log_likelihood
from skrbm.likelihood.annealed import (
    Annealed,
    Schedule,
    adapted_schedule,
    anneal,
    checked_schedule,
    inverse_temperatures,
    log_likelihood_raise,
    log_partition_ais,
    log_partition_reverse_ais,
    uniform_schedule,
)
from skrbm.likelihood.clustered import Clusters, anneal_from_clusters
from skrbm.likelihood.exact import bits_to_enumerate, log_likelihood_exact, log_partition_exact
from skrbm.likelihood.gaps import (
    Marginal,
    marginal_free_energy,
    marginal_mean_h,
    marginal_mean_v,
    marginal_pseudo_log_likelihood,
)
from skrbm.likelihood.log_partition import METHODS, log_partition, method_for
from skrbm.likelihood.mean_field import mean_field_free_energy
from skrbm.likelihood.pseudo import pseudo_log_likelihood
from skrbm.likelihood.result import LogPartition, LogPartitionWarning
from skrbm.likelihood.tempered import log_partition_tempering

# fmt: off
__all__ = [
    "METHODS", "Annealed", "Clusters", "LogPartition", "LogPartitionWarning", "Marginal", "Schedule",
    "absent_log_likelihood", "absent_means", "absent_pseudo_log_likelihood", "adapted_schedule", "anneal",
    "anneal_from_clusters", "bits_to_enumerate", "checked_schedule", "inverse_temperatures", "log_likelihood_exact",
    "log_likelihood_raise", "log_partition", "log_partition_ais", "log_partition_exact", "log_partition_reverse_ais",
    "log_partition_tempering", "marginal_free_energy", "marginal_mean_h", "marginal_mean_v",
    "marginal_pseudo_log_likelihood", "mean_field_free_energy", "method_for", "pseudo_log_likelihood",
    "uniform_schedule",
]
# fmt: on
