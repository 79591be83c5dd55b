"""`BernoulliRBMTorch`: a machine of units that are on or off."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import Precision
from skrbm.estimators._compat import set_n_features_out
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.fitted import TENSORS
from skrbm.estimators.forms import Form, Numbers
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.units import Unit
from skrbm.rows.source import Binarize
from skrbm.training.descent import RateScheduleName
from skrbm.training.settings import Algorithm, Criterion, Missing, OptimizerName

if TYPE_CHECKING:  # it imports all metrics and searches
    from sklearn.neural_network import BernoulliRBM

_SHARED_PARAMETERS = ("learning_rate", "batch_size", "n_iter", "verbose", "random_state")  # with scikit-learn's
_SHARED_ATTRIBUTES = (*TENSORS.values(), "n_features_in_", "feature_names_in_")


class BernoulliRBMTorch(BaseRBM):
    """Bernoulli restricted Boltzmann machine (RBM) for scikit-learn, trained on torch.

    An RBM models rows v of zeros and ones by hidden units h that are on or off: p(v, h) ∝ exp(h'Wv + b'v + c'h). It is
    trained without labels, by contrastive divergence (CD-k) or with persistent chains (PCD-k); the
    probabilities P(h = 1 | v) are features for whatever comes after it in a `Pipeline`.

    Start with `n_hidden` and `n_iter`; what else there is has defaults that go by the rows. docs/guide/settings.md has
    what to tune, in which order.

    Parameters
    ----------
    n_hidden : int, default=256
        Number of hidden units. More fit the data better, cost in proportion, and overfit few rows sooner; images of
        28×28 pixels are worth 500 and more.
    k : int or dict, default=1
        Steps of Gibbs sampling an update. With "pcd" 1 is enough as long as the learning rate ends low; 5 to 25 follow
        a distribution with deep modes better and cost as much more. A dict says from which share of the epochs on how
        many, such as `{0: 1, 0.6: 5, 0.9: 25}`; `partial_fit` takes its entry for 0.
    missing : {"marginal", "absent"}, default="marginal"
        What a cell without a value (NaN) is: one that nobody has seen, which is summed out, or one that isn't there, as
        films that somebody hasn't rated. With "absent" each row is a machine over the columns that it has, with a
        partition function of its own (Salakhutdinov, Mnih & Hinton 2007): what it lacks tells nothing, and
        costs nothing. It learns by "cd". Rows without gaps are learned as ever.
    algorithm : {"auto", "pcd", "cd"}, default="auto"
        Where the chains start: where the last update left them (persistent contrastive divergence, Tieleman 2008), or
        at the data (contrastive divergence, Hinton 2002). "pcd" learns the better model, by 20 nats a row on MNIST;
        "cd" is for learning rates that stay so high that persistent chains can't follow. "auto" is "pcd", but "cd" with
        `missing="absent"`.
    n_chains : int, default=100
        Number of persistent chains, whatever the batch size. More give a steadier gradient and a better
        likelihood, and cost as much as that many rows more in a batch; 500 do better where chains hardly cross
        between modes. Only for "pcd".
    learning_rate : float or "auto", default="auto"
        Learning rate, the first one where a schedule lowers it. "auto" takes it from the rows: 0.2 at first (1e-3 for
        "adam", a quarter of that where the rate doesn't fall), less where the rows are wide and strongly correlated or
        batches small; then holds it where an update moves the machine by no more than the chains can follow, and
        damps the leading directions of the rows, see Notes. An epoch that ruins the machine is gone back on, at a
        quarter of the rate. A number is used as it is; one that is too high for the chains brings a warning.
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
        The penalty on the weights is `weight_decay` / 2 · Σ W² a row. "auto" is a precision over the number of rows
        (Gaussian weights, as a Bayesian would say), 0.05 at most: 3, or more for a wide table whose columns have little
        to do with each other; and 1e-4 in `partial_fit`. Raise it, 3 to 10 times, if `score` on held-out rows falls
        while that on training rows rises; fewer epochs do the same.
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
    balance_modes : bool, default=True
        Whether `fit` puts modes into the proportions of the rows in the end, by a shift of the biases, where annealed
        chains tell that they aren't: persistent chains, which hardly cross between deep modes, leave them in wrong
        ones. Takes some hundredths of a fit where nothing is off, and twice its time or more where something is. Only
        for "pcd", after 1,000 updates or more, without `sample_weight` and `sparsity_target`; see
        `skrbm.training.balance` for how.
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
        "cpu", "cuda" (torch's current CUDA device) or "cuda:1" and the like. "auto" is CUDA where there is one, else
        the CPU; also for tiny models, which the CPU may learn faster. Others are refused: Apple's MPS has no float64,
        which sums are taken in, and nobody has tried Intel's XPU. The fitted attributes are numpy arrays on any device,
        and a fitted model whose device is gone works on the CPU.
    precision : {"auto", "float32", "float64", "int8", "bfloat16"}, default="auto"
        Float type of training. With "int8" and "bfloat16" it is float32 but for the matrix products, which are in
        integers of 8 bits or in bfloat16: about twice as fast where the device has units for these, and as good a model
        ("int8" rounds probabilities at random, so that their mean stays, "bfloat16" to the nearest of 8 significant
        bits). They take rows that training sees as zeros and ones; "int8" needs such a processor (AVX-512 VNNI and the
        like), and goes over to float32 where weights get larger than about 6; "bfloat16" works on any device, but is
        slow on GPUs below compute capability 8.0 (Ampere), with a warning. "auto" is "int8" on such a processor and
        "bfloat16" on such a GPU, where torch sums its products in float32, for models of more than some 100,000 weights
        without `sample_weight`, and else "float32". The other methods compute in X's own float type. In float32 on a
        GPU, products are in TF32, of 11 significant bits, if torch has been told so
        (`torch.set_float32_matmul_precision`); by default they aren't.
    store_trajectory : bool, default=False
        Whether `fit` keeps averaged machines on the way of training, as many as trajectory tempering needs for rungs:
        some tens for MNIST, each as large as the model. `partial_fit` keeps none.
    early_stopping : bool or {"pseudo_log_likelihood", "log_likelihood"}, default=False
        Whether `fit` holds out some rows, or takes those that it is given as `X_val`, stops when their mean
        pseudo-log-likelihood (True), or log-likelihood, no longer improves, and keeps the parameters of the best epoch.
        The latter takes a short AIS each epoch, where log Z can't be enumerated. With the schedule "linear" the end of
        training is often the best, and this a safeguard.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out where there is no `X_val`; of these, 1,000 at most are looked
        at.
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
        threads, to the very bits that it would have ended with had it never been interrupted. The rows, those of
        `X_val` among them, and the parameters have to be the same. Of a training that was over, the result is what the
        file has.
    warm_start : bool, default=False
        Whether `fit` goes on from the parameters and chains that are there, instead of starting anew.
    verbose : int, default=0
        1 prints a line an epoch, and shows how far `log_partition`, `sample`, `complete` and `diagnose` have come: as a
        bar where rich is installed (the extra `progress`), else by a line now and then.
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
        starts from. Delete it before you give the model away if the rows are private. There are none where cells are
        absent.
    base_rates_ : ndarray of shape (n_features_in_,)
        Mean of the training rows of the last call to `fit` or `partial_fit`, shrunk towards a half: the machine without
        weights that estimates of log Z start from. May be assigned to.
    trajectory_ : list of tuple
        Weights, visible and hidden bias of each machine kept on the way, in their order, with `store_trajectory`.
    history_ : dict of ndarray of shape (n_epochs,)
        What training was like, epoch by epoch: `epoch` (counted on by `warm_start` and `partial_fit`), `learning_rate`,
        `k`, `step_divergence` (nats that an update moves the machine by), `seconds`, `retreats` (how often the epoch
        was begun again at a lower rate), and the measures of `skrbm.training.Measures`: `loss`, `reconstruction_error`,
        `pseudo_log_likelihood`, free energies and their gap, norms, dead and saturated units.
        `pandas.DataFrame(rbm.history_)` makes a table of it.
    validation_scores_ : list of float
        What early stopping judged each epoch by, if it is set.
    best_validation_score_ : float
        The highest of them.
    learning_rate_ : float
        The rate that the schedule started from; with `learning_rate="auto"`, what it would have to start from to come
        to the rates of the last epoch. `history_["learning_rate"]` has the rate of each epoch.
    balance_gain_ : float
        Nats a row by which `balance_modes` has made the training rows more likely, as far as annealing can tell; 0
        where they are left as they were.
    n_iter_ : int
        Number of epochs.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.

    Notes
    -----
    What limits the rate is that persistent chains lag behind the machine. By how much an update moves it is seen on the
    chains themselves: D = ½ Var(F_after(v) - F_before(v)) is the Kullback-Leibler divergence of the two machines to
    second order, in nats. `learning_rate="auto"` holds D near `n_hidden` / 16 times the square of what the schedule
    leaves of the rate, looking at one update in twenty. And it multiplies the gradient of the weights by
    U diag(1/λ) U' along the leading eigenvectors U of the rows' covariance, those of variance λ > 1: the others could
    not be learned at a rate that these allow (Amari 1998; Grosse & Salakhutdinov 2015).

    See Also
    --------
    sklearn.neural_network.BernoulliRBM : scikit-learn's own; `from_sklearn` and `to_sklearn` convert.

    References
    ----------
    G. Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.

    T. Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.

    S. Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.

    R. Grosse, R. Salakhutdinov, "Scaling up natural gradient by sparsely factorizing the inverse Fisher matrix", ICML
    2015.

    R. Salakhutdinov, A. Mnih, G. Hinton, "Restricted Boltzmann machines for collaborative filtering", ICML 2007.

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
        binarize: Binarize = "sample",
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

    @property
    def units(self) -> tuple[Unit, Unit]:
        return BERNOULLI, BERNOULLI

    @property
    def form(self) -> Form:
        return Numbers()

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
        from sklearn.neural_network import BernoulliRBM

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
        from sklearn.neural_network import BernoulliRBM

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
            set_n_features_out(rbm, self.n_hidden)
        return rbm
