"""How to train: plain data, final before the first update; and what it says of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, PolynomialLR

from skrbm.backends.choose import choose_precision
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.units import Unit
from skrbm.rows.shared import SharedRows
from skrbm.rows.source import Binarize
from skrbm.support.tensors import Placement

RateScheduleName = Literal["constant", "linear", "cosine", "exponential"]
RateSchedule = RateScheduleName | Callable[[Optimizer], LRScheduler]
KSchedule = int | Mapping[float, int]

Criterion = Literal["pseudo_log_likelihood", "log_likelihood"]
CRITERIA: tuple[str, ...] = get_args(Criterion)

# weight_decay="auto" is a Gaussian prior with this precision, spread over the rows; the bound is for toys of a hundred
# rows, which it would keep from being learned.
_PRIOR_PRECISION, _MOST_DECAY = 3.0, 2e-3
_LAST_SHARE = 0.01  # of the first rate, that "exponential" falls to
_DECAY_WITHOUT_END = 1e-4  # what "auto" means for partial_fit, where the number of rows isn't known


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
    """

    n_hidden: int = 256
    k: KSchedule = 1
    algorithm: Literal["cd", "pcd"] = "pcd"
    n_chains: int = 100
    learning_rate: float = 0.2
    learning_rate_schedule: RateSchedule = "linear"
    optimizer: Literal["sgd", "nesterov", "adam"] | OptimizerFactory = "sgd"
    momentum: float = 0.0
    weight_decay: float | Literal["auto"] = "auto"
    l1_penalty: float = 0.0
    sparsity_target: float | None = None
    sparsity_cost: float = 0.1
    averaging: float = 0.2
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
    offset_rate: float = 0.01

    def resolved(self, rows: SharedRows) -> Self:
        """The settings for these rows: the one place where "auto" gets its meaning.

        Raises
        ------
        ValueError
            If the rows don't go with the precision.
        """
        batch_size, weight_decay, binarize = self.batch_size, self.weight_decay, self.binarize
        if batch_size == "auto":  # a hundred updates an epoch, as far as batches stay neither tiny nor wasteful
            batch_size = min(max(rows.n_own_rows // 100, 10), 100)
        if weight_decay == "auto":
            weight_decay = min(_PRIOR_PRECISION / rows.n_rows, _MOST_DECAY)
        if binarize == "sample" and rows.is_binary:  # a draw would change nothing
            binarize = "none"
        precision = choose_precision(
            self.precision,
            self.n_hidden * rows.n_features,
            self.device,
            bits=binarize != "none" or rows.is_binary,
            weighted=rows.is_weighted,
        )
        return replace(self, batch_size=batch_size, weight_decay=weight_decay, binarize=binarize, precision=precision)

    def for_one_pass(self) -> Self:
        """The settings of `partial_fit`, which knows of no end: nothing falls, grows, is averaged or stored."""
        return replace(
            self,
            n_epochs=1,
            learning_rate_schedule="constant",
            k=self.k[0] if isinstance(self.k, Mapping) else self.k,
            averaging=0.0,
            weight_decay=_DECAY_WITHOUT_END if self.weight_decay == "auto" else self.weight_decay,
            store_trajectory=False,
        )

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
        return plain and not self.has_penalties


def rate_scheduler(optimizer: Optimizer, schedule: RateSchedule, n_epochs: int) -> LRScheduler | None:
    """A scheduler that is to be stepped after each epoch; None where the rate stays.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Whose rate it moves.
    schedule : {"constant", "linear", "cosine", "exponential"} or callable
        Epoch i = 0 … n-1 has the first rate times 1, 1 - i/n, (1 + cos(π i/n)) / 2, or 0.01^(i/n). Or what makes a
        scheduler of the optimiser.
    n_epochs : int
        How long a schedule by name lasts.

    Raises
    ------
    TypeError
        If the callable returns no scheduler.
    """
    if not isinstance(schedule, str):
        scheduler = schedule(optimizer)
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(
                "learning_rate_schedule must return a torch.optim.lr_scheduler.LRScheduler, "
                f"but returned {type(scheduler).__name__}."
            )
        return scheduler
    if schedule == "linear":
        return PolynomialLR(optimizer, total_iters=n_epochs, power=1.0)
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=n_epochs)
    if schedule == "exponential":
        return ExponentialLR(optimizer, gamma=_LAST_SHARE ** (1 / n_epochs))
    if schedule not in get_args(RateScheduleName):
        raise ValueError(f"schedule={schedule!r} must be one of {get_args(RateScheduleName)}, or a callable.")
    return None


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
