"""Missing cells that are not there: each row is a machine over the columns that it has.

With o the columns of a row, p(v_o, h) ∝ exp(b_o'v_o + h'W_o v_o + c'h) has a partition function of its own, Z_o. In the
coordinates of the machine's states a unit that isn't there is 0 in both phases: v_o with zeros for the others has the
same energy and the same inputs to h, and the gradient of log p(v_o) is ⟨h v_o'⟩ of the data less that of the row's own
machine, zeros elsewhere. Contrastive divergence draws the latter by Gibbs steps that leave absent units at 0
(Salakhutdinov, Mnih & Hinton 2007). Offsets, damping and decay then act as ever: they change coordinates, and not what
is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.backends.protocol import Phases
from skrbm.machines.restricted import RBMParameters
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Binarize, binarize_rows
from skrbm.support.randomness import Stream
from skrbm.training.state import TrainState


def reconstruct_absent_(state: TrainState, phases: Phases, free: Tensor) -> Tensor:
    """k Gibbs steps from the data, of each row among the units that it has; P(h = 1 | v) of data and chains.

    Parameters
    ----------
    state : TrainState
        Its `h` is changed.
    phases : Phases
        Of as many chains as rows of data; those are written to, and absent cells of these become 0.
    free : Tensor of shape (n_data, n_features)
        Which cells are absent.
    """
    backend, machine, chains = state.backend, state.params, phases.chains
    phases.data.masked_fill_(free, 0)
    mean_h = mean_h_data = backend.mean_h(phases.data)
    h = torch.empty_like(mean_h, dtype=backend.state_dtype)
    for _ in range(state.k):
        for_h, for_v = state.streams.chains.numbers_for(h, chains)
        machine.hidden.draw_(h, mean_h, for_h)
        machine.visible.draw_(chains, backend.mean_v(h), for_v)
        mean_h = backend.mean_h(chains.masked_fill_(free, 0))
    state.h = h
    return torch.cat((mean_h_data, mean_h))


def mean_with_absent(rows: SharedRows, mean_v: Tensor) -> Tensor:
    """Mean of the rows where absent cells are 0, given that of the others: what the gradient is centred at."""
    return mean_v * rows.share_known() if rows.has_absent else mean_v


def smoothing_of(rows: SharedRows) -> float | Tensor:
    """What first biases are smoothed by: a row more of each extreme, among those that have a value in the column."""
    if not rows.has_absent:
        return 1.0 / rows.n_rows
    return 1.0 / (rows.n_rows * rows.share_known()).clamp_min(1.0)


def binarized_some(rows: SharedRows, n: int, rule: Binarize, stream: Stream) -> Tensor:
    """Some rows as the machine shall see them, NaN where a cell is absent."""
    some = rows.some(n, stream)
    found = binarize_rows(some, rule, stream)
    return found.masked_fill(some.isnan(), torch.nan) if rows.has_absent else found


def reconstructed(params: RBMParameters, mean_h: Tensor, free: Tensor, stream: Stream) -> Tensor:
    """Visible states drawn given hidden ones that are drawn by their means; 0 where cells are absent."""
    h = params.hidden.sample(mean_h, stream)
    v = params.visible.sample(params.visible.mean(params.b + h @ params.W), stream)
    return v.masked_fill(free, 0.0)
