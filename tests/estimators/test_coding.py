"""Tables as rows of a machine, and back."""

import math

import numpy as np
import pytest
import torch

from skrbm.distributed import ALONE
from skrbm.estimators.coding import PLAIN, Standardized, Table, moments, standardized_for, table_for
from skrbm.estimators.tables import learn_columns, numbers_of
from skrbm.machines import BERNOULLI, GAUSSIAN, Blocks, Categorical, RBMParameters

RNG = np.random.default_rng(0)
# A number, a category of three, a bit, another number, a category of four; rows 0 and 1 lack some.
TABLE = np.empty((50, 5), object)
TABLE[:, 0], TABLE[:, 3] = RNG.normal(5.0, 2.0, 50), RNG.normal(size=50) * 1e6
TABLE[:, 1], TABLE[:, 4] = np.resize(["a", "b", "c"], 50), np.resize(["p", "q", "r", "s"], 50)
TABLE[:, 2] = np.resize([True, False], 50)
COLUMNS = learn_columns(TABLE)
NUMBERS = numbers_of(TABLE, COLUMNS)


def coding():
    return table_for(COLUMNS, NUMBERS, None, ALONE, None)


def test_moments_keep_their_digits_beside_a_large_mean():
    X = RNG.normal(size=(10_000, 2)) * [1.0, 1e-3] + [1e9, 1e6]
    mean, deviation = moments(X, None, ALONE)
    np.testing.assert_allclose(mean, X.mean(0), rtol=1e-14)
    np.testing.assert_allclose(deviation, X.std(0), rtol=1e-6)
    weight = RNG.integers(0, 3, 10_000).astype(float)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    np.testing.assert_allclose(moments(X, weight, ALONE)[1], repeated.std(0), rtol=1e-6)


def test_standardized_there_and_back():
    X = torch.randn(20, 2, dtype=torch.float64) * 7 + 100
    one = Standardized(np.array([100.0, 90.0]), np.array([7.0, 2.0]))
    torch.testing.assert_close(one.decode(one.encode(X)), X)
    assert one.log_volume == pytest.approx(math.log(14.0))
    assert one.encode(X.float()).dtype == torch.float32


def test_after_learning_the_scale_is_in_the_coding():
    params = RBMParameters(
        torch.zeros(1, 2), torch.zeros(2), torch.zeros(1), GAUSSIAN, log_scale=torch.tensor([0.0, -1.0])
    )
    before = Standardized(np.zeros(2), np.array([7.0, 2.0]))
    after = before.after(params)
    np.testing.assert_allclose(after.scale, [7.0, 2.0 / math.e], rtol=1e-6)
    rows = torch.tensor([[14.0, 4.0]])
    torch.testing.assert_close(after.encode(rows), params.states_of(before.encode(rows)))


def test_a_table_becomes_bits_then_numbers_then_categories():
    one = coding()
    assert one.visible == Blocks([(BERNOULLI, 1), (GAUSSIAN, 2), (Categorical([3, 4]), 7)])
    states = one.encode(torch.from_numpy(NUMBERS))
    assert one.visible.are_states(states)
    assert states[0].tolist()[0] == 1.0
    assert states[0, 3:].tolist() == [1, 0, 0, 1, 0, 0, 0]
    np.testing.assert_allclose(states[:, 1:3].mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(one.decode(states).numpy(), NUMBERS)


def test_gaps_stay_gaps():
    rows = torch.from_numpy(NUMBERS[:3].copy())
    rows[0, 1], rows[1, 0], rows[2, 2] = torch.nan, torch.nan, torch.nan
    states = coding().encode(rows)
    assert states.isnan().sum(1).tolist() == [3, 1, 1]


def test_means_become_what_is_likelier():
    one = coding()
    means = torch.tensor([[0.7, 0.0, 0.0, 0.2, 0.5, 0.3, 0.1, 0.2, 0.3, 0.4]]).double()
    decoded = one.decode(means)[0]
    assert decoded[[1, 2, 4]].tolist() == [1, 1, 3]


def test_constant_columns_have_a_scale_of_one():
    X = np.column_stack((np.full(10, 1e6), RNG.normal(size=10)))
    with pytest.warns(UserWarning, match="1 of 2 columns"):
        one = standardized_for(X, None, ALONE)
    assert one.scale[0] == 1.0


def test_what_can_be_folded_into_a_linear_layer():
    params = RBMParameters(torch.randn(2, 3).double(), torch.zeros(3).double(), torch.randn(2).double(), GAUSSIAN)
    one = Standardized(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    folded, rows = one.folded_into(params), torch.randn(4, 3).double() * 50
    torch.testing.assert_close(rows @ folded.W.T + folded.c, one.encode(rows) @ params.W.T + params.c)
    assert PLAIN.folded_into(params) is params
    with pytest.raises(ValueError, match="can't go through a linear layer"):
        coding().folded_into(params)


def test_a_table_of_one_kind_has_units_of_that_kind():
    (column,) = learn_columns(np.resize(["a", "b", "c"], (9, 1)))
    assert Table([column], np.empty(0), np.empty(0)).visible == Categorical([3])
