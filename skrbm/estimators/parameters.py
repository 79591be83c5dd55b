"""What the parameters of an estimator may be, as a table, and what they mean to training."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from sklearn.utils import check_scalar

from skrbm.backends.choose import PRECISIONS
from skrbm.rows.source import Binarize
from skrbm.support.checks import check_choice
from skrbm.support.files import check_folder
from skrbm.support.tensors import find_device
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import CRITERIA, Algorithm, Missing, OptimizerName, TrainSettings, check_absent
from skrbm.training.solved import SOLVERS

_NOT_LEARNED_BY = ("checkpoint", "checkpoint_every", "device", "resume", "verbose")  # what doesn't change the result
_OTHER_NAMES = {"n_iter": "n_epochs"}  # of settings


@dataclass(frozen=True)
class Number:
    """A finite number in a range; a truth value is none.

    Attributes
    ----------
    low, high : float or None
        Bounds.
    boundaries : {"both", "left", "neither"}
        Which of these belong to it.
    kind : type
        `Integral` or `Real`.
    """

    low: float | None = None
    high: float | None = None
    boundaries: str = "both"
    kind: type[Any] = Real

    def __call__(self, name: str, value: Any) -> None:
        what = "a whole number" if self.kind is Integral else "a number"
        if isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}={value!r} must be {what}, not a truth value.")
        if not isinstance(value, self.kind):
            raise TypeError(f"{name}={value!r} must be {what}.")
        bounds = {"min_val": self.low, "max_val": self.high, "include_boundaries": self.boundaries}
        check_scalar(value, name, self.kind, **(bounds if self.low is not None else {}))
        if not math.isfinite(value):
            raise ValueError(f"{name}={value!r} must be a finite number.")


@dataclass(frozen=True)
class Choice:
    """One of some names, or something else.

    Attributes
    ----------
    names : tuple of str
        The names.
    other : str
        What else it may be, for the message.
    accepts : callable
        Whether something that isn't a name is accepted, or what checks that by itself.
    """

    names: tuple[str, ...]
    other: str = ""
    accepts: Callable[[Any], bool] = lambda value: False

    def __call__(self, name: str, value: Any) -> None:
        if not self.accepts(value):
            check_choice(name, value, self.names, self.other)


@dataclass(frozen=True)
class Or:
    """A value of its own, or what a constraint allows: `what` that is, for the message of another type."""

    value: Any
    constraint: Callable[[str, Any], None]
    what: str = "a number"

    def __call__(self, name: str, value: Any) -> None:
        if value is self.value or (isinstance(value, str) and value == self.value):
            return
        try:
            self.constraint(name, value)
        except TypeError:
            raise TypeError(f"{name}={value!r} must be {self.what} or {self.value!r}.") from None


def _is_truth_value(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_threshold(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_number(value: Any) -> bool:
    return not isinstance(value, str)


def _check_k(name: str, k: Any) -> None:
    if not isinstance(k, Mapping):
        try:
            _COUNT(name, k)
        except TypeError:
            raise TypeError(f"k={k!r} must be a whole number or a dict such as {{0: 1, 0.6: 5}}.") from None
        return
    if 0 not in k:
        raise ValueError(f"k={k!r} must have an entry for 0, the steps to begin with, such as {{0: 1, 0.6: 5}}.")
    for share, n_steps in k.items():
        if not isinstance(share, Real) or not isinstance(n_steps, Integral):
            raise TypeError(
                f"k={k!r} must have shares of the epochs as its keys, and whole numbers of steps as its values, such "
                "as {0: 1, 0.6: 5}."
            )
        check_scalar(share, f"k={k!r}: the share of the epochs", Real, min_val=0, max_val=1, include_boundaries="left")
        check_scalar(n_steps, f"k={k!r}: the number of steps", Integral, min_val=1)


def _check_batch_size(name: str, value: Any) -> None:
    Choice(("auto",), "a number of rows", _is_number)(name, value)
    Or("auto", _COUNT, "a whole number")(name, value)


def _check_binarize(name: str, value: Any) -> None:
    if isinstance(value, Real) and not math.isfinite(value):
        raise ValueError(f"{name}={value!r} must be a finite number.")
    Choice(("sample", "none"), "a threshold", _is_threshold)(name, value)


def _check_verbose(name: str, value: Any) -> None:
    if not isinstance(value, Integral | np.bool_):
        raise TypeError(
            f"{name}={value!r} must be a whole number or a truth value: 0 prints nothing, 1 a line an epoch."
        )


def _check_couplings(name: str, value: Any) -> None:
    """What else there is to it depends on the number of columns."""
    if not _is_truth_value(value) and not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be True, False, or a boolean mask, a numpy array; got {type(value).__name__}.")


def _check_sizes(name: str, value: Any) -> None:
    if not isinstance(value, tuple | list) or not value:
        raise TypeError(f"{name}={value!r} must be a tuple of sizes of layers, such as (500, 1000).")
    for size in value:
        _COUNT(name, size)


_COUNT = Number(1, kind=Integral)
_SCHEDULE = "a factory that takes the optimiser, such as a partial of torch.optim.lr_scheduler.StepLR"

CONSTRAINTS: dict[str, Callable[[str, Any], None]] = {
    "n_hidden": Number(0, kind=Integral),
    "hidden_layer_sizes": _check_sizes,
    "visible_couplings": _check_couplings,
    "hidden_couplings": _check_couplings,
    "l2_penalty": Or("auto", Number(0)),
    "positive_phase": Choice(("auto", "exact", "gibbs")),
    "encoding": Choice(("binary", "spin")),
    "solver": Choice(SOLVERS),
    "hidden": Choice(("bernoulli", "gaussian")),
    "handle_unknown": Choice(("error", "missing")),
    "noise": Or("learned", Number(0, 1, "right")),
    "k": _check_k,
    "missing": Choice(get_args(Missing)),
    "algorithm": Choice(("auto", *get_args(Algorithm))),
    "n_chains": _COUNT,
    "learning_rate": Or("auto", Number(0, boundaries="neither")),
    "learning_rate_schedule": Choice(get_args(RateScheduleName), _SCHEDULE, callable),
    "optimizer": Choice(get_args(OptimizerName), "a factory such as torch.optim.RMSprop", callable),
    "momentum": Number(0, 1, "left"),
    "weight_decay": Or("auto", Number(0)),
    "l1_penalty": Number(0),
    "sparsity_target": Or(None, Number(0, 1, "neither")),
    "sparsity_cost": Number(0),
    "averaging": Number(0, 1),
    "centered": Choice(("visible",), "True, or False", _is_truth_value),
    "batch_size": _check_batch_size,
    "n_iter": _COUNT,
    "binarize": _check_binarize,
    "precision": Choice(PRECISIONS),
    "early_stopping": Choice(CRITERIA, "True, or False", _is_truth_value),
    "validation_fraction": Number(0, 1, "neither"),
    "n_iter_no_change": _COUNT,
    "tol": Number(0),
    "checkpoint": Or(None, check_folder, "a path"),
    "checkpoint_every": _COUNT,
    "verbose": _check_verbose,
}


def settings_of(model: Any) -> TrainSettings:
    """The parameters of an estimator, checked, in the core's words.

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Unless all parameters are as the docstring of the class says. The message names the parameter, its value, and
        what it may be.
    """
    values = model.get_params(deep=False)
    for name, constraint in CONSTRAINTS.items():
        if name in values:
            constraint(name, values[name])
    values.setdefault("n_hidden", model.n_hidden)
    if values["n_hidden"] == 0 and values.get("hidden_couplings", False) is not False:
        raise ValueError("hidden_couplings needs hidden units to couple, but n_hidden=0.")
    if values["n_hidden"] == 0 and values.get("visible_couplings", False) is False:
        if "visible_couplings" in values:
            raise ValueError("n_hidden=0 must be at least 1 where visible units aren't coupled.")
        _COUNT("n_hidden", 0)
    if values["resume"] and values["checkpoint"] is None:
        raise ValueError("resume=True needs to know where from: set checkpoint to the path of a file.")
    if values["optimizer"] == "nesterov" and not values["momentum"]:
        raise ValueError("optimizer='nesterov' needs a momentum, got momentum=0. Set it, to 0.9 for one.")
    known = {field.name for field in fields(TrainSettings)}
    settings: dict[str, Any] = {
        _OTHER_NAMES.get(name, name): bool(value) if isinstance(value, np.bool_) else value
        for name, value in values.items()
    }
    visible, hidden = model.units
    settings.setdefault("binarize", "none")
    if "hidden_layer_sizes" in values:
        settings |= {"hidden_layer_sizes": tuple(values["hidden_layer_sizes"]), "n_latent": model.n_latent}
    settings |= {"device": find_device(values["device"]), "visible": visible, "hidden": hidden}
    settings["algorithm"] = algorithm_of(model)
    found = TrainSettings(**{name: value for name, value in settings.items() if name in known})
    check_absent(found)  # as far as it is known before there are rows
    return found


def missing_of(model: Any) -> Missing:
    """What cells that are missing mean to an estimator."""
    return getattr(model, "missing", "marginal")


def algorithm_of(model: Any) -> Algorithm:
    """Where the chains of an estimator start."""
    if model.algorithm != "auto":
        return model.algorithm
    return "cd" if missing_of(model) == "absent" else "pcd"


def rule_of(model: Any) -> Binarize:
    """What an estimator makes of values that are no states."""
    return getattr(model, "binarize", "none")


def identity_of(model: Any) -> dict[str, str]:
    """The parameters that what is learned depends on, as text without addresses."""
    values = model.get_params(deep=False).items()
    return {name: re.sub(" at 0x[0-9a-f]+", "", repr(value)) for name, value in values if name not in _NOT_LEARNED_BY}
