"""Products in float types: that of the weights, on any device; or bfloat16 with float32 sums, meant for GPUs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skrbm.backends.protocol import Backend, Contrast, Damping, Phases
from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_h
from skrbm.support.kernels import bfloat16_linear, bfloat16_mm
from skrbm.support.randomness import Stream
from skrbm.support.tensors import aligned_empty


class FloatBackend(Backend):
    """In the float type of the weights, on any device."""

    params: RBMParameters
    state_dtype: torch.dtype
    suffices = True

    def __init__(self, params: RBMParameters) -> None:
        self.params, self.state_dtype = params, params.W.dtype

    def refresh_(self, max_change: float = math.inf) -> None:
        """Nothing to do: the products read the weights themselves."""

    def mean_h(self, v: Tensor) -> Tensor:
        return mean_h_given_v(self.params, v)

    def mean_v(self, h: Tensor) -> Tensor:
        return mean_v_given_h(self.params, h)

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        phases: Phases,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
        damping: Damping | None = None,
    ) -> Contrast:
        v, n_data, unit = phases.all, phases.n_data, self.params.visible
        data_v, model_v = unit.statistics(phases.data).mean(0), unit.statistics(phases.chains).mean(0)
        mean_h[n_data:].mul_(-n_data / phases.n_chains)  # from here on the sum over the rows is n_data times Δ
        dh, dW_mu = mean_h.sum(0), None
        if mu is not None:  # the product takes the term of rank one, -dh μ', along as a row
            mean_h, v = torch.cat((mean_h, -dh[None])), torch.cat((v, mu[None]))
        if damping is not None:  # and those of the directions
            excess = (damping.directions @ v.T @ mean_h).mul_(damping.share[:, None])
            mean_h, v = torch.cat((mean_h, -excess)), torch.cat((v, damping.directions))
        if mu is not None:
            dW_mu = torch.mv(mean_h.T, torch.mv(v, mu)).div_(n_data)
        target.addmm_(mean_h.T, v, beta=beta, alpha=alpha / n_data)
        return Contrast(data_v, model_v, dh.div_(n_data), dW_mu, None if damping is None else excess.div_(n_data))


class Bfloat16Backend(Backend):
    """In bfloat16 with float32 sums, for states that are bits and weights in float32; meant for GPUs.

    Notes
    -----
    Weights and probabilities are rounded to 8 significant bits for the products; the weights are kept in full. They are
    rounded to the nearest, not at random: with inputs of units around 6.5, where probabilities are close to one, the
    contrast comes out 1.7 times too large (3e-4 instead of 1.8e-4); around 4 it is right to 1e-3. Where
    torch can't sum bfloat16 products into float32 (on the CPU), the sums are rounded too.
    """

    state_dtype: torch.dtype = torch.bfloat16
    suffices = True

    def __init__(self, params: RBMParameters) -> None:
        self.params = params
        self._W = aligned_empty((params.n_hidden, params.n_features), torch.bfloat16, params.W.device)
        self.refresh_()

    def refresh_(self, max_change: float = math.inf) -> None:
        self._W.copy_(self.params.W)

    def mean_h(self, v: Tensor) -> Tensor:
        return self.params.hidden.mean_(bfloat16_linear(v, self._W.T, self.params.c))

    def mean_v(self, h: Tensor) -> Tensor:
        return self.params.visible.mean_(bfloat16_linear(h, self._W, self.params.b))

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        phases: Phases,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
        damping: Damping | None = None,
    ) -> Contrast:
        n_data, bits = phases.n_data, phases.of(phases.all.float())
        data_v, model_v = bits.data.mean(0), bits.chains.mean(0)
        mean_h[n_data:].mul_(-n_data / phases.n_chains)  # from here on the sum over the rows is n_data times Δ
        dh, dW_mu = mean_h.sum(0).div_(n_data), None
        dW = bfloat16_mm(mean_h.to(phases.all.dtype).T, phases.all).div_(n_data)
        if mu is not None:
            dW.addr_(dh, mu, alpha=-1.0)
        if damping is not None:
            excess = (damping.directions @ dW.T).mul_(damping.share[:, None])
            dW.addmm_(excess.T, damping.directions, alpha=-1.0)
        if mu is not None:
            dW_mu = torch.mv(dW, mu)
        if beta == 0.0:
            torch.mul(dW, alpha, out=target)
        else:
            target.mul_(beta).add_(dW, alpha=alpha)
        return Contrast(data_v, model_v, dh, dW_mu, None if damping is None else excess)
