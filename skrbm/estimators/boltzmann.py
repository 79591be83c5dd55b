"""`BoltzmannMachine`: bits that are coupled with each other, with hidden units or without."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import Precision
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.chains import Sampler
from skrbm.estimators.forms import Form, Numbers
from skrbm.estimators.frames import names_of
from skrbm.estimators.inputs import array_of
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.spins import Ising, bits_to_ising, ising_to_bits
from skrbm.machines.units import Unit
from skrbm.rows.source import Binarize
from skrbm.support.tables import Table
from skrbm.support.tensors import dense
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import Algorithm, Criterion, OptimizerName

_MOST_ENUMERATED = 14  # columns


class BoltzmannMachine(BaseRBM):
    """Boltzmann machine of bits with couplings within layers: an Ising model or Markov network, or with hidden units.

    It models rows v of zeros and ones by hidden units h, p(v, h) ∝ exp(½ v'Rv + h'Wv + ½ h'Th + b'v + c'h), with
    couplings R between columns and T between hidden units (Ackley, Hinton & Sejnowski 1985). Without hidden units, the
    default, R_ij is the log odds ratio of columns i and j given all others: 0 where these are independent given the
    rest. With hidden units and T = 0 it is the semi-restricted machine. In the form without the ½, v'Rv + …, the
    matrices are half of these.

    A machine without hidden units is learned at once, by maximum likelihood where it has up to 12 columns, or by
    pseudo-likelihood, both with standard errors; any other with persistent chains, as `BernoulliRBMTorch`. All that a
    machine can do is as there: likelihoods with error bars, samples, conditions, gaps.

    Parameters
    ----------
    n_hidden : int, default=0
        Number of hidden units.
    visible_couplings : bool or ndarray of shape (n_features, n_features), default=True
        Which columns are coupled: all, none, or those of a symmetric boolean mask, such as a lattice or a graph.
    hidden_couplings : bool or ndarray of shape (n_hidden, n_hidden), default=False
        Which hidden units are coupled. Given a row they are no longer independent then: where methods need them, they
        are summed over up to 2^14 states, else drawn by chains.
    solver : {"auto", "exact", "pseudolikelihood", "pcd"}, default="auto"
        What learns the couplings. "exact" is maximum likelihood by Newton's method, with all states enumerated, up to
        20 columns; "pseudolikelihood" maximises Σ_i log p(v_i | the others), which is convex, by L-BFGS; both are for
        complete rows and no hidden units. "pcd" moves by the chains' gradient. "auto" is "exact" up to 12 columns,
        "pseudolikelihood" for more, and "pcd" where there are hidden units, gaps, several processes, or
        `early_stopping`; `partial_fit` is always "pcd". With `warm_start=True`, a fit by "pcd" goes on from one of the
        pseudo-likelihood, which comes closer to maximum likelihood where columns are many.
    positive_phase : {"auto", "exact", "gibbs"}, default="auto"
        What `fit` does about hidden units that are coupled, given a row: "exact" sums over their states, up to 14 of
        them, which takes as long as 2^n_hidden times as many rows; "gibbs" keeps a chain for each row, of four bytes a
        hidden unit, and moves it on at each visit. "auto" is "exact" up to 6 hidden units.
    l1_penalty : float, default=0.0
        The penalty `l1_penalty` · Σ_i<j |R_ij| a row, and the same of the weights W. "exact" and "pseudolikelihood"
        then have couplings that are 0.
    l2_penalty : float or "auto", default="auto"
        The penalty `l2_penalty` / 2 · Σ_i<j R_ij² a row. "auto" is n_features / (8 n_rows), a normal prior of variance
        8 / n_features, for "exact" and "pseudolikelihood", and `weight_decay` for "pcd". Standard errors need 0.
    encoding : {"binary", "spin"}, default="binary"
        Whether rows, given and drawn, have 0 and 1 or -1 and 1. The machine is one of bits either way, and so are
        its parameters; `to_ising` has fields and couplings of spins.
    k, algorithm, n_chains, learning_rate, learning_rate_schedule, optimizer, momentum, weight_decay, averaging, \
balance_modes, centered, batch_size, n_iter, binarize, shuffle, device, precision, early_stopping, \
validation_fraction, n_iter_no_change, tol, checkpoint, checkpoint_every, resume, warm_start, verbose, random_state
        As in `BernoulliRBMTorch`; those that are about chains and epochs are for "pcd". `precision` is "float32" or
        "float64" there.

    Attributes
    ----------
    couplings_ : ndarray of shape (n_features_in_, n_features_in_)
        R, symmetric with a diagonal of 0.
    components_ : ndarray of shape (n_hidden, n_features_in_)
        Weights W.
    hidden_couplings_ : ndarray of shape (n_hidden, n_hidden)
        T, symmetric with a diagonal of 0; only where hidden units are coupled.
    intercept_visible_ : ndarray of shape (n_features_in_,)
        Visible bias b.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden bias c.
    couplings_stderr_, intercept_stderr_ : ndarray
        Standard errors of `couplings_` and `intercept_visible_`, by "exact" and "pseudolikelihood" with penalties of 0,
        up to 100 columns: from the inverse Fisher information, or the sandwich H⁻¹KH⁻¹ of the pseudo-likelihood.
    v_samples_, h_samples_ : ndarray of shape (n_chains, n_features_in_) and (n_chains, n_hidden)
        States of the chains.
    data_samples_, base_rates_, history_, validation_scores_, best_validation_score_, learning_rate_, balance_gain_, \
n_iter_, n_features_in_, feature_names_in_
        As in `BernoulliRBMTorch`. By a solver `n_iter_` counts its iterations, and `history_` has one entry.

    See Also
    --------
    BernoulliRBMTorch : The restricted machine, which learns faster where there are many hidden units.

    References
    ----------
    D. H. Ackley, G. E. Hinton, T. J. Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 1985.
    J. Besag, "Statistical analysis of non-lattice data", The Statistician 1975 (pseudo-likelihood).
    S. Osindero, G. E. Hinton, "Modeling image patches with a directed hierarchy of Markov random fields", NIPS 2008
    (semi-restricted machines).

    Examples
    --------
    Of three columns the first two agree more often than not, and the third follows the second:

    >>> import numpy as np
    >>> from skrbm import BoltzmannMachine
    >>> rng = np.random.default_rng(0)
    >>> first = rng.random(2000) < 0.5
    >>> second = first ^ (rng.random(2000) < 0.2)
    >>> X = np.stack((first, second, second ^ (rng.random(2000) < 0.2)), 1)
    >>> machine = BoltzmannMachine(l2_penalty=0).fit(X)
    >>> np.abs(machine.couplings_ / machine.couplings_stderr_.clip(1e-9)).round(-1) + 0.0
    array([[ 0., 20.,  0.],
           [20.,  0., 20.],
           [ 0., 20.,  0.]])
    >>> machine.log_partition()
    1.162204 nats (exact)
    """

    def __init__(
        self,
        n_hidden: int = 0,
        *,
        visible_couplings: bool | np.ndarray = True,
        hidden_couplings: bool | np.ndarray = False,
        solver: Literal["auto", "exact", "pseudolikelihood", "pcd"] = "auto",
        positive_phase: Literal["auto", "exact", "gibbs"] = "auto",
        l2_penalty: float | Literal["auto"] = "auto",
        encoding: Literal["binary", "spin"] = "binary",
        k: int | Mapping[float, int] = 1,
        algorithm: Algorithm | Literal["auto"] = "auto",
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
        self.positive_phase = positive_phase
        self.l2_penalty = l2_penalty
        self.encoding = encoding
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
        n_latent = 0 if self.hidden_couplings is False else self.n_hidden
        return Numbers(n_latent=n_latent, are_spins=self.encoding == "spin")

    # -- moments ------------------------------------------------------------------------------------------------------

    def check_moments(
        self,
        X: Any,
        *,
        n_samples: int = 10_000,
        n_steps: int = 1000,
        method: Sampler = "gibbs",
        random_state: Any = None,
    ) -> Table:
        """Means of columns and of products of two, of rows and of the machine: what learning is to make equal.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            Rows without gaps; values between 0 and 1 count as means.
        n_samples, n_steps : int
            Samples of the machine, and the length of their chains, where its states are more than 2^14.
        method : {"gibbs", "parallel_tempering"}
            How the chains move.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.

        Returns
        -------
        Table
            A line for each column and each pair of columns, those that differ most first: the names `first` and
            `second` (the same for a column's mean), the mean over the `rows` and that of the `machine`, and their
            difference `z` in standard errors of both, of which the machine has none where its states are enumerated.

        Raises
        ------
        NotFittedError, ValueError
            If the machine isn't fitted, or X has other columns.

        Notes
        -----
        At maximum likelihood without penalties all moments are equal. A machine learned by chains has z of about 1;
        one of pseudo-likelihood a little more. Large ones say what the machine can't represent, or hasn't learned.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BoltzmannMachine
        >>> X = np.random.default_rng(0).random((1000, 3)) < 0.5
        >>> table = BoltzmannMachine(l2_penalty=0).fit(X).check_moments(X)
        >>> len(table["z"]), bool(np.abs(table["z"]).max() < 1e-6)
        (6, True)
        """
        rows = np.asarray(dense(array_of(self, X, "X")), np.float64)
        (n_rows, n), are_spins = rows.shape, self.encoding == "spin"
        if n <= _MOST_ENUMERATED:
            states = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
            states = 2.0 * states - 1.0 if are_spins else states
            log_weight = -self.free_energy(states)
            weight = np.exp(log_weight - log_weight.max())
            ours = _second_moments(states, weight / weight.sum())
            error = np.zeros_like(ours)
        else:
            states = self.sample(n_samples, n_steps, method=method, init="data", random_state=random_state)
            states = np.asarray(states, np.float64)
            ours = _second_moments(states, np.full(n_samples, 1.0 / n_samples))
            error = _variance(ours, are_spins) / n_samples
        theirs = _second_moments(rows, np.full(n_rows, 1.0 / n_rows))
        variance = _variance(theirs, are_spins) / n_rows + error
        z = (ours - theirs) / np.sqrt(np.maximum(variance, 1e-300))
        i, j = np.triu_indices(n)
        order = np.argsort(-np.abs(z[i, j]), kind="stable")
        i, j, names = i[order], j[order], np.array(names_of(self))
        return Table({"first": names[i], "second": names[j], "rows": theirs[i, j], "machine": ours[i, j], "z": z[i, j]})

    # -- spins ---------------------------------------------------------------------------------------------------------

    def to_ising(self) -> Ising:
        """Fields h and couplings J of the same distribution of spins s = 2v - 1: p(s) ∝ exp(h's + ½ s'Js).

        Returns
        -------
        Ising
            `h` (n_features_in_,), `J` (n_features_in_, n_features_in_), and the `constant` that log Z is more by for
            bits: log Z of the machine = log Z of the spins - `constant`.

        Raises
        ------
        NotFittedError, ValueError
            If the machine isn't fitted, or has hidden units.

        Examples
        --------
        >>> from skrbm import BoltzmannMachine
        >>> machine = BoltzmannMachine.from_ising([0.5, 0.0], [[0.0, 0.25], [0.25, 0.0]])
        >>> h, J, constant = machine.to_ising()
        >>> h
        array([0.5, 0. ])
        """
        check_is_fitted(self)
        if len(self.components_):
            raise ValueError(
                f"Spins without hidden ones have no hidden units, but this machine has {len(self.components_)}. "
                "bits_to_spins(components_, …) of skrbm.machines converts its weights."
            )
        return bits_to_ising(self.couplings_, self.intercept_visible_)

    @classmethod
    def from_ising(cls, h: Any, J: Any, **params: Any) -> Self:
        """A fitted machine of bits v = (1 + s) / 2 with the distribution p(s) ∝ exp(h's + ½ s'Js) of spins.

        Parameters
        ----------
        h : array-like of shape (n_features,)
            Fields.
        J : array-like of shape (n_features, n_features)
            Couplings, symmetric with a diagonal of 0: the energy is -h's - Σ_i<j J_ij s_i s_j. Multiply both by an
            inverse temperature before.
        **params
            Parameters of the class, such as `random_state`.

        Returns
        -------
        BoltzmannMachine

        Raises
        ------
        TypeError, ValueError
            If these aren't finite numbers of shapes that go together, J isn't symmetric, or there is no such parameter.
        """
        R, b, _ = ising_to_bits(np.asarray(h, np.float64), np.asarray(J, np.float64))
        return cls.from_parameters(np.zeros((0, len(b))), b, np.zeros(0), R, **params)

    @classmethod
    def from_rbm(cls, rbm: Any, **params: Any) -> Self:
        """A fitted machine with the distribution of a restricted one, to go on from with couplings.

        Parameters
        ----------
        rbm : BernoulliRBMTorch
            Fitted.
        **params
            Parameters of the class, such as `warm_start=True`.

        Returns
        -------
        BoltzmannMachine
            With couplings of 0.

        Raises
        ------
        NotFittedError, ValueError
            If it isn't fitted, or its units aren't bits.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch, BoltzmannMachine
        >>> rbm = BernoulliRBMTorch(n_hidden=2, n_iter=5, random_state=0).fit(np.eye(8))
        >>> machine = BoltzmannMachine.from_rbm(rbm, warm_start=True, n_iter=5, random_state=0)
        >>> machine.fit(np.eye(8)).couplings_.shape
        (8, 8)
        """
        check_is_fitted(rbm)
        if rbm.units != (BERNOULLI, BERNOULLI):
            raise ValueError(f"{type(rbm).__name__} has units other than bits, which BoltzmannMachine can't have.")
        machine = cls.from_parameters(rbm.components_, rbm.intercept_visible_, rbm.intercept_hidden_, **params)
        if hasattr(rbm, "base_rates_"):
            machine.base_rates_ = np.array(rbm.base_rates_)
        return machine


def _variance(moments: np.ndarray, are_spins: bool) -> np.ndarray:
    """Of what is 0 or 1, or -1 or 1, with these means."""
    return 1.0 - moments**2 if are_spins else moments * (1.0 - moments)


def _second_moments(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means of products of two columns, and on the diagonal of columns, (n, n)."""
    found = rows.T @ (rows * weight[:, None])
    np.fill_diagonal(found, weight @ rows)
    return found
