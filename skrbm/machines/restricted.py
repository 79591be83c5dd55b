"""The restricted Boltzmann machine itself: parameters, energy, free energy and the two conditionals.

    E(v, h) = -h'Wv - b'v - c'h,    p(v, h) = exp(-E(v, h)) / Z

(Smolensky 1986; Hinton 2010, eq. 1-3, 7-8.) All functions take rows as batches, are pure, and work on any device in
float32 or float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrbm.machines.units import BERNOULLI, Unit
from skrbm.support.linear import linear
from skrbm.support.randomness import Stream

__all__ = [
    "RBMParameters",
    "energy",
    "free_energy",
    "free_energy_h",
    "initial_parameters",
    "input_to_h",
    "input_to_v",
    "log_odds",
    "mean_h_given_v",
    "mean_v_given_h",
    "sample_h_given_v",
    "sample_v_given_h",
]


@dataclass(frozen=True, slots=True)
class RBMParameters:
    """Parameters of an RBM.

    Attributes
    ----------
    W : Tensor of shape (n_hidden, n_features)
        Weights.
    b : Tensor of shape (n_features,)
        Visible bias.
    c : Tensor of shape (n_hidden,)
        Hidden bias.
    visible, hidden : Unit
        What kind of unit each layer has.

    Raises
    ------
    ValueError
        If the shapes don't fit each other.
    """

    W: Tensor
    b: Tensor
    c: Tensor
    visible: Unit = BERNOULLI
    hidden: Unit = BERNOULLI

    def __post_init__(self) -> None:
        if self.W.ndim != 2 or tuple(self.W.shape) != (*self.c.shape, *self.b.shape):
            raise ValueError(
                "W must have shape (n_hidden, n_features), b (n_features,) and c (n_hidden,); got "
                f"{tuple(self.W.shape)}, {tuple(self.b.shape)} and {tuple(self.c.shape)}."
            )

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return self.W.shape[0]

    @property
    def n_features(self) -> int:
        """Number of visible units."""
        return self.W.shape[1]

    def to(self, *args: object) -> RBMParameters:
        """The same parameters on another device or in another float type, as `Tensor.to`; shares what it can."""
        return replace(self, W=self.W.to(*args), b=self.b.to(*args), c=self.c.to(*args))  # type: ignore[call-overload]

    def clone(self) -> RBMParameters:
        """A copy that shares no memory."""
        return replace(self, W=self.W.clone(), b=self.b.clone(), c=self.c.clone())

    def transposed(self) -> RBMParameters:
        """The same machine with its two layers exchanged; shares memory."""
        return RBMParameters(self.W.T, self.c, self.b, visible=self.hidden, hidden=self.visible)


def initial_parameters(
    mean_v: Tensor, n_hidden: int, stream: Stream, *, scale: float = 0.01, smoothing: float = 0.0
) -> RBMParameters:
    """Parameters before learning: small normal weights, visible bias at the data's log-odds, hidden bias 0.

    Parameters
    ----------
    mean_v : Tensor of shape (n_features,)
        Mean of the training rows.
    n_hidden : int
        Number of hidden units.
    stream : Stream
        Randomness of the weights.
    scale : float
        Standard deviation of the weights (Hinton 2010, section 8).
    smoothing : float
        See `log_odds`.
    """
    W = torch.from_numpy(stream.normal((n_hidden, mean_v.numel()), scale)).to(mean_v)
    return RBMParameters(W, log_odds(mean_v, smoothing), mean_v.new_zeros(n_hidden))


def log_odds(mean: Tensor, smoothing: float) -> Tensor:
    """log(p / (1-p)) with p the mean shrunk towards a half: (mean + smoothing) / (1 + 2 smoothing).

    With `smoothing` = 1/n this is the estimate from n rows and one more of either kind (Laplace). Means outside
    [0, 1] act as the nearest bound.
    """
    p = (mean.clamp(0.0, 1.0) + smoothing) / (1.0 + 2.0 * smoothing)
    return torch.logit(p)


def input_to_h(params: RBMParameters, v: Tensor) -> Tensor:
    """c + W v, the inputs (logits) of the hidden units: shape (n, n_hidden) for v (n, n_features)."""
    return linear(v, params.W, params.c)


def input_to_v(params: RBMParameters, h: Tensor) -> Tensor:
    """b + h'W, the inputs (logits) of the visible units: shape (n, n_features) for h (n, n_hidden)."""
    return linear(h, params.W.T, params.b)


def mean_h_given_v(params: RBMParameters, v: Tensor) -> Tensor:
    """P(h = 1 | v), shape (n, n_hidden)."""
    if params.hidden is BERNOULLI:
        return linear(v, params.W, params.c, sigmoid=True)
    return params.hidden.mean(input_to_h(params, v))


def mean_v_given_h(params: RBMParameters, h: Tensor) -> Tensor:
    """P(v = 1 | h), shape (n, n_features)."""
    if params.visible is BERNOULLI:
        return linear(h, params.W.T, params.b, sigmoid=True)
    return params.visible.mean(input_to_v(params, h))


def sample_h_given_v(params: RBMParameters, v: Tensor, stream: Stream) -> Tensor:
    """h drawn from p(h | v), shape (n, n_hidden)."""
    return params.hidden.mean_and_sample(input_to_h(params, v), stream)[1]


def sample_v_given_h(params: RBMParameters, h: Tensor, stream: Stream) -> Tensor:
    """v drawn from p(v | h), shape (n, n_features)."""
    return params.visible.mean_and_sample(input_to_v(params, h), stream)[1]


def energy(params: RBMParameters, v: Tensor, h: Tensor) -> Tensor:
    """E(v, h) of paired rows, in nats, shape (n,)."""
    return -((h @ params.W) * v).sum(1) - v @ params.b - h @ params.c


def free_energy(params: RBMParameters, v: Tensor) -> Tensor:
    """F(v) = -log Σ_h exp(-E(v, h)) = -b'v - Σ_j softplus(c_j + W_j v), in nats, shape (n,)."""
    return -(v @ params.b) - params.hidden.cumulant(input_to_h(params, v)).sum(1)


def free_energy_h(params: RBMParameters, h: Tensor) -> Tensor:
    """-log Σ_v exp(-E(v, h)), the free energy of hidden states, in nats, shape (n,)."""
    return -(h @ params.c) - params.visible.cumulant(input_to_v(params, h)).sum(1)
