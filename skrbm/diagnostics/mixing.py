"""How well the chains of a machine mix, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.diagnostics.chains import autocorrelation_time, effective_sample_size, merge_time, r_hat
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.sampling.kernels import Kernel, check_info
from skrbm.support.randomness import Stream
from skrbm.support.tables import Table
from skrbm.support.tensors import clock

STATISTICS = ("free_energy", "share_of_ones", "direction_1", "direction_2")


def statistics_of(params: RBMParameters) -> Callable[[Tensor], Tensor]:
    """The function from visible states (n, n_features) to the `STATISTICS` that sum them up, (4, n).

    The free energy, the share of ones, and the projections on the first two right singular vectors of W, or of the
    couplings of a machine without hidden units: directions in which the modes of a machine lie apart.
    """
    matrix = params.W if params.n_hidden or params.R is None else params.R
    directions = torch.linalg.svd(matrix, full_matrices=False)[2][:2]
    if len(directions) < 2:  # a machine with a single unit in a layer
        directions = torch.cat([directions, directions.new_zeros((2 - len(directions), params.n_features))])
    return lambda v: torch.cat([free_energy(params, v)[None], v.mean(1)[None], directions @ v.T])


@torch.no_grad()
def diagnose(
    params: RBMParameters,
    kernel: Kernel,
    model: Any,
    random_v: Tensor,
    data_v: Tensor | None,
    n_steps: int,
    stream: Stream,
) -> Table:
    """How chains of a kernel mix, judged by `n_steps` steps from random states and from data.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    kernel : Kernel
        How the chains move.
    model : RBMParameters or Ladder
        What the kernel samples: the machine, or a ladder up to it.
    random_v : Tensor of shape (n_chains, n_features)
        Random states.
    data_v : Tensor of shape (n_chains, n_features), optional
        Rows of data.
    n_steps : int
        Length of the chains, at least 8.
    stream : Stream
        Randomness.

    Returns
    -------
    Table
        A row for each of `STATISTICS`, with the columns
        `statistic`;
        `autocorrelation_time` in steps, `effective_sample_size` and `r_hat` of the second half of all chains;
        `merge_time`, the step from which on chains from random states and from data can't be told apart, `inf` if
        they can to the end, NaN without data;
        `swap_acceptance` in the second half, the least of a pair of rungs, and `round_trips` of a system in all steps,
        from the lowest rung to the highest and back (NaN without a ladder);
        `seconds` a step of all chains.
    """
    n_random = len(random_v)
    v = random_v if data_v is None else torch.cat([random_v, data_v])
    state, watch = kernel.init(model, v, stream, None), kernel.watch(model)
    watch.start_(state)
    series = np.empty((len(STATISTICS), n_steps, len(v)))
    statistics = statistics_of(params)
    seconds = 0.0
    for step in range(n_steps):
        began = clock(v.device)
        state, info = kernel.step(model, state, stream)
        seconds += clock(v.device) - began
        if step == 0:
            check_info(info, v)
        series[:, step] = statistics(info.v).cpu().numpy()
        watch.add_(state, info, late=step >= n_steps // 2)
    late = series[:, n_steps // 2 :]
    merged = [np.nan if data_v is None else merge_time(x[:, :n_random], x[:, n_random:]) for x in series]
    n = len(STATISTICS)
    return Table(
        statistic=np.array(STATISTICS),
        autocorrelation_time=np.array([autocorrelation_time(x) for x in late]),
        effective_sample_size=np.array([effective_sample_size(x) for x in late]),
        r_hat=np.array([r_hat(x) for x in late]),
        merge_time=np.array(merged),
        swap_acceptance=np.full(n, watch.swap_acceptance),
        round_trips=np.full(n, watch.round_trips),
        seconds=np.full(n, seconds / n_steps),
    )
