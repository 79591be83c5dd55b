"""`DeepBoltzmannMachine`: several layers of hidden units, one above the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import Precision
from skrbm.estimators.base import BaseRBM
from skrbm.estimators.fitted import set_learned
from skrbm.estimators.forms import Form, Numbers
from skrbm.estimators.gaps import SummedOut
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.units import Unit
from skrbm.rows.source import Binarize
from skrbm.support.randomness import Stream
from skrbm.training.coupled import with_layers_above
from skrbm.training.descent import RateScheduleName
from skrbm.training.learned import Learned
from skrbm.training.settings import Algorithm, Criterion, OptimizerName


class DeepBoltzmannMachine(BaseRBM):
    """Deep Boltzmann machine: hidden layers above each other, neighbours of which have weights between their units.

    p(v, h1, h2, …) ∝ exp(h1'W1 v + h2'W2 h1 + … + b'v + c1'h1 + c2'h2 + …) (Salakhutdinov & Hinton 2009). Given the
    even layers, the rows among them, the units of the odd ones are independent, and the other way round: so it is a
    restricted machine between the two, whose even hidden layers no row knows. It is learned as that, with a chain for
    each row, and has all that a restricted machine has: log Z by enumeration, annealing or tempering, samples,
    conditions, gaps. `log_likelihood` sums the odd layers out exactly, and the even ones over their states, or by AIS
    for each row, with its error.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(256, 256)
        Units of the hidden layers, from the first.
    k, algorithm, n_chains, learning_rate, learning_rate_schedule, optimizer, momentum, weight_decay, l1_penalty, \
averaging, balance_modes, batch_size, n_iter, binarize, shuffle, device, precision, early_stopping, \
validation_fraction, n_iter_no_change, tol, checkpoint, checkpoint_every, resume, warm_start, verbose, random_state
        As in `BernoulliRBMTorch`.
    centered : bool or "visible", default=True
        Whether energies are those of units less their means: of all layers, none, or the rows and even ones. It is the
        parametrisation of the gradient alone, which without it shakes all units above a layer at once when that
        layer's mean moves (Montavon & Müller 2012).

    Attributes
    ----------
    components_ : ndarray of shape (n_odd, n_features_in_ + n_even)
        Weights between the units of odd layers, one after another, and columns and the units of even layers; see
        `weights_`.
    intercept_visible_ : ndarray of shape (n_features_in_ + n_even,)
        Biases of columns and even layers.
    intercept_hidden_ : ndarray of shape (n_odd,)
        Biases of odd layers.
    weights_, intercepts_ : list of ndarray
        W1 (n_h1, n_features_in_), W2 (n_h2, n_h1), …, and b, c1, c2, …: the same layer by layer.
    h_samples_, data_samples_, base_rates_, history_, validation_scores_, best_validation_score_, learning_rate_, \
balance_gain_, n_iter_, n_features_in_, feature_names_in_
        As in `BernoulliRBMTorch`.

    Notes
    -----
    `transform` gives the means of the units of the odd layers, then of the even ones. In `fit` even layers take four
    bytes a unit and row.

    References
    ----------
    R. Salakhutdinov, G. Hinton, "Deep Boltzmann machines", AISTATS 2009.
    G. Montavon, K.-R. Müller, "Deep Boltzmann machines and the centering trick", Neural Networks: Tricks of the Trade,
    2012.

    Examples
    --------
    >>> from skrbm import DeepBoltzmannMachine
    >>> from skrbm.datasets import load_digits
    >>> X = load_digits().data
    >>> machine = DeepBoltzmannMachine((32, 8), n_iter=1, random_state=0).fit(X)
    >>> [weights.shape for weights in machine.weights_]
    [(32, 64), (8, 32)]
    >>> machine.transform(X).shape
    (1797, 40)
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 256),
        *,
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
        centered: bool | Literal["visible"] = True,
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
        self.hidden_layer_sizes = hidden_layer_sizes
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
    def n_hidden(self) -> int:
        """Number of units of odd layers."""
        return sum(self.hidden_layer_sizes[::2])

    @property
    def n_latent(self) -> int:
        """Number of units of even layers."""
        return sum(self.hidden_layer_sizes[1::2])

    @property
    def units(self) -> tuple[Unit, Unit]:
        return BERNOULLI, BERNOULLI

    @property
    def form(self) -> Form:
        return Numbers(n_latent=self.n_latent)

    @property
    def weights_(self) -> list[np.ndarray]:
        check_is_fitted(self)
        places = self._places()
        pairs = zip(places[1:], places, strict=False)
        return [
            self.components_[units, below] if i % 2 == 0 else self.components_[below, units].T
            for i, (units, below) in enumerate(pairs)
        ]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        check_is_fitted(self)
        sides = self.intercept_visible_, self.intercept_hidden_
        return [sides[i % 2][units] for i, units in enumerate(self._places())]

    def _places(self) -> list[slice]:
        """Where the units of each layer, the rows' first, are on their side."""
        ends, places = [0, 0], []
        for i, n in enumerate((self.n_features_in_, *self.hidden_layer_sizes)):
            first = ends[i % 2]
            ends[i % 2] = first + n
            places.append(slice(first, first + n))
        return places

    def mean_field_bound(self, X: Any) -> np.ndarray:
        """A lower bound of log p(v) of each row by mean field, in nats, for the same log Z as `log_likelihood`.

        Of rows drawn as bits, or cut, as there. Where it lies far below `log_likelihood`, the units of upper layers
        depend on each other given the row.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame, tensor} of shape (n_samples, n_features), or batches of rows
            Rows, with NaN where a value is missing.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        NotFittedError, ValueError
            As `log_likelihood` does.

        See Also
        --------
        skrbm.likelihood.mean_field_free_energy : What it is made of.

        Examples
        --------
        >>> from skrbm import DeepBoltzmannMachine
        >>> from skrbm.datasets import load_digits
        >>> X = load_digits().data[:100]
        >>> machine = DeepBoltzmannMachine((16, 8), n_iter=2, random_state=0).fit(X)
        >>> bool((machine.mean_field_bound(X) <= machine.log_likelihood(X) + 1e-3).all())
        True
        """
        bound = partial(SummedOut(self.form.coding(self)).mean_field_bound, rule=self.binarize)
        nats = self._over_rows(bound, X, check=False, has_gaps=True)
        return (nats - self._known_log_partition().value).astype(nats.dtype)

    @classmethod
    def from_rbm(cls, rbm: Any, *upper_layer_sizes: int, **params: Any) -> Self:
        """A fitted machine with the distribution of a restricted one and further layers above, to go on from.

        Parameters
        ----------
        rbm : BernoulliRBMTorch
            Fitted; its hidden layer is the first.
        *upper_layer_sizes : int
            Units of the layers above. Their weights are drawn small, their biases 0.
        **params
            Parameters of the class, such as `warm_start=True`.

        Returns
        -------
        DeepBoltzmannMachine

        Raises
        ------
        NotFittedError, ValueError
            If it isn't fitted, or its units aren't bits, or there is no layer above.

        Examples
        --------
        >>> import numpy as np
        >>> from skrbm import BernoulliRBMTorch, DeepBoltzmannMachine
        >>> rbm = BernoulliRBMTorch(n_hidden=4, n_iter=5, random_state=0).fit(np.eye(8))
        >>> machine = DeepBoltzmannMachine.from_rbm(rbm, 2, warm_start=True, n_iter=5, random_state=0).fit(np.eye(8))
        >>> [weights.shape for weights in machine.weights_]
        [(4, 8), (2, 4)]
        """
        check_is_fitted(rbm)
        if rbm.units != (BERNOULLI, BERNOULLI) or not upper_layer_sizes:
            raise ValueError("from_rbm takes a fitted BernoulliRBMTorch, and the sizes of one layer above it or more.")
        model = cls((len(rbm.components_), *upper_layer_sizes), **params)
        machine = with_layers_above(rbm.params_, model.hidden_layer_sizes, _stream_of(model))
        set_learned(model, Learned(machine), model.form.coding_of(machine.n_features))
        model.n_features_in_ = rbm.n_features_in_
        return model


def _stream_of(model: DeepBoltzmannMachine) -> Stream:
    """Randomness of weights of layers above, by the machine's `random_state`."""
    if model.random_state is None:
        return Stream(None, "layers")
    words = check_random_state(model.random_state).randint(0, 2**32, 4, np.uint64)
    return Stream([int(word) for word in words], "layers")
