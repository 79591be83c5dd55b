"""What every estimator of a machine can do: learn, describe rows, sample, complete, tell how well."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skrbm.distributed import current_group
from skrbm.estimators._compat import (
    CallbackSupportMixin,
    TellCallbacks,
    callback_management_context,
    check_sample_weight,
)
from skrbm.estimators.absent import LeftOut, predicted
from skrbm.estimators.chains import (
    SAMPLERS,
    Sampler,
    check_method,
    check_sampler,
    completed_normal,
    equilibrium,
    hidden_of,
    how_chains_mix,
    progress_of,
    run_chains_of,
    starts_of,
)
from skrbm.estimators.coding import Coding
from skrbm.estimators.factors import learn_factors
from skrbm.estimators.fitted import (
    COUPLINGS,
    HIDDEN_COUPLINGS,
    Fitted,
    checked_couplings,
    checked_parameters,
    forget,
    learned_of,
    machine_of,
    restored_on_error,
    set_learned,
)
from skrbm.estimators.forms import Form
from skrbm.estimators.frames import as_configured, condition_of
from skrbm.estimators.gaps import SummedOut
from skrbm.estimators.inputs import activations_of, any_array_of, array_of, array_with_gaps, batches_of, rows_of
from skrbm.estimators.judging import warn_if_bad
from skrbm.estimators.parameters import Number, Or, identity_of, missing_of, rule_of, settings_of
from skrbm.estimators.saving import read_model, write_model
from skrbm.likelihood.annealed import checked_schedule
from skrbm.likelihood.log_partition import METHODS, Method, log_partition, method_for
from skrbm.likelihood.result import LogPartition, warn_if_few_count
from skrbm.machines.restricted import RBMParameters, mean_v_given_h
from skrbm.machines.units import Unit
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import yields_batches
from skrbm.sampling.kernels import Kernel
from skrbm.support.checks import check_choice
from skrbm.support.randomness import Stream
from skrbm.support.tables import Table
from skrbm.support.tensors import from_torch
from skrbm.support.threads import one_thread, threads_for
from skrbm.training.checkpoint import CheckpointFile, check_same_parameters
from skrbm.training.fit import Start, train
from skrbm.training.learned import Learned
from skrbm.training.listeners import Listener, Listeners, PrintEpochs
from skrbm.training.settings import MOST_BATCH, TrainSettings
from skrbm.training.solved import learn_at_once, solver_for


class BaseRBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, BaseEstimator, ABC):
    """All methods of a machine. A final class has the parameters, their docs, and the units of the layers."""

    components_: np.ndarray
    intercept_visible_: np.ndarray
    intercept_hidden_: np.ndarray
    couplings_: np.ndarray
    hidden_couplings_: np.ndarray
    couplings_stderr_: np.ndarray
    intercept_stderr_: np.ndarray
    h_samples_: np.ndarray
    v_samples_: np.ndarray
    data_samples_: np.ndarray
    base_rates_: np.ndarray
    trajectory_: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    history_: dict[str, np.ndarray]
    validation_scores_: list[float]
    best_validation_score_: float
    learning_rate_: float
    balance_gain_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray

    @property
    @abstractmethod
    def units(self) -> tuple[Unit, Unit]:
        """What kind of unit the visible and the hidden layer have."""

    @property
    @abstractmethod
    def form(self) -> Form:
        """In what form rows go in and come out."""

    # -- parameters of one's own ---------------------------------------------------------------------------------------

    @classmethod
    def from_parameters(cls, W: Any, b: Any, c: Any, R: Any = None, **params: Any) -> Self:
        """A fitted machine with given weights and biases: p(v, h) ∝ exp(½ v'Rv + h'Wv + b'v + c'h).

        Parameters
        ----------
        W : {array-like, tensor} of shape (n_hidden, n_features)
            Weights.
        b : {array-like, tensor} of shape (n_features,)
            Visible bias.
        c : {array-like, tensor} of shape (n_hidden,)
            Hidden bias.
        R : {array-like, tensor} of shape (n_features, n_features), optional
            Couplings, for `BoltzmannMachine`: symmetric, with a diagonal of 0.
        **params
            Parameters of the class, such as `random_state`. `n_hidden` is the length of `c`.

        Returns
        -------
        BernoulliRBMTorch
            With copies of these, in float32 if all of them are that or narrower, else in float64. It can do what a
            machine can that was trained, but for `init="data"` and tempering along a trajectory, which need training.
            Annealing starts at rates of a half; if you know the means of the units, set `base_rates_` to them.

        Raises
        ------
        TypeError, ValueError
            If W, b, c and R aren't real and finite numbers or their shapes don't go together, R isn't symmetric or the
            class has no couplings, `n_hidden` is another number, or there is no such parameter.

        See Also
        --------
        skrbm.machines.spins_to_bits : Makes W, b and c of couplings and fields of spins that are -1 or 1.

        Examples
        --------
        >>> from skrbm import BernoulliRBMTorch
        >>> rbm = BernoulliRBMTorch.from_parameters([[2.0, -2.0]], [-1.0, 1.0], [0.5], random_state=0)
        >>> rbm.params_
        RBMParameters(n_hidden=1, n_features=2, float64, cpu)
        >>> rbm.log_likelihood([[0, 1], [1, 0]]).round(2)
        array([-1.4 , -1.02])
        """
        W, b, c = checked_parameters(W, b, c)
        if params.setdefault("n_hidden", len(c)) != len(c):
            raise ValueError(f"n_hidden={params['n_hidden']!r}, but W has {len(c)} rows. Leave n_hidden out.")
        model = cls(**params)
        R = checked_couplings(model, R, W, b)
        coding = model.form.coding_of(len(b))
        machine = replace(machine_of(model, (W, b, c), R), log_scale=None)
        set_learned(model, Learned(machine), coding)
        model.n_features_in_ = len(b)
        return model

    @property
    def params_(self) -> RBMParameters:
        """The machine as it is now, for the core (`skrbm.machines`, `skrbm.sampling`, …): a copy, on the CPU."""
        return learned_of(self).params.clone()

    # -- learning ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None) -> Self:
        """Learn from X. With scikit-learn 1.9 or newer `set_callbacks` sets what is told of each epoch.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows: for `BernoulliRBMTorch` with values in [0, 1], the probabilities of a one; for the others as their
            classes say. A sparse matrix becomes dense a batch at a time; of
            a `numpy.memmap` no more than a batch is in memory. Or what yields batches of rows, or pairs (rows, labels),
            each time it is iterated over, such as a torch `DataLoader` or a list of arrays or data frames; or a torch
            `Dataset` of rows. These are gone through once more, before the first epoch. Batches larger than
            `batch_size` are split, and batches of images (n, 1, 28, 28) or (n, 28, 28) become rows (n, 784). NaN (of
            frames also None or NA) is a missing cell, and summed out; see the notes.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, >= 0.
        X_val : as X, optional
            Held-out rows, a validation set: of any kind that X may be, an iterator among them. Of more than 1,000, so
            many are drawn. `early_stopping` goes by these, and splits off none of X; without it, nothing is stopped,
            and `history_` has the pseudo-log-likelihood and the free energy of these. Each counts once, whatever
            `sample_weight` is.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data is not as described; or if X yields batches, from which no rows can be split off,
            where `early_stopping` needs some: pass `X_val`.
        FloatingPointError
            If the parameters stop being finite.
        MemoryError
            If the memory of a GPU is exhausted; the message says what to lower.

        After any error a model that was fitted before is as it was.

        Warns
        -----
        DataRangeWarning
            If values of X or X_val lie outside [0, 1], where bits are learned.
        UserWarning
            If columns have no values at all, of which nothing is learned.
        ConvergenceWarning
            If the machine can't be trusted: nearly all hidden units are always on or always off, chains that start at
            training rows drift away from them, its mass lies where no rows are, or a given learning rate is more than
            its chains can follow (for "pcd"; see `skrbm.diagnostics.judge`). The message says what to set. Fits of
            less than 200 updates, which are trials, and those with `sample_weight` are not judged.

        Notes
        -----
        Missing cells v_m are drawn from p(v_m | v_o), given the observed ones of their row: the gradient is then that
        of log p(v_o), maximum likelihood where values are missing at random (Little & Rubin 2019, section 6.2). A chain
        for each incomplete row does so, a Gibbs step at each visit; for batches that are yielded, and in `partial_fit`,
        it begins anew each time and runs for 20 steps. A row without any value adds nothing. With `missing="absent"`
        a missing cell is no unit of its row's machine, and nothing is drawn.

        Ctrl-C ends learning early and keeps the model of the last finished epoch, with a warning. Within
        `skrbm.distributed.process_group()` several processes learn one machine, each from its own rows; held-out rows
        are each one's own too, and scores are means over the processes.

        In a pipeline X_val has to go through the steps before the machine: `Pipeline(..., transform_input=["X_val"])`
        sees to that, with `sklearn.set_config(enable_metadata_routing=True)` and `set_fit_request(X_val=True)`.

        Examples
        --------
        Rows in batches, and held-out rows that say when to stop:

        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch
        >>> rows = np.random.default_rng(0).random((400, 8)) < np.linspace(0.1, 0.9, 8)
        >>> rbm = BernoulliRBMTorch(n_hidden=2, n_iter=5, early_stopping=True, random_state=0)
        >>> rbm = rbm.fit(np.array_split(rows[:300], 3), X_val=rows[300:])
        >>> len(rbm.validation_scores_)
        5
        """
        settings = settings_of(self)
        if isinstance(X, Iterator) and settings.n_epochs > 1:
            raise ValueError(
                f"X is an iterator ({type(X).__name__}), which ends after the first of n_iter={settings.n_epochs} "
                "epochs. Pass what can be iterated over again, such as a DataLoader, or give it to partial_fit."
            )
        with restored_on_error(self), self._listener(settings, X, y, sample_weight) as (listener, saved):
            start, group = self._start(saved), current_group()
            with one_thread():
                rows, coding = rows_of(
                    self, X, sample_weight, settings, group, reset=start.learned is None, split=start.seed, X_val=X_val
                )
            self._learn(rows, coding, settings, start, listener)
            warn_if_bad(self, rows, coding, Stream(start.seed, "verdict"))
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from one pass over X, in mini-batches, at the constant rate `learning_rate`, or at a pace of its own.

        The chains, the optimiser and the randomness carry on from the call before, or from `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Any number of rows, as in `fit`; or an iterator over batches of rows, of any length. The first call sets the
            visible bias to the log-odds of its rows, those of the first batch where X is an iterator.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, >= 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As in `fit`.
        """
        settings = settings_of(self).for_one_pass()
        if settings.early_stopping:
            raise ValueError(
                f"partial_fit does not support early_stopping={settings.early_stopping!r}, as it can't tell what comes "
                "next. Set early_stopping=False, or use fit."
            )
        group = current_group()
        with restored_on_error(self):
            learned = learned_of(self) if hasattr(self, "components_") else None
            rows, coding = rows_of(self, X, sample_weight, settings, group, reset=learned is None)
            start = Start(group.of_first(self._seed()), self._of_my_size(learned), carries_on=True)
            listener = PrintEpochs(type(self).__name__) if self.verbose else None
            self._learn(rows, coding, settings, start, listener)
        return self

    def _learn(
        self, rows: SharedRows, coding: Coding, settings: TrainSettings, start: Start, listener: Listener | None
    ) -> None:
        """Train, and be at any time what has been learned by the last finished epoch."""
        settings = replace(settings, visible=coding.visible)  # which may go by the rows
        if start.learned is None:
            forget(self)
            self._sampling = Stream(start.seed, "sampling")
        solver = solver_for(rows, settings, start)
        if settings.is_quadratic or solver != "pcd":
            if self.checkpoint is not None or settings.store_trajectory:
                name = "store_trajectory" if self.checkpoint is None else "checkpoint"
                what = "Gaussian layers are" if settings.is_quadratic else f"by solver={self.solver!r} couplings are"
                raise ValueError(f"{name} is for learning in epochs, but {what} learned at once. Leave it out.")
            if settings.is_quadratic:
                with one_thread():
                    set_learned(self, learn_factors(rows, settings, start), coding)
            else:
                set_learned(self, learn_at_once(rows, settings, start, solver), coding)
            return
        learning = train(rows, settings, start, listener)
        n_rows = settings.n_chains + (MOST_BATCH if settings.batch_size == "auto" else settings.batch_size)
        n_others = settings.n_hidden + (0 if settings.visible_couplings is False else rows.n_features)
        with threads_for(n_rows, n_others, rows.n_features):
            try:
                for learned in learning:
                    set_learned(self, learned, coding)
            except KeyboardInterrupt as stop:  # it struck here, between two epochs: the fit ends as if there
                set_learned(self, learning.throw(stop), coding)
                for learned in learning:
                    set_learned(self, learned, coding)

    @contextmanager
    def _listener(
        self, settings: TrainSettings, X: Any, y: Any, sample_weight: Any
    ) -> Iterator[tuple[Listener, dict[str, Any] | None]]:
        """Who is told of a fit, and what a checkpoint has; in the end callbacks are told that it is over anyway."""
        group, identity, saved = current_group(), identity_of(self), None
        with callback_management_context(self):
            callbacks = TellCallbacks(self, settings.n_epochs, X, y, sample_weight)
            told: list[Listener] = [PrintEpochs(type(self).__name__)] if self.verbose else []
            check_same_parameters(identity | {"checkpoint": str(self.checkpoint)}, group)
            if self.checkpoint is not None:
                checkpoint = CheckpointFile(self.checkpoint, self.checkpoint_every, identity, group)
                saved = checkpoint.read(self.resume)
                told.append(checkpoint)
            yield Listeners(*told, callbacks), saved

    def _start(self, saved: dict[str, Any] | None) -> Start:
        """Where a fit starts."""
        learned = learned_of(self) if self.warm_start and hasattr(self, "components_") else None
        seed = current_group().of_first(self._seed()) if saved is None else saved["shared"]["seed"]
        return Start(seed, self._of_my_size(learned), saved=saved)

    def _of_my_size(self, learned: Any) -> Any:
        if learned is not None and (n_hidden := np.shape(self.components_)[0]) != self.n_hidden:
            raise ValueError(
                f"n_hidden={self.n_hidden}, but the fitted model has {n_hidden} hidden units. To go on with it set "
                f"n_hidden={n_hidden}; to start anew call fit with warm_start=False."
            )
        return learned

    # -- what the model says about rows --------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """P(h = 1 | v) of each row, the features that the machine has learned.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows; or what yields batches of them, as in `fit`: one after another, in the order in which they come.
            NaN (of frames also None or NA) where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples, n_hidden)
            In X's float type; float64 for other types. Of rows with gaps E[h | what is observed], the gaps summed out:
            exact up to 2^14 states of the missing values or of the hidden layer, and where all units are Gaussian; else
            from Gibbs chains of each row, the same at each call. With `missing="absent"` σ(c + W_o v_o) of the observed
            columns o, always exact.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        return self._over_rows(self._gaps.mean_h, X, has_gaps=True)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """E[v | h] for hidden states or their probabilities; of labels the likelier one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_hidden)
            Hidden values in [0, 1], such as `transform` returns.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A data frame if `set_output` asks for one.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        fitted = Fitted(self)
        if hasattr(self, COUPLINGS):
            raise ValueError(
                "inverse_transform is for columns that are independent given h, but this machine has couplings between "
                "them. `reconstruct` takes rows, `complete` and `sample(condition=…)` fill in what is missing."
            )
        means = fitted.over_rows(mean_v_given_h, activations_of(self, X), is_coded=False)
        return as_configured(self, fitted.decoded(means), X)

    def reconstruct(self, X: Any) -> np.ndarray:
        """What the machine sees in each row: E[v | h] at h = E[h | v], without any draw; of labels the likelier one.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A data frame if `set_output` asks for one.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        seen = self._over_rows(self._gaps.reconstruction, X)
        return as_configured(self, Fitted(self).decoded(seen), X)

    def free_energy(self, X: Any) -> np.ndarray:
        """F(v) = -b'v - Σ_j softplus(c_j + W_j v) of each row of bits: -log p(v) up to a constant, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows, with NaN (of frames also None or NA) where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples,)
            Of rows with gaps -log Σ exp(-F(v)) over the missing values, as in `log_likelihood`. With `missing="absent"`
            that of the observed columns alone, which is -log p up to log Z of these columns: compare rows that have the
            same.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        LogPartitionWarning
            If gaps are summed out by AIS, and of some row's chains too few count.
        """
        return self._over_rows(self._gaps.free_energy, X, has_gaps=True) + self.form.coding(self).log_volume

    def score_samples(self, X: Any) -> np.ndarray:
        """Pseudo-log-likelihood of each row, in nats: exact, and the same at every call.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows, with NaN (of frames also None or NA) where a value is missing. Where bits are learned, a value between
            0 and 1 counts as the probability of a one.

        Returns
        -------
        ndarray of shape (n_samples,)
            The sum over the columns of log p(v_i | all others), of Gaussian columns the log-density in the units of X.
            Of bits: Σ_i v_i log p_i + (1 - v_i) log(1 - p_i), where p_i is the probability of a one at place i given
            all the other places of the row. (`BernoulliRBM.score_samples` estimates it from a single place drawn at
            random.) Of rows with gaps the sum over the values that are observed, each given the other observed ones, 0
            where none is: exact up to 2^14 states of the hidden layer or 2^10 of the missing values (2^6 in rows that
            have values between 0 and 1), and where all units are Gaussian; else from completions by Gibbs chains, the
            same at each call. Such sums have fewer terms, so compare models on the same rows. With `missing="absent"`
            each given the other observed ones by the machine of these columns: always exact.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        nats = self._over_rows(self._gaps.pseudo_log_likelihood, X, has_gaps=True)
        return nats - self.form.coding(self).log_volume

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean pseudo-log-likelihood of the rows, in nats; see `score_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows, with NaN (of frames also None or NA) where a value is missing.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, >= 0, for a weighted mean.

        Returns
        -------
        float

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        nats = self.score_samples(X).astype(np.float64)
        weight = None if sample_weight is None else check_sample_weight(from_torch(sample_weight), nats)
        return float(np.average(nats, weights=weight))

    @property
    def _gaps(self) -> SummedOut | LeftOut:
        """What is asked of rows that may have gaps."""
        check_is_fitted(self)
        return LeftOut() if missing_of(self) == "absent" else SummedOut(self.form.coding(self))

    def _over_rows(
        self, function: Callable[..., Tensor], X: Any, check: bool = True, has_gaps: bool = False
    ) -> np.ndarray:
        """`function` of the machine and the rows of X, or of the batches that X yields.

        `check` their range; they `has_gaps` where NaN is none of its errors.
        """
        fitted = Fitted(self)
        if not yields_batches(X):
            take = array_of if check else any_array_of
            return fitted.over_rows(function, take(self, X, has_gaps=has_gaps))
        batches = batches_of(self, X, check, has_gaps)
        return np.concatenate([fitted.over_rows(function, rows) for rows in batches])

    # -- likelihood ----------------------------------------------------------------------------------------------------

    def log_partition(
        self,
        method: Method = "auto",
        *,
        n_temperatures: int | None = None,
        n_chains: int = 100,
        n_steps: int = 500,
        schedule: Any = "adaptive",
        bracket: float | None = None,
        samples: Any = None,
        random_state: Any = None,
    ) -> LogPartition:
        """Logarithm of the partition function Z = Σ_v exp(-F(v)), in nats, with its uncertainty.

        Parameters
        ----------
        method : {"auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"}
            "exact" enumerates the states of the smaller layer, and "auto" does if that has at most 20 units. "ais" is
            annealed importance sampling from `base_rates_`, what "auto" else is. The temperings add up the differences
            of log Z between the rungs of a ladder; "trajectory_tempering" needs `store_trajectory=True` in `fit`.
        n_temperatures : int, optional
            Steps of AIS, 10,000 by default; rungs of parallel tempering, by default as many as it needs.
        n_chains : int
            Independent chains of AIS, or systems of chains of tempering.
        n_steps : int
            Steps of tempering that count; half as many go before.
        schedule : {"adaptive", "uniform"} or sequence of float
            The inverse temperatures of AIS: spaced from a pilot run so that each step adds about the same variance, or
            even, or as given, from 0 to 1.
        bracket : float, optional
            Ask for a bracket, and for a warning if it is wider than so many nats. AIS is run backwards for it, from
            samples of the machine; tempering has one anyway.
        samples : array-like of shape (n_samples, n_features), optional
            Samples at equilibrium for the backward run. By default the chains of training after 1,000 more Gibbs steps,
            which are such only if the machine mixes well; samples by tempering are a sterner test.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.

        Returns
        -------
        LogPartition
            `value` with its `standard_error`, `lower` and `upper` bracket where known, `effective_sample_size`, and
            more. The model keeps it for `log_likelihood`.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, or the machine is too large to enumerate or has no trajectory.

        Warns
        -----
        LogPartitionWarning
            If the effective sample size is less than a tenth of the chains, if neighbouring rungs hardly ever swap, or
            if the bracket is wider than `bracket`.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch
        >>> rbm = BernoulliRBMTorch(n_hidden=5, n_iter=5, random_state=0).fit(np.eye(8))
        >>> exact, estimate = rbm.log_partition("exact"), rbm.log_partition("ais", n_temperatures=1000)
        >>> abs(exact.value - estimate.value) < 4 * estimate.standard_error
        True
        """
        fitted = Fitted(self)
        check_method(self, "method", method, METHODS)
        schedule = checked_schedule(schedule)
        Or(None, Number(2, kind=Integral), "a whole number")("n_temperatures", n_temperatures)
        for name, value in (("n_chains", n_chains), ("n_steps", n_steps)):
            Number(2, kind=Integral)(name, value)
        if bracket is not None:
            if not isinstance(bracket, Real) or math.isnan(bracket):
                error = ValueError if isinstance(bracket, Real) else TypeError
                raise error(f"bracket={bracket!r} must be a width in nats, or None.")
            check_scalar(bracket, "bracket", Real, min_val=0)
        path, stream = fitted.path(), self._stream(random_state)
        if samples is not None:
            samples = fitted.whole_states(any_array_of(self, samples, "samples"), stream)
            if not self.units[0].are_states(samples):
                raise ValueError(
                    "samples has values other than 0 and 1. Pass samples of this model, as sample() draws."
                )
        elif bracket is not None and method_for(path.machine, method) == "ais":
            samples = fitted.whole_states(equilibrium(self, n_chains, stream), stream)
        with fitted.threads(n_chains), progress_of(self, "log Z") as progress:
            found = log_partition(
                path,
                method,
                stream=stream,
                n_temperatures=n_temperatures,
                n_chains=n_chains,
                n_steps=n_steps,
                schedule=schedule,
                samples=samples,
                max_width=bracket,
                rungs=fitted.rungs() if method == "trajectory_tempering" else None,
                progress=progress,
            )
        self._log_partition = (fitted.fingerprint(), found)
        return found

    @overload
    def log_likelihood(self, X: Any, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def log_likelihood(self, X: Any, return_std: Literal[True]) -> tuple[np.ndarray, float | np.ndarray]: ...

    @overload
    def log_likelihood(self, X: Any, return_std: bool) -> np.ndarray | tuple[np.ndarray, float | np.ndarray]: ...

    def log_likelihood(self, X: Any, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, float | np.ndarray]:
        """log p(v) = -F(v) - log Z of each row, in nats.

        log Z is the one that `log_partition` found last, if the parameters haven't changed since; else it is found now,
        by the default method. So call that before if you want another, or its bracket.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows, with NaN (of frames also None or NA) where a value is missing. Where bits are learned, values between
            0 and 1 become zeros and ones as in training: by draws, the same at each call, where `binarize="sample"`, or
            by the threshold.
        return_std : bool
            Whether to return the standard error too.

        Returns
        -------
        nats : ndarray of shape (n_samples,)
            In X's float type; float64 for other types. Of rows with gaps log p of what is observed, 0 where nothing is.
        std : float or ndarray of shape (n_samples,)
            Standard error of log Z, which all rows share; or an array where gaps were summed out by AIS, with what that
            adds to it. Only with `return_std`.

        Raises
        ------
        ValueError
            If X has values outside [0, 1], or other than 0 and 1 with `binarize="none"`: only zeros and ones have a
            log-probability. With `missing="absent"`, if rows have gaps and the machine more than 14 hidden units.

        Warns
        -----
        LogPartitionWarning
            If log Z is not measurable by the chains that there were, or the sum over the gaps of a row: the effective
            sample size is too small.

        Notes
        -----
        A missing value is summed out, of Gaussian columns integrated: that is the likelihood of what is observed, as it
        should be read where values are missing at random (Little & Rubin 2019, section 6.2). Exact up to 2^14 states of
        the missing values or of the hidden layer, and where all units are Gaussian; else by AIS, from chains of each
        row, the same at each call. Densities are those of the columns that a row has. With `missing="absent"` log p of
        the observed columns by the machine of these alone, with its own log Z, exact up to 14 hidden units.

        In `GridSearchCV` and the like, `scoring=skrbm.log_likelihood_scorer` is the mean of this; after
        `skrbm.register_scorer()` so is `scoring="log_likelihood"`.
        """
        log_weight = partial(self._gaps.log_weight, rule=rule_of(self))
        nats, error, is_final = self._over_rows(log_weight, X, check=False, has_gaps=True).T
        found = self._known_log_partition()
        log_z = found.value + self.form.coding(self).log_volume
        nats = np.where(is_final, nats, nats - log_z).astype(nats.dtype)
        if not return_std:
            return nats
        if not error.any():
            return nats, found.standard_error
        return nats, np.where(is_final, 0.0, np.hypot(error.astype(np.float64), found.standard_error))

    def _known_log_partition(self) -> LogPartition:
        """What `log_partition` found last, if the parameters haven't changed since; else what it finds now."""
        fingerprint, found = getattr(self, "_log_partition", (None, None))
        if found is None or fingerprint != Fitted(self).fingerprint():
            return self.log_partition()
        warn_if_few_count(found)
        return found

    # -- sampling ------------------------------------------------------------------------------------------------------

    def gibbs(self, v: Any, k: int = 1, random_state: Any = None) -> np.ndarray:
        """Visible states after `k` steps of block Gibbs sampling from each row.

        Parameters
        ----------
        v : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Where the chains start.
        k : int
            Number of full steps, >= 1: h drawn given v, then v given h.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream, which is pickled with it: successive calls differ.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Zeros and ones, or what the columns of a table are, in v's float type; float64 for other types. A data frame
            if `set_output` asks for one, or a table was learned as one.

        Warns
        -----
        DataRangeWarning
            If values lie outside [0, 1].
        """
        Number(1, kind=Integral)("k", k)
        found = run_chains_of(self, "gibbs", k, self._stream(random_state), array_of(self, v, "v"))
        return as_configured(self, found, v)

    @overload
    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 1000,
        init: Any = "random",
        random_state: Any = None,
        *,
        method: Sampler | Kernel = "gibbs",
        condition: Any = None,
        beta: float = 1.0,
        return_chain: bool = False,
        thin: int = 1,
        return_hidden: Literal[False] = False,
    ) -> np.ndarray: ...

    @overload
    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 1000,
        init: Any = "random",
        random_state: Any = None,
        *,
        method: Sampler | Kernel = "gibbs",
        condition: Any = None,
        beta: float = 1.0,
        return_chain: bool = False,
        thin: int = 1,
        return_hidden: Literal[True],
    ) -> tuple[np.ndarray, np.ndarray]: ...

    @overload
    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 1000,
        init: Any = "random",
        random_state: Any = None,
        *,
        method: Sampler | Kernel = "gibbs",
        condition: Any = None,
        beta: float = 1.0,
        return_chain: bool = False,
        thin: int = 1,
        return_hidden: bool,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 1000,
        init: Any = "random",
        random_state: Any = None,
        *,
        method: Sampler | Kernel = "gibbs",
        condition: Any = None,
        beta: float = 1.0,
        return_chain: bool = False,
        thin: int = 1,
        return_hidden: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Samples of the model: the ends of independent chains, or all that they go through.

        Parameters
        ----------
        n_samples : int
            Number of chains.
        n_steps : int
            Length of the chains. Chains that are too short show where they started rather than the model; `diagnose`
            tells how long is long enough.
        init : {"random", "data"} or array-like of shape (n_samples, n_features)
            Where they start: at random bits, at training rows (drawn from `data_samples_`), or at given rows.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream, which is pickled with it: successive calls differ.
        method : {"gibbs", "parallel_tempering", "trajectory_tempering"} or Kernel
            Block Gibbs sampling; or tempering, which finds the modes that Gibbs chains don't leave or reach, and costs
            as many times more as its ladder has rungs. The rungs are temperatures between `base_rates_` and the model,
            adapted until neighbours swap every other time; or the machines that `store_trajectory=True` kept. Or a
            `skrbm.sampling.Kernel` of your own, whose model is the machine, `RBMParameters`.
        condition : array-like of shape (n_features,) or (n_samples, n_features), or mapping, optional
            Values of visible units that are given; NaN where they are free. The samples are then of
            p(free | given). One row is given to all chains. Or values by the names of features, such as
            `{"smoker": 1}`, or a pandas Series with names as its index: what isn't named is free. The features of a
            model that was fitted without names are "x0", "x1" and so on.
        beta : float
            Inverse temperature, >= 0: samples are of p(v, h) ∝ exp(-beta E(v, h)), the machine whose W, b and c are
            `beta` times those of this.
        return_chain : bool
            Whether to return the states that the chains go through rather than their ends. They are from the first
            step on: leave out as many as the chains need to forget where they started.
        thin : int
            Steps from one state that is returned to the next, with `return_chain`.
        return_hidden : bool
            Whether to return hidden states too, drawn from p(h | v) of the visible ones: the two together are samples
            of p(v, h).

        Returns
        -------
        v : ndarray of shape (n_samples, n_features) or (n_samples, n_steps // thin, n_features)
            Zeros and ones (but for what is given), or rows of the table that was learned, in the float type of
            `components_`, or of `init` where that is rows.
            With `return_chain` a chain along the second axis, its states after `thin`, 2 `thin`, … steps;
            without it, a data frame if `set_output` asks for one. The same with and without `return_hidden`.
        h : ndarray of shape (n_samples, n_hidden) or (n_samples, n_steps // thin, n_hidden)
            Zeros and ones, only with `return_hidden`. Where `v` is a data frame so is this, with the names of
            `get_feature_names_out()`. In a chain, each is drawn anew from the `v` beside it.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, a name of `condition` unknown, or the model has no training rows or
            trajectory where it needs them.

        Warns
        -----
        DataRangeWarning
            If `init` has values outside [0, 1]; in `condition` these are an error.
        SwapWarning
            If neighbouring rungs of tempering hardly ever swap.

        Examples
        --------
        How often two units agree at three inverse temperatures; and some chains:

        >>> from skrbm import BernoulliRBMTorch
        >>> rbm = BernoulliRBMTorch.from_parameters([[4.0, 4.0]], [-2.0, -2.0], [-4.0], random_state=0)
        >>> for beta in (0.0, 0.5, 1.0):
        ...     first, second = rbm.sample(2000, 100, beta=beta).T
        ...     print(f"{(first == second).mean():.1f}")
        0.5
        0.6
        0.8
        >>> chains = rbm.sample(4, 1000, return_chain=True, thin=2)
        >>> chains.shape
        (4, 500, 2)

        Visible and hidden states together:

        >>> v, h = rbm.sample(1000, 100, return_hidden=True)
        >>> v.shape, h.shape
        ((1000, 2), (1000, 1))

        A kernel of one's own: Gibbs steps, after each of which a state and its opposite are chosen between by their
        probabilities. It goes between two modes, all off and all on, that Gibbs chains hardly ever leave:

        >>> import numpy as np
        >>> import torch
        >>> from skrbm.machines import free_energy
        >>> from skrbm.sampling import Kernel, clamp, gibbs_init, gibbs_step
        >>> def flip_step(params, state, stream):
        ...     state, info = gibbs_step(params, state, stream)
        ...     flipped = clamp(1 - info.v, state.given)
        ...     p = torch.sigmoid(free_energy(params, info.v) - free_energy(params, flipped))
        ...     v = torch.where((stream.uniform(len(p), p.device) < p)[:, None], flipped, info.v)
        ...     return gibbs_init(params, v, stream, state.given), info._replace(v=v)
        >>> deep = BernoulliRBMTorch.from_parameters([[8.0] * 6], [-4.0] * 6, [-24.0], random_state=0)
        >>> for method in ("gibbs", Kernel(gibbs_init, flip_step)):
        ...     print(f"{deep.sample(1000, 20, init=np.zeros((1000, 6)), method=method).mean():.1f}")
        0.0
        0.5
        """
        check_is_fitted(self)
        Number(1, kind=Integral)("n_samples", n_samples)
        Number(1, kind=Integral)("n_steps", n_steps)
        check_sampler(self, "method", method)
        Number(0)("beta", beta)
        Number(1, n_steps, kind=Integral)("thin", thin)
        if thin > 1 and not return_chain:
            raise ValueError(f"thin={thin} is of chains, but return_chain=False returns their ends. Set it to True.")
        given = None if condition is None else condition_of(self, condition, n_samples)
        stream = self._stream(random_state)
        starts = starts_of(self, n_samples, init, stream)
        found = run_chains_of(self, method, n_steps, stream, starts, given, beta=beta, thin=thin if return_chain else 0)
        h = hidden_of(self, found, beta, stream) if return_hidden else None
        if not return_chain:
            if h is not None:
                h = as_configured(self, h, init, condition, names=list(self.get_feature_names_out()))
            found = as_configured(self, found, init, condition)
        return found if h is None else (found, h)

    def complete(
        self,
        X: Any,
        kind: Literal["mean", "sample"] = "mean",
        *,
        n_steps: int = 1000,
        method: Sampler | Kernel = "gibbs",
        random_state: Any = None,
    ) -> np.ndarray:
        """Rows with their missing values filled in, from chains with all else clamped.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows, of bits in [0, 1], with NaN (of frames also None or NA) where a value is missing.
        kind : {"mean", "sample"}
            Fill in E[v_i | given], of bits P(v_i = 1 | given) and of labels the likelier one, the mean over the second
            half of a chain; or a state, the end of it. With `missing="absent"` each cell is predicted, or drawn, by
            itself, from the machine of what its row has and that one cell: exactly, without chains.
        n_steps : int
            Length of the chains.
        method : {"gibbs", "parallel_tempering", "trajectory_tempering"} or Kernel
            How the chains move; see `sample`. Where several quite different completions fit, Gibbs chains may see one
            of them only. Where both layers are Gaussian "gibbs" takes no chains: means and draws are exact.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In X's float type; float64 for other types. After `set_output(transform="pandas")`, or "polars", a data
            frame with the names that the model was fitted with, and the index of X.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described.

        Warns
        -----
        SwapWarning
            If neighbouring rungs of tempering hardly ever swap.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch
        >>> twins = np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0)  # two pixels that are always the same
        >>> rbm = BernoulliRBMTorch(n_hidden=4, random_state=1).fit(twins)
        >>> rbm.complete([[1.0, np.nan], [np.nan, 0.0]]).round()
        array([[1., 1.],
               [0., 0.]])
        """
        check_choice("kind", kind, ("mean", "sample"))
        Number(1, kind=Integral)("n_steps", n_steps)
        check_sampler(self, "method", method)
        given = array_with_gaps(self, X, "X")
        stream = self._stream(random_state)
        if method == "gibbs" and Fitted(self).machine().is_quadratic:
            return as_configured(self, completed_normal(self, given, stream, mean=kind == "mean"), X)
        if missing_of(self) == "absent":
            return as_configured(self, predicted(self, given, stream, mean=kind == "mean"), X)
        starts = starts_of(self, len(given), "random", stream).astype(given.dtype)
        return as_configured(self, run_chains_of(self, method, n_steps, stream, starts, given, mean=kind == "mean"), X)

    def diagnose(
        self,
        methods: Sampler | Kernel | Iterable[Sampler | Kernel] | None = None,
        *,
        n_steps: int = 1000,
        n_chains: int = 20,
        random_state: Any = None,
    ) -> Table:
        """How well chains of this model mix, as a table.

        Parameters
        ----------
        methods : sequence of {"gibbs", "parallel_tempering", "trajectory_tempering"} or Kernel, optional
            Or a single one; see `sample`. By default all that have a name and that the model can be sampled by. A
            kernel of your own is called by the name of its function `step` in the table.
        n_steps : int
            Length of the chains, >= 8.
        n_chains : int
            Number of chains from random states, >= 2, and of as many from training rows (`data_samples_`).
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.

        Returns
        -------
        Table
            Columns by name, for `pandas.DataFrame` or to be printed: for each `method` and `statistic` of the visible
            states (free energy, share of ones, projections on two directions of W) the `autocorrelation_time` in steps,
            `effective_sample_size` and `r_hat` of the second half of the chains; the `merge_time` in steps, after which
            chains from random states and from data can't be told apart (`inf`: not within `n_steps`); the least
            `swap_acceptance` of neighbouring rungs and the `round_trips` of a system; `seconds` a step. Its `note`,
            printed below, is the verdict of `skrbm.diagnostics.judge` by the rows that the model keeps, whatever their
            weights were.

        Notes
        -----
        Chains that mix have a `merge_time` well below `n_steps`, and `r_hat` below 1.01 if they are some hundred
        autocorrelation times long. See `skrbm.diagnostics` for the formulas.
        """
        check_is_fitted(self)
        Number(8, kind=Integral)("n_steps", n_steps)
        Number(2, kind=Integral)("n_chains", n_chains)
        if methods is None:
            methods = SAMPLERS if hasattr(self, "trajectory_") else SAMPLERS[:2]
        methods = [methods] if isinstance(methods, str | Kernel) else methods
        if not isinstance(methods, Iterable) or not (methods := list(methods)):
            raise ValueError(f"methods={methods!r} must be names of samplers or kernels, at least one.")
        for method in methods:
            check_sampler(self, "methods", method)
        return how_chains_mix(self, methods, n_steps, n_chains, self._stream(random_state))

    # -- files, and other libraries ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, data_samples: bool = False) -> None:
        """Write the fitted machine to a file that `load` reads, here or elsewhere, without running code.

        The file is in the safetensors format, `pip install "skrbm[safetensors]"`: the fitted arrays, and as JSON in its
        header the parameters, the shapes, the version, and a checksum. A crash leaves the old file or the new one.

        Parameters
        ----------
        path : str or path-like
            The file, replaced if it exists.
        data_samples : bool
            Whether to write `data_samples_` too, the training rows that `sample(init="data")` starts from. By default
            no row of the training data is in the file.

        Raises
        ------
        NotFittedError, ValueError
            If the machine isn't fitted, or has arrays of shapes that don't go together or values that aren't finite.
        FileNotFoundError, ImportError
            If there is no such folder, or safetensors is missing.

        See Also
        --------
        skrbm.onnx.to_onnx : Features for programs without Python.

        Notes
        -----
        A path to a checkpoint, the memory of the optimiser, the states of random streams and log Z are left out. Of
        parameters that JSON can't hold (factories, RandomState instances) there is a description, for the warning that
        `load` gives.

        `skops.io` works too, and keeps all of these: `loads(data, trusted=get_untrusted_types(data=data))`, once you
        have seen that these types are `BernoulliRBMTorch` and `Stream`, and `LogPartition` where it was computed.
        """
        check_is_fitted(self)
        write_model(path, self, data_samples=data_samples)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The machine that `save` wrote. No code in the file is run.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        BernoulliRBMTorch
            With the same parameters and fitted arrays. `partial_fit` and `fit` with `warm_start=True` go on from these,
            with a new optimiser and new streams. `checkpoint` and `resume` are at their defaults, whatever is in the
            file.

        Raises
        ------
        ValueError
            If the file is damaged, or something else, or written by a later version in a format unknown here. The
            checksum finds accidents; it is no signature.
        OSError, ImportError
            If the file can't be read, such as FileNotFoundError, or safetensors is missing.

        Warns
        -----
        UserWarning
            If a parameter could not be stored and is at its default, or is of a later version and left aside.
        """
        return read_model(path, cls)

    def to_torch(self) -> nn.Sequential:
        """`transform` as a network of torch: a linear layer and a sigmoid, to be built upon and tuned.

        Returns
        -------
        nn.Sequential
            `Linear(n_features, n_hidden)` and `Sigmoid()` on the CPU, in the float type of `components_`, with copies
            of the weights that have gradients.

        Examples
        --------
        Two machines, the second trained on the features of the first, become a network for ten classes:

        >>> import torch
        >>> from skrbm import BernoulliRBMTorch
        >>> from skrbm.datasets import load_digits
        >>> X = load_digits().data
        >>> first = BernoulliRBMTorch(n_hidden=32, n_iter=20, random_state=0).fit(X)
        >>> second = BernoulliRBMTorch(n_hidden=16, n_iter=20, random_state=0).fit(first.transform(X))
        >>> network = torch.nn.Sequential(*first.to_torch(), *second.to_torch(), torch.nn.Linear(16, 10))
        >>> network(torch.from_numpy(X)).shape
        torch.Size([1797, 10])
        """
        params = self.form.coding(self).folded_into(Fitted(self).machine().to("cpu"))
        if not params.n_hidden:
            raise ValueError("A machine without hidden units has no features for a network to compute.")
        layer = nn.Linear(params.n_features, params.n_hidden, device="meta")  # draws no weights
        layer.weight, layer.bias = nn.Parameter(params.W.clone()), nn.Parameter(params.c.clone())
        return nn.Sequential(layer, nn.Sigmoid()) if params.hidden.activation == "sigmoid" else nn.Sequential(layer)

    # -- scikit-learn's hooks, and randomness --------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.allow_nan = True
        return self.form.tagged(tags)

    @property
    def _n_features_out(self) -> int:
        n_hidden, n_features = np.shape(self.components_)
        if not n_hidden:
            return n_features
        return n_hidden if hasattr(self, HIDDEN_COUPLINGS) else n_hidden + self.form.coding(self).n_latent

    def _seed(self) -> list[int]:
        if self.random_state is None:
            return [int(n) for n in np.random.SeedSequence().generate_state(4)]
        return [int(n) for n in check_random_state(self.random_state).randint(0, 2**32, 4, np.uint64)]

    def _stream(self, random_state: Any) -> Stream:
        """That of a call, or the model's own, which goes on from call to call."""
        if random_state is not None:
            seed = check_random_state(random_state).randint(0, 2**32, 4, np.uint64)
            return Stream([int(n) for n in seed], "sampling")
        if not hasattr(self, "_sampling"):
            self._sampling = Stream(self._seed(), "sampling")
        return self._sampling
