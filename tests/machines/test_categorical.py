"""Units of several categories; `test_layers.py` has what all kinds keep to."""

import math

import pytest
import torch

from skrbm.machines import BERNOULLI, Categorical
from skrbm.support.randomness import Stream
from tests.machines.layers import random_inputs


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4, 3)])
def test_what_is_added_to_a_whole_unit_changes_nothing(sizes):
    unit = Categorical(sizes)
    x = random_inputs(sum(sizes), (5,))
    moved = x + torch.tensor([3.0, -50.0, 7.0]).double()[: len(sizes)].repeat_interleave(torch.tensor(sizes))
    torch.testing.assert_close(unit.mean(moved), unit.mean(x))
    s = unit.sample(unit.mean(x), Stream(0))
    for one, two in zip(x, moved, strict=True):
        p, q = (unit.log_weight(s, bias) - unit.cumulant(bias).sum() for bias in (one, two))
        torch.testing.assert_close(p, q)
    torch.testing.assert_close(unit.centered(moved), unit.centered(x))
    for part in unit.columns(0):
        torch.testing.assert_close(unit.centered(x)[:, part].sum(1), torch.zeros(5).double(), atol=1e-12, rtol=0)


def test_categories_without_a_chance_are_never_drawn():
    unit = Categorical([3, 2])
    x = torch.tensor([0.0, -math.inf, 0.0, -math.inf, 0.0]).double()
    s = unit.sample(unit.mean(x).expand(10_000, -1), Stream(0))
    assert s[:, [1, 3]].sum() == 0
    assert (s.sum(1) == 2).all()


def test_two_categories_are_a_bit():
    """With the input of the second less that of the first."""
    unit, x = Categorical([2]), random_inputs(2, (50,))
    torch.testing.assert_close(unit.mean(x)[:, 1], BERNOULLI.mean(x[:, 1] - x[:, 0]))
    torch.testing.assert_close(unit.cumulant(x)[:, 0], x[:, 0] + BERNOULLI.cumulant(x[:, 1] - x[:, 0]))


@pytest.mark.parametrize("sizes", [(), (1, 2), (0,)])
def test_only_whole_units_of_two_states_and_more(sizes):
    with pytest.raises(ValueError, match="two or more"):
        Categorical(sizes)
