"""How to train: plain data, final before the first update; and what it says of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, get_args

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from skrbm.backends.choose import choose_precision
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.units import Unit
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Binarize
from skrbm.support.compiled import is_compiled
from skrbm.support.tensors import Placement
from skrbm.training.descent import SGD, NamedSchedule, RateScheduleName
from skrbm.training.pace import Pace
from skrbm.training.spectrum import Spectrum

RateSchedule = RateScheduleName | Callable[[Optimizer], LRScheduler]
KSchedule = int | Mapping[float, int]

Algorithm = Literal["cd", "pcd"]
Missing = Literal["marginal", "absent"]
OptimizerName = Literal["sgd", "nesterov", "adam"]
Criterion = Literal["pseudo_log_likelihood", "log_likelihood"]
CRITERIA: tuple[str, ...] = get_args(Criterion)

MOST_BATCH = 100  # rows in a batch, where "auto"
_DECAY_WITHOUT_END = 1e-4  # what "auto" means for partial_fit, where the number of rows isn't known

# learning_rate="auto", see `_first_rate` and `skrbm.training.pace`.
_HIGHEST = {"sgd": 0.2, "nesterov": 0.2, "adam": 1e-3}  # first rate
_MOST_GROWTH = 4.0  # from the highest first rate
_NOISE = 0.6  # of the first updates
# Of the first rate of machines of several layers, and of what an update may move them by: layers that no row holds
# drive each other up past what chains see. 500 and 1,000 units on MNIST do so at 10 nats an update, not at 5.
_RATE_OF_DEEP, _LIMIT_OF_DEEP = 0.25, 0.125
LIMIT_PER_UNIT = 1 / 16  # nats that an update may move the machine by at the first rate, for each hidden unit
_LEAST_COMPILED = 500  # updates of a fit: numba's import, and loading what it has compiled, take half a second
_MOST_STATES = 1 << 24  # of an update, for each of which compiled loops in float32 need some 20 bytes
# Rate times hidden units, where there are Gaussian columns: what the units do together isn't bounded by anything there,
# and at four times as much machines whose columns are correlated blow up (`benchmarks/tables.py stability`).
_STABLE = 2.0
_MOST_LATENT, _MOST_LATENT_BY_ITSELF = 14, 6  # hidden units that are summed over: rows become 2^n as many
_HIDDEN_PER_COUPLED = 1 / 4  # hidden units that a coupled visible one counts for, where updates are measured
_WITHOUT_END = 1 / 4  # of the rate, where it doesn't fall: its noise stays

# The noise of Gaussian columns starts at this share of their variance, and relaxes so many times in a fit. From 1 down,
# machines whose columns aren't correlated never leave W = 0; faster, noise takes what the weights are about to learn.
FRESH_STEPS = 20  # of chains of missing cells that begin anew, where rows aren't known again
FIRST_NOISE, _SCALE_TURNS, _MOST_SCALE_RATE = 0.3, 15.0, 0.05

# weight_decay="auto", see `_decay`: two precisions of the weights' prior, and the most that each may come to, lest toys
# of a hundred rows, and tables of some hundred, are smoothed away.
_PRECISION, _MOST_DECAY = 3.0, 2e-3
_PRECISION_OF_TABLE, _MOST_DECAY_OF_TABLE, _LEAST_STRUCTURE = 0.15, 0.05, 0.05
_NARROW = 8.0  # total variance, of some forty columns, below which the most that the second may come to falls


class OptimizerFactory(Protocol):
    """What makes an optimiser, such as a class of `torch.optim` or a `functools.partial` of one."""

    def __call__(self, params: list[Tensor], *, lr: float) -> Optimizer: ...


@dataclass(frozen=True)
class TrainSettings:
    """How to train; the words and the defaults are `skrbm.BernoulliRBMTorch`'s, which documents them.

    Attributes
    ----------
    n_epochs : int
        There `n_iter`.
    device : torch.device
        Where to train.
    visible, hidden : Unit
        What kind of unit each layer has.
    offset_rate : float
        Of the moving averages that give the offsets of centring.
    scale_rate : float
        Of the scale of Gaussian columns, where it is learned, at the first learning rate.
    spectrum : Spectrum or None
        Of the rows, where `learning_rate` is left to them.
    is_compiled : bool
        Whether updates are made by compiled loops.
    gap_steps : int
        Gibbs steps of the chains of missing cells at each visit of a row.
    visible_couplings : bool or ndarray of shape (n_features, n_features)
        Which visible units are coupled: all, none, or those of a symmetric mask.
    hidden_couplings : bool or ndarray of shape (n_hidden, n_hidden)
        Which hidden units are coupled.
    positive_phase : {"auto", "exact", "gibbs"}
        Whether hidden units that are coupled are summed over, or drawn by chains.
    solver : {"auto", "exact", "pseudolikelihood", "pcd"}
        What learns the couplings of a machine without hidden units.
    l2_penalty : float
        Of the couplings, `l2_penalty` / 2 · Σ R² over pairs.
    n_latent : int
        Hidden units that are coupled: `resolved` makes them visible ones, the last, which are missing in every row.
    hidden_layer_sizes : tuple of int
        Of a machine of several hidden layers: the odd ones are its hidden units, the even ones the last visible ones.
    couplings : ndarray of shape (n_features, n_features) or None
        Those of `visible_couplings` as a mask without a diagonal, once the number of columns is known; None for none.
    """

    n_hidden: int = 256
    k: KSchedule = 1
    algorithm: Algorithm = "pcd"
    n_chains: int = 100
    learning_rate: float | Literal["auto"] = "auto"
    learning_rate_schedule: RateSchedule = "linear"
    optimizer: OptimizerName | OptimizerFactory = "sgd"
    momentum: float = 0.0
    weight_decay: float | Literal["auto"] = "auto"
    l1_penalty: float = 0.0
    sparsity_target: float | None = None
    sparsity_cost: float = 0.1
    averaging: float = 0.2
    balance_modes: bool = True
    centered: bool | Literal["visible"] = "visible"
    batch_size: int | Literal["auto"] = "auto"
    n_epochs: int = 100
    binarize: Binarize = "sample"
    shuffle: bool = True
    precision: str = "auto"
    store_trajectory: bool = False
    early_stopping: bool | Criterion = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    visible: Unit = BERNOULLI
    hidden: Unit = BERNOULLI
    noise: float | Literal["learned"] = "learned"
    offset_rate: float = 0.01
    scale_rate: float = 0.0
    spectrum: Spectrum | None = None
    is_compiled: bool = False
    gap_steps: int = 1
    visible_couplings: bool | np.ndarray = False
    hidden_couplings: bool | np.ndarray = False
    solver: str = "pcd"
    positive_phase: str = "auto"
    l2_penalty: float | Literal["auto"] = "auto"
    n_latent: int = 0
    hidden_layer_sizes: tuple[int, ...] = ()
    couplings: np.ndarray | None = None
    missing: Missing = "marginal"

    def resolved(self, rows: SharedRows) -> Self:
        """The settings for these rows: the one place where "auto" gets its meaning.

        Raises
        ------
        ValueError
            If the rows don't go with the precision, or the rate of an optimiser is asked for that nothing is known of,
            or missing cells are absent where columns are Gaussian or chains persistent.
        """
        if self.hidden_couplings is not False:
            return self._with_latent(rows.n_features).resolved(rows)
        check_absent(self)
        found: dict[str, Any] = {"couplings": mask_of(self.visible_couplings, rows.n_features)}
        if self.batch_size == "auto":  # a hundred updates an epoch, as far as batches stay neither tiny nor wasteful
            found["batch_size"] = min(max(rows.n_own_rows // 100, 10), MOST_BATCH)
        if self.binarize == "sample" and rows.is_binary:  # a draw would change nothing
            found["binarize"] = "none"
        if "auto" in (self.learning_rate, self.weight_decay):
            spectrum = Spectrum.of(rows, self.binarize, self.visible.mean_range)
            if self.weight_decay == "auto":
                found["weight_decay"] = _decay(spectrum, rows.n_rows)
            if self.learning_rate == "auto":
                n_rows = rows.group.size * int(found.get("batch_size", self.batch_size))
                found |= {"learning_rate": self._first_rate(spectrum, n_rows), "spectrum": spectrum}
        found["precision"] = choose_precision(
            self.precision if found["couplings"] is None else self._wide_precision(),
            self.n_hidden * rows.n_features,
            self.device,
            bits=found.get("binarize", self.binarize) != "none" or rows.is_binary,
            weighted=rows.is_weighted,
        )
        if self.l2_penalty == "auto":
            found["l2_penalty"] = found.get("weight_decay", self.weight_decay)
        if self.learns_scale:
            n_updates = self.n_epochs * rows.n_batches(int(found.get("batch_size", self.batch_size)))
            found["scale_rate"] = min(_SCALE_TURNS / n_updates, _MOST_SCALE_RATE)
        found["is_compiled"] = replace(self, **found).pays_compiled(rows)
        return replace(self, **found)

    def _wide_precision(self) -> str:
        """That of machines with couplings."""
        if self.precision in ("int8", "bfloat16"):
            raise ValueError(
                f"precision={self.precision!r} is for machines without couplings. Choose 'float32' or 'float64'."
            )
        return "float32" if self.precision == "auto" else self.precision

    def _with_latent(self, n: int) -> Self:
        """The settings of the machine of `n` units whose last ones are the hidden units of this one."""
        n_latent = self.n_hidden
        if self.positive_phase == "exact" and self.n_hidden > _MOST_LATENT:
            raise ValueError(
                f"positive_phase='exact' sums over states of at most {_MOST_LATENT} hidden units, and n_hidden="
                f"{self.n_hidden}. Set 'gibbs', or 'auto'."
            )
        mask = np.ones((n, n), bool)
        for name, units in (("visible_couplings", slice(n - n_latent)), ("hidden_couplings", slice(n - n_latent, n))):
            of_layer = mask_of(getattr(self, name), len(mask[units]), name)
            mask[units, units] = False if of_layer is None else of_layer
        return replace(self, n_hidden=0, n_latent=n_latent, hidden_couplings=False, visible_couplings=mask)

    def pays_compiled(self, rows: SharedRows) -> bool:
        """Whether updates can be made by compiled loops, and are so many that it pays to load these."""
        return (
            is_compiled()
            and self.device.type == "cpu"
            and self.precision in ("int8", "float32")
            and (self.visible, self.hidden) == (BERNOULLI, BERNOULLI)
            and self.centered is not True
            and self.is_plain_descent(0.0)
            and not rows.is_weighted
            and not rows.has_absent
            and rows.group.size == 1
            and self.n_epochs * rows.n_batches(int(self.batch_size)) >= _LEAST_COMPILED
            and (self.precision == "int8" or self._n_states(rows.n_features) <= _MOST_STATES)
        )

    def _n_states(self, n_features: int) -> int:
        """How many states of a layer the rows of an update have, at most."""
        n_data = int(self.batch_size)
        return (n_data + (n_data if self.algorithm == "cd" else self.n_chains)) * max(n_features, self.n_hidden)

    def _first_rate(self, spectrum: Spectrum, batch_size: int) -> float:
        """What learning_rate="auto" starts at: the highest rate at which the first updates don't throw units about.

        An update changes the inputs of the hidden units, which are about half on, by some ½ rate ‖Σ‖ √(1/batch +
        1/chains) on rows like those of the batch; Σ is the covariance, its eigenvalues cut off at 1 (what few
        directions do more is left to the pace, and to damping). Of Gaussian columns all hidden units together may move
        the means without bound, so the rate is in proportion to 1 / n_hidden at most, and doesn't grow.
        """
        n_chains = self.n_chains if self.algorithm == "pcd" else batch_size
        noise = spectrum.damped_size * math.sqrt(1.0 / batch_size + 1.0 / n_chains)
        rate = self._highest_rate() * min(1.0, _NOISE / max(noise, 1e-30))
        rate *= _RATE_OF_DEEP if self.is_deep else 1.0
        if self.visible.scaled is not None:
            rate = min(rate, self._highest_rate() / _HIGHEST["sgd"] * _STABLE / self.n_hidden)
        return rate

    def _highest_rate(self) -> float:
        """What the first rate is at most."""
        highest = _HIGHEST.get(self.optimizer) if isinstance(self.optimizer, str) else None
        if highest is None:
            raise ValueError(
                "learning_rate='auto' is for optimizer='sgd', 'nesterov' and 'adam'; what suits "
                f"{self.optimizer!r} isn't known. Set learning_rate to a number."
            )
        return highest * (1.0 - self.momentum) * self._share_without_end

    @property
    def _share_without_end(self) -> float:
        return _WITHOUT_END if self.learning_rate_schedule == "constant" else 1.0

    def pace(self) -> Pace:
        """What looks after the rate; it is free to move one that was left to the rows."""
        limit, most = LIMIT_PER_UNIT * self.n_moving * self._share_without_end**2, 1.0
        if self.is_deep:
            limit *= _LIMIT_OF_DEEP
        if (is_free := self.spectrum is not None) and self.visible.scaled is None:
            most = _MOST_GROWTH * self._highest_rate() / self.rate
        return Pace(limit, most, is_free)

    def for_one_pass(self) -> Self:
        """The settings of `partial_fit`, which knows of no end: nothing falls, grows, is averaged or stored."""
        return replace(
            self,
            n_epochs=1,
            learning_rate_schedule="constant",
            k=self.k[0] if isinstance(self.k, Mapping) else self.k,
            averaging=0.0,
            balance_modes=False,
            gap_steps=FRESH_STEPS,
            weight_decay=_DECAY_WITHOUT_END if self.weight_decay == "auto" else self.weight_decay,
            store_trajectory=False,
        )

    @property
    def is_coupled(self) -> bool:
        """Whether there are couplings within a layer."""
        return self.visible_couplings is not False or self.hidden_couplings is not False

    @property
    def is_deep(self) -> bool:
        """Whether there are several layers of hidden units."""
        return len(self.hidden_layer_sizes) > 1

    @property
    def has_masked_weights(self) -> bool:
        """Whether there are layers whose units have no weights between them."""
        return len(self.hidden_layer_sizes) > 2

    @property
    def sums_latent(self) -> bool:
        """Whether hidden units that are coupled are summed over in the positive phase, once `resolved`."""
        most = _MOST_LATENT_BY_ITSELF if self.positive_phase == "auto" else _MOST_LATENT
        return self.positive_phase != "gibbs" and 0 < self.n_latent <= most

    @property
    def n_moving(self) -> float:
        """How many hidden units the machine has; coupled visible ones count for some."""
        return n_moving(self.n_hidden, 0 if self.couplings is None else len(self.couplings))

    @property
    def rate(self) -> float:
        """The first learning rate, once it is a number."""
        if isinstance(self.learning_rate, str):
            raise ValueError("learning_rate='auto' has to be resolved by the rows first: call resolved(rows).")
        return self.learning_rate

    @property
    def is_quadratic(self) -> bool:
        """Whether the units of both layers are Gaussian."""
        return self.visible == self.hidden == GAUSSIAN

    @property
    def learns_scale(self) -> bool:
        """Whether there are columns whose scale is learned."""
        return self.visible.scaled is not None and self.noise == "learned"

    @property
    def place(self) -> Placement:
        """Float type and device of training."""
        return Placement(torch.float64 if self.precision == "float64" else torch.float32, self.device)

    @property
    def has_penalties(self) -> bool:
        """Whether there are others than weight decay."""
        return self.l1_penalty > 0.0 or self.sparsity_target is not None

    @property
    def decay(self) -> float:
        """The weight decay, once it is a number."""
        if isinstance(self.weight_decay, str):
            raise ValueError("weight_decay='auto' has to be resolved by the rows first: call resolved(rows).")
        return self.weight_decay

    def is_plain_descent(self, rate: float) -> bool:
        """Whether an update needs no memory of earlier gradients and no penalties but weight decay."""
        plain = self.optimizer == "sgd" and self.momentum == 0.0 and rate * self.decay < 1.0
        return plain and not self.has_penalties and self.couplings is None and not self.has_masked_weights


def n_moving(n_hidden: int, n_coupled: int) -> float:
    """How many hidden units a machine has; coupled visible ones count for some."""
    return n_hidden + _HIDDEN_PER_COUPLED * n_coupled


def mask_of(couplings: bool | np.ndarray, n: int, name: str = "visible_couplings") -> np.ndarray | None:
    """Which of `n` units are coupled, (n, n) without a diagonal; None where none are.

    Raises
    ------
    ValueError
        If it is no mask of so many units, or isn't symmetric.
    """
    if isinstance(couplings, bool | np.bool_):
        return ~np.eye(n, dtype=bool) if couplings else None
    mask = np.asarray(couplings)
    if mask.shape != (n, n) or mask.dtype != bool:
        raise ValueError(
            f"{name} must be True, False, or a boolean mask of shape {(n, n)}; got an array of shape "
            f"{mask.shape} and type {mask.dtype}."
        )
    if not np.array_equal(mask, mask.T):
        raise ValueError(f"{name} must be symmetric, as (i, j) and (j, i) are the same coupling.")
    return mask & ~np.eye(n, dtype=bool)


def check_absent(settings: TrainSettings) -> None:
    """Raise a ValueError if missing cells are absent and the machine, or its way of learning, isn't made for that."""
    if settings.missing != "absent":
        return
    if settings.algorithm == "pcd":
        raise ValueError(
            "missing='absent' makes a machine of its own of each row, which persistent chains (algorithm='pcd') can't "
            "follow. Leave algorithm at 'auto', or set it to 'cd'."
        )
    if settings.visible.scaled is not None:
        raise ValueError(
            "missing='absent' is for columns of bits and categories, but X has columns of numbers. Name them as "
            "categorical, make categories of them, or set missing='marginal'."
        )


def _decay(spectrum: Spectrum, n_rows: int) -> float:
    """What weight_decay="auto" is: the precision 1/σ² of a Gaussian prior of the weights, spread over the rows.

    With weights of variance σ² the inputs W_j v vary by σ² Σ_i Var(v_i), and W'W couples the columns. So σ² is in
    proportion to the root of how strongly they are correlated, and to 1 / Σ_i Var(v_i), but at most 1/3: in a wide
    table whose columns have little to do with each other large weights come about by chance only. Not so in a narrow
    one: what a handful of rows have in common there, such as bars and stripes, is to be learned if anybody trains long
    enough.
    """
    of_table = _PRECISION_OF_TABLE * spectrum.total / math.sqrt(max(spectrum.structure, _LEAST_STRUCTURE))
    most_of_table = _MOST_DECAY_OF_TABLE * min(1.0, spectrum.total / _NARROW) ** 2
    return max(min(_PRECISION / n_rows, _MOST_DECAY), min(of_table / n_rows, most_of_table))


def rate_scheduler(
    optimizer: SGD | Optimizer, schedule: RateSchedule, n_epochs: int
) -> NamedSchedule | LRScheduler | None:
    """A scheduler that is to be stepped after each epoch; None where the rate stays.

    Parameters
    ----------
    optimizer : SGD or torch.optim.Optimizer
        Whose rate it moves.
    schedule : {"constant", "linear", "cosine", "exponential"} or callable
        What `NamedSchedule` knows, or what makes a scheduler of an optimiser of torch.
    n_epochs : int
        How long a schedule by name lasts.

    Raises
    ------
    TypeError
        If the callable returns no scheduler.
    """
    if isinstance(schedule, str):
        return None if schedule == "constant" else NamedSchedule(optimizer, schedule, n_epochs)
    assert isinstance(optimizer, Optimizer), "schedulers of torch take optimisers of torch only"
    scheduler = schedule(optimizer)
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            "learning_rate_schedule must return a torch.optim.lr_scheduler.LRScheduler, "
            f"but returned {type(scheduler).__name__}."
        )
    return scheduler


def gibbs_steps(k: KSchedule, epoch: int, n_epochs: int) -> int:
    """The number of Gibbs steps of an epoch.

    Parameters
    ----------
    k : int or mapping of float to int
        The same in all epochs; or from which share of the epochs on how many, such as {0: 1, 0.6: 5, 0.9: 25}.
    epoch : int
        Counted from 0.
    n_epochs : int
        How many there will be.

    Examples
    --------
    >>> [gibbs_steps({0: 1, 0.5: 5, 0.9: 25}, epoch, 10) for epoch in range(10)]
    [1, 1, 1, 1, 1, 5, 5, 5, 5, 25]
    """
    if not isinstance(k, Mapping):
        return k
    passed = epoch / n_epochs
    share = max(share for share in k if share <= passed or math.isclose(share, passed))
    return k[share]
