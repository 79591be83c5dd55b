"""Couplings by pseudo-likelihood (Besag 1975), all at once: one symmetric matrix for the conditionals of all units.

The objective is convex. Its variables are chosen such that its curvature would be 1 if the units were independent given
the rows' covariance C: with the variances D of the units given the others, a change V of the couplings curves it by
tr(D V C V'), which is diagonal in the generalised eigenvectors B of C and D, B'DB = 1, B'CB = Λ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from skrbm.support.tensors import chunks
from skrbm.training.couplings import (
    Couplings,
    DistinctRows,
    bias_alone,
    edges_of,
    minimise,
    moments,
    unbounded_pairs,
    warn_of,
    worst_derivative,
)

MAX_ERRORS = 5050  # parameters whose standard errors are computed: the couplings and biases of 100 units
LONG = 10**9  # multiply-adds of a product from which on float32 pays
_ROUGH = 3e-4  # the gradient up to which float32 is good
_N_POLISHING, _NEAR = 5, 1e-3  # Newton's steps in the end, and the gradient from which on they are safe
_LEAST_EIGENVALUE = 1e-2  # of C against D: what rows say nothing about is not to be moved far
_LEAST_VARIANCE = 1e-3  # of a unit given the others


def learn_by_pseudolikelihood(
    rows: DistinctRows,
    *,
    mask: Any = None,
    l1_penalty: float = 0.0,
    l2_penalty: float = 0.0,
    tol: float = 1e-6,
    max_iter: int = 1000,
    with_stderr: bool = True,
    names: Any = None,
) -> Couplings:
    """The couplings and biases of the largest pseudo-likelihood, less penalties.

    Maximises the mean over rows of Σ_i log p(x_i | all others), in nats, less l1 Σ_{i<j} |R_ij| + ½ l2 Σ_{i<j} R_ij².

    Parameters
    ----------
    rows : DistinctRows
        See `distinct_rows`.
    mask : array-like of shape (n_features, n_features), bool, optional
        Which couplings there are; by default all.
    l1_penalty, l2_penalty : float
        The factors, in nats a row.
    tol : float
        The largest derivative that may remain. The rows' own error of a derivative is some 1 / √n_rows.
    max_iter : int
        Iterations of L-BFGS at most.
    with_stderr : bool
        Whether standard errors are wanted, of the sandwich H⁻¹KH⁻¹; only without penalties, and up to some 100 units.
    names : sequence of str, optional
        What warnings call the columns.
    """
    found = moments(rows)
    edges, mean = edges_of(len(found.second), mask, found.mean), found.mean
    varies = torch.where((mean > 0) & (mean < 1))[0]
    block = varies[:, None], varies
    problem = Pseudo(rows._replace(bits=rows.bits[:, varies].contiguous()), edges[block], l1_penalty, l2_penalty)
    covariance = found.second[block] - mean[varies][:, None] * mean[varies]
    b = bias_alone(mean, found.n_rows)
    at, n_iter = _optimum(problem, covariance, b[varies], tol, max_iter)
    R = torch.zeros_like(found.second)
    R[block] = at.R
    constants = (mean == 0) | (mean == 1)
    value = -at.value - float(softplus(torch.where(mean == 1, -b, b))[constants].sum())
    b[varies] = at.b
    gradient, bounded = problem.worst(at), bool(l1_penalty or l2_penalty)
    errors = None if bounded or not with_stderr else _errors(problem, at)
    R_stderr, b_stderr = torch.zeros_like(R), torch.zeros_like(b)
    if errors is not None:
        R_stderr[block], b_stderr[varies] = errors
    result = Couplings(
        R,
        b,
        None if errors is None else R_stderr,
        None if errors is None else b_stderr,
        n_iter,
        gradient,
        gradient <= tol,
        value,
        () if bounded else unbounded_pairs(found, edges),
    )
    warn_of(result, tol, names)
    return result


class Point(NamedTuple):
    """Where a machine is: parameters, the objective without l1 penalty, to be minimised, and its derivatives.

    `dR` holds derivatives by couplings, each of which is in the matrix twice; `variances` the mean over rows of those
    of the units given the others.
    """

    R: Tensor
    b: Tensor
    value: float
    dR: Tensor
    db: Tensor
    variances: Tensor


class Pseudo(NamedTuple):
    """Rows, which couplings there are, and penalties."""

    rows: DistinctRows
    edges: Tensor
    l1: float
    l2: float

    @property
    def n_parameters(self) -> int:
        """Biases and couplings."""
        return len(self.edges) + int(self.edges.sum()) // 2

    def at(self, R: Tensor, b: Tensor, dtype: torch.dtype = torch.float64) -> Point:
        """The objective and its derivatives, by products in a float type."""
        value, dR, db, variances = 0.0, torch.zeros_like(R), torch.zeros_like(b), torch.zeros_like(b)
        narrow_R, narrow_b = R.to(dtype), b.to(dtype)
        for x, weight in self.rows.blocks(dtype):
            z = torch.addmm(narrow_b, x, narrow_R)
            value += float(weight.double() @ softplus((1 - 2 * x) * z).sum(1).double())
            p = z.sigmoid_()
            variances += (weight @ (p * (1 - p))).double()
            error = p.sub_(x).mul_(weight[:, None])
            db += error.sum(0).double()
            dR += (x.T @ error).double()
        dR = (dR + dR.T + self.l2 * R) * self.edges
        return Point(R, b, value + 0.25 * self.l2 * float((R * R).sum()), dR, db, variances)

    def worst(self, point: Point) -> float:
        """The largest derivative, see `worst_derivative`."""
        return worst_derivative(point.R, point.dR, point.db, self.edges, self.l1)


def _optimum(problem: Pseudo, covariance: Tensor, b: Tensor, tol: float, max_iter: int) -> tuple[Point, int]:
    """The best point, and how many iterations it took; from independent units, in float32 first where that pays."""
    n_iter, n = 0, len(b)
    search = _by_parts if problem.l1 else _by_eigenvectors
    point = Point(torch.zeros_like(covariance), b, 0.0, covariance, b, covariance.diagonal())
    if len(problem.rows.bits) * n * n > LONG:
        point, n_iter = search(problem, covariance, point, torch.float32, max(tol, _ROUGH), max_iter)
    point, n_more = search(problem, covariance, point, torch.float64, tol, max_iter)
    if not problem.l1 and problem.n_parameters <= MAX_ERRORS:
        point = _polished(problem, point, tol)
    return point, n_iter + n_more


def _polished(problem: Pseudo, point: Point, tol: float) -> Point:
    """Newton's steps where L-BFGS has ended early: near the optimum its objective can't tell points apart."""
    n, (i, j) = len(point.b), torch.where(problem.edges.triu(1))
    for _ in range(_N_POLISHING):
        worst = problem.worst(point)
        if worst <= tol or worst > _NEAR:
            break
        H = curvature(problem, point.R, point.b)
        H.diagonal()[n:] += problem.l2
        root, is_singular = torch.linalg.cholesky_ex(H)
        if is_singular:
            break
        step = torch.cholesky_solve(torch.cat((point.db, point.dR[i, j]))[:, None], root)[:, 0]
        R = point.R.clone()
        R[i, j] = R[j, i] = R[i, j] - step[n:]
        moved = problem.at(R, point.b - step[:n])
        if problem.worst(moved) >= worst:
            break
        point = moved
    return point


def _by_eigenvectors(
    problem: Pseudo, covariance: Tensor, point: Point, dtype: torch.dtype, tol: float, max_iter: int
) -> tuple[Point, int]:
    """L-BFGS in the variables in which the curvature is about 1, from a point on."""
    n, mean = len(point.b), problem.rows.weight @ problem.rows.bits.double()
    variances = point.variances.clamp(min=_LEAST_VARIANCE)
    root = variances.rsqrt()
    eigenvalues, U = torch.linalg.eigh(covariance * root * root[:, None])
    B = root[:, None] * U  # (n, n)
    size = 0.5 * problem.l2 * (B * B).sum(0)
    curvature = eigenvalues.clamp(min=_LEAST_EIGENVALUE)
    scale = (0.5 * (curvature[:, None] + curvature) + size[:, None] * size).rsqrt()
    i, j = torch.triu_indices(n, n)
    twice = torch.where(i == j, 1.0, 2**0.5).double()  # what is off the diagonal is there twice
    centre = point.b + point.R @ mean  # of z

    def placed(u: np.ndarray) -> tuple[Tensor, Tensor]:
        parts = torch.from_numpy(u)
        Y = torch.zeros(n, n, dtype=torch.float64)
        Y[i, j] = parts[n:] / twice
        Y = (Y + Y.triu(1).T) * scale
        change = B @ Y @ B.T
        R = point.R + 0.5 * (change + change.T) * problem.edges  # symmetric to the last bit
        return R, centre + root * parts[:n] - R @ mean

    def objective(u: np.ndarray) -> tuple[float, np.ndarray, float]:
        at = problem.at(*placed(u), dtype)
        slope = at.dR - (mean[:, None] * at.db + at.db[:, None] * mean) * problem.edges  # the mean of z held
        turned = (B.T @ (0.5 * slope) @ B) * scale
        gradient = torch.cat((root * at.db, turned[i, j] * twice))
        return at.value, gradient.numpy(), problem.worst(at)

    u, n_iter = minimise(objective, np.zeros(n + len(i)), tol, max_iter)
    return problem.at(*placed(u)), n_iter


def _by_parts(
    problem: Pseudo, covariance: Tensor, point: Point, dtype: torch.dtype, tol: float, max_iter: int
) -> tuple[Point, int]:
    """L-BFGS with an l1 penalty: each coupling is the difference of two numbers of at least 0."""
    n, mean = len(point.b), problem.rows.weight @ problem.rows.bits.double()
    i, j = torch.where(problem.edges.triu(1))
    variances = point.variances.clamp(min=_LEAST_VARIANCE)
    root, spread = variances.rsqrt(), covariance.diagonal()
    scale = (variances[i] * spread[j] + variances[j] * spread[i] + problem.l2).rsqrt()
    n_pairs = len(i)

    def placed(u: np.ndarray) -> tuple[Tensor, Tensor]:
        parts = torch.from_numpy(u)
        R = torch.zeros(n, n, dtype=torch.float64)
        R[i, j] = R[j, i] = (parts[n : n + n_pairs] - parts[n + n_pairs :]) * scale
        return R, root * parts[:n] - R @ mean

    def objective(u: np.ndarray) -> tuple[float, np.ndarray, float]:
        at = problem.at(*placed(u), dtype)
        slope = (at.dR - mean[:, None] * at.db - at.db[:, None] * mean)[i, j]
        gradient = torch.cat((root * at.db, (slope + problem.l1) * scale, (problem.l1 - slope) * scale))
        penalty = problem.l1 * float(torch.from_numpy(u)[n:] @ torch.cat((scale, scale)))
        return at.value + penalty, gradient.numpy(), problem.worst(at)

    R = point.R[i, j] / scale
    start = torch.cat(((point.b + point.R @ mean) / root, R.clamp(min=0), (-R).clamp(min=0)))
    u, n_iter = minimise(objective, start.numpy(), tol, max_iter, [(None, None)] * n + [(0, None)] * (2 * n_pairs))
    at = problem.at(*placed(u))
    return at._replace(value=at.value + problem.l1 * float(at.R.abs().sum()) / 2), n_iter


def _errors(problem: Pseudo, at: Point) -> tuple[Tensor, Tensor] | None:
    """Standard errors of couplings and biases; None where there are too many, or the curvature is singular."""
    n, (i, j) = len(at.b), torch.where(problem.edges.triu(1))
    if problem.n_parameters > MAX_ERRORS:
        return None
    root, is_singular = torch.linalg.cholesky_ex(curvature(problem, at.R, at.b))
    if is_singular:
        return None
    inverse = torch.cholesky_inverse(root)
    errors = (((inverse @ mean_square_slope(problem, at.R, at.b)) * inverse).sum(1) / problem.rows.n_rows).sqrt()
    R = torch.zeros_like(at.R)
    R[i, j] = R[j, i] = errors[n:]
    return R, errors[:n]


def curvature(problem: Pseudo, R: Tensor, b: Tensor) -> Tensor:
    """The second derivatives of the objective without penalties, (n_parameters, n_parameters).

    Parameters are the biases, then the couplings i < j.
    """
    n, place = len(b), _places(problem.edges)
    exists = problem.edges | torch.eye(n, dtype=torch.bool)
    by_unit = torch.zeros(n, n, n, dtype=torch.float64)
    for x, weight in problem.rows.blocks(torch.float64):
        p = torch.addmm(b, x, R).sigmoid_()
        weighted = p * (1 - p) * weight[:, None]
        for k in range(n):
            ones = x.clone()
            ones[:, k] = 1.0  # the bias's
            by_unit[k] += ones.T @ (ones * weighted[:, k, None])
    H = torch.zeros(2 * (problem.n_parameters,), dtype=torch.float64)
    for k in range(n):
        mine = place[k][exists[k]]
        H[mine[:, None], mine] += by_unit[k][exists[k]][:, exists[k]]
    return H


def mean_square_slope(problem: Pseudo, R: Tensor, b: Tensor) -> Tensor:
    """The mean of s s', where s has the derivatives of a row's objective, (n_parameters, n_parameters)."""
    i, j = torch.where(problem.edges.triu(1))
    K = torch.zeros(2 * (problem.n_parameters,), dtype=torch.float32)
    parts = list(chunks(len(K), max(1, -(-len(K) // 4))))  # the matrix is symmetric, so half of it will do
    for x, weight in problem.rows.blocks(torch.float64, 2048):
        error = torch.addmm(b, x, R).sigmoid_() - x
        slopes = torch.cat((error, error[:, i] * x[:, j] + error[:, j] * x[:, i]), 1) * weight.sqrt()[:, None]
        slopes = slopes.float()  # errors of errors of 1e-6 are small enough, in half the time
        for here in parts:
            K[here, here.start :] += slopes[:, here].T @ slopes[:, here.start :]
    return (K.triu() + K.triu(1).T).double()


def _places(edges: Tensor) -> Tensor:
    """The number of the parameter of each pair, of its bias on the diagonal."""
    n, (i, j) = len(edges), torch.where(edges.triu(1))
    place = torch.zeros(n, n, dtype=torch.long)
    place[i, j] = place[j, i] = torch.arange(n, n + len(i))
    place.diagonal().copy_(torch.arange(n))
    return place
