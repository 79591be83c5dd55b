"""Statistics of a batch and of the chains, and the gradient from both.

The gradient is that of the loss L = F(v) - F(v_k), averaged over data v and chains v_k that are held fixed: minus an
estimate of the gradient of the mean log-likelihood, in nats per row (Hinton 2002; Tieleman 2008). It is written
in centred coordinates (Melchior, Fischer & Wiskott 2016): with offsets μ of the visible and λ of the hidden units,

    E(v, h) = -(h - λ)'W(v - μ) - b̃'v - c̃'h,    b̃ = b + W'λ,    c̃ = c + Wμ.

Zero offsets give the plain gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters

__all__ = [
    "Gradient",
    "Offsets",
    "Statistics",
    "centered_biases",
    "centered_gradient_",
    "loss_gradient",
    "penalize_",
    "plain_biases",
    "statistics",
]


class Statistics(NamedTuple):
    """Weighted means over the rows of one phase.

    Attributes
    ----------
    v : Tensor of shape (n_features,)
        ⟨v⟩.
    h : Tensor of shape (n_hidden,)
        ⟨h⟩.
    hv : Tensor of shape (n_hidden, n_features)
        ⟨h v'⟩.
    weight : Tensor of shape ()
        Sum of the weights of the rows: what each of several processes counts for when their means are averaged.
    """

    v: Tensor
    h: Tensor
    hv: Tensor
    weight: Tensor


class Offsets(NamedTuple):
    """Offsets of centring: `v` (n_features,), the μ of the papers, and `h` (n_hidden,), their λ."""

    v: Tensor
    h: Tensor


class Gradient(NamedTuple):
    """Gradient of the loss by W (n_hidden, n_features), by b̃ (n_features,) and by c̃ (n_hidden,)."""

    W: Tensor
    b: Tensor
    c: Tensor


def statistics(v: Tensor, mean_h: Tensor, weight: Tensor | None = None) -> Statistics:
    """Statistics of rows `v` (n, n_features) with P(h = 1 | v) `mean_h` (n, n_hidden), weighted by `weight` (n,)."""
    weight = v.new_ones(v.shape[0]) if weight is None else weight
    total = weight.sum()
    share = weight / total
    return Statistics(share @ v, share @ mean_h, (mean_h * share[:, None]).T @ v, total)


def loss_gradient(
    data: Statistics, model: Statistics, W: Tensor, offsets: Offsets | None = None, weight_decay: float = 0.0
) -> Gradient:
    """Gradient of the loss in centred coordinates, with an L2 penalty on the weights.

    Parameters
    ----------
    data, model : Statistics
        Of the batch, and of the chains.
    W : Tensor of shape (n_hidden, n_features)
        Weights; only the penalty needs them.
    offsets : Offsets, optional
        Offsets of centring; None for the plain gradient.
    weight_decay : float
        The penalty is `weight_decay` / 2 · Σ W².

    Returns
    -------
    Gradient
        ∇W = Δ⟨hv'⟩ - λΔ⟨v⟩' - Δ⟨h⟩μ' + weight_decay·W, ∇b̃ = Δ⟨v⟩, ∇c̃ = Δ⟨h⟩, where Δ is the model's mean minus
        the data's.
    """
    difference = Gradient(model.hv - data.hv, model.v - data.v, model.h - data.h)
    return centered_gradient_(difference, W, offsets, weight_decay)


def centered_gradient_(
    difference: Gradient, W: Tensor, offsets: Offsets | None = None, weight_decay: float = 0.0
) -> Gradient:
    """The same from the differences Δ⟨hv'⟩, Δ⟨v⟩ and Δ⟨h⟩; the first is overwritten."""
    dW, dv, dh = difference
    if offsets is not None:  # both outer products as one product of rank two
        dW.addmm_(torch.stack((offsets.h, dh), 1), torch.stack((dv, offsets.v)), alpha=-1.0)
    if weight_decay:
        dW.add_(W, alpha=weight_decay)
    return difference


def penalize_(
    gradient: Gradient,
    W: Tensor,
    data_v: Tensor,
    data_h: Tensor,
    offsets: Offsets | None = None,
    l1_penalty: float = 0.0,
    sparsity_target: float | None = None,
    sparsity_cost: float = 0.0,
) -> None:
    """Add the gradients of penalties on large weights and on the hidden units' means, in centred coordinates.

    Parameters
    ----------
    gradient : Gradient
        Changed in place.
    W : Tensor of shape (n_hidden, n_features)
        Weights.
    data_v, data_h : Tensor of shape (n_features,) and (n_hidden,)
        ⟨v⟩ and ⟨h⟩ of the data.
    offsets : Offsets, optional
        Offsets of centring.
    l1_penalty : float
        The penalty is `l1_penalty` · Σ |W|.
    sparsity_target, sparsity_cost : float
        The penalty is `sparsity_cost` · Σ_j KL(target ‖ ⟨h_j⟩), whose derivative by a common input of unit j is
        ⟨h_j⟩ - target (Hinton 2010, section 11).
    """
    if l1_penalty:
        gradient.W.add_(W.sign(), alpha=l1_penalty)
    if sparsity_target is not None:
        excess = data_h - sparsity_target
        gradient.c.add_(excess, alpha=sparsity_cost)
        gradient.W.addr_(excess, data_v if offsets is None else data_v - offsets.v, alpha=sparsity_cost)


def centered_biases(params: RBMParameters, offsets: Offsets) -> tuple[Tensor, Tensor]:
    """b̃ = b + W'λ and c̃ = c + Wμ."""
    return torch.addmv(params.b, params.W.T, offsets.h), torch.addmv(params.c, params.W, offsets.v)


def plain_biases(W: Tensor, b: Tensor, c: Tensor, offsets: Offsets) -> tuple[Tensor, Tensor]:
    """b and c of weights W and biases in centred coordinates: the inverse of `centered_biases`."""
    return torch.addmv(b, W.T, offsets.h, alpha=-1.0), torch.addmv(c, W, offsets.v, alpha=-1.0)
