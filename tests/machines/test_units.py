import numpy as np
import pytest
import torch

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.support.randomness import Stream


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cumulant_is_exact_everywhere(dtype):
    x = torch.linspace(-60, 60, 2401, dtype=dtype)
    expected = np.logaddexp(0.0, x.double().numpy())
    np.testing.assert_allclose(BERNOULLI.cumulant(x), expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-45)
    huge = torch.tensor([-1e30, 1e30], dtype=dtype)
    assert BERNOULLI.cumulant(huge).tolist() == [0.0, float(huge[1])]


def test_mean_is_the_derivative_of_the_cumulant():
    x = torch.linspace(-30, 30, 101, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(BERNOULLI.cumulant(x).sum(), x)
    torch.testing.assert_close(derivative, BERNOULLI.mean(x))


def test_sample_has_the_mean():
    x = torch.tensor([-3.0, -1.0, 0.0, 2.0]).repeat(100_000, 1)
    mean, sample = BERNOULLI.mean_and_sample(x, Stream(0))
    torch.testing.assert_close(mean, BERNOULLI.mean(x))
    assert set(sample.unique().tolist()) == {0.0, 1.0}
    assert ((sample.mean(0) - mean[0]) / (mean[0] * (1 - mean[0]) / 100_000).sqrt()).abs().max() < 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cumulant_step_is_a_difference_without_cancellation(dtype):
    x = torch.linspace(-300, 300, 2001, dtype=dtype)
    for scale, step in [(0.0, 0.003), (0.3, 1e-4), (0.9, 0.003), (1.0, -0.003), (1.0, -1e-5), (0.5, 1e-7)]:
        wide = x.double()
        exact = softplus((scale + step) * wide) - softplus(scale * wide)
        found = BERNOULLI.cumulant_step(x, scale, step).double()
        tolerance = {torch.float32: 2e-5, torch.float64: 1e-12}[dtype]
        torch.testing.assert_close(found, exact, rtol=tolerance, atol=1e-13)


def softplus(x):
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))
