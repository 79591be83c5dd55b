"""Rows with gaps: which way they are summed out, and chains where no sum is exact."""

import math

import numpy as np
import pytest
import torch

from skrbm.likelihood import (
    LogPartitionWarning,
    gaps,
    log_partition_exact,
    marginal_free_energy,
    marginal_mean_h,
    marginal_pseudo_log_likelihood,
    pseudo_log_likelihood,
)
from skrbm.likelihood.marginals import ByHiddenStates, ByVisibleStates
from skrbm.machines import BERNOULLI, GAUSSIAN, RBMParameters, free_energy
from skrbm.machines.restricted import mean_h_given_v
from skrbm.support.randomness import Stream
from tests.likelihood.test_layers import machine_of, quadratic, rows_of
from tests.likelihood.test_marginals import of_rows, with_gaps
from tests.machines.layers import LAYERS

of_all = pytest.mark.parametrize("name", LAYERS)
FUNCTIONS = (marginal_free_energy, marginal_mean_h, marginal_pseudo_log_likelihood)


def value_of(found):
    return getattr(found, "value", found)


@pytest.fixture
def sampled(monkeypatch):
    """Nothing is summed exactly."""
    for name in ("_MAX_BITS", "_MAX_BITS_OF_COMPLETIONS", "_MAX_BITS_OF_GREYS"):
        monkeypatch.setattr(gaps, name, -1.0)


def annealed(machine, row, n=200, seed=0, **kwargs):
    """-F of a row by AIS, so many times."""
    return marginal_free_energy(machine, row.expand(n, -1), Stream(seed), **kwargs)


# -- exact -------------------------------------------------------------------------------------------------------------


@of_all
def test_whatever_the_gaps_the_sum_is_exact(name):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 20))
    v[0] = torch.nan
    log_weight, mean_h, conditionals = of_rows(machine, v, ByHiddenStates)
    found = marginal_free_energy(machine, v, Stream(0))
    torch.testing.assert_close(found.value, -log_weight)
    assert (found.standard_error == 0.0).all()
    assert found.effective_sample_size.isinf().all()
    torch.testing.assert_close(marginal_mean_h(machine, v, Stream(0)), mean_h)
    torch.testing.assert_close(marginal_pseudo_log_likelihood(machine, v, Stream(0)), conditionals.sum(1))
    assert float(found.value[0]) == pytest.approx(-log_partition_exact(machine))


@of_all
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_without_gaps_have_the_same_bits_as_ever(name, dtype):
    machine = machine_of(name).to(dtype)
    v = rows_of(machine_of(name), 50).to(dtype)
    for ours, theirs in zip(FUNCTIONS, (free_energy, mean_h_given_v, pseudo_log_likelihood), strict=True):
        found = value_of(ours(machine, v, Stream(0)))
        assert torch.equal(found, theirs(machine, v))
        some = with_gaps(machine, v)[:7]
        mixed = value_of(ours(machine, torch.cat((some, v)), Stream(0)))
        assert mixed.dtype == dtype
        torch.testing.assert_close(mixed[7:], found)
        torch.testing.assert_close(mixed[:7], value_of(ours(machine, some, Stream(0))))
        wide = value_of(ours(machine.to(torch.float64), some.double(), Stream(0)))
        torch.testing.assert_close(mixed[:7].double(), wide, rtol=1e-5, atol=1e-5)


def test_the_way_with_fewer_states_is_taken(monkeypatch):
    taken = []
    for way in (ByVisibleStates, ByHiddenStates):

        def log_weight(self, rows, way=way, of_way=way.log_weight):
            taken.append((way, len(rows.v)))
            return of_way(self, rows)

        monkeypatch.setattr(way, "log_weight", log_weight)
    machine = machine_of((BERNOULLI, 8), 4)
    v = rows_of(machine, 3)
    v[0, :2] = v[1, :4] = v[2, :6] = torch.nan
    marginal_free_energy(machine, v, Stream(0))
    assert taken == [(ByVisibleStates, 2), (ByHiddenStates, 1)]


def test_gaussian_layers_take_any_number_of_gaps():
    machine = quadratic(n_hidden=20, n_features=30)
    v = torch.full((2, 30), torch.nan, dtype=torch.float64)
    found = marginal_free_energy(machine, v, Stream(0))
    assert found.value.tolist() == pytest.approx([-log_partition_exact(machine)] * 2)
    assert (found.standard_error == 0.0).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rows_of_the_wrong_kind(function):
    machine = machine_of("bernoulli")
    with pytest.raises(TypeError, match="v must be a tensor, got ndarray"):
        function(machine, np.zeros((2, 4)), Stream(0))
    with pytest.raises(ValueError, match=r"v must have shape \(n, 4\), but its shape is \(2, 5\)"):
        function(machine, torch.zeros(2, 5, dtype=torch.float64), Stream(0))
    with pytest.raises(TypeError, match="stream must be a Stream, got int"):
        function(machine, torch.zeros(2, 4, dtype=torch.float64), 0)


# -- estimated ---------------------------------------------------------------------------------------------------------


def deviations_of_ais(machine, v):
    """Estimates less the sums, in standard errors, and these errors."""
    found = marginal_free_energy(machine, v, Stream(1), n_chains=200, n_temperatures=50)
    exact = of_rows(machine, v, ByHiddenStates)[0]
    return (-found.value - exact) / (found.standard_error + 1e-9), found.standard_error


@of_all
@pytest.mark.parametrize("hidden", [BERNOULLI, GAUSSIAN], ids=["bits", "gaussian"])
def test_ais_of_rows_with_gaps(name, hidden, sampled):
    if hidden is GAUSSIAN and name in ("gaussian", "blocks"):
        return  # which have no integral, or closed forms
    machine = machine_of(name, hidden=hidden, scale=0.8 if hidden is BERNOULLI else 0.4)
    v = with_gaps(machine, rows_of(machine_of(name), 40), share=0.6)
    v[0] = torch.nan
    v = v[v.isnan().any(1)]
    found = marginal_free_energy(machine, v, Stream(1), n_chains=200, n_temperatures=50)
    exact = of_rows(machine, v, ByHiddenStates if hidden is BERNOULLI else ByVisibleStates)[0]
    assert found.standard_error.max() < 0.1
    assert ((-found.value - exact).abs() < 4 * found.standard_error + 1e-9).all()


@of_all
def test_ais_of_a_wrong_path_is_rejected(name, sampled, monkeypatch):
    """Whose chains are of the means, not of draws."""
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 40), share=0.6)
    v = v[v.isnan().any(1)]
    exact = of_rows(machine, v, ByHiddenStates)[0]
    monkeypatch.setattr(type(machine.visible), "draw_", lambda self, out, mean, uniform: out.copy_(mean))
    found = marginal_free_energy(machine, v, Stream(1), n_chains=200, n_temperatures=50)
    assert not ((-found.value - exact).abs() < 4 * found.standard_error + 1e-9).all()


def test_ais_is_unbiased(sampled):
    """The mean of few chains of few steps, over many rows that are the same."""
    machine = machine_of((BERNOULLI, 6), 4, scale=2.0)
    row = rows_of(machine, 1)
    row[:, 1:] = torch.nan
    exact = float(of_rows(machine, row, ByHiddenStates)[0])
    with pytest.warns(LogPartitionWarning):  # chains are two
        found = annealed(machine, row, 4000, n_chains=2, n_temperatures=3)
    ratio = (-found.value - exact).exp()
    assert float(ratio.std()) > 0.2
    assert abs(float(ratio.mean()) - 1.0) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


def test_errors_of_ais_are_those_that_it_makes(sampled):
    machine = machine_of((BERNOULLI, 6), 4, scale=2.0)
    row = torch.full((1, 6), torch.nan, dtype=torch.float64)
    found = annealed(machine, row, 300, n_chains=50, n_temperatures=10)
    assert float(found.value.std()) == pytest.approx(float(found.standard_error.mean()), rel=0.25)


def test_of_chains_that_dont_count_there_is_a_warning(sampled):
    machine = machine_of((BERNOULLI, 20), 20, scale=4.0)
    v = torch.full((2, 20), torch.nan, dtype=torch.float64)
    with pytest.warns(LogPartitionWarning, match="missing values of [12] rows? were summed out by AIS of which only"):
        marginal_free_energy(machine, v, Stream(0), n_temperatures=2)


@of_all
def test_means_of_h_from_chains(name, sampled):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 10), share=0.6)
    expected = of_rows(machine, v, ByHiddenStates)[1]
    found = marginal_mean_h(machine, v, Stream(0), n_chains=40, n_steps=200)
    assert (found - expected).abs().max() < 0.05
    of_zeros = mean_h_given_v(machine, v.nan_to_num(0.0))
    assert (of_zeros - expected).abs().max() > 0.1


@of_all
def test_pseudo_likelihoods_from_chains(name, sampled):
    machine = machine_of(name)
    v = with_gaps(machine, rows_of(machine, 10), share=0.6)
    v[0] = torch.nan
    expected = of_rows(machine, v, ByHiddenStates)[2].sum(1)
    found = marginal_pseudo_log_likelihood(machine, v, Stream(0), n_chains=40, n_steps=200)
    assert found[0] == 0.0
    assert (found - expected).abs().max() < 0.15
    filled = pseudo_log_likelihood(machine, v.nan_to_num(0.0)) if name in ("bernoulli", "gaussian") else 0.0
    assert (filled - expected).abs().max() > 0.3


def test_pseudo_likelihoods_of_greys_from_chains(sampled):
    machine = machine_of("bernoulli")
    v = torch.tensor([[0.3, torch.nan, torch.nan, 0.9], [1.0, torch.nan, 0.0, 1.0]], dtype=torch.float64)
    expected = of_rows(machine, v, ByHiddenStates)[2].sum(1)
    found = marginal_pseudo_log_likelihood(machine, v, Stream(0), n_chains=100, n_steps=200)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rows_move_together_and_the_blocks_are_bounded(function, sampled, monkeypatch):
    machine = machine_of("blocks")
    v = with_gaps(machine, rows_of(machine, 6), share=0.6)
    kwargs = {"n_chains": 20, "n_temperatures" if function is marginal_free_energy else "n_steps": 100}
    first = value_of(function(machine, v, Stream(0), **kwargs))
    assert torch.equal(first, value_of(function(machine, v, Stream(0), **kwargs)))
    monkeypatch.setattr(gaps, "_BLOCK", 400)  # two rows
    largest = 0

    def sample(self, mean, stream, of_unit=BERNOULLI.sample):
        nonlocal largest
        largest = max(largest, mean.numel())
        return of_unit(mean, stream)

    monkeypatch.setattr(type(BERNOULLI), "sample", sample)
    found = value_of(function(machine, v, Stream(0), **kwargs))
    assert (found - first).abs().max() < 0.5
    assert 0 < largest <= 400


def test_machines_that_are_too_large_to_sum_are_sampled():
    machine = RBMParameters(0.1 * torch.ones(40, 30), torch.zeros(30), torch.zeros(40))
    v = torch.zeros(3, 30)
    v[0, :20], v[1, :4] = torch.nan, torch.nan
    found = marginal_free_energy(machine, v, Stream(0))
    assert (found.standard_error > 0.0).tolist() == [True, False, False]
    assert float(found.standard_error[0]) < 0.05


def test_a_machine_of_two_hidden_layers_is_one_whose_second_is_missing():
    generator = torch.Generator().manual_seed(0)
    W, U, b, c, d = (
        torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((3, 4), (3, 2), 4, 3, 2)
    )
    machine = RBMParameters(torch.cat((W, U), 1), torch.cat((b, d)), c)
    bits = [torch.tensor(np.array(list(np.ndindex(*[2] * n))), dtype=torch.float64) for n in (4, 3, 2)]
    energies = torch.stack(
        [-(h1 @ W @ v + h1 @ U @ h2 + b @ v + c @ h1 + d @ h2) for v in bits[0] for h1 in bits[1] for h2 in bits[2]]
    ).view(16, -1)
    assert log_partition_exact(machine) == pytest.approx(float((-energies).logsumexp((0, 1))), abs=1e-10)
    gaps = torch.cat((bits[0], torch.full((16, 2), torch.nan, dtype=torch.float64)), 1)
    found = marginal_free_energy(machine, gaps, Stream(0)).value
    torch.testing.assert_close(found, -(-energies).logsumexp(1))
    zeros = free_energy(machine, gaps.nan_to_num(0.0))  # as if the second layer were off
    assert float((zeros - found).abs().min()) > 0.1
