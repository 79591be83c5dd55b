"""Missing cells summed out in closed form, against enumeration of all states."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from skrbm.likelihood import marginals
from skrbm.likelihood.exact import log_likelihood_exact, log_partition_exact
from skrbm.likelihood.marginals import ByHiddenStates, ByVisibleStates, Machine, OfNormal
from skrbm.machines import BERNOULLI, Categorical, RBMParameters, free_energy
from skrbm.machines.restricted import mean_h_given_v
from tests.likelihood.test_layers import machine_of, quadratic, rows_of
from tests.machines.layers import DISCRETE, LAYERS, states_of

WAYS = [ByVisibleStates, ByHiddenStates]
of_all = pytest.mark.parametrize("name", LAYERS)
of_discrete = pytest.mark.parametrize("name", DISCRETE)
of_both = pytest.mark.parametrize("way", WAYS)


def with_gaps(machine, v, seed=0, share=0.4):
    """The rows, NaN in some of their units."""
    rng = np.random.default_rng(seed)
    v = v.clone()
    for columns in machine.visible.columns(machine.n_features):
        v[torch.from_numpy(rng.random(len(v)) < share), columns] = torch.nan
    return v


def of_rows(machine, v, way):
    """All three sums: log-weights, means of h, log-conditionals."""
    prepared = Machine(machine)
    rows, found = prepared.rows(v), way(prepared)
    return found.log_weight(rows), found.mean_h(rows), found.log_conditionals(rows)


def completions_of(machine, row, states):
    """Those of all states that agree with what is observed."""
    seen = ~row.isnan()
    return states[(states[:, seen] == row[seen]).all(1)]


def conditionals_by_enumeration(machine, row, states):
    """log p(v_i | v_o without v_i) by two sums of probabilities of states each."""
    columns, found = list(machine.visible.columns(machine.n_features)), []
    p = -free_energy(machine, states)
    for of_unit in columns:
        if row[of_unit].isnan().any():
            found.append(0.0)
            continue
        without = row.clone()
        without[of_unit] = torch.nan
        sums = []
        for one in (row, without):
            seen = ~one.isnan()
            sums.append(p[(states[:, seen] == one[seen]).all(1)].logsumexp(0))
        found.append(float(sums[0] - sums[1]))
    return found


@of_discrete
@of_both
def test_sums_by_enumeration(name, way):
    machine, states = machine_of(name), states_of(*LAYERS[name])
    v = with_gaps(machine, rows_of(machine, 12))
    log_weight, mean_h, conditionals = of_rows(machine, v, way)
    for i, row in enumerate(v):
        some = completions_of(machine, row, states)
        of_some = -free_energy(machine, some)
        assert float(log_weight[i]) == pytest.approx(float(of_some.logsumexp(0)), abs=1e-10)
        expected = of_some.softmax(0) @ mean_h_given_v(machine, some)
        torch.testing.assert_close(mean_h[i], expected, atol=1e-10, rtol=0)
        np.testing.assert_allclose(conditionals[i], conditionals_by_enumeration(machine, row, states), atol=1e-10)


@of_discrete
def test_gaps_filled_with_zeros_are_something_else(name):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 12))
    has_gaps = v.isnan().any(1)
    log_weight, mean_h, _ = of_rows(machine, v, ByVisibleStates)
    filled = v.nan_to_num(0.0)
    assert ((log_weight + free_energy(machine, filled))[has_gaps].abs() > 1e-3).all()
    assert ((mean_h - mean_h_given_v(machine, filled))[has_gaps].abs().amax(1) > 1e-3).all()


@of_all
@pytest.mark.parametrize("n_hidden", [0, 1, 5])
def test_both_ways_agree(name, n_hidden):
    machine = machine_of(name, n_hidden)
    n_units = len(list(machine.visible.columns(machine.n_features)))
    v = with_gaps(machine, rows_of(machine, 6), share=min(0.4, 2 / n_units))
    if n_hidden:
        for ours, theirs in zip(*(of_rows(machine, v, way) for way in WAYS), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    else:  # all units are independent
        prepared = Machine(machine)
        rows = prepared.rows(v)
        expected = rows.log_weight + (rows.missing * machine.visible.cumulant(machine.b)).sum(1)
        for way in WAYS:
            torch.testing.assert_close(way(prepared).log_weight(rows), expected, atol=1e-10, rtol=0)


@of_all
@of_both
def test_both_ways_differ_from_those_of_a_wrong_sign(name, way):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 6), share=0.3)
    wrong = RBMParameters(machine.W, machine.b, -machine.c, machine.visible)
    for ours, theirs in zip(of_rows(machine, v, way), of_rows(wrong, v, way), strict=True):
        assert (ours - theirs).abs().max() > 1e-3


@of_all
def test_rows_without_a_value_have_log_z_and_those_without_gaps_minus_f(name):
    machine = machine_of(name)
    v = rows_of(machine, 3)
    v[0] = torch.nan
    for way in WAYS if name != "gaussian" else [ByHiddenStates]:  # of three columns there are 10,000 nodes
        log_weight, _, conditionals = of_rows(machine, v, way)
        assert float(log_weight[0]) == pytest.approx(log_partition_exact(machine), abs=1e-10)
        torch.testing.assert_close(log_weight[1:], -free_energy(machine, v[1:]))
        assert (conditionals[0] == 0.0).all()


@of_both
def test_greys_are_probabilities_of_ones(way):
    """Of the odds of a place, given the others as they are."""
    machine = machine_of("bernoulli")
    v = torch.tensor([[0.3, torch.nan, 1.0, 0.9]], dtype=torch.float64)
    *_, conditionals = of_rows(machine, v, way)
    for i in (0, 2, 3):
        ends = v.repeat(2, 1)
        ends[:, i] = torch.tensor([0.0, 1.0])
        log_p = of_rows(machine, ends, way)[0].log_softmax(0)
        expected = (1 - v[0, i]) * log_p[0] + v[0, i] * log_p[1]
        assert float(conditionals[0, i]) == pytest.approx(float(expected), abs=1e-10)
    assert conditionals[0, 1] == 0.0


def test_hidden_units_of_categories():
    machine = machine_of("bernoulli", 4, hidden=Categorical([2, 2]))
    v = with_gaps(machine, (torch.rand(9, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double())
    states = states_of(BERNOULLI, 4)
    prepared = Machine(machine)
    for way in WAYS:
        log_weight = way(prepared).log_weight(prepared.rows(v))
        expected = [float((-free_energy(machine, completions_of(machine, row, states))).logsumexp(0)) for row in v]
        np.testing.assert_allclose(log_weight, expected, atol=1e-10)


def test_densities_of_gaussian_columns_are_those_of_the_mixture():
    machine = machine_of("gaussian", n_hidden=3)
    h = states_of(BERNOULLI, 3)
    means = machine.b + h @ machine.W
    log_w = (h @ machine.c + 0.5 * means.square().sum(1)).log_softmax(0)
    v = rows_of(machine, 4)
    v[:, 1] = torch.nan
    seen = [0, 2]
    expected = np.log(
        sum(
            w * multivariate_normal.pdf(v[:, seen], mean, np.eye(2))
            for w, mean in zip(log_w.exp().tolist(), means[:, seen].numpy(), strict=True)
        )
    )
    for way in WAYS:
        found = of_rows(machine, v, way)[0] - log_partition_exact(machine)
        np.testing.assert_allclose(found, expected, atol=1e-10)


# -- Gaussian layers ---------------------------------------------------------------------------------------------------


def normal_of(machine):
    """Mean and covariance of the visible units."""
    precision = torch.eye(machine.n_features, dtype=torch.float64) - machine.W.T @ machine.W
    covariance = torch.linalg.inv(precision)
    return (covariance @ (machine.b + machine.W.T @ machine.c)).numpy(), covariance.numpy()


def test_gaussian_layers_have_the_marginals_of_a_normal_distribution():
    machine = quadratic()
    mean, covariance = normal_of(machine)
    v = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v[0, 1] = v[1, 1:] = v[2] = v[3, [0, 3]] = torch.nan
    log_weight, mean_h, conditionals = of_rows(machine, v, OfNormal)
    log_z = log_partition_exact(machine)
    for i, row in enumerate(v):
        seen = (~row.isnan()).numpy()
        x, of_seen = row.numpy()[seen], covariance[np.ix_(seen, seen)]
        expected = multivariate_normal.logpdf(x, mean[seen], of_seen) if seen.any() else 0.0
        assert float(log_weight[i]) - log_z == pytest.approx(expected, abs=1e-10)
        given = mean.copy()
        given += covariance[:, seen] @ np.linalg.solve(of_seen, x - mean[seen]) if seen.any() else 0.0
        torch.testing.assert_close(mean_h[i], machine.c + machine.W @ torch.from_numpy(given))
        for place, unit in enumerate(np.flatnonzero(seen)):
            others = np.delete(np.flatnonzero(seen), place)
            log_p = multivariate_normal.logpdf(x, mean[seen], of_seen)
            if len(others):
                log_p -= multivariate_normal.logpdf(
                    row.numpy()[others], mean[others], covariance[np.ix_(others, others)]
                )
            assert float(conditionals[i, unit]) == pytest.approx(log_p, abs=1e-10)
    assert (conditionals[v.isnan()] == 0.0).all()


def test_gaussian_layers_without_a_density_are_refused():
    machine = quadratic(norm=1.5)
    with pytest.raises(ValueError, match="can't be normalised"):
        of_rows(machine, torch.full((1, 4), torch.nan, dtype=torch.float64), OfNormal)


# -- memory ------------------------------------------------------------------------------------------------------------


@of_all
@of_both
def test_the_blocks_change_nothing(name, way, monkeypatch):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 6), share=0.2)
    v[3:5] = v[2]  # rows of the same gaps
    whole = of_rows(machine, v, way)
    for block in (20, 500):
        with monkeypatch.context() as patch:
            patch.setattr(marginals, "_BLOCK", block)
            patch.setattr(marginals, "_TABLE", 2 * block)
            for ours, theirs in zip(of_rows(machine, v, way), whole, strict=True):
                torch.testing.assert_close(ours, theirs)


def test_many_states_take_little_memory(monkeypatch):
    """No more elements at a time than a block and a table hold, or the states of one row."""
    largest, of_bits = 0, type(BERNOULLI).cumulant

    def cumulant(self, x):
        nonlocal largest
        largest = max(largest, x.numel())
        return of_bits(self, x)

    monkeypatch.setattr(type(BERNOULLI), "cumulant", cumulant)
    machine = machine_of((BERNOULLI, 12), 12)
    v = torch.full((300, 12), torch.nan, dtype=torch.float64)
    v[:, 0] = torch.arange(300) % 2
    prepared = Machine(machine)
    for way in WAYS:
        log_weight = way(prepared).log_weight(prepared.rows(v))
        assert log_weight.logsumexp(0) == pytest.approx(log_partition_exact(machine) + math.log(150), abs=1e-9)
    assert largest <= marginals._BLOCK


def test_probabilities_of_the_observed_sum_to_one():
    machine = machine_of("categorical")
    v = states_of(*LAYERS["categorical"])[::3].clone()
    v[:, 3:] = torch.nan
    log_p = of_rows(machine, v, ByVisibleStates)[0] - log_partition_exact(machine)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-10)
    both = log_likelihood_exact(machine, states_of(*LAYERS["categorical"])).exp().view(3, 3)
    torch.testing.assert_close(log_p.exp(), both.sum(1))
