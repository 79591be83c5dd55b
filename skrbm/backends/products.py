"""The matrix products of an update, each in the precision and by the kernel that suit the machine.

An update multiplies rows of states with the weights and with each other: W'h, Wv, and Σ h v' over the rows of both
phases. `FloatProducts` does so in the float type of the weights. Where all states are bits, which are exact in any
type, `Int8Products` rounds the weights to integers of 8 bits for the products (and keeps them in full): integer units
of a processor take a quarter of the time that float32 takes. The probabilities in Σ h v' are rounded at random, so that
their mean stays what it is. `Bfloat16Products` does likewise in bfloat16, for GPUs.

`refresh_` is to be called whenever the weights have changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_h
from skrbm.support.randomness import TABLE, Stream

__all__ = ["Bfloat16Products", "Contrast", "FloatProducts", "Int8Products", "Products", "has_int8"]


_BLOCK = 1 << 19  # elements of W that are worked on at a time, so that they stay in the processor's cache
_LAST_BITS = torch.tensor(1.5 * 2**23)  # added to a float32, it shifts the integer part to the end of the mantissa
_SUMS_IN_FLOAT32 = any("out_dtype" in str(schema) for schema in torch._C._jit_get_schemas_for_operator("aten::mm"))
_DATA, _MODEL = torch.tensor([1, 0], dtype=torch.int8), torch.tensor([0, 1], dtype=torch.int8)


class Products(Protocol):
    """Products with the weights of one machine.

    Attributes
    ----------
    state_dtype : torch.dtype
        Of the rows of states, `v` and `h`.
    """

    state_dtype: torch.dtype

    def refresh_(self, reach: float = math.inf) -> None:
        """Take note that the weights have changed, each by at most `reach`."""

    def mean_h(self, v: Tensor) -> Tensor:
        """P(h = 1 | v), (n, n_hidden), in the float type of the weights."""

    def mean_v(self, h: Tensor) -> Tensor:
        """P(v = 1 | h), (n, n_features), in the float type of the weights."""

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        v: Tensor,
        n_data: int,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
    ) -> Contrast:
        """target ← beta target + alpha Δ⟨h (v - μ)'⟩, where Δ is the mean over the data less that over the chains.

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
        mu : Tensor of shape (n_features,), optional
            What the visible layer is centred at; without it, 0.
        """


class Contrast(NamedTuple):
    """What a contrast comes with.

    Attributes
    ----------
    data_v, model_v : Tensor of shape (n_features,)
        ⟨v⟩ of the data and of the chains.
    dh : Tensor of shape (n_hidden,)
        Δ⟨h⟩.
    dW_mu : Tensor of shape (n_hidden,) or None
        Δ⟨h (v - μ)'⟩ μ.
    """

    data_v: Tensor
    model_v: Tensor
    dh: Tensor
    dW_mu: Tensor | None


def _find_int8() -> Any:
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


_int_mm = _find_int8()


def has_int8(device: torch.device) -> bool:
    """Whether `Int8Products` work and pay on this device."""
    return device.type == "cpu" and _int_mm is not None


class FloatProducts(Products):
    """In the float type of the weights, on any device."""

    def __init__(self, params: RBMParameters) -> None:
        self._params = params
        self.state_dtype = params.W.dtype

    def refresh_(self, reach: float = math.inf) -> None:
        """Nothing to do: the products read the weights themselves."""

    def mean_h(self, v: Tensor) -> Tensor:
        return mean_h_given_v(self._params, v)

    def mean_v(self, h: Tensor) -> Tensor:
        return mean_v_given_h(self._params, h)

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        v: Tensor,
        n_data: int,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
    ) -> Contrast:
        data_v, model_v = v[:n_data].mean(0), v[n_data:].mean(0)
        mean_h[n_data:].mul_(-n_data / (len(v) - n_data))  # from here on the sum over the rows is n_data times Δ
        dh, dW_mu = mean_h.sum(0), None
        if mu is not None:  # the product takes the term of rank one along as a row
            mean_h, v = torch.cat((mean_h, -dh[None])), torch.cat((v, mu[None]))
            dW_mu = torch.mv(mean_h.T, torch.mv(v, mu)).div_(n_data)
        target.addmm_(mean_h.T, v, beta=beta, alpha=alpha / n_data)
        return Contrast(data_v, model_v, dh.div_(n_data), dW_mu)


class Bfloat16Products(Products):
    """In bfloat16 with float32 sums, for states that are bits and weights in float32; meant for GPUs.

    Notes
    -----
    Weights and probabilities are rounded to 8 significant bits for the products; the weights are kept in full. Where
    torch can't sum bfloat16 products into float32 (on the CPU), the sums are rounded too.
    """

    state_dtype = torch.bfloat16

    def __init__(self, params: RBMParameters) -> None:
        self._params = params
        self._W = params.W.to(torch.bfloat16)

    def refresh_(self, reach: float = math.inf) -> None:
        self._W.copy_(self._params.W)

    def mean_h(self, v: Tensor) -> Tensor:
        return _mm(v, self._W.T).add_(self._params.c).sigmoid_()

    def mean_v(self, h: Tensor) -> Tensor:
        return _mm(h, self._W).add_(self._params.b).sigmoid_()

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        v: Tensor,
        n_data: int,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
    ) -> Contrast:
        bits = v.float()
        data_v, model_v = bits[:n_data].mean(0), bits[n_data:].mean(0)
        mean_h[n_data:].mul_(-n_data / (len(v) - n_data))  # from here on the sum over the rows is n_data times Δ
        dh, dW_mu = mean_h.sum(0).div_(n_data), None
        dW = _mm(mean_h.to(v.dtype).T, v).div_(n_data)
        if mu is not None:
            dW.addr_(dh, mu, alpha=-1.0)
            dW_mu = torch.mv(dW, mu)
        if beta == 0.0:
            torch.mul(dW, alpha, out=target)
        else:
            target.mul_(beta).add_(dW, alpha=alpha)
        return Contrast(data_v, model_v, dh, dW_mu)


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """The product of bfloat16 matrices as float32."""
    if a.device.type == "cuda" and _SUMS_IN_FLOAT32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b).float()


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
        self._step, self._room = 0.0, -1.0  # weight of a one; what the largest weight may still grow by
        self.refresh_()

    @property
    def input_error(self) -> float:
        """Root mean square of what rounding adds to an input, if a hundred units are on."""
        return self._step * math.sqrt(100 / 12)

    def refresh_(self, reach: float = math.inf) -> None:
        self._room -= reach
        if self._room < 0.0:
            low, high = self._params.W.aminmax()
            largest = max(-float(low), float(high), 1e-6)
            self._room = 0.0 if reach == math.inf else max(0.25 * largest, 2.0 * reach)
            self._step = (largest + self._room) / 127.0
        for rows in self._blocks():
            # The sum ends in the rounded weight in two's complement, of which the conversion takes the last 8 bits.
            scaled = torch.add(
                _LAST_BITS, self._params.W[rows], alpha=1.0 / self._step, out=self._floats[: _length(rows)]
            )
            self._W[rows].copy_(scaled.view(torch.int32))

    def mean_h(self, v: Tensor) -> Tensor:
        return self._mean(_int_mm(v, self._W.T), self._params.c)

    def mean_v(self, h: Tensor) -> Tensor:
        return self._mean(_int_mm(h, self._W), self._params.b)

    def _mean(self, sums: Tensor, bias: Tensor) -> Tensor:
        return torch.add(bias, sums, alpha=self._step).sigmoid_()

    def add_contrast_(
        self,
        target: Tensor,
        mean_h: Tensor,
        v: Tensor,
        n_data: int,
        stream: Stream,
        alpha: float,
        beta: float,
        mu: Tensor | None = None,
    ) -> Contrast:
        n_hidden, n_model = mean_h.shape[1], len(v) - n_data
        sign = mean_h.new_full((len(v),), 1.0 / n_data)
        sign[n_data:] = -1.0 / n_model
        dh, dW_mu = torch.mv(mean_h.T, sign), None
        if mu is not None:
            dW_mu = torch.mv(mean_h.T, sign.mul_(torch.mv(v.to(mu.dtype), mu))).sub_(dh * torch.dot(mu, mu))
        # The level of a one in the data; that in the chains is n_data / n_model times as high.
        level = 127.0 * min(1.0, n_model / n_data)
        rounded = self._rounded(mean_h, n_data, level, level * n_data / n_model, stream)
        for rows in self._blocks():
            n, last = _length(rows), 2 * (rows.stop == n_hidden)  # the last block has the sums of v
            sums = _int_mm(rounded[:, rows.start : rows.stop + last].T, v, out=self._sums[: n + last])
            if beta == 0.0:
                torch.mul(sums[:n], alpha / (level * n_data), out=target[rows])
            else:
                target[rows].add_(sums[:n], alpha=alpha / (level * n_data * beta))
        if mu is not None:
            target.addr_(dh, mu, beta=beta or 1.0, alpha=-alpha)
        elif beta not in (0.0, 1.0):
            target.mul_(beta)
        return Contrast(sums[-2] / n_data, sums[-1] / n_model, dh, dW_mu)

    def _rounded(self, p: Tensor, n_data: int, level: float, model_level: float, stream: Stream) -> Tensor:
        """p times the levels, negative for the chains, rounded at random with the mean kept; and ones to count rows.

        Shape (n, n_hidden + 2). Where both levels are 127, all rows are rounded by the same numbers, one for each unit:
        the variance of Δ⟨h v'⟩ grows by less than a hundredth of what the draws of a hundred rows bring. Where one is
        lower, each row has its own.
        """
        n_hidden = p.shape[1]
        rounded = torch.empty((len(p), n_hidden + 2), dtype=torch.int8)
        n_alike = len(p) if level == model_level else max(1, TABLE // n_hidden)
        for rows, factor, ones in ((slice(n_data), level, _DATA), (slice(n_data, None), model_level, _MODEL)):
            out, means = rounded[rows], p[rows]
            out[:, n_hidden:] = ones
            for first in range(0, len(means), n_alike):
                some = means[first : first + n_alike]
                dither = stream.dither(n_hidden if level == model_level else some.numel()).view(-1, n_hidden)
                out[first : first + n_alike, :n_hidden].copy_(torch.add(dither, some, alpha=factor))  # cut towards 0
        rounded[n_data:, :n_hidden].neg_()
        return rounded

    def _blocks(self) -> Iterator[slice]:
        n_hidden = len(self._W)
        for first in range(0, n_hidden, self._n_rows):
            yield slice(first, min(first + self._n_rows, n_hidden))


def _length(rows: slice) -> int:
    return rows.stop - rows.start
