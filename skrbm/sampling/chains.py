"""Chains of a kernel from given states to their ends, any number of them in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skrbm.sampling.kernels import Kernel, Watch, clamp, steps
from skrbm.support.randomness import Stream

# Elements of a layer, over all copies of the machine, that are sampled at a time: 128 MB in float32, of which a step
# needs a few. Of the machines that are usual, thousands of Gibbs chains, and hundreds of systems of a ladder.
_BLOCK = 1 << 25


@torch.no_grad()
def run_chains(
    kernel: Kernel,
    model: Any,
    v: Tensor,
    n_steps: int,
    stream: Stream,
    given: Tensor | None = None,
    mean: bool = False,
    watch: Watch | None = None,
) -> tuple[Tensor, Watch]:
    """The ends of chains, or the means over their second halves.

    Parameters
    ----------
    kernel : Kernel
        How the chains move.
    model : RBMParameters or Ladder
        What the kernel samples: the machine, or a ladder up to it.
    v : Tensor of shape (n_chains, n_features)
        Where the chains start.
    n_steps : int
        Their length, at least 1.
    stream : Stream
        Randomness.
    given : Tensor of shape (n_chains, n_features), optional
        What is clamped, NaN where units are free.
    mean : bool
        Whether to return, instead of the visible states at the end, the mean of P(v = 1 | h) in the second half.
    watch : Watch, optional
        Gathers what the steps report, so that one may serve several calls. By default a new one of the kernel's.

    Returns
    -------
    found : Tensor of shape (n_chains, n_features)
        States or means; what is given, where it is.
    watch : Watch
        What the steps have reported. Its `warning_text` says whether the chains are to be trusted.
    """
    watch = kernel.watch(model) if watch is None else watch
    n_rows = max(1, _BLOCK // (kernel.n_copies(model) * max(model.n_features, model.n_hidden)))
    n_late = n_steps - n_steps // 2
    found = torch.empty_like(v)
    for first in range(0, len(v), n_rows):
        rows = slice(first, first + n_rows)
        fixed = None if given is None else given[rows]
        total = torch.zeros_like(v[rows])
        start = kernel.init(model, v[rows], stream, fixed)
        watch.start_(start)
        for step, (state, info) in enumerate(steps(kernel, model, start, n_steps, stream)):
            late = step >= n_steps - n_late
            watch.add_(state, info, late)
            if mean and late:
                total += info.mean_v
        found[rows] = clamp(total.div_(n_late), fixed) if mean else info.v
    return found, watch
