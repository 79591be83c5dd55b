"""Machines without hidden units that are learned at once, by a solver of their couplings instead of chains."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.machines.couplings import Graph
from skrbm.machines.restricted import RBMParameters
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import binarize_rows
from skrbm.sampling.kernels import GIBBS, run_chains
from skrbm.support.randomness import Stream
from skrbm.support.tensors import to_numpy
from skrbm.training.couplings import default_l2_penalty, distinct_rows, moments
from skrbm.training.couplings_exact import learn_exactly
from skrbm.training.couplings_pseudo import learn_by_pseudolikelihood
from skrbm.training.fit import Start
from skrbm.training.learned import Learned
from skrbm.training.measures import measure
from skrbm.training.settings import TrainSettings, mask_of
from skrbm.training.update import EpochRecord

SOLVERS = ("auto", "exact", "pseudolikelihood", "pcd")
_MOST_EXACT, _MOST_EXACT_BY_ITSELF = 20, 12  # columns: the latter take less than a second
_MOST_ERRORS = 100  # columns of which standard errors are computed: 5,050 parameters, whose matrix is inverted
_ROWS_TOGETHER = 4096
_KEPT_ROWS, _WATCHED_ROWS, _CHAIN_STEPS = 100, 500, 200


def solver_for(rows: SharedRows, settings: TrainSettings, start: Start) -> str:
    """What learns the machine: "exact" or "pseudolikelihood", or "pcd", which is chains.

    Raises
    ------
    ValueError
        If the solver that is asked for can't learn this machine from these rows.
    """
    n, asked = rows.n_features, settings.solver
    if asked == "pcd" or not settings.is_coupled:
        return "pcd"
    reasons = {
        "n_hidden is not 0": settings.n_hidden > 0,
        "rows have gaps": rows.has_gaps,
        "it goes on from another fit": start.carries_on or start.learned is not None,
        "several processes learn": rows.group.size > 1,
        "early_stopping is set": bool(settings.early_stopping),
    }
    why = [reason for reason, holds in reasons.items() if holds]
    if asked != "auto":
        if why:
            raise ValueError(f"solver={asked!r} is not available where {why[0]}. Set solver='pcd', or 'auto'.")
        if asked == "exact" and n > _MOST_EXACT:
            raise ValueError(
                f"solver='exact' enumerates states of at most {_MOST_EXACT} columns, and X has {n}. Set "
                "solver='pseudolikelihood', or 'auto'."
            )
        return asked
    return "pcd" if why else "exact" if n <= _MOST_EXACT_BY_ITSELF else "pseudolikelihood"


def learn_at_once(rows: SharedRows, settings: TrainSettings, start: Start, solver: str) -> Learned:
    """The machine without hidden units under which the rows are most likely, or have the largest pseudo-likelihood.

    Values between 0 and 1 are drawn, once.

    Parameters
    ----------
    rows : SharedRows
        What is to be learned.
    settings : TrainSettings
        Which couplings there are, and their penalties.
    start : Start
        Whose seed is that of the draws and of the chains.
    solver : {"exact", "pseudolikelihood"}
        See `solver_for`.
    """
    began, stream = time.perf_counter(), Stream(start.seed, "solver")
    distinct = distinct_rows(_bits(rows, settings, stream))
    mask = mask_of(settings.visible_couplings, rows.n_features)
    l2 = default_l2_penalty(distinct.n_rows, rows.n_features) if settings.l2_penalty == "auto" else settings.l2_penalty
    penalties: dict[str, Any] = {"mask": mask, "l1_penalty": settings.l1_penalty, "l2_penalty": float(l2)}
    penalties["with_stderr"] = rows.n_features <= _MOST_ERRORS
    if solver == "exact":
        found = learn_exactly(moments(distinct), **penalties)
    else:
        found = learn_by_pseudolikelihood(distinct, **penalties)
    dtype = torch.float32 if settings.precision == "float32" else torch.float64
    empty = torch.zeros((0, rows.n_features), dtype=dtype)
    R = found.R.to(dtype)
    params = RBMParameters(empty, found.b.to(dtype), empty[:, 0], R=R, graph=Graph.of(R != 0))
    kept, watched = rows.some(_KEPT_ROWS, stream), rows.some(_WATCHED_ROWS, stream).to("cpu", params.W.dtype)
    watched = binarize_rows(watched, "sample", stream)
    v = watched[torch.from_numpy(stream.integers(len(watched), (settings.n_chains,)))]
    v, _ = run_chains(GIBBS, params, v, _CHAIN_STEPS, stream)
    h = v[:, :0]
    measures = measure(params, params.without_weights(params.b), h, watched, rows.held_out, stream, v)
    record = EpochRecord(found.n_iter, math.nan, 0, math.nan, time.perf_counter() - began)
    history: dict[str, Any] = record._asdict() | {"retreats": 0} | measures._asdict()
    mean = distinct.weight @ distinct.bits.double()
    smoothing = 1.0 / distinct.n_rows
    return Learned(
        params,
        to_numpy(h),
        to_numpy(v),
        base_rates=to_numpy((mean + smoothing) / (1.0 + 2.0 * smoothing)),
        data_samples=to_numpy(kept),
        history={name: np.array([value]) for name, value in history.items()},
        balance_gain=0.0,
        n_epochs=found.n_iter,
        couplings_stderr=None if found.R_stderr is None else to_numpy(found.R_stderr),
        intercept_stderr=None if found.b_stderr is None else to_numpy(found.b_stderr),
    )


def _bits(rows: SharedRows, settings: TrainSettings, stream: Stream) -> Iterator[tuple[Tensor, Tensor | None]]:
    """All rows as bits, in batches, and their weights."""
    rule = "sample" if settings.binarize == "none" else settings.binarize
    for batch in rows.epoch(stream, _ROWS_TOGETHER):
        yield binarize_rows(batch.v, rule, stream).cpu(), None if batch.weight is None else batch.weight.cpu()
