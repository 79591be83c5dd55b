"""Missing cells of rows: what they are at, drawn given all else in their row, which sums them out of the gradient.

The gradient of log p(v_o) of the observed cells is that of log p(v) for v whose missing cells are distributed as the
machine says, p(v_m | v_o). A chain for each incomplete row draws them: a Gibbs step of it with the observed cells
clamped at each visit, as the machine moves little from one visit to the next (stochastic approximation; Younes 1999,
Salakhutdinov & Hinton 2012, section 3). Nothing is added by a row that is missing altogether.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.backends.floats import FloatBackend
from skrbm.backends.protocol import Backend
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.rows.source import Batch, Binarize, HeldOut, binarize_rows
from skrbm.sampling.kernels import GIBBS, run_chains
from skrbm.support.randomness import Stream
from skrbm.training.settings import FRESH_STEPS


@torch.no_grad()
def filled_batch(
    params: RBMParameters, batch: Batch, rule: Binarize, n_steps: int, stream: Stream, backend: Backend | None = None
) -> Batch:
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
    backend : Backend, optional
        Products with the machine's weights, where states of fewer bits do.
    """
    if batch.free is None:
        return batch
    some = batch.free.any(1)
    v = binarize_rows(batch.v, rule, stream)
    v = v.to(params.W) if v is not batch.v else v.to(params.W, copy=True)
    if params.R is not None:
        v[some] = filled(params, v[some], batch.free[some], n_steps, stream)
    else:
        _move_on_(FloatBackend(params) if backend is None else backend, v, batch.free, some, n_steps, stream)
    return batch._replace(v=v)


def _move_on_(backend: Backend, v: Tensor, free: Tensor, some: Tensor, n_steps: int, stream: Stream) -> None:
    """Gibbs steps of the cells of `some` rows that are `free`, in their place. They need no h to go on from."""
    params, rows, free = backend.params, v[some], free[some]
    states = params.states_of(rows)
    states = torch.where(free, params.visible.states_of(states, stream), states)
    h = states.new_empty((len(states), params.n_hidden), dtype=backend.state_dtype)
    for _ in range(n_steps):
        of_h = backend.mean_h(states.to(backend.state_dtype))
        for_h, for_v = stream.numbers_for(h, states)
        params.hidden.draw_(h, of_h, for_h)
        drawn = params.visible.draw_(torch.empty_like(states), backend.mean_v(h), for_v)
        states = torch.where(free, drawn, states)
    v[some] = torch.where(free, params.rows_of(states), rows)


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


@torch.no_grad()
def summed_batch(params: RBMParameters, batch: Batch, n_latent: int, stream: Stream) -> tuple[Batch, Tensor]:
    """A batch in which units that no row knows are summed over: each row with all of their states, by their weights.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    batch : Batch
        Rows as states, with provisional values of the last `n_latent` units.
    n_latent : int
        How many units no row knows.
    stream : Stream
        Randomness of the draws.

    Returns
    -------
    batch : Batch
        2^n_latent rows for each, whose weights p(h | v) sum to the weight of the row.
    drawn : Tensor of shape (n, n_features)
        The rows with a draw from p(h | v).
    """
    n, codes = len(batch.v), torch.arange(2**n_latent, device=batch.v.device)
    states = ((codes[:, None] >> torch.arange(n_latent, device=codes.device)) & 1).to(batch.v)
    joint = batch.v.repeat_interleave(len(states), 0)
    joint[:, -n_latent:] = states.repeat(n, 1)
    p = (-free_energy(params, joint)).view(n, -1).softmax(1)
    uniform = stream.uniform(n, p.device)
    chosen = (p.cumsum(1) < uniform[:, None]).sum(1).clamp_(max=len(states) - 1)
    drawn = batch.v.clone()
    drawn[:, -n_latent:] = states[chosen]
    weight = p if batch.weight is None else p * batch.weight[:, None]
    return Batch(joint, weight.flatten(), batch.is_even), drawn
