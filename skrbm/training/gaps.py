"""Missing cells of rows: what they are at, drawn given all else in their row, which sums them out of the gradient.

The gradient of log p(v_o) of the observed cells is that of log p(v) for v whose missing cells are distributed as the
machine says, p(v_m | v_o). A chain for each incomplete row draws them: a Gibbs step of it with the observed cells
clamped at each visit, as the machine moves little from one visit to the next (stochastic approximation; Younes 1999,
Salakhutdinov & Hinton 2012, section 3). Nothing is added by a row that is missing altogether.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters
from skrbm.rows.source import Batch, Binarize, HeldOut, binarize_rows
from skrbm.sampling.kernels import GIBBS, run_chains
from skrbm.support.randomness import Stream
from skrbm.training.settings import FRESH_STEPS


@torch.no_grad()
def filled_batch(params: RBMParameters, batch: Batch, rule: Binarize, n_steps: int, stream: Stream) -> Batch:
    """A batch whose missing cells have been moved on, as rows that the machine learns from.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    batch : Batch
        Rows with provisional values where cells are missing.
    rule : {"none", "sample"} or float
        What observed cells become, see `binarize_rows`.
    n_steps : int
        Gibbs steps.
    stream : Stream
        Randomness.
    """
    if batch.free is None:
        return batch
    some = batch.free.any(1)
    v = binarize_rows(batch.v, rule, stream)
    v = v.to(params.W) if v is not batch.v else v.to(params.W, copy=True)
    v[some] = filled(params, v[some], batch.free[some], n_steps, stream)
    return batch._replace(v=v)


@torch.no_grad()
def filled(params: RBMParameters, v: Tensor, free: Tensor, n_steps: int, stream: Stream) -> Tensor:
    """Rows (n, n_features) whose `free` cells are ends of chains that start at what they are; others are clamped."""
    states = params.states_of(v)
    starts = torch.where(free, params.visible.states_of(states, stream), states)
    ends = run_chains(GIBBS, params, starts, n_steps, stream, states.masked_fill(free, torch.nan))[0]
    return torch.where(free, params.rows_of(ends), v)


def filled_held_out(params: RBMParameters, held_out: HeldOut | None, stream: Stream) -> HeldOut | None:
    """Held-out rows whose missing cells have been drawn."""
    if held_out is None or held_out.free is None:
        return held_out
    return held_out._replace(v=filled(params, held_out.v, held_out.free, FRESH_STEPS, stream))
