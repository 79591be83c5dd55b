"""Updates by plain descent on the CPU, by compiled loops: in few passes, and those of small machines as a whole."""

from __future__ import annotations

import time

from torch import Tensor

from skrbm.backends.compiled import (
    CompiledPhases,
    PhasesInFloat32,
    PhasesInInt8,
    SmallMachine,
    Step,
    Terms,
    WideWeights,
    draw_greys_,
    unpack_,
)
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Phases
from skrbm.rows.source import Batch, binarize_rows
from skrbm.support.randomness import blocks_for
from skrbm.support.threads import Threads, available_threads
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

    def __init__(self, state: TrainState) -> None:
        self._state, self._is_contrastive = state, state.settings.algorithm == "cd"
        self._weights = WideWeights(state.params.W)
        # By rows of data, and each with what it was made for.
        self._made: dict[int, tuple[tuple[Tensor, Tensor, int], CompiledPhases | SmallMachine]] = {}
        self._last: CompiledPhases | None = None  # that has moved the weights
        self._is_current = False  # whether nobody else has since
        self._threads = Threads(available_threads())

    looks_itself = True

    @property
    def takes_kept(self) -> bool:
        return not self._is_small

    @property
    def most_together(self) -> int:
        return _MOST if self._is_small else 1

    def begin_(self) -> None:
        self._is_current = True
        if not self._is_small:
            self._weights.refresh_()
            for _, made in self._made.values():
                if isinstance(made, CompiledPhases):
                    made.forget_()
                    made.set_key_(self._state.streams.chains.key)

    def end_(self) -> None:
        self._threads.put_back_()

    def make_(self, batch: Batch, n: int, n_to_come: int) -> bool:
        state = self._state
        if not state.is_plain_descent:
            self._is_current = False
            return False
        if not self._is_current:
            self.begin_()
        machine = self._machine(len(batch.v) // n)
        step = Step(state.learning_rate, 1.0 - state.learning_rate * state.settings.decay)
        n_looked_at = LOOKED_AT if state.pace.is_due(state.n_updates + n - 1) else 0
        if isinstance(machine, SmallMachine):
            divergence = self._make_small_(machine, batch.v, step, n_looked_at, n)
        else:
            divergence = self._make_one_(machine, batch, step, n_looked_at)
            if state.average is not None:
                state.average.observe_(state.params)
        state.h = machine.h
        if n_looked_at:
            state.take_look_(divergence, state.n_updates + n)
        state.n_updates += n
        return True

    def _make_small_(self, machine: SmallMachine, rows: Tensor, step: Step, n_looked_at: int, n: int) -> float:
        state, rule = self._state, self._state.settings.binarize
        is_drawn = rule == "sample" and rows.is_floating_point()
        rows = rows if is_drawn else binarize_rows(rows, rule, state.streams.pixels).to(state.params.W)
        follow = None if state.average is None else state.average.follow()
        streams, began = (state.streams.pixels, state.streams.chains), time.perf_counter()
        n_threads = self._threads.n
        divergence = machine.update_(rows.contiguous(), is_drawn, streams, step, n_threads, follow, n_looked_at)
        self._threads.end_(began, n)
        if state.average is not None:
            state.average.has_followed_(n)
        return divergence

    def _make_one_(self, machine: CompiledPhases, batch: Batch, step: Step, n_looked_at: int) -> float:
        state, stream = self._state, self._state.streams.chains
        if machine is not self._last:  # it doesn't know what another has made of the weights
            machine.forget_()
            self._last = machine
        began = self._threads.begin_()
        self._fill_(machine.data, batch)
        n_data, n = machine.n_data, machine.n_data + machine.n_chains
        of_v, of_h = blocks_for(machine.chains.numel()), blocks_for(machine.h.numel())
        at = stream.position  # where each draw begins, in the order of `update_`
        stream.position += state.k * (of_v + of_h) + machine.takes_places
        of_places = stream.position - machine.takes_places
        if self._is_contrastive:
            machine.hidden_(0, n_data, at, of_places)
            for i in range(state.k):
                if i:
                    machine.draw_h_(at + i * (of_v + of_h))
                machine.draw_v_(at + i * (of_v + of_h) + of_h)
            machine.hidden_(n_data, n, None, of_places)
        else:
            for i in range(state.k):
                machine.draw_v_(at + i * (of_v + of_h))
                if i < state.k - 1:
                    machine.draw_h_(at + i * (of_v + of_h) + of_v)
            machine.hidden_(0, n, stream.position - machine.takes_places - of_h, of_places)
        divergence = machine.step_(step, n_looked_at)
        self._threads.end_(began)
        return divergence

    def _fill_(self, out: Tensor, batch: Batch) -> None:
        """Write rows as the machine shall see them, as `binarize_rows` does."""
        rule, stream = self._state.settings.binarize, self._state.streams.pixels
        if batch.form == "packed":
            unpack_(out, batch.v)
        elif batch.form == "codes" and rule == "sample":
            draw_greys_(out, batch.v, batch.divisor, stream)
        else:
            rows = batch.v if batch.form == "values" else batch.v.to(self._state.params.W).div_(batch.divisor)
            binarize_rows(rows, rule, stream, out=out)

    # -- memory --------------------------------------------------------------------------------------------------------

    @property
    def _is_small(self) -> bool:
        state = self._state
        n_data = int(state.settings.batch_size)
        n_chains = n_data if self._is_contrastive else len(state.h)
        n_hidden, n_features = state.params.W.shape
        return not state.is_narrow and SmallMachine.suits(n_hidden, n_features, n_data, n_chains)

    def _machine(self, n_data: int) -> CompiledPhases | SmallMachine:
        """What makes updates with so many rows, in memory that stays where it is."""
        state, found = self._state, self._made.get(n_data)
        if found is not None:
            (memory, h, k), machine = found
            if memory is state.buffer.memory and (self._is_contrastive or h is state.h) and k == state.k:
                return machine
        rows = state.buffer.phases(n_data, n_data if self._is_contrastive else len(state.h))
        machine = self._make(rows, None if self._is_contrastive else state.h)
        self._made[n_data] = (state.buffer.memory, state.h, state.k), machine
        return machine

    def _make(self, rows: Phases, h: Tensor | None) -> CompiledPhases | SmallMachine:
        state, params = self._state, self._state.params
        damping, mu = state.damping, state.centering.mu
        share = params.W.new_empty(0) if damping is None else damping.share
        directions = params.W.new_empty((len(share) + (mu is not None), params.n_features))
        if damping is not None:
            directions[len(directions) - len(share) :].copy_(damping.directions)
        terms = Terms(directions, share, mu, state.settings.offset_rate)
        if self._is_small:
            return SmallMachine(params, h, rows.all, rows.n_data, terms, state.k)
        if h is None:
            h = params.W.new_empty((rows.n_chains, params.n_hidden), dtype=state.backend.state_dtype)
        machine: CompiledPhases
        if isinstance(state.backend, Int8Backend):
            machine = PhasesInInt8(state.backend, rows, h, terms)
        else:
            machine = PhasesInFloat32(params, self._weights, rows, h, terms)
        machine.set_key_(state.streams.chains.key)
        return machine
