"""The scikit-learn face: `BernoulliRBMTorch`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags

from skrbm.backends.products import has_int8
from skrbm.distributed import current_group
from skrbm.estimators._compat import CallbackSupportMixin, EpochTasks, check_sample_weight, epoch_tasks, register_scorer
from skrbm.estimators.base import InferenceMixin
from skrbm.estimators.checkpoints import CheckpointMixin
from skrbm.estimators.parameters import check_parameters
from skrbm.machines.restricted import RBMParameters, initial_parameters, log_odds, mean_h_given_v
from skrbm.rows.arrays import ArrayRows, RowSource, binarize_rows, to_tensor
from skrbm.rows.reading import DataRangeWarning, first_of, is_stream, range_of, source_type, warn_if_out_of_range
from skrbm.sampling.kernels import GIBBS, GibbsState, gibbs_init, gibbs_step, steps
from skrbm.support.checks import find_device, from_torch, to_numpy
from skrbm.support.files import remove_leftovers
from skrbm.support.randomness import Stream
from skrbm.training.fit import Run
from skrbm.training.measures import EarlyStopping, HeldOut, measure, validation_score
from skrbm.training.trajectory import Trajectory
from skrbm.training.update import (
    EpochRecord,
    ProductsName,
    Streams,
    TrainSettings,
    TrainState,
    carried_state,
    epochs,
    resume_,
    start,
)

__all__ = ["BernoulliRBMTorch", "DataRangeWarning", "log_likelihood_scorer"]

_MIN_NARROW = 1 << 17  # weights from which on "auto" takes products in fewer bits
_OF_AN_EPOCH = ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_", "_carried")
_SHARED_PARAMETERS = ("learning_rate", "batch_size", "n_iter", "verbose", "random_state")
_SHARED_ATTRIBUTES = (
    "components_",
    "intercept_visible_",
    "intercept_hidden_",
    "n_features_in_",
    "feature_names_in_",
)
_KEPT_ROWS = 100  # training rows kept for sample(init="data")
_PRIOR_PRECISION, _MOST_DECAY = 3.0, 2e-3  # of the weights, what weight_decay="auto" means
_DECAY_WITHOUT_END = 1e-4  # what it means where the number of rows isn't known
_TRAJECTORY_CHAINS = 100  # that tell how far apart two checkpoints are
_WATCHED_ROWS = 1000  # training rows, and held-out rows, that are measured after each epoch
_SETTLING_STEPS = 100  # of the chains, under weights that weren't those they were left by


class BernoulliRBMTorch(CheckpointMixin, InferenceMixin, CallbackSupportMixin, BaseEstimator):
    """Bernoulli restricted Boltzmann machine (RBM) for scikit-learn, trained on torch.

    An RBM models rows v of zeros and ones by hidden units h that are on or off: p(v, h) ∝ exp(h'Wv + b'v + c'h). It is
    trained without labels, by contrastive divergence (CD-k) or with persistent chains (PCD-k); the
    probabilities P(h = 1 | v) are features for whatever comes after it in a `Pipeline`.

    Parameters
    ----------
    n_hidden : int, default=256
        Number of hidden units. More fit the data better, cost in proportion, and overfit few rows sooner; images of
        28×28 pixels are worth 500 and more.
    k : int or dict, default=1
        Steps of Gibbs sampling an update. With "pcd" 1 is enough as long as the learning rate ends low; 5 to 25 follow
        a distribution with deep modes better and cost as much more. A dict says from which share of the epochs on how
        many, such as `{0: 1, 0.6: 5, 0.9: 25}`; `partial_fit` takes its entry for 0.
    algorithm : {"pcd", "cd"}, default="pcd"
        Where the chains start: where the last update left them (persistent contrastive divergence, Tieleman 2008), or
        at the data (contrastive divergence, Hinton 2002). "pcd" learns the better model, by 20 nats a row on MNIST;
        "cd" is for learning rates that stay so high that persistent chains can't follow.
    n_chains : int, default=100
        Number of persistent chains, whatever the batch size. More give a steadier gradient and a better
        likelihood, and cost as much as that many rows more in a batch. Only for "pcd".
    learning_rate : float, default=0.2
        Learning rate, the first one where a schedule lowers it. The default fits `fit` with `optimizer="sgd"`; lower it
        for `partial_fit`, whose rate stays, for "adam" (1e-3), and whenever units get stuck or the
        pseudo-likelihood falls.
    learning_rate_schedule : {"linear", "constant", "cosine", "exponential"} or callable, default="linear"
        How the rate moves from epoch to epoch of `fit`: down in equal steps to `learning_rate / n_iter` in the last,
        not at all, along half a cosine, or by equal factors to about a hundredth. Or a picklable factory that takes the
        optimiser and returns a scheduler stepped once an epoch, such as
        `functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)`.
    optimizer : {"sgd", "nesterov", "adam"} or callable, default="sgd"
        "nesterov" is "sgd" with Nesterov's momentum. Or a picklable factory, called with the tensors and
        `lr=learning_rate`, such as `torch.optim.RMSprop`. Where the gradient is centred, so is what is optimised.
    momentum : float, default=0.0
        Momentum of "sgd" and "nesterov". With 0.5 the same learning rate moves twice as far.
    weight_decay : float or "auto", default="auto"
        The penalty on the weights is `weight_decay` / 2 · Σ W² a row. "auto" is 3 over the number of rows (Gaussian
        weights of variance 1/3, as a Bayesian would say), 2e-3 at most, and 1e-4 in `partial_fit`. Raise it, 3 to 10
        times, if `score` on held-out rows falls while that on training rows rises; fewer epochs do the same.
    l1_penalty : float, default=0.0
        The penalty `l1_penalty` · Σ |W| a row, for fewer large weights: 1e-4 to 1e-3. Much more keeps all weights at 0.
    sparsity_target : float, optional
        What share of the rows a hidden unit shall be on in: a penalty of `sparsity_cost` times the Kullback-Leibler
        divergence pulls it there (Hinton 2010, section 11). Units become easier to read; a target of 0.1 costs 1.4 nats
        on MNIST and leaves a classifier's error where it was.
    sparsity_cost : float, default=0.1
        See `sparsity_target`.
    averaging : float, default=0.2
        The fitted model is the mean of the parameters over about this last share of training, which is worth 3.8
        nats on MNIST after 50 epochs: persistent chains make the weights swing around it. 0 takes the last parameters
        as they are. `partial_fit` doesn't average.
    centered : bool or "visible", default="visible"
        Whether the gradient is centred (Melchior, Fischer & Wiskott 2016). True centres both layers; "visible" the
        visible one alone, which leaves hidden units sparser and a classifier better off. With either, learning
        doesn't depend on whether pixels or their opposites are on, as it does with False.
    batch_size : int or "auto", default="auto"
        Rows in an update. "auto" is a hundredth of the rows, but at least 10 and at most 100. Set a number for
        `partial_fit`, which knows only the rows of one call.
    n_iter : int, default=100
        Number of epochs. With the schedule "linear", more of them end in a better model as long as it doesn't overfit.
    binarize : {"sample", "none"} or float, default="sample"
        What training makes of values between 0 and 1: fresh draws of zeros and ones in every epoch, nothing, or ones
        where they exceed a threshold. Zeros and ones stay as they are in any case. The other methods take values
        as they are.
    shuffle : bool, default=True
        Whether each epoch has an order of its own.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU. The fitted attributes are numpy arrays on any device, and a
        fitted model whose device is gone works on the CPU.
    precision : {"auto", "float32", "float64", "int8", "bfloat16"}, default="auto"
        Float type of training. With "int8" and "bfloat16" it is float32 but for the matrix products, which are in
        integers of 8 bits or in bfloat16: about twice as fast where the device has units for these, and as good a
        model. They take rows that training sees as zeros and ones; "int8" needs such a processor (AVX-512 VNNI and the
        like), and goes over to float32 where weights get larger than about 6. "auto" is "int8" on such a processor and
        "bfloat16" with CUDA, for models of more than some 100,000 weights without `sample_weight`, and else "float32".
        The other methods compute in X's own float type.
    store_trajectory : bool, default=False
        Whether `fit` keeps averaged checkpoints of training, as many as trajectory tempering needs for rungs: some tens
        for MNIST, each as large as the model. `partial_fit` keeps none.
    early_stopping : bool or {"pseudo_log_likelihood", "log_likelihood"}, default=False
        Whether `fit` holds out some rows, stops when their mean pseudo-log-likelihood (True), or log-likelihood, no
        longer improves, and keeps the parameters of the best epoch. The latter takes a short AIS each epoch, where
        log Z can't be enumerated. With the schedule "linear" the end of training is often the best, and this a
        safeguard.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out; of these, 1,000 at most are looked at.
    n_iter_no_change : int, default=10
        Training stops after more than so many epochs in a row without improvement.
    tol : float, default=1e-4
        What counts as an improvement, in nats a row.
    checkpoint : str or path-like, optional
        A file where `fit` stores, after an epoch, all that learning needs to go on; it is whole at any moment, whatever
        happens to the process, and loading it runs no code. `partial_fit` stores nothing.
    checkpoint_every : int, default=1
        Epochs from one time to the next; the last one is always stored.
    resume : bool, default=False
        Whether `fit` goes on from the file `checkpoint`, if there is one: on the same kind of processor with as many
        threads, to the very bits that it would have ended with had it never been interrupted. The rows and the
        parameters have to be the same. Of a training that was over, the result is what the file has.
    warm_start : bool, default=False
        Whether `fit` goes on from the parameters and chains that are there, instead of starting anew.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState instance or None, default=None
        An int gives the same result on the same machine each time.

    Attributes
    ----------
    components_ : ndarray of shape (n_hidden, n_features_in_)
        Weights W. This and the next two may be assigned to, and take effect at once.
    intercept_visible_ : ndarray of shape (n_features_in_,)
        Visible bias b.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden bias c.
    h_samples_ : ndarray of shape (n_chains, n_hidden)
        Hidden states of the chains, which have run on under the averaged weights; for "cd", those of the last batch.
    data_samples_ : ndarray of shape (min(n_samples, 100), n_features_in_)
        Training rows of the last call to `fit` or `partial_fit`, drawn without repetition, that `sample(init="data")`
        starts from. Delete it before you give the model away if the rows are private.
    base_rates_ : ndarray of shape (n_features_in_,)
        Mean of the training rows of the last call to `fit` or `partial_fit`, shrunk towards a half: the machine without
        weights that estimates of log Z start from. May be assigned to.
    trajectory_ : list of tuple
        Weights, visible and hidden bias of each checkpoint of `fit`, in their order, if `store_trajectory` is set.
    history_ : dict of ndarray of shape (n_epochs,)
        What training was like, epoch by epoch: `epoch`, `learning_rate`, `k`, `seconds`, and the measures of
        `skrbm.training.measures.Measures`: `loss`, `reconstruction_error`, `pseudo_log_likelihood`, free energies and their gap,
        norms, dead and saturated units. `pandas.DataFrame(rbm.history_)` makes a table of it.
    validation_scores_ : list of float
        What early stopping judged each epoch by, if it is set.
    best_validation_score_ : float
        The highest of them.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    sklearn.neural_network.BernoulliRBM : scikit-learn's own; `from_sklearn` and `to_sklearn` convert.

    References
    ----------
    G. Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.

    T. Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.

    J. Melchior, A. Fischer, L. Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import Pipeline
    >>> from skrbm import BernoulliRBMTorch
    >>> X, y = load_digits(return_X_y=True)
    >>> model = Pipeline([
    ...     ("rbm", BernoulliRBMTorch(n_hidden=100, n_iter=10, random_state=0)),
    ...     ("clf", LogisticRegression(C=100, max_iter=5000)),
    ... ]).fit(X[:1500] / 16, y[:1500])
    >>> model.score(X[1500:] / 16, y[1500:]) > 0.85
    True
    """

    def __init__(
        self,
        n_hidden: int = 256,
        *,
        k: int | Mapping[float, int] = 1,
        algorithm: str = "pcd",
        n_chains: int = 100,
        learning_rate: float = 0.2,
        learning_rate_schedule: str | Callable[..., Any] = "linear",
        optimizer: str | Callable[..., Any] = "sgd",
        momentum: float = 0.0,
        weight_decay: float | str = "auto",
        l1_penalty: float = 0.0,
        sparsity_target: float | None = None,
        sparsity_cost: float = 0.1,
        averaging: float = 0.2,
        centered: bool | str = "visible",
        batch_size: int | str = "auto",
        n_iter: int = 100,
        binarize: str | float = "sample",
        shuffle: bool = True,
        device: Any = "auto",
        precision: str = "auto",
        store_trajectory: bool = False,
        early_stopping: bool | str = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        checkpoint: Any = None,
        checkpoint_every: int = 1,
        resume: bool = False,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_hidden = n_hidden
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
        self.centered = centered
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.binarize = binarize
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

    # -- learning --------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from X. With scikit-learn 1.9 or newer `set_callbacks` sets what is told of each epoch.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows with values in [0, 1], the probabilities of a one. A sparse matrix becomes dense a batch at a time; of
            a `numpy.memmap` no more than a batch is in memory. Or what yields batches of rows, or pairs (rows, labels),
            each time it is iterated over, such as a torch `DataLoader`; or a torch `Dataset` of rows. These are gone
            through once more, before the first epoch. Batches larger than `batch_size` are split.
        y : Ignored
            Present for scikit-learn's conventions.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, >= 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data is not as described.
        FloatingPointError
            If the parameters stop being finite.
        MemoryError
            If the memory of a GPU is exhausted; the message says what to lower.

        After any error a model that was fitted before is as it was.

        Warns
        -----
        DataRangeWarning
            If values of X lie outside [0, 1].
        ConvergenceWarning
            If nearly all hidden units end up always on or always off.

        Notes
        -----
        Ctrl-C ends learning early and keeps the model of the last finished epoch, with a warning. Within
        `skrbm.distributed.process_group()` several processes learn one machine, each from its own rows.
        """
        settings, dtype, device = self._settings()
        if isinstance(X, Iterator) and self.n_iter > 1:
            raise ValueError(
                f"X is an iterator ({type(X).__name__}), which ends after the first of n_iter={self.n_iter} epochs. "
                "Pass what can be iterated over again, such as a DataLoader, or give it to partial_fit."
            )
        with epoch_tasks(self, self.n_iter, X, y, sample_weight) as tasks, self._unchanged_on_error():
            reuse = self.warm_start and hasattr(self, "components_")
            group = current_group()
            self._check_same_parameters(group)
            saved = group.of_first(self._read_archive() if group.rank == 0 else None)
            seed = group.of_first(self._seed()) if saved is None else saved["seed"]
            source, held_out = self._source(X, sample_weight, dtype, device, reset=not reuse, split=group.seed(seed))
            n_rows = group.total(source.n_rows)
            if self.checkpoint is not None and group.rank == 0:
                remove_leftovers(self.checkpoint)
            if self.weight_decay == "auto":
                settings = replace(settings, weight_decay=min(_PRIOR_PRECISION / n_rows, _MOST_DECAY))
            state = self._begin(settings, source, seed, reuse=reuse, n_epochs=self.n_iter)
            start = state.streams.start.state()
            if saved is not None:
                self._check_same_rows(saved, n_rows, group)
                own = saved["ranks"][group.rank]
                start = own["start"]
                state.streams.start.set_state(start)
            trajectory = self._trajectory(state) if self.store_trajectory else None
            run = self._run(state, source, self.n_iter, held_out, trajectory)
            if saved is not None:
                run.restore_(saved["run"], own)
                self.__dict__.update(saved["fitted"], n_iter_=state.n_epochs, **self._parameters(state))
                self._carried = carried_state(state)
            self._train(run, source, tasks, {"seed": seed, "start": start, "n_rows": n_rows})
            self._warn_if_stuck()
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from one pass over X, in mini-batches, at the constant rate `learning_rate`.

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
        settings, dtype, device = self._settings()
        if self.early_stopping:
            raise ValueError(
                f"partial_fit does not support early_stopping={self.early_stopping!r}, as it can't tell what comes "
                "next. Set early_stopping=False, or use fit."
            )
        with self._unchanged_on_error():
            reuse = hasattr(self, "components_")
            source, _ = self._source(X, sample_weight, dtype, device, reset=not reuse)
            state = self._begin(settings, source, current_group().of_first(self._seed()), reuse=reuse, n_epochs=None)
            if reuse and hasattr(self, "_carried"):
                resume_(state, self._carried)
            self._train(self._run(state, source, 1), source, EpochTasks())
        return self

    def _begin(
        self, settings: TrainSettings, source: RowSource, seed: list[int], *, reuse: bool, n_epochs: int | None
    ) -> TrainState:
        """A state of training: new, or with the parameters and the chains that the model has."""
        group = current_group()
        streams = Streams.from_seed(seed, group.seed(seed))
        mean_v = group.mean(source.mean(settings.binarize), source.total_weight)
        smoothing = 1.0 / group.total(source.n_rows)
        if settings.binarize == "sample" and source.is_binary:  # a draw would change nothing
            settings = replace(settings, binarize="none")
        settings = replace(settings, products=self._products(source, settings.binarize, mean_v.device))
        chains = None
        if reuse:
            params = self._params(mean_v.dtype, mean_v.device)
            if params.n_hidden != self.n_hidden:
                raise ValueError(
                    f"n_hidden={self.n_hidden}, but the fitted model has {params.n_hidden} hidden units. To go on with "
                    f"it set n_hidden={params.n_hidden}; to start anew call fit with warm_start=False."
                )
            h = np.asarray(getattr(self, "h_samples_", ()))
            if h.shape == (self.n_chains, self.n_hidden):
                chains = GibbsState(to_tensor(h, mean_v.dtype, mean_v.device).clone())
        else:
            params = initial_parameters(mean_v, self.n_hidden, streams.start, smoothing=smoothing)
            self._sampling = Stream(seed, "sampling")
            for name in ("trajectory_", "history_", "validation_scores_", "best_validation_score_"):
                self.__dict__.pop(name, None)
        self.data_samples_ = to_numpy(source.some(_KEPT_ROWS, streams.start))
        self.base_rates_ = to_numpy(log_odds(mean_v.double(), smoothing).sigmoid())
        return start(params, mean_v, settings, streams, chains=chains, n_epochs=n_epochs)

    def _products(self, source: RowSource, binarize: str | float, device: torch.device) -> ProductsName:
        """What `precision` means for these rows and this device."""
        bits, precision = binarize != "none" or source.is_binary, self.precision
        if precision == "auto":
            large = self.n_hidden * source.n_features >= _MIN_NARROW and not source.is_weighted
            if bits and large and device.type == "cuda":
                return "bfloat16"
            return "int8" if bits and large and has_int8(device) else "float"
        if precision in ("float32", "float64"):
            return "float"
        if not bits:
            raise ValueError(
                f"precision={precision!r} takes zeros and ones, but X has other values and binarize='none' keeps them. "
                "Choose precision='float32', or let binarize draw or cut them."
            )
        if precision == "int8" and not has_int8(device):
            raise ValueError(f"precision='int8': {device} has no units for it, or torch no product. Choose 'auto'.")
        return "int8" if precision == "int8" else "bfloat16"

    def _run(
        self,
        state: TrainState,
        source: RowSource,
        n_epochs: int,
        held_out: HeldOut | None = None,
        trajectory: Trajectory | None = None,
    ) -> Run:
        """A fit that is about to begin."""
        stream = state.streams.start.spawn("monitor")
        watched = binarize_rows(source.some(_WATCHED_ROWS, stream), self.binarize, stream)
        stopping = EarlyStopping(self.tol, self.n_iter_no_change)
        return Run(state, n_epochs, watched, stream, stopping, held_out, trajectory)

    def _train(self, run: Run, source: RowSource, tasks: EpochTasks, to_store: dict[str, Any] | None = None) -> None:
        """Train, and set the fitted attributes after each epoch, in the end to those of the best where there is one.

        With `to_store` checkpoints are written, and have it.
        """
        state, trajectory, group = run.state, run.trajectory, current_group()
        n_batches = group.least(source.n_batches) if group.size > 1 else None
        if n_batches is not None and n_batches < 0.9 * source.n_batches:
            warnings.warn(
                f"Rank {group.rank} has rows for {source.n_batches} batches, another for {n_batches} only, which is "
                "how long an epoch is. Give all ranks about as many rows.",
                UserWarning,
                stacklevel=3,
            )
        # Of arrays in batches of one size, all have as many rows but in the last batch.
        kinds = group.gather_everywhere(isinstance(source, ArrayRows) and not source.is_weighted and source.batch_size)
        mean_ = group.mean_ if kinds[0] and len(set(kinds)) == 1 else None
        n_left = run.n_epochs - run.n_finished
        training = epochs(state, source, n_left, group.reduce, trajectory, n_batches, mean_)
        tasks.skip(run.n_finished)
        stop = run.held_out is not None and run.stopping.is_over
        try:
            while run.n_finished < run.n_epochs and not stop:
                tasks.begin_epoch(lambda: self._parameters(state))
                before = state.model.clone()
                learned = self._learned(run, next(training), before)
                self.__dict__.update(learned)  # at once, so that Ctrl-C finds either the epoch before or this one
                run.n_finished += 1
                if self.verbose:
                    self._print_epoch(run.n_finished, run.n_epochs)
                is_last = run.stopping.is_over or run.n_finished == run.n_epochs
                due = is_last or run.n_finished % self.checkpoint_every == 0
                if due:
                    self._write_archive(run, to_store)
                stop = group.least(not tasks.end_epoch(learned)) == 0 or run.stopping.is_over
                if stop and not due:
                    self._write_archive(run, to_store)
            if trajectory is not None:
                trajectory.settle_(state.model)
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(
                f"The memory of {state.params.W.device} is exhausted by a training with n_hidden={self.n_hidden}, "
                f"n_chains={self.n_chains} and batches of {source.batch_size} rows. Lower one of these, or set "
                "device='cpu'."
            ) from error
        except KeyboardInterrupt:
            if not run.n_finished:
                raise
            warnings.warn(
                f"Training was interrupted after epoch {run.n_finished} of {run.n_epochs}; the model is "
                f"{'that of this epoch' if run.best is None else 'the best until then'}.",
                UserWarning,
                stacklevel=3,
            )
        if run.best is not None:
            self.__dict__.update(run.best)
        if trajectory is not None:
            self.trajectory_ = [_arrays(params) for params in trajectory.kept]
        if state.settings.algorithm == "pcd" and (state.average is not None or run.best is not None):
            self._settle_chains(state)
        tasks.end({name: getattr(self, name) for name in _OF_AN_EPOCH})

    def _learned(self, run: Run, record: EpochRecord, before: RBMParameters) -> dict[str, Any]:
        """The fitted attributes after an epoch; `before` is the model before it."""
        state = run.state
        h = state.chains.h.to(state.params.W.dtype)
        measures = measure(state.model, before, h, run.watched, run.held_out, run.stream)
        values = {**record._asdict(), **measures._asdict()}
        past = getattr(self, "history_", {name: np.array([], np.array(value).dtype) for name, value in values.items()})
        learned = self._parameters(state) | {"_carried": carried_state(state)}
        if run.held_out is not None:
            score = measures.pseudo_log_likelihood
            if self.early_stopping == "log_likelihood":
                base_b = self._base_b(state.params.W.dtype, state.params.W.device)
                score = validation_score(state.model, run.held_out, "log_likelihood", base_b, run.stream)
            score = float(current_group().mean(torch.tensor(score, dtype=torch.float64)))
            if run.stopping.is_best(score):
                run.best = learned.copy()
            learned["validation_scores_"] = [*run.stopping.scores]
            learned["best_validation_score_"] = run.stopping.best
        learned["history_"] = {name: np.append(past[name], value) for name, value in values.items()}
        learned["n_iter_"] = state.n_epochs
        return learned

    def _print_epoch(self, n_finished: int, n_epochs: int) -> None:
        last = {name: values[-1] for name, values in self.history_.items()}
        held_out = "" if math.isnan(last["free_energy_gap"]) else " held out"
        print(
            f"[{type(self).__name__}] epoch {n_finished}/{n_epochs}, learning rate {last['learning_rate']:.3g}, "
            f"pseudo-log-likelihood{held_out} {last['pseudo_log_likelihood']:.2f} nats a row, {last['seconds']:.2f} s"
        )

    @staticmethod
    def _parameters(state: TrainState) -> dict[str, Any]:
        W, b, c = _arrays(state.model)
        h = to_numpy(state.chains.h.to(state.params.W.dtype))
        return {"components_": W, "intercept_visible_": b, "intercept_hidden_": c, "h_samples_": h}

    def _settle_chains(self, state: TrainState) -> None:
        """Let the chains run on under the weights that are kept."""
        dtype, device = state.params.W.dtype, state.params.W.device
        params, chains = self._params(dtype, device), GibbsState(to_tensor(self.h_samples_, dtype, device))
        for _ in range(_SETTLING_STEPS):
            chains, _ = gibbs_step(params, chains, state.streams.chains)
        self.h_samples_ = to_numpy(chains.h)

    def _trajectory(self, state: TrainState) -> Trajectory:
        """What keeps checkpoints, after those that the model has."""
        dtype, device = state.params.W.dtype, state.params.W.device
        params, stream = state.params, state.streams.start.spawn("trajectory")
        kept = self._checkpoints(dtype, device) or []
        first = replace(
            params, W=torch.zeros_like(params.W), b=self._base_b(dtype, device), c=torch.zeros_like(params.c)
        )
        v = stream.bernoulli_logits(first.b.expand(_TRAJECTORY_CHAINS, -1))
        if kept:
            first = kept[-1]
            for _, info in steps(GIBBS, first, gibbs_init(first, v, stream), 100, stream):
                v = info.v
        return Trajectory(first, v, stream, kept=kept)

    def _warn_if_stuck(self) -> None:
        mean_h = self._map(mean_h_given_v, self.data_samples_)  # (n_kept, n_hidden)
        off, on = (mean_h.max(0) < 0.01).mean(), (mean_h.min(0) > 0.99).mean()
        if off + on > 0.9:
            warnings.warn(
                f"{off:.0%} of the hidden units are off and {on:.0%} are on in every row: the model has learned next "
                f"to nothing. Lower the learning rate (learning_rate={self.learning_rate!r}).",
                ConvergenceWarning,
                stacklevel=3,
            )

    @contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put all attributes back if what happens inside fails. (Fitted arrays are replaced, never written into.)"""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    # -- to and from scikit-learn ----------------------------------------------------------------------------------

    @classmethod
    def from_sklearn(cls, rbm: BernoulliRBM) -> Self:
        """The same machine as a `sklearn.neural_network.BernoulliRBM`, fitted if that is.

        Parameters
        ----------
        rbm : BernoulliRBM
            Its size, batch size, number of epochs, learning rate, verbosity and random state are taken over; all else
            is at its default.

        Returns
        -------
        BernoulliRBMTorch
        """
        if not isinstance(rbm, BernoulliRBM):
            raise TypeError(f"rbm must be a sklearn.neural_network.BernoulliRBM, got {type(rbm).__name__}.")
        new = cls(n_hidden=rbm.n_components, **{name: getattr(rbm, name) for name in _SHARED_PARAMETERS})
        for name in (*_SHARED_ATTRIBUTES, "h_samples_"):
            if hasattr(rbm, name):
                setattr(new, name, np.copy(value) if isinstance(value := getattr(rbm, name), np.ndarray) else value)
        return new

    def to_sklearn(self) -> BernoulliRBM:
        """This machine as a `sklearn.neural_network.BernoulliRBM`, fitted if this is.

        Returns
        -------
        BernoulliRBM
            With as many of the chains as its batch has rows, repeated if there are fewer.
        """
        parameters = {name: getattr(self, name) for name in _SHARED_PARAMETERS}
        if self.batch_size == "auto":
            del parameters["batch_size"]
        rbm = BernoulliRBM(n_components=self.n_hidden, **parameters)
        for name in _SHARED_ATTRIBUTES:
            if hasattr(self, name):
                setattr(rbm, name, np.copy(value) if isinstance(value := getattr(self, name), np.ndarray) else value)
        if hasattr(self, "h_samples_"):
            rbm.h_samples_ = np.resize(self.h_samples_, (rbm.batch_size, self.n_hidden))
        if hasattr(self, "components_"):
            rbm._n_features_out = self.n_hidden
        return rbm

    # -- validation and plumbing -------------------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return np.shape(self.components_)[0]

    def _settings(self) -> tuple[TrainSettings, torch.dtype, torch.device]:
        """Check all parameters, and put them into the core's words."""
        check_parameters(self)
        values = {name: getattr(self, name) for name in TrainSettings.__dataclass_fields__ if hasattr(self, name)}
        if self.weight_decay == "auto":
            values["weight_decay"] = _DECAY_WITHOUT_END
        settings = TrainSettings(**values)
        dtype = torch.float64 if self.precision == "float64" else torch.float32
        return settings, dtype, find_device(self.device)

    def _source(
        self,
        X: Any,
        sample_weight: Any,
        dtype: torch.dtype,
        device: torch.device,
        *,
        reset: bool,
        split: list[int] | None = None,
    ) -> tuple[RowSource, HeldOut | None]:
        """X as a source of rows, and with the seed `split` some of it held out for early stopping."""
        if is_stream(X):
            return self._streamed_source(X, sample_weight, dtype, device, reset=reset), None
        X = self._rows(X, reset=reset)
        weight = None if sample_weight is None else check_sample_weight(from_torch(sample_weight), X)
        warn_if_out_of_range(*range_of(X), stacklevel=3)
        rows, held_out = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight), None
        stream = Stream(split, "validation") if split is not None and self.early_stopping else None
        if stream is not None:
            seed = int(stream.integers(2**32, ()))
            rows, others = train_test_split(rows, test_size=self.validation_fraction, random_state=seed)
        batch_size, rows = self._rows_in_batch(len(rows)), np.sort(rows)
        source = ArrayRows(
            X, weight, batch_size=batch_size, shuffle=self.shuffle, dtype=dtype, device=device, rows=rows
        )
        if stream is not None:
            v, weights = source.take(np.sort(others[:_WATCHED_ROWS]))
            held_out = HeldOut(binarize_rows(v, self.binarize, stream), weights)
        return source, held_out

    def _streamed_source(
        self, X: Any, sample_weight: Any, dtype: torch.dtype, device: torch.device, *, reset: bool
    ) -> RowSource:
        """X, which yields batches, as a source of rows."""
        for name, value in (("sample_weight", sample_weight), ("early_stopping", self.early_stopping or None)):
            if value is not None:
                raise ValueError(
                    f"{name} needs rows that can be chosen from, but X ({type(X).__name__}) yields them in passing. "
                    "Pass an array, which may lie in a file (numpy.memmap), or do without it."
                )

        def check(batch: Any) -> Any:
            nonlocal reset
            rows, reset = self._rows(first_of(batch), reset=reset), False
            return rows

        source = source_type(X)(
            X,
            check,
            rule=self.binarize,
            shuffle=self.shuffle,
            dtype=dtype,
            device=device,
            stream=Stream(0, "rows that are kept"),
        )
        source.batch_size = self._rows_in_batch(source.n_rows)
        warn_if_out_of_range(source.low, source.high, source.is_whole, stacklevel=4)
        return source

    def _rows_in_batch(self, n_rows: int) -> int:
        return min(max(n_rows // 100, 10), 100) if isinstance(self.batch_size, str) else self.batch_size


def log_likelihood_scorer(estimator: Any, X: Any, y: Any = None) -> float:
    """Mean log-likelihood of the rows, in nats: what `scoring="log_likelihood"` stands for.

    Parameters
    ----------
    estimator : BernoulliRBMTorch or Pipeline
        A fitted model, or a pipeline that ends in one.
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Rows.
    y : Ignored
        Present for scikit-learn's conventions.

    Returns
    -------
    float
    """
    if isinstance(estimator, Pipeline):
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    if not hasattr(estimator, "log_likelihood"):
        raise TypeError(f"scoring='log_likelihood' needs a BernoulliRBMTorch, got {type(estimator).__name__}.")
    return float(estimator.log_likelihood(X).mean(dtype=np.float64))


register_scorer("log_likelihood", log_likelihood_scorer)


def _arrays(params: RBMParameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return to_numpy(params.W), to_numpy(params.b), to_numpy(params.c)
