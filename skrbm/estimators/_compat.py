"""Whatever of scikit-learn is private or differs between versions: no other file knows it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import sklearn
from sklearn.utils._set_output import _get_container_adapter
from sklearn.utils.validation import _check_sample_weight

from skrbm.estimators.fitted import attributes_of
from skrbm.training.fit import MEASURES
from skrbm.training.learned import Learned
from skrbm.training.listeners import FitInProgress, Listener

__all__ = ["CallbackSupportMixin", "ScoringMonitor", "callback_management_context"]

try:
    from sklearn.callback import CallbackSupportMixin as _Callbacks
    from sklearn.callback import ScoringMonitor
    from sklearn.callback._callback_support import callback_management_context
except ImportError:  # before scikit-learn 1.9

    class _Callbacks:  # type: ignore[no-redef]
        """Stands in for scikit-learn's."""

        def set_callbacks(self, *callbacks: Any) -> Self:
            """Not available before scikit-learn 1.9."""
            raise NotImplementedError(_TOO_OLD)

    class ScoringMonitor:  # type: ignore[no-redef]
        """Stands in for scikit-learn's."""

        def __init__(self, *, scoring: Any) -> None:
            raise NotImplementedError(_TOO_OLD)

    def callback_management_context(estimator: Any) -> AbstractContextManager[None]:
        """Nothing to manage."""
        return nullcontext()


_TOO_OLD = f"Callbacks need scikit-learn 1.9 or newer, but this is {sklearn.__version__}. Upgrade it to use them."
_CALLBACK_ATTRIBUTES = ("_skl_callbacks", "_skl_callbacks_to_teardown", "_callback_fit_ctx", "_parent_callback_ctx")


class CallbackSupportMixin(_Callbacks):
    """scikit-learn's, whose `set_callbacks` says what to do with what isn't a callback."""

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set what is told of the fit and of its epochs; without any, nothing is. Needs scikit-learn 1.9 or newer.

        Parameters
        ----------
        *callbacks : callback
            Those of `skrbm.callbacks`, such as `OnEpoch(function)`, or of `sklearn.callback`, one by one.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If one of them is something else.
        NotImplementedError
            Before scikit-learn 1.9.
        """
        try:
            return super().set_callbacks(*callbacks)
        except TypeError as error:
            for callback in callbacks:
                if isinstance(callback, list | tuple):
                    raise TypeError("Pass callbacks one by one, not in a list: set_callbacks(a, b).") from error
                name = getattr(callback, "__name__", None)
                if isinstance(callback, type):
                    raise TypeError(f"Pass a callback, not its class {name}: set_callbacks({name}(...)).") from error
                if callable(callback):
                    raise TypeError(
                        "A function is no callback. Wrap it: set_callbacks(skrbm.callbacks.OnEpoch(function)), which "
                        "calls function(model, epoch) after each epoch."
                    ) from error
            raise


class TellCallbacks(Listener):
    """Tells the callbacks of an estimator, if it has any, of its fit and of the epochs in it.

    Parameters
    ----------
    estimator : estimator instance
        It is being fitted.
    n_epochs : int
        How many there will be at most.
    X, y, sample_weight
        What `fit` was given.
    """

    def __init__(self, estimator: Any, n_epochs: int, X: Any, y: Any, sample_weight: Any) -> None:
        self._fit: Any = None
        self._epoch: Any = None
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=n_epochs)
            self._fit.call_on_fit_task_begin(**self._told)

    def begin(self, run: FitInProgress) -> None:
        for _ in range(run.n_finished if self._fit is not None else 0):  # epochs of an earlier fit
            self._fit.subcontext(task_name="epoch")

    def begin_epoch(self, run: FitInProgress) -> None:
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")

            def so_far() -> dict[str, Any]:
                return {"history_": {name: np.empty(0) for name in MEASURES}, **attributes_of(run.learned())}

            self._epoch.call_on_fit_task_begin(**self._told, reconstruction_attributes=so_far)

    def end_epoch(self, run: FitInProgress, learned: Learned) -> bool:
        if self._epoch is None:
            return False
        return bool(self._epoch.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes_of(learned)))

    def end(self, learned: Learned) -> None:
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._told, reconstruction_attributes=attributes_of(learned))


def without_callbacks(estimator: Any) -> Any:
    """A shallow copy that knows of no callbacks, to be kept or pickled."""
    new = copy.copy(estimator)
    for name in _CALLBACK_ATTRIBUTES:
        new.__dict__.pop(name, None)
    return new


def set_n_features_out(estimator: Any, n: int) -> None:
    """Make scikit-learn's own estimator know the number of features that it puts out."""
    estimator._n_features_out = n


def in_container(estimator: Any, rows: np.ndarray, original: Any, columns: list[str]) -> Any:
    """Rows in the kind of data frame that `set_output` or `set_config` asks for, with the index of `original`."""
    adapter = _get_container_adapter("transform", estimator)
    return rows if adapter is None else adapter.create_container(rows, original, columns=columns)


def wanted_container(estimator: Any) -> str | None:
    """Whose data frames `set_output` or `set_config` asks for: "pandas", "polars"; None where it asks for none."""
    adapter = _get_container_adapter("transform", estimator)
    return None if adapter is None else str(adapter.container_lib)


def check_sample_weight(sample_weight: Any, X: Any) -> np.ndarray:
    """Weights (n_samples,) as float64, checked for shape, NaN and sign.

    Raises
    ------
    ValueError
        If a weight is negative, NaN or infinite, if there are not as many as rows, or if all are zero.
    """
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if weight.min() < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: the smallest is {weight.min():g}. "
            "Weights count rows; pass zeros to leave rows out."
        )
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number; all in `sample_weight` are 0.")
    return weight


def add_scorer(name: str, scorer: Callable[..., float]) -> None:
    """Let scikit-learn know `scorer` by `name`, as in `scoring=name`.

    Raises
    ------
    RuntimeError
        If it has another scorer of that name, or keeps its scorers in another way than those before it.
    """
    import sklearn.metrics  # late, for who has no use for it
    import sklearn.model_selection
    from sklearn.metrics import _scorer
    from sklearn.utils._param_validation import StrOptions

    known = getattr(_scorer, "_SCORERS", None)
    if not isinstance(known, dict) or known.setdefault(name, scorer) is not scorer:
        raise RuntimeError(
            f"scikit-learn {sklearn.__version__} doesn't take the name {name!r} for a scorer. Pass the scorer itself: "
            "scoring=skrbm.log_likelihood_scorer."
        )
    for thing in (*vars(sklearn.metrics).values(), *vars(sklearn.model_selection).values()):
        for attribute in ("_skl_parameter_constraints", "_parameter_constraints"):  # of functions, and of classes
            constraints = getattr(thing, attribute, None)
            for constraint in constraints.get("scoring", ()) if isinstance(constraints, dict) else ():
                if isinstance(constraint, StrOptions):
                    constraint.options.add(name)
