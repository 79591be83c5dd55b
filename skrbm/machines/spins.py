"""Spins that are -1 or 1, as units that are 0 or 1, and back: the same distribution in other words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor


class Converted(NamedTuple):
    """Parameters of the same machine in other units; `W, b, c, constant = spins_to_bits(…)`.

    Attributes
    ----------
    W : Tensor or ndarray of shape (n_hidden, n_features)
        Weights, or couplings.
    b : Tensor or ndarray of shape (n_features,)
        Visible bias, or field.
    c : Tensor or ndarray of shape (n_hidden,)
        Hidden bias, or field.
    constant : float
        What the energy has lost, in nats: energy before = energy after + `constant`, at the same states. So log Z
        before = log Z after - `constant`.
    """

    W: Any
    b: Any
    c: Any
    constant: float


def spins_to_bits(W: Any, b: Any, c: Any) -> Converted:
    """Weights and biases of units 0 and 1 from couplings and fields of spins -1 and 1.

    The machine of spins s, t has E(s, t) = -t'Ws - b's - c't. With s = 2v - 1 and t = 2h - 1 that is the energy of a
    Bernoulli machine with 4W, 2(b - W'1) and 2(c - W1), but for a constant. Multiply by an inverse temperature before.

    Parameters
    ----------
    W : {Tensor, array-like} of shape (n_hidden, n_features)
        Couplings between visible and hidden spins.
    b : {Tensor, array-like} of shape (n_features,)
        Field on the visible spins.
    c : {Tensor, array-like} of shape (n_hidden,)
        Field on the hidden spins.

    Returns
    -------
    Converted
        `W`, `b` and `c` as tensors if these were, else as arrays; and the `constant`.

    Raises
    ------
    ValueError
        If the shapes don't go together.

    Examples
    --------
    >>> from skrbm import BernoulliRBMTorch
    >>> W, b, c, constant = spins_to_bits([[0.5, -0.5]], [0.1, 0.0], [0.0])
    >>> rbm = BernoulliRBMTorch.from_parameters(W, b, c, random_state=0)
    >>> spins = 2 * rbm.sample(10) - 1
    >>> log_z = rbm.log_partition().value - constant  # of the spins
    >>> round(log_z, 4)
    2.3247
    """
    W, b, c = _checked(W, b, c)
    constant = float(b.sum()) + float(c.sum()) - float(W.sum())
    return Converted(4 * W, 2 * (b - W.sum(0)), 2 * (c - W.sum(1)), constant)


def bits_to_spins(W: Any, b: Any, c: Any) -> Converted:
    """Couplings and fields of spins -1 and 1 from weights and biases of units 0 and 1: what undoes `spins_to_bits`.

    Parameters
    ----------
    W : {Tensor, array-like} of shape (n_hidden, n_features)
        Weights.
    b : {Tensor, array-like} of shape (n_features,)
        Visible bias.
    c : {Tensor, array-like} of shape (n_hidden,)
        Hidden bias.

    Returns
    -------
    Converted
        Couplings W/4, fields b/2 + W'1/4 and c/2 + W1/4, as tensors if these were, else as arrays; and the `constant`.

    Raises
    ------
    ValueError
        If the shapes don't go together.

    Examples
    --------
    >>> W, b, c, constant = bits_to_spins([[4.0, 0.0]], [2.0, 2.0], [0.0])
    >>> W, b, c, constant
    (array([[1., 0.]]), array([2., 1.]), array([1.]), -3.0)
    """
    W, b, c = _checked(W, b, c)
    J = W / 4
    f, g = b / 2 + J.sum(0), c / 2 + J.sum(1)
    return Converted(J, f, g, float(J.sum()) - float(f.sum()) - float(g.sum()))


def _checked(*given: Any) -> Any:
    W, b, c = (values if isinstance(values, Tensor) else np.asarray(values) for values in given)
    if W.ndim != 2 or tuple(W.shape) != (*c.shape, *b.shape):
        raise ValueError(
            "W must have shape (n_hidden, n_features), b (n_features,) and c (n_hidden,); "
            f"got {tuple(W.shape)}, {tuple(b.shape)} and {tuple(c.shape)}."
        )
    return W, b, c
