"""Kinds of units side by side; `test_layers.py` has what all kinds keep to."""

import pytest
import torch

from skrbm.machines import BERNOULLI, GAUSSIAN, Blocks, Categorical
from skrbm.support.randomness import Stream
from tests.machines.layers import LAYERS, random_inputs


def test_blocks_that_cant_be():
    with pytest.raises(ValueError, match="one at least"):
        Blocks([(BERNOULLI, 0)])
    with pytest.raises(ValueError, match="one at least"):
        Blocks([])
    with pytest.raises(ValueError, match="Only one block"):
        Blocks([(GAUSSIAN, 1), (BERNOULLI, 1), (GAUSSIAN, 2)])


def test_the_columns_that_have_a_scale():
    assert LAYERS["blocks"][0].scaled == slice(2, 4)
    assert Blocks([(BERNOULLI, 3)]).scaled is None
    assert GAUSSIAN.scaled == slice(None)
    assert BERNOULLI.scaled is None


def test_each_block_does_what_its_kind_does():
    categories = Categorical([3, 2])
    unit = Blocks([(BERNOULLI, 2), (GAUSSIAN, 2), (categories, 5)])
    x = random_inputs(9, (6,))
    parts = [(BERNOULLI, x[:, :2]), (GAUSSIAN, x[:, 2:4]), (categories, x[:, 4:])]
    torch.testing.assert_close(unit.mean(x), torch.cat([kind.mean(part) for kind, part in parts], 1))
    torch.testing.assert_close(unit.cumulant(x), torch.cat([kind.cumulant(part) for kind, part in parts], 1))
    states = unit.sample(unit.mean(x), Stream(0))
    assert unit.are_states(states)
    assert not unit.are_states(states + torch.tensor([0.5, *[0.0] * 8]))
    drawn = unit.states_of(unit.mean(x), Stream(1))
    assert BERNOULLI.are_states(drawn[:, :2])
    assert torch.equal(drawn[:, 2:], unit.mean(x)[:, 2:])


def test_columns_beyond_the_last_are_none():
    with pytest.raises(ValueError, match="There are no"):
        LAYERS["blocks"][0].unit_at(slice(9, 10))
