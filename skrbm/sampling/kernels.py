"""Markov chains over the states of an RBM, as small kernels.

A kernel is a pair of functions: `init(model, v, stream, given) -> State`, and `step(model, state, stream) -> (State,
Info)`. The state is what is carried on; the info is what the step has to report, the visible states `info.v` and the
means `info.mean_v` always among it. The rows of a state are independent chains. Where `given` holds numbers the visible
units are clamped to them, where it holds NaN they are free: the chains then sample p(v_free | v_given).

Block Gibbs sampling is here; `skrbm.sampling.tempering` has the kernel that runs several machines side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, input_to_h, input_to_v, sample_h_given_v
from skrbm.support.randomness import Stream

__all__ = ["GIBBS", "GibbsInfo", "GibbsState", "Kernel", "clamp", "gibbs_init", "gibbs_step", "steps"]


class Kernel(NamedTuple):
    """A way of sampling: how chains start and how they move."""

    init: Callable[..., Any]
    step: Callable[..., tuple[Any, Any]]


class GibbsState(NamedTuple):
    """Chains of block Gibbs sampling.

    Attributes
    ----------
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states.
    given : Tensor of shape (n_chains, n_features) or None
        Visible states that are clamped, NaN where they are free; None where all are.
    """

    h: Tensor
    given: Tensor | None = None


class GibbsInfo(NamedTuple):
    """What a step of block Gibbs sampling did.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Visible states, drawn given the hidden states before the step.
    mean_v : Tensor of shape (n_chains, n_features)
        P(v = 1 | h) that `v` was drawn from; where a unit is clamped, its value.
    mean_h : Tensor of shape (n_chains, n_hidden)
        P(h = 1 | v) that the new hidden states were drawn from.
    """

    v: Tensor
    mean_v: Tensor
    mean_h: Tensor


def gibbs_init(params: RBMParameters, v: Tensor, stream: Stream, given: Tensor | None = None) -> GibbsState:
    """Chains that start at visible states `v` (n_chains, n_features), but for what is `given`."""
    return GibbsState(sample_h_given_v(params, clamp(v, given), stream), given)


def gibbs_step(params: RBMParameters, state: GibbsState, stream: Stream) -> tuple[GibbsState, GibbsInfo]:
    """One full step: v drawn from p(v | h), then h drawn from p(h | v)."""
    mean_v, v = params.visible.mean_and_sample(input_to_v(params, state.h), stream)
    mean_v, v = clamp(mean_v, state.given), clamp(v, state.given)
    mean_h, h = params.hidden.mean_and_sample(input_to_h(params, v), stream)
    return GibbsState(h, state.given), GibbsInfo(v, mean_v, mean_h)


GIBBS = Kernel(gibbs_init, gibbs_step)


def clamp(v: Tensor, given: Tensor | None) -> Tensor:
    """`given` where it holds numbers, `v` where it holds NaN or is None."""
    return v if given is None else torch.where(given.isnan(), v, given)


def steps(kernel: Kernel, model: Any, state: Any, n_steps: int, stream: Stream) -> Iterator[tuple[Any, Any]]:
    """The states and infos of `n_steps` steps from `state`."""
    for _ in range(n_steps):
        state, info = kernel.step(model, state, stream)
        yield state, info
