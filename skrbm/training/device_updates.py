"""Updates by plain descent on a GPU: in few launches, several recorded together as one CUDA graph.

A small update on a GPU takes as long as it has launches, whatever they compute. So what `training.update` does in the
fewest passes over W is done here in the fewest launches, on memory that stays where it is, and the host replays up to
`_MOST` updates by one launch of its own. The learning rate lies on the device: graphs stay as they are when it moves.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skrbm.backends.cuda_graph import record
from skrbm.rows.source import Batch, binarize_rows
from skrbm.support.kernels import add_mm_, float_mm
from skrbm.support.randomness import bernoulli_
from skrbm.support.tensors import aligned_empty
from skrbm.training.state import SeveralUpdates, TrainState

_MOST = 8  # updates that are recorded together: a power of two
_MOST_DRAWS = 1 << 24  # numbers that they may draw at once: 64 MB
_PAYS_FROM = 100  # updates to come from which on recording pays


class _Offsets:
    """The offset of one layer, and the biases of the other layer, over updates in a row.

    An update adds to the biases of the centred machine, c̃ = c + Wμ. So c moves by that, by Wμ as it was before the
    update, and by -Wμ as it is after: whatever else has become of W. The offset itself moves on after the last update.

    Parameters
    ----------
    offset : Tensor of shape (n,)
        Offset of the layer: μ of the visible, λ of the hidden one.
    n_other : int
        Units of the other layer.
    rate : float
        Of the moving average.
    n_summed : int
        How many rows the sums are over that it moves towards.
    """

    def __init__(self, offset: Tensor, n_other: int, rate: float, n_summed: int) -> None:
        self.offset, self._rate, self._n_summed = offset, rate, n_summed
        self._next = torch.empty_like(offset)  # times n_summed
        self._terms = offset.new_zeros((3, n_other))  # what the update adds; Wμ before and after it, in turns
        signs = [[1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]
        self._signs = torch.tensor(signs, dtype=offset.dtype, device=offset.device)
        self.added = self._terms[0]

    def begin_(self, W: Tensor) -> None:
        """Before the first update; W (n_other, n)."""
        torch.mul(self.offset, self._n_summed, out=self._next)
        torch.mv(W, self.offset, out=self._terms[1])

    def follow_(self, turn: int, total: Tensor, W: Tensor, bias: Tensor) -> None:
        """After an update, the first with turn 0: let the bias follow; `total` (n,) is the sum over the data."""
        self._next.lerp_(total, self._rate)
        torch.mv(W, self.offset, out=self._terms[2 - turn])
        bias.addmv_(self._terms.T, self._signs[turn])

    def end_(self) -> None:
        """After the last update."""
        torch.mul(self._next, 1.0 / self._n_summed, out=self.offset)


class _PlainUpdates:
    """Updates by plain descent, all with as many rows, as launches on memory of their own.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    rows : Tensor of shape (n_together * n_data, n_features)
        The first ones are copied; others of their kind follow.
    n_data : int
        Rows of an update.
    """

    def __init__(self, state: TrainState, rows: Tensor, n_data: int) -> None:
        settings, params, centering = state.settings, state.params, state.centering
        W, dtype = params.W, state.backend.state_dtype
        self._state, self._k, self._backend, self._damping = state, state.k, state.backend, state.damping
        self._is_contrastive = settings.algorithm == "cd"
        self.h = aligned_empty((n_data, params.n_hidden), dtype, W.device) if self._is_contrastive else state.h
        self.phases, self._memory = state.buffer.phases(n_data, len(self.h)), state.buffer.memory
        n = len(self.phases.all)
        self.rows = torch.empty_like(rows)
        self._n_draws = state.k * (self.phases.chains.numel() + self.h.numel())
        self._is_drawn = settings.binarize == "sample" and rows.is_floating_point()
        # ±1/n of each row, and a one for each row of the data and for each chain.
        self._signs = self.phases.signs(W)
        self._steps = torch.empty_like(self._signs)
        self._ones = torch.zeros((2, n), dtype=dtype, device=W.device)
        self._ones[0, :n_data] = self._ones[1, n_data:] = 1.0
        self._share = self._signs.clamp_min(0.0)[:n_data].clone()  # of each row in a mean of the data
        self._counted = torch.tensor([1.0 / n_data, -1.0 / self.phases.n_chains], dtype=W.dtype, device=W.device)
        self._count_steps = torch.empty_like(self._counted)
        self._kept = W.new_empty(_MOST.bit_length())  # share of the weights that the decay of 1, 2, 4 … updates leaves
        self._scaled = aligned_empty((n, params.n_hidden), dtype, W.device)
        rate = settings.offset_rate
        self._mu = None if centering.mu is None else _Offsets(centering.mu, params.n_hidden, rate, n_data)
        self._lam = None if centering.lam is None else _Offsets(centering.lam, params.n_features, rate, 1)
        self._damped = None if state.damping is None else state.damping.share[:, None] * state.damping.directions
        self._rate = -1.0

    def suit(self, rows: Tensor, n_data: int) -> bool:
        """Whether so many rows an update, of this kind, can be worked on where these updates work."""
        state = self._state
        state.buffer.phases(n_data, len(self.h))  # makes room
        return (
            n_data == self.phases.n_data
            and rows.dtype == self.rows.dtype
            and len(rows) <= len(self.rows)
            and state.buffer.memory is self._memory
            and (self._is_contrastive or state.h is self.h)
            and (state.k, state.backend, state.damping) == (self._k, self._backend, self._damping)
        )

    def set_rate_(self, rate: float) -> None:
        """Take the learning rate of the updates that follow."""
        if rate == self._rate:
            return
        self._rate = rate
        torch.mul(self._signs, rate, out=self._steps)
        torch.mul(self._counted, rate, out=self._count_steps)
        kept = [(1.0 - rate * self._state.settings.decay) ** (1 << i) for i in range(len(self._kept))]
        self._kept.copy_(torch.tensor(kept))

    @torch.inference_mode()
    def run_(self, n: int) -> None:
        """So many updates, on the rows that `rows` begins with; a power of two.

        Offsets are the same for all of them, and weights decay once, by as much as in all together.
        """
        state, n_data = self._state, self.phases.n_data
        device, W = state.params.W.device, state.params.W
        uniform = state.streams.chains.uniform(n * self._n_draws, device).view(n, -1)
        pixels = None
        if self._is_drawn:
            pixels = state.streams.pixels.uniform(n * self.phases.data.numel(), device).view(n, -1)
        if self._mu is not None:
            self._mu.begin_(W)
        if self._lam is not None:
            self._lam.begin_(W.T)
        for i in range(n):
            v = self.rows[i * n_data : (i + 1) * n_data]
            if pixels is None:
                binarize_rows(v, state.settings.binarize, state.streams.pixels, out=self.phases.data)
            else:
                bernoulli_(self.phases.data, v, pixels[i])
            mean_h = (self._reconstruct_ if self._is_contrastive else self._move_chains_)(uniform[i])
            self._descend_(mean_h, i % 2, self._kept[n.bit_length() - 1] if i == 0 and state.settings.decay else None)
            state.backend.refresh_()
        for offsets in (self._mu, self._lam):
            if offsets is not None:
                offsets.end_()

    # -- the two phases, as in `training.update` -----------------------------------------------------------------------

    def _move_chains_(self, uniform: Tensor) -> Tensor:
        """k Gibbs steps of the persistent chains; P(h = 1 | v) of all rows."""
        state, chains = self._state, self.phases.chains
        machine, n_v = state.params, chains.numel()
        for step, numbers in enumerate(uniform.view(state.k, -1)):
            machine.visible.draw_(chains, state.backend.mean_v(self.h), numbers[:n_v])
            mean_h = state.backend.mean_h(self.phases.all if step == state.k - 1 else chains)
            machine.hidden.draw_(self.h, mean_h[-len(self.h) :], numbers[n_v:])
        return mean_h

    def _reconstruct_(self, uniform: Tensor) -> Tensor:
        """k Gibbs steps from the data; P(h = 1 | v) of all rows."""
        state, chains = self._state, self.phases.chains
        machine, n_h = state.params, self.h.numel()
        mean_h = mean_h_data = state.backend.mean_h(self.phases.data)
        for numbers in uniform.view(state.k, -1):
            machine.hidden.draw_(self.h, mean_h, numbers[:n_h])
            machine.visible.draw_(chains, state.backend.mean_v(self.h), numbers[n_h:])
            mean_h = state.backend.mean_h(chains)
        return torch.cat((mean_h_data, mean_h))

    # -- the step ------------------------------------------------------------------------------------------------------

    def _descend_(self, mean_h: Tensor, turn: int, kept: Tensor | None) -> None:
        """What `training.update` does in `_descend_`, with the rate in the signs of the rows."""
        params, mu, lam = self._state.params, self._mu, self._lam
        W, v = params.W, self.phases.all
        counts = float_mm(self._ones, params.visible.statistics(v))  # Σ v of the data and of the chains
        dh = torch.mv(mean_h.T, self._steps, out=W.new_empty(len(W)) if mu is None else mu.added)  # rate Δ⟨h⟩
        dv = None if lam is None else torch.mv(counts.T, self._count_steps, out=lam.added)  # rate Δ⟨v⟩
        excess = None if self._damped is None else self._excess(mean_h, dh, dv)
        torch.mul(mean_h, self._steps[:, None], out=self._scaled)
        if kept is not None:
            W.mul_(kept)
        add_mm_(W, self._scaled.T, v)
        if mu is not None:
            W.addr_(dh, mu.offset, alpha=-1.0)
        if lam is not None and dv is not None:
            W.addr_(lam.offset, dv, alpha=-1.0)
        if excess is not None and self._damping is not None:
            W.addmm_(excess.T, self._damping.directions, alpha=-1.0)
        if mu is None:
            params.c.add_(dh)
        else:
            mu.follow_(turn, counts[0], W, params.c)
        if lam is None:
            params.b.addmv_(counts.T, self._count_steps)
        else:
            lam.follow_(turn, torch.mv(mean_h[: self.phases.n_data].T, self._share), W.T, params.b)

    def _excess(self, mean_h: Tensor, dh: Tensor, dv: Tensor | None) -> Tensor:
        """diag(share) U ΔW', what damping is to take off: (n_directions, n_hidden)."""
        assert self._damped is not None
        along = float_mm(self.phases.all, self._damped.T.to(self.phases.all.dtype)).mul_(self._steps[:, None])
        excess = along.T @ mean_h
        if self._mu is not None:
            excess.addr_(torch.mv(self._damped, self._mu.offset), dh, alpha=-1.0)
        if self._lam is not None and dv is not None:
            excess.addr_(torch.mv(self._damped, dv), self._lam.offset, alpha=-1.0)
        return excess


class DeviceUpdates(SeveralUpdates):
    """Makes the updates of a training where they are plain descent on rows without weights, several at a time.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    """

    looks_itself = takes_kept = False

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._updates: _PlainUpdates | None = None
        self._replays: dict[int, Callable[[], None] | None] = {}  # by number of updates; None where recording failed
        self._n_last = 0  # rows of the last batch of another size
        self._n_warm = 0  # runs without a graph so far: the first sets up what mustn't be set up during a recording

    def begin_(self) -> None:
        """Nothing to do: what is recorded works on the machine itself."""

    def end_(self) -> None:
        """Nothing to do."""

    @property
    def most_together(self) -> int:
        """How many updates it makes at a time at most: a power of two."""
        state = self._state
        draws = state.k * max(len(state.h), 1) * (state.params.n_features + state.params.n_hidden)
        n = _MOST
        while n > 1 and n * draws > _MOST_DRAWS:
            n //= 2
        return n

    def make_(self, batch: Batch, n: int, n_to_come: int) -> bool:
        """Make `n` updates on as many rows each; whether it could.

        Parameters
        ----------
        batch : Batch
            The rows, (n * n_data, n_features).
        n : int
            A power of two, at most `most_together`.
        n_to_come : int
            Updates that are about to follow, these among them: where they are few, recording doesn't pay.
        """
        state, rows = self._state, batch.v
        if not state.is_plain_descent:
            return False
        n_data = len(rows) // n
        updates = self._updates
        if updates is None or not updates.suit(rows, n_data):
            if updates is not None and n_data not in (updates.phases.n_data, self._n_last):
                self._n_last = n_data
                return False  # a single batch of another size, such as the last one: what is recorded stays
            staged = rows.new_empty((self.most_together * n_data, rows.shape[1]))
            updates, self._replays, self._n_warm = _PlainUpdates(state, staged, n_data), {}, 0
            self._updates = updates
        updates.rows[: len(rows)].copy_(rows)
        updates.set_rate_(state.learning_rate)
        if n not in self._replays and self._n_warm and n_to_come >= _PAYS_FROM and rows.is_cuda:
            streams = [state.streams.pixels, state.streams.chains]
            self._replays[n] = record(lambda: updates.run_(n), streams, rows.device)
        replay = self._replays.get(n)
        if replay is None:
            self._n_warm += 1
            updates.run_(n)
        else:
            replay()
        state.h = updates.h
        state.n_updates += n
        return True
