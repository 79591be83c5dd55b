"""What a fitted machine can do: features, likelihoods, samples, completions, diagnostics."""

from __future__ import annotations

import hashlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from scipy.special import logit
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skrbm.diagnostics.mixing import diagnose
from skrbm.likelihood.log_partition import (
    METHODS,
    LogPartition,
    checked_schedule,
    log_partition,
    method_for,
)
from skrbm.likelihood.pseudo import pseudo_log_likelihood
from skrbm.machines.restricted import RBMParameters, free_energy, mean_h_given_v, mean_v_given_h
from skrbm.rows.arrays import binarize_rows, to_tensor
from skrbm.sampling.kernels import GIBBS, Kernel, clamp, steps
from skrbm.sampling.tempering import TEMPERING, SwapRates, SwapWarning, ladder_by_name
from skrbm.support.checks import ROUNDING, check_choice, find_device, from_torch
from skrbm.support.files import plain, read_model, unplain, write_model
from skrbm.support.randomness import Stream
from skrbm.support.tables import Table

__all__ = ["InferenceMixin"]

_CHUNK_ROWS = 4096  # rows that are turned into floats at a time
_CHUNK_SYSTEMS = 1 << 25  # elements of the layers of a ladder that are sampled at a time
_PROGRESS_SECONDS = 5.0  # between two lines of progress
_METHODS = ("gibbs", "parallel_tempering", "trajectory_tempering")


class InferenceMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The methods of a fitted machine, which its parameters and `base_rates_` are enough for."""

    n_features_in_: int
    components_: Any
    intercept_visible_: Any
    intercept_hidden_: Any
    h_samples_: Any
    device: Any
    binarize: Any
    verbose: Any
    random_state: Any
    trajectory_: Any

    # -- what the model says about rows ----------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """P(h = 1 | v) of each row, the features that the machine has learned.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_hidden)
            In X's float type; float64 for other types.
        """
        return self._map(mean_h_given_v, self._rows(X))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """P(v = 1 | h) for hidden states or their probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_hidden)
            Hidden values in [0, 1], such as `transform` returns.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        H = check_array(from_torch(X), dtype=[np.float64, np.float32], input_name="X")
        n_hidden = np.shape(self.components_)[0]
        if H.shape[1] != n_hidden:
            raise ValueError(f"X has {H.shape[1]} columns, but the model has {n_hidden} hidden units.")
        return self._map(mean_v_given_h, H)

    def reconstruct(self, X: Any) -> np.ndarray:
        """What the machine sees in each row: P(v = 1 | h) at h = P(h = 1 | v), without any draw.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self._map(lambda params, v: mean_v_given_h(params, mean_h_given_v(params, v)), self._rows(X))

    def free_energy(self, X: Any) -> np.ndarray:
        """F(v) = -b'v - Σ_j softplus(c_j + W_j v) of each row: -log p(v) up to a constant, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        return self._map(free_energy, self._rows(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """Pseudo-log-likelihood of each row, in nats: exact, and the same at every call.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows. A value between 0 and 1 counts as the probability of a one.

        Returns
        -------
        ndarray of shape (n_samples,)
            Σ_i v_i log p_i + (1 - v_i) log(1 - p_i), where p_i is the probability of a one at place i given all the
            other places of the row. (`BernoulliRBM.score_samples` estimates it from a single place drawn at random.)
        """
        return self._map(pseudo_log_likelihood, self._rows(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean pseudo-log-likelihood of the rows, in nats; see `score_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows.
        y : Ignored
            Present for scikit-learn's conventions.

        Returns
        -------
        float
        """
        return float(self.score_samples(X).mean(dtype=np.float64))

    # -- likelihood ------------------------------------------------------------------------------------------------

    def log_partition(
        self,
        method: str = "auto",
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
        check_is_fitted(self)
        check_choice("method", method, METHODS)
        self._check_trajectory(method)
        schedule = checked_schedule(schedule)
        if n_temperatures is not None:
            check_scalar(n_temperatures, "n_temperatures", Integral, min_val=2)
        for name, value in (("n_chains", n_chains), ("n_steps", n_steps)):
            check_scalar(value, name, Integral, min_val=2)
        if bracket is not None:
            check_scalar(bracket, "bracket", Real, min_val=0)
            if math.isnan(bracket):
                raise ValueError("bracket=nan must be a width in nats, or None.")
        dtype, device = self._own_type()
        params = self._params(dtype, device)
        if samples is not None:
            samples = to_tensor(self._rows(samples, "samples"), dtype, device)
            if not _are_bits(samples):
                raise ValueError(
                    "samples has values other than 0 and 1. Pass samples of this model, as sample() draws."
                )
        stream = self._stream(random_state)
        if samples is None and bracket is not None and method_for(params, method) == "ais":
            samples = to_tensor(self._equilibrium(n_chains, stream), dtype, device)
        found = log_partition(
            params,
            method,
            base_b=self._base_b(dtype, device),
            stream=stream,
            n_temperatures=n_temperatures,
            n_chains=n_chains,
            n_steps=n_steps,
            schedule=schedule,
            samples=samples,
            max_width=bracket,
            checkpoints=self._checkpoints(dtype, device),
            progress=_Report(f"[{type(self).__name__}] log Z: ") if self.verbose else None,
        )
        self._log_partition = (self._fingerprint(), found)
        return found

    def log_likelihood(self, X: Any, return_std: bool = False) -> Any:
        """log p(v) = -F(v) - log Z of each row, in nats.

        log Z is the one that `log_partition` found last, if the parameters haven't changed since; else it is found now,
        by the default method. So call that before if you want another, or its bracket.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features)
            Rows. Values between 0 and 1 become zeros and ones as in training: by draws, the same at each call, where
            `binarize="sample"`, or by the threshold.
        return_std : bool
            Whether to return the standard error of log Z too.

        Returns
        -------
        nats : ndarray of shape (n_samples,)
            In X's float type; float64 for other types.
        std : float
            Standard error of log Z, which all rows share. Only with `return_std`.

        Raises
        ------
        ValueError
            If X has values outside [0, 1], or other than 0 and 1 with `binarize="none"`: only zeros and ones have a
            log-probability.

        Warns
        -----
        LogPartitionWarning
            If log Z is found now and not to be trusted.

        Notes
        -----
        In `GridSearchCV` and the like, `scoring="log_likelihood"` is the mean of this; importing `BernoulliRBMTorch`
        makes scikit-learn know the name.
        """
        rows = self._rows(X)
        rule = self.binarize
        pixels = Stream(0, "pixels")

        def minus_free_energy(params: RBMParameters, v: Tensor) -> Tensor:
            if bool(((v < -ROUNDING) | (v > 1 + ROUNDING)).any()):
                raise ValueError(
                    f"X has values from {float(v.min()):g} to {float(v.max()):g}, which are no probabilities of a one. "
                    "Scale it into [0, 1], as for fit."
                )
            if isinstance(rule, str) and rule == "none" and not _are_bits(v):
                raise ValueError(
                    "X has values other than 0 and 1, which have no log-probability, and binarize='none' doesn't say "
                    "what to make of them. Pass zeros and ones, such as X > 0.5, or set binarize."
                )
            return -free_energy(params, binarize_rows(v, rule, pixels))

        nats = self._map(minus_free_energy, rows)
        fingerprint, found = getattr(self, "_log_partition", (None, None))
        if found is None or fingerprint != self._fingerprint():
            found = self.log_partition()
        nats = (nats - found.value).astype(nats.dtype)
        return (nats, found.standard_error) if return_std else nats

    # -- sampling --------------------------------------------------------------------------------------------------

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
            Zeros and ones, in v's float type; float64 for other types.
        """
        check_scalar(k, "k", Integral, min_val=1)
        rows = self._rows(v, "v")
        return self._run_chains("gibbs", k, self._stream(random_state), rows)

    def sample(
        self,
        n_samples: int = 1,
        n_steps: int = 1000,
        init: Any = "random",
        random_state: Any = None,
        *,
        method: str = "gibbs",
        condition: Any = None,
    ) -> np.ndarray:
        """Samples of the model: the ends of independent chains.

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
        method : {"gibbs", "parallel_tempering", "trajectory_tempering"}
            Block Gibbs sampling; or tempering, which finds the modes that Gibbs chains don't leave or reach, and costs
            as many times more as its ladder has rungs. The rungs are temperatures between `base_rates_` and the model,
            adapted until neighbours swap every other time; or the checkpoints of `store_trajectory=True`.
        condition : array-like of shape (n_features,) or (n_samples, n_features), optional
            Values of visible units that are given; NaN where they are free. The samples are then of
            p(free | given). One row is given to all chains.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Zeros and ones (but for what is given), in the float type of `components_`, or of `init` where that is rows.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described, or the model has no training rows or trajectory where it needs them.

        Warns
        -----
        SwapWarning
            If neighbouring rungs of tempering hardly ever swap.
        """
        check_is_fitted(self)
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        self._check_sampler("method", method)
        given = None
        if condition is not None:
            condition = from_torch(condition)
            one_row = np.ndim(condition) == 1
            given = self._rows_with_gaps(np.asarray(condition)[None] if one_row else condition, "condition")
            if len(given) not in (1, n_samples):
                raise ValueError(
                    f"condition has {len(given)} rows, but n_samples={n_samples}. Pass one row, or as many as samples."
                )
            given = np.broadcast_to(given, (n_samples, given.shape[1]))
        stream = self._stream(random_state)
        return self._run_chains(method, n_steps, stream, self._starts(n_samples, init, stream), given)

    def complete(
        self,
        X: Any,
        kind: str = "mean",
        *,
        n_steps: int = 1000,
        method: str = "gibbs",
        random_state: Any = None,
    ) -> np.ndarray:
        """Rows with their missing values filled in, from chains with all else clamped.

        Parameters
        ----------
        X : {array-like, data frame, tensor} of shape (n_samples, n_features)
            Rows in [0, 1], with NaN where a value is missing.
        kind : {"mean", "sample"}
            Fill in P(v_i = 1 | given), the mean over the second half of a chain; or zeros and ones, the end of it.
        n_steps : int
            Length of the chains.
        method : {"gibbs", "parallel_tempering", "trajectory_tempering"}
            How the chains move; see `sample`. Where several quite different completions fit, Gibbs chains may see one
            of them only.
        random_state : int, RandomState instance or None
            None goes on with the model's own stream.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In X's float type; float64 for other types.

        Raises
        ------
        ValueError, TypeError
            If a parameter is not as described. NaN in `fit` and `transform` stays an error.

        Warns
        -----
        SwapWarning
            If neighbouring rungs of tempering hardly ever swap.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch
        >>> twins = np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, axis=0)  # two pixels that are always the same
        >>> rbm = BernoulliRBMTorch(n_hidden=4, random_state=0).fit(twins)
        >>> rbm.complete([[1.0, np.nan], [np.nan, 0.0]]).round()
        array([[1., 1.],
               [0., 0.]])
        """
        check_choice("kind", kind, ("mean", "sample"))
        check_scalar(n_steps, "n_steps", Integral, min_val=1)
        self._check_sampler("method", method)
        given = self._rows_with_gaps(X, "X")
        stream = self._stream(random_state)
        starts = self._starts(len(given), "random", stream).astype(given.dtype)
        return self._run_chains(method, n_steps, stream, starts, given, mean=kind == "mean")

    def diagnose(
        self, methods: Any = None, *, n_steps: int = 1000, n_chains: int = 20, random_state: Any = None
    ) -> Table:
        """How well chains of this model mix, as a table.

        Parameters
        ----------
        methods : sequence of {"gibbs", "parallel_tempering", "trajectory_tempering"}, optional
            By default all that the model is fit for.
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
            `swap_acceptance` of neighbouring rungs and the `round_trips` of a system; `seconds` a step.

        Notes
        -----
        Chains that mix have a `merge_time` well below `n_steps`, and `r_hat` below 1.01 if they are some hundred
        autocorrelation times long. See `skrbm.diagnostics.chains` for the formulas.
        """
        check_is_fitted(self)
        check_scalar(n_steps, "n_steps", Integral, min_val=8)
        check_scalar(n_chains, "n_chains", Integral, min_val=2)
        if methods is None:
            methods = _METHODS if hasattr(self, "trajectory_") else _METHODS[:2]
        methods = [methods] if isinstance(methods, str) else methods
        if not isinstance(methods, Iterable) or not (methods := list(methods)):
            raise ValueError(f"methods={methods!r} must be names of samplers, at least one.")
        for method in methods:
            self._check_sampler("methods", method)
        stream = self._stream(random_state)
        dtype, device = self._own_type()
        params = self._params(dtype, device)
        random_v = to_tensor(self._starts(n_chains, "random", stream), dtype, device)
        has_data = hasattr(self, "data_samples_")
        data_v = to_tensor(self._starts(n_chains, "data", stream), dtype, device) if has_data else None
        tables = []
        for method in methods:
            kernel, model = self._sampler(method, params, stream)
            table = diagnose(params, kernel, model, random_v, data_v, n_steps, stream)
            tables.append({"method": np.full(len(table["statistic"]), method)} | table)
        return Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def _run_chains(
        self, method: str, n_steps: int, stream: Stream, starts: Any, given: Any = None, mean: bool = False
    ) -> np.ndarray:
        """The ends of chains from `starts`, or the means over their second halves."""
        sampler: tuple[Kernel, Any] | None = None
        rates: SwapRates | None = None

        def run(params: RBMParameters, v: Tensor, given: Tensor | None = None) -> Tensor:
            nonlocal sampler, rates
            if sampler is None:
                sampler = self._sampler(method, params, stream)
            kernel, model = sampler
            n_rows = len(v)
            if kernel is TEMPERING:
                rates = SwapRates(model.n_rungs) if rates is None else rates
                n_rows = max(1, _CHUNK_SYSTEMS // (model.n_rungs * max(params.n_features, params.n_hidden)))
            ends = []
            for first in range(0, len(v), n_rows):
                rows = slice(first, first + n_rows)
                fixed = None if given is None else given[rows]
                state = kernel.init(model, v[rows], stream, fixed)
                total = torch.zeros_like(v[rows])
                for step, (_, info) in enumerate(steps(kernel, model, state, n_steps, stream)):
                    if mean and step >= n_steps // 2:
                        total += info.mean_v
                    if rates is not None and step >= n_steps // 2:
                        rates.add_(info)
                ends.append(clamp(total / (n_steps - n_steps // 2), fixed) if mean else info.v)
            return torch.cat(ends)

        found = self._map(run, starts) if given is None else self._map(run, starts, given)
        if rates is not None and (complaint := rates.complaint()):
            warnings.warn(f"Samples by method={method!r} are not to be trusted. {complaint}", SwapWarning, stacklevel=3)
        return found

    def _sampler(self, method: str, params: RBMParameters, stream: Stream) -> tuple[Kernel, Any]:
        """The kernel of that name and the model that it samples."""
        if method == "gibbs":
            return GIBBS, params
        dtype, device = params.W.dtype, params.W.device
        checkpoints = self._checkpoints(dtype, device)
        return TEMPERING, ladder_by_name(method, params, self._base_b(dtype, device), stream, checkpoints=checkpoints)

    def _check_sampler(self, name: str, method: Any) -> None:
        check_is_fitted(self)
        check_choice(name, method, _METHODS)
        self._check_trajectory(method)

    def _check_trajectory(self, method: str) -> None:
        if method == "trajectory_tempering" and not hasattr(self, "trajectory_"):
            raise ValueError(
                "method='trajectory_tempering' needs the checkpoints of a fit. Call fit with store_trajectory=True, or "
                "choose 'parallel_tempering'."
            )

    def _starts(self, n_samples: int, init: Any, stream: Stream) -> np.ndarray:
        dtype = np.asarray(self.components_).dtype
        if not isinstance(init, str):
            rows = self._rows(init, "init")
            if rows.shape[0] != n_samples:
                raise ValueError(f"init has {rows.shape[0]} rows, but n_samples={n_samples}. Pass as many rows.")
            return rows if isinstance(rows, np.ndarray) and rows.dtype.kind == "f" else rows.astype(dtype)
        check_choice("init", init, ("random", "data"), "an array of rows")
        if init == "random":
            return stream.integers(2, (n_samples, self.n_features_in_)).astype(dtype)
        if not hasattr(self, "data_samples_"):
            raise ValueError("init='data', but this model keeps no training rows. Pass rows as init, or fit it here.")
        kept = np.asarray(self.data_samples_, dtype)
        return kept[stream.integers(len(kept), (n_samples,))]

    def _equilibrium(self, n: int, stream: Stream) -> np.ndarray:
        """The chains of training, or random ones, after 1,000 Gibbs steps."""
        starts = self._starts(n, "random", stream)
        h = np.asarray(getattr(self, "h_samples_", ()))
        if h.ndim == 2 and len(h) and h.shape[1] == np.shape(self.components_)[0]:
            starts = np.resize(self._map(mean_v_given_h, h.astype(starts.dtype)), starts.shape)
            starts = stream.bernoulli(torch.from_numpy(starts)).numpy()
        return self._run_chains("gibbs", 1000, stream, starts)

    # -- files, and other libraries --------------------------------------------------------------------------------

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
        >>> first = BernoulliRBMTorch(n_hidden=32, n_iter=2, random_state=0).fit(X)
        >>> second = BernoulliRBMTorch(n_hidden=16, n_iter=2, random_state=0).fit(first.transform(X))
        >>> network = torch.nn.Sequential(*first.to_torch(), *second.to_torch(), torch.nn.Linear(16, 10))
        >>> network(torch.from_numpy(X)).shape
        torch.Size([1797, 10])
        """
        check_is_fitted(self)
        params = self._params(self._own_type()[0], torch.device("cpu"))
        layer = nn.Linear(params.n_features, params.n_hidden, device="meta")  # draws no weights
        layer.weight, layer.bias = nn.Parameter(params.W.clone()), nn.Parameter(params.c.clone())
        return nn.Sequential(layer, nn.Sigmoid())

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | {"_carried": plain(state["_carried"])} if "_carried" in state else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_carried" in state:
            state = state | {"_carried": unplain(state["_carried"])}
        super().__setstate__(state)

    # -- validation and plumbing -----------------------------------------------------------------------------------

    def _rows(self, X: Any, name: str = "X", reset: bool = False) -> Any:
        """X as an array or a CSR matrix of finite numbers, with the features that the model knows."""
        return self._validated(X, name, reset, accept_sparse="csr", dtype="numeric")

    def _validated(self, X: Any, name: str, reset: bool, **kwargs: Any) -> Any:
        if not reset:
            check_is_fitted(self)
        X = from_torch(X)
        if isinstance(X, np.ndarray) and not X.dtype.isnative:  # in which scikit-learn 1.6 overlooks infinity
            X = X.astype(X.dtype.newbyteorder("="))
        try:
            rows = validate_data(self, X, reset=reset, **kwargs)
            if rows.dtype.kind not in "biuf":
                raise TypeError(f"{'X' if name == 'X' else 'it'} has values of type {rows.dtype}. Pass numbers.")
            return rows
        except (TypeError, ValueError) as error:
            if name == "X":
                raise
            raise type(error)(f"{name} won't do: {error}") from error

    def _rows_with_gaps(self, X: Any, name: str) -> np.ndarray:
        """X as a float array whose NaN are gaps."""
        rows = self._validated(X, name, False, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan")
        low, high = np.nanmin(rows, initial=0.0), np.nanmax(rows, initial=1.0)
        if low < -ROUNDING or high > 1.0 + ROUNDING:
            raise ValueError(
                f"{name} has values from {low:g} to {high:g}. What is given must lie in [0, 1], what is free be NaN."
            )
        return rows

    def _seed(self) -> list[int]:
        if self.random_state is None:
            return [int(n) for n in np.random.SeedSequence().generate_state(4)]
        return [int(n) for n in check_random_state(self.random_state).randint(0, 2**32, 4, np.uint64)]

    def _stream(self, random_state: Any) -> Stream:
        if random_state is not None:
            seed = check_random_state(random_state).randint(0, 2**32, 4, np.uint64)
            return Stream([int(n) for n in seed], "sampling")
        if not hasattr(self, "_sampling"):
            self._sampling = Stream(self._seed(), "sampling")
        return self._sampling

    def _own_type(self) -> tuple[torch.dtype, torch.device]:
        """The float type of the parameters, and the device that the model works on."""
        dtype = torch.float32 if np.asarray(self.components_).dtype == np.float32 else torch.float64
        return dtype, find_device(self.device, fall_back=True)

    def _params(self, dtype: torch.dtype, device: torch.device) -> RBMParameters:
        return _as_params((self.components_, self.intercept_visible_, self.intercept_hidden_), dtype, device)

    def _checkpoints(self, dtype: torch.dtype, device: torch.device) -> list[RBMParameters] | None:
        """Those of the trajectory, None without one."""
        if not hasattr(self, "trajectory_"):
            return None
        found = [_as_params(arrays, dtype, device) for arrays in self.trajectory_]
        for params in found:
            if params.W.shape != np.shape(self.components_):
                raise ValueError(
                    f"trajectory_ has checkpoints of shape {tuple(params.W.shape)}, but components_ has shape "
                    f"{np.shape(self.components_)}. Delete trajectory_, or fit again."
                )
        return found

    def _base_b(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Visible bias of the machine without weights that has the base rates; 0 if they aren't known."""
        if not hasattr(self, "base_rates_"):
            return torch.zeros(self.n_features_in_, dtype=dtype, device=device)
        rates = np.asarray(self.base_rates_, np.float64)
        if rates.shape != (self.n_features_in_,) or not ((rates > 0) & (rates < 1)).all():
            raise ValueError(
                f"base_rates_ must be {self.n_features_in_} numbers between 0 and 1, both excluded; got an array of "
                f"shape {rates.shape} with values from {rates.min(initial=1.0):g} to {rates.max(initial=0.0):g}."
            )
        return to_tensor(logit(rates), dtype, device)

    def _fingerprint(self) -> bytes:
        """Changes when the parameters do."""
        hasher = hashlib.blake2b(digest_size=16)
        for array in (self.components_, self.intercept_visible_, self.intercept_hidden_):
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()

    @torch.no_grad()
    def _map(self, function: Callable[..., Tensor], X: Any, *others: Any) -> np.ndarray:
        """`function` of the parameters and the rows of X and of others, a chunk at a time, in X's float type."""
        dtype = torch.float32 if X.dtype in (np.float32, np.float16) else torch.float64
        device = find_device(self.device, fall_back=True)
        params = self._params(dtype, device)
        result, first, n_rows = None, 0, _CHUNK_ROWS
        while first < X.shape[0]:
            rows = slice(first, first + n_rows)
            try:
                part = function(params, *(to_tensor(array[rows], dtype, device) for array in (X, *others)))
            except torch.cuda.OutOfMemoryError as error:
                if n_rows == 1:
                    raise MemoryError(
                        f"The memory of {device} is exhausted by a single row of {X.shape[1]} columns and a model of "
                        f"{params.n_hidden} hidden units. Free some, or set device='cpu'."
                    ) from error
                n_rows = n_rows // 2
                continue
            first += n_rows
            if result is None:  # memory of numpy's, which comes in large pages
                result = np.empty((X.shape[0], *part.shape[1:]), str(part.dtype).removeprefix("torch."))
            torch.from_numpy(result[rows]).copy_(part)
        assert result is not None, "validation lets no X without rows through"
        return result


def _are_bits(v: Tensor) -> bool:
    return bool(((v == 0) | (v == 1)).all())


def _as_params(arrays: Any, dtype: torch.dtype, device: torch.device) -> RBMParameters:
    W, b, c = (to_tensor(np.asarray(array), dtype, device) for array in arrays)
    return RBMParameters(W, b, c)


class _Report:
    """Prints how far a long run has come, every few seconds."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._began = prefix, time.perf_counter()
        self._last = self._began

    def __call__(self, n_done: int, n_all: int) -> None:
        now = time.perf_counter()
        if now - self._last > _PROGRESS_SECONDS:
            self._last = now
            print(f"{self._prefix}step {n_done} of {n_all}, {now - self._began:.0f} s")
