"""The mean-field bound of rows with gaps, against sums over what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.likelihood import marginal_free_energy, mean_field_free_energy
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.restricted import energy, free_energy
from skrbm.support.randomness import Stream
from tests import reference

of_machines = pytest.mark.parametrize(("n_hidden", "coupled"), [(3, False), (0, True), (3, True)])


def machine(n_hidden, coupled, scale=1.0, seed=0):
    return reference.random_params(n_hidden, 6, scale, seed, coupled=coupled)


def rows(seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    v = reference.states(6)
    return torch.from_numpy(np.where(rng.random(v.shape) < share, np.nan, v))


@of_machines
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_it_is_above_the_free_energy(n_hidden, coupled, scale):
    params, v = machine(n_hidden, coupled, scale), rows()
    exact = marginal_free_energy(params, v, Stream(0)).value
    bound = mean_field_free_energy(params, v)
    assert bool((bound > exact - 1e-9).all())
    assert bool((bound - exact > 1e-4).any())


@of_machines
def test_it_is_a_minimum(n_hidden, coupled):
    """Other means of the missing cells have a higher bound; and it is tight for weak weights."""
    params, v = machine(n_hidden, coupled, 0.7), rows()
    few, many = (mean_field_free_energy(params, v, n_steps=n) for n in (1, 100))
    assert bool((many <= few + 1e-9).all())
    torch.testing.assert_close(mean_field_free_energy(params, v, n_steps=200), many, atol=1e-6, rtol=0)
    weak = machine(n_hidden, coupled, 0.05)
    exact = marginal_free_energy(weak, v, Stream(0)).value
    torch.testing.assert_close(mean_field_free_energy(weak, v), exact, atol=2e-3, rtol=0)


@of_machines
def test_it_is_what_its_definition_says(n_hidden, coupled):
    """⟨E⟩ less the entropy of independent cells of means a half, and of the hidden units that follow."""
    params = machine(n_hidden, coupled)
    v = rows()[[17]]
    free = v.isnan()
    mean_h = torch.sigmoid(params.c + torch.where(free, 0.5, v) @ params.W.T)
    cells, h = (torch.from_numpy(reference.states(n)) for n in (int(free.sum()), n_hidden))
    whole = v.repeat(len(cells), 1)
    whole[free.expand_as(whole)] = cells.flatten()
    q_h = torch.where(h > 0, mean_h, 1 - mean_h).prod(1)
    q, total = q_h / len(cells), 0.0
    for row in whole:
        total += (q * (energy(params, row.expand(len(h), -1), h) + q.log())).sum()
    torch.testing.assert_close(mean_field_free_energy(params, v, n_steps=0)[0], total)


def test_whole_rows_are_exact():
    params, v = machine(3, True), rows(share=0.0)
    torch.testing.assert_close(mean_field_free_energy(params, v), free_energy(params, v))


def test_units_of_other_kinds():
    params = replace(machine(3, False), visible=GAUSSIAN)
    with pytest.raises(ValueError, match="Bernoulli units in both layers"):
        mean_field_free_energy(params, rows())
