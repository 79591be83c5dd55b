"""log Z and log p(v) by enumeration, of machines with a small layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skrbm.machines.couplings import log_weight_of_couplings
from skrbm.machines.restricted import RBMParameters, check_states, free_energy
from skrbm.machines.units import Points

_MAX_BITS = 30  # log2 of the states that are enumerated: with 784 units beside them, hours
_BLOCK = 1 << 20  # elements of a temporary


def log_partition_exact(params: RBMParameters) -> float:
    """Logarithm of the partition function Z = Σ_v Σ_h exp(-E(v, h)), by enumeration of the layer with fewer states.

    Of continuous units the sum is an integral. Where both layers are Gaussian it is that of a normal distribution.

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
        If both layers have too many states, or there is no Z: Gaussian units on either side with weights so large that
        exp(-E) grows along some direction.

    Notes
    -----
    Σ_v exp(-F(v)) over the 2^n_features visible states, or the same with the layers exchanged (Salakhutdinov & Murray
    2008, section 2). With h integrated out, Gaussian layers have p(v) ∝ exp(-½ v'(1 - W'W) v + (b + W'c)'v), which
    needs all singular values of W to be less than 1.
    """
    if params.is_quadratic:
        return _normal_integral(params.to(torch.float64))
    if math.isinf(bits_to_enumerate(params)):
        raise ValueError(f"Neither {params.visible!r} nor {params.hidden!r} units can be enumerated. Estimate log Z.")
    if params.R is not None and bits_to_enumerate(params) > _MAX_BITS:
        raise ValueError(
            f"Enumeration needs at most {_MAX_BITS} visible units where these are coupled; this machine has "
            f"{params.n_features}. Estimate log Z instead."
        )
    if bits_to_enumerate(params) > _MAX_BITS:
        raise ValueError(
            f"Enumeration needs a layer of at most {_MAX_BITS} units; this machine has {params.n_features} "
            f"visible and {params.n_hidden} hidden ones. Estimate log Z instead, or train a smaller machine."
        )
    small = (
        params.transposed()
        if params.R is None and _visible_bits(params.transposed()) < _visible_bits(params)
        else params
    )
    return _sum_over_visible(small.to(torch.float64))


def bits_to_enumerate(params: RBMParameters) -> float:
    """log2 of the number of states of the layer with fewer; for units with two states, how many it has.

    0 where log Z is known without any enumeration.
    """
    if params.is_quadratic:
        return 0.0
    return _visible_bits(params) if params.R is not None else min(map(_visible_bits, (params, params.transposed())))


def _visible_bits(params: RBMParameters) -> float:
    return params.visible.n_bits(params.n_features)


def _normal_integral(params: RBMParameters) -> float:
    """log ∫ exp(-E) over both layers of Gaussian units."""
    W, b, c = params.W, params.b, params.c
    precision = torch.eye(len(b), dtype=W.dtype, device=W.device) - W.T @ W
    factor, is_not_positive = torch.linalg.cholesky_ex(precision)
    if bool(is_not_positive):
        raise ValueError(
            "The machine has no partition function: its largest singular value of W is "
            f"{float(torch.linalg.matrix_norm(W, 2)):.6g}, and between Gaussian layers it has to be less than 1."
        )
    along = torch.linalg.solve_triangular(factor, (b + W.T @ c)[:, None], upper=False)
    return float(0.5 * along.square().sum() + 0.5 * c.square().sum() - factor.diagonal().log().sum())


def _sum_over_visible(params: RBMParameters) -> float:
    """log Σ_v exp(-F(v)). States of the low units, whose inputs are kept, run within those of the high ones."""
    W, b, c, visible = params.W, params.b, params.c, params.visible
    units = [visible.points(columns, 0.0, 0.0, W) for columns in visible.columns(params.n_features)]
    n_low, n_states, most = 0, 1, max(1, _BLOCK // max(params.n_hidden, 1))
    while n_low < len(units) and n_states * len(units[n_low].s) <= most:
        n_states *= len(units[n_low].s)
        n_low += 1
    low = joint_states(torch.arange(n_states, device=W.device), units[:n_low], W)
    width, others = low.s.shape[1], units[n_low:]
    input_low = low.s @ W[:, :width].T + c  # (n_states, n_hidden)
    bias_low = low.s @ b[:width] + low.log_weight
    R = params.R
    if R is not None:
        bias_low += log_weight_of_couplings(R[:width, :width], None, low.s)
    total = torch.tensor(-math.inf, dtype=W.dtype, device=W.device)
    for code in range(math.prod(len(unit.s) for unit in others)):
        high = joint_states(torch.tensor([code], device=W.device), others, W)
        inputs = input_low + W[:, width:] @ high.s[0]
        of_v = bias_low + high.s @ b[width:] + high.log_weight
        if R is not None:
            pairs = log_weight_of_couplings(R[width:, width:], None, high.s)
            of_v += low.s @ (R[:width, width:] @ high.s[0]) + pairs
        total = torch.logaddexp(total, (of_v + params.hidden.cumulant(inputs).sum(1)).logsumexp(0))
    return float(total)


def joint_states(codes: Tensor, units: Sequence[Points], like: Tensor) -> Points:
    """States of several units, each from the digits of a number; the lowest digit is that of the first unit."""
    states, log_weight = [like.new_zeros((len(codes), 0))], like.new_zeros(len(codes))
    for unit in units:
        digits, codes = codes % len(unit.s), codes // len(unit.s)
        states.append(unit.s[digits])
        log_weight = log_weight + unit.log_weight[digits]
    return Points(torch.cat(states, 1), log_weight)


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
