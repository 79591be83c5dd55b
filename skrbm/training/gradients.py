"""Statistics of a batch and of the chains, and the gradient from both.

The gradient is that of the loss L = F(v) - F(v_k), averaged over data v and chains v_k that are held fixed: minus an
estimate of the gradient of the mean log-likelihood, in nats per row (Hinton 2002; Tieleman 2008). It is written
in centred coordinates (Melchior, Fischer & Wiskott 2016): with offsets μ of the visible and λ of the hidden units,

    E(v, h) = -(h - λ)'W(v - μ) - b̃'v - c̃'h,    b̃ = b + W'λ,    c̃ = c + Wμ.

Couplings add -½ (v - μ)'R(v - μ), and Rμ to b̃. Zero offsets give the plain gradient.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from skrbm.distributed import ALONE, Group
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.support.files import from_plain, to_plain
from skrbm.training.settings import TrainSettings

# Updates for which Wμ and W'λ are taken for constant where weights decay slowly: they only correct the biases for the
# decay, by rate · decay · Wμ an update, and cost a pass over W each.
_DECAY_EVERY = 16
_SLOW_DECAY = 1e-4  # of the weights in an update
_LARGEST_STEP = 0.02  # of the logarithm of a scale
_LEAST_LOG_SCALE = -4.6  # 1 % of a column's standard deviation


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


class Gradient(NamedTuple):
    """Gradient of the loss by W (n_hidden, n_features), by b̃ (n_features,) and by c̃ (n_hidden,)."""

    W: Tensor
    b: Tensor
    c: Tensor


def statistics(v: Tensor, mean_h: Tensor, weight: Tensor | None = None, visible: Unit = BERNOULLI) -> Statistics:
    """Statistics of rows `v` (n, n_features) with P(h = 1 | v) `mean_h` (n, n_hidden), weighted by `weight` (n,)."""
    weight = v.new_ones(v.shape[0]) if weight is None else weight
    total = weight.sum()
    share = weight / total
    return Statistics(share @ visible.statistics(v), share @ mean_h, (mean_h * share[:, None]).T @ v, total)


def difference(data: Statistics, model: Statistics) -> Gradient:
    """The plain gradient: the model's means less the data's."""
    return Gradient(model.hv - data.hv, model.v - data.v, model.h - data.h)


class Centering:
    """Which layers the gradient is centred in, and at what.

    Parameters
    ----------
    mu : Tensor of shape (n_features,), optional
        Offset of the visible layer, a moving average of the data's ⟨v⟩; None where it isn't centred.
    lam : Tensor of shape (n_hidden,), optional
        Offset of the hidden layer, of the data's ⟨h⟩; only together with `mu`.
    rate : float
        Of the moving averages.
    """

    mu: Tensor | None
    lam: Tensor | None

    def __init__(self, mu: Tensor | None = None, lam: Tensor | None = None, rate: float = 0.01) -> None:
        self.mu, self.lam, self._rate = mu, lam, rate
        self._W_mu: Tensor | None = None  # some updates ago, see `keep_biases_`
        self._W_lam: Tensor | None = None

    @classmethod
    def of(cls, kind: bool | Literal["visible"], mean_v: Tensor, mean_h: Tensor, rate: float = 0.01) -> Centering:
        """The centring of that name, with these means as the first offsets."""
        return cls(mean_v.clone() if kind else None, mean_h.clone() if kind is True else None, rate)

    def trained(self, params: RBMParameters) -> tuple[Tensor, ...]:
        """What an optimiser is to move: W, b̃, c̃ and, if any, R; those that aren't centred are the machine's own."""
        b = params.b if self.lam is None else torch.addmv(params.b, params.W.T, self.lam)
        c = params.c if self.mu is None else torch.addmv(params.c, params.W, self.mu)
        if params.R is None:
            return params.W, b, c
        return params.W, b if self.mu is None else torch.addmv(b, params.R, self.mu), c, params.R

    def gradient_(self, plain: Gradient) -> Gradient:
        """∇W = Δ⟨hv'⟩ - λΔ⟨v⟩' - Δ⟨h⟩μ' from the plain gradient, whose W is overwritten; the others are the same."""
        dW, dv, dh = plain
        if self.mu is not None and self.lam is not None:  # both outer products as one product of rank two
            dW.addmm_(torch.stack((self.lam, dh), 1), torch.stack((dv, self.mu)), alpha=-1.0)
        elif self.mu is not None:
            dW.addmm_(dh[:, None], self.mu[None], alpha=-1.0)
        return plain

    def follow_(self, params: RBMParameters, trained: tuple[Tensor, ...], data_v: Tensor, data_h: Tensor) -> None:
        """The machine's biases from those that an optimiser has moved; then move the offsets to the data's means."""
        W, b, c = trained[:3]
        if params.R is not None and self.mu is not None:
            b.sub_(torch.mv(params.R, self.mu))
        if self.mu is not None:
            self._move_offset_(W, self.mu, data_v, c, params.c)
        if self.lam is not None:
            self._move_offset_(W.T, self.lam, data_h, b, params.b)
        elif b is not params.b:
            params.b.copy_(b)
        if params.R is not None and self.mu is not None:
            b.add_(torch.mv(params.R, self.mu))

    def _move_offset_(self, W: Tensor, offset: Tensor, mean: Tensor, centered: Tensor, plain: Tensor) -> None:
        """plain ← centered - W offset; then offset towards mean, and centered ← plain + W offset."""
        at_offset = torch.mv(W, offset)
        torch.sub(centered, at_offset, out=plain)
        centered.add_(torch.mv(W, mean).sub_(at_offset), alpha=self._rate)
        offset.lerp_(mean, self._rate)

    # -- plain descent in one pass, see `training.update` --------------------------------------------------------------

    def keep_biases_(self, params: RBMParameters, decay: float, n_updates: int) -> None:
        """Let b̃ and c̃ stay what they are while the weights shrink to `decay` times what they were."""
        if self.mu is None:
            return
        on_cpu = self.mu.device.type == "cpu"  # elsewhere a CUDA graph repeats one update, and the products cost little
        if self._W_mu is None or decay < 1.0 - _SLOW_DECAY or n_updates % _DECAY_EVERY == 0 or not on_cpu:
            self._W_mu = torch.mv(params.W, self.mu)
            self._W_lam = None if self.lam is None else torch.mv(params.W.T, self.lam)
        params.c.add_(self._W_mu, alpha=1.0 - decay)
        if self._W_lam is not None:
            params.b.add_(self._W_lam, alpha=1.0 - decay)

    def move_(self, data_v: Tensor, data_h: Tensor | None = None) -> None:
        """Move the offsets towards the data's means."""
        if self.mu is not None:
            self.mu.lerp_(data_v, self._rate)
        if self.lam is not None and data_h is not None:
            self.lam.lerp_(data_h, self._rate)

    def forget_(self) -> None:
        """Of Wμ and W'λ as they were some updates ago."""
        self._W_mu = self._W_lam = None

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that it carries on."""
        return {"mu": to_plain(self.mu), "lam": to_plain(self.lam)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken; a layer that was not centred there begins here."""
        for offset, values in ((self.mu, state["mu"]), (self.lam, state["lam"])):
            if offset is not None and values is not None:
                offset.copy_(from_plain(values))
        self.forget_()


def move_scale_(
    params: RBMParameters,
    data: Tensor,
    mean_h: Tensor,
    rate: float,
    weight: Tensor | None = None,
    group: Group = ALONE,
) -> None:
    """A step of the scale of Gaussian columns, towards a larger likelihood.

    With states u = row / scale, log p of a row has the derivative ⟨u (u - E[u | h])⟩ - 1 by log scale, the mean over
    h given the row: as log Z doesn't depend on the scale, no chains are needed. Its second derivative is about -2.

    Parameters
    ----------
    params : RBMParameters
        Its `log_scale` is changed in place.
    data : Tensor of shape (n, n_features)
        Rows, as states.
    mean_h : Tensor of shape (n, n_hidden)
        P(h = 1 | v) of these.
    rate : float
        Its rate: the scale comes to where it is best, as things stand, at exp(-rate) an update.
    weight : Tensor of shape (n,), optional
        Of the rows.
    group : Group
        The processes whose slopes are averaged.
    """
    columns = params.visible.scaled
    assert params.log_scale is not None
    assert columns is not None
    u = data[:, columns].to(params.b.dtype)
    products = u * (u - torch.addmm(params.b[columns], mean_h, params.W[:, columns]))
    slope = group.mean(products.mean(0) if weight is None else weight @ products / weight.sum()) - 1.0
    step = (0.5 * rate * slope).clamp_(-_LARGEST_STEP, _LARGEST_STEP)
    params.log_scale.add_(step).clamp_(min=_LEAST_LOG_SCALE)


def penalize_(
    gradient: Gradient,
    settings: TrainSettings,
    W: Tensor,
    data_v: Tensor,
    data_h: Tensor,
    mu: Tensor | None = None,
) -> None:
    """Add the gradients of the penalties to one in centred coordinates, in place.

    Parameters
    ----------
    gradient : Gradient
        Changed in place.
    settings : TrainSettings
        The penalties are `weight_decay` / 2 · Σ W², `l1_penalty` · Σ |W|, and `sparsity_cost` ·
        Σ_j KL(`sparsity_target` ‖ ⟨h_j⟩), whose derivative by a common input of unit j is ⟨h_j⟩ - target (Hinton 2010,
        section 11).
    W : Tensor of shape (n_hidden, n_features)
        Weights.
    data_v, data_h : Tensor of shape (n_features,) and (n_hidden,)
        ⟨v⟩ and ⟨h⟩ of the data.
    mu : Tensor of shape (n_features,), optional
        Offset of the visible layer.
    """
    if settings.decay:
        gradient.W.add_(W, alpha=settings.decay)
    if settings.l1_penalty:
        gradient.W.add_(W.sign(), alpha=settings.l1_penalty)
    if settings.sparsity_target is not None:
        excess = data_h - settings.sparsity_target
        gradient.c.add_(excess, alpha=settings.sparsity_cost)
        gradient.W.addr_(excess, data_v if mu is None else data_v - mu, alpha=settings.sparsity_cost)
