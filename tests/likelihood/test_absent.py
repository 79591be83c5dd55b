"""Rows with absent cells: a machine of its own for each row, against one that has these columns only."""

import numpy as np
import pytest
import torch

from skrbm.likelihood import (
    absent_log_likelihood,
    absent_means,
    absent_pseudo_log_likelihood,
    log_likelihood_exact,
    pseudo_log_likelihood,
)
from skrbm.machines import BERNOULLI, Blocks, Categorical, RBMParameters
from tests import reference
from tests.machines.layers import random_inputs, states_of

LAYERS = {
    "bernoulli": (BERNOULLI, 4),
    "categorical": (Categorical([2, 4, 3]), 9),
    "blocks": (Blocks([(BERNOULLI, 2), (Categorical([3, 2]), 5)]), 7),
}
of_all = pytest.mark.parametrize("name", LAYERS)


def machine_of(name, scale=1.0):
    unit, n = LAYERS[name]
    W = random_inputs(n, (3,), scale=scale, seed=0)
    return RBMParameters(W, random_inputs(n, seed=1), random_inputs(3, scale=0.5, seed=2), unit)


def rows_of(params, seed=0):
    """States with a third of the units missing, and which columns each row has."""
    v = states_of(params.visible, params.n_features)
    v, rng = v[:: max(1, len(v) // 12)].clone(), np.random.default_rng(seed)
    for row in v:
        for columns in params.visible.columns(params.n_features):
            if rng.random() < 0.35:
                row[columns] = torch.nan
    return v


def machine_without(params, row):
    """The machine that never had the columns that the row lacks."""
    there = ~row.isnan()
    units = [(params.visible.unit_at(one), one) for one in params.visible.columns(len(row)) if there[one.start]]
    unit = Blocks([(unit, one.stop - one.start) for unit, one in units])
    return RBMParameters(params.W[:, there], params.b[there], params.c, unit), row[there][None]


@of_all
def test_the_likelihood_is_that_of_a_machine_without_these_columns(name):
    params = machine_of(name)
    v = rows_of(params)
    found = absent_log_likelihood(params, v)
    for row, nats in zip(v, found, strict=True):
        expected = log_likelihood_exact(*machine_without(params, row)) if not row.isnan().all() else torch.zeros(1)
        assert float(nats) == pytest.approx(float(expected), abs=1e-9)
    whole = v[~v.isnan().any(1)]
    torch.testing.assert_close(absent_log_likelihood(params, whole), log_likelihood_exact(params, whole))
    as_zeros = log_likelihood_exact(params, v.nan_to_num(0.0))
    assert float((as_zeros - found)[v.isnan().any(1)].abs().min()) > 0.05  # by the whole machine's Z


@of_all
def test_the_pseudo_likelihood_is_that_of_a_machine_without_these_columns(name):
    params = machine_of(name)
    v = rows_of(params)
    found = absent_pseudo_log_likelihood(params, v)
    for row, nats in zip(v, found, strict=True):
        expected = pseudo_log_likelihood(*machine_without(params, row)) if not row.isnan().all() else torch.zeros(1)
        assert float(nats) == pytest.approx(float(expected), abs=1e-9)


@of_all
def test_cells_are_predicted_by_the_machine_with_that_unit_added(name):
    params = machine_of(name)
    v = rows_of(params)
    found = absent_means(params, v)
    torch.testing.assert_close(found[~v.isnan()], v[~v.isnan()])
    for row, means in zip(v, found, strict=True):
        for columns in params.visible.columns(len(row)):
            if not row[columns.start].isnan():
                continue
            s = params.visible.unit_at(columns).points(columns, 0.0, 0.0, params.W).s
            with_it = row.repeat(len(s), 1)
            with_it[:, columns] = s
            p = absent_log_likelihood(params, with_it).softmax(0)
            torch.testing.assert_close(means[columns], p @ s)


def test_predictions_are_not_the_marginals_of_the_whole_machine():
    params = machine_of("bernoulli", 2.0)
    v = torch.tensor([[1.0, torch.nan, torch.nan, torch.nan]], dtype=torch.float64)
    p = torch.from_numpy(reference.p_v(params))
    given = torch.from_numpy(reference.states(4))
    given, p = given[given[:, 0] == 1], p[torch.from_numpy(reference.states(4)[:, 0] == 1)]
    marginal = p @ given / p.sum()
    assert float((absent_means(params, v)[0] - marginal)[1:].abs().max()) > 0.05


def test_large_machines_have_no_likelihood_of_rows_with_absent_cells():
    params = reference.random_params(15, 4)
    with pytest.raises(ValueError, match="enumerated up to 14 hidden units; this machine has 15"):
        absent_log_likelihood(params, torch.full((1, 4), torch.nan, dtype=torch.float64))
