"""The pseudo-likelihood, against autograd and sums that are written out."""

import numpy as np
import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from skrbm.training import couplings_pseudo
from skrbm.training.couplings import CouplingsWarning, distinct_rows
from skrbm.training.couplings_pseudo import Pseudo, curvature, learn_by_pseudolikelihood, mean_square_slope
from tests import reference
from tests.training.ising import covered, draws, machine, probabilities

R, b = machine(6)
X = draws(R, b, 3000)
ROWS = distinct_rows(X)


def pseudo_log_likelihood(R, b, V):
    """Of each row; tensors."""
    return -torch.nn.functional.softplus((1 - 2 * V) * (V @ R + b)).sum(1)


def of_parameters(theta, n, V):
    """The same of biases and couplings i < j in one vector."""
    i, j = torch.triu_indices(n, n, 1)
    R = torch.zeros(n, n, dtype=theta.dtype).index_put((i, j), theta[n:])
    return pseudo_log_likelihood(R + R.T, theta[:n], V)


def parameters(R, b):
    i, j = torch.triu_indices(len(b), len(b), 1)
    return torch.cat((torch.as_tensor(b), torch.as_tensor(R)[i, j]))


def slopes(found, V, l2=0.0):
    """Derivatives by R_ij."""
    R, b = found.R.clone().requires_grad_(), found.b
    pseudo_log_likelihood((R + R.T) / 2, b, torch.from_numpy(V)).mean().backward()
    return 2 * R.grad.numpy() - l2 * found.R.numpy()


def test_objective_and_gradient():
    problem = Pseudo(ROWS, ~torch.eye(6, dtype=torch.bool), 0.0, 0.3)
    at = problem.at(torch.from_numpy(R) / 2, torch.from_numpy(b))
    V, theta = torch.from_numpy(X), parameters(R / 2, b)
    value = lambda t: -of_parameters(t, 6, V).mean() + 0.15 * t[6:] @ t[6:]  # noqa: E731
    assert at.value == pytest.approx(float(value(theta)))
    torch.testing.assert_close(parameters(at.dR, at.db), jacobian(value, theta))
    rough = problem.at(at.R, at.b, torch.float32)
    torch.testing.assert_close(rough.dR, at.dR, atol=1e-6, rtol=0)


def test_curvature_and_scores():
    edges = ~torch.eye(6, dtype=torch.bool)
    at = Pseudo(ROWS, edges, 0.0, 0.0), torch.from_numpy(R), torch.from_numpy(b)
    H, K = curvature(*at), mean_square_slope(*at)
    V, theta = torch.from_numpy(X), parameters(R, b)
    torch.testing.assert_close(H, -hessian(lambda t: of_parameters(t, 6, V).mean(), theta))
    s = jacobian(lambda t: of_parameters(t, 6, V), theta)
    torch.testing.assert_close(K, s.T @ s / 3000, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_population_weights_give_back_the_machine(scale):
    """The estimate is consistent: of all states with their probabilities it is the machine itself."""
    R, b = machine(7, scale, seed=4)
    found = learn_by_pseudolikelihood(distinct_rows(reference.states(7), probabilities(R, b)), tol=1e-11)
    np.testing.assert_allclose(found.R, R, atol=1e-8)
    np.testing.assert_allclose(found.b, b, atol=1e-8)


def test_weights_that_are_not_the_machines_give_another():
    R, b = machine(7, 0.5, seed=4)
    found = learn_by_pseudolikelihood(distinct_rows(reference.states(7), probabilities(-R, b)))
    assert np.abs(found.R.numpy() - R).max() > 0.5


def test_one_coupling_for_both_units_is_not_the_mean_of_two():
    """Regressions unit by unit, whose couplings are averaged, are another estimate."""
    found = learn_by_pseudolikelihood(ROWS, tol=1e-9)
    assert np.abs(slopes(found, X)[np.triu_indices(6, 1)]).max() < 1e-8
    V, apart = torch.from_numpy(X), torch.zeros(6, 7, dtype=torch.float64)
    for i in range(6):
        ones = V.clone()
        ones[:, i] = 1.0  # the bias's
        for _ in range(12):
            p = torch.sigmoid(ones @ apart[i, :6])
            H = ones.T @ (ones * (p * (1 - p))[:, None])
            apart[i, :6] -= torch.linalg.solve(H, ones.T @ (p - V[:, i]))
    mean = (apart[:, :6] + apart[:, :6].T) / 2
    gap = (mean - found.R).fill_diagonal_(0.0).abs().max()
    assert 1e-4 < gap < 0.3


def test_in_float32_first(monkeypatch):
    whole = learn_by_pseudolikelihood(ROWS, tol=1e-9)
    monkeypatch.setattr(couplings_pseudo, "LONG", 0)
    torch.testing.assert_close(learn_by_pseudolikelihood(ROWS, tol=1e-9).R, whole.R, atol=1e-7, rtol=0)


def test_a_mask():
    mask = np.abs(np.subtract.outer(np.arange(6), np.arange(6))) == 1
    found = learn_by_pseudolikelihood(ROWS, mask=mask, tol=1e-9)
    assert not found.R[~torch.from_numpy(mask)].any()
    slope = np.abs(slopes(found, X))
    assert slope[mask].max() < 1e-8
    assert slope[~mask].max() > 1e-3
    assert (found.R_stderr[torch.from_numpy(mask)] > 0).all()


def test_weights_are_repeated_rows():
    weight = np.random.default_rng(2).integers(0, 3, len(X))
    by_weight = learn_by_pseudolikelihood(distinct_rows(X, weight), tol=1e-9)
    repeated = learn_by_pseudolikelihood(distinct_rows(np.repeat(X, weight, 0)), tol=1e-9)
    torch.testing.assert_close(by_weight.R, repeated.R)
    torch.testing.assert_close(by_weight.R_stderr, repeated.R_stderr)


@pytest.mark.parametrize("l2_penalty", [0.0, 0.02])
def test_optimality_with_an_l1_penalty(l2_penalty):
    found = learn_by_pseudolikelihood(ROWS, l1_penalty=0.05, l2_penalty=l2_penalty, tol=1e-7)
    i, j = np.triu_indices(6, 1)
    slope, couplings = slopes(found, X, l2_penalty)[i, j], found.R.numpy()[i, j]
    assert 0 < (couplings == 0).sum() < 15
    np.testing.assert_allclose(slope[couplings != 0], 0.05 * np.sign(couplings[couplings != 0]), atol=2e-7)
    assert (np.abs(slope[couplings == 0]) < 0.05 + 2e-7).all()
    V, penalties = torch.from_numpy(X), 0.05 * np.abs(couplings).sum() + l2_penalty / 2 * couplings @ couplings
    mean = float(pseudo_log_likelihood(found.R, found.b, V).mean())
    assert found.objective == pytest.approx(mean - penalties)


def test_columns_that_are_constant():
    found = learn_by_pseudolikelihood(distinct_rows(np.insert(X, 2, 1.0, axis=1)), tol=1e-9)
    kept = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(
        found.R[kept][:, kept], learn_by_pseudolikelihood(ROWS, tol=1e-9).R, atol=1e-7, rtol=1e-7
    )
    assert not found.R[2].any()
    assert found.b[2] > 5


def test_a_pair_that_never_occurs_together():
    V = X.copy()
    V[V[:, 1] == 1, 3] = 0
    with pytest.warns(CouplingsWarning, match="'b' and 'd': one of the four combinations"):
        learn_by_pseudolikelihood(distinct_rows(V), names="abcdef")
    assert learn_by_pseudolikelihood(distinct_rows(V), l2_penalty=1e-3).R[1, 3] > -10


def test_couplings_are_symmetric_to_the_last_bit():
    for l1_penalty in (0.0, 0.01):
        found = learn_by_pseudolikelihood(
            distinct_rows(draws(*machine(9), 500)), l1_penalty=l1_penalty, l2_penalty=0.01
        )
        assert torch.equal(found.R, found.R.T)
        assert not found.R.diagonal().any()


def test_too_few_iterations():
    with pytest.warns(CouplingsWarning, match="after 1 iterations"):
        learn_by_pseudolikelihood(ROWS, max_iter=1)


def inverse_curvature_alone(V):
    """What errors would be if the pseudo-likelihood were the likelihood."""
    rows = distinct_rows(V)
    found = learn_by_pseudolikelihood(rows)
    n = len(found.b)
    H = curvature(Pseudo(rows, ~torch.eye(n, dtype=torch.bool), 0.0, 0.0), found.R, found.b)
    i, j = torch.triu_indices(n, n, 1)
    errors = torch.zeros(n, n, dtype=torch.float64)
    errors[i, j] = (torch.linalg.inv(H).diagonal()[n:] / rows.n_rows).sqrt()
    return found.__class__(found.R, found.b, errors, None, 0, 0.0, True, 0.0)


def test_standard_errors_cover():
    """In 95 % of cases; those of the curvature alone count each coupling's evidence twice, and don't."""
    R, b = machine(4, 0.5, seed=3)
    assert 0.92 < covered(lambda V: learn_by_pseudolikelihood(distinct_rows(V)), R, b, 1000, 80) < 0.98
    assert covered(inverse_curvature_alone, R, b, 1000, 40) < 0.9


def test_no_errors_of_too_many_parameters(monkeypatch):
    monkeypatch.setattr(couplings_pseudo, "MAX_ERRORS", 20)
    assert learn_by_pseudolikelihood(ROWS).R_stderr is None
