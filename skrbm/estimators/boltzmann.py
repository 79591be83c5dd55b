"""`BoltzmannMachine`: bits that are coupled with each other, with hidden units or without."""

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
from skrbm.machines.units import Unit
from skrbm.rows.source import Binarize
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import Algorithm, Criterion, OptimizerName


class BoltzmannMachine(BaseRBM):
    """Boltzmann machine."""

    def __init__(
        self,
        n_hidden: int = 0,
        *,
        visible_couplings: bool | np.ndarray = True,
        hidden_couplings: bool | np.ndarray = False,
        solver: Literal["auto", "exact", "pseudolikelihood", "pcd"] = "auto",
        encoding: Literal["binary", "spin"] = "binary",
        l2_penalty: float | Literal["auto"] = "auto",
        k: int | Mapping[float, int] = 1,
        algorithm: Algorithm = "pcd",
        n_chains: int = 100,
        learning_rate: float | Literal["auto"] = "auto",
        learning_rate_schedule: RateScheduleName | Callable[..., LRScheduler] = "linear",
        optimizer: OptimizerName | Callable[..., Optimizer] = "sgd",
        momentum: float = 0.0,
        weight_decay: float | Literal["auto"] = "auto",
        l1_penalty: float = 0.0,
        averaging: float = 0.2,
        balance_modes: bool = True,
        centered: bool | Literal["visible"] = "visible",
        batch_size: int | Literal["auto"] = "auto",
        n_iter: int = 100,
        binarize: Binarize = "sample",
        shuffle: bool = True,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
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
        self.visible_couplings = visible_couplings
        self.hidden_couplings = hidden_couplings
        self.solver = solver
        self.encoding = encoding
        self.l2_penalty = l2_penalty
        self.k = k
        self.algorithm = algorithm
        self.n_chains = n_chains
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.optimizer = optimizer
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.l1_penalty = l1_penalty
        self.averaging = averaging
        self.balance_modes = balance_modes
        self.centered = centered
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.binarize = binarize
        self.shuffle = shuffle
        self.device = device
        self.precision = precision
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
        return BERNOULLI, BERNOULLI

    @property
    def form(self) -> Form:
        return Numbers(n_latent=0 if self.hidden_couplings is False else self.n_hidden)
