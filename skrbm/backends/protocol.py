"""What training asks of a backend: the products with the weights, and those of the two phases with each other."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters
from skrbm.support.randomness import Stream
from skrbm.support.tensors import aligned_empty


class Phases(NamedTuple):
    """The rows of an update: those of the data, and right behind them the chains', for one product over both.

    Attributes
    ----------
    all : Tensor of shape (n_data + n_chains, n_features)
        All rows, one behind the other.
    n_data : int
        How many are data.
    """

    all: Tensor
    n_data: int

    @property
    def data(self) -> Tensor:
        """Rows of the clamped phase, (n_data, n_features)."""
        return self.all[: self.n_data]

    @property
    def chains(self) -> Tensor:
        """Rows of the free phase, (n_chains, n_features)."""
        return self.all[self.n_data :]

    @property
    def n_chains(self) -> int:
        """How many rows are chains."""
        return len(self.all) - self.n_data

    def of(self, values: Tensor) -> Phases:
        """Values that belong to the same rows, such as P(h = 1 | v), in their phases."""
        return Phases(values, self.n_data)

    def signs(self, values: Tensor) -> Tensor:
        """1 / n_data for each row of the data, -1 / n_chains for each chain, (n,): their sum with values is Δ⟨·⟩."""
        signs = values.new_full((len(self.all),), 1.0 / self.n_data)
        signs[self.n_data :] = -1.0 / self.n_chains
        return signs


class RowBuffer:
    """Memory for the rows of updates, which grows as it has to.

    The data ends where the chains begin, at the same place whatever the number of rows of data: a last batch with fewer
    rows takes no new memory, and a CUDA graph finds the chains where they were.

    Parameters
    ----------
    n_features : int
        Number of columns.
    dtype, device
        Of the rows.

    Attributes
    ----------
    memory : Tensor
        All of it. Another tensor takes its place where it had to grow.
    """

    def __init__(self, n_features: int, dtype: torch.dtype, device: torch.device) -> None:
        self.memory: Tensor = torch.empty((0, n_features), dtype=dtype, device=device)
        self._n_data = 0  # the most rows of data so far

    def phases(self, n_data: int, n_chains: int) -> Phases:
        """Memory for so many rows of data and chains."""
        if n_data > self._n_data or self._n_data + n_chains > len(self.memory):
            self._n_data = max(n_data, self._n_data)
            rows = self.memory
            self.memory = aligned_empty((self._n_data + n_chains, rows.shape[1]), rows.dtype, rows.device)
        return Phases(self.memory[self._n_data - n_data : self._n_data + n_chains], n_data)


class Damping(NamedTuple):
    """The matrix P = I - U' diag(share) U on the side of the visible units: learning is slower along the rows of U.

    Attributes
    ----------
    directions : Tensor of shape (n_directions, n_features)
        U, of orthonormal rows.
    share : Tensor of shape (n_directions,)
        What is taken off, in [0, 1).
    """

    directions: Tensor
    share: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Rows times P: (..., n_features)."""
        return x - (x @ self.directions.T * self.share) @ self.directions


class Contrast(NamedTuple):
    """What a contrast comes with.

    Attributes
    ----------
    data_v, model_v : Tensor of shape (n_features,)
        ⟨v⟩ of the data and of the chains.
    dh : Tensor of shape (n_hidden,)
        Δ⟨h⟩.
    dW_mu : Tensor of shape (n_hidden,) or None
        Δ⟨h (v - μ)'⟩ P μ.
    excess : Tensor of shape (n_directions, n_hidden) or None
        diag(share) U Δ⟨(v - μ) h'⟩: U' times it is what damping has taken off, transposed.
    """

    data_v: Tensor
    model_v: Tensor
    dh: Tensor
    dW_mu: Tensor | None
    excess: Tensor | None = None


class Backend(Protocol):
    """Products with the weights of one machine.

    Attributes
    ----------
    params : RBMParameters
        The machine.
    state_dtype : torch.dtype
        Of the rows of states, `v` and `h`.
    """

    params: RBMParameters
    state_dtype: torch.dtype

    @property
    def suffices(self) -> bool:
        """Whether its precision is enough for the weights as they are. Where it isn't, training takes floats."""

    def refresh_(self, max_change: float = math.inf) -> None:
        """Take note that the weights have changed, each by at most `max_change`."""

    def mean_h(self, v: Tensor) -> Tensor:
        """P(h = 1 | v), (n, n_hidden), in the float type of the weights."""

    def mean_v(self, h: Tensor) -> Tensor:
        """P(v = 1 | h), (n, n_features), in the float type of the weights."""

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
        """target ← beta target + alpha Δ⟨h (v - μ)'⟩ P, where Δ is the mean over the data less that over the chains.

        Parameters
        ----------
        target : Tensor of shape (n_hidden, n_features)
            Changed in place.
        mean_h : Tensor of shape (n, n_hidden)
            P(h = 1 | v) of the rows. Overwritten.
        phases : Phases
            The rows.
        stream : Stream
            Randomness of rounding, for backends that round at random: int8, but not bfloat16, which takes the nearest.
        alpha, beta : float
            Factors. With beta 0 it doesn't matter what `target` held.
        mu : Tensor of shape (n_features,), optional
            What the visible layer is centred at; without it, 0.
        damping : Damping, optional
            P; without it, 1.
        """
