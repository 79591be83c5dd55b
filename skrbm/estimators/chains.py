"""Chains of a fitted machine: by which kernel they move, and the hidden states beside their visible ones."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from skrbm.estimators.fitted import Fitted
from skrbm.machines.restricted import RBMParameters, sample_h_given_v
from skrbm.sampling.kernels import Kernel
from skrbm.support.randomness import Stream

Sampler = Literal["gibbs", "parallel_tempering", "trajectory_tempering"]
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)


def name_of(method: Sampler | Kernel) -> str:
    """What a way of sampling is called."""
    return method if isinstance(method, str) else getattr(method.step, "__name__", "kernel")


def tempered(params: RBMParameters, beta: float) -> RBMParameters:
    """The machine at an inverse temperature."""
    return params if beta == 1.0 else params.map(lambda tensor: tensor * float(beta))


def hidden_of(model: Any, v: np.ndarray, beta: float, stream: Stream) -> np.ndarray:
    """Hidden states drawn from p(h | v) at an inverse temperature, of visible ones (..., n_features)."""

    def draw(params: RBMParameters, v: Tensor) -> Tensor:
        return sample_h_given_v(tempered(params, beta), v, stream)

    return Fitted(model).over_rows(draw, v.reshape(-1, v.shape[-1])).reshape(*v.shape[:-1], -1)
