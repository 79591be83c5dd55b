import re

import numpy as np
import pytest
import torch

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.support.randomness import Stream
from skrbm.support.ranges import Range


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cumulant_is_exact_everywhere(dtype):
    x = torch.linspace(-60, 60, 2401, dtype=dtype)
    expected = np.logaddexp(0.0, x.double().numpy())
    np.testing.assert_allclose(BERNOULLI.cumulant(x), expected, rtol=4 * torch.finfo(dtype).eps, atol=1e-45)
    huge = torch.tensor([-1e30, 1e30], dtype=dtype)
    assert BERNOULLI.cumulant(huge).tolist() == [0.0, float(huge[1])]


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_draws(dtype):
    x = torch.tensor([-np.inf, -200.0, 200.0, np.inf], dtype=dtype).repeat(100_000, 1)
    mean = BERNOULLI.mean(x)
    assert torch.equal(BERNOULLI.sample(mean, Stream(3)), mean.round())


@pytest.mark.parametrize(("p", "n"), [(0.1, 4_000_000), (0.999, 4_000_000), (1e-6, 40_000_000), (1 - 1e-6, 40_000_000)])
def test_frequencies_of_inputs(p, n):
    """Down to where the draw is decided by bits beyond the eighth."""
    x = torch.full((4_000_000,), float(np.log(p) - np.log1p(-p)))
    stream, mean = Stream(1), BERNOULLI.mean(x)
    n_ones = sum(float(BERNOULLI.sample(mean, stream).sum()) for _ in range(n // len(x)))
    assert abs(n_ones - n * p) < 4 * np.sqrt(n * p * (1 - p))


def test_first_bias():
    """Laplace's estimate: the log-odds of the mean with one more row of either kind."""
    torch.testing.assert_close(
        BERNOULLI.bias_of(torch.tensor([0.0, 0.25, 1.0]), 0.5).sigmoid(), torch.tensor([0.25, 0.375, 0.75])
    )
    outside, bounds = (
        BERNOULLI.bias_of(torch.tensor([-3.0, 7.0]), 0.1),
        BERNOULLI.bias_of(torch.tensor([0.0, 1.0]), 0.1),
    )
    assert torch.equal(outside, bounds)
    assert torch.isinf(BERNOULLI.bias_of(torch.tensor([0.0, 1.0]))).all()


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.0, 1.0, None),
        (-1e-7, 1 + 1e-7, None),  # what rounding on the user's side makes of [0, 1]
        (0.0, 255.0, "values from 0 to 255, but"),
        (-1.0, 1.0, "values from -1 to 1, but"),
    ],
)
def test_range(low, high, message):
    found = BERNOULLI.check_range(low, high)
    assert found is None if message is None else message in found


SCALE, PIXELS, ENCODE = "Scale it, with MinMaxScaler", "pass X / 255", "One-hot encode codes of categories"


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ([0.0, 255.0], PIXELS),
        ([3, 129], PIXELS),
        (np.array([0, 255], np.uint8), PIXELS),
        (np.array([0, 16], np.uint8), "If these are pixels of 0 to 255, pass X / 255; else .* pass X / 16."),
        ([0.0, 254.5], SCALE),
        ([0, 256], SCALE),
        ([0, 16.0], "Divide by the maximum: pass X / 16. Or one-hot encode"),
        ([0, 128], "pass X / 128"),
        ([0, 2], r"pass X / 2\."),
        ([1, 2], ENCODE),
        ([1.0, 5.0], ENCODE),
        (np.array([1, 5], np.uint8), ENCODE),
        ([1990, 2024], ENCODE),
        ([-1, 1.0], r"by \(X \+ 1\) / 2"),
        ([-1, 0, 1], SCALE),
        ([-3, 5], SCALE),
        ([-0.5, 0.5], SCALE),
    ],
)
def test_remedy(values, remedy):
    found = BERNOULLI.remedy(Range.of(np.asarray(values)))
    assert re.match(f".*{remedy}", found)
    assert ("255" in found) == ("255" in remedy)
