"""`CategoricalRBM` and `MixedRBM`: machines of tables, whose columns are categories, bits and numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import Precision
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.forms import Form, Tables
from skrbm.estimators.tables import Column, learn_columns
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.units import Unit
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import Algorithm, Criterion, Missing, OptimizerName


def visible_of(model: Any) -> Unit:
    """The visible units of a machine of tables; bits, as long as it isn't known what columns there are."""
    return model.form.coding(model).visible if hasattr(model, "columns_") else BERNOULLI


class CategoricalRBM(BaseRBM):
    """Restricted Boltzmann machine of categories: each column takes one of several values.

    Every column is a unit of K categories: given the hidden units it is k with probability
    exp(x_k) / Σ_l exp(x_l). `score` is the mean pseudo-log-likelihood in nats, `log_likelihood` is exact up to 20
    hidden units, and else by AIS, with its error.

    Parameters
    ----------
    n_hidden : int, default=64
        Number of hidden units.
    categories : "auto" or list of array-like, default="auto"
        The values of each column: those that there are in X (of columns of categories, all that these have), or these.
    handle_unknown : {"error", "missing"}, default="error"
        Whether values that `fit` didn't know are an error, or count as missing.
    k, missing, algorithm, n_chains, learning_rate, learning_rate_schedule, optimizer, momentum, weight_decay, \
l1_penalty, sparsity_target, sparsity_cost, averaging, balance_modes, centered, batch_size, n_iter, shuffle, device, \
precision, store_trajectory, early_stopping, validation_fraction, n_iter_no_change, tol, checkpoint, \
checkpoint_every, resume, warm_start, verbose, random_state
        As in `BernoulliRBMTorch`.

    Attributes
    ----------
    columns_ : list of Column
        Name, labels and dtype of each column.
    components_ : ndarray of shape (n_hidden, n_states)
        Weights; each column of X has as many places as values, in the order of `columns_`. What is added to all places
        of a column changes nothing, if `intercept_hidden_` follows.
    intercept_visible_ : ndarray of shape (n_states,)
        Visible bias.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden bias.
    h_samples_, data_samples_, base_rates_, trajectory_, history_, validation_scores_, best_validation_score_, \
learning_rate_, balance_gain_, n_iter_, n_features_in_, feature_names_in_
        As in `BernoulliRBMTorch`; `data_samples_` are codes, places in `labels`.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import CategoricalRBM
    >>> X = np.array([["red", "round"], ["green", "square"]] * 200)
    >>> rbm = CategoricalRBM(n_hidden=4, random_state=0).fit(X)
    >>> rbm.complete(np.array([["red", None]], dtype=object))
    array([['red', 'round']], dtype=object)

    Ratings, NaN where there is none, by `RBMImputer`: what each would be, on average.

    >>> from skrbm import RBMImputer
    >>> liked = np.random.default_rng(0).random((300, 1)) < 0.5
    >>> stars = np.where(liked, 4.0, 2.0) + np.random.default_rng(1).integers(0, 2, (300, 6))
    >>> stars[np.random.default_rng(2).random(stars.shape) < 0.5] = np.nan
    >>> machine = CategoricalRBM(n_hidden=4, missing="absent", n_iter=30, random_state=0)
    >>> imputer = RBMImputer(machine, statistic="mean").fit(stars)
    >>> imputer.transform([[5.0, 4.0, np.nan, 4.0, 5.0, 5.0], [2.0, 3.0, np.nan, 2.0, 3.0, 2.0]])[:, 2].round()
    array([4., 3.])
    """

    columns_: list[Column]
    location_: np.ndarray
    scale_: np.ndarray
    frame_: str | None

    def __init__(
        self,
        n_hidden: int = 64,
        *,
        categories: Literal["auto"] | Sequence[Sequence[Any]] = "auto",
        handle_unknown: Literal["error", "missing"] = "error",
        k: int | Mapping[float, int] = 1,
        missing: Missing = "marginal",
        algorithm: Algorithm | Literal["auto"] = "auto",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        learning_rate_schedule: RateScheduleName | Callable[..., LRScheduler] = "linear",
        optimizer: OptimizerName | Callable[..., Optimizer] = "sgd",
        momentum: float = 0.0,
        weight_decay: float | Literal["auto"] = "auto",
        l1_penalty: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        averaging: float = 0.2,
        balance_modes: bool = True,
        centered: bool | Literal["visible"] = "visible",
        batch_size: int | Literal["auto"] = "auto",
        n_iter: int = 100,
        shuffle: bool = True,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        store_trajectory: bool = False,
        early_stopping: bool | Criterion = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_hidden = n_hidden
        self.categories = categories
        self.handle_unknown = handle_unknown
        self.k = k
        self.missing = missing
        self.algorithm = algorithm
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.l1_penalty = l1_penalty
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.averaging = averaging
        self.balance_modes = balance_modes
        self.centered = centered
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.device = device
        self.precision = precision
        self.store_trajectory = store_trajectory
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @property
    def units(self) -> tuple[Unit, Unit]:
        return visible_of(self), BERNOULLI

    @property
    def form(self) -> Form:
        return Tables(
            partial(
                learn_columns,
                kinds="categorical",
                categories=None if isinstance(self.categories, str) else self.categories,
            )
        )


class MixedRBM(BaseRBM):
    """Restricted Boltzmann machine of tables with columns of every kind: numbers, categories, yes and no.

    Columns of two values are bits, others of text or categories are units of K categories, and numbers are Gaussian
    units, each with its own scale, see `GaussianRBM`. `score` is the mean pseudo-log-likelihood, in nats: logarithms of
    probabilities, and of densities for the Gaussian columns, in the units of X. `log_likelihood` likewise, exact up to
    20 hidden units, and else by AIS, with its error.

    Parameters
    ----------
    n_hidden : int, default=64
        Number of hidden units.
    columns : "auto" or dict, default="auto"
        Names or numbers of the columns that are "binary", "gaussian" and "categorical". Those that aren't named, and
        all with "auto", go by what they hold: bool, and any column of two different values, is binary; text and
        categories are categorical; floats are Gaussian; integers are categorical if there are at most 10 different
        ones, and else Gaussian.
    handle_unknown : {"error", "missing"}, default="error"
        Whether labels that `fit` didn't know are an error, or count as missing.
    noise : float or "learned", default="learned"
        See `GaussianRBM`.
    k, missing, algorithm, n_chains, learning_rate, learning_rate_schedule, optimizer, momentum, weight_decay, \
l1_penalty, sparsity_target, sparsity_cost, averaging, balance_modes, centered, batch_size, n_iter, shuffle, device, \
precision, store_trajectory, early_stopping, validation_fraction, n_iter_no_change, tol, checkpoint, \
checkpoint_every, resume, warm_start, verbose, random_state
        As in `BernoulliRBMTorch`; `missing="absent"` is for tables without Gaussian columns.

    Attributes
    ----------
    columns_ : list of Column
        Name, kind, labels and dtype of each column.
    location_, scale_ : ndarray of shape (n_gaussian,)
        Of the Gaussian columns, see `GaussianRBM`.
    components_ : ndarray of shape (n_hidden, n_states)
        Weights: of the binary columns, then of the Gaussian ones, then a place for each value of the others.
    intercept_visible_ : ndarray of shape (n_states,)
        Visible bias.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden bias.
    h_samples_, data_samples_, base_rates_, trajectory_, history_, validation_scores_, best_validation_score_, \
learning_rate_, balance_gain_, n_iter_, n_features_in_, feature_names_in_
        As in `BernoulliRBMTorch`; `data_samples_` are numbers, and codes of labels.

    Examples
    --------
    >>> import pandas as pd
    >>> from skrbm import MixedRBM
    >>> table = pd.DataFrame({"age": [25.0, 61.5, 40.0] * 100, "smokes": [True, False, True] * 100})
    >>> rbm = MixedRBM(n_hidden=4, random_state=0).fit(table)
    >>> [column.kind for column in rbm.columns_]
    ['gaussian', 'binary']
    """

    columns_: list[Column]
    location_: np.ndarray
    scale_: np.ndarray
    frame_: str | None

    def __init__(
        self,
        n_hidden: int = 64,
        *,
        columns: Literal["auto"] | Mapping[str, Iterable[Any]] = "auto",
        handle_unknown: Literal["error", "missing"] = "error",
        noise: float | Literal["learned"] = "learned",
        k: int | Mapping[float, int] = 1,
        missing: Missing = "marginal",
        algorithm: Algorithm | Literal["auto"] = "auto",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        learning_rate_schedule: RateScheduleName | Callable[..., LRScheduler] = "linear",
        optimizer: OptimizerName | Callable[..., Optimizer] = "sgd",
        momentum: float = 0.0,
        weight_decay: float | Literal["auto"] = "auto",
        l1_penalty: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        averaging: float = 0.2,
        balance_modes: bool = True,
        centered: bool | Literal["visible"] = "visible",
        batch_size: int | Literal["auto"] = "auto",
        n_iter: int = 100,
        shuffle: bool = True,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        store_trajectory: bool = False,
        early_stopping: bool | Criterion = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 1,
        resume: bool = False,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_hidden = n_hidden
        self.columns = columns
        self.handle_unknown = handle_unknown
        self.noise = noise
        self.k = k
        self.missing = missing
        self.algorithm = algorithm
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.l1_penalty = l1_penalty
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.averaging = averaging
        self.balance_modes = balance_modes
        self.centered = centered
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.device = device
        self.precision = precision
        self.store_trajectory = store_trajectory
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.resume = resume
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @property
    def units(self) -> tuple[Unit, Unit]:
        return visible_of(self), BERNOULLI

    @property
    def form(self) -> Form:
        return Tables(partial(learn_columns, kinds=self.columns))
