"""log Z and log p(v) by enumeration, of machines with a small layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skrbm.machines.restricted import RBMParameters, check_states, free_energy

_MAX_BITS = 30  # log2 of the states that are enumerated: with 784 units beside them, hours
_BLOCK = 1 << 20  # elements of a temporary


def log_partition_exact(params: RBMParameters) -> float:
    """Logarithm of the partition function Z = Σ_v Σ_h exp(-E(v, h)), by enumeration of the layer with fewer states.

    Parameters
    ----------
    params : RBMParameters
        A machine with a layer of at most 30 units (of two states each). 20 beside 784 take a few seconds, each further
        one doubles the time. Memory stays bounded.

    Returns
    -------
    float
        log Z in nats, computed in float64.

    Raises
    ------
    ValueError
        If both layers have too many states, or units with more states than can be enumerated.

    Notes
    -----
    Σ_v exp(-F(v)) over the 2^n_features visible states, or the same with the layers exchanged (Salakhutdinov & Murray
    2008, section 2).
    """
    if math.isinf(bits_to_enumerate(params)):
        raise ValueError(f"Neither {params.visible!r} nor {params.hidden!r} units can be enumerated. Estimate log Z.")
    if bits_to_enumerate(params) > _MAX_BITS:
        raise ValueError(
            f"Enumeration needs a layer of at most {_MAX_BITS} units; this machine has {params.n_features} "
            f"visible and {params.n_hidden} hidden ones. Estimate log Z instead, or train a smaller machine."
        )
    small = params.transposed() if _visible_bits(params.transposed()) < _visible_bits(params) else params
    return _sum_over_visible(small.to(torch.float64))


def bits_to_enumerate(params: RBMParameters) -> float:
    """log2 of the number of states of the layer with fewer; for units with two states, how many it has."""
    return min(_visible_bits(params), _visible_bits(params.transposed()))


def _visible_bits(params: RBMParameters) -> float:
    states = params.visible.states
    return math.inf if states is None else params.n_features * math.log2(len(states))


def _sum_over_visible(params: RBMParameters) -> float:
    """log Σ_v exp(-F(v)). States of the low units, whose inputs are kept, run within those of the high ones."""
    W, b, c, visible = params.W, params.b, params.c, params.visible
    assert visible.states is not None
    n_states, n_features = len(visible.states), params.n_features
    n_low = min(n_features, int(math.log2(max(1, _BLOCK // params.n_hidden)) / math.log2(n_states)))
    low = _states(torch.arange(n_states**n_low, device=W.device), n_low, params)  # (n_states^n_low, n_low)
    input_low = low @ W[:, :n_low].T + c  # (n_states^n_low, n_hidden)
    bias_low = visible.log_weight(low, b[:n_low])
    total = torch.tensor(-math.inf, dtype=W.dtype, device=W.device)
    for code in range(n_states ** (n_features - n_low)):
        high = _states(torch.tensor([code], device=W.device), n_features - n_low, params)
        inputs = input_low + W[:, n_low:] @ high[0]
        minus_free_energy = bias_low + visible.log_weight(high, b[n_low:]) + params.hidden.cumulant(inputs).sum(1)
        total = torch.logaddexp(total, minus_free_energy.logsumexp(0))
    return float(total)


def _states(codes: Tensor, n: int, params: RBMParameters) -> Tensor:
    """States of n visible units, (n_codes, n), each from the digits of a number; the lowest digit is the first unit."""
    states = torch.tensor(params.visible.states).to(params.W)
    places = len(states) ** torch.arange(n, device=codes.device)
    return states[codes[:, None] // places % len(states)]


def log_likelihood_exact(params: RBMParameters, v: Tensor, log_partition: float | None = None) -> Tensor:
    """log p(v) = -F(v) - log Z of each row, in nats, float64.

    Parameters
    ----------
    params : RBMParameters
        A machine that `log_partition_exact` takes.
    v : Tensor of shape (n, n_features)
        Rows.
    log_partition : float, optional
        log Z, if it is known already.

    Returns
    -------
    Tensor of shape (n,)

    Raises
    ------
    TypeError, ValueError
        If `v` is no tensor, or has another width than the machine; or where `log_partition_exact` raises.

    Examples
    --------
    All states of a small machine: their probabilities sum to 1.

    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.likelihood import log_likelihood_exact
    >>> machine = RBMParameters(
    ...     W=torch.tensor([[2.0, -1.0], [0.0, 3.0]]), b=torch.tensor([-1.0, 0.5]), c=torch.tensor([0.5, -2.0])
    ... )
    >>> nats = log_likelihood_exact(machine, torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]]))
    >>> [round(float(x), 3) for x in nats]
    [-2.324, -1.719, -1.138, -0.91]
    >>> round(float(nats.exp().sum()), 12)
    1.0
    """
    check_states("v", v, params.n_features)  # before the enumeration, which may take long
    log_partition = log_partition_exact(params) if log_partition is None else log_partition
    return -free_energy(params.to(torch.float64), v.to(torch.float64)) - log_partition
