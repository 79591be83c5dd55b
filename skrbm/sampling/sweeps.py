"""Gibbs sweeps over units that are coupled: one after another, each given all the others.

Units go in blocks. The inputs of a block come from one product; within it what a unit has changed reaches the others by
a small triangular correction, so the sweep is that of unit after unit, to rounding, whatever the size of the blocks.
Where units have few neighbours they go colour by colour, those of a colour at once. On the CPU, compiled loops go
through the units of each chain; what has not changed costs them nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skrbm.machines.couplings import Graph, fields
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling.ladder import Ladder
from skrbm.support.compiled import Loop, is_compiled
from skrbm.support.randomness import Uniform

_SWEEP = Loop("skrbm.sampling.loops", "sweep")
_SWEEP_OF_GRAPH = Loop("skrbm.sampling.loops", "sweep_of_graph")
_BLOCK_SIZE = 32  # units, of which the sums within a block and the products between blocks take about as long
_CHAINS_AT_A_TIME = 8  # of a piece of the compiled loop
_LEAST_COMPILED = 1 << 14  # couplings times chains of a sweep, below which the loop isn't worth loading


def sweep_(
    machine: RBMParameters | Ladder,
    v: Tensor,
    inputs: Tensor,
    numbers: Uniform | Tensor,
    *,
    given: Tensor | None = None,
    scale: float | Tensor = 1.0,
    block_size: int = _BLOCK_SIZE,
) -> Tensor:
    """Draw each visible unit given all the others, in their order (of a graph, colour by colour), in place.

    Parameters
    ----------
    machine : RBMParameters or Ladder
        Of Bernoulli units whose visible ones are coupled.
    v : Tensor of shape (n_chains, n_features)
        States, moved on.
    inputs : Tensor of shape (n_chains, n_features)
        b + h'W, what the units' inputs are without the couplings. Overwritten.
    numbers : Uniform or Tensor of shape (n_chains * n_features,)
        Numbers uniform on [0, 1), one for each draw.
    given : Tensor of shape (n_chains, n_features), optional
        What is clamped, NaN where units are free; greys are taken as they are.
    scale : float or Tensor of shape (n_chains,)
        Factor on the couplings: inverse temperatures.
    block_size : int
        Units that a product is made for.

    Returns
    -------
    Tensor of shape (n_chains, n_features)
        The inputs at which units were drawn: their logits given all the others.
    """
    R, graph = machine.R, machine.graph
    assert R is not None, "units that aren't coupled are drawn all at once"
    uniform = (numbers.numbers() if isinstance(numbers, Uniform) else numbers).view(v.shape)
    level = torch.logit(uniform.to(v.dtype))  # u < σ(x) where x > logit(u)
    if given is None:
        _sweep_(machine, v, inputs, level, scale, block_size)
        return inputs
    free = given.isnan()
    known = torch.where(free, 0.0, given)  # which may be greys
    inputs += (scale[:, None] if isinstance(scale, Tensor) else scale) * fields(R, graph, known)
    v.mul_(free)  # held at 0 by a level that no input exceeds, with what they add in the inputs
    _sweep_(machine, v, inputs, torch.where(free, level, math.inf), scale, block_size)
    v.add_(known)
    return inputs


def _sweep_(
    machine: RBMParameters | Ladder, v: Tensor, inputs: Tensor, level: Tensor, scale: float | Tensor, block_size: int
) -> None:
    """A sweep in which a unit is on where its input exceeds its level."""
    R, graph = machine.R, machine.graph
    assert R is not None
    factor = scale[:, None] if isinstance(scale, Tensor) else scale
    if _suits_loop(v, R):
        _sweep_by_loop_(R, graph, v, inputs, level, scale)
    elif graph is not None:
        for units in graph.colors:
            x = inputs[:, units] + factor * fields(R, graph, v, units)
            v[:, units] = (x > level[:, units]).to(v.dtype)
            inputs[:, units] = x
    else:
        inputs += factor * (v @ R)
        _sweep_blocks_(R, v, inputs, level, factor, block_size)


def _sweep_by_loop_(
    R: Tensor, graph: Graph | None, v: Tensor, inputs: Tensor, level: Tensor, scale: float | Tensor
) -> None:
    """The sweep chain by chain: of a graph in the order of its colours."""
    scales = torch.full((len(v),), scale) if isinstance(scale, float) else scale.contiguous()
    arguments = (*v.shape, _CHAINS_AT_A_TIME, v, inputs, level, scales)
    n_pieces = -(-len(v) // _CHAINS_AT_A_TIME)
    if graph is None:
        inputs += scales[:, None] * (v @ R)
        _SWEEP(n_pieces, *arguments, R)
    else:
        neighbours, order = graph.neighbours, torch.cat(graph.colors)
        _SWEEP_OF_GRAPH(n_pieces, *arguments, neighbours.shape[1], order, neighbours, R.gather(1, neighbours))


def _suits_loop(v: Tensor, R: Tensor) -> bool:
    plain = v.device.type == "cpu" and v.dtype == R.dtype == torch.float32
    return plain and v.is_contiguous() and R.is_contiguous() and len(v) * R.numel() >= _LEAST_COMPILED and is_compiled()


def _sweep_blocks_(R: Tensor, v: Tensor, x: Tensor, level: Tensor, factor: float | Tensor, size: int) -> None:
    """The sweep by products, from inputs x that are those of v as it is."""
    n = v.shape[1]
    for first in range(0, n, size):
        end = min(first + size, n)
        within, changes = factor * R[first:end, None, first:end], v[:, first:end].clone()
        for i in range(end - first):
            drawn = (x[:, first + i] > level[:, first + i]).to(v.dtype)
            changes[:, i] = drawn - v[:, first + i]
            v[:, first + i] = drawn
            x[:, first + i + 1 : end] += changes[:, i, None] * within[i, :, i + 1 :]
        x[:, end:] += factor * (changes @ R[first:end, end:])
