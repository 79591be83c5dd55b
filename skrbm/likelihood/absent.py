"""Rows whose missing cells, NaN, are not there: their likelihood among the columns that they have, and predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.likelihood.exact import joint_states
from skrbm.likelihood.pseudo import ends_of_inputs, log_conditionals
from skrbm.machines.restricted import RBMParameters, check_states, input_to_h

_MAX_BITS = 14  # log2 of the hidden states that are enumerated for each row
_BLOCK = 1 << 20  # elements of a temporary


def absent_as_zero(v: Tensor) -> Tensor:
    """Rows in which what isn't there is 0: energies and inputs are then those of the units that are."""
    return v.nan_to_num(0.0)


@torch.no_grad()
def absent_pseudo_log_likelihood(params: RBMParameters, v: Tensor) -> Tensor:
    """The sum over the units that a row has of log p(v_i | the others that it has), all but these absent; (n,).

    Parameters
    ----------
    params : RBMParameters
        A machine of bits and categories.
    v : Tensor of shape (n, n_features)
        States, NaN where they are missing; of a unit of several columns in all of them.

    Raises
    ------
    TypeError, ValueError
        If `v` is no tensor of floats, or has another width than the machine.
    """
    check_states("v", v, params.n_features)
    return (log_conditionals(params, absent_as_zero(v)) * ~_units_missing(params, v)).sum(1).to(v.dtype)


@torch.no_grad()
def absent_log_likelihood(params: RBMParameters, v: Tensor) -> Tensor:
    """log p(v_o) = -F(v_o) - log Z_o of each row, in nats, among the columns o that it has; (n,), in float64.

    Parameters
    ----------
    params, v
        As in `absent_pseudo_log_likelihood`.

    Raises
    ------
    TypeError
        If `v` is no tensor.
    ValueError
        If `v` has another width than the machine, or that has more than 14 hidden units.

    Notes
    -----
    Z_o = Σ_h exp(c'h + Σ_{i in o} cumulant_i(b + W'h)), a sum over 2^n_hidden states for each row.

    Examples
    --------
    A row that has one of two columns, and nothing but that column's bias and the hidden unit to go by:

    >>> import torch
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.likelihood import absent_log_likelihood
    >>> machine = RBMParameters(W=torch.tensor([[2.0, 5.0]]), b=torch.tensor([-1.0, 3.0]), c=torch.tensor([0.0]))
    >>> absent_log_likelihood(machine, torch.tensor([[0.0, torch.nan], [1.0, torch.nan]])).exp().round(decimals=3)
    tensor([0.3930, 0.6070], dtype=torch.float64)
    """
    check_states("v", v, params.n_features)
    if params.hidden.n_bits(params.n_hidden) > _MAX_BITS:
        raise ValueError(
            f"The likelihood of rows with absent cells takes a partition function of each row, which is enumerated up "
            f"to {_MAX_BITS} hidden units; this machine has {params.n_hidden}. Go by the pseudo-likelihood "
            "(score_samples), or by predictions of cells that are held out."
        )
    params, v = params.to(torch.float64), v.double()
    there = (~_units_missing(params, v)).double()
    points = [
        params.hidden.unit_at(one).points(one, 0.0, 0.0, params.W) for one in params.hidden.columns(len(params.c))
    ]
    n_states = 1 << params.n_hidden
    found = torch.full((len(v),), -torch.inf, dtype=v.dtype, device=v.device)
    size = max(1, _BLOCK // max(1, params.n_features, len(v)))
    for codes in torch.split(torch.arange(n_states, device=v.device), size):
        h = joint_states(codes, points, params.W).s
        of_units = params.visible.cumulant(h @ params.W + params.b)  # (n_states, n_units)
        log_weight = params.hidden.log_weight(h, params.c)[:, None] + of_units @ there.T
        found = torch.logaddexp(found, log_weight.logsumexp(0))
    zeros = absent_as_zero(v)
    of_rows = params.visible.log_weight(zeros, params.b) + params.hidden.cumulant(input_to_h(params, zeros)).sum(1)
    return of_rows - found


@torch.no_grad()
def absent_means(params: RBMParameters, v: Tensor) -> Tensor:
    """Rows whose missing cells are E[v_i | v_o], each from the machine of its row with that one unit added.

    p(v_i | v_o) ∝ exp(b_i'v_i) Π_j (1 + exp(c_j + W_jo v_o + W_ji v_i)), exactly; of a category the probabilities.

    Parameters
    ----------
    params, v
        As in `absent_pseudo_log_likelihood`.

    Returns
    -------
    Tensor of shape (n, n_features)
        What a row has is as it was.

    Raises
    ------
    TypeError, ValueError
        If `v` is no tensor, or has another width, type or device than the machine.
    """
    check_states("v", v, params.n_features, params.W)
    found, W = v.clone(), params.W
    inputs, is_missing = input_to_h(params, absent_as_zero(v)), _units_missing(params, v)
    least, most = (params.b + ends for ends in ends_of_inputs(W, params.hidden.mean_range))
    for columns, missing in zip(params.visible.columns(params.n_features), is_missing.T, strict=True):
        unit = params.visible.unit_at(columns)
        s, log_weight = unit.points(columns, float(least[columns].min()), float(most[columns].max()), W)
        log_weight, effect = log_weight + s @ params.b[columns], s @ W[:, columns].T  # (n_points, n_hidden)
        for rows in torch.split(missing.nonzero().flatten(), max(1, _BLOCK // max(1, effect.numel()))):
            of_points = params.hidden.cumulant(inputs[rows, None] + effect).sum(-1) + log_weight
            found[rows, columns] = of_points.softmax(1) @ s
    return found


def _units_missing(params: RBMParameters, v: Tensor) -> Tensor:
    """Which units have no value, (n, n_units)."""
    firsts = [columns.start for columns in params.visible.columns(params.n_features)]
    return v[:, firsts].isnan()
