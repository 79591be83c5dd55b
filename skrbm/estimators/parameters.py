"""What the parameters of `BernoulliRBMTorch` may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from sklearn.utils import check_scalar

from skrbm.support.checks import check_choice
from skrbm.support.files import check_folder
from skrbm.training.measures import Criterion
from skrbm.training.schedules import RateScheduleName

__all__ = ["check_parameters"]

_PRECISIONS = ("auto", "float32", "float64", "int8", "bfloat16")
_COUNTS = ("n_hidden", "n_chains", "n_iter", "n_iter_no_change", "checkpoint_every")
_NUMBERS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "l1_penalty",
    "sparsity_target",
    "sparsity_cost",
    "averaging",
    "binarize",
    "validation_fraction",
    "tol",
)


def check_parameters(model: Any) -> None:
    """Raise a ValueError or a TypeError unless all parameters are as the docstring of the class says.

    The message names the parameter, its value, and what it may be.
    """
    for name in {*_COUNTS, *_NUMBERS, "k", "batch_size"} - {"binarize"}:
        if isinstance(getattr(model, name), bool | np.bool_):
            raise TypeError(f"{name}={getattr(model, name)!r} must be a number, not a truth value.")
    for name in _COUNTS:
        check_scalar(getattr(model, name), name, Integral, min_val=1)
    _check_k(model.k)
    if isinstance(model.batch_size, str):
        check_choice("batch_size", model.batch_size, ("auto",), "a number of rows")
    else:
        check_scalar(model.batch_size, "batch_size", Integral, min_val=1)
    check_scalar(model.learning_rate, "learning_rate", Real, min_val=0, include_boundaries="neither")
    check_scalar(model.momentum, "momentum", Real, min_val=0, max_val=1, include_boundaries="left")
    if model.weight_decay != "auto":
        check_scalar(model.weight_decay, "weight_decay", Real, min_val=0)
    for name in ("l1_penalty", "sparsity_cost", "tol"):
        check_scalar(getattr(model, name), name, Real, min_val=0)
    check_scalar(model.averaging, "averaging", Real, min_val=0, max_val=1)
    check_scalar(
        model.validation_fraction, "validation_fraction", Real, min_val=0, max_val=1, include_boundaries="neither"
    )
    if model.sparsity_target is not None:
        check_scalar(model.sparsity_target, "sparsity_target", Real, min_val=0, max_val=1, include_boundaries="neither")
    for name in _NUMBERS:
        value = getattr(model, name)
        if isinstance(value, Real) and not math.isfinite(value):
            raise ValueError(f"{name}={value!r} must be a finite number.")
    if model.checkpoint is not None:
        check_folder("checkpoint", model.checkpoint)
    elif model.resume:
        raise ValueError("resume=True needs to know where from: set checkpoint to the path of a file.")
    check_choice("algorithm", model.algorithm, ("cd", "pcd"))
    if not isinstance(model.centered, bool | np.bool_):
        check_choice("centered", model.centered, ("visible",), "True, or False")
    check_choice("precision", model.precision, _PRECISIONS)
    if not isinstance(model.early_stopping, bool | np.bool_):
        check_choice("early_stopping", model.early_stopping, get_args(Criterion), "True, or False")
    if not callable(model.optimizer):
        known = ("sgd", "nesterov", "adam")
        check_choice("optimizer", model.optimizer, known, "a factory such as torch.optim.RMSprop")
        if model.optimizer == "nesterov" and not model.momentum:
            raise ValueError("optimizer='nesterov' needs a momentum, got momentum=0. Set it, to 0.9 for one.")
    if not callable(model.learning_rate_schedule):
        check_choice(
            "learning_rate_schedule",
            model.learning_rate_schedule,
            get_args(RateScheduleName),
            "a factory that takes the optimiser, such as a partial of torch.optim.lr_scheduler.StepLR",
        )
    if not isinstance(model.binarize, Real) or isinstance(model.binarize, bool):
        check_choice("binarize", model.binarize, ("sample", "none"), "a threshold")


def _check_k(k: Any) -> None:
    if not isinstance(k, Mapping):
        check_scalar(k, "k", Integral, min_val=1)
        return
    if 0 not in k:
        raise ValueError(f"k={k!r} must have an entry for 0, the steps to begin with, such as {{0: 1, 0.6: 5}}.")
    for share, n_steps in k.items():
        check_scalar(share, f"k={k!r}: the share of the epochs", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(n_steps, f"k={k!r}: the number of steps", Integral, min_val=1)
