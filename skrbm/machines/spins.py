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


class Ising(NamedTuple):
    """Spins with couplings among themselves, p(s) ∝ exp(h's + ½ s'Js); `h, J, constant = bits_to_ising(R, b)`.

    Attributes
    ----------
    h : Tensor or ndarray of shape (n_features,)
        Fields.
    J : Tensor or ndarray of shape (n_features, n_features)
        Couplings, symmetric.
    constant : float
        What the energy has lost, in nats, as in `Converted`.
    """

    h: Any
    J: Any
    constant: float


class CoupledBits(NamedTuple):
    """Bits with couplings among themselves, p(x) ∝ exp(½ x'Rx + b'x); `R, b, constant = ising_to_bits(h, J)`.

    Attributes
    ----------
    R : Tensor or ndarray of shape (n_features, n_features)
        Couplings, symmetric.
    b : Tensor or ndarray of shape (n_features,)
        Biases.
    constant : float
        What the energy has lost, in nats, as in `Converted`.
    """

    R: Any
    b: Any
    constant: float


def ising_to_bits(h: Any, J: Any) -> CoupledBits:
    """Couplings and biases of units 0 and 1 from fields and couplings of spins -1 and 1 that are coupled to each other.

    Parameters
    ----------
    h : {Tensor, array-like} of shape (n_features,)
        Fields.
    J : {Tensor, array-like} of shape (n_features, n_features)
        Couplings, symmetric, 0 on the diagonal: the energy is -h's - Σ_{i<j} J_ij s_i s_j.

    Returns
    -------
    CoupledBits
        R = 4J and b = 2(h - J1), as tensors if these were, else as arrays; and the `constant`.

    Raises
    ------
    ValueError
        If J isn't symmetric with zeros on the diagonal, or h doesn't fit.

    Examples
    --------
    >>> R, b, constant = ising_to_bits([0.5, 0.0], [[0.0, 0.25], [0.25, 0.0]])
    >>> R, b, constant
    (array([[0., 1.],
           [1., 0.]]), array([ 0.5, -0.5]), 0.25)
    """
    J, h = _checked_couplings(J, h, "J", "h")
    return CoupledBits(4 * J, 2 * (h - J.sum(1)), float(h.sum()) - 0.5 * float(J.sum()))


def bits_to_ising(R: Any, b: Any) -> Ising:
    """Fields and couplings of spins -1 and 1 from couplings and biases of bits: what undoes `ising_to_bits`.

    Parameters
    ----------
    R : {Tensor, array-like} of shape (n_features, n_features)
        Couplings, symmetric, 0 on the diagonal.
    b : {Tensor, array-like} of shape (n_features,)
        Biases.

    Returns
    -------
    Ising
        h = b/2 + R1/4 and J = R/4, as tensors if these were, else as arrays; and the `constant`.

    Raises
    ------
    ValueError
        If R isn't symmetric with zeros on the diagonal, or b doesn't fit.

    Examples
    --------
    >>> h, J, constant = bits_to_ising([[0.0, 1.0], [1.0, 0.0]], [0.5, -0.5])
    >>> h, J, constant
    (array([0.5, 0. ]), array([[0.  , 0.25],
           [0.25, 0.  ]]), -0.25)
    """
    R, b = _checked_couplings(R, b, "R", "b")
    J = R / 4
    h = b / 2 + J.sum(1)
    return Ising(h, J, 0.5 * float(J.sum()) - float(h.sum()))


def _checked_couplings(couplings: Any, biases: Any, name: str, other: str) -> Any:
    couplings, biases = (values if isinstance(values, Tensor) else np.asarray(values) for values in (couplings, biases))
    if biases.ndim != 1 or tuple(couplings.shape) != 2 * tuple(biases.shape):
        raise ValueError(
            f"{name} must have shape (n_features, n_features), {other} (n_features,); "
            f"got {tuple(couplings.shape)} and {tuple(biases.shape)}."
        )
    if not bool((couplings == couplings.T).all()) or bool((couplings.diagonal() != 0).any()):
        raise ValueError(f"{name} must be symmetric, with zeros on the diagonal. Of a triangle take {name} + {name}.T.")
    return couplings, biases
