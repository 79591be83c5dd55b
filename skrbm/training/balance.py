"""Modes in the proportions of the rows: once a machine has learned, its biases are put right along a few directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from skrbm.likelihood.annealed import adapted_schedule, uniform_schedule
from skrbm.likelihood.clustered import Clusters, anneal_from_clusters
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.machines.units import Unit
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.randomness import Stream

_LOOK_CHAINS, _LOOK_STEPS = 100, (50, 500)  # of the first look, which a machine that is right doesn't go beyond
_CHAINS, _CHECK_CHAINS = 300, 600  # of the search, and to check what it has found
_STEPS, _MOST_STEPS = (50, 1000), 2000
_N_DIRECTIONS = 4  # of each layer; of twelve the samples made up more than they told
_RIDGES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # nats, for a shift by an input's standard deviation
_LOOK_RIDGES = (1.0, 0.1)
_LEAST_SHARE = 0.4  # of the effective samples that a shift has to leave
_LEAST_GAIN, _LEAST_ERRORS = 0.1, 2.0  # that a shift has to promise: in nats, and in standard errors
_LOOK_SIZE, _LEAST_SIZE = 20.0, 5.0  # of 100 chains, that have to count: at first, and after a shift
_MAX_ROUNDS, _MAX_HALVINGS, _MAX_DOUBLINGS = 4, 3, 6
_LEAST_ROWS = 20


class Balanced(NamedTuple):
    """A machine whose modes are in the proportions of the rows, as far as annealing can tell.

    Attributes
    ----------
    params : RBMParameters
        The machine, with its weights as they were.
    gain : float
        Nats a row that it is better by, estimated on the rows; 0 where it was left as it was.
    """

    params: RBMParameters
    gain: float


def balance_modes(
    params: RBMParameters, base_b: Tensor, rows: Tensor, stream: Stream, n_updates: int = 10_000
) -> Balanced:
    """Shift the biases of a machine to where its modes have the proportions of the rows, if they haven't.

    Parameters
    ----------
    params : RBMParameters
        A machine that has learned the rows.
    base_b : Tensor of shape (n_features,)
        Visible bias of the machine without weights that annealing starts from.
    rows : Tensor of shape (n, n_features)
        Rows, in any order.
    stream : Stream
        Randomness.
    n_updates : int
        How long the machine has learned for: annealing takes a twentieth of that in steps at first, a tenth later,
        within bounds.

    Notes
    -----
    Persistent chains hardly cross between deep modes. How many of them are in a mode was settled when the modes came
    apart; where this isn't the share of the rows, learning shifts the mode's log Z with every update and without end.
    Annealed chains with their weights w_i are samples of the whole machine, see
    `skrbm.likelihood.clustered.anneal_from_clusters`. A shift of the biases by θ from F to F_θ makes the rows more
    likely by

        ⟨F - F_θ⟩_rows - log Σ_i w_i exp(F(v_i) - F_θ(v_i))    (Σ_i w_i = 1),

    which is made large over shifts along the leading principal components of the rows and of P(h = 1 | rows), less a
    ridge. It may be made up by the few chains there are: so θ is found on one half of chains and rows, its gain and how
    many chains still count are taken from the other, and the log-likelihood after it from other chains, in the end once
    more from as many others. It may also need more than they can tell; then the shift is doubled as long as that helps.
    """
    if len(rows) < _LEAST_ROWS:
        return Balanced(params, 0.0)
    clusters, n_steps = Clusters.of(rows, base_b, stream, params.visible), _within(n_updates // 20, _LOOK_STEPS)
    first = _Annealed.of(params, clusters, rows, uniform_schedule(n_steps), _LOOK_CHAINS, stream)
    if first.size > _LOOK_SIZE and first.best_shift(_LOOK_RIDGES) is None:
        return Balanced(params, 0.0)
    betas = _schedule(params, base_b, _within(n_updates // 10, _STEPS), stream)
    found = start = _Annealed.of(params, clusters, rows, betas, _CHAINS, stream)
    for _ in range(_MAX_ROUNDS):
        while not found.is_measurable and len(betas) - 1 < _MOST_STEPS:
            betas = _schedule(found.params, base_b, 2 * (len(betas) - 1), stream)
            start, found = (one.again(betas, stream) for one in (start, found))
        shift = found.best_shift()
        better = None if shift is None else _better(found, shift, stream)
        if better is None:
            break
        found = better
    if found.params is params:
        return Balanced(params, 0.0)
    gain = found.again(betas, stream, _CHECK_CHAINS).log_likelihood - start.log_likelihood
    return Balanced(found.params, gain) if gain > _LEAST_GAIN else Balanced(params, 0.0)


def _within(n: int, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return min(max(n, least), most)


def _schedule(params: RBMParameters, base_b: Tensor, n_steps: int, stream: Stream) -> list[float]:
    return adapted_schedule(AnnealingPath(params, base_b), n_steps, stream)


class _Shift(NamedTuple):
    """By what to change the biases; and whether the chains that there are would have borne no more."""

    b: Tensor
    c: Tensor
    is_limited: bool


@dataclass(frozen=True)
class _Annealed:
    """A machine, and samples of it by annealing."""

    params: RBMParameters
    clusters: Clusters
    rows: Tensor
    betas: Sequence[float]
    v: Tensor
    log_weight: Tensor  # of log mean exp = log Z

    @classmethod
    def of(
        cls,
        params: RBMParameters,
        clusters: Clusters,
        rows: Tensor,
        betas: Sequence[float],
        n_chains: int,
        stream: Stream,
    ) -> Self:
        """Anneal so many chains."""
        v, log_weight = anneal_from_clusters(params, clusters, betas, n_chains, stream)
        return cls(params, clusters, rows, betas, v, log_weight)

    def again(self, betas: Sequence[float], stream: Stream, n_chains: int = _CHAINS) -> Self:
        """The same machine, with other chains."""
        return self.of(self.params, self.clusters, self.rows, betas, n_chains, stream)

    @property
    def log_likelihood(self) -> float:
        """Of the rows, in nats."""
        log_z = float(self.log_weight.logsumexp(0)) - math.log(len(self.v))
        return -float(free_energy(self.params, self.rows).double().mean()) - log_z

    @property
    def size(self) -> float:
        """How many of 100 chains count."""
        return 100.0 * _effective_size(self.log_weight) / len(self.v)

    @property
    def is_measurable(self) -> bool:
        """Whether so many chains count that log Z can be relied on."""
        return self.size >= _LEAST_SIZE

    def shifted_by(self, shift: _Shift, factor: float, stream: Stream) -> Self:
        """The machine after so many times this shift, annealed anew."""
        tensors = self.params.tensors
        tensors |= {name: tensors[name] + factor * getattr(shift, name) for name in ("b", "c")}
        moved = self.params.with_tensors(tensors)
        return self.of(moved, self.clusters, self.rows, self.betas, len(self.v), stream)

    def is_better_than(self, other: Self) -> bool:
        """Whether the rows are more likely, and log Z as measurable."""
        return self.size >= min(_LEAST_SIZE, other.size) and self.log_likelihood > other.log_likelihood

    def best_shift(self, ridges: Sequence[float] = _RIDGES) -> _Shift | None:
        """What one half of rows and chains wants, as far as the other half agrees; None where that is next to nothing.

        Chains that are independent, and rows in any order, are halved by turns.
        """
        tilts = _Tilts.of(self.params, self.rows)
        rows, chains = tilts.points(self.rows), tilts.points(self.v)
        log_weight = self.log_weight.cpu()
        ours = (rows.every_second(0), chains.every_second(0), log_weight[::2])
        theirs = (rows.every_second(1), chains.every_second(1), log_weight[1::2])
        least_size = _LEAST_SHARE * _effective_size(theirs[2])
        theta, best, is_limited, most = tilts.zero, None, False, _LEAST_GAIN
        for ridge in ridges:
            theta = tilts.fit(*ours, ridge, theta)
            gain, error, size = tilts.gain(*theirs, theta)
            if is_limited := not size >= least_size:
                break
            if gain > max(most, _LEAST_ERRORS * error):
                best, most = theta, gain

        if best is None:
            return None
        b, c = tilts.biases(best)
        return _Shift(b.to(self.params.W), c.to(self.params.W), is_limited)


def _better(now: _Annealed, shift: _Shift, stream: Stream) -> _Annealed | None:
    """A better machine along this shift, if there is one.

    It is looked for at half and a quarter of the shift, where all of it doesn't help; at twice that and more, where it
    does and the chains would have borne no more.
    """
    for n_halvings in range(_MAX_HALVINGS):
        best = now.shifted_by(shift, 0.5**n_halvings, stream)
        if best.is_better_than(now):
            break
    else:
        return None
    for n_doublings in range(1, _MAX_DOUBLINGS if shift.is_limited and n_halvings == 0 else 1):
        next_one = now.shifted_by(shift, 2.0**n_doublings, stream)
        if not next_one.is_better_than(best):
            break
        best = next_one
    return best


def _effective_size(log_weight: Tensor) -> float:
    """(Σ w)² / Σ w²."""
    return 1.0 / float(log_weight.softmax(0).square().sum())


class _Points(NamedTuple):
    """What the free energy of states depends on, once the biases are shifted: float64, on the CPU."""

    inputs: Tensor  # of the hidden units, (n, n_hidden)
    cumulant: Tensor  # of these, summed, (n,)
    along: Tensor  # the visible directions, (n, n_directions)

    def every_second(self, first: int) -> _Points:
        """Half of them."""
        return _Points(*(values[first::2] for values in self))


@dataclass(frozen=True)
class _Tilts:
    """Shifts of the biases, θ = (θ_c, θ_b): c by θ_c' hidden and b by θ_b' visible."""

    unit: Unit
    W: Tensor
    c: Tensor
    hidden: Tensor  # (n_directions, n_hidden), each by its standard deviation over the rows
    visible: Tensor  # (n_directions, n_features)

    @classmethod
    def of(cls, params: RBMParameters, rows: Tensor) -> Self:
        W, c, v = (x.double().cpu() for x in (params.W, params.c, rows))
        mean_h = params.hidden.mean_(v @ W.T + c)
        return cls(params.hidden, W, c, _principal(mean_h), _principal(v))

    @property
    def zero(self) -> np.ndarray:
        """No shift."""
        return np.zeros(len(self.hidden) + len(self.visible))

    def points(self, v: Tensor) -> _Points:
        """What is to be known of states."""
        v = v.double().cpu()
        inputs = v @ self.W.T + self.c
        return _Points(inputs, self.unit.cumulant(inputs).sum(1), v @ self.visible.T)

    def biases(self, theta: np.ndarray) -> tuple[Tensor, Tensor]:
        """Shifts of b and c."""
        of_c, of_b = torch.split(torch.from_numpy(theta), [len(self.hidden), len(self.visible)])
        return of_b @ self.visible, of_c @ self.hidden

    def log_ratio(self, points: _Points, theta: np.ndarray) -> tuple[Tensor, Tensor]:
        """F - F_θ (n,), and its derivative by θ (n, n_directions)."""
        of_c, of_b = torch.split(torch.from_numpy(theta), [len(self.hidden), len(self.visible)])
        inputs = points.inputs + of_c @ self.hidden
        ratio = self.unit.cumulant(inputs).sum(1) - points.cumulant + points.along @ of_b
        return ratio, torch.cat((self.unit.mean_(inputs) @ self.hidden.T, points.along), 1)

    def gain(self, rows: _Points, chains: _Points, log_weight: Tensor, theta: np.ndarray) -> tuple[float, float, float]:
        """Nats a row gained, their standard error, and the effective number of chains."""
        (of_rows, _), (of_chains, _) = self.log_ratio(rows, theta), self.log_ratio(chains, theta)
        before, after = log_weight.softmax(0), (log_weight + of_chains).softmax(0)
        log_mean = float((log_weight.log_softmax(0) + of_chains).logsumexp(0))
        variance = float(of_rows.var()) / len(of_rows) + float((after - before).square().sum())
        return float(of_rows.mean()) - log_mean, math.sqrt(variance), 1.0 / float(after.square().sum())

    def fit(self, rows: _Points, chains: _Points, log_weight: Tensor, ridge: float, start: np.ndarray) -> np.ndarray:
        """The shift of the largest gain less ridge |θ|²."""
        from scipy.optimize import minimize  # late

        log_weight = log_weight.log_softmax(0)

        def loss(theta: np.ndarray) -> tuple[float, Any]:
            (of_rows, slope), (of_chains, slope_of_chains) = self.log_ratio(rows, theta), self.log_ratio(chains, theta)
            joint = log_weight + of_chains
            gain = float(of_rows.mean() - joint.logsumexp(0)) - ridge * float(theta @ theta)
            gradient = slope.mean(0) - joint.softmax(0) @ slope_of_chains
            return -gain, 2.0 * ridge * theta - gradient.numpy()

        return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x)


def _principal(x: Tensor) -> Tensor:
    """Leading principal components of rows, each by its standard deviation; those that don't vary are left out."""
    centered = (x - x.mean(0)) / math.sqrt(len(x))
    _, spread, directions = torch.linalg.svd(centered, full_matrices=False)
    n = min(_N_DIRECTIONS, int((spread > 1e-2).sum()))
    return directions[:n] / spread[:n, None]
