"""log Z, likelihoods and rows with gaps of machines whose visible units are coupled, against enumeration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.likelihood import (
    exact,
    gaps,
    log_likelihood_exact,
    log_partition_exact,
    marginal_free_energy,
    marginal_mean_h,
    marginal_pseudo_log_likelihood,
    marginals,
    pseudo_log_likelihood,
)
from skrbm.likelihood.annealed import anneal, log_partition_ais, log_partition_reverse_ais, uniform_schedule
from skrbm.likelihood.exact import bits_to_enumerate
from skrbm.likelihood.gaps import marginal_mean_v
from skrbm.likelihood.log_partition import log_partition
from skrbm.likelihood.marginals import ByHiddenStates, ByVisibleStates, Machine, OfNormal
from skrbm.likelihood.tempered import log_partition_tempering
from skrbm.machines.couplings import Graph
from skrbm.machines.restricted import RBMParameters, free_energy, mean_h_given_v
from skrbm.machines.spins import ising_to_bits
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream
from tests import reference
from tests.likelihood.test_layers import machine_of, quadratic, rows_of
from tests.likelihood.test_marginals import completions_of, of_rows, with_gaps
from tests.machines.layers import DISCRETE, LAYERS, states_of

of_machines = pytest.mark.parametrize("n_hidden", [0, 3])


def coupled(n_hidden=3, n_features=6, scale=1.0, seed=0, **kwargs):
    return reference.random_params(n_hidden, n_features, scale, seed, coupled=True, **kwargs)


def states(params):
    return torch.from_numpy(reference.states(params.n_features))


# -- enumeration -------------------------------------------------------------------------------------------------------


@of_machines
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_log_partition_by_enumeration(n_hidden, scale, monkeypatch):
    params = coupled(n_hidden, scale=scale)
    expected = reference.log_partition(params)
    for block in (exact._BLOCK, 16, 2):  # in whose stead units are gone through one by one
        monkeypatch.setattr(exact, "_BLOCK", block)
        assert log_partition_exact(params) == pytest.approx(expected, rel=1e-12)
    assert abs(log_partition_exact(replace(params, R=None)) - expected) > 1e-3


def test_log_partition_with_a_graph():
    params = coupled(2, 10)
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[range(9), range(1, 10)] = mask[range(1, 10), range(9)] = True
    params = replace(params, R=params.R * mask)
    neighbours = torch.arange(10)[:, None] + torch.tensor([-1, 1])
    neighbours[0, 0], neighbours[-1, 1] = 0, 9
    graph = Graph((torch.arange(0, 10, 2), torch.arange(1, 10, 2)), neighbours)
    assert log_partition_exact(replace(params, graph=graph)) == pytest.approx(log_partition_exact(params), rel=1e-12)


def test_coupled_units_are_those_that_are_enumerated():
    params = coupled(2, 6)
    assert bits_to_enumerate(params) == 6
    assert bits_to_enumerate(replace(params, R=None)) == 2
    with pytest.raises(ValueError, match="at most 30 visible units where these are coupled; this machine has 31"):
        log_partition_exact(coupled(2, 31))


@of_machines
def test_likelihood_and_pseudo_likelihood(n_hidden):
    params = coupled(n_hidden, 5)
    V = states(params)
    np.testing.assert_allclose(log_likelihood_exact(params, V).exp(), reference.p_v(params), atol=1e-12)
    expected = [reference.pseudo_log_likelihood(params, v) for v in V.numpy()]
    np.testing.assert_allclose(pseudo_log_likelihood(params, V), expected, rtol=1e-10)
    assert np.abs(pseudo_log_likelihood(replace(params, R=None), V).numpy() - expected).max() > 0.1


@of_machines
def test_pseudo_likelihood_of_greys(n_hidden):
    params, v = coupled(n_hidden, 5), np.array([0.2, 1.0, 0.0, 0.7, 0.5])
    found = pseudo_log_likelihood(params, torch.from_numpy(v)[None])
    assert float(found[0]) == pytest.approx(reference.pseudo_log_likelihood(params, v), rel=1e-10)


# -- estimates of log Z ------------------------------------------------------------------------------------------------


def machines():
    """With hidden units and without, weak and strong."""
    return enumerate(coupled((0, 4)[seed % 2], 6, (0.3, 0.8)[seed // 4], seed) for seed in range(8))


def errors(estimate):
    """Deviations from the exact log Z, in standard errors."""
    found = [(estimate(params, seed), log_partition_exact(params)) for seed, params in machines()]
    return np.array([(each.value - truth) / each.standard_error for each, truth in found])


def ais(params, seed):
    path = AnnealingPath(params, 0.5 * params.b)
    return log_partition_ais(path, uniform_schedule(60), Stream(seed), n_chains=200)


def reverse(params, seed):
    path = AnnealingPath(params, 0.5 * params.b)
    v = torch.from_numpy(reference.draw_v(params, 200, seed))
    return log_partition_reverse_ais(path, v, uniform_schedule(60), Stream(seed))


def tempering(params, seed):
    ladder = AnnealingPath(params, 0.5 * params.b).ladder(torch.linspace(0, 1, 5))
    return log_partition_tempering(ladder, Stream(seed), n_steps=80, n_chains=50)


@pytest.mark.parametrize("estimate", [ais, reverse, tempering])
def test_estimates_agree_with_enumeration(estimate):
    found = errors(estimate)
    assert np.abs(found).max() < 4
    assert 0.4 < found.std() < 1.8


@pytest.mark.parametrize("estimate", [ais, reverse, tempering])
def test_that_test_rejects_sweeps_at_another_temperature(estimate, monkeypatch):
    from skrbm.likelihood import annealed
    from skrbm.sampling import sweeps
    from skrbm.sampling import tempering as of_rungs

    def sweep(machine, v, inputs, numbers, **kwargs):
        kwargs["scale"] = 0.5 * kwargs["scale"]
        return sweeps.sweep_(machine, v, inputs, numbers, **kwargs)

    for module in (annealed, of_rungs):
        monkeypatch.setattr(module, "sweep_", sweep)
    assert np.abs(errors(estimate)).max() > 4


def coverage(n_machines, level=0.95):
    """Share of AIS's intervals, of machines with hidden units and without, that hold the exact log Z."""
    n_inside = 0
    for seed in range(n_machines):
        params = coupled((0, 3)[seed % 2], 8, (0.2, 0.5, 0.8)[seed % 3], seed)
        path = AnnealingPath(params, 0.5 * params.b)
        low, high = log_partition_ais(path, uniform_schedule(50), Stream(seed), n_chains=100).interval(level)
        n_inside += low <= log_partition_exact(params) <= high
    return n_inside / n_machines


@pytest.mark.slow
def test_two_hundred_intervals_cover_the_truth():
    assert 0.90 <= coverage(200) <= 0.99
    assert 0.4 < coverage(200, 0.5) < 0.6


# -- lattices, of which log Z is known ---------------------------------------------------------------------------------


def torus(n_rows, n_columns, K):
    """A machine of spins on a periodic lattice, with couplings K of neighbours, and log Z of bits less theirs."""
    n, place = n_rows * n_columns, np.arange(n_rows * n_columns).reshape(n_rows, n_columns)
    J = np.zeros((n, n))
    for axis in (0, 1):
        if place.shape[axis] > 1:
            beside = np.roll(place, -1, axis)
            np.add.at(J, (place.ravel(), beside.ravel()), K)
            np.add.at(J, (beside.ravel(), place.ravel()), K)
    R, b, constant = ising_to_bits(np.zeros(n), J)
    R, b = torch.from_numpy(R), torch.from_numpy(b)
    return RBMParameters(R.new_zeros((0, n)), b, R.new_zeros(0), R=R, graph=Graph.of(R != 0)), constant


def by_transfer_matrix(n_rows, n_columns, K):
    """log Z of spins on a periodic lattice: log Tr T^n_rows, T_rs = exp(½ E(r) + K r's + ½ E(s)) (Onsager 1944)."""
    s = 2 * reference.states(n_columns) - 1
    within = K * (s * np.roll(s, 1, 1)).sum(1) if n_columns > 1 else np.zeros(len(s))
    T = np.exp(K * s @ s.T + 0.5 * (within[:, None] + within))
    return np.log(np.trace(np.linalg.matrix_power(T, n_rows)))


def of_ring(n, K):
    """log Z of spins on a ring, (2 cosh K)^n + (2 sinh K)^n (Ising 1925)."""
    return np.log((2 * np.cosh(K)) ** n + (2 * np.sinh(K)) ** n)


def by_kaufman(size, K):
    """log Z of spins on a periodic square (Kaufman 1949, equation 80)."""
    r = np.arange(2 * size)
    gamma = np.arccosh(np.cosh(2 * K) ** 2 / np.sinh(2 * K) - np.cos(np.pi * r / size))
    gamma[0] = 2 * K + np.log(np.tanh(K))
    odd, even = 0.5 * size * gamma[1::2], 0.5 * size * gamma[::2]
    products = [np.prod(2 * of(x)) for x in (odd, even) for of in (np.cosh, np.sinh)]
    return np.log(0.5 * (2 * np.sinh(2 * K)) ** (size**2 / 2) * sum(products))


def test_the_formulas_agree():
    K = 0.5 * np.log(1 + np.sqrt(2)) + 0.01
    assert by_kaufman(6, K) == pytest.approx(by_transfer_matrix(6, 6, K), rel=1e-12)
    assert of_ring(7, K) == pytest.approx(by_transfer_matrix(7, 1, K), rel=1e-12)
    assert abs(of_ring(7, K) - of_ring(7, K + 0.01)) > 1e-3


@pytest.mark.parametrize("K", [0.2, 0.44, 0.8])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(12, 1), (4, 4), (3, 5)])
def test_enumeration_of_lattices(n_rows, n_columns, K):
    params, constant = torus(n_rows, n_columns, K)
    assert log_partition_exact(params) - constant == pytest.approx(by_transfer_matrix(n_rows, n_columns, K), rel=1e-12)


@pytest.mark.parametrize(("n_rows", "n_columns"), [(200, 1), (8, 8)])
def test_estimates_of_lattices_that_are_too_large_to_enumerate(n_rows, n_columns):
    K = 0.35
    params, constant = torus(n_rows, n_columns, K)
    truth = (of_ring(n_rows, K) if n_columns == 1 else by_kaufman(8, K)) + constant
    path = AnnealingPath(params, torch.zeros_like(params.b))
    found = log_partition_ais(path, uniform_schedule(200), Stream(0), n_chains=200)
    assert found.standard_error < 0.2
    assert abs(found.value - truth) < 4 * found.standard_error


def test_weights_of_one_step_are_free_energy_differences():
    params = coupled(3, 5)
    log_f = np.log(reference.p_v(params)) + reference.log_partition(params)
    path = AnnealingPath(params, torch.zeros(5).double())
    for betas, sign in (([0.0, 1.0], 1), ([1.0, 0.0], -1)):
        found = anneal(path, states(params), betas, Stream(0)).log_weight
        np.testing.assert_allclose(found, sign * (log_f - 3 * np.log(2)), atol=1e-12)


def test_float32_is_enough():
    params = coupled(5, 14, scale=0.5)
    narrow = ais(params.to(torch.float32), 0)
    assert abs(narrow.value - log_partition_exact(params)) < 4 * narrow.standard_error


@of_machines
@pytest.mark.parametrize("method", ["exact", "ais", "parallel_tempering"])
def test_all_methods(n_hidden, method):
    params = coupled(n_hidden, 6, scale=0.5)
    path = AnnealingPath(params, torch.zeros(6).double())
    found = log_partition(path, method, stream=Stream(0), n_temperatures=10, n_chains=50)
    assert abs(found.value - log_partition_exact(params)) < 4 * found.standard_error + 1e-9


# -- rows with gaps ----------------------------------------------------------------------------------------------------

FUNCTIONS = (marginal_free_energy, marginal_mean_h, marginal_mean_v, marginal_pseudo_log_likelihood)


def value_of(found):
    return getattr(found, "value", found)


def rows_with_gaps(params, n=8, share=0.5, seed=0):
    rng = np.random.default_rng(seed)
    v = torch.from_numpy(reference.draw_v(params, n, seed))
    v[torch.from_numpy(rng.random(v.shape) < share)] = torch.nan
    v[0] = torch.nan
    return v


def by_enumeration(params, v):
    """Of rows with gaps: F, E[h], E[v] and the pseudo-log-likelihood."""
    V, p = reference.states(params.n_features), reference.p_v(params)
    h, found = reference.h_given_v(params) @ reference.states(params.n_hidden), []
    for row in v.numpy():
        some = p * reference.compatible(row)
        log_p = 0.0
        for i in np.flatnonzero(~np.isnan(row)):
            without = row.copy()
            without[i] = np.nan
            log_p += np.log(some.sum() / (p * reference.compatible(without)).sum())
        log_weight = np.log(some.sum()) + reference.log_partition(params)
        found.append((-log_weight, some @ h / some.sum(), some @ V / some.sum(), log_p))
    return [torch.from_numpy(np.array(values)) for values in zip(*found, strict=True)]


@of_machines
def test_sums_over_gaps(n_hidden, monkeypatch):
    params = coupled(n_hidden)
    v = rows_with_gaps(params)
    expected, others = by_enumeration(params, v), by_enumeration(replace(params, R=0.5 * params.R), v)
    for block in (marginals._BLOCK, 20):
        monkeypatch.setattr(marginals, "_BLOCK", block)
        for function, wanted, other in zip(FUNCTIONS, expected, others, strict=True):
            found = value_of(function(params, v, Stream(0)))
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
            assert not wanted.numel() or (found - other).abs().max() > 1e-3
    errors = marginal_free_energy(params, v, Stream(0)).standard_error
    assert (errors == 0.0).all()


@of_machines
def test_rows_without_gaps(n_hidden):
    params = coupled(n_hidden)
    v = states(params)[::5]
    expected = (free_energy(params, v), mean_h_given_v(params, v), v, pseudo_log_likelihood(params, v))
    for function, wanted in zip(FUNCTIONS, expected, strict=True):
        assert torch.equal(value_of(function(params, v, Stream(0))), wanted)


def test_greys_with_gaps():
    """Of the odds of a place, given the others as they are."""
    params = coupled(3, 4)
    v = torch.tensor([[0.3, torch.nan, 1.0, 0.9]]).double()
    found = float(marginal_pseudo_log_likelihood(params, v, Stream(0)))

    def by_places(params):
        total = 0.0
        for i in (0, 2, 3):
            ends = v.repeat(2, 1)
            ends[:, i] = torch.tensor([0.0, 1.0])
            log_p = -marginal_free_energy(params, ends, Stream(0)).value
            total += float(torch.stack((1 - v[0, i], v[0, i])) @ log_p.log_softmax(0))
        return total

    assert found == pytest.approx(by_places(params), abs=1e-10)
    assert abs(found - by_places(replace(params, R=None))) > 0.1


@pytest.fixture
def sampled(monkeypatch):
    """Nothing is summed exactly."""
    for name in ("_MAX_BITS", "_MAX_BITS_OF_COMPLETIONS", "_MAX_BITS_OF_GREYS"):
        monkeypatch.setattr(gaps, name, -1.0)


def halved(monkeypatch):
    """A twin whose sweeps take couplings for half as strong."""
    from skrbm.sampling import sweeps

    def sweep(machine, *arguments, **kwargs):
        return sweeps.sweep_(replace(machine, R=0.5 * machine.R), *arguments, **kwargs)

    monkeypatch.setattr(gaps, "sweep_", sweep)


@of_machines
def test_ais_of_gaps(n_hidden, sampled, monkeypatch):
    params = coupled(n_hidden)
    v = rows_with_gaps(params, 20, 0.7)
    v = v[v.isnan().any(1)]
    expected = by_enumeration(params, v)[0]

    def worst():
        found = marginal_free_energy(params, v, Stream(1), n_chains=200, n_temperatures=50)
        assert found.standard_error.max() < 0.2
        return float(((found.value - expected).abs() / (found.standard_error + 1e-9)).max())

    assert worst() < 4
    halved(monkeypatch)
    assert worst() > 4


@of_machines
def test_means_and_pseudo_likelihoods_from_chains(n_hidden, sampled, monkeypatch):
    params = coupled(n_hidden)
    v = rows_with_gaps(params, 10, 0.5)
    _, mean_h, mean_v, log_p = by_enumeration(params, v)

    def errors():
        kwargs = {"n_chains": 40, "n_steps": 200}
        of_h = marginal_mean_h(params, v, Stream(0), **kwargs) - mean_h
        of_v = marginal_mean_v(params, v, Stream(0), **kwargs) - mean_v
        of_log_p = marginal_pseudo_log_likelihood(params, v, Stream(0), **kwargs) - log_p
        return [float(error.abs().max()) if error.numel() else 0.0 for error in (of_h, of_v, of_log_p)]

    found = errors()
    assert max(found[:2]) < 0.05
    assert found[2] < 0.15
    halved(monkeypatch)
    assert errors()[1] > 0.1


def test_greys_from_chains(sampled):
    params = coupled(3, 4)
    v = torch.tensor([[0.3, torch.nan, torch.nan, 0.9], [1.0, torch.nan, 0.0, 1.0]]).double()
    found = marginal_pseudo_log_likelihood(params, v, Stream(0), n_chains=100, n_steps=200)
    expected = of_rows(params, v, ByVisibleStates)[2].sum(1)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


# -- means of missing cells, of all machines ---------------------------------------------------------------------------


def mean_v_by_enumeration(machine, row, states):
    some = completions_of(machine, row, states)
    return (-free_energy(machine, some)).softmax(0) @ some


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("way", [ByVisibleStates, ByHiddenStates])
def test_means_of_missing_cells(name, way):
    machine, states = machine_of(name), states_of(*LAYERS[name])
    v = with_gaps(machine, rows_of(machine, 12))
    prepared = Machine(machine)
    found = way(prepared).mean_v(prepared.rows(v))
    expected = torch.stack([mean_v_by_enumeration(machine, row, states) for row in v])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(found[~v.isnan()], v[~v.isnan()])
    wrong = Machine(replace(machine, W=-machine.W))
    assert (way(wrong).mean_v(wrong.rows(v)) - expected).abs().max() > 0.05


def test_ways_to_means_of_gaussian_columns_agree():
    machine = machine_of("gaussian")
    v = with_gaps(machine, rows_of(machine, 6), share=0.3)
    prepared = Machine(machine)
    ours, theirs = (way(prepared).mean_v(prepared.rows(v)) for way in (ByVisibleStates, ByHiddenStates))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


def test_means_of_missing_cells_of_a_normal_distribution():
    machine = quadratic()
    precision = torch.eye(4).double() - machine.W.T @ machine.W
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (machine.b + machine.W.T @ machine.c)
    v = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v[0, 1] = v[1, 1:] = v[2] = torch.nan
    prepared = Machine(machine)
    found = OfNormal(prepared).mean_v(prepared.rows(v))
    for row, ours in zip(v, found, strict=True):
        seen = ~row.isnan()
        gain = covariance[:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
        torch.testing.assert_close(ours, mean + gain @ (row[seen] - mean[seen]))
    assert (found[2] - mean).abs().max() < 1e-10


@pytest.mark.parametrize("name", LAYERS)
def test_means_of_missing_cells_from_chains(name, sampled):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 8), share=0.6)
    prepared = Machine(machine)
    expected = ByHiddenStates(prepared).mean_v(prepared.rows(v))
    found = marginal_mean_v(machine, v, Stream(0), n_chains=40, n_steps=200)
    assert (found - expected).abs().max() < 0.1
    torch.testing.assert_close(found[~v.isnan()], v[~v.isnan()])
    alone = torch.where(v.isnan(), machine.visible.mean(machine.b.expand_as(v)), v)  # as if hidden units were off
    assert (alone - expected).abs().max() > 0.15
