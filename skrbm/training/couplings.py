"""Couplings between visible units, learned without chains: rows as distinct states, what solvers take and give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.support.checks import warn
from skrbm.support.tensors import chunks, dense, from_torch, is_bits

_BLOCK_ROWS = 4096  # few enough that what is computed of them stays in the cache
_MEMORY = 20  # pairs of steps and gradients that L-BFGS keeps
_N_NAMED = 3  # pairs of columns that a warning names


class CouplingsWarning(UserWarning):
    """Couplings are not those of the optimum: it is at infinity, or has not been reached."""


class DistinctRows(NamedTuple):
    """Rows of bits, those that are equal as one.

    Attributes
    ----------
    bits : Tensor of shape (n_distinct, n_features), uint8
        The rows.
    weight : Tensor of shape (n_distinct,), float64
        The share of each; the sum is 1.
    n_rows : float
        How many rows there were: the sum of the weights that they came with.
    """

    bits: Tensor
    weight: Tensor
    n_rows: float

    def blocks(self, dtype: torch.dtype, size: int = _BLOCK_ROWS) -> Iterable[tuple[Tensor, Tensor]]:
        """Rows and shares as numbers of some type, a few thousand at a time."""
        for rows in chunks(len(self.bits), size):
            yield self.bits[rows].to(dtype), self.weight[rows].to(dtype)


class Moments(NamedTuple):
    """What the likelihood of a machine without hidden units depends on.

    Attributes
    ----------
    second : Tensor of shape (n_features, n_features), float64
        ⟨x_i x_j⟩; the means are on the diagonal.
    n_rows : float
        How many rows these are the means of.
    """

    second: Tensor
    n_rows: float

    @property
    def mean(self) -> Tensor:
        """⟨x_i⟩, (n_features,)."""
        return self.second.diagonal()


@dataclass(frozen=True)
class Couplings:
    """A machine without hidden units, p(x) ∝ exp(½ x'Rx + b'x), as a solver found it; all in float64.

    Attributes
    ----------
    R : Tensor of shape (n_features, n_features)
        Couplings, symmetric, 0 on the diagonal.
    b : Tensor of shape (n_features,)
        Biases. That of a column that is constant is finite: of n + 1 rows half a one has the other value.
    R_stderr, b_stderr : Tensor or None
        Standard errors, 0 where nothing was learned, of couplings that don't exist and of constant columns. None where
        there are penalties, or they weren't asked for, or the couplings can't be told apart by these rows.
    n_iter : int
        Iterations of the solver.
    gradient : float
        The largest derivative of the penalised objective, in nats a row; for the likelihood without penalties that is
        the largest difference between the moments of machine and rows. Where couplings are 0 by `l1_penalty`, by how
        much the derivative exceeds the penalty.
    is_converged : bool
        Whether that is at most `tol`.
    objective : float
        Mean log-likelihood, or pseudo-log-likelihood, of a row in nats, less penalties.
    unbounded : tuple of (int, int)
        Pairs whose coupling goes to infinity: one of their four combinations is in no row, and there is no penalty.
    """

    R: Tensor
    b: Tensor
    R_stderr: Tensor | None
    b_stderr: Tensor | None
    n_iter: int
    gradient: float
    is_converged: bool
    objective: float
    unbounded: tuple[tuple[int, int], ...] = ()


def distinct_rows(blocks: Any, sample_weight: Any = None) -> DistinctRows:
    """Rows of bits, those that are equal as one.

    Parameters
    ----------
    blocks : {array-like, Tensor} of shape (n_rows, n_features), or iterable of pairs (rows, weights)
        The rows, complete; in blocks, whose weights may be None, they are never all in memory, but the distinct ones.
    sample_weight : array-like of shape (n_rows,), optional
        How often each row counts: a row of weight 2 is the same as two rows, for errors too. With `blocks` None.

    Raises
    ------
    ValueError
        If there are values other than 0 and 1, negative weights, or no row that counts.
    """
    whole = hasattr(blocks, "shape") or isinstance(blocks, list)
    merged: tuple[np.ndarray, np.ndarray] | None = None
    n_features = 0
    for X, weight in [(blocks, sample_weight)] if whole else blocks:
        X = dense(from_torch(X))
        weight = np.ones(len(X)) if weight is None else np.asarray(from_torch(weight), float)
        _check(X, weight)
        n_features = X.shape[1]
        packed = np.packbits(X.astype(bool), axis=1)[weight > 0], weight[weight > 0]
        both = packed if merged is None else tuple(map(np.concatenate, zip(merged, packed, strict=True)))
        merged = _merged(*both)
    if merged is None or not len(merged[0]):
        raise ValueError("There is no row that counts: X is empty, or all of sample_weight is 0.")
    codes, counts = merged
    bits, total = np.unpackbits(codes, axis=1, count=n_features), float(counts.sum())
    return DistinctRows(torch.from_numpy(bits), torch.from_numpy(counts / total), total)


def _check(X: np.ndarray, weight: np.ndarray) -> None:
    if X.ndim != 2 or not is_bits(X):
        raise ValueError("X must have two dimensions, and no values but 0 and 1.")
    if weight.shape != (len(X),) or not (weight >= 0).all() or not np.isfinite(weight).all():
        raise ValueError(f"sample_weight must have shape ({len(X)},) and finite values of at least 0.")


def _merged(codes: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of bytes, each once, and the sum of their weights."""
    if not codes.size:
        return codes, weight
    keys = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return codes[first], np.bincount(which.ravel(), weight)


def moments(rows: DistinctRows) -> Moments:
    """First and second moments of rows."""
    n = rows.bits.shape[1]
    second = torch.zeros(n, n, dtype=torch.float64)
    for x, weight in rows.blocks(torch.float64):
        second += x.T @ (x * weight[:, None])
    second = ((second + second.T) / 2).clamp_(0.0, 1.0)
    if len(rows.bits):  # shares add up to 1 but for rounding, and a column of ones is constant
        second.diagonal()[rows.bits.amin(0) == 1] = 1.0
    return Moments(second, rows.n_rows)


def edges_of(n_features: int, mask: Any, mean: Tensor) -> Tensor:
    """Which couplings are learned, (n_features, n_features): those of a mask, but not of constant columns.

    Raises
    ------
    ValueError
        If the mask has another shape, or isn't symmetric.
    """
    edges = torch.ones(n_features, n_features, dtype=torch.bool)
    if mask is not None:
        edges = torch.from_numpy(np.array(from_torch(mask), dtype=bool))
    if tuple(edges.shape) != 2 * (n_features,) or not torch.equal(edges, edges.T):
        raise ValueError(f"mask must be symmetric and have shape {2 * (n_features,)}; got {tuple(edges.shape)}.")
    varies = (mean > 0) & (mean < 1)
    return (edges & varies & varies[:, None]).fill_diagonal_(False)


def bias_alone(mean: Tensor, n_rows: float) -> Tensor:
    """log-odds of the means, finite: where all rows are equal half a row of n + 1 has the other value."""
    inside = torch.where((mean > 0) & (mean < 1), mean, (mean * n_rows + 0.5) / (n_rows + 1))
    return torch.logit(inside)


def unbounded_pairs(found: Moments, edges: Tensor) -> tuple[tuple[int, int], ...]:
    """Pairs of columns, one of whose four combinations is in no row: without penalty no coupling is large enough."""
    both, mean = found.second, found.mean
    only = mean[:, None] - both
    neither = 1 - mean[:, None] - mean + both
    least = torch.stack((both, only, only.T, neither)).amin(0)
    # sums of shares are off by a few of the last bits, and a single row is 1 / n_rows, or its weight
    empty = (least < min(1e-12, 0.5 / found.n_rows)) & edges
    return tuple((int(i), int(j)) for i, j in empty.triu(1).nonzero())


def warn_of(result: Couplings, tol: float, names: Any = None) -> None:
    """Warn where couplings go to infinity, or the optimum was not reached."""
    if result.unbounded:
        called = [f"column {i}" for i in range(len(result.b))] if names is None else [repr(str(x)) for x in names]
        pairs = [f"{called[i]} and {called[j]}" for i, j in result.unbounded[:_N_NAMED]]
        more = len(result.unbounded) - len(pairs)
        warn(
            f"{'; '.join(pairs)}{f'; and {more} pairs more' if more else ''}: one of the four combinations of 0 and 1 "
            "is in no row, so that the likelihood grows with the coupling for ever, and what was found is only where "
            "the solver stopped. Set l2_penalty, or take the couplings out by a mask.",
            CouplingsWarning,
        )
    elif not result.is_converged:
        warn(
            f"The optimum was not reached: after {result.n_iter} iterations the gradient is {result.gradient:.1e}, "
            f"not {tol:.0e}. Raise max_iter or tol; or set l2_penalty, as the couplings may go to infinity.",
            CouplingsWarning,
        )


def default_l2_penalty(n_rows: float, n_features: int) -> float:
    """What "auto" means: n_features / (8 n_rows).

    That is a normal prior of couplings whose variance is 8 / n_features, so that the inputs of units vary by about as
    much however many columns there are; a penalty on the mean over rows falls as 1 / n_rows.
    `benchmarks/boltzmann.py penalty` has the choice.
    """
    return n_features / (8.0 * n_rows)


def worst_derivative(R: Tensor, gradient: Tensor, db: Tensor, edges: Tensor, l1: float) -> float:
    """The largest derivative of objective and l1 penalty, where there is none the shortest of the subgradients.

    Parameters
    ----------
    R, gradient : Tensor of shape (n_features, n_features)
        Couplings and the derivatives by them of all but the l1 penalty.
    db : Tensor of shape (n_features,)
        Derivatives by the biases.
    """
    at_zero = (gradient.abs() - l1).clamp(min=0.0)
    worst = torch.where(R == 0, at_zero, (gradient + l1 * R.sign()).abs())
    return float(torch.cat(((worst * edges).flatten(), db.abs(), torch.zeros(1).to(db))).amax())


class _IsReached(Exception):
    """Ends a minimisation."""


def minimise(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray, float]],
    start: np.ndarray,
    tol: float,
    max_iter: int,
    bounds: Any = None,
) -> tuple[np.ndarray, int]:
    """L-BFGS until a measure that comes with the objective is at most `tol`; variables, and how many iterations.

    Parameters
    ----------
    objective : callable
        From variables to objective, gradient and measure.
    start : ndarray of shape (n,)
        Where to begin.
    """
    from scipy.optimize import minimize  # late

    last: dict[str, Any] = {}

    def both(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient, measure = objective(u)
        if measure <= tol and "found" not in last:
            last["found"] = u.copy()
        return value, gradient

    n_iter = 0

    def stop(u: np.ndarray) -> None:
        nonlocal n_iter
        n_iter += 1
        if "found" in last:
            raise _IsReached

    options = {"maxiter": max_iter, "maxfun": 4 * max_iter, "maxcor": _MEMORY, "ftol": 0.0, "gtol": 0.0}
    try:
        result = minimize(both, start, jac=True, method="L-BFGS-B", bounds=bounds, callback=stop, options=options)
    except _IsReached:
        return last["found"], n_iter
    return last.get("found", result.x), n_iter
