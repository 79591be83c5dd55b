"""Gibbs chains and annealing by compiled loops, for machines of Bernoulli units in float32 on the CPU.

The draws are those of the plain kernels, number by number; sums are in another order. States are bits, few of which are
on: sums over those take a fraction of what matrix products take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters
from skrbm.support.compiled import LANES, Loop, loops_pay
from skrbm.support.randomness import Stream, Uniform, signed, tables
from skrbm.support.threads import LEAST_WORK, available_threads

_GIBBS, _ANNEAL = Loop("skrbm.sampling.loops", "gibbs"), Loop("skrbm.sampling.loops", "anneal")
_BLOCKS, _LEAST_BLOCK, _MOST_BLOCK = 8, 8, 128  # into which chains are divided, whatever the number of threads
_LEAST_SUMS = 1 << 31  # multiply-adds of dense products that pay for loading loops


@dataclass(frozen=True)
class Weights:
    """The weights of a machine as compiled loops want them: twice, in rows of whole vectors.

    Attributes
    ----------
    machine : RBMParameters
        The machine.
    W : Tensor of shape (n_hidden, padded)
        The weights.
    W_t : Tensor of shape (n_features, padded)
        Their transpose.
    """

    machine: RBMParameters
    W: Tensor
    W_t: Tensor

    @classmethod
    def of(cls, machine: RBMParameters, n_chains: int, n_steps: int) -> Self | None:
        """Those of a machine, if so many steps of so many chains are worth it, and loops can make them."""
        W = machine.W
        suits = W.dtype == torch.float32 and W.device.type == "cpu" and machine.R is None
        if not suits or (machine.visible, machine.hidden) != (BERNOULLI, BERNOULLI):
            return None
        if not loops_pay(n_chains * n_steps * W.numel() >= _LEAST_SUMS):
            return None
        return cls(machine, _in_vectors(W), _in_vectors(W.T))

    @property
    def arguments(self) -> tuple[int, int, Tensor, Tensor, Tensor, Tensor]:
        """As the loops want them."""
        machine = self.machine
        return machine.n_features, machine.n_hidden, self.W, self.W_t, machine.b.contiguous(), machine.c.contiguous()

    def memory(self, n_chains: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What blocks of chains work on: inputs, which units are on, their states, and how many."""
        machine, like = self.machine, self.machine.W
        widest, most = max(self.W.shape[1], self.W_t.shape[1]), max(machine.n_features, machine.n_hidden)
        which = torch.empty((n_chains, most), dtype=torch.int32)
        counts = torch.empty(n_chains, dtype=torch.int64)
        return like.new_zeros((n_chains, widest)), which, like.new_empty((n_chains, most)), counts


def _in_vectors(matrix: Tensor) -> Tensor:
    """A copy whose rows are filled up with zeros."""
    n_rows, n_columns = matrix.shape
    padded = matrix.new_zeros((n_rows, -(-n_columns // LANES) * LANES))
    padded[:, :n_columns] = matrix
    return padded


def _block(n_chains: int) -> int:
    return min(max(-(-n_chains // _BLOCKS), _LEAST_BLOCK), _MOST_BLOCK)


def _threads_for(n_sums: int) -> int:
    """All threads for long work, also where calls are limited to one: blocks of chains hardly ever wait for another."""
    return available_threads() if n_sums >= LEAST_WORK else torch.get_num_threads()


def _take(stream: Stream, sizes: Sequence[int], n_steps: int) -> tuple[int, int, int, Tensor]:
    """The place of `n_steps` times draws of these sizes, behind which the stream goes on."""
    position = stream.position
    stream.position += n_steps * sum(Uniform(stream.key, 0, n).n_blocks for n in sizes)
    return (*signed(stream.key), position, tables()[1])


class CompiledGibbs:
    """Chains of block Gibbs sampling.

    Parameters
    ----------
    weights : Weights
        Of the machine.
    h : Tensor of shape (n_chains, n_hidden)
        Hidden states; copied.

    Attributes
    ----------
    h, v : Tensor of shape (n_chains, n_hidden) and (n_chains, n_features)
        States after the last step.
    """

    h: Tensor
    v: Tensor

    def __init__(self, weights: Weights, h: Tensor) -> None:
        self._weights, self.h = weights, h.clone(memory_format=torch.contiguous_format)
        self.v = h.new_empty((len(h), weights.machine.n_features))
        self._memory = weights.memory(len(h))

    def run_(self, n_steps: int, stream: Stream, total: Tensor | None = None, n_late: int = 0) -> None:
        """So many steps; P(v = 1 | h) of the last `n_late` is added to `total` (n_chains, n_features)."""
        n, block = len(self.h), _block(len(self.h))
        place = _take(stream, (self.v.numel(), self.h.numel()), n_steps)
        states = (self.h, self.v, self.v if total is None else total)
        sizes = (n, n_steps, n_late, block)
        loop = _GIBBS.bind(*sizes, *self._weights.arguments, *states, *self._memory, *place)
        loop(-(-n // block), _threads_for(n * n_steps * self._weights.W.numel()))


class CompiledAnnealing:
    """Chains that are moved through bridges, see `skrbm.likelihood.annealed`.

    Parameters
    ----------
    weights : Weights
        Of the machine at the end of the path.
    base_b : Tensor of shape (n_features,) or (n_chains, n_features)
        Visible bias of the machine without weights.
    v : Tensor of shape (n_chains, n_features)
        Where they start; copied.

    Attributes
    ----------
    v : Tensor of shape (n_chains, n_features)
        Where they are.
    """

    v: Tensor

    def __init__(self, weights: Weights, base_b: Tensor, v: Tensor) -> None:
        self._weights, self.v, self._base = weights, v.clone(memory_format=torch.contiguous_format), base_b.contiguous()
        n_features = weights.machine.n_features
        self._h = v.new_empty((len(v), weights.machine.n_hidden))
        self._memory = (*weights.memory(len(v)), v.new_zeros(n_features), v.new_empty((len(v), n_features)))

    def run_(self, betas: Tensor, stream: Stream, is_last: bool) -> Tensor:
        """Move through the bridges at `betas`, the first of which they are at: what each adds, (n_steps, n_chains).

        With `is_last` the chains stay where the last bridge was weighed.
        """
        n, block, n_steps = len(self.v), _block(len(self.v)), len(betas) - 1
        place = _take(stream, (self._h.numel(), self.v.numel()), n_steps - is_last)
        increments = torch.empty((n_steps, n), dtype=torch.float64)
        step = self.v.shape[1] if self._base.ndim == 2 else 0
        chains = (self.v, self._h, self._base, step, betas, increments)
        sizes = (n, n_steps, int(is_last), block)
        loop = _ANNEAL.bind(*sizes, *self._weights.arguments, *chains, *self._memory, *place)
        loop(-(-n // block), _threads_for(n * n_steps * self._weights.W.numel()))
        return increments
