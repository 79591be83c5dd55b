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
from skrbm.rows.source import binarize_rows
from skrbm.support.kernels import add_mm_, float_mm
from skrbm.support.randomness import bernoulli_
from skrbm.support.tensors import aligned_empty
from skrbm.training.state import TrainState

_MOST = 8  # updates that are recorded together: a power of two
_MOST_DRAWS = 1 << 24  # numbers that they may draw at once: 64 MB
_PAYS_FROM = 100  # updates to come from which on recording pays


class _Offsets:
    """Follows the offset of one layer and the product of the weights with it, over updates in a row.

    The biases of the other layer are to stay those of the centred machine, c̃ = c + Wμ, but for what an update adds. So
    c moves by that, by Wμ as it was before the update, and by -Wμ as it is after. Then the offset moves on. The
    products with the old offset and the new are one product with two columns, and so nothing is computed twice.

    Parameters
    ----------
    offset : Tensor of shape (n,)
        Offset of the layer: μ of the visible, λ of the hidden one.
    n_other : int
        Units of the other layer.
    rate : float
        Of the moving average.
    """

    def __init__(self, offset: Tensor, n_other: int, rate: float) -> None:
        self.offset, self._rate = offset, rate
        self.by_turns = offset.new_empty((2, len(offset)))  # the offset now and the next one, in turns
        # In turns: what the update adds, and the products with both offsets.
        self._terms = offset.new_zeros((6, n_other))
        signs = [[1.0, -1.0, 0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0, 0.0, -1.0]]
        self._signs = torch.tensor(signs, dtype=offset.dtype, device=offset.device)

    def begin_(self, W: Tensor) -> None:
        """Before the first update; W (n_other, n)."""
        self.by_turns[0].copy_(self.offset)
        torch.mv(W, self.offset, out=self._terms[4])

    def added(self, turn: int) -> Tensor:
        """Where the update of this turn writes what it adds to the bias."""
        return self._terms[3 * turn]

    def move_(self, turn: int, mean: Tensor, W: Tensor, bias: Tensor) -> None:
        """After the update has moved W: let the bias follow, and the offset move towards the mean of the data."""
        torch.lerp(self.by_turns[turn], mean, self._rate, out=self.by_turns[1 - turn])
        torch.mm(self.by_turns, W.T, out=self._terms[3 * turn + 1 : 3 * turn + 3])
        bias.addmv_(self._terms.T, self._signs[turn])

    def end_(self, turn: int) -> None:
        """After the last update, before which it would have been the turn's."""
        self.offset.copy_(self.by_turns[turn])


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
        self._signs, self._steps = self.phases.signs(W), torch.empty_like(self.phases.signs(W))
        self._ones = torch.zeros((2, n), dtype=dtype, device=W.device)
        self._ones[0, :n_data] = self._ones[1, n_data:] = 1.0
        self._share = self._signs.clamp_min(0.0)[:n_data].clone()  # of each row in a mean of the data
        self._counted = torch.tensor([1.0 / n_data, -1.0 / self.phases.n_chains], dtype=W.dtype, device=W.device)
        self._count_steps = torch.empty_like(self._counted)
        self._kept = W.new_empty(())  # share of the weights that decay leaves
        self._scaled = aligned_empty((n, params.n_hidden), dtype, W.device)
        rate = settings.offset_rate
        self._mu = None if centering.mu is None else _Offsets(centering.mu, params.n_hidden, rate)
        self._lam = None if centering.lam is None else _Offsets(centering.lam, params.n_features, rate)
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
        self._kept.fill_(1.0 - rate * self._state.settings.decay)

    @torch.inference_mode()
    def run_(self, n: int) -> None:
        """So many updates, on the rows that `rows` begins with."""
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
            self._descend_(mean_h, i % 2)
            state.backend.refresh_()
        for offsets in (self._mu, self._lam):
            if offsets is not None:
                offsets.end_(n % 2)

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

    def _descend_(self, mean_h: Tensor, turn: int) -> None:
        """What `training.update` does in `_descend_`, with the rate in the signs of the rows."""
        params, mu, lam = self._state.params, self._mu, self._lam
        W, v = params.W, self.phases.all
        counts = float_mm(self._ones, params.visible.statistics(v))  # Σ v of the data and of the chains
        dh = W.new_empty(len(W)) if mu is None else mu.added(turn)
        torch.mv(mean_h.T, self._steps, out=dh)  # rate Δ⟨h⟩
        dv = None
        if lam is not None:
            dv = torch.mv(counts.T, self._count_steps, out=lam.added(turn))  # rate Δ⟨v⟩
        excess = None if self._damping is None else self._excess(mean_h, dh, dv, turn)
        torch.mul(mean_h, self._steps[:, None], out=self._scaled)
        if self._state.settings.decay:
            W.mul_(self._kept)
        add_mm_(W, self._scaled.T, v)
        if mu is not None:
            W.addr_(dh, mu.by_turns[turn], alpha=-1.0)
        if lam is not None and dv is not None:
            W.addr_(lam.by_turns[turn], dv, alpha=-1.0)
        if excess is not None and self._damping is not None:
            W.addmm_(excess.T, self._damping.directions, alpha=-1.0)
        if mu is None:
            params.c.add_(dh)
        else:
            mu.move_(turn, counts[0] * self._share[0], W, params.c)
        if lam is None:
            params.b.addmv_(counts.T, self._count_steps)
        else:
            lam.move_(turn, torch.mv(mean_h[: self.phases.n_data].T, self._share), W.T, params.b)

    def _excess(self, mean_h: Tensor, dh: Tensor, dv: Tensor | None, turn: int) -> Tensor:
        """diag(share) U ΔW', what damping is to take off: (n_directions, n_hidden)."""
        assert self._damped is not None
        along = float_mm(self.phases.all, self._damped.T.to(self.phases.all.dtype)).mul_(self._steps[:, None])
        excess = along.T @ mean_h
        if self._mu is not None:
            excess.addr_(torch.mv(self._damped, self._mu.by_turns[turn]), dh, alpha=-1.0)
        if self._lam is not None and dv is not None:
            excess.addr_(torch.mv(self._damped, dv), self._lam.by_turns[turn], alpha=-1.0)
        return excess


class DeviceUpdates:
    """Makes the updates of a training where they are plain descent on rows without weights, several at a time.

    Parameters
    ----------
    state : TrainState
        Changed in place.
    """

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._updates: _PlainUpdates | None = None
        self._replays: dict[int, Callable[[], None] | None] = {}  # by number of updates; None where recording failed
        self._n_last = 0  # rows of the last batch of another size
        self._n_warm = 0  # runs without a graph so far: the first sets up what mustn't be set up during a recording

    @property
    def most_together(self) -> int:
        """How many updates it makes at a time at most: a power of two."""
        state = self._state
        draws = state.k * max(len(state.h), 1) * (state.params.n_features + state.params.n_hidden)
        n = _MOST
        while n > 1 and n * draws > _MOST_DRAWS:
            n //= 2
        return n

    def make_(self, rows: Tensor, n: int, n_to_come: int) -> bool:
        """Make `n` updates on so many rows each; whether it could.

        Parameters
        ----------
        rows : Tensor of shape (n * n_data, n_features)
            The rows.
        n : int
            A power of two, at most `most_together`.
        n_to_come : int
            Updates that are about to follow, these among them: where they are few, recording doesn't pay.
        """
        state = self._state
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
