"""Rows with gaps, as methods of estimators take them: what is missing is summed out, and counts for no volume."""

from __future__ import annotations

import torch
from torch import Tensor

from skrbm.estimators.coding import Coding
from skrbm.likelihood.gaps import (
    marginal_free_energy,
    marginal_mean_h,
    marginal_mean_v,
    marginal_pseudo_log_likelihood,
)
from skrbm.likelihood.mean_field import mean_field_free_energy
from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_rest
from skrbm.machines.units import Unit
from skrbm.rows.source import Binarize, binarize_rows
from skrbm.support.randomness import Stream


class SummedOut:
    """Functions of a machine and rows, NaN where values are missing, for one call of a method.

    Densities and free energies are those of states, less the log-volume of all columns for what is missing: `coding`'s
    volume, which is the same for all rows, is taken off next.

    Parameters
    ----------
    coding : Coding
        How rows have become states.
    """

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._stream, self._pixels = Stream(0, "gaps"), Stream(0, "pixels")

    def mean_h(self, params: RBMParameters, v: Tensor) -> Tensor:
        """E[h | v], (n, n_hidden); without hidden units the inputs of the visible ones, (n, n_features)."""
        if params.n_hidden == 0:
            means, n_latent = marginal_mean_v(params, v, self._stream), self._coding.n_latent
            return means[:, -n_latent:] if n_latent else params.b + params.fields(means)
        means = marginal_mean_h(params, v, self._stream)
        if not self._coding.n_latent:
            return means
        latent = marginal_mean_v(params, v, self._stream)[:, -self._coding.n_latent :]
        return torch.cat((means, latent), 1)

    def reconstruction(self, params: RBMParameters, v: Tensor) -> Tensor:
        """E[v | h] at h = E[h | v], of coupled units given the others too, (n, n_features)."""
        v = marginal_mean_v(params, v, self._stream) if self._coding.n_latent else v
        return mean_v_given_rest(params, v, mean_h_given_v(params, v))

    def free_energy(self, params: RBMParameters, v: Tensor) -> Tensor:
        """F(v), (n,)."""
        return self._of_observed(marginal_free_energy(params, v, self._stream).value, params, v, -1)

    def pseudo_log_likelihood(self, params: RBMParameters, v: Tensor) -> Tensor:
        """The sum over what is observed, (n,)."""
        return self._of_observed(marginal_pseudo_log_likelihood(params, v, self._stream), params, v, 1)

    def log_weight(self, params: RBMParameters, v: Tensor, rule: Binarize) -> Tensor:
        """-F(v) of the states that `rule` makes of v, its standard error, and whether log Z is off already: (n, 3).

        That is so of rows without any value, whose log-probability is 0.

        Raises
        ------
        ValueError
            If values have no log-probability.
        """
        v = states_with_gaps(v, params.visible, rule, self._pixels)
        is_empty, found = v.isnan().all(1), v.new_zeros((len(v), 3))
        is_known = slice(None) if not bool(is_empty.any()) else ~is_empty
        found[:, 2] = is_empty
        if bool(is_empty.all()):
            return found
        known = v[is_known]
        marginal = marginal_free_energy(params, known, self._stream)
        found[is_known, 0] = self._of_observed(-marginal.value, params, known, 1)
        found[is_known, 1] = marginal.standard_error.to(v.dtype)
        return found

    def mean_field_bound(self, params: RBMParameters, v: Tensor, rule: Binarize) -> Tensor:
        """A lower bound of -F(v) of the states that `rule` makes of v, (n,)."""
        return -mean_field_free_energy(params, states_with_gaps(v, params.visible, rule, self._pixels))

    def _of_observed(self, nats: Tensor, params: RBMParameters, v: Tensor, sign: int) -> Tensor:
        """The same with the log-volume of the missing columns, so that none is left once that of all is taken off."""
        scaled = params.visible.scaled
        if scaled is None or not bool((gaps := v[:, scaled].isnan()).any()):
            return nats
        volume = gaps.double() @ torch.from_numpy(self._coding.log_scales).to(v.device)
        volume = torch.where(gaps.all(1), self._coding.log_volume, volume)  # to the same bits
        return nats + sign * volume.to(nats.dtype)


def states_with_gaps(v: Tensor, visible: Unit, rule: Binarize, stream: Stream) -> Tensor:
    """Rows as states that have a probability; NaN stays."""
    gaps = v.isnan()
    has_gaps = bool(gaps.any())
    known = v[~gaps] if has_gaps else v
    if known.numel() and (wrong := visible.check_range(float(known.min()), float(known.max()))):
        raise ValueError(f"X has {wrong} Scale or encode it as the rows of fit were.")
    if has_gaps:  # any state will do in their place
        some = visible.sample(visible.mean(v.new_zeros((1, v.shape[1]))), Stream(0))
        v = torch.where(gaps, some, v)
    if isinstance(rule, str) and rule == "none" and not visible.are_states(v):
        raise ValueError(
            "X has values other than 0 and 1, which have no log-probability, and binarize='none' doesn't say "
            "what to make of them. Pass zeros and ones, such as X > 0.5, or set binarize."
        )
    states = binarize_rows(v, rule, stream)
    return states.masked_fill(gaps, torch.nan) if has_gaps else states
