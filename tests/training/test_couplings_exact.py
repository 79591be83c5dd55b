"""The most likely couplings, against enumeration in numpy."""

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from skrbm.training.couplings import CouplingsWarning, Moments, distinct_rows, moments
from skrbm.training.couplings_exact import enumerated, learn_exactly
from tests.training.ising import covered, draws, machine, probabilities, second_moments

R, b = machine(6)
X = draws(R, b, 3000)
FOUND = moments(distinct_rows(X))


def model_moments(found):
    return second_moments(found.R.numpy(), found.b.numpy())


@pytest.mark.parametrize("n", [3, 8])
def test_log_z_and_its_derivatives(n):
    """Against autograd of a sum over states that is written out."""
    i, j = torch.triu_indices(n, n, 1)
    codes = torch.cat((2 ** torch.arange(n), 2**i + 2**j))
    states = (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).double()
    features = torch.cat((states, states[:, i] * states[:, j]), 1)
    theta = torch.from_numpy(np.random.default_rng(1).normal(size=len(codes)))
    log_z = lambda t: (features @ t).logsumexp(0)  # noqa: E731
    found = enumerated(theta, codes, n)
    assert found.log_z == pytest.approx(float(log_z(theta)))
    torch.testing.assert_close(found.mean, jacobian(log_z, theta))
    torch.testing.assert_close(found.information, hessian(log_z, theta))


def test_moments_are_matched():
    found = learn_exactly(FOUND)
    np.testing.assert_allclose(model_moments(found), X.T @ X / 3000, atol=1e-10)
    assert found.is_converged
    assert found.gradient < 1e-10
    p = probabilities(found.R.numpy(), found.b.numpy())
    assert found.objective == pytest.approx(np.log(p[(X @ 2 ** np.arange(6)[::-1]).astype(int)]).mean())
    broken = second_moments(-found.R.numpy(), found.b.numpy())
    assert np.abs(broken - X.T @ X / 3000).max() > 0.1


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_machine_is_found_from_its_own_moments(scale):
    """The optimum is unique, however far away."""
    R, b = machine(7, scale)
    found = learn_exactly(Moments(torch.from_numpy(second_moments(R, b)), 1e6))
    np.testing.assert_allclose(found.R, R, atol=1e-5)
    np.testing.assert_allclose(found.b, b, atol=1e-5)


def test_a_mask():
    mask = (np.abs(np.subtract.outer(np.arange(6), np.arange(6))) == 1).astype(bool)
    found = learn_exactly(FOUND, mask=mask)
    assert not found.R[~torch.from_numpy(mask)].any()
    off = np.abs(model_moments(found) - X.T @ X / 3000)
    assert off[mask | np.eye(6, dtype=bool)].max() < 1e-10
    assert off.max() > 1e-3


def test_no_coupling_is_independent_columns():
    found = learn_exactly(FOUND, mask=np.zeros((6, 6)))
    np.testing.assert_allclose(found.b, np.log(X.mean(0) / (1 - X.mean(0))))


def test_weights_are_repeated_rows():
    weight = np.random.default_rng(2).integers(0, 3, len(X))
    by_weight = learn_exactly(moments(distinct_rows(X, weight)))
    repeated = learn_exactly(moments(distinct_rows(np.repeat(X, weight, 0))))
    torch.testing.assert_close(by_weight.R, repeated.R)
    torch.testing.assert_close(by_weight.R_stderr, repeated.R_stderr)


def test_the_l2_penalty_is_the_remaining_gradient():
    found = learn_exactly(FOUND, l2_penalty=0.01)
    off = X.T @ X / 3000 - model_moments(found)
    np.testing.assert_allclose(off - np.diag(off.diagonal()), 0.01 * found.R, atol=1e-10)
    np.testing.assert_allclose(off.diagonal(), 0, atol=1e-10)
    assert found.R_stderr is None


@pytest.mark.parametrize("l2_penalty", [0.0, 0.01])
def test_optimality_with_an_l1_penalty(l2_penalty):
    found = learn_exactly(FOUND, l1_penalty=0.03, l2_penalty=l2_penalty)
    slope = X.T @ X / 3000 - model_moments(found) - l2_penalty * found.R.numpy()
    i, j = np.triu_indices(6, 1)
    slope, couplings = slope[i, j], found.R.numpy()[i, j]
    assert 0 < (couplings == 0).sum() < 15
    np.testing.assert_allclose(slope[couplings != 0], 0.03 * np.sign(couplings[couplings != 0]), atol=1e-10)
    assert (np.abs(slope[couplings == 0]) <= 0.03).all()


def test_columns_that_are_constant():
    V = np.insert(X, [0, 4], [0.0, 1.0], axis=1)
    found, without = learn_exactly(moments(distinct_rows(V))), learn_exactly(FOUND)
    kept = [1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(found.R[kept][:, kept], without.R)
    torch.testing.assert_close(found.b[kept], without.b)
    assert not found.R[[0, 5]].any()
    assert found.b[5] > 5
    assert found.b[0] == pytest.approx(-found.b[5])
    assert torch.isfinite(found.b_stderr).all()


def test_a_pair_that_never_occurs_together():
    V = X.copy()
    V[V[:, 1] == 1, 3] = 0
    with pytest.warns(CouplingsWarning, match="column 1 and column 3: one of the four combinations"):
        found = learn_exactly(moments(distinct_rows(V)))
    assert found.unbounded == ((1, 3),)
    assert found.R[1, 3] < -15
    np.testing.assert_allclose(model_moments(found), V.T @ V / 3000, atol=1e-9)
    assert learn_exactly(moments(distinct_rows(V)), l2_penalty=1e-3).R[1, 3] > -10


def test_standard_errors_cover():
    """In 95 % of cases; errors of half the size don't."""
    R, b = machine(4, 0.7, seed=3)
    learn = lambda V: learn_exactly(moments(distinct_rows(V)))  # noqa: E731
    assert 0.92 < covered(learn, R, b, 1000, 100) < 0.98
    assert covered(learn, R, b, 1000, 30, factor=0.5) < 0.8


def test_too_many_columns():
    second = torch.full((25, 25), 0.25).double().fill_diagonal_(0.5)
    with pytest.raises(ValueError, match="at most 24 columns; got 25"):
        learn_exactly(Moments(second, 100.0))
