"""What all kinds of units keep to."""

import numpy as np
import pytest
import torch

from skrbm.machines import UNITS
from skrbm.machines.bernoulli import Bernoulli
from skrbm.support.randomness import Stream
from skrbm.support.ranges import Range


class Biased(Bernoulli):
    """A twin whose mean is not the derivative of its cumulant, and whose samples have another mean again."""

    def mean_(self, x):
        return x.mul_(0.9).sigmoid_()

    def draw_(self, out, mean, uniform):
        return super().draw_(out, 0.9 * mean, uniform)

    def bias_of(self, mean, smoothing=0.0):
        return 1.1 * super().bias_of(mean, smoothing)

    def cumulant_step(self, x, scale, step):
        return super().cumulant_step(x, scale, step) + 1e-6

    def log_weight(self, s, bias):
        return s @ bias + 1e-6


def assert_mean_is_the_derivative_of_the_cumulant(unit):
    x = torch.linspace(-30, 30, 101, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(unit.cumulant(x).sum(), x)
    torch.testing.assert_close(derivative, unit.mean(x.detach()))


def assert_samples_have_the_mean(unit):
    """Within four standard errors; the variance is the second derivative of the cumulant."""
    x, n = torch.tensor([-3.0, -1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True), 100_000
    (mean,) = torch.autograd.grad(unit.cumulant(x).sum(), x, create_graph=True)
    (variance,) = torch.autograd.grad(mean.sum(), x)
    for dtype in (torch.float32, torch.float64):
        means = unit.mean(x.detach()).to(dtype).expand(n, -1)
        samples = unit.sample(means, Stream(0))
        assert (samples.dtype, samples.shape) == (dtype, (n, 4))
        assert ((samples.double().mean(0) - mean.detach()) / (variance / n).sqrt()).abs().max() < 4
        if unit.states is not None:
            assert set(samples.unique().tolist()) <= set(unit.states)


def assert_bias_inverts_the_mean(unit):
    x = torch.linspace(-8, 8, 33, dtype=torch.float64)
    torch.testing.assert_close(unit.bias_of(unit.mean(x)), x)
    smoothed = unit.bias_of(unit.mean(x), 0.1)
    assert torch.isfinite(smoothed).all()
    assert (smoothed.abs() <= x.abs() + 1e-12).all()


def assert_weights_sum_to_one(unit):
    """p(s | x) = ρ(s) exp(s x - cumulant(x)), and its mean, by enumeration."""
    if unit.states is None:
        pytest.skip("too many states")
    x = torch.linspace(-20, 20, 41, dtype=torch.float64)
    states = torch.tensor(unit.states, dtype=torch.float64)
    log_weight = torch.stack([unit.log_weight(states[:, None], bias[None]) for bias in x])  # (41, n_states)
    p = (log_weight - unit.cumulant(x)[:, None]).exp()
    torch.testing.assert_close(p.sum(1), torch.ones_like(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(p @ states, unit.mean(x), atol=1e-12, rtol=0)


def assert_log_weight_is_a_sum(unit):
    s = unit.sample(unit.mean(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).double()), Stream(0))
    bias = torch.linspace(-1, 1, 5, dtype=torch.float64)
    each = torch.stack([unit.log_weight(s[:, [i]], bias[[i]]) for i in range(5)]).sum(0)
    torch.testing.assert_close(unit.log_weight(s, bias), each, atol=1e-12, rtol=0)


def assert_steps_are_differences(unit):
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float64, 1e-12)):
        x = torch.linspace(-300, 300, 2001, dtype=dtype)
        for scale, step in [(0.0, 0.003), (0.3, 1e-4), (0.9, 0.003), (1.0, -0.003), (1.0, -1e-5), (0.5, 1e-7)]:
            wide = x.double()
            difference = unit.cumulant((scale + step) * wide) - unit.cumulant(scale * wide)
            # The difference cancels, to some 300 · 2^-52.
            torch.testing.assert_close(
                unit.cumulant_step(x, scale, step).double(),
                difference,
                rtol=tolerance,
                atol=1e-13 + 1e-15 * unit.cumulant(wide).max(),
            )


LAWS = [
    assert_mean_is_the_derivative_of_the_cumulant,
    assert_samples_have_the_mean,
    assert_bias_inverts_the_mean,
    assert_weights_sum_to_one,
    assert_log_weight_is_a_sum,
    assert_steps_are_differences,
]


@pytest.mark.parametrize("unit", UNITS, ids=repr)
@pytest.mark.parametrize("law", LAWS)
def test_laws(unit, law):
    law(unit)


@pytest.mark.parametrize("law", LAWS)
def test_a_broken_twin_is_seen(law):
    with pytest.raises(AssertionError):
        law(Biased())


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_means_are_written_in_place_or_not(unit):
    x = torch.linspace(-3, 3, 7)
    before, means = x.clone(), unit.mean(x)
    assert torch.equal(x, before)
    found = unit.mean_(x)
    assert found.data_ptr() == x.data_ptr()
    assert torch.equal(found, means)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_draws_go_where_they_are_wanted(unit):
    """Into floats of any width; into bytes where all states are whole."""
    x = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    mean, uniform = unit.mean(x), Stream(1).uniform(600)
    expected = unit.sample(mean, Stream(1))
    whole = unit.states is not None and all(float(state).is_integer() for state in unit.states)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, *([torch.int8] if whole else [])):
        out = torch.empty(30, 20, dtype=dtype)
        assert unit.draw_(out, mean, uniform) is out
        torch.testing.assert_close(out.float(), expected, rtol=0 if whole else 0.01, atol=0 if whole else 0.01)
    strided = mean.T.contiguous().T  # a mean may have any layout
    assert torch.equal(unit.sample(strided, Stream(1)), expected)
    assert unit.sample(mean[0].expand(4, 3, -1), Stream(0)).shape == (4, 3, 20)
    assert unit.sample(mean[:0], Stream(0)).shape == (0, 20)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_statistics_have_the_derivative_of_the_log_weight(unit):
    """By the input, as far as the statistics are the state itself."""
    s = unit.sample(unit.mean(torch.zeros(9, 4, dtype=torch.float64)), Stream(0))
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(unit.log_weight(s, bias).sum(), bias)
    torch.testing.assert_close(unit.statistics(s).sum(0)[:4], derivative)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_the_range_of_the_unit_itself_is_right(unit):
    if unit.states is not None:
        assert unit.check_range(min(unit.states), max(unit.states)) is None
        message = unit.check_range(min(unit.states) - 1, max(unit.states) + 1e4)
        assert f"from {min(unit.states) - 1:g} to {max(unit.states) + 1e4:g}" in message


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_a_remedy_is_a_sentence_or_none(unit):
    for values in ([-1e4, 1e4], [0, 7], [1, 2], [-1, 1], [0.5, 3.5]):
        remedy = unit.remedy(Range.of(np.array(values, float)))
        assert remedy is None or remedy.endswith(".")


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_the_name_of_what_is_fused_is_what_it_does(unit):
    """A backend may apply torch's function of that name to the inputs in place of the mean."""
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)
    assert unit.activation == "none" or torch.equal(getattr(x, unit.activation)(), unit.mean(x))


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_units_print_as_they_are_made(unit):
    assert repr(unit) == f"{type(unit).__name__}()"
    assert np.array_equal(type(unit)().states, unit.states)
