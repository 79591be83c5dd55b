"""The covariance of the rows, as far as the rate of learning depends on it; and how learning is slowed along it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from skrbm.backends.protocol import Damping
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Binarize, binarize_rows
from skrbm.support.randomness import Stream

_N_ROWS = 1000  # that the covariance is taken from
_MAX_DIRECTIONS = 16  # a fifth of the time of an update of 784 columns and 500 units
_UNIT = 1.0  # variance that a damped direction is learned as if it had; images have a dozen above, surveys one


@dataclass(frozen=True)
class Spectrum:
    """Leading directions of rows, and how much they vary in the others.

    Attributes
    ----------
    directions : Tensor of shape (n_directions, n_features)
        Orthonormal eigenvectors of the covariance whose variance is more than 1.
    variances : Tensor of shape (n_directions,)
        Their eigenvalues, from the largest on.
    damped_size : float
        Root of the sum of the squares of all eigenvalues, where those above 1 count as 1.
    total : float
        Sum of all eigenvalues: of the variances of the columns.
    structure : float
        Mean over the columns, weighted by their squared variance, of the sum of the squared correlations with all
        others, less what so many rows of independent columns would show.
    """

    directions: Tensor
    variances: Tensor
    damped_size: float
    total: float
    structure: float

    @classmethod
    def of(cls, rows: SharedRows, rule: Binarize = "none", mean_range: tuple[float, float] = (0.0, 1.0)) -> Self:
        """Of a sample of the rows, cut where `rule` is a threshold; of several processes, of the first one's.

        Notes
        -----
        Values out of the range of means act as its nearest bound.

        The eigenvalues of X'X / n and XX' / n are the same, so the smaller of the two is taken apart.
        """
        v = rows.some(_N_ROWS, Stream(0, "spectrum")).double()
        v = v.nan_to_num_(0.0) if rows.has_absent else v
        v = v.clamp(*mean_range) if isinstance(rule, str) else binarize_rows(v, rule, Stream(0))
        v = (v - v.mean(0)) / math.sqrt(len(v))
        columns = v.square().sum(0)
        is_wide = v.shape[1] > len(v)
        variances, vectors = torch.linalg.eigh(v @ v.T if is_wide else v.T @ v)
        variances, vectors = variances.flip(0), vectors.flip(1)
        damped_size = float(variances.clamp(0.0, _UNIT).norm())
        n = min(int((variances > _UNIT).sum()), _MAX_DIRECTIONS)
        directions = (vectors[:, :n] / variances[:n].sqrt()).T @ v if is_wide else vectors[:, :n].T
        total, of_columns = float(columns.sum()), float(columns.square().sum())
        excess = float(variances.square().sum()) - of_columns - total**2 / len(v)
        found = (directions.contiguous().cpu().numpy(), variances[:n].cpu().numpy(), damped_size)
        structure = excess / of_columns if of_columns > 0.0 else 0.0
        directions, variances, *others = rows.group.of_first((*found, total, structure))
        return cls(torch.from_numpy(directions), torch.from_numpy(variances), *others)

    def damping(self, like: Tensor) -> Damping | None:
        """What slows learning down along the directions, to 1/λ; None where there are none.

        A direction of variance λ is learned λ times as fast as one of variance 1, and the noise of its gradient is λ
        times as large: the few leading ones decide what rate the chains can follow, and the others would learn at a
        crawl. P is positive definite, so that the stationary points are those of the plain gradient (but for weight
        decay, which isn't damped). It is in proportion to the inverse of the Fisher information of the weights at
        W = 0, cut off at 1.

        Parameters
        ----------
        like : Tensor
            Whose float type and device to take.
        """
        if not len(self.variances):
            return None
        return Damping(self.directions.to(like), (1.0 - _UNIT / self.variances).to(like))
