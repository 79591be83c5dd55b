"""Updates by plain descent on the CPU, by compiled loops: in few passes, and those of small machines as a whole."""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.backends.compiled import CompiledPhases, PhasesInFloat32, PhasesInInt8, SmallMachine, Step, Terms, WideWeights
from skrbm.backends.floats import FloatBackend
from skrbm.backends.int8 import Int8Backend
from skrbm.rows.source import binarize_rows
from skrbm.support.randomness import Uniform
from skrbm.training.pace import LOOKED_AT
from skrbm.training.state import SeveralUpdates, TrainState

_MOST = 32  # updates of a small machine that are made at a time


class CompiledUpdates(SeveralUpdates):
    """Makes the updates of a training where they are plain descent on rows without weights.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    """

    def begin_(self) -> None:
        self._weights.refresh_()

    @property
    def looks_itself(self) -> bool:
        return self._is_small(int(self._state.settings.batch_size))

    @property
    def most_together(self) -> int:
        settings, state = self._state.settings, self._state
        n_data = int(settings.batch_size)
        return _MOST if self._is_small(n_data) else 1

    def _is_small(self, n_data: int) -> bool:
        state = self._state
        n_chains = n_data if state.settings.algorithm == "cd" else len(state.h)
        is_wide = isinstance(state.backend, FloatBackend)
        return is_wide and SmallMachine.suits(*state.params.W.shape, n_data, n_chains)

    def _small_for(self, n_data: int) -> SmallMachine | None:
        state = self._state
        if not self._is_small(n_data):
            return None
        is_contrastive, params = state.settings.algorithm == "cd", state.params
        rows = state.buffer.phases(n_data, n_data if is_contrastive else len(state.h))
        place = (rows.all.data_ptr(), 0 if is_contrastive else state.h.data_ptr(), state.k)
        found = self._small.get(n_data)
        if found is None or found[0] != place:
            terms = self._terms(params.W.new_empty((self._n_directions(), params.n_features)))
            h = None if is_contrastive else state.h
            found = self._small[n_data] = place, SmallMachine(params, h, rows.all, n_data, terms, state.k)
        return found[1]

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._phases: dict[int, CompiledPhases] = {}  # by rows of data
        self._place: tuple[int, int] = (0, 0)
        self._weights = WideWeights(state.params.W)
        self._small: dict[int, tuple[tuple[int, int, int], SmallMachine]] = {}

    @torch.inference_mode()
    def make_(self, rows: Tensor, n: int, n_to_come: int) -> bool:
        state, settings = self._state, self._state.settings
        if not state.is_plain_descent:
            return False
        n_data = len(rows) // n
        small = self._small_for(n_data)
        if small is not None:
            rule = settings.binarize
            is_drawn = rule == "sample" and rows.is_floating_point()
            rows = rows if is_drawn else binarize_rows(rows, rule, state.streams.pixels).to(state.params.W)
            step = Step(state.learning_rate, 1.0 - state.learning_rate * settings.decay)
            streams = (state.streams.pixels, state.streams.chains)
            follow = None if state.average is None else state.average.follow()
            n_looked_at = LOOKED_AT if state.pace.is_due(state.n_updates + n - 1) else 0
            divergence = small.update_(rows.contiguous(), is_drawn, streams, step, follow, n_looked_at)
            state.h = small.h
            if state.average is not None:
                state.average.has_followed_(n)
            if n_looked_at:
                state.take_look_(divergence, state.n_updates + n)
            state.n_updates += n
            return True
        for batch in torch.split(rows, n_data):
            self._update_(batch)
            state.n_updates += 1
        return True

    def _update_(self, rows: Tensor) -> None:
        state, settings, stream = self._state, self._state.settings, self._state.streams.chains
        phases = self._phases_for(len(rows))
        binarize_rows(rows, settings.binarize, state.streams.pixels, out=phases.phases.data)
        n, n_data = len(phases.phases.all), len(rows)
        is_contrastive = settings.algorithm == "cd"
        states = (phases.h, phases.phases.chains) if is_contrastive else (phases.phases.chains, phases.h)
        numbers = [stream.numbers_for(*states) for _ in range(state.k)]
        places = (stream.place(), stream.place()) if isinstance(phases, PhasesInInt8) else (0, 0)
        for step, (first, second) in enumerate(numbers):
            assert isinstance(first, Uniform)
            assert isinstance(second, Uniform)
            is_last = step == state.k - 1
            if not is_contrastive:
                phases.draw_v_(first)
                if is_last:
                    phases.hidden_(0, n, second, places)
                else:
                    phases.draw_h_(second)
            else:
                if step == 0:
                    phases.hidden_(0, n_data, first, places)
                else:
                    phases.draw_h_(first)
                phases.draw_v_(second)
        if is_contrastive:
            phases.hidden_(n_data, n, None, places)
            state.h = phases.h
        rate = state.learning_rate
        kept = 1.0 - rate * settings.decay
        W_mu = state.centering.W_mu(state.params, kept, state.n_updates)
        phases.step_(Step(rate, kept, W_mu))

    def _phases_for(self, n_data: int) -> CompiledPhases:
        """The memory of updates with so many rows; μ in it is what it is now."""
        state = self._state
        is_contrastive, params, centering = state.settings.algorithm == "cd", state.params, state.centering
        rows = state.buffer.phases(n_data, n_data if is_contrastive else len(state.h))
        place = (state.buffer.memory.data_ptr(), 0 if is_contrastive else state.h.data_ptr())
        if place != self._place:
            self._phases, self._place = {}, place
        found = self._phases.get(n_data)
        if found is None:
            h = params.W.new_empty((n_data, params.n_hidden), dtype=state.backend.state_dtype)
            h = h if is_contrastive else state.h
            found = self._phases[n_data] = self._make(rows, h)
        if centering.mu is not None:
            found.terms.directions[0].copy_(centering.mu)
        return found

    def _n_directions(self) -> int:
        damping = self._state.damping
        return (self._state.centering.mu is not None) + (0 if damping is None else len(damping.share))

    def _make(self, rows: object, h: Tensor) -> CompiledPhases:
        state, backend = self._state, self._state.backend
        directions = state.params.W.new_empty((self._n_directions(), state.params.n_features))
        terms = self._terms(directions)
        n_threads = torch.get_num_threads()
        if isinstance(backend, Int8Backend):
            return PhasesInInt8(backend, rows, h, terms, n_threads)
        return PhasesInFloat32(state.params, self._weights, rows, h, terms, n_threads)

    def _terms(self, directions: Tensor) -> Terms:
        """What the step has beside Σ h v', in the memory for the directions."""
        state, damping, share = self._state, self._state.damping, directions.new_empty(0)
        if damping is not None:
            directions[len(directions) - len(damping.share) :].copy_(damping.directions)
            share = damping.share
        return Terms(directions, share, state.centering.mu, state.settings.offset_rate)
