"""Callbacks for `BernoulliRBMTorch.set_callbacks`, with scikit-learn 1.9 or newer.

scikit-learn's own work too: `sklearn.callback.ProgressBar`, to be set on the outermost estimator, and `ScoringMonitor`,
which records nothing where `fit` is called without y. Those here are set on the machine itself, also inside a
`Pipeline` or a `GridSearchCV`. scikit-learn calls its callbacks experimental.

Examples
--------
>>> import numpy as np
>>> from skrbm import BernoulliRBMTorch
>>> from skrbm.callbacks import OnEpoch
>>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=2, random_state=0)
>>> def show(model, epoch):
...     print(epoch, model.history_["pseudo_log_likelihood"].shape)
>>> _ = rbm.set_callbacks(OnEpoch(show)).fit(np.eye(6))
1 (1,)
2 (2,)
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from sklearn.utils import check_scalar

from skrbm.estimators._compat import ScoringMonitor, without_callbacks
from skrbm.support.files import check_folder, write_atomically
from skrbm.support.tensors import take_rows


class _EpochCallback(ABC):
    """Does something with the model after every so many epochs and after the last, or before the first one too."""

    every: int
    before: bool

    @abstractmethod
    def setup(self, estimator: Any, context: Any) -> None:
        """A fit begins."""

    def teardown(self, estimator: Any, context: Any) -> None:  # noqa: B027 (a hook that nobody needs)
        """The fit is over."""

    def on_fit_task_begin(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> None:
        """An epoch, or the fit, begins."""
        if self.before and context.task_name == "epoch" and context.task_id == 0:
            self._act(without_callbacks(fitted_estimator), 0)

    def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
        """An epoch, or the fit, ends; whether to stop."""
        if context.task_name != "epoch":
            return False
        epoch = context.task_id + 1
        due = epoch % self.every == 0 or epoch == context.parent.max_subtasks
        return due and self._act(without_callbacks(fitted_estimator), epoch)

    @abstractmethod
    def _act(self, model: Any, epoch: int) -> bool:
        """Do it; whether to stop."""


class OnEpoch(_EpochCallback):
    """Calls a function of yours after each epoch: to draw a picture, to log, to stop.

    Parameters
    ----------
    function : callable
        Called with a model that can do all that a fitted one can, and with the number of epochs of this fit. If it
        returns True, training stops.
    every : int, default=1
        Epochs from one call to the next; the last one is always among them.
    before : bool, default=False
        Whether to call it before the first epoch too, with the number 0 and the model that training starts from. The
        arrays of its `history_` are empty (but with `warm_start=True`, where they are those of the fit before).

    Notes
    -----
    A fitted model keeps its callbacks. A lambda, or a function that was defined inside another, can't be pickled, so
    neither can the model: take them off by `model.set_callbacks()` before `joblib.dump`. `save` leaves them out anyway.

    Examples
    --------
    Log a measure, to TensorBoard or wherever it is wanted:

    >>> import numpy as np
    >>> from skrbm import BernoulliRBMTorch
    >>> logged = {}
    >>> log = OnEpoch(lambda model, epoch: logged.update({epoch: model.history_["pseudo_log_likelihood"][-1]}))
    >>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=3, random_state=0).set_callbacks(log).fit(np.eye(6))
    >>> list(logged)
    [1, 2, 3]
    """

    function: Callable[[Any, int], Any]
    every: int
    before: bool

    def __init__(self, function: Callable[[Any, int], Any], *, every: int = 1, before: bool = False) -> None:
        check_scalar(every, "every", Integral, min_val=1)
        if not callable(function):
            raise TypeError(f"function must be callable with a model and the number of its epochs, got {function!r}.")
        self.function, self.every, self.before = function, every, bool(before)

    def setup(self, estimator: Any, context: Any) -> None:
        """A fit begins."""

    def _act(self, model: Any, epoch: int) -> bool:
        return bool(self.function(model, epoch))


class Checkpoint(_EpochCallback):
    """Stores the model by joblib after every so many epochs. A file is whole at any moment, whatever happens.

    Parameters
    ----------
    path : str or path-like
        Where to; with "{epoch}" in its name a file for each epoch that is stored, else always the same.
    every : int, default=1
        Epochs from one to the next; the last one is always stored.

    Notes
    -----
    `joblib.load(path)` gives the model; with `warm_start=True` its `fit` goes on from there, for another `n_iter`
    epochs. What goes on with an interrupted training as if nothing had happened is the parameter `checkpoint` of the
    machine, with `resume`.
    """

    path: str
    every: int
    before: bool = False

    def __init__(self, path: str | os.PathLike[str], *, every: int = 1) -> None:
        check_scalar(every, "every", Integral, min_val=1)
        self.path, self.every = os.fspath(path), every

    def setup(self, estimator: Any, context: Any) -> None:
        """A fit begins: complain now rather than after the first epoch."""
        check_folder("path", self.path)

    def _act(self, model: Any, epoch: int) -> bool:
        write_atomically(self.path.replace("{epoch}", str(epoch)), partial(joblib.dump, model))
        return False


class LikelihoodMonitor(ScoringMonitor):
    """scikit-learn's `ScoringMonitor` with the measures of a machine, which need no y.

    Parameters
    ----------
    X_val : array-like of shape (n_samples, n_features), optional
        Rows that training doesn't see, as the machine would see them: after the steps before it in a pipeline.
    log_likelihood : bool, default=False
        Whether the log-likelihood is to be recorded too, with log Z by enumeration or, for more than 20 units in the
        smaller layer, by AIS with 1,000 temperatures: on MNIST a second an epoch.
    max_rows : int, default=1000
        Of the training rows, and of X_val: so many at most are looked at, evenly spaced.

    Notes
    -----
    `get_logs()` returns what `ScoringMonitor.get_logs` does, with a row for each epoch. Recorded are, in nats a row:
    `pseudo_log_likelihood` of the training rows; with `X_val` also `pseudo_log_likelihood_val`
    and `free_energy_gap`, the free energy of X_val less that of the training rows, which rises as a machine
    overfits (Hinton 2010, section 6); and `log_likelihood`, of X_val or else the training rows, if asked for.
    """

    X_val: Any
    log_likelihood: bool
    max_rows: int

    def __init__(self, X_val: Any = None, *, log_likelihood: bool = False, max_rows: int = 1000) -> None:
        check_scalar(max_rows, "max_rows", Integral, min_val=1)
        self.X_val, self.log_likelihood, self.max_rows = X_val, log_likelihood, max_rows
        held_out = None if X_val is None else _spaced(X_val, max_rows)
        measures = {"pseudo_log_likelihood": partial(_score, n=max_rows)}
        if held_out is not None:
            measures["pseudo_log_likelihood_val"] = partial(_score, held_out=held_out)
            measures["free_energy_gap"] = partial(_gap, held_out=held_out, n=max_rows)
        if log_likelihood:
            measures["log_likelihood"] = partial(_log_likelihood, held_out=held_out, n=max_rows)
        super().__init__(scoring=measures)

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        fitted_estimator: Any = None,
        metadata: Any = None,
    ) -> None:
        """An epoch, or the fit, ends. The fit gets no row: what it ends with is that of an epoch."""
        if context.task_name != "epoch":
            return
        y = np.zeros(len(X) if hasattr(X, "__len__") else X.shape[0])  # it is what `ScoringMonitor` waits for
        super().on_fit_task_end(estimator, context, X=X, y=y, fitted_estimator=fitted_estimator)


def _spaced(X: Any, n: int) -> Any:
    """At most `n` rows of X, evenly spaced."""
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    return take_rows(X, np.linspace(0, n_rows - 1, min(n, n_rows)).astype(int))


def _score(model: Any, X: Any, y: Any, *, held_out: Any = None, n: int = 0) -> float:
    return model.score(_spaced(X, n) if held_out is None else held_out)


def _gap(model: Any, X: Any, y: Any, *, held_out: Any, n: int) -> float:
    return float(model.free_energy(held_out).mean() - model.free_energy(_spaced(X, n)).mean())


def _log_likelihood(model: Any, X: Any, y: Any, *, held_out: Any, n: int) -> float:
    model.log_partition(n_temperatures=1000, random_state=0)
    return float(model.log_likelihood(_spaced(X, n) if held_out is None else held_out).mean(dtype=np.float64))
