"""What a fit hands out: the only definition of what a fitted model consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skrbm.machines.restricted import RBMParameters


@dataclass(frozen=True)
class Learned:
    """A machine that has learned, on the CPU. What a machine from elsewhere lacks is None.

    Attributes
    ----------
    params : RBMParameters
        The machine.
    h : ndarray of shape (n_chains, n_hidden)
        Hidden states of the chains.
    v : ndarray of shape (n_chains, n_features)
        Their visible states, where these are coupled.
    base_rates : ndarray of shape (n_features,)
        Mean of the training rows, shrunk: the machine without weights that estimates of log Z start from.
    data_samples : ndarray of shape (n, n_features)
        Some training rows.
    history : dict of ndarray of shape (n_epochs,)
        Measures by name.
    learning_rate : float
        What the schedule started from, or would have to, to come to the rates of the end.
    balance_gain : float
        Nats a row that shifting the biases has brought in the end, see `skrbm.training.balance`.
    n_epochs : int
        How many epochs it has learned for.
    trajectory : list of RBMParameters
        Machines on the way, for tempering.
    validation_scores : list of float
        What early stopping has judged each epoch by.
    best_validation_score : float
        The highest of them.
    couplings_stderr : ndarray of shape (n_features, n_features)
        Standard errors of couplings, where a solver knows them.
    intercept_stderr : ndarray of shape (n_features,)
        Those of the visible biases.
    carried : dict
        What training goes on with, see `TrainState.carried`.
    """

    params: RBMParameters
    h: np.ndarray | None = None
    v: np.ndarray | None = None
    base_rates: np.ndarray | None = None
    data_samples: np.ndarray | None = None
    history: dict[str, np.ndarray] | None = None
    learning_rate: float | None = None
    balance_gain: float | None = None
    n_epochs: int | None = None
    trajectory: list[RBMParameters] | None = None
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    couplings_stderr: np.ndarray | None = None
    intercept_stderr: np.ndarray | None = None
    carried: dict[str, Any] | None = None
