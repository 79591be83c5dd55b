"""An update by compiled loops around torch's products: in integers of 8 bits, and in float32, on the CPU.

What `backends.int8` and `backends.floats` do in some thirty operations of torch takes four passes here: the draw of v;
the draw of h, with the rounding for Σ h v' and all other sums over rows; the step of the biases; and that of W, with its
copy in 8 bits. The draws are those of the plain backends, number by number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from skrbm.backends.floats import FloatBackend
from skrbm.backends.int8 import Int8Backend, levels
from skrbm.backends.protocol import Phases
from skrbm.support.compiled import Bound, Loop
from skrbm.support.kernels import int8_mm
from skrbm.support.randomness import Uniform, dither_table, draw_compiled_, place_of

_ROWS, _ROWS_OF_W, _COLUMNS = 8, 4, 64  # as in `loops`
_NOTHING = Uniform((0, 0), 0, 0)


def _loop(name: str) -> Loop:
    return Loop("skrbm.backends.loops", name)


_DRAW_SUMS, _HIDDEN_INT8, _HIDDEN_FLOAT32 = _loop("draw_sums"), _loop("hidden_int8"), _loop("hidden_float32")
_COUNTS, _COLUMN_MEANS = _loop("means_of_counts"), _loop("column_means")
_STEP_BIASES, _DESCEND = _loop("step_biases"), _loop("descend_int8")


class Terms(NamedTuple):
    """What goes off Δ⟨h v'⟩ beside it: of centring, and of damping.

    Attributes
    ----------
    directions : Tensor of shape (n_directions, n_features)
        The offset μ of the visible layer, if it is centred, then the directions of damping.
    share : Tensor of shape (n_damped,)
        What damping takes off along its directions.
    """

    directions: Tensor
    share: Tensor

    @property
    def n(self) -> int:
        """How many directions."""
        return len(self.directions)

    @property
    def is_centered(self) -> bool:
        """Whether the first one is μ."""
        return self.n > len(self.share)


class Step(NamedTuple):
    """How to step.

    Attributes
    ----------
    rate : float
        The learning rate.
    kept : float
        What the decay leaves of the weights.
    W_mu : Tensor of shape (n_hidden,) or None
        Wμ before the step, where the visible layer is centred.
    """

    rate: float
    kept: float
    W_mu: Tensor | None


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
    n_threads : int
        How many threads may take part.
    """

    phases: Phases
    h: Tensor
    terms: Terms
    n_threads: int
    means_v: Tensor

    @abstractmethod
    def draw_v_(self, numbers: Uniform) -> None:
        """Draw v of the chains given h."""

    @abstractmethod
    def draw_h_(self, numbers: Uniform) -> None:
        """Draw h given v of the chains."""

    @abstractmethod
    def hidden_(self, first: int, end: int, numbers: Uniform | None, places: tuple[int, int]) -> None:
        """Take rows `first` to `end` into the sums over rows; draw h of the last ones of these, if there are numbers."""

    @abstractmethod
    def step_(self, step: Step) -> None:
        """Step along what the sums say. `means_v` (2, n_features) then are ⟨v⟩ of the data and of the chains."""


class _Sums:
    """Memory for the sums over rows, and the step of the biases."""

    def __init__(self, W: Tensor, phases: Phases, terms: Terms, left: Tensor, sign: float) -> None:
        n_hidden, n_features = W.shape
        self.n_pieces = -(-phases.n_data // _ROWS) + -(-phases.n_chains // _ROWS)
        self.totals = W.new_empty((self.n_pieces, 1 + terms.n, n_hidden))
        self.means_v = W.new_empty((2, n_features))
        self.bound = torch.empty(1, dtype=torch.float64)
        self.sizes = (self.totals, self.n_pieces, n_hidden, n_features)
        self.terms = (terms.directions, terms.n, int(terms.is_centered), terms.share)
        self._left, self._sign = left, sign
        norms = terms.directions[int(terms.is_centered) :].square().sum(0)
        self._largest = float(norms.max()) if len(terms.share) else 0.0

    def step_biases_(self, step: Step, b: Tensor, c: Tensor) -> float:
        """The step of the biases; a bound of what damping takes off a weight's, at rate 1."""
        decayed = 0.0 if step.W_mu is None else 1.0 - step.kept
        of_W = step.W_mu if step.W_mu is not None else c
        left = (self._left, self._sign, step.rate, decayed, of_W)
        _STEP_BIASES(1, *self.sizes, *self.terms, *left, b, c, self.means_v, self.bound)
        return 1.1 * math.sqrt(float(self.bound) * self._largest) if self._largest else 0.0


class PhasesInInt8(CompiledPhases):
    """In integers of 8 bits; see `Int8Backend`."""

    def __init__(self, backend: Int8Backend, phases: Phases, h: Tensor, terms: Terms, n_threads: int) -> None:
        self._backend, self.phases, self.h, self.terms, self.n_threads = backend, phases, h, terms, n_threads
        W = backend.params.W
        n_hidden, n_features = W.shape
        n, n_data, n_chains = len(phases.all), phases.n_data, phases.n_chains
        self._level, model_level = levels(n_data, n_chains)
        self._to_v = torch.empty((n_chains, n_features), dtype=torch.int32)
        self._to_h = torch.empty((n, n_hidden), dtype=torch.int32)
        self._rounded = torch.empty((n, n_hidden + 2), dtype=torch.int8)
        self._products = torch.empty((n_hidden + 2, n_features), dtype=torch.int32)
        left = W.new_zeros((max(terms.n, 1), n_hidden))
        directions = terms.directions if terms.n else W.new_zeros((1, n_features))
        self._sums = _Sums(W, phases, terms, left, 1.0)
        self.means_v = self._sums.means_v
        stride = 0 if self._level == model_level else n_hidden
        rows = (phases.all, n_features, terms.directions, terms.n, self._rounded, dither_table(), stride)
        c = backend.params.c
        sums = (self._to_h, 0.0, c, n_hidden, self._sums.totals)
        of_levels = (0, 0, self._level, model_level)
        draws = (self.h, 0, 0, *place_of(_NOTHING))
        self._hidden = _HIDDEN_INT8.bind(0, 0, 0, n_data, n_chains, *sums, *rows, *of_levels, *draws)
        nothing = place_of(_NOTHING)
        self._draw_v = _DRAW_SUMS.bind(self._to_v, phases.chains, backend.params.b, n_features, 0.0, *nothing)
        self._draw_h = _DRAW_SUMS.bind(self._to_h[n_data:], self.h, c, n_hidden, 0.0, *nothing)
        weights = (W, self._products, n_hidden, n_features, backend.narrow)
        self._descend = _DESCEND.bind(*weights, left, directions, max(terms.n, 1), 0.0, 0.0, 0.0, 0.0)
        counts = self._products[n_hidden:]
        self._count = _COUNTS.bind(counts, n_data, n_chains, n_features, self.means_v)

    def draw_v_(self, numbers: Uniform) -> None:
        int8_mm(self.h, self._backend.narrow, out=self._to_v)
        self._draw(self._draw_v, numbers, self.phases.n_chains)

    def draw_h_(self, numbers: Uniform) -> None:
        int8_mm(self.phases.chains, self._backend.narrow.T, out=self._to_h[self.phases.n_data :])
        self._draw(self._draw_h, numbers, self.phases.n_chains)

    def _draw(self, loop: Bound, numbers: Uniform, n_rows: int) -> None:
        loop[4] = self._backend.unit
        loop.set_from(5, place_of(numbers)[:4])
        loop(n_rows, self.n_threads)

    def hidden_(self, first: int, end: int, numbers: Uniform | None, places: tuple[int, int]) -> None:
        int8_mm(self.phases.all[first:end], self._backend.narrow.T, out=self._to_h[first:end])
        loop, n_data = self._hidden, self.phases.n_data
        loop[6] = self._backend.unit
        loop.set_from(17, places)
        loop.set_from(22, (end if numbers is None else end - len(self.h), end))
        if numbers is not None:
            loop.set_from(24, place_of(numbers)[:4])
        for start, stop, slot in ((first, min(end, n_data), 0), (max(first, n_data), end, -(-n_data // _ROWS))):
            if start < stop:
                loop.set_from(0, (start, stop, slot))
                loop(-(-(stop - start) // _ROWS), self.n_threads)

    def step_(self, step: Step) -> None:
        backend, n_hidden = self._backend, len(self._backend.params.W)
        int8_mm(self._rounded.T, self.phases.all, out=self._products)
        self._count(1)
        excess = self._sums.step_biases_(step, backend.params.b, backend.params.c)
        max_change = step.rate * (1.1 + excess)  # |Δ⟨h (v - μ)'⟩| <= 1, and a tenth for rounding
        stays = backend.reserve_(max_change)
        factor = step.rate / (self._level * self.phases.n_data)
        self._descend.set_from(8, (step.kept, factor, step.rate, 1.0 / backend.unit if stays else 0.0))
        self._descend(-(-n_hidden // _ROWS_OF_W), self.n_threads)
        if not stays:
            backend.refresh_(max_change)


class PhasesInFloat32(CompiledPhases):
    """In float32. The directions lie right behind the rows, lest the terms of low rank take a pass over W."""

    def __init__(self, backend: FloatBackend, phases: Phases, h: Tensor, terms: Terms, n_threads: int) -> None:
        self._backend, self.phases, self.h, self.terms, self.n_threads = backend, phases, h, terms, n_threads
        W = backend.params.W
        n_hidden, n_features = W.shape
        n, n_data, n_chains = len(phases.all), phases.n_data, phases.n_chains
        self._scaled = W.new_empty((n + terms.n, n_hidden))
        self._rows = phases.all.as_strided((n + terms.n, n_features), (n_features, 1))
        self._sums = _Sums(W, phases, terms, self._scaled[n:], -1.0)
        self.means_v = self._sums.means_v
        sums = (W, n_hidden, self._sums.totals, self._scaled)
        rows = (phases.all, n_features, terms.directions, terms.n)
        self._hidden = _HIDDEN_FLOAT32.bind(0, 0, 0, n_data, n_chains, *sums, *rows, h, 0, 0, *place_of(_NOTHING))
        self._columns = _COLUMN_MEANS.bind(phases.all, n_data, n_chains, n_features, self.means_v)

    def draw_v_(self, numbers: Uniform) -> None:
        draw_compiled_(self.phases.chains, self._backend.mean_v(self.h), numbers)

    def draw_h_(self, numbers: Uniform) -> None:
        draw_compiled_(self.h, self._backend.mean_h(self.phases.chains), numbers)

    def hidden_(self, first: int, end: int, numbers: Uniform | None, places: tuple[int, int]) -> None:
        means = self._backend.mean_h(self.phases.all[first:end])
        loop, n_data = self._hidden, self.phases.n_data
        loop.set_from(14, (end if numbers is None else end - len(self.h), end))
        if numbers is not None:
            loop.set_from(16, place_of(numbers)[:4])
        for start, stop, slot in ((first, min(end, n_data), 0), (max(first, n_data), end, -(-n_data // _ROWS))):
            if start < stop:
                loop.set_from(0, (start, stop, slot))
                loop[5] = means[start - first :]
                loop(-(-(stop - start) // _ROWS), self.n_threads)

    def step_(self, step: Step) -> None:
        params = self._backend.params
        self._columns(-(-params.n_features // _COLUMNS), self.n_threads)
        self._sums.step_biases_(step, params.b, params.c)
        params.W.addmm_(self._scaled.T, self._rows, beta=step.kept, alpha=step.rate)
