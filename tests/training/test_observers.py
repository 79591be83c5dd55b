import numpy as np
import pytest
import torch

from skrbm.machines.restricted import RBMParameters
from skrbm.training.observers import Average
from tests import reference


def machine(x):
    return RBMParameters(torch.full((2, 3), x), torch.full((3,), -x), torch.full((2,), 2 * x))


def weights_of_looks(share, n):
    """How much each of `n` looks counts in the mean: the i-th is at a machine whose i-th weight alone is 1."""
    average = Average(RBMParameters(torch.zeros(1, n), torch.zeros(n), torch.zeros(1)), share)
    for row in torch.eye(n):
        average.look_(RBMParameters(row[None], row, torch.zeros(1)))
    np.testing.assert_array_equal(average.params.W[0], average.params.b)
    return average.params.W[0].numpy()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 1.0])
def test_the_mean_is_over_the_last_share(share):
    """Looks count in all 1, ever more, and their mean age is that of a uniform mean over the last share."""
    n = 400
    weights = weights_of_looks(share, n)
    assert weights.sum() == pytest.approx(1, abs=1e-4)
    assert (np.diff(weights[: n // 2]) >= -1e-7).all()
    age = weights @ (n - 1 - np.arange(n))
    assert age == pytest.approx(share * n / 2, rel=0.05)
    if share == 1.0:
        np.testing.assert_allclose(weights, 1 / n, rtol=1e-3)


def test_all_parameters_are_averaged_and_none_is_shared():
    params = reference.random_params(3, 4)
    kept = params.clone()
    average = Average(params, 1.0)
    assert torch.equal(average.params.W, params.W)
    for x in (1.0, 3.0):
        average.look_(RBMParameters(params.W * x, params.b * x, params.c * x))
    for name in ("W", "b", "c"):
        torch.testing.assert_close(getattr(average.params, name), 2 * getattr(kept, name))
        assert torch.equal(getattr(params, name), getattr(kept, name))


def test_every_tenth_update_is_looked_at():
    average = Average(machine(0.0), 1.0)
    for x in range(1, 25):
        average.observe_(machine(float(x)))
    torch.testing.assert_close(average.params.W, torch.full((2, 3), 15.0))  # of 10 and 20
