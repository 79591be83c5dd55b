"""Factor analysis of rows with gaps, by expectation-maximisation (Rubin & Thayer 1982)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.support.randomness import Stream

_MAX_TURNS, _LEAST_GAIN = 300, 1e-6  # nats a row
_LEAST_NOISE, _LEAST_VARIANCE = 1e-4, 1e-12  # of a column's variance; in its own units
_RIDGE = 2.0  # rows at the mean that each column is regressed over besides, which lets there be many factors


class Factors(NamedTuple):
    """What rows x = mean + loadings z + noise, z standard normal, are like.

    Attributes
    ----------
    mean : Tensor of shape (n_columns,)
        Of the rows.
    loadings : Tensor of shape (n_columns, n_factors)
        Of the factors.
    noise : Tensor of shape (n_columns,)
        Variances.
    """

    mean: Tensor
    loadings: Tensor
    noise: Tensor

    @property
    def covariance(self) -> np.ndarray:
        """Of the rows, (n_columns, n_columns)."""
        return (self.loadings @ self.loadings.T + torch.diag(self.noise)).numpy()


class _Expected(NamedTuple):
    """Factors given what is observed of each row, and the mean log-likelihood of that but for a constant."""

    mean: Tensor  # (n, n_factors)
    covariance: Tensor  # (n, n_factors, n_factors)
    nats: float


def factors_with_gaps(
    x: Tensor, weight: Tensor, n_factors: int, noise: float | Literal["learned"], stream: Stream
) -> Factors:
    """The factors under which the cells that aren't missing are most likely, with two rows at the mean besides.

    Parameters
    ----------
    x : Tensor of shape (n, n_columns)
        Rows in float64, NaN where a cell is missing.
    weight : Tensor of shape (n,)
        Of the rows.
    n_factors : int
        How many.
    noise : float or "learned"
        Share of each column's variance, if it is given. What is learned is that of n - n_factors - 1 degrees of
        freedom, n being the rows that have the column.
    stream : Stream
        Randomness of the start.
    """
    seen, weight = (~x.isnan()).double(), weight[:, None]
    counts = (weight * seen).sum(0).clamp_min(1e-300)
    mean = (weight * x.nan_to_num(0.0)).sum(0) / counts
    x = (x - mean).nan_to_num(0.0)
    variance = ((weight * x.square()).sum(0) / counts).clamp_min(_LEAST_VARIANCE)
    share, before = 0.5 if isinstance(noise, str) else noise, -math.inf
    start = torch.from_numpy(stream.normal((x.shape[1], n_factors)))
    found = Factors(
        torch.zeros_like(mean), start * ((1.0 - share) * variance / n_factors).sqrt()[:, None], share * variance
    )
    for _ in range(_MAX_TURNS):
        expected = _expected(found, x, seen, weight)
        now = expected.nats - _penalty(found, weight)
        if now - before < _LEAST_GAIN:
            break
        before = now
        found = _most_likely(found, expected, x, seen, weight, variance, is_given=not isinstance(noise, str))
    if isinstance(noise, str):
        corrected = found.noise * counts / (counts - n_factors - 1.0).clamp_min(1.0)
        found = found._replace(noise=torch.minimum(corrected, torch.from_numpy(found.covariance).diagonal()))
    return found._replace(mean=mean + found.mean)


def _expected(found: Factors, x: Tensor, seen: Tensor, weight: Tensor) -> _Expected:
    n_factors = found.loadings.shape[1]
    scaled = found.loadings / found.noise[:, None]
    products = (found.loadings[:, :, None] * scaled[:, None, :]).flatten(1)
    precision = torch.eye(n_factors).double() + (seen @ products).view(-1, n_factors, n_factors)
    root = torch.linalg.cholesky(precision)
    covariance = torch.cholesky_inverse(root)
    residual = seen * (x - found.mean)
    along = residual @ scaled
    mean = torch.einsum("nij,nj->ni", covariance, along)
    distance = (residual.square() / found.noise).sum(1) - (mean * along).sum(1)
    nats = -0.5 * (distance + 2.0 * root.diagonal(dim1=1, dim2=2).log().sum(1) + seen @ found.noise.log())
    return _Expected(mean, covariance, float(weight[:, 0] @ nats / weight.sum()))


def _penalty(found: Factors, weight: Tensor) -> float:
    """Nats a row that the rows at the mean besides cost."""
    squares = found.loadings.square().sum(1) + found.mean.square()
    return float(0.5 * _RIDGE * (squares / found.noise).sum() / weight.sum())


def _most_likely(
    found: Factors, expected: _Expected, x: Tensor, seen: Tensor, weight: Tensor, variance: Tensor, is_given: bool
) -> Factors:
    """Each column regressed on the factors and a constant, over the rows that have it."""
    n = expected.mean.shape[1] + 1
    both = torch.cat((expected.mean, torch.ones_like(expected.mean[:, :1])), 1)
    moments = both[:, :, None] * both[:, None, :]
    moments[:, :-1, :-1] += expected.covariance
    of_columns = ((weight * seen).T @ moments.flatten(1)).view(-1, n, n)
    against = (weight * seen * x).T @ both
    coefficients = torch.linalg.solve(of_columns + _RIDGE * torch.eye(n).double(), against)
    noise = found.noise
    if not is_given:
        counts = (weight * seen).sum(0).clamp_min(1e-300)
        explained = (coefficients * against).sum(1) / counts  # less what the ridge costs
        noise = torch.maximum((weight * x.square()).sum(0) / counts - explained, _LEAST_NOISE * variance)
    return Factors(coefficients[:, -1], coefficients[:, :-1], noise)
