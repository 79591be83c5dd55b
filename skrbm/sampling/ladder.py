"""Ways from a machine without weights to a machine: all bridges between the two, or a ladder of some machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.couplings import Graph, log_weight_of_couplings
from skrbm.machines.restricted import RBMParameters
from skrbm.machines.units import Unit
from skrbm.support.randomness import Stream


@dataclass(frozen=True, slots=True)
class Ladder:
    """Machines of one shape, from one without weights to the one to be sampled.

    Attributes
    ----------
    W : Tensor of shape (n_rungs, n_hidden, n_features) or (1, n_hidden, n_features)
        Weights; the latter where the rungs share them.
    b : Tensor of shape (n_rungs, n_features)
        Visible biases.
    c : Tensor of shape (n_rungs, n_hidden)
        Hidden biases.
    scale : Tensor of shape (n_rungs,)
        Factors on the weights.
    visible, hidden : Unit
        What kind of unit each layer has.
    R : Tensor of shape (n_features, n_features) or None
        Couplings of the visible units, which the rungs share but for the factors `scale`.
    graph : Graph or None
        See `RBMParameters`.
    """

    W: Tensor
    b: Tensor
    c: Tensor
    scale: Tensor
    visible: Unit = BERNOULLI
    hidden: Unit = BERNOULLI
    R: Tensor | None = None
    graph: Graph | None = None

    @classmethod
    def of_rungs(cls, rungs: Sequence[RBMParameters]) -> Self:
        """The machines given, in their order.

        Raises
        ------
        ValueError
            If their visible units are coupled.
        """
        last = rungs[-1]
        last.check_independent(
            "Tempering along a trajectory is for machines without couplings. Choose parallel tempering"
        )
        stacked = {name: torch.stack([rung.tensors[name] for rung in rungs]) for name in ("W", "b", "c")}
        ones = last.b.new_ones(len(rungs))
        return cls(stacked["W"], stacked["b"], stacked["c"], ones, last.visible, last.hidden)

    @property
    def n_rungs(self) -> int:
        """Number of machines."""
        return self.b.shape[0]

    @property
    def n_hidden(self) -> int:
        """Number of hidden units of each."""
        return self.c.shape[1]

    @property
    def n_features(self) -> int:
        """Number of visible units of each."""
        return self.b.shape[1]

    def rung(self, i: int) -> RBMParameters:
        """One of the machines."""
        W = self.W[i if len(self.W) > 1 else 0] * self.scale[i]
        R = None if self.R is None else self.R * self.scale[i]
        return RBMParameters(W, self.b[i], self.c[i], self.visible, self.hidden, R=R, graph=self.graph)

    def input_to_v(self, h: Tensor) -> Tensor:
        """b + h'W on each rung: (n_rungs, n, n_features) for h (n_rungs, n, n_hidden)."""
        W = self.W
        product = (h.flatten(0, 1) @ W[0]).view(*h.shape[:2], -1) if len(W) == 1 else h @ W
        return torch.addcmul(self.b[:, None], product, self.scale[:, None, None])

    def project(self, v: Tensor, rungs: slice) -> Tensor:
        """v'W' under the weights of `rungs`, without their factors: (n_rungs, n, n_hidden)."""
        W = self.W
        return (v.flatten(0, 1) @ W[0].T).view(*v.shape[:2], -1) if len(W) == 1 else v @ W[rungs].mT

    def input_to_h(self, projection: Tensor, rungs: slice) -> Tensor:
        """c + W v on each rung of `rungs`, from `project`."""
        return torch.addcmul(self.c[rungs, None], projection, self.scale[rungs, None, None])

    def log_weight(self, v: Tensor, input_to_h: Tensor, rungs: slice) -> Tensor:
        """-F(v) on each rung of `rungs` but for log ρ(v), which all have alike, in nats, float64: (n_rungs, n)."""
        bias = torch.matmul(v, self.b[rungs, :, None]).squeeze(-1)
        if self.R is not None:
            pairs = log_weight_of_couplings(self.R, self.graph, v.flatten(0, 1)).view(v.shape[:2])
            bias = torch.addcmul(bias, pairs, self.scale[rungs, None])
        return bias.double() + self.hidden.cumulant(input_to_h).sum(-1, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class AnnealingPath:
    """The way from a base machine, which has no weights, to a machine, by inverse temperatures β from 0 to 1.

    The machine at β has the weights β W, the visible bias (1-β) base_b + β b and the hidden bias β c (Salakhutdinov &
    Murray 2008, section 4.1).

    Attributes
    ----------
    machine : RBMParameters
        Where it leads to, at β = 1.
    base_b : Tensor of shape (n_features,)
        Visible bias of the base machine. The nearer its mean is to the machine's, the better; the (smoothed) log-odds
        of the data are best. For annealing also (n_chains, n_features), a base machine for each chain.
    """

    machine: RBMParameters
    base_b: Tensor

    @property
    def base(self) -> RBMParameters:
        """The machine at β = 0."""
        return self.machine.without_weights(self.base_b)

    @property
    def log_z_of_base(self) -> float:
        """log Z of the base machine, in nats."""
        machine = self.machine
        hidden = float(machine.hidden.cumulant(torch.zeros((), dtype=torch.float64)))
        return float(machine.visible.cumulant(self.base_b.double()).sum()) + machine.n_hidden * hidden

    def bias(self, beta: float) -> Tensor:
        """Visible bias at β, (n_features,)."""
        return torch.lerp(self.base_b, self.machine.b, beta)

    def at(self, beta: float) -> RBMParameters:
        """The machine at β."""
        machine = self.machine
        R = None if machine.R is None else beta * machine.R
        units = machine.visible, machine.hidden
        return RBMParameters(beta * machine.W, self.bias(beta), beta * machine.c, *units, R=R, graph=machine.graph)

    def ladder(self, betas: Tensor) -> Ladder:
        """The machines at inverse temperatures `betas` (n_rungs,), which rise from 0 to 1; they share the weights."""
        machine = self.machine
        betas = betas.to(machine.W)
        b = torch.lerp(self.base_b, machine.b, betas[:, None])
        biases, units = (b, betas[:, None] * machine.c), (machine.visible, machine.hidden)
        return Ladder(machine.W[None], *biases, betas, *units, machine.R, machine.graph)

    def ladder_through(self, rungs: Sequence[RBMParameters]) -> Ladder:
        """From the base machine by other machines, such as those that training went through, to the machine."""
        return Ladder.of_rungs([self.base, *rungs, self.machine])

    def samples_of_base(self, shape: int | tuple[int, ...], stream: Stream) -> Tensor:
        """Visible states drawn from the base machine: (n, n_features) for n, (*shape, n_features) for a shape."""
        shape = (shape,) if isinstance(shape, int) else shape
        mean = self.machine.visible.mean(self.base_b)
        return self.machine.visible.sample(mean.expand(*shape, -1), stream)
