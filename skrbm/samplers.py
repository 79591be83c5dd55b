"""Markov chains over the states of an RBM, as small kernels.

A kernel has two functions: `init(...) -> State`, and `step(params, state, stream) -> (State, Info)`. The state is
what is carried on; the info is what the step has to report, the visible states `info.v` always among it. A chain is a
loop over `step`; the rows of a state are independent chains.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from skrbm.model import RBMParameters, input_to_h, input_to_v, sample_h_given_v
from skrbm.randomness import Stream

__all__ = ["GibbsInfo", "GibbsState", "gibbs_init", "gibbs_step"]


class GibbsState(NamedTuple):
    """Chains of block Gibbs sampling.

    Attributes
    ----------
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states: all that the next step depends on.
    """

    h: Tensor


class GibbsInfo(NamedTuple):
    """What a step of block Gibbs sampling did.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Visible states, drawn given the hidden states before the step.
    mean_v : Tensor of shape (n_chains, n_features)
        P(v = 1 | h) that `v` was drawn from.
    mean_h : Tensor of shape (n_chains, n_hidden)
        P(h = 1 | v) that the new hidden states were drawn from.
    """

    v: Tensor
    mean_v: Tensor
    mean_h: Tensor


def gibbs_init(params: RBMParameters, v: Tensor, stream: Stream) -> GibbsState:
    """Chains that start at visible states `v` (n_chains, n_features)."""
    return GibbsState(sample_h_given_v(params, v, stream))


def gibbs_step(params: RBMParameters, state: GibbsState, stream: Stream) -> tuple[GibbsState, GibbsInfo]:
    """One full step: v drawn from p(v | h), then h drawn from p(h | v)."""
    mean_v, v = params.visible.mean_and_sample(input_to_v(params, state.h), stream)
    mean_h, h = params.hidden.mean_and_sample(input_to_h(params, v), stream)
    return GibbsState(h), GibbsInfo(v, mean_v, mean_h)
