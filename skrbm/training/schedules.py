"""What changes from epoch to epoch: the learning rate, and the number of Gibbs steps k."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LRScheduler, PolynomialLR

RateScheduleName = Literal["constant", "linear", "cosine", "exponential"]
RateSchedule = RateScheduleName | Callable[[Optimizer], LRScheduler]
KSchedule = int | Mapping[float, int]

_LAST_SHARE = 0.01  # of the first rate, that "exponential" falls to


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
