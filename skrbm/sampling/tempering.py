"""Tempering: a ladder of machines sampled side by side, whose neighbours exchange their visible states.

The lowest rung mixes at once, the highest is the machine to be sampled; what the low rungs find climbs by swaps.
The rungs are one machine at several temperatures (parallel tempering: Desjardins et al. 2010), or the machines that
training went through (trajectory tempering: Béreux, Decelle, Furtlehner & Seoane 2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.kernels import Kernel, Watch, clamp, steps
from skrbm.sampling.ladder import AnnealingPath, Ladder
from skrbm.sampling.sweeps import sweep_
from skrbm.support.randomness import Stream

# A swap of neighbours that happens less often than this is as good as none: at two in a hundred, the hundreds of steps
# that runs take bring a handful.
LEAST_ACCEPTANCE = 0.02
_ACCEPTANCE = 0.5  # of swaps, where the number of temperatures is free
_MAX_RUNGS = 100  # where the number of temperatures is free: their memory and time are as many times the machine's
# The pilot runs: a round is long enough for rates to 2 %; rounds go on until the barrier stops growing.
_PILOT_CHAINS, _PILOT_STEPS, _MAX_ROUNDS = 20, 100, 8


class SwapWarning(UserWarning):
    """Neighbouring rungs of a ladder hardly ever swap, so samples don't climb it."""


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
    v : Tensor of shape (n_rungs, n_chains, n_features) or None
        Visible states, which chains go on from where they are coupled; None where they aren't.
    """

    h: Tensor
    replica: Tensor
    parity: int = 0
    given: Tensor | None = None
    v: Tensor | None = None


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
    mean_h = ladder.hidden.mean_(ladder.input_to_h(ladder.project(v, rungs), rungs))
    replica = torch.arange(ladder.n_rungs, device=v.device)[:, None].repeat(1, v.shape[1])
    h = ladder.hidden.sample(mean_h, stream)
    return TemperingState(h, replica, 0, given, None if ladder.R is None else v.contiguous())


def tempering_step(ladder: Ladder, state: TemperingState, stream: Stream) -> tuple[TemperingState, TemperingInfo]:
    """One step: v drawn from p(v | h) on each rung, neighbours swap their v, h drawn from p(h | v).

    Neighbours t and t+1 swap with probability min(1, r), log r = F_t(v_t) - F_t(v_{t+1}) + F_{t+1}(v_{t+1}) -
    F_{t+1}(v_t) (Béreux et al. 2024). Even and odd pairs take turns (Syed et al. 2022, non-reversible tempering).
    """
    v, mean_v = _visible(ladder, state, stream)
    mean_v = clamp(mean_v[-1], state.given)
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
    h = ladder.hidden.sample(ladder.hidden.mean_(inputs), stream)
    info = TemperingInfo(v[-1], mean_v, v, np.arange(ladder.n_rungs)[lower], up, down)
    kept = None if ladder.R is None else v
    return TemperingState(h, replica, 1 - state.parity, state.given, kept), info


def _visible(ladder: Ladder, state: TemperingState, stream: Stream) -> tuple[Tensor, Tensor]:
    """v drawn on each rung, and the means that it was drawn by; (n_rungs, n_chains, n_features)."""
    inputs = ladder.input_to_v(state.h)
    if ladder.R is None or state.v is None:
        mean_v = ladder.visible.mean_(inputs)
        return clamp(ladder.visible.sample(mean_v, stream), state.given), mean_v
    n_rungs, n_chains, _ = inputs.shape
    v, numbers = state.v.clone(), stream.numbers(inputs.numel(), inputs.device)
    given = None if state.given is None else state.given.repeat(n_rungs, 1)
    scale = ladder.scale.repeat_interleave(n_chains)
    logits = sweep_(ladder, v.flatten(0, 1), inputs.flatten(0, 1), numbers, given=given, scale=scale)
    return v, ladder.visible.mean_(logits.view_as(v))


def _exchanged(swap: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    swap = swap.reshape(*swap.shape, *[1] * (first.ndim - 2))
    return torch.where(swap, second, first), torch.where(swap, first, second)


class RoundTrips:
    """Counts the round trips of replicas: from rung 0 up to the last rung and back to rung 0.

    Parameters
    ----------
    n_rungs, n_systems : int
        Of independent systems with a replica on each rung.

    Attributes
    ----------
    n_trips : ndarray of int, shape (n_systems,)
        Completed ones, of all replicas of a system.
    """

    n_trips: np.ndarray

    def __init__(self, n_rungs: int, n_systems: int) -> None:
        self.n_trips = np.zeros(n_systems, dtype=np.int64)
        self._systems = np.arange(n_systems)
        self._started = np.zeros((n_rungs, n_systems), dtype=bool)  # replicas that have been on rung 0
        self._returning = np.zeros((n_rungs, n_systems), dtype=bool)  # and on the last rung since

    def add_(self, bottom: np.ndarray, top: np.ndarray) -> None:
        """Count a step, by the replicas on rung 0 and on the last one, (n_systems,) each."""
        self.n_trips += self._returning[bottom, self._systems]
        self._returning[bottom, self._systems] = False
        self._started[bottom, self._systems] = True
        self._returning[top, self._systems] = self._started[top, self._systems]


class SwapRates(Watch):
    """Mean probability of swaps between neighbours in the late steps, and round trips in all of them.

    Parameters
    ----------
    ladder : Ladder
        What is sampled.
    """

    def __init__(self, ladder: Ladder) -> None:
        self._total, self._n_steps = np.zeros(ladder.n_rungs - 1), np.zeros(ladder.n_rungs - 1)
        self._runs: list[RoundTrips] = []

    def start_(self, state: TemperingState) -> None:
        """Count the round trips of these systems from here on."""
        self._runs.append(RoundTrips(*state.replica.shape))

    def add_(self, state: TemperingState, info: TemperingInfo, late: bool) -> None:
        """Count one step."""
        bottom, top = state.replica[[0, -1]].cpu().numpy()
        self._runs[-1].add_(bottom, top)
        if late:
            self._total[info.lower] += info.acceptance.mean(1).cpu().numpy()
            self._n_steps[info.lower] += 1

    @property
    def acceptance(self) -> np.ndarray:
        """A mean for each pair of neighbours, (n_rungs - 1,); NaN where none has been tried."""
        n = self._n_steps
        return np.divide(self._total, n, out=np.full(n.shape, np.nan), where=n > 0)

    @property
    def swap_acceptance(self) -> float:
        """The least of them."""
        return float(np.fmin.reduce(self.acceptance, initial=np.nan))

    @property
    def round_trips(self) -> float:
        """Mean over the systems."""
        return float(np.mean(np.concatenate([run.n_trips for run in self._runs]))) if self._runs else math.nan

    def warning_text(self) -> str | None:
        """What is wrong, if two neighbours hardly ever swap."""
        acceptance = self.acceptance
        if not (acceptance < LEAST_ACCEPTANCE).any():
            return None
        i = int(np.nanargmin(acceptance))
        return (
            f"Rungs {i} and {i + 1} of {len(acceptance) + 1} swap with probability {acceptance[i]:.2g} only. Take more "
            "temperatures (or let them be adapted), or fit with a lower learning rate for a smoother trajectory."
        )


TEMPERING = Kernel(tempering_init, tempering_step, watch=SwapRates, n_copies=lambda ladder: ladder.n_rungs)


@torch.no_grad()
def adapted_temperatures(path: AnnealingPath, stream: Stream, n_temperatures: int | None = None) -> Tensor:
    """Inverse temperatures between which all swaps are about equally likely.

    Parameters
    ----------
    path : AnnealingPath
        The way to the machine.
    stream : Stream
        Randomness of the pilot runs.
    n_temperatures : int, optional
        How many, at least 2. By default so many that every other swap is accepted, at most 100.

    Returns
    -------
    Tensor of shape (n_temperatures,)
        From 0 to 1.

    Notes
    -----
    The rejection rates of a pilot run, summed along the ladder, estimate the barrier Λ(β); new temperatures divide it
    evenly, and a half of it lies between two where their number is free (Syed, Bouchard-Côté, Deligiannidis & Doucet
    2022, algorithms 2 and 3). A ladder whose rungs are too far apart underestimates Λ, so rounds follow until it stops
    growing.
    """
    n_rungs = 10 if n_temperatures is None else n_temperatures
    betas = np.linspace(0.0, 1.0, n_rungs)
    v = path.samples_of_base((n_rungs, _PILOT_CHAINS), stream)
    barrier_before = 0.0
    for _ in range(_MAX_ROUNDS):
        acceptance, v = _pilot_run(path.ladder(torch.from_numpy(betas)), v, stream)
        barrier = np.concatenate([[0.0], np.cumsum(np.maximum(1.0 - acceptance, 1e-6))])
        if n_temperatures is None:
            n_rungs = min(max(math.ceil(barrier[-1] / (1.0 - _ACCEPTANCE)) + 1, 2), _MAX_RUNGS)
        new = np.interp(np.linspace(0.0, barrier[-1], n_rungs), barrier, betas)
        nearest = np.abs(new[:, None] - betas).argmin(1)
        v, betas = v[torch.from_numpy(nearest).to(v.device)], new
        if abs(barrier[-1] - barrier_before) < 0.05 * barrier[-1]:
            break
        barrier_before = barrier[-1]
    return torch.from_numpy(betas).to(path.machine.W)


def _pilot_run(ladder: Ladder, v: Tensor, stream: Stream) -> tuple[np.ndarray, Tensor]:
    """Probabilities of swaps, (n_rungs - 1,), and the visible states at the end, as at the start `v` on each rung."""
    rates, start = SwapRates(ladder), tempering_init(ladder, v, stream)
    rates.start_(start)
    for state, info in steps(TEMPERING, ladder, start, _PILOT_STEPS, stream):
        rates.add_(state, info, late=True)
        v = info.rung_v
    return rates.acceptance, v


def ladder_by_name(
    method: str,
    path: AnnealingPath,
    stream: Stream,
    n_temperatures: int | None = None,
    rungs: Sequence[RBMParameters] | None = None,
) -> Ladder:
    """The ladder of "parallel_tempering" or "trajectory_tempering" up to a machine.

    Parameters
    ----------
    method : {"parallel_tempering", "trajectory_tempering"}
        Its name.
    path : AnnealingPath
        The way to the machine.
    stream : Stream
        Randomness of the pilot runs.
    n_temperatures : int, optional
        See `adapted_temperatures`.
    rungs : sequence of RBMParameters, optional
        The machines of a trajectory. (There may be none in it, where a machine without weights is near enough.)

    Raises
    ------
    ValueError
        If the method is another, or `rungs` is None for the second.
    """
    if method == "parallel_tempering":
        return path.ladder(adapted_temperatures(path, stream, n_temperatures))
    if method == "trajectory_tempering":
        if rungs is None:
            raise ValueError(
                "method='trajectory_tempering' needs the rungs that training left. Fit with store_trajectory=True, or "
                "choose 'parallel_tempering'."
            )
        return path.ladder_through(rungs)
    raise ValueError(f"method={method!r} is no ladder. Choose 'parallel_tempering' or 'trajectory_tempering'.")
