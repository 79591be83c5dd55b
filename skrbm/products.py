"""The matrix products of an update, each in the precision and by the kernel that suit the machine.

An update multiplies rows of states with the weights and with each other: W'h, Wv, and Σ h v' over the rows of both
phases. `FloatProducts` does so in the float type of the weights. `Int8Products` does where all states are bits: those
are exact as integers of 8 bits, the weights are rounded to such for the products (and kept in full), and what integer
units take for a product is a quarter of what float32 takes. The probabilities in Σ h v' are rounded at random, so that
their mean stays what it is.

Both read the weights through `refresh_`, which is to be called whenever they have changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from skrbm.model import RBMParameters
from skrbm.randomness import Stream
from skrbm.units import BERNOULLI

__all__ = ["FloatProducts", "Int8Products", "Products", "has_int8", "linear"]


_BLOCK = 1 << 19  # elements of W that are worked on at a time, so that they stay in the processor's cache
_MAX_DITHER = 1 << 18
_DATA, _MODEL = torch.tensor([1, 0], dtype=torch.int8), torch.tensor([0, 1], dtype=torch.int8)


class Products(Protocol):
    """Products with the weights of one machine.

    Attributes
    ----------
    state_dtype : torch.dtype
        Of the rows of states, `v` and `h`.
    """

    state_dtype: torch.dtype

    def refresh_(self) -> None:
        """Take note that the weights have changed."""

    def restart_(self) -> None:
        """Take note of the weights as if they were new: nothing of earlier ones counts any more."""

    def mean_h(self, v: Tensor) -> Tensor:
        """P(h = 1 | v), (n, n_hidden), in the float type of the weights."""

    def mean_v(self, h: Tensor) -> Tensor:
        """P(v = 1 | h), (n, n_features), in the float type of the weights."""

    def add_contrast_(
        self, target: Tensor, mean_h: Tensor, v: Tensor, n_data: int, stream: Stream, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        """target ← beta target + alpha (⟨h v'⟩ of the data - ⟨h v'⟩ of the chains).

        Parameters
        ----------
        target : Tensor of shape (n_hidden, n_features)
            Changed in place.
        mean_h : Tensor of shape (n, n_hidden)
            P(h = 1 | v) of the rows. Overwritten.
        v : Tensor of shape (n, n_features)
            The rows, first those of the data, then the chains.
        n_data : int
            How many are data.
        stream : Stream
            Randomness of rounding.
        alpha, beta : float
            Factors. With beta 0 it doesn't matter what `target` held.

        Returns
        -------
        data_v, model_v : Tensor of shape (n_features,)
            ⟨v⟩ of the data and of the chains.
        """


def linear(v: Tensor, W: Tensor, bias: Tensor, post: str = "none") -> Tensor:
    """v W' + bias, or its sigmoid where `post` is "sigmoid": (n, n_out) for v (n, n_in) and W (n_out, n_in).

    For float32 on the CPU by oneDNN, which takes the sigmoid along, and on AMD processors is up to twice as fast as
    torch's own choice (MKL).
    """
    if _onednn is not None and v.dtype == torch.float32 and v.device.type == "cpu" and len(v) > 1:
        return _onednn(v, W, bias, post, [], "")
    inputs = torch.addmm(bias, v, W.T)
    return inputs.sigmoid_() if post == "sigmoid" else inputs


def _find_onednn():  # type: ignore[no-untyped-def]
    """oneDNN's linear layer, private to torch; None where it is missing or doesn't do what is expected."""
    try:
        kernel = torch.ops.mkldnn._linear_pointwise
        v, W, bias = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, -4.0]]), torch.tensor([0.5])
        for weights in (W, W.T.contiguous().T):
            if not torch.allclose(kernel(v, weights, bias, "sigmoid", [], ""), torch.addmm(bias, v, W.T).sigmoid()):
                return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return kernel


def _find_int8():  # type: ignore[no-untyped-def]
    """torch's product of integers of 8 bits, private; None where it is missing or the processor has no units for it."""
    try:
        capabilities = torch.cpu.get_capabilities()
        if not any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")):
            return None
        kernel = torch._int_mm
        a, b = (torch.tensor(rows, dtype=torch.int8) for rows in ([[127, -127]] * 20, [[127, 1], [-127, 1]]))
        out = torch.empty((20, 2), dtype=torch.int32)
        kernel(a, b, out=out)
        if out[-1].tolist() != [2 * 127 * 127, 0]:
            return None
    except (AttributeError, RuntimeError, TypeError):
        return None
    return kernel


_onednn, _int_mm = _find_onednn(), _find_int8()


def has_int8(device: torch.device) -> bool:
    """Whether `Int8Products` work and pay on this device."""
    return device.type == "cpu" and _int_mm is not None


class FloatProducts(Products):
    """In the float type of the weights, on any device."""

    def __init__(self, params: RBMParameters) -> None:
        self._params = params
        self.state_dtype = params.W.dtype
        self._post_h = "sigmoid" if params.hidden is BERNOULLI else "none"
        self._post_v = "sigmoid" if params.visible is BERNOULLI else "none"

    def refresh_(self) -> None:
        """Nothing to do: the products read the weights themselves."""

    restart_ = refresh_

    def mean_h(self, v: Tensor) -> Tensor:
        mean = linear(v, self._params.W, self._params.c, self._post_h)
        return mean if self._post_h == "sigmoid" else self._params.hidden.mean(mean)

    def mean_v(self, h: Tensor) -> Tensor:
        mean = linear(h, self._params.W.T, self._params.b, self._post_v)
        return mean if self._post_v == "sigmoid" else self._params.visible.mean(mean)

    def add_contrast_(
        self, target: Tensor, mean_h: Tensor, v: Tensor, n_data: int, stream: Stream, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        mean_h[n_data:].mul_(-n_data / (len(v) - n_data))
        target.addmm_(mean_h.T, v, beta=beta, alpha=alpha / n_data)
        return v[:n_data].mean(0), v[n_data:].mean(0)


class Int8Products(Products):
    """In integers of 8 bits, for states that are bits and weights in float32, on the CPU.

    Notes
    -----
    The weights are rounded to multiples of their largest magnitude over 127. That moves the inputs of units by
    `input_error`; training sees rounded weights and updates the full ones (as in quantisation-aware training).
    """

    state_dtype = torch.int8

    def __init__(self, params: RBMParameters) -> None:
        self._params = params
        n_hidden, n_features = params.W.shape
        self._n_rows = min(n_hidden, max(64, _BLOCK // n_features))  # of W that are worked on at a time
        self._W = torch.empty((n_hidden, n_features), dtype=torch.int8)
        self._floats = torch.empty((self._n_rows, n_features))
        self._sums = torch.empty((self._n_rows + 2, n_features), dtype=torch.int32)
        self.restart_()

    def restart_(self) -> None:
        self._largest, self._step = 0.0, 0.0
        self._wait, self._interval = 0, 1  # updates until the next look at the largest weight, and between two
        self.refresh_()

    @property
    def input_error(self) -> float:
        """Root mean square of what rounding adds to an input, if a hundred units are on."""
        return self._step * math.sqrt(100 / 12)

    def refresh_(self) -> None:
        if self._wait == 0:
            self._rescale()
        self._wait -= 1
        for rows in self._blocks():
            scaled = torch.mul(self._params.W[rows], 1.0 / self._step, out=self._floats[: rows.stop - rows.start])
            self._W[rows].copy_(scaled.clamp_(-127.0, 127.0).round_())

    def _rescale(self) -> None:
        """Let the largest weight, and what it may grow by until the next look, be 127."""
        low, high = self._params.W.aminmax()
        largest = max(-float(low), float(high), 1e-6)
        room = 0.05 * largest
        grown = max(largest - self._largest, 0.0) / self._interval
        self._interval = max(1, min(50, 2 * self._interval, int(room / max(2.0 * grown, 1e-9))))
        self._largest, self._wait = largest, self._interval
        self._step = (largest + room) / 127.0

    def mean_h(self, v: Tensor) -> Tensor:
        return self._mean(_int_mm(v, self._W.T), self._params.c)

    def mean_v(self, h: Tensor) -> Tensor:
        return self._mean(_int_mm(h, self._W), self._params.b)

    def _mean(self, sums: Tensor, bias: Tensor) -> Tensor:
        inputs = sums.to(bias.dtype)
        return torch.add(bias, inputs, alpha=self._step, out=inputs).sigmoid_()

    def add_contrast_(
        self, target: Tensor, mean_h: Tensor, v: Tensor, n_data: int, stream: Stream, alpha: float, beta: float
    ) -> tuple[Tensor, Tensor]:
        n_hidden, n_model = mean_h.shape[1], len(v) - n_data
        level = 127.0 * min(1.0, n_model / n_data)  # of a one in the data; the chains' is n_data / n_model times that
        rounded = torch.empty((len(v), n_hidden + 2), dtype=torch.int8)
        rounded[:n_data, n_hidden:] = _DATA
        rounded[n_data:, n_hidden:] = _MODEL
        _round_at_random(rounded[:n_data, :n_hidden], mean_h[:n_data], level, stream)
        _round_at_random(rounded[n_data:, :n_hidden], mean_h[n_data:], -level * n_data / n_model, stream)
        if beta == 0.0:
            target.zero_()
        elif beta != 1.0:
            target.mul_(beta)
        for rows in self._blocks():
            n = rows.stop - rows.start
            columns = slice(rows.start, rows.stop + 2 * (rows.stop == n_hidden))  # the last block has the sums of v
            sums = self._sums[: columns.stop - columns.start]
            _int_mm(rounded[:, columns].T, v, out=sums)
            target[rows].add_(self._floats[:n].copy_(sums[:n]), alpha=alpha / (level * n_data))
        return sums[-2] / n_data, sums[-1] / n_model

    def _blocks(self) -> Iterator[slice]:
        n_hidden = len(self._W)
        for first in range(0, n_hidden, self._n_rows):
            yield slice(first, min(first + self._n_rows, n_hidden))


def _round_at_random(out: Tensor, p: Tensor, level: float, stream: Stream) -> None:
    """`level` p, rounded up or down so that the mean stays; down to 0, if level is negative."""
    n_rows = max(1, _MAX_DITHER // p.shape[1])
    for first in range(0, len(p), n_rows):
        rows = p[first : first + n_rows]
        dither = stream.dither(rows.numel()).view(rows.shape)
        magnitude = torch.add(dither, rows, alpha=abs(level))
        out[first : first + n_rows].copy_(magnitude if level > 0 else magnitude.neg_())  # cut towards 0
