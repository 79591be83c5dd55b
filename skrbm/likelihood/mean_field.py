"""Rows with gaps by mean field: a bound of their free energy, without chances."""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.restricted import RBMParameters, check_states, free_energy

_DAMPING = 0.5  # of steps where visible units are coupled: all at once they may swing back and forth


@torch.no_grad()
def mean_field_free_energy(params: RBMParameters, v: Tensor, *, n_steps: int = 50) -> Tensor:
    """An upper bound of F(v_o), the free energy of rows whose missing cells are summed out, by mean field, in nats.

    Less log Z, its negative is a lower bound of log p(v_o): of a deep Boltzmann machine the bound that is maximised by
    variational learning (Salakhutdinov & Hinton 2009, equation 6).

    Parameters
    ----------
    params : RBMParameters
        A machine of Bernoulli units.
    v : Tensor of shape (n, n_features)
        States, NaN where they are missing.
    n_steps : int
        Rounds, in each of which the means of h, then those of the missing cells follow from the others.

    Returns
    -------
    Tensor of shape (n,)
        min F_q = -b'm - ½ m'Rm - Σ_j softplus(c_j + W_j m) - Σ H(m_i) over independent missing cells of means m, as
        far as the steps have come: exact where nothing is missing, and where the missing cells have no weights.

    Raises
    ------
    TypeError, ValueError
        If `v` is no tensor, or has another width, type or device than the machine, or units aren't Bernoulli.

    Examples
    --------
    >>> import torch
    >>> from skrbm.likelihood import marginal_free_energy, mean_field_free_energy
    >>> from skrbm.machines import RBMParameters
    >>> from skrbm.support import Stream
    >>> machine = RBMParameters(torch.tensor([[2.0, -1.0, 1.0]]), torch.tensor([-1.0, 0.5, 0.0]), torch.tensor([0.5]))
    >>> row = torch.tensor([[1.0, torch.nan, torch.nan]])
    >>> bool(mean_field_free_energy(machine, row) > marginal_free_energy(machine, row, Stream(0)).value)
    True
    """
    check_states("v", v, params.n_features, params.W)
    if (params.visible, params.hidden) != (BERNOULLI, BERNOULLI):
        raise ValueError("The mean-field bound is for Bernoulli units in both layers.")
    free = v.isnan()
    m = torch.where(free, 0.5, v)
    for _ in range(n_steps):
        mean_h = torch.sigmoid(params.c + m @ params.W.T)
        inputs = params.b + mean_h @ params.W
        if params.R is not None:
            inputs = _DAMPING * (inputs + params.fields(m)) + (1 - _DAMPING) * torch.logit(m, 1e-6)
        m = torch.where(free, inputs.sigmoid_(), v)
    entropy = torch.where(free, torch.special.entr(m) + torch.special.entr(1 - m), 0.0)
    return free_energy(params, m) - entropy.sum(1)
