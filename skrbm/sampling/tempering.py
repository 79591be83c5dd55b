"""Tempering: a ladder of machines sampled side by side, whose neighbours exchange their visible states.

The lowest rung mixes at once, the highest is the machine to be sampled; what the low rungs find climbs by swaps.
The rungs are one machine at several temperatures (parallel tempering: Desjardins et al. 2010), or the machines that
training went through (trajectory tempering: Béreux, Decelle, Furtlehner & Seoane 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.sampling.kernels import Kernel, clamp, steps
from skrbm.support.randomness import Stream

__all__ = [
    "LEAST_ACCEPTANCE",
    "TEMPERING",
    "Ladder",
    "SwapRates",
    "SwapWarning",
    "TemperingInfo",
    "TemperingState",
    "adapted_temperatures",
    "ladder_by_name",
    "tempering_init",
    "tempering_step",
]

LEAST_ACCEPTANCE = 0.02  # of swaps, below which a ladder is not to be trusted
_MAX_RUNGS = 100


class SwapWarning(UserWarning):
    """Neighbouring rungs of a ladder hardly ever swap, so samples don't climb it."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Machines of one shape, from one without weights to the one to be sampled.

    Attributes
    ----------
    W : Tensor of shape (n_rungs, n_hidden, n_features) or (1, n_hidden, n_features)
        Weights; the latter where the rungs share them.
    b : Tensor of shape (n_rungs, n_features)
        Visible biases.
    c : Tensor of shape (n_rungs, n_hidden)
        Hidden biases.
    scale : Tensor of shape (n_rungs,)
        Factors on the weights.
    visible, hidden : Unit
        What kind of unit each layer has.
    """

    W: Tensor
    b: Tensor
    c: Tensor
    scale: Tensor
    visible: Unit = BERNOULLI
    hidden: Unit = BERNOULLI

    @classmethod
    def of_temperatures(cls, params: RBMParameters, base_b: Tensor, betas: Tensor) -> Ladder:
        """The machine at inverse temperatures `betas` (n_rungs,), which rise from 0 to 1.

        At β = 0 it has no weights and the visible bias `base_b` (n_features,): the bridges of `skrbm.likelihood.annealed.anneal`.
        """
        betas = betas.to(params.W)
        b = torch.lerp(base_b, params.b, betas[:, None])
        return cls(params.W[None], b, betas[:, None] * params.c, betas, params.visible, params.hidden)

    @classmethod
    def of_checkpoints(cls, checkpoints: Sequence[RBMParameters], base_b: Tensor) -> Ladder:
        """A machine without weights and with the visible bias `base_b`, then the machines given, in their order."""
        last = checkpoints[-1]
        W = torch.stack([torch.zeros_like(last.W), *(params.W for params in checkpoints)])
        b = torch.stack([base_b, *(params.b for params in checkpoints)])
        c = torch.stack([torch.zeros_like(last.c), *(params.c for params in checkpoints)])
        return cls(W, b, c, torch.ones_like(b[:, 0]), last.visible, last.hidden)

    @property
    def n_rungs(self) -> int:
        """Number of machines."""
        return self.b.shape[0]

    def rung(self, i: int) -> RBMParameters:
        """One of the machines."""
        W = self.W[i if len(self.W) > 1 else 0] * self.scale[i]
        return RBMParameters(W, self.b[i], self.c[i], self.visible, self.hidden)

    def input_to_v(self, h: Tensor) -> Tensor:
        """b + h'W on each rung: (n_rungs, n, n_features) for h (n_rungs, n, n_hidden)."""
        W = self.W
        product = (h.flatten(0, 1) @ W[0]).view(*h.shape[:2], -1) if len(W) == 1 else h @ W
        return torch.addcmul(self.b[:, None], product, self.scale[:, None, None])

    def project(self, v: Tensor, rungs: slice) -> Tensor:
        """v'W' under the weights of `rungs`, without their factors: (n_rungs, n, n_hidden)."""
        W = self.W
        return (v.flatten(0, 1) @ W[0].T).view(*v.shape[:2], -1) if len(W) == 1 else v @ W[rungs].mT

    def input_to_h(self, projection: Tensor, rungs: slice) -> Tensor:
        """c + W v on each rung of `rungs`, from `project`."""
        return torch.addcmul(self.c[rungs, None], projection, self.scale[rungs, None, None])

    def log_weight(self, v: Tensor, input_to_h: Tensor, rungs: slice) -> Tensor:
        """-F(v) on each rung of `rungs`, in nats, float64: (n_rungs, n)."""
        bias = torch.matmul(v, self.b[rungs, :, None]).squeeze(-1)
        return bias.double() + self.hidden.cumulant(input_to_h).sum(-1, dtype=torch.float64)


class TemperingState(NamedTuple):
    """Independent systems of chains, a chain on each rung.

    Attributes
    ----------
    h : Tensor of shape (n_rungs, n_chains, n_hidden)
        Hidden states; `n_chains` counts the systems.
    replica : Tensor of shape (n_rungs, n_chains), int64
        Which replica stands on which rung: swaps exchange these too.
    parity : int
        Whether the next swaps are of rungs 0 and 1, 2 and 3, … (0), or of 1 and 2, 3 and 4, … (1).
    given : Tensor of shape (n_chains, n_features) or None
        Visible states that are clamped on every rung, NaN where they are free.
    """

    h: Tensor
    replica: Tensor
    parity: int = 0
    given: Tensor | None = None


class TemperingInfo(NamedTuple):
    """What a step of tempering did.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Visible states of the highest rung, after the swaps.
    mean_v : Tensor of shape (n_chains, n_features)
        P(v = 1 | h) on the highest rung before the swaps; where a unit is clamped, its value.
    rung_v : Tensor of shape (n_rungs, n_chains, n_features)
        Visible states of all rungs, after the swaps.
    lower : ndarray of int, shape (n_pairs,)
        The lower rung of each pair that tried to swap.
    log_ratio_up : Tensor of shape (n_pairs, n_chains), float64
        F_t(v_t) - F_{t+1}(v_t), t being the lower rung, before the swaps. The swap's log r is its sum with
        the next.
    log_ratio_down : Tensor of shape (n_pairs, n_chains), float64
        F_{t+1}(v_{t+1}) - F_t(v_{t+1}).
    """

    v: Tensor
    mean_v: Tensor
    rung_v: Tensor
    lower: np.ndarray
    log_ratio_up: Tensor
    log_ratio_down: Tensor

    @property
    def acceptance(self) -> Tensor:
        """Probability of each swap, (n_pairs, n_chains)."""
        return (self.log_ratio_up + self.log_ratio_down).clamp(max=0.0).exp()


def tempering_init(ladder: Ladder, v: Tensor, stream: Stream, given: Tensor | None = None) -> TemperingState:
    """Systems that start at `v`, (n_chains, n_features) for all rungs or (n_rungs, n_chains, n_features)."""
    rungs = slice(None)
    v = clamp(v.expand(ladder.n_rungs, -1, -1), given)
    _, h = ladder.hidden.mean_and_sample(ladder.input_to_h(ladder.project(v, rungs), rungs), stream)
    replica = torch.arange(ladder.n_rungs, device=v.device)[:, None].repeat(1, v.shape[1])
    return TemperingState(h, replica, 0, given)


def tempering_step(ladder: Ladder, state: TemperingState, stream: Stream) -> tuple[TemperingState, TemperingInfo]:
    """One step: v drawn from p(v | h) on each rung, neighbours swap their v, h drawn from p(h | v).

    Neighbours t and t+1 swap with probability min(1, r), log r = F_t(v_t) - F_t(v_{t+1}) + F_{t+1}(v_{t+1}) -
    F_{t+1}(v_t) (Béreux et al. 2024). Even and odd pairs take turns (Syed et al. 2022, non-reversible tempering).
    """
    mean_v, v = ladder.visible.mean_and_sample(ladder.input_to_v(state.h), stream)
    mean_v, v = clamp(mean_v[-1], state.given), clamp(v, state.given)
    everywhere = slice(None)
    lower, upper = slice(state.parity, ladder.n_rungs - 1, 2), slice(state.parity + 1, ladder.n_rungs, 2)
    projection = ladder.project(v, everywhere)
    inputs = ladder.input_to_h(projection, everywhere)  # (n_rungs, n_chains, n_hidden)
    shared = len(ladder.W) == 1
    inputs_up = ladder.input_to_h(projection[lower] if shared else ladder.project(v[lower], upper), upper)
    inputs_down = ladder.input_to_h(projection[upper] if shared else ladder.project(v[upper], lower), lower)
    own = ladder.log_weight(v, inputs, everywhere)  # (n_rungs, n_chains)
    up = ladder.log_weight(v[lower], inputs_up, upper) - own[lower]
    down = ladder.log_weight(v[upper], inputs_down, lower) - own[upper]
    swap = stream.bernoulli((up + down).clamp(max=0.0).exp()).bool()  # (n_pairs, n_chains)
    v[lower], v[upper] = _exchanged(swap, v[lower], v[upper])
    inputs[lower] = torch.where(swap[..., None], inputs_down, inputs[lower])
    inputs[upper] = torch.where(swap[..., None], inputs_up, inputs[upper])
    replica = state.replica.clone()
    replica[lower], replica[upper] = _exchanged(swap, replica[lower], replica[upper])
    _, h = ladder.hidden.mean_and_sample(inputs, stream)
    info = TemperingInfo(v[-1], mean_v, v, np.arange(ladder.n_rungs)[lower], up, down)
    return TemperingState(h, replica, 1 - state.parity, state.given), info


def _exchanged(swap: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    swap = swap.reshape(*swap.shape, *[1] * (first.ndim - 2))
    return torch.where(swap, second, first), torch.where(swap, first, second)


TEMPERING = Kernel(tempering_init, tempering_step)


class SwapRates:
    """Mean probability of swaps between neighbours, gathered step by step."""

    def __init__(self, n_rungs: int) -> None:
        self._total, self._n_steps = np.zeros(n_rungs - 1), np.zeros(n_rungs - 1)

    def add_(self, info: TemperingInfo) -> None:
        """Count one step."""
        self._total[info.lower] += info.acceptance.mean(1).cpu().numpy()
        self._n_steps[info.lower] += 1

    @property
    def acceptance(self) -> np.ndarray:
        """A mean for each pair of neighbours, (n_rungs - 1,); NaN where none has been tried."""
        n = self._n_steps
        return np.divide(self._total, n, out=np.full(n.shape, np.nan), where=n > 0)

    def complaint(self) -> str | None:
        """What is wrong, if two neighbours hardly ever swap."""
        acceptance = self.acceptance
        if not (acceptance < LEAST_ACCEPTANCE).any():
            return None
        i = int(np.nanargmin(acceptance))
        return (
            f"Rungs {i} and {i + 1} of {len(acceptance) + 1} swap with probability {acceptance[i]:.2g} only. Take more "
            "temperatures (or let them be adapted), or fit with a lower learning rate for a smoother trajectory."
        )


@torch.no_grad()
def adapted_temperatures(
    params: RBMParameters,
    base_b: Tensor,
    stream: Stream,
    *,
    n_temperatures: int | None = None,
    acceptance: float = 0.5,
    n_chains: int = 20,
    n_steps: int = 100,
    max_rounds: int = 8,
) -> Tensor:
    """Inverse temperatures between which all swaps are about equally likely.

    Parameters
    ----------
    params : RBMParameters
        The machine.
    base_b : Tensor of shape (n_features,)
        Visible bias at β = 0.
    stream : Stream
        Randomness.
    n_temperatures : int, optional
        How many, at least 2. By default so many that swaps are accepted with probability `acceptance`, at most 100.
    acceptance : float
        Aim where the number is free.
    n_chains, n_steps, max_rounds : int
        Size of the pilot runs: systems, steps of a round, rounds at most.

    Returns
    -------
    Tensor of shape (n_temperatures,)
        From 0 to 1.

    Notes
    -----
    The rejection rates of a pilot run, summed along the ladder, estimate the barrier Λ(β); new temperatures divide it
    evenly, and 1 - `acceptance` of it lies between two (Syed, Bouchard-Côté, Deligiannidis & Doucet 2022, algorithms
    2 and 3). A ladder whose rungs are too far apart underestimates Λ, so rounds follow until it stops growing.
    """
    n_rungs = 10 if n_temperatures is None else n_temperatures
    betas = np.linspace(0.0, 1.0, n_rungs)
    v = stream.bernoulli_logits(base_b.expand(n_rungs, n_chains, -1))
    barrier_before = 0.0
    for _ in range(max_rounds):
        ladder = Ladder.of_temperatures(params, base_b, torch.from_numpy(betas))
        rates = SwapRates(ladder.n_rungs)
        for _, info in steps(TEMPERING, ladder, tempering_init(ladder, v, stream), n_steps, stream):
            rates.add_(info)
        barrier = np.concatenate([[0.0], np.cumsum(np.maximum(1.0 - rates.acceptance, 1e-6))])
        if n_temperatures is None:
            n_rungs = min(max(math.ceil(barrier[-1] / (1.0 - acceptance)) + 1, 2), _MAX_RUNGS)
        new = np.interp(np.linspace(0.0, barrier[-1], n_rungs), barrier, betas)
        nearest = np.abs(new[:, None] - betas).argmin(1)
        v, betas = info.rung_v[torch.from_numpy(nearest).to(v.device)], new
        if abs(barrier[-1] - barrier_before) < 0.05 * barrier[-1]:
            break
        barrier_before = barrier[-1]
    return torch.from_numpy(betas).to(params.W)


def ladder_by_name(
    method: str,
    params: RBMParameters,
    base_b: Tensor,
    stream: Stream,
    *,
    n_temperatures: int | None = None,
    checkpoints: Sequence[RBMParameters] | None = None,
) -> Ladder:
    """The ladder of "parallel_tempering" or "trajectory_tempering" up to the machine `params`.

    Raises
    ------
    ValueError
        If the method is another, or `checkpoints` is None for the second. (There may be none in it, where a machine
        without weights is near enough.)
    """
    if method == "parallel_tempering":
        betas = adapted_temperatures(params, base_b, stream, n_temperatures=n_temperatures)
        return Ladder.of_temperatures(params, base_b, betas)
    if method == "trajectory_tempering":
        if checkpoints is None:
            raise ValueError(
                "method='trajectory_tempering' needs checkpoints of training. Fit with store_trajectory=True, or "
                "choose 'parallel_tempering'."
            )
        return Ladder.of_checkpoints([*checkpoints, params], base_b)
    raise ValueError(f"method={method!r} is no ladder. Choose 'parallel_tempering' or 'trajectory_tempering'.")
