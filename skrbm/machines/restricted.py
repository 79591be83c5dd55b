"""The Boltzmann machine, restricted or with visible couplings: parameters, energy, free energy and the conditionals.

    E(v, h) = -½ v'Rv - h'Wv - b'v - c'h,    p(v, h) = exp(-E(v, h)) / Z

(Ackley, Hinton & Sejnowski 1985; Smolensky 1986 and Hinton 2010, eq. 1-3, 7-8, where R = 0.) All functions take rows as
batches, are pure, and work on any device in float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.couplings import Graph, fields, log_weight_of_couplings
from skrbm.machines.gaussian import Gaussian
from skrbm.machines.units import Unit
from skrbm.support.kernels import linear
from skrbm.support.randomness import Stream, check_stream
from skrbm.support.tensors import Placement


@dataclass(frozen=True, slots=True)
class RBMParameters:
    """Parameters of a machine: an RBM, or one whose visible units are coupled (semi-restricted, or fully visible).

    Attributes
    ----------
    W : Tensor of shape (n_hidden, n_features)
        Weights. A fully visible machine has no rows of them.
    b : Tensor of shape (n_features,)
        Visible bias.
    c : Tensor of shape (n_hidden,)
        Hidden bias.
    visible, hidden : Unit
        What kind of unit each layer has.
    log_scale : Tensor of shape (n_scaled,) or None
        Logarithm of what one unit of the columns `visible.scaled` stands for in the rows that the machine learns from;
        None where rows are states as they are. All functions of a machine take states; see `states_of`.
    R : Tensor of shape (n_features, n_features) or None
        Couplings of the visible units, symmetric with a diagonal of 0; None where there are none. Given h the units are
        then no longer independent, and what asks for that raises.
    graph : Graph or None
        Which couplings there are, where each unit has few.

    Raises
    ------
    TypeError, ValueError
        If they aren't tensors of floats, of one type and on one device, or their shapes don't fit each other.
    """

    W: Tensor
    b: Tensor
    c: Tensor
    visible: Unit = BERNOULLI
    hidden: Unit = BERNOULLI
    log_scale: Tensor | None = None
    R: Tensor | None = None
    graph: Graph | None = None

    def __post_init__(self) -> None:
        W, b, c = self.W, self.b, self.c  # annealing makes thousands of machines: few microseconds are to be spent here
        if not (isinstance(W, Tensor) and isinstance(b, Tensor) and isinstance(c, Tensor)):
            wrong = {
                name: type(tensor).__name__ for name, tensor in self.tensors.items() if not isinstance(tensor, Tensor)
            }
            raise TypeError(
                f"{', '.join(wrong)} must be tensors, got {', '.join(wrong.values())}. Pass torch.from_numpy(array)."
            )
        if W.ndim != 2 or W.shape != (*c.shape, *b.shape):
            raise ValueError(
                "W must have shape (n_hidden, n_features), b (n_features,) and c (n_hidden,); got "
                f"{tuple(W.shape)}, {tuple(b.shape)} and {tuple(c.shape)}."
            )
        if not (W.dtype == b.dtype == c.dtype and W.device == b.device == c.device and W.is_floating_point()):
            kinds = ", ".join(f"{_type_name(tensor)} on {tensor.device}" for tensor in (W, b, c))
            raise ValueError(f"W, b and c must have one float type and be on one device, got {kinds}. Use Tensor.to.")
        if self.R is not None and self.R.shape != (*b.shape, *b.shape):
            raise ValueError(
                f"R must have shape {(*b.shape, *b.shape)}, (n_features, n_features); got {(*self.R.shape,)}."
            )

    def __repr__(self) -> str:
        units = "" if self.visible is self.hidden is BERNOULLI else f", visible={self.visible}, hidden={self.hidden}"
        units += "" if self.R is None else ", coupled"
        sizes = f"n_hidden={self.n_hidden}, n_features={self.n_features}"
        return f"{type(self).__name__}({sizes}, {_type_name(self.W)}, {self.W.device}{units})"

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.W.shape[0]

    @property
    def n_features(self) -> int:
        """Number of visible units."""
        return self.W.shape[1]

    @property
    def placement(self) -> Placement:
        """Float type and device."""
        return Placement.of(self.W)

    # -- all tensors at once -------------------------------------------------------------------------------------------

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parameters by name."""
        tensors = {"W": self.W, "b": self.b, "c": self.c}
        if self.log_scale is not None:
            tensors["log_scale"] = self.log_scale
        if self.R is not None:
            tensors["R"] = self.R
        return tensors

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """A machine whose parameters are `function` of each of these."""
        mapped: dict[str, Any] = {name: function(tensor) for name, tensor in self.tensors.items()}
        return replace(self, **mapped)

    def with_tensors(self, tensors: Mapping[str, Any]) -> Self:
        """A machine of the same units with other parameters, copied from tensors or arrays to where these are."""
        dtype, device = self.placement
        copies: dict[str, Any] = {
            name: torch.as_tensor(tensor).to(device, dtype, copy=True) for name, tensor in tensors.items()
        }
        return replace(self, **copies)

    def to(self, *args: Any) -> Self:
        """The same parameters on another device or in another float type, as `Tensor.to`; shares what it can."""
        moved = self.map(lambda tensor: tensor.to(*args))
        if self.graph is None or moved.W.device == self.W.device:
            return moved
        return replace(moved, graph=self.graph.map(lambda tensor: tensor.to(moved.W.device)))

    def clone(self) -> Self:
        """A copy that shares no memory."""
        return self.map(Tensor.clone)

    def copy_(self, other: RBMParameters) -> None:
        """Take over the values of another machine, in place."""
        for name, tensor in self.tensors.items():
            tensor.copy_(other.tensors[name])

    def lerp_(self, other: RBMParameters, rate: float) -> None:
        """self ← self + rate (other - self), in place."""
        for name, tensor in self.tensors.items():
            tensor.lerp_(other.tensors[name], rate)

    # -- rows and states ---------------------------------------------------------------------------------------------

    def states_of(self, rows: Tensor) -> Tensor:
        """Rows as states: the columns that have a scale are divided by it."""
        if self.log_scale is None:
            return rows
        states = rows.clone()
        states[..., self.visible.scaled] *= torch.exp(-self.log_scale.to(rows))
        return states

    def scale_(self, rows: Tensor) -> None:
        """Make states of rows, in their place."""
        if self.log_scale is not None:
            rows[..., self.visible.scaled] *= torch.exp(-self.log_scale)

    def rows_of(self, states: Tensor) -> Tensor:
        """The reverse of `states_of`."""
        if self.log_scale is None:
            return states
        rows = states.clone()
        rows[..., self.visible.scaled] *= torch.exp(self.log_scale.to(states))
        return rows

    @property
    def log_volume(self) -> float:
        """What has to be taken off log p of states for the log-density of their rows, in nats: Σ log scale."""
        return 0.0 if self.log_scale is None else float(self.log_scale.double().sum())

    @property
    def is_quadratic(self) -> bool:
        """Whether all units are Gaussian, so that p(v, h) is a normal distribution, if it is any."""
        return isinstance(self.visible, Gaussian) and isinstance(self.hidden, Gaussian)

    def tempered(self, beta: float) -> Self:
        """The machine at an inverse temperature: its W, b, c and R are `beta` times those of this."""
        R = None if self.R is None else beta * self.R
        return replace(self, W=beta * self.W, b=beta * self.b, c=beta * self.c, R=R)

    # -- other machines ------------------------------------------------------------------------------------------------

    def transposed(self) -> RBMParameters:
        """The same machine with its two layers exchanged; shares memory."""
        self.check_independent("The hidden layer can't take the place of the visible one")
        return RBMParameters(self.W.T, self.c, self.b, visible=self.hidden, hidden=self.visible)

    def without_weights(self, b: Tensor) -> Self:
        """A machine of the same shape whose only parameter that isn't 0 is the visible bias `b`."""
        return replace(self, W=torch.zeros_like(self.W), b=b.to(self.b), c=torch.zeros_like(self.c), R=None, graph=None)

    def fields(self, v: Tensor) -> Tensor:
        """Σ_j R_ij v_j, what the couplings add to the inputs of visible units: (n, n_features)."""
        return torch.zeros_like(v) if self.R is None else fields(self.R, self.graph, v)

    def log_weight_of_couplings(self, v: Tensor) -> Tensor:
        """½ v'Rv of rows, what the couplings add to -E, in nats, shape (n,)."""
        return log_weight_of_couplings(self.R, self.graph, v)

    def check_independent(self, what: str) -> None:
        """Raise a ValueError that begins with `what` if visible units are coupled, so depend on each other given h."""
        if self.R is not None:
            raise ValueError(f"{what}: the visible units are coupled, and not independent given h.")


def initial_parameters(
    mean_v: Tensor,
    n_hidden: int,
    stream: Stream,
    *,
    scale: float = 0.01,
    smoothing: float | Tensor = 0.0,
    visible: Unit = BERNOULLI,
    hidden: Unit = BERNOULLI,
    log_scale: Tensor | None = None,
) -> RBMParameters:
    """Parameters before learning: small normal weights, visible bias at the data's mean, hidden bias 0.

    Parameters
    ----------
    mean_v : Tensor of shape (n_features,)
        Mean of the training rows, as states.
    n_hidden : int
        Number of hidden units.
    stream : Stream
        Randomness of the weights.
    scale : float
        Standard deviation of the weights (Hinton 2010, section 8).
    smoothing : float
        See `Unit.bias_of`.
    visible, hidden : Unit
        What kind of unit each layer has.
    log_scale : Tensor of shape (n_scaled,), optional
        See `RBMParameters`.
    """
    check_stream(stream)
    W = torch.from_numpy(stream.normal((n_hidden, mean_v.numel()), scale)).to(mean_v)
    return RBMParameters(W, visible.bias_of(mean_v, smoothing), mean_v.new_zeros(n_hidden), visible, hidden, log_scale)


def input_to_h(params: RBMParameters, v: Tensor) -> Tensor:
    """c + W v, the inputs (logits) of the hidden units: shape (n, n_hidden) for v (n, n_features)."""
    check_states("v", v, params.n_features, params.W)
    return linear(v, params.W, params.c)


def input_to_v(params: RBMParameters, h: Tensor) -> Tensor:
    """b + h'W, the inputs (logits) of the visible units: shape (n, n_features) for h (n, n_hidden)."""
    check_states("h", h, params.n_hidden, params.W)
    return linear(h, params.W.T, params.b)


def mean_h_given_v(params: RBMParameters, v: Tensor) -> Tensor:
    """P(h = 1 | v), shape (n, n_hidden)."""
    check_states("v", v, params.n_features, params.W)
    return _mean(params.hidden, v, params.W, params.c)


def mean_v_given_h(params: RBMParameters, h: Tensor) -> Tensor:
    """P(v = 1 | h), shape (n, n_features); a ValueError where visible units are coupled, see `mean_v_given_rest`."""
    check_states("h", h, params.n_hidden, params.W)
    params.check_independent("E[v | h] has no closed form")
    return _mean(params.visible, h, params.W.T, params.b)


def mean_v_given_rest(params: RBMParameters, v: Tensor, h: Tensor) -> Tensor:
    """P(v_i = 1 | h, the other v) = σ(b_i + h'W_i + Σ_j R_ij v_j) of paired rows, shape (n, n_features)."""
    if params.R is None:
        return mean_v_given_h(params, h)
    return params.visible.mean_(input_to_v(params, h) + params.fields(v))


def _mean(unit: Unit, states: Tensor, W: Tensor, bias: Tensor) -> Tensor:
    found = linear(states, W, bias, unit.activation)
    return unit.mean(found) if unit.activation == "none" else found


def sample_h_given_v(params: RBMParameters, v: Tensor, stream: Stream) -> Tensor:
    """h drawn from p(h | v), shape (n, n_hidden)."""
    return params.hidden.sample(mean_h_given_v(params, v), stream)


def sample_v_given_h(params: RBMParameters, h: Tensor, stream: Stream) -> Tensor:
    """v drawn from p(v | h), shape (n, n_features)."""
    return params.visible.sample(mean_v_given_h(params, h), stream)


def energy(params: RBMParameters, v: Tensor, h: Tensor) -> Tensor:
    """E(v, h) of paired rows, in nats, shape (n,)."""
    check_states("v", v, params.n_features, params.W)
    check_states("h", h, params.n_hidden, params.W)
    interaction = ((h @ params.W) * v).sum(1) + params.log_weight_of_couplings(v)
    return -interaction - params.visible.log_weight(v, params.b) - params.hidden.log_weight(h, params.c)


def free_energy(params: RBMParameters, v: Tensor) -> Tensor:
    """F(v) = -log Σ_h exp(-E(v, h)) = -½ v'Rv - b'v - Σ_j softplus(c_j + W_j v), in nats, shape (n,)."""
    check_states("v", v, params.n_features, params.W)
    found = -params.visible.log_weight(v, params.b) - params.hidden.cumulant(linear(v, params.W, params.c)).sum(1)
    return found if params.R is None else found - params.log_weight_of_couplings(v)


def free_energy_h(params: RBMParameters, h: Tensor) -> Tensor:
    """-log Σ_v exp(-E(v, h)), the free energy of hidden states, in nats, shape (n,)."""
    check_states("h", h, params.n_hidden, params.W)
    return free_energy(params.transposed(), h)


def check_states(name: str, states: Any, width: int, like: Tensor | None = None) -> None:
    """Raise unless these are rows of states; half a microsecond where they are.

    Parameters
    ----------
    name : str
        What they are called, for the message.
    states : Tensor of shape (n, width)
        The rows.
    width : int
        How many units there are.
    like : Tensor, optional
        A parameter whose float type and device they must have.

    Raises
    ------
    TypeError
        If they are no tensor.
    ValueError
        If they have another shape, or another type or device than the parameters.
    """
    if not isinstance(states, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(states).__name__}. Pass torch.from_numpy(array).")
    if states.ndim != 2 or states.shape[1] != width:
        raise ValueError(f"{name} must have shape (n, {width}), but its shape is {tuple(states.shape)}.")
    if like is not None and (states.dtype != like.dtype or states.device != like.device):
        raise ValueError(
            f"{name} is {_type_name(states)} on {states.device}, but the parameters are {_type_name(like)} on "
            f"{like.device}. Pass {name}.to(params.W)."
        )


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
