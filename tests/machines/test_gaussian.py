"""Units with normal noise; `test_layers.py` has what all kinds keep to."""

import torch
from scipy.stats import kstest

from skrbm.machines import GAUSSIAN
from skrbm.support.randomness import Stream


def test_gaussian_draws_are_normal():
    s = GAUSSIAN.sample(torch.zeros(100_000, dtype=torch.float64), Stream(2))
    assert kstest(s.numpy(), "norm").pvalue > 1e-3
    assert s.isfinite().all()
    assert 4.0 < s.abs().max() < 5.43


def test_gaussian_draws_of_the_least_and_the_largest_number():
    ends = torch.tensor([0.0, 1.0 - 2.0**-24])
    drawn = GAUSSIAN.draw_(torch.empty(2), torch.zeros(2), ends)
    torch.testing.assert_close(drawn, torch.tensor([-5.4200, 5.4200]), atol=2e-3, rtol=0)


def test_a_draw_that_stays_at_its_mean_is_seen():
    """A Gaussian machine without noise, as a package of today has it."""

    class Deterministic(type(GAUSSIAN)):
        def draw_(self, out, mean, uniform):
            return out.copy_(mean)

    s = Deterministic().sample(torch.zeros(1000, 3, dtype=torch.float64), Stream(0))
    assert torch.cov(s.T).diagonal().max() == 0.0
