"""What is told of a fit as it goes on."""

from __future__ import annotations

import math
from typing import Any, Protocol

from skrbm.training.learned import Learned


class FitInProgress(Protocol):
    """What a listener may know of a fit: a part of `skrbm.training.fit.Run`.

    Attributes
    ----------
    n_finished, n_epochs : int
        Epochs so far, and how many there will be at most.
    """

    n_finished: int

    @property
    def n_epochs(self) -> int: ...

    @property
    def is_over(self) -> bool:
        """Whether no epoch is to follow, as far as nobody asks for that."""

    def learned(self) -> Learned:
        """What has been learned so far."""

    def state_of_fit(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that the coming epochs depend on: what processes share, and what this one has."""


class Listener:
    """Hears of a fit; whoever has nothing to say to an event leaves it out."""

    def begin(self, run: FitInProgress) -> None:
        """The fit begins, or goes on after `run.n_finished` epochs."""

    def begin_epoch(self, run: FitInProgress) -> None:
        """An epoch begins."""

    def end_epoch(self, run: FitInProgress, learned: Learned) -> bool | None:
        """An epoch has ended; True asks for no more of them."""

    def stop(self, run: FitInProgress) -> None:
        """No epoch follows; what has been learned is about to be handed out."""

    def end(self, learned: Learned) -> None:
        """The fit has ended."""


class Listeners(Listener):
    """Several of them, in their order.

    Parameters
    ----------
    *listeners : Listener
        Who is told.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._all = listeners

    def begin(self, run: FitInProgress) -> None:
        for listener in self._all:
            listener.begin(run)

    def begin_epoch(self, run: FitInProgress) -> None:
        for listener in self._all:
            listener.begin_epoch(run)

    def end_epoch(self, run: FitInProgress, learned: Learned) -> bool:
        answers = [listener.end_epoch(run, learned) for listener in self._all]  # all are told
        return any(answers)

    def stop(self, run: FitInProgress) -> None:
        for listener in self._all:
            listener.stop(run)

    def end(self, learned: Learned) -> None:
        for listener in self._all:
            listener.end(learned)


class PrintEpochs(Listener):
    """Prints a line an epoch.

    Parameters
    ----------
    name : str
        Of what learns.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def end_epoch(self, run: FitInProgress, learned: Learned) -> None:
        last = {name: values[-1] for name, values in (learned.history or {}).items()}
        held_out = "" if math.isnan(last["free_energy_gap"]) else " held out"
        print(
            f"[{self._name}] epoch {run.n_finished}/{run.n_epochs}, learning rate {last['learning_rate']:.3g}, "
            f"pseudo-log-likelihood{held_out} {last['pseudo_log_likelihood']:.2f} nats a row, {last['seconds']:.2f} s"
        )
