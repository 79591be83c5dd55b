"""The most likely couplings of up to 24 units, by Newton's method and all states.

Sums over states cost little, as units are bits: the energies of all 2^n states are sums over the subsets of their ones,
and the moments ⟨x_i x_j x_k …⟩ are sums over the states that have all these ones. Both are n additions of halves of an
array (Yates 1937), which give the Fisher information with them: ⟨x_i x_j · x_k x_l⟩ is the moment of the union.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.training.couplings import (
    Couplings,
    Moments,
    bias_alone,
    edges_of,
    minimise,
    unbounded_pairs,
    warn_of,
    worst_derivative,
)

MAX_UNITS = 24  # 2^24 numbers are 128 MiB
_AT_ONCE = 6  # units that a product sums over: halves of a few neighbours would be slower one by one
_ARMIJO, _SHORTEST = 1e-4, 1e-10  # of what a step promises; the shortest step of a line search
_RIDGE = 1e-13  # of the information's diagonal, which keeps its root real where couplings go to infinity
_HALF_WAY = 1e-5  # the gradient at which the zeros that an l1 penalty makes are known, and Newton's method takes over


class Enumerated(NamedTuple):
    """What is known of a machine by enumeration; parameters are its biases, then its couplings.

    Attributes
    ----------
    log_z : float
        In nats.
    mean : Tensor of shape (n_parameters,)
        Of x_i, then of x_i x_j: the derivatives of log Z.
    information : Tensor of shape (n_parameters, n_parameters)
        Their covariance: the second derivatives.
    """

    log_z: float
    mean: Tensor
    information: Tensor


def enumerated(theta: Tensor, codes: Tensor, n: int) -> Enumerated:
    """log Z of a machine of n units, and its derivatives by its parameters.

    Parameters
    ----------
    theta : Tensor of shape (n_parameters,)
        The factors of products of units.
    codes : Tensor of shape (n_parameters,), int64
        Which units: bit i is unit i's.
    n : int
        How many units.
    """
    log_z, found = _log_z_and_moments(theta, codes, n)
    mean = found[codes]
    information = found[codes[:, None] | codes] - mean[:, None] * mean
    return Enumerated(log_z, mean, information)


def _log_z_and_moments(theta: Tensor, codes: Tensor, n: int) -> tuple[float, Tensor]:
    """log Z, and ⟨Π x_i⟩ of all subsets of units, (2^n,)."""
    x = torch.zeros(2**n, dtype=torch.float64)
    x[codes] = theta
    is_subset = _is_subset(min(n, _AT_ONCE))
    x = (x.view(-1, len(is_subset)) @ is_subset).view(-1)
    for i in range(_AT_ONCE, n):
        halves = x.view(-1, 2, 2**i)
        halves[:, 1] += halves[:, 0]
    log_z = float(torch.logsumexp(x, 0))
    x.sub_(log_z).exp_()
    x = (x.view(-1, len(is_subset)) @ is_subset.T).view(-1)
    for i in range(_AT_ONCE, n):
        halves = x.view(-1, 2, 2**i)
        halves[:, 0] += halves[:, 1]
    return log_z, x / x[0]


def _is_subset(n: int) -> Tensor:
    """1 where the units of a row's number are among those of the column's, (2^n, 2^n)."""
    i = torch.arange(2**n)
    return ((i[:, None] & ~i) == 0).double()


def learn_exactly(
    found: Moments,
    *,
    mask: Any = None,
    l1_penalty: float = 0.0,
    l2_penalty: float = 0.0,
    tol: float = 1e-10,
    max_iter: int = 200,
    with_stderr: bool = True,
    names: Any = None,
) -> Couplings:
    """The couplings and biases of the largest likelihood, less penalties: the objective has one optimum.

    Maximises the mean of log p(row), in nats, less l1 Σ_{i<j} |R_ij| + ½ l2 Σ_{i<j} R_ij².

    Parameters
    ----------
    found : Moments
        Of the rows, see `moments`.
    mask : array-like of shape (n_features, n_features), bool, optional
        Which couplings there are; by default all.
    l1_penalty, l2_penalty : float
        The factors, in nats a row.
    tol : float
        The largest derivative that may remain.
    max_iter : int
        Steps at most.
    with_stderr : bool
        Whether standard errors are wanted, from the inverse Fisher information; only without penalties.
    names : sequence of str, optional
        What warnings call the columns.

    Raises
    ------
    ValueError
        If more than 24 columns vary, or the mask doesn't fit.
    """
    edges, mean = edges_of(len(found.second), mask, found.mean), found.mean
    varies = torch.where((mean > 0) & (mean < 1))[0]
    n = len(varies)
    if n > MAX_UNITS:
        raise ValueError(f"Enumeration takes at most {MAX_UNITS} columns; got {n}. Use the pseudo-likelihood.")
    first, second = torch.where(edges[varies][:, varies].triu(1))
    codes = torch.cat((2 ** torch.arange(n), 2**first + 2**second))
    pairs = varies[first], varies[second]
    target, b = torch.cat((mean[varies], found.second[pairs])), bias_alone(mean, found.n_rows)
    problem = _Problem(target, codes, n, l1_penalty, l2_penalty)
    start = torch.cat((b[varies], torch.zeros(len(first), dtype=torch.float64)))
    theta, at, n_iter = _optimum(problem, start, tol, max_iter)
    R = torch.zeros_like(found.second)
    R[pairs] = R[pairs[::-1]] = theta[n:]
    b[varies] = theta[:n]
    gradient = problem.worst(theta, at.mean)
    bounded = bool(l1_penalty or l2_penalty)
    R_stderr, b_stderr = torch.zeros_like(R), torch.zeros_like(b)
    errors = None if bounded or not with_stderr else _errors(at.information, found.n_rows)
    if errors is not None:
        R_stderr[pairs] = R_stderr[pairs[::-1]] = errors[n:]
        b_stderr[varies] = errors[:n]
    result = Couplings(
        R,
        b,
        None if errors is None else R_stderr,
        None if errors is None else b_stderr,
        n_iter,
        gradient,
        gradient <= tol,
        problem.value(theta, at.log_z) + _of_constants(mean, b),
        () if bounded else unbounded_pairs(found, edges),
    )
    warn_of(result, tol, names)
    return result


class _Problem(NamedTuple):
    """Moments to match, units of each parameter, how many units, penalties."""

    target: Tensor
    codes: Tensor
    n: int
    l1: float
    l2: float

    def value(self, theta: Tensor, log_z: float) -> float:
        """The objective, to be maximised."""
        R = theta[self.n :]
        return float(self.target @ theta - self.l1 * R.abs().sum() - 0.5 * self.l2 * R @ R) - log_z

    def slope(self, theta: Tensor, mean: Tensor) -> Tensor:
        """Derivatives of the negative objective but for the l1 penalty."""
        slope = mean - self.target
        slope[self.n :] += self.l2 * theta[self.n :]
        return slope

    def worst(self, theta: Tensor, mean: Tensor) -> float:
        """The largest derivative, see `worst_derivative`."""
        slope, n = self.slope(theta, mean), self.n
        return worst_derivative(theta[n:], slope[n:], slope[:n], theta[n:] == theta[n:], self.l1)


def _optimum(problem: _Problem, start: Tensor, tol: float, max_iter: int) -> tuple[Tensor, Enumerated, int]:
    """Parameters, what is known there, and how many steps it took."""
    if not problem.l1:
        return _newton(problem, start, torch.ones(len(start), dtype=torch.bool), tol, max_iter)
    theta, n_iter = _with_zeros(problem, start, max(tol, _HALF_WAY), 10 * max_iter)
    for _ in range(
        len(start)
    ):  # a coupling that changes its sign is 0 at first; one whose derivative is too large isn't
        free = theta != 0
        free[: problem.n] = True
        theta, at, n_more = _newton(problem, theta, free, tol, max_iter)
        n_iter += n_more
        if problem.worst(theta, at.mean) <= tol:
            break
        theta, n_more = _with_zeros(problem, theta, max(tol, 0.1 * problem.worst(theta, at.mean)), 10 * max_iter)
        n_iter += n_more
    return theta, at, n_iter


def _newton(
    problem: _Problem, theta: Tensor, free: Tensor, tol: float, max_iter: int
) -> tuple[Tensor, Enumerated, int]:
    """Newton's method with steps that are halved until the objective grows; the signs of couplings stay."""
    n, signs = problem.n, theta.sign()
    ridge = torch.zeros_like(theta)
    ridge[n:] = problem.l2
    at = enumerated(theta, problem.codes, n)
    for n_iter in range(max_iter):
        slope = problem.slope(theta, at.mean)
        slope[n:] += problem.l1 * signs[n:]
        if not bool(free.any()) or float((slope * free).abs().amax()) <= 0.1 * tol:
            return theta, at, n_iter
        hessian = at.information[free][:, free] + torch.diag(ridge[free])
        hessian.diagonal().mul_(1 + _RIDGE).add_(_RIDGE * float(hessian.diagonal().amax()))
        step = torch.zeros_like(theta)
        step[free] = -torch.cholesky_solve(slope[free][:, None], torch.linalg.cholesky(hessian))[:, 0]
        moved = _searched(problem, theta, at.log_z, step, float(slope @ step), signs)
        if moved is None:
            return theta, at, n_iter
        theta, at = moved, enumerated(moved, problem.codes, n)
    return theta, at, max_iter


def _searched(
    problem: _Problem, theta: Tensor, log_z: float, step: Tensor, promise: float, signs: Tensor
) -> Tensor | None:
    """The first of ever shorter steps that is good for the objective, couplings of the wrong sign set to 0; or None."""
    now, length = problem.value(theta, log_z), 1.0
    rounding = 1e-14 * (1 + abs(now))  # near the optimum the objective can't tell steps apart, and Newton's are right
    while length > _SHORTEST:
        moved = theta + length * step
        if problem.l1:
            turned = moved.sign() * signs < 0
            turned[: problem.n] = False
            moved = torch.where(turned, 0.0, moved)
        gain = problem.value(moved, _log_z_and_moments(moved, problem.codes, problem.n)[0]) - now
        if gain >= -_ARMIJO * length * promise - rounding:
            return moved
        length /= 2
    return None


def _with_zeros(problem: _Problem, start: Tensor, tol: float, max_iter: int) -> tuple[Tensor, int]:
    """The optimum with an l1 penalty, each coupling a difference of two numbers of at least 0, by L-BFGS."""
    n, n_pairs = problem.n, len(start) - problem.n

    def objective(u: np.ndarray) -> tuple[float, np.ndarray, float]:
        parts = torch.from_numpy(u)
        theta = torch.cat((parts[:n], parts[n : n + n_pairs] - parts[n + n_pairs :]))
        log_z, found = _log_z_and_moments(theta, problem.codes, n)
        mean = found[problem.codes]
        slope = problem.slope(theta, mean)
        value = -float(problem.target @ theta) + log_z + 0.5 * problem.l2 * float(theta[n:] @ theta[n:])
        gradient = torch.cat((slope, -slope[n:]))
        gradient[n:] += problem.l1
        return value + problem.l1 * float(parts[n:].sum()), gradient.numpy(), problem.worst(theta, mean)

    R = start[n:]
    u = torch.cat((start[:n], R.clamp(min=0), (-R).clamp(min=0))).numpy()
    u, n_iter = minimise(objective, u, tol, max_iter, [(None, None)] * n + [(0, None)] * (2 * n_pairs))
    return torch.from_numpy(np.concatenate((u[:n], u[n : n + n_pairs] - u[n + n_pairs :]))), n_iter


def _errors(information: Tensor, n_rows: float) -> Tensor | None:
    """Standard errors of maximum likelihood; None where the information is singular."""
    root, is_singular = torch.linalg.cholesky_ex(information)
    if is_singular:
        return None
    return (torch.cholesky_inverse(root).diagonal() / n_rows).sqrt()


def _of_constants(mean: Tensor, b: Tensor) -> float:
    """log p of a row's constant columns, whose biases are finite."""
    constant = (mean == 0) | (mean == 1)
    return -float(torch.nn.functional.softplus(torch.where(mean == 1, -b, b))[constant].sum())
