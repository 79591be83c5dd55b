"""The trajectory of training: checkpoints close enough to each other to be the rungs of a ladder."""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.model import RBMParameters, free_energy, sample_v_given_h
from skrbm.randomness import Stream

__all__ = ["Trajectory"]

_MAX_INTERVAL = 500  # updates between checks


class Trajectory:
    """Keeps the machines that training goes through, for trajectory tempering.

    Parameters
    ----------
    last : RBMParameters
        The machine before the first to be kept.
    v : Tensor of shape (n_chains, n_features)
        Samples of it.
    stream : Stream
        Randomness.
    kept : list of RBMParameters, optional
        Those that are kept already.
    acceptance : float
        A machine is kept where the probability of a swap with the last one falls to this.

    Attributes
    ----------
    kept : list of RBMParameters
        In the order of training.

    Notes
    -----
    Béreux, Decelle, Furtlehner & Seoane 2024. The probability is estimated from the chains of training, which must be
    near equilibrium: persistent ones. A chain is compared with its neighbour's past, as its own is correlated with it.
    Checks come after single updates where training moves fast, and ever more rarely where it is slow.
    """

    def __init__(
        self,
        last: RBMParameters,
        v: Tensor,
        stream: Stream,
        *,
        kept: list[RBMParameters] | None = None,
        acceptance: float = 0.25,
    ) -> None:
        self.kept = [] if kept is None else kept
        self._stream, self._least = stream, acceptance
        self._last, self._v = last.clone(), v
        self._candidate: tuple[RBMParameters, Tensor] | None = None  # the latest that is near enough
        self._interval, self._wait = 1, 1

    @torch.no_grad()
    def observe_(self, params: RBMParameters, h: Tensor) -> None:
        """Look at the machine after an update, and at the hidden states (n_chains, n_hidden) of its chains."""
        self._wait -= 1
        if self._wait > 0:
            return
        v = sample_v_given_h(params, h, self._stream)
        acceptance = self._acceptance(params, v)
        if acceptance < self._least:
            self._keep(*(self._candidate or (params.clone(), v)))
            acceptance = self._acceptance(params, v)
        self._candidate = (params.clone(), v)
        if acceptance > 0.7:
            self._interval = min(2 * self._interval, _MAX_INTERVAL)
        elif acceptance < 0.5:
            self._interval = max(1, self._interval // 2)
        self._wait = self._interval

    def _keep(self, params: RBMParameters, v: Tensor) -> None:
        self.kept.append(params)
        self._last, self._v = params, v

    def _acceptance(self, params: RBMParameters, v: Tensor) -> float:
        """Mean probability of a swap between `params` and the last machine kept."""
        past = self._v.roll(1, 0)[: len(v)]
        v = v[: len(past)]
        log_r = free_energy(self._last, past) - free_energy(self._last, v)
        log_r += free_energy(params, v) - free_energy(params, past)
        return float(log_r.clamp(max=0.0).exp().mean())
