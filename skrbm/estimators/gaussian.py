"""`GaussianRBM`: a machine of real-valued columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import Precision
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.forms import Form, Numbers
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.units import Unit
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import Algorithm, Criterion, OptimizerName


class GaussianRBM(BaseRBM):
    """Gaussian-Bernoulli restricted Boltzmann machine, for real-valued columns of any scale.

    With the standardised states u = (x - `location_`) / `scale_` it models rows by hidden units h:
    p(u, h) ∝ exp(h'Wu + b'u + c'h - u'u / 2). Given h the columns are independent and normal, x_i with standard
    deviation `scale_`_i; so p(x) is a mixture of 2^n_hidden normal densities. All that a machine says of rows is in the
    units of x: densities, samples, reconstructions. `score` is the mean pseudo-log-likelihood, of log-densities, in
    nats; `log_likelihood` is exact up to 20 hidden units, and else by AIS, with its error.

    Parameters
    ----------
    n_hidden : int, default=64
        Number of hidden units.
    hidden : {"bernoulli", "gaussian"}, default="bernoulli"
        Kind of the hidden units. With "gaussian" p(x) is a normal distribution whose covariance has `n_hidden` common
        factors and noise of its own in each column: factor analysis. Columns that are nearly collinear need it.
    noise : float or "learned", default="learned"
        Share of each column's variance that is noise, in (0, 1]: what is left of it given h. "learned" learns it for
        each column; 1 is the machine of standardised columns with unit variance.
    k, algorithm, n_chains, learning_rate, learning_rate_schedule, optimizer, momentum, weight_decay, l1_penalty, \
sparsity_target, sparsity_cost, averaging, balance_modes, centered, batch_size, n_iter, shuffle, device, precision, \
store_trajectory, early_stopping, validation_fraction, n_iter_no_change, tol, checkpoint, checkpoint_every, resume, \
warm_start, verbose, random_state
        As in `BernoulliRBMTorch`.

    Attributes
    ----------
    components_ : ndarray of shape (n_hidden, n_features_in_)
        Weights W.
    intercept_visible_ : ndarray of shape (n_features_in_,)
        Visible bias b.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden bias c.
    location_, scale_ : ndarray of shape (n_features_in_,)
        What makes states of rows, see above.
    noise_variance_ : ndarray of shape (n_features_in_,)
        `scale_` squared.
    h_samples_, data_samples_, base_rates_, trajectory_, history_, validation_scores_, best_validation_score_, \
learning_rate_, balance_gain_, n_iter_, n_features_in_, feature_names_in_
        As in `BernoulliRBMTorch`; rows and their means in the units of X.

    Notes
    -----
    As log Z of the states doesn't depend on the scale, log p(x) = -F(u) - log Z - Σ log `scale_` has the derivative
    ⟨u_i (u_i - E[u_i | h])⟩ - 1 by log `scale_`_i, h given the row: the scale is learned without any chains, and can't
    explode (Cho, Ilin & Raiko 2011 have the same machine in other words).

    References
    ----------
    K. Cho, A. Ilin, T. Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", ICANN 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from skrbm import GaussianRBM
    >>> rng = np.random.default_rng(0)
    >>> X = 100 + 5 * rng.choice([-1, 1], (1000, 1)) + rng.normal(size=(1000, 2)) * [1, 2]
    >>> rbm = GaussianRBM(n_hidden=2, random_state=0).fit(X)
    >>> bool(abs(rbm.sample(1000, 100, init="data").mean() - 100) < 1)
    True
    """

    location_: np.ndarray
    scale_: np.ndarray

    def __init__(
        self,
        n_hidden: int = 64,
        *,
        hidden: Literal["bernoulli", "gaussian"] = "bernoulli",
        noise: float | Literal["learned"] = "learned",
        k: int | Mapping[float, int] = 1,
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
        self.hidden = hidden
        self.noise = noise
        self.k = k
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
        return GAUSSIAN, GAUSSIAN if self.hidden == "gaussian" else BERNOULLI

    @property
    def form(self) -> Form:
        return Numbers(is_standardized=True)

    @property
    def noise_variance_(self) -> np.ndarray:
        return np.square(self.scale_)
