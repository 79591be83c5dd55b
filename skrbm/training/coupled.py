"""Learning of couplings: the machine that it begins with, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skrbm.backends.protocol import Phases
from skrbm.distributed import Group
from skrbm.machines.couplings import Graph
from skrbm.machines.restricted import RBMParameters
from skrbm.support.randomness import Stream

_FIRST_WEIGHT = 0.01  # standard deviation, as of the weights of hidden units

if TYPE_CHECKING:
    from skrbm.training.state import TrainState


def with_couplings(params: RBMParameters, mask: np.ndarray, n_latent: int, stream: Stream) -> RBMParameters:
    """The machine with couplings of 0 where there may be some; those with units that no row knows as small weights."""
    n, graph = params.n_features, Graph.of(torch.from_numpy(mask).to(params.W.device))
    R = params.W.new_zeros((n, n))
    if n_latent:
        weights = torch.from_numpy(stream.normal((n_latent, n - n_latent), _FIRST_WEIGHT)).to(R)
        R[n - n_latent :, : n - n_latent], R[: n - n_latent, n - n_latent :] = weights, weights.T
    return replace(params, R=R, graph=graph)


def mask_of_layers(sizes: Sequence[int], n_visible: int) -> Tensor:
    """Which weights a machine of several layers has, (units of odd layers, visible units and those of even layers).

    Parameters
    ----------
    sizes : sequence of int
        Of the hidden layers, from the first.
    n_visible : int
        Of the visible layer.
    """
    odd, even = [*sizes[::2]], [n_visible, *sizes[1::2]]
    blocks = [[torch.full((n, m), j in (i, i + 1)) for j, m in enumerate(even)] for i, n in enumerate(odd)]
    return torch.cat([torch.cat(row, 1) for row in blocks])


def with_layers_above(params: RBMParameters, sizes: Sequence[int], stream: Stream) -> RBMParameters:
    """A machine of hidden layers of these sizes, whose first is that of `params`; the weights above are drawn small."""
    n, n_even = params.n_features, sum(sizes[1::2])
    mask = mask_of_layers(sizes, n)
    W = torch.from_numpy(stream.normal(tuple(mask.shape), _FIRST_WEIGHT)).to(params.W) * mask.to(params.W)
    W[: params.n_hidden, :n] = params.W
    b = torch.cat((params.b, params.b.new_zeros(n_even)))
    c = torch.cat((params.c, params.c.new_zeros(len(W) - params.n_hidden)))
    return RBMParameters(W, b, c, params.visible, params.hidden)


def gradient_of_couplings(state: TrainState, phases: Phases, weight: Tensor | None, group: Group) -> Tensor:
    """Gradient of the loss by R_ij = R_ji: Δ⟨(v_i - μ_i)(v_j - μ_j)⟩ of the chains less the data, and the penalties.

    Parameters
    ----------
    state : TrainState
        Its `settings.couplings` say which there are.
    phases : Phases
        The rows.
    weight : Tensor of shape (n_data,), optional
        Of the data.
    group : Group
        The processes whose statistics are averaged.

    Returns
    -------
    Tensor of shape (n_features, n_features)
    """
    settings, R, mu = state.settings, state.params.R, state.centering.mu
    assert R is not None
    assert settings.couplings is not None
    rows = phases.of(phases.all if mu is None else phases.all - mu)
    data_weight = rows.all.new_ones(phases.n_data) if weight is None else weight
    chain_weight = data_weight if settings.algorithm == "cd" else rows.all.new_ones(phases.n_chains)
    total = data_weight.sum()
    signs = torch.cat((-data_weight / total, chain_weight / chain_weight.sum()))
    gradient = (rows.all * signs[:, None]).T @ rows.all
    if group.size > 1:
        gradient = group.mean(gradient, float(total))
    if state.damping is not None:
        gradient = state.damping.of(state.damping.of(gradient).T)
    if settings.l2_penalty:
        gradient.add_(R, alpha=float(settings.l2_penalty))
    if settings.l1_penalty:
        gradient.add_(R.sign(), alpha=settings.l1_penalty)
    return gradient.mul_(torch.from_numpy(settings.couplings).to(gradient))
