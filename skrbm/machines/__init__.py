"""The mathematics: units, energies, free energies, conditionals. Imports `support`."""

from skrbm.machines.bernoulli import BERNOULLI, Bernoulli
from skrbm.machines.blocks import Blocks
from skrbm.machines.categorical import Categorical
from skrbm.machines.gaussian import GAUSSIAN, Gaussian
from skrbm.machines.restricted import (
    RBMParameters,
    check_states,
    energy,
    free_energy,
    free_energy_h,
    initial_parameters,
    input_to_h,
    input_to_v,
    mean_h_given_v,
    mean_v_given_h,
    sample_h_given_v,
    sample_v_given_h,
)
from skrbm.machines.spins import (
    Converted,
    CoupledBits,
    Ising,
    bits_to_ising,
    bits_to_spins,
    ising_to_bits,
    spins_to_bits,
)
from skrbm.machines.units import ColumnUnit, Unit

# The protocol tests run over these: a new kind is to be added.
UNITS = (BERNOULLI, GAUSSIAN)

# fmt: off
__all__ = [
    "BERNOULLI", "GAUSSIAN", "UNITS", "Bernoulli", "Blocks", "Categorical", "ColumnUnit", "Converted",
    "CoupledBits", "Gaussian", "Ising", "RBMParameters", "Unit", "bits_to_ising", "bits_to_spins", "check_states",
    "energy", "free_energy", "free_energy_h", "initial_parameters", "input_to_h", "input_to_v", "ising_to_bits",
    "mean_h_given_v", "mean_v_given_h", "sample_h_given_v", "sample_v_given_h", "spins_to_bits",
]
# fmt: on
