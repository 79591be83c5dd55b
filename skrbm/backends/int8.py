"""Products in integers of 8 bits, for processors with units for these: a quarter of the time that float32 takes.

All states are bits, which are exact in any type. The weights are rounded for the products and kept in full; the
probabilities in Σ h v' are rounded at random, so that their mean stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from skrbm.backends.protocol import Backend, Contrast, Damping, Phases
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.support.kernels import int8_mm
from skrbm.support.randomness import Stream, dither_at

_BLOCK = 1 << 19  # elements of W that are worked on at a time: 2 MB of float32, which stay in the processor's cache
# Rounding may move an input by this much, root mean square; at 100 units on, the largest weight is about 6 then.
_MAX_INPUT_ERROR = 0.15
# 1.5 · 2^23 added to a float32 shifts its integer part to the end of the mantissa, in two's complement.
_LAST_BITS = torch.tensor(1.5 * 2**23)
# Two more columns beside h: a one for each row of data in the first, for each chain in the second. Their products with
# v are the sums of v over each phase, for nothing.
_DATA, _MODEL = torch.tensor([1, 0], dtype=torch.int8), torch.tensor([0, 1], dtype=torch.int8)


class Int8Backend(Backend):
    """In integers of 8 bits, for states that are bits and weights in float32, on the CPU.

    Attributes
    ----------
    narrow : Tensor of shape (n_hidden, n_features)
        The weights, rounded.
    unit : float
        The weight that the integer 1 stands for.

    Notes
    -----
    The weights are rounded to multiples of their largest magnitude over 127. That moves the inputs of units by
    `input_error`; training sees rounded weights and updates the full ones (as in quantisation-aware training).
    """

    state_dtype: torch.dtype = torch.int8
    narrow: Tensor
    unit: float

    def __init__(self, params: RBMParameters) -> None:
        self.params = params
        n_hidden, n_features = params.W.shape
        self._n_rows = min(n_hidden, max(64, _BLOCK // n_features))  # of W that are worked on at a time
        self.narrow = torch.empty((n_hidden, n_features), dtype=torch.int8)
        self._floats = torch.empty((self._n_rows, n_features))
        self._sums = torch.empty((self._n_rows + 2, n_features), dtype=torch.int32)
        self.unit = 0.0
        self._headroom = -1.0  # what the largest weight may still grow by before that has to change
        self.refresh_()

    @property
    def input_error(self) -> float:
        """Root mean square of what rounding adds to an input, if a hundred units are on."""
        return self.unit * math.sqrt(100 / 12)  # 1/12 is the variance of a uniform rounding error

    @property
    def suffices(self) -> bool:
        return self.input_error <= _MAX_INPUT_ERROR

    def know_largest_(self, largest: float) -> None:
        """Take note of the largest weight, by whoever has rounded the weights on the way."""
        self._headroom = 127.0 * self.unit - largest
        if self._headroom < 0.0:
            self.refresh_(0.0)

    def refresh_(self, max_change: float = math.inf) -> None:
        self._headroom -= max_change
        if self._headroom < 0.0:
            low, high = self.params.W.aminmax()
            largest = max(-float(low), float(high), 1e-6)
            # A quarter in reserve: looking for the largest weight takes as long as rounding.
            self._headroom = 0.0 if max_change == math.inf else max(0.25 * largest, 2.0 * max_change)
            self.unit = (largest + self._headroom) / 127.0
        for rows in self._blocks():
            # The sum ends in the rounded weight in two's complement, of which the conversion takes the last 8 bits.
            scaled = torch.add(
                _LAST_BITS, self.params.W[rows], alpha=1.0 / self.unit, out=self._floats[: _length(rows)]
            )
            self.narrow[rows].copy_(scaled.view(torch.int32))

    def mean_h(self, v: Tensor) -> Tensor:
        return self._mean(self.params.hidden, int8_mm(v, self.narrow.T), self.params.c)

    def mean_v(self, h: Tensor) -> Tensor:
        return self._mean(self.params.visible, int8_mm(h, self.narrow), self.params.b)

    def _mean(self, unit: Unit, sums: Tensor, bias: Tensor) -> Tensor:
        return unit.mean_(torch.add(bias, sums, alpha=self.unit))

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        phases: Phases,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
        damping: Damping | None = None,
    ) -> Contrast:
        n_hidden, n_data, n_model, v = mean_h.shape[1], phases.n_data, phases.n_chains, phases.all
        dh = torch.mv(mean_h.T, phases.signs(mean_h))
        dW_mu, excess, left, right = _low_rank(mean_h, phases, dh, mu, damping)
        level, model_level = levels(n_data, n_model)
        rounded = self._rounded(phases.of(mean_h), level, model_level, stream)
        for rows in self._blocks():
            n, last = _length(rows), 2 * (rows.stop == n_hidden)  # the last block has the sums of v, see _DATA
            sums = int8_mm(rounded[:, rows.start : rows.stop + last].T, v, out=self._sums[: n + last])
            if beta == 0.0:
                torch.mul(sums[:n], alpha / (level * n_data), out=target[rows])
            else:  # beta follows below, with the terms of low rank
                target[rows].add_(sums[:n], alpha=alpha / (level * n_data * beta))
        if len(left):
            target.addmm_(left.T, right, beta=beta or 1.0, alpha=-alpha)
        elif beta not in (0.0, 1.0):
            target.mul_(beta)
        return Contrast(sums[-2] / n_data, sums[-1] / n_model, dh, dW_mu, excess)

    def _rounded(self, mean_h: Phases, level: float, model_level: float, stream: Stream) -> Tensor:
        """P(h = 1 | v) times the levels, negative for the chains, rounded at random with the mean kept; and `_DATA`.

        Shape (n, n_hidden + 2). Where both levels are 127, all rows are rounded by the same numbers, one for each unit:
        what rounding does to the means over both phases is then about the same, and Δ⟨h v'⟩ has next to nothing of it.
        (With other numbers for each phase, rounding moves W along ⟨v⟩, and so the inputs of hidden units by ⟨v⟩'⟨v⟩
        times as much.) Where one level is lower, each row has its own.
        """
        of_data, of_chains = stream.places()
        n, n_hidden = mean_h.all.shape
        rounded = mean_h.of(torch.empty((n, n_hidden + 2), dtype=torch.int8))
        for place, out, means, factor, ones in zip(
            (of_data, of_data if level == model_level else of_chains),
            (rounded.data, rounded.chains),
            (mean_h.data, mean_h.chains),
            (level, model_level),
            (_DATA, _MODEL),
            strict=True,
        ):
            out[:, n_hidden:] = ones
            dither = dither_at(place, n_hidden if level == model_level else means.numel()).view(-1, n_hidden)
            out[:, :n_hidden].copy_(torch.add(dither, means, alpha=factor))  # cut towards 0
        rounded.chains[:, :n_hidden].neg_()
        return rounded.all

    def _blocks(self) -> Iterator[slice]:
        n_hidden = len(self.narrow)
        for first in range(0, n_hidden, self._n_rows):
            yield slice(first, min(first + self._n_rows, n_hidden))


def levels(n_data: int, n_chains: int) -> tuple[float, float]:
    """What a one is as an integer, in the data and in the chains: as n_data to n_chains is the second to the first."""
    level = 127.0 * min(1.0, n_chains / n_data)
    return level, level * n_data / n_chains


def _length(rows: slice) -> int:
    return rows.stop - rows.start


def _low_rank(
    mean_h: Tensor, phases: Phases, dh: Tensor, mu: Tensor | None, damping: Damping | None
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Δ⟨h (v - μ)'⟩ P μ and its excess, see `Contrast`; and the factors of what goes off Δ⟨h v'⟩, Δ⟨h⟩ μ' and more."""
    onto = [] if mu is None else [mu[None]]
    onto += [] if damping is None else [damping.directions]
    if not onto:
        return None, None, dh.new_empty((0, len(dh))), dh.new_empty((0, phases.all.shape[1]))
    right = torch.cat(onto)  # μ and U, (n, n_features); the products with so few rows are fastest from this side
    along = (right @ phases.all.to(dh.dtype).T).mul_(phases.signs(mean_h))
    left = along @ mean_h  # (μ, U) Δ⟨v h'⟩, (n, n_hidden)
    dW_mu = excess = None
    if mu is not None:
        onto_mu = torch.mv(right, mu)
        left.addr_(onto_mu, dh, alpha=-1.0)
        dW_mu = left[0].clone()
        left[0] = dh
    if damping is not None:
        excess = left[-len(damping.share) :].mul_(damping.share[:, None])
        if dW_mu is not None:
            dW_mu -= onto_mu[1:] @ excess
    return dW_mu, excess, left, right
