"""An update by compiled loops around torch's products: in integers of 8 bits, and in float32, on the CPU.

What `backends.int8` and `backends.floats` do in some thirty operations of torch takes four passes here: the draw of v;
the draw of h, with the rounding for Σ h v' and all other sums over rows; the step of the biases; that of W, with its
copy in 8 bits. Float32 goes without torch's products: states are bits, few of which are on, and sums over those are
faster. The draws are those of the plain backends, number by number.
"""

from __future__ import annotations

import ctypes
import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from skrbm.backends.int8 import Int8Backend, levels
from skrbm.backends.protocol import Phases
from skrbm.machines.restricted import RBMParameters
from skrbm.support.compiled import LANES, Bound, Loop, of_team
from skrbm.support.kernels import int8_mm
from skrbm.support.randomness import TABLE, Stream, blocks_for, signed, tables

_SMALL = 1 << 17  # weights up to which updates are made as a whole: torch takes longer
_ROWS, _ROWS_OF_W, _COLUMNS, _PIECE = 8, 4, 64, 1 << 12  # as in `loops`
_MOST_THREADS = 8  # of a small machine
_BLOCKS, _MOST_ROWS = 8, 128  # blocks that rows are divided into, and rows of a block at most, whatever the threads


def _loop(name: str) -> Loop:
    return Loop("skrbm.backends.loops", name)


_DRAW_SUMS, _HIDDEN_INT8, _HIDDEN_FLOAT32 = _loop("draw_sums"), _loop("hidden_int8"), _loop("hidden_float32")
_COLUMN_MEANS, _STEP_BIASES, _DESCEND = _loop("column_means"), _loop("step_biases"), _loop("descend_int8")
_INPUTS = _loop("inputs_float32")
_UNPACK = {torch.int8: _loop("unpack_i1"), torch.float32: _loop("unpack_f4")}
_DRAW_GREYS = {torch.int8: _loop("draw_greys_i1"), torch.float32: _loop("draw_greys_f4")}
_DRAW, _DESCEND_FLOAT32, _UPDATES = (
    _loop("draw_layer"),
    _loop("descend_float32"),
    Loop("skrbm.backends.small_loops", "updates_of_small"),
)


def padded(n: int) -> int:
    """The next multiple of `LANES`."""
    return -(-n // LANES) * LANES


class Terms(NamedTuple):
    """What goes off Δ⟨h v'⟩ beside it: of centring, and of damping.

    Attributes
    ----------
    directions : Tensor of shape (n_directions, n_features)
        The offset μ of the visible layer, if it is centred, then the directions of damping.
    share : Tensor of shape (n_damped,)
        What damping takes off along its directions.
    mu : Tensor of shape (n_features,) or None
        μ itself, which moves with the step.
    offset_rate : float
        How fast.
    """

    directions: Tensor
    share: Tensor
    mu: Tensor | None
    offset_rate: float

    @property
    def n(self) -> int:
        """How many directions."""
        return len(self.directions)

    @property
    def is_centered(self) -> bool:
        """Whether the first one is μ."""
        return self.mu is not None


class Step(NamedTuple):
    """How to step.

    Attributes
    ----------
    rate : float
        The learning rate.
    kept : float
        What the decay leaves of the weights.
    """

    rate: float
    kept: float


class CompiledPhases(ABC):
    """The two phases of updates with as many rows each, in memory of their own.

    Parameters
    ----------
    phases : Phases
        The rows; filled for the data by whoever calls, and here for the chains.
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states, moved on.
    terms : Terms
        Of the step.
    """

    phases: Phases
    h: Tensor
    terms: Terms
    data: Tensor
    chains: Tensor
    n_data: int
    n_chains: int
    takes_places: ClassVar[bool]  # of a table, for rounding

    @abstractmethod
    def set_key_(self, key: tuple[int, int]) -> None:
        """Take the key of the stream, from which all draws come: those of a layer by their position in it."""

    @abstractmethod
    def draw_v_(self, position: int) -> None:
        """Draw v of the chains given h."""

    @abstractmethod
    def draw_h_(self, position: int) -> None:
        """Draw h given v of the chains."""

    @abstractmethod
    def hidden_(self, first: int, end: int, position: int | None, of_places: int) -> None:
        """Take rows `first` to `end` into the sums over rows; draw h of the last of these, if there is a position."""

    @abstractmethod
    def step_(self, step: Step, n_looked_at: int) -> float:
        """Step along what the sums say, and let μ follow.

        Returns ½ Var(F_after(v) - F_before(v)) over so many chains, see `step_divergence`; NaN for none.
        """

    @abstractmethod
    def forget_(self) -> None:
        """Of the machine as the last step left it: it may be another."""


class _Sums:
    """Memory for the sums over rows, and the step of the biases and of μ."""

    def __init__(
        self, params: RBMParameters, phases: Phases, terms: Terms, counts: Tensor | None, n_parts: int
    ) -> None:
        W, n_data, n_chains = params.W, phases.n_data, phases.n_chains
        self.n_of_data, self.n_of_chains = -(-n_data // _ROWS), -(-n_chains // _ROWS)
        n_pieces = self.n_of_data + self.n_of_chains
        self.totals, self.means_v = W.new_empty((n_pieces, 1 + terms.n, len(W))), W.new_empty((2, W.shape[1]))
        self.left = W.new_zeros((max(terms.n, 1), len(W)))
        self.W_mu = W.new_zeros((n_parts, len(W)))
        self.directions = terms.directions if terms.n else W.new_zeros((1, W.shape[1]))
        sums = (self.totals, n_pieces, *W.shape, terms.directions, terms.n, int(terms.is_centered), terms.share)
        of_left = (self.left, 0 if counts is None else counts, n_data, n_chains)
        self._params, self._mu, self.is_known = params, terms.mu, False
        # Addresses to copy μ between, as the first direction: that takes a tenth of the time of `copy_`.
        self._of_mu = () if terms.mu is None else (terms.directions.data_ptr(), terms.mu.data_ptr(), 4 * len(terms.mu))
        moved = (params.b, params.c, self.means_v, W if terms.mu is None else terms.mu, terms.offset_rate)
        self._loop = _STEP_BIASES.bind(*sums, *of_left, *moved, 0.0, 0.0, self.W_mu, n_parts)

    def take_mu_(self) -> None:
        """Let the first direction be what μ is now."""
        if self._of_mu:
            ctypes.memmove(*self._of_mu)

    def step_biases_(self, step: Step) -> None:
        """The step of the biases and of μ."""
        if self._mu is not None and not self.is_known:
            self.W_mu.zero_()
            torch.sum(self._params.W * self._mu, 1, out=self.W_mu[0])  # in an order that threads don't change
            self.is_known = True
        self._loop.set_from(17, (step.rate, 1.0 - step.kept))
        self._loop(1)

    def pieces(self, first: int, end: int, n_data: int) -> tuple[int, int]:
        """The pieces of rows, which are those of all, of the data, or of the chains: the first, and how many."""
        start = 0 if first < n_data else self.n_of_data
        return start, (self.n_of_data if end <= n_data else self.n_of_data + self.n_of_chains) - start


class _Look:
    """How far a step moves the machine, by the free energies of some chains before it and after it."""

    def __init__(self, params: RBMParameters, v: Tensor) -> None:
        self._params, self.v, self._b, self.c = params, v, params.b.clone(), params.c.clone()

    def divergence(self, before: Tensor, after: Tensor) -> float:
        """From W v (n, n_hidden) before and after."""
        params = self._params
        of_h = params.hidden.cumulant(after + params.c).sum(1) - params.hidden.cumulant(before + self.c).sum(1)
        change = of_h.double() + (self.v @ (params.b - self._b)).double()
        return 0.5 * float(change.var(correction=0))


class PhasesInInt8(CompiledPhases):
    """In integers of 8 bits; see `Int8Backend`."""

    takes_places: ClassVar[bool] = True

    def __init__(self, backend: Int8Backend, phases: Phases, h: Tensor, terms: Terms) -> None:
        self._backend, self.phases, self.h, self.terms = backend, phases, h, terms
        self.data, self.chains, self.n_data, self.n_chains = phases.data, phases.chains, phases.n_data, phases.n_chains
        params, W = backend.params, backend.params.W
        n_hidden, n_features = W.shape
        n, n_data, n_chains = len(phases.all), phases.n_data, phases.n_chains
        self._level, model_level = levels(n_data, n_chains)
        self._to_v = torch.empty((n_chains, n_features), dtype=torch.int32)
        self._to_h = torch.empty((n, n_hidden), dtype=torch.int32)
        self._rounded = torch.empty((n, n_hidden + 2), dtype=torch.int8)
        self._products = torch.empty((n_hidden + 2, n_features), dtype=torch.int32)
        self._sums = sums = _Sums(params, phases, terms, self._products[n_hidden:], 1)
        table, low = tables()
        draws = (0, 0, 0, low)
        rows = (phases.all, n_features, terms.directions, terms.n, self._rounded, table)
        stride = 0 if self._level == model_level else n_hidden
        inputs = (self._to_h, 0.0, params.c, n_hidden, sums.totals)
        drawn = (stride, self._level, model_level, h, 0, 0, *draws, 0)
        self._hidden = _HIDDEN_INT8.bind(0, 0, n_data, n_chains, *inputs, *rows, *drawn)
        self._draw_v = _DRAW_SUMS.bind(self._to_v, phases.chains, params.b, n_features, 0.0, *draws)
        self._draw_h = _DRAW_SUMS.bind(self._to_h[n_data:], h, params.c, n_hidden, 0.0, *draws)
        self._n_pieces = -(-n_hidden // _ROWS_OF_W)
        self._largest = torch.empty(self._n_pieces)  # magnitudes, whose bits are in the order of integers
        weights = (W, self._products, n_hidden, n_features, backend.narrow, self._largest)
        of_mu = (0 if terms.mu is None else terms.mu, sums.W_mu)
        steps = (0.0, 0.0, 0.0, 0.0, *of_mu)
        self._descend = _DESCEND.bind(*weights, sums.left, sums.directions, max(terms.n, 1), *steps)

    def set_key_(self, key: tuple[int, int]) -> None:
        self._hidden.set_from(21, signed(key))
        self._draw_v.set_from(5, signed(key))
        self._draw_h.set_from(5, signed(key))

    def draw_v_(self, position: int) -> None:
        int8_mm(self.h, self._backend.narrow, out=self._to_v)
        self._draw_(self._draw_v, position)

    def draw_h_(self, position: int) -> None:
        int8_mm(self.chains, self._backend.narrow.T, out=self._to_h[self.n_data :])
        self._draw_(self._draw_h, position)

    def _draw_(self, loop: Bound, position: int) -> None:
        loop[4], loop[7] = self._backend.unit, position
        loop(self.n_chains)

    def hidden_(self, first: int, end: int, position: int | None, of_places: int) -> None:
        int8_mm(self.phases.all[first:end], self._backend.narrow.T, out=self._to_h[first:end])
        loop, (piece, n_pieces) = self._hidden, self._sums.pieces(first, end, self.n_data)
        self._sums.take_mu_()
        loop[0], loop[5], loop[23], loop[25] = piece, self._backend.unit, position or 0, of_places
        loop.set_from(19, (end if position is None else end - self.n_chains, end))
        loop(n_pieces)

    def step_(self, step: Step, n_looked_at: int) -> float:
        backend = self._backend
        look = _Look(backend.params, self.chains[:n_looked_at].float()) if n_looked_at else None
        int8_mm(self._rounded.T, self.phases.all, out=self._products)
        self._sums.step_biases_(step)
        factor = step.rate / (self._level * self.n_data)
        moved = None if look is None else self._moved(look.v, step, factor)
        self._descend.set_from(9, (step.kept, factor, step.rate, 1.0 / backend.unit))
        self._descend(self._n_pieces)
        backend.know_largest_(float(self._largest.numpy().max()))  # numpy's takes half of torch's time
        return math.nan if look is None or moved is None else look.divergence(*moved)

    def _moved(self, v: Tensor, step: Step, factor: float) -> tuple[Tensor, Tensor]:
        """W v of the first chains v before the step, as far as the rounded weights tell, and after it: (n, n_hidden).

        What is added to W is of low rank, so its product with v needs no pass over W: factor Σ h v', less left' times
        the directions.
        """
        n, n_hidden = len(v), len(self._backend.params.W)
        before = self._to_h[self.n_data : self.n_data + n] * self._backend.unit
        along = int8_mm(self.phases.all, self.chains[:n].T).to(v.dtype)  # (n_rows, n)
        change = (along.T @ self._rounded[:, :n_hidden].to(v.dtype)).mul_(factor)
        if self.terms.n:
            change.addmm_(v @ self.terms.directions.T, self._sums.left, alpha=-step.rate)
        return before, torch.add(change, before, alpha=step.kept)

    def forget_(self) -> None:
        self._sums.is_known = False


def unpack_(out: Tensor, packed: Tensor) -> None:
    """Write rows of bits (n, n_features), float32 or int8, from eight to a byte, as `numpy.packbits` packs them."""
    _UNPACK[out.dtype](len(packed), packed, packed.shape[1], out.shape[1], out)


def draw_greys_(out: Tensor, codes: Tensor, divisor: float, stream: Stream) -> None:
    """Draw states (n, n_features), float32 or int8, with probabilities that are bytes over a divisor."""
    position, stream.position = stream.position, stream.position + blocks_for(out.numel())
    draws = (out.numel(), *signed(stream.key), position, tables()[1])
    _DRAW_GREYS[out.dtype](-(-out.numel() // _PIECE), codes, divisor, out, *draws)


class WideWeights:
    """The weights twice more, as compiled loops in float32 want them: in rows of whole vectors, and transposed.

    Parameters
    ----------
    W : Tensor of shape (n_hidden, n_features)
        The weights.

    Attributes
    ----------
    rows : Tensor of shape (n_hidden, padded)
        The weights, or these themselves where their rows are whole vectors.
    transposed : Tensor of shape (n_features, padded)
        Their transpose.
    """

    rows: Tensor
    transposed: Tensor

    def __init__(self, W: Tensor) -> None:
        n_hidden, n_features = W.shape
        self._W = W
        self.rows = W if n_features % LANES == 0 and W.is_contiguous() else W.new_zeros((n_hidden, padded(n_features)))
        self.transposed = W.new_zeros((n_features, padded(n_hidden)))

    def refresh_(self) -> None:
        """Take over the weights."""
        n_hidden, n_features = self._W.shape
        if self.rows is not self._W:
            self.rows[:, :n_features] = self._W
        self.transposed[:, :n_hidden] = self._W.T


class PhasesInFloat32(CompiledPhases):
    """In float32, by sums over the units that are on."""

    takes_places: ClassVar[bool] = False

    def __init__(self, params: RBMParameters, weights: WideWeights, phases: Phases, h: Tensor, terms: Terms) -> None:
        self._params, self.phases, self.h, self.terms = params, phases, h, terms
        self.data, self.chains, self.n_data, self.n_chains = phases.data, phases.chains, phases.n_data, phases.n_chains
        W, n_data, n_chains = params.W, phases.n_data, phases.n_chains
        n_hidden, n_features = W.shape
        n, wide_h = len(phases.all), padded(n_hidden)
        n_pieces, widest, most = -(-n_features // LANES), max(wide_h, padded(n_features)), max(n_hidden, n_features)
        self._sums = sums = _Sums(params, phases, terms, None, n_pieces)
        self._counts = torch.empty(n, dtype=torch.int64)
        room = (torch.empty(n * most, dtype=torch.int32), W.new_empty(n * most), self._counts)
        self._block = min(max(-(-n_chains // _BLOCKS), _ROWS), _MOST_ROWS)
        self._means, self._inputs = W.new_zeros((n, wide_h)), W.new_zeros((2, n_chains, wide_h))
        draws = (0, 0, 0, tables()[1])
        of_draws = (*room[:2], torch.empty_like(self._counts))
        to = (n_chains, self._block, W.new_zeros((n_chains, widest)), widest, most, *of_draws, *draws)
        self._draw_v = _DRAW.bind(h, n_hidden, weights.rows, n_features, params.b, phases.chains, *to)
        self._draw_h = _DRAW.bind(phases.chains, n_features, weights.transposed, n_hidden, params.c, h, *to)
        self._pieces = max(1, self._block // _ROWS)
        rows = (phases.all, n_features, weights.transposed, n_hidden, params.c, self._means, sums.totals)
        drawn = (terms.directions, terms.n, h, 0, 0, most, *room, *draws)
        self._hidden = _HIDDEN_FLOAT32.bind(0, 0, self._pieces, n_data, n_chains, *rows, *drawn)
        self._columns = _COLUMN_MEANS.bind(phases.all, n_data, n_chains, n_features, sums.means_v)
        of_v = (phases.all, n, self._means, n_features, n_hidden)
        of_W = (W, weights.rows, weights.transposed, W.new_empty((n_features, wide_h)))
        of_terms = (sums.left, terms.directions, terms.n, 0.0, 0.0)
        found = (torch.empty(n_features * n, dtype=torch.int32), W.new_empty(n_features * n), 0.0)
        of_mu = (0 if terms.mu is None else terms.mu, sums.W_mu)
        self._descend = _DESCEND_FLOAT32.bind(*of_v, *of_W, *of_terms, *found, *of_mu)
        looked_at = (phases.chains, n_chains, n_features, weights.transposed, n_hidden, params.c)
        self._look = _INPUTS.bind(*looked_at, self._inputs, *room)

    def set_key_(self, key: tuple[int, int]) -> None:
        self._hidden.set_from(21, signed(key))
        self._draw_v.set_from(14, signed(key))
        self._draw_h.set_from(14, signed(key))

    def draw_v_(self, position: int) -> None:
        self._draw_(self._draw_v, position)

    def draw_h_(self, position: int) -> None:
        self._draw_(self._draw_h, position)

    def _draw_(self, loop: Bound, position: int) -> None:
        loop[16] = position
        loop(-(-self.n_chains // self._block))

    def hidden_(self, first: int, end: int, position: int | None, of_places: int) -> None:
        loop, (piece, n_pieces) = self._hidden, self._sums.pieces(first, end, self.n_data)
        self._sums.take_mu_()
        loop.set_from(0, (piece, piece + n_pieces))
        loop.set_from(15, (end if position is None else end - self.n_chains, end))
        loop[23] = position or 0
        loop(-(-n_pieces // self._pieces))

    def step_(self, step: Step, n_looked_at: int) -> float:
        n_features, density = self._params.n_features, float(self._counts.sum()) / self.phases.all.numel()
        v = self.chains[:n_looked_at]
        look = _Look(self._params, v) if n_looked_at else None
        self._look_(len(v), 0)
        self._columns(-(-n_features // _COLUMNS))
        self._sums.step_biases_(step)
        self._descend.set_from(12, (step.kept, step.rate))
        self._descend[16] = density
        self._descend(-(-n_features // LANES))
        if look is None:
            return math.nan
        self._look_(len(v), 1)
        before, after = self._inputs[:, : len(v), : self._params.n_hidden]
        return look.divergence(before - look.c, after - self._params.c)

    def _look_(self, n: int, i: int) -> None:
        if n:
            self._look[1], self._look[6] = n, self._inputs[i]
            self._look(1)

    def forget_(self) -> None:
        self._sums.is_known = False


class Follow(NamedTuple):
    """A mean of the parameters that follows them: see `skrbm.training.observers.Average`.

    Attributes
    ----------
    W, b, c : Tensor
        The mean.
    every, until_look : int
        How many updates there are from one look to the next, and to the first.
    n_looks : int
        Looks so far.
    share : float
        The rate of look t is min(1, share / (t + share - 1)).
    """

    W: Tensor | int
    b: Tensor | int
    c: Tensor | int
    every: int
    until_look: int
    n_looks: int
    share: float


_NOBODY = Follow(0, 0, 0, 0, 0, 0, 1.0)


class SmallMachine:
    """Whole updates of a machine so small that its products are best made in the loop as well, in float32.

    Parameters
    ----------
    params : RBMParameters
        Changed in place.
    h : Tensor of shape (n_chains, n_hidden) or None
        Persistent chains, moved on; None for contrastive divergence.
    v : Tensor of shape (n_data + n_chains, n_features)
        Memory for the rows of an update, in the end those of the last.
    n_data : int
        Rows of an update.
    terms : Terms
        Of the step.
    k : int
        Gibbs steps.
    """

    def __init__(self, params: RBMParameters, h: Tensor | None, v: Tensor, n_data: int, terms: Terms, k: int) -> None:
        W, n_chains = params.W, len(v) - n_data
        n_hidden, n_features = W.shape
        self.h = W.new_empty((n_chains, n_hidden)) if h is None else h
        self._positions = torch.empty(2, dtype=torch.int64)
        wide_v, wide_h, n_damped = padded(n_features), padded(n_hidden), len(terms.share)
        damping = torch.cat((terms.directions[int(terms.is_centered) :].flatten(), terms.share))
        most_drawn = max(n_data * n_features, n_chains * max(n_features, n_hidden)) + 64  # of a thread
        memory = (
            v,
            self.h,
            W.new_zeros((len(v), wide_h)),  # means of h
            W.new_zeros(max(n_chains * wide_v, n_features * wide_h)),  # means of v, then the gradient
            W.new_zeros((n_damped, wide_h)),
            W.new_empty(n_hidden + 2 * n_features),
            torch.empty(most_drawn * _MOST_THREADS, dtype=torch.uint8),
        )
        weights = (W, W.new_zeros((n_hidden, wide_v)), W.new_zeros((n_features, wide_h)), params.b, params.c)
        of_terms = (0 if terms.mu is None else terms.mu, damping, n_damped, 0.0, 0.0, terms.offset_rate)
        sizes = (n_data, n_chains, n_features, n_hidden, k, int(h is None), 0)
        draws = (0, 0, 0, 0, self._positions, tables()[1])
        self._n_data, self._changes = n_data, torch.empty(max(n_chains, 1), dtype=torch.float64)
        looks = (*_NOBODY, self._changes, 0, W.new_zeros((n_chains, wide_h)), W.new_zeros((n_chains, wide_h)))
        self._loop = _UPDATES.bind(0, 0, *sizes, *memory, *weights, *of_terms, *draws, *looks, *of_team(), most_drawn)

    @staticmethod
    def suits(n_hidden: int, n_features: int, n_data: int, n_chains: int) -> bool:
        """Whether a machine is small enough, and draws few enough states at a time."""
        draws = max(n_data * n_features, n_chains * max(n_features, n_hidden))
        return n_hidden * n_features <= _SMALL and draws <= TABLE

    def update_(
        self,
        rows: Tensor,
        is_drawn: bool,
        streams: tuple[Stream, Stream],
        step: Step,
        n_threads: int = 1,
        follow: Follow | None = None,
        n_looked_at: int = 0,
    ) -> float:
        """Updates in a row.

        Parameters
        ----------
        rows : Tensor of shape (n_updates * n_data, n_features)
            What is learned, float32.
        is_drawn : bool
            Whether each value is drawn first, as a Bernoulli variable of that probability.
        streams : tuple of Stream
            Randomness of these draws, and of the chains.
        step : Step
            How to step.
        n_threads : int
            How many threads share the work, where OpenMP is known; the results don't depend on it.
        follow : Follow, optional
            A mean of the parameters.
        n_looked_at : int
            Of the first so many chains the changes of free energy at the last update are looked at, if any.

        Returns
        -------
        float
            ½ Var(F_after(v) - F_before(v)), see `step_divergence`; NaN where nothing was looked at.
        """
        pixels, chains = streams
        loop, n_looked_at = self._loop, min(n_looked_at, len(self.h))
        self._positions[0], self._positions[1] = pixels.position, chains.position
        loop.set_from(0, (len(rows) // self._n_data, rows))
        loop[8] = int(is_drawn)
        loop.set_from(24, (step.rate, step.kept))
        loop.set_from(27, (*signed(pixels.key), *signed(chains.key)))
        loop.set_from(33, follow or _NOBODY)
        loop[41] = n_looked_at
        n_threads = min(n_threads, _MOST_THREADS) if all(of_team()) else 1
        loop(n_threads, n_threads)
        pixels.position, chains.position = self._positions.tolist()
        return 0.5 * float(self._changes[:n_looked_at].var(correction=0)) if n_looked_at else math.nan
