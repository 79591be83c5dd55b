"""Layers of all kinds of units, for tests that run over them."""

import torch

from skrbm.machines import BERNOULLI, GAUSSIAN, Blocks, Categorical

# Each with its number of columns.
LAYERS = {
    "bernoulli": (BERNOULLI, 4),
    "gaussian": (GAUSSIAN, 3),
    "categorical": (Categorical([3, 3]), 6),
    "categorical of different sizes": (Categorical([2, 4, 3]), 9),
    "blocks": (Blocks([(BERNOULLI, 2), (GAUSSIAN, 2), (Categorical([3, 2]), 5)]), 9),
}
DISCRETE = [name for name, (unit, n) in LAYERS.items() if unit.n_bits(n) < 30]


def states_of(unit, n_columns):
    """All states of a layer, (n_states, n_columns), in float64, by the states of its units."""
    like = torch.zeros((), dtype=torch.float64)
    found = torch.zeros((1, 0), dtype=torch.float64)
    for columns in unit.columns(n_columns):
        s = unit.points(columns, 0.0, 0.0, like).s
        found = torch.cat((found.repeat_interleave(len(s), 0), s.repeat(len(found), 1)), 1)
    return found


def random_inputs(n_columns, n=(), scale=1.5, seed=0):
    """Inputs of so many layers."""
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn((*n, n_columns), dtype=torch.float64, generator=generator)
