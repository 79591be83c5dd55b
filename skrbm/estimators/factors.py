"""Machines whose layers are both Gaussian: factor analysis, learned from the covariance of the rows, without chains."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.estimators.factors_with_gaps import Factors, factors_with_gaps
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.restricted import RBMParameters
from skrbm.rows.shared import SharedRows
from skrbm.support.randomness import Stream
from skrbm.support.tensors import to_numpy
from skrbm.training.fit import Start
from skrbm.training.learned import Learned
from skrbm.training.measures import measure
from skrbm.training.settings import TrainSettings
from skrbm.training.update import EpochRecord

_LEAST_NOISE = 1e-4  # of a column's variance
_KEPT_ROWS, _WATCHED_ROWS = 100, 500


def learn_factors(rows: SharedRows, settings: TrainSettings, start: Start) -> Learned:
    """The machine of Gaussian layers under which the rows are most likely.

    With noise variances ψ and loadings Λ (n_hidden, n_features) of factor analysis, the states u = row / √ψ have the
    covariance 1 + Λ_u'Λ_u, Λ_u = Λ / √ψ = U diag(s) V', which is that of a machine, (1 - W'W)^-1, with
    W = diag(s / √(1 + s²)) V': all its singular values are less than 1. The noise is that of n - n_hidden - 1 degrees
    of freedom, n / (n - n_hidden - 1) times the most likely one, which is too small for rows that are to come.
    """
    if start.carries_on:
        raise ValueError(
            "partial_fit is not available with hidden='gaussian', which learns from all rows at once. Use fit."
        )
    began, stream = time.perf_counter(), Stream(start.seed, "factors")
    if rows.has_gaps:
        factors = _with_gaps(rows, settings, stream)
        mean, covariance, noise = factors.mean, factors.covariance, factors.noise.numpy()
    else:
        mean, covariance, n = _moments(rows, settings, stream)
        noise = _noise(covariance, settings, n)
    noise = np.maximum(noise, _LEAST_NOISE)
    W = _weights(covariance, noise, settings.n_hidden)
    scale, dtype = torch.from_numpy(np.sqrt(noise)), settings.place.dtype
    u = mean / scale  # (1 - W'W) u is the bias that has it for a mean
    params = RBMParameters(
        W.to(dtype),
        (u - W.T @ (W @ u)).to(dtype),
        torch.zeros(settings.n_hidden, dtype=dtype),
        GAUSSIAN,
        GAUSSIAN,
        scale.log().to(dtype),
    )
    mean_h = torch.linalg.solve(torch.eye(len(W)).double() - W @ W.T, W @ params.b.double())
    spread = torch.linalg.cholesky(torch.linalg.inv(torch.eye(len(W)).double() - W @ W.T))
    normal = torch.from_numpy(stream.normal((settings.n_chains, settings.n_hidden)))
    h = (mean_h + normal @ spread.T).to(dtype)
    watched, kept = rows.some(_WATCHED_ROWS, stream).to("cpu", dtype), rows.some(_KEPT_ROWS, stream)
    measures = measure(params, params.without_weights(params.b), h, watched, rows.held_out, stream)
    record = EpochRecord(1, math.nan, 0, math.nan, time.perf_counter() - began)
    history: dict[str, Any] = record._asdict() | {"retreats": 0} | measures._asdict()
    return Learned(
        params,
        to_numpy(h),
        base_rates=mean.numpy(),
        data_samples=to_numpy(kept),
        history={name: np.array([value]) for name, value in history.items()},
        balance_gain=0.0,
        n_epochs=1,
    )


def _moments(rows: SharedRows, settings: TrainSettings, stream: Stream) -> tuple[Tensor, np.ndarray, float]:
    """Mean and covariance of the rows of all processes, in float64, and how many there are."""
    total, sum_v, sum_vv = 0.0, torch.zeros(rows.n_features).double(), torch.zeros(2 * [rows.n_features]).double()
    for batch in rows.epoch(stream, 4096):
        v = batch.v.to("cpu", torch.float64)
        weight = torch.ones(len(v)).double() if batch.weight is None else batch.weight.to("cpu", torch.float64)
        total += float(weight.sum())
        sum_v += weight @ v
        sum_vv += (v * weight[:, None]).T @ v
    mean = rows.group.mean(sum_v / total, total)
    covariance = rows.group.mean(sum_vv / total, total) - mean[:, None] * mean
    n = float(rows.group.mean(torch.tensor(total).double())) * rows.group.size
    return mean, covariance.numpy(), n


def _noise(covariance: np.ndarray, settings: TrainSettings, n_rows: float) -> np.ndarray:
    """Variances of the noise: by scikit-learn, from rows of this covariance; or as they are given."""
    if settings.noise != "learned":
        return settings.noise * np.maximum(covariance.diagonal(), 1e-12)
    from sklearn.decomposition import FactorAnalysis  # late

    n = len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(values, 0.0) * n)[:, None] * vectors.T  # rows whose second moment this is
    n_factors = min(settings.n_hidden, n)
    model = FactorAnalysis(n_factors, tol=1e-8, max_iter=10_000, svd_method="lapack")
    noise = np.asarray(model.fit(np.concatenate((root, -root))).noise_variance_)
    return np.minimum(noise * n_rows / max(n_rows - n_factors - 1.0, 1.0), covariance.diagonal())


def _with_gaps(rows: SharedRows, settings: TrainSettings, stream: Stream) -> Factors:
    """The same for rows with gaps, of the cells that aren't missing."""
    if rows.group.size > 1:
        raise ValueError("hidden='gaussian' learns from rows with gaps in one process only. Set hidden='bernoulli'.")
    v, weight = [], []
    for batch in rows.epoch(stream, 4096):
        known = batch.v.to("cpu", torch.float64)
        v.append(known if batch.free is None else known.masked_fill(batch.free.cpu(), torch.nan))
        weight.append(torch.ones(len(known)).double() if batch.weight is None else batch.weight.cpu().double())
    n_factors = min(settings.n_hidden, rows.n_features)
    return factors_with_gaps(torch.cat(v), torch.cat(weight), n_factors, settings.noise, stream)


def _weights(covariance: np.ndarray, noise: np.ndarray, n_hidden: int) -> Tensor:
    """The weights of the largest likelihood given the noise, from the leading eigenvalues of the states' covariance."""
    values, vectors = np.linalg.eigh(covariance / np.sqrt(noise) / np.sqrt(noise)[:, None])
    n = min(n_hidden, len(values))
    excess = np.maximum(values[::-1][:n] - 1.0, 0.0)  # s²
    W = np.zeros((n_hidden, len(values)))
    W[:n] = np.sqrt(excess / (1.0 + excess))[:, None] * vectors.T[::-1][:n]
    return torch.from_numpy(W)
