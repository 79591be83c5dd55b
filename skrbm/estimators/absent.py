"""Rows with absent cells, as methods of estimators take them: a machine of its own for each row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrbm.estimators.fitted import Fitted
from skrbm.estimators.gaps import states_with_gaps
from skrbm.likelihood.absent import (
    absent_as_zero,
    absent_log_likelihood,
    absent_means,
    absent_pseudo_log_likelihood,
)
from skrbm.machines.restricted import RBMParameters, free_energy, mean_h_given_v, mean_v_given_h
from skrbm.rows.source import Binarize
from skrbm.support.randomness import Stream


class LeftOut:
    """Functions of a machine and rows, NaN where cells are absent, for one call of a method."""

    def __init__(self) -> None:
        self._pixels = Stream(0, "pixels")

    def mean_h(self, params: RBMParameters, v: Tensor) -> Tensor:
        """E[h | v_o], (n, n_hidden): the absent units are no input."""
        return mean_h_given_v(params, absent_as_zero(v))

    def reconstruction(self, params: RBMParameters, v: Tensor) -> Tensor:
        """E[v | h] at h = E[h | v_o], (n, n_features)."""
        return mean_v_given_h(params, self.mean_h(params, v))

    def free_energy(self, params: RBMParameters, v: Tensor) -> Tensor:
        """F(v_o), which is -log p(v_o) up to log Z_o of the columns that a row has; (n,)."""
        return free_energy(params, absent_as_zero(v))

    def pseudo_log_likelihood(self, params: RBMParameters, v: Tensor) -> Tensor:
        """The sum over what is there, (n,)."""
        return absent_pseudo_log_likelihood(params, v)

    def log_weight(self, params: RBMParameters, v: Tensor, rule: Binarize) -> Tensor:
        """As `SummedOut.log_weight`; of rows with absent cells log p(v_o), the partition function taken off."""
        v = states_with_gaps(v, params.visible, rule, self._pixels)
        has_gaps, found = v.isnan().any(1), v.new_zeros((len(v), 3))
        found[~has_gaps, 0] = -free_energy(params, v[~has_gaps])
        if bool(has_gaps.any()):
            found[has_gaps, 0] = absent_log_likelihood(params, v[has_gaps]).to(v.dtype)
        found[:, 2] = has_gaps
        return found


def predicted(model: Any, given: np.ndarray, stream: Stream, *, mean: bool, decode: bool = True) -> np.ndarray:
    """Rows with absent cells, each predicted by itself from what the row has: its mean, or a draw.

    Rows of the table; of the machine, in which labels have probabilities, without `decode`.
    """
    fitted = Fitted(model)
    found = fitted.over_rows(partial(_predicted, stream=stream, mean=mean), given)
    return fitted.decoded(found, given) if decode else found


def _predicted(params: RBMParameters, v: Tensor, stream: Stream, mean: bool) -> Tensor:
    means = absent_means(params, v)
    return means if mean else torch.where(v.isnan(), params.visible.sample(means, stream), v)
