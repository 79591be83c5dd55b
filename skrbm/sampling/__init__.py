"""Markov chains over the states of a machine. Imports `backends`, `machines` and `support`."""

from skrbm.sampling.kernels import (
    GIBBS,
    GibbsInfo,
    GibbsState,
    Kernel,
    NothingToWatch,
    Watch,
    check_info,
    clamp,
    gibbs_init,
    gibbs_step,
    gibbs_step_,
    record_chains,
    run_chains,
    steps,
)
from skrbm.sampling.ladder import AnnealingPath, Ladder
from skrbm.sampling.tempering import (
    LEAST_ACCEPTANCE,
    TEMPERING,
    RoundTrips,
    SwapRates,
    SwapWarning,
    TemperingInfo,
    TemperingState,
    adapted_temperatures,
    ladder_by_name,
    tempering_init,
    tempering_step,
)

# The protocol tests run over these: a new kernel is to be added.
KERNELS = {"gibbs": GIBBS, "tempering": TEMPERING}

# fmt: off
__all__ = [
    "GIBBS", "KERNELS", "LEAST_ACCEPTANCE", "TEMPERING", "AnnealingPath", "GibbsInfo", "GibbsState", "Kernel",
    "Ladder", "NothingToWatch", "RoundTrips", "SwapRates", "SwapWarning", "TemperingInfo", "TemperingState",
    "Watch", "adapted_temperatures", "check_info", "clamp", "gibbs_init", "gibbs_step", "gibbs_step_", "ladder_by_name",
    "record_chains", "run_chains", "steps", "tempering_init", "tempering_step",
]
# fmt: on
