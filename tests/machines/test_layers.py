"""What layers of all kinds of units keep to, by enumeration, quadrature and autograd."""

import math

import pytest
import torch

from skrbm.machines import BERNOULLI, GAUSSIAN, Blocks, Categorical
from skrbm.support.randomness import Stream
from tests.machines.layers import DISCRETE, LAYERS, random_inputs, states_of

of_all = pytest.mark.parametrize("name", LAYERS)
of_discrete = pytest.mark.parametrize("name", DISCRETE)


@of_all
def test_the_mean_is_the_derivative_of_the_cumulant(name):
    unit, n = LAYERS[name]
    x = random_inputs(n, (50,)).requires_grad_()
    (derivative,) = torch.autograd.grad(unit.cumulant(x).sum(), x)
    torch.testing.assert_close(unit.mean(x.detach()), derivative)


@of_discrete
def test_probabilities_sum_to_one(name):
    """p(s) = exp(log_weight(s, x) - cumulant(x)) over all states of the layer; and their mean."""
    unit, n = LAYERS[name]
    s = states_of(unit, n)
    for x in random_inputs(n, (5,)):
        p = (unit.log_weight(s, x) - unit.cumulant(x).sum()).exp()
        assert math.isclose(p.sum(), 1.0, rel_tol=1e-12)
        torch.testing.assert_close(p @ s, unit.mean(x))


@of_all
def test_sums_over_the_points_of_each_unit(name):
    """log Σ_s ρ(s) exp(x's) is the cumulant, unit by unit."""
    unit, n = LAYERS[name]
    x = random_inputs(n, scale=3.0)
    found = []
    for columns in unit.columns(n):
        of_x = x[columns]
        s, log_weight = unit.points(columns, float(of_x.min()), float(of_x.max()), x)
        found.append(torch.logsumexp(log_weight + s @ of_x, 0))
        one = unit.unit_at(columns)
        torch.testing.assert_close(one.log_weight(s, of_x) - one.log_weight(s, 0 * of_x), s @ of_x)
    torch.testing.assert_close(torch.stack(found), unit.cumulant(x), atol=1e-12, rtol=0)


@of_all
def test_every_column_belongs_to_one_unit(name):
    unit, n = LAYERS[name]
    columns = [i for part in unit.columns(n) for i in range(part.start, part.stop)]
    assert columns == list(range(n))


@of_all
@pytest.mark.parametrize(("scale", "step"), [(0.0, 0.01), (0.5, 0.1), (1.0, -0.02), (0.3, 1e-6)])
def test_steps_are_differences(name, scale, step):
    unit, n = LAYERS[name]
    x = random_inputs(n, (100,), scale=3.0)
    difference = unit.cumulant((scale + step) * x) - unit.cumulant(scale * x)
    torch.testing.assert_close(unit.cumulant_step(x, scale, step), difference, rtol=1e-7, atol=1e-13)
    torch.testing.assert_close(unit.cumulant_step(x.float(), scale, step).double(), difference, rtol=2e-5, atol=1e-8)


@of_all
def test_the_log_weight_has_the_statistics_as_its_derivative(name):
    unit, n = LAYERS[name]
    s = unit.sample(unit.mean(random_inputs(n, (9,))), Stream(0))
    bias = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(unit.log_weight(s, bias).sum(), bias)
    torch.testing.assert_close(unit.statistics(s).sum(0), derivative)


@of_all
def test_the_bias_inverts_the_mean(name):
    """Up to the gauge, which is that of zero sums."""
    unit, n = LAYERS[name]
    x = random_inputs(n, scale=2.0)
    bias = unit.bias_of(unit.mean(x))
    torch.testing.assert_close(unit.mean(bias), unit.mean(x))
    shrunk = unit.mean(unit.bias_of(unit.mean(x), 0.1))
    assert torch.isfinite(unit.bias_of(torch.zeros(n).double(), 0.1)).all()
    assert (shrunk - unit.mean(0 * x)).abs().max() < (unit.mean(x) - unit.mean(0 * x)).abs().max()


@of_all
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_mean_and_the_variance(name, dtype):
    """And covariances within units: the second derivative of the cumulant."""
    unit, n = LAYERS[name]
    x, n_draws = random_inputs(n), 200_000
    mean = unit.mean(x)
    covariance = torch.autograd.functional.hessian(lambda x: unit.cumulant(x).sum(), x)
    s = unit.sample(mean.to(dtype).expand(n_draws, -1), Stream(0))
    assert (s.shape, s.dtype) == ((n_draws, n), dtype)
    s = s.double()
    z = (s.mean(0) - mean) / (covariance.diagonal() / n_draws).sqrt()
    assert z.abs().max() < 4
    found = torch.cov(s.T)
    assert (found - covariance).abs().max() < 5 * 1.5 * covariance.diagonal().max() / math.sqrt(n_draws)


@of_discrete
def test_draws_have_the_frequencies_of_all_states(name):
    unit, n = LAYERS[name]
    s, x, n_draws = states_of(unit, n), random_inputs(n, scale=0.7), 100_000
    p = (unit.log_weight(s, x) - unit.cumulant(x).sum()).exp()
    drawn = unit.sample(unit.mean(x).expand(n_draws, -1), Stream(1))
    which = torch.cdist(drawn, s).argmin(1)
    assert (s[which] == drawn).all()
    counts = which.bincount(minlength=len(s)).double()
    chi2 = ((counts - n_draws * p).square() / (n_draws * p)).sum()
    assert chi2 < len(s) - 1 + 5 * math.sqrt(2 * (len(s) - 1))


@of_all
def test_draws_go_where_they_are_wanted(name):
    unit, n = LAYERS[name]
    mean = unit.mean(random_inputs(n, (30,)).float())
    numbers, expected = Stream(1).uniform(mean.numel()), unit.sample(mean, Stream(1))
    out = torch.empty(30, n)
    assert unit.draw_(out, mean, numbers) is out
    assert torch.equal(out, expected)
    assert torch.equal(unit.sample(mean.T.contiguous().T, Stream(1)), expected)
    assert unit.sample(mean[0].expand(4, 3, -1), Stream(0)).shape == (4, 3, n)
    assert unit.sample(mean[:0], Stream(0)).shape == (0, n)
    assert torch.equal(numbers, Stream(1).uniform(mean.numel()))  # they are left as they were


@of_discrete
def test_draws_into_bytes(name):
    unit, n = LAYERS[name]
    mean, numbers = unit.mean(random_inputs(n, (30,)).float()), Stream(1).uniform(30 * n)
    out = torch.empty((30, n), dtype=torch.int8)
    unit.draw_(out, mean, numbers)
    assert torch.equal(out.float(), unit.sample(mean, Stream(1)))


@of_all
def test_means_are_written_in_place(name):
    unit, n = LAYERS[name]
    x = random_inputs(n, (7,))
    before, means = x.clone(), unit.mean(x)
    assert torch.equal(x, before)
    assert unit.mean_(x).data_ptr() == x.data_ptr()
    assert torch.equal(x, means)


# -- what they are made of ---------------------------------------------------------------------------------------------


@of_all
def test_layers_of_the_same_kind_are_equal(name):
    unit, _ = LAYERS[name]
    twin = eval(repr(unit), {"Bernoulli": type(BERNOULLI), "Gaussian": type(GAUSSIAN), **globals()})
    if isinstance(unit, Blocks | Categorical):
        assert (twin, hash(twin)) == (unit, hash(unit))
    assert unit != object()


@pytest.mark.parametrize(("name", "n_states"), [("bernoulli", 16), ("categorical", 9), ("blocks", math.inf)])
def test_how_many_states_there_are(name, n_states):
    unit, n = LAYERS[name]
    assert 2 ** unit.n_bits(n) == pytest.approx(n_states)
