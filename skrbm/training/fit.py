"""A fit in progress: what it carries on from epoch to epoch, to be stored and taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from skrbm.support.randomness import Stream
from skrbm.training.measures import EarlyStopping, HeldOut
from skrbm.training.trajectory import Trajectory
from skrbm.training.update import TrainState, restore_, saved_state

__all__ = ["Run"]

_OWN = ("h", "streams")  # of what `saved_state` returns


@dataclass
class Run:
    """A fit in progress.

    Attributes
    ----------
    state : TrainState
        Training itself.
    n_epochs : int
        How many there will be at most.
    watched : Tensor of shape (n, n_features)
        Training rows that are measured after each epoch.
    stream : Stream
        Randomness of the measures.
    stopping : EarlyStopping
        Tells the best epoch.
    held_out : HeldOut or None
        Rows that it goes by.
    trajectory : Trajectory or None
        Keeps checkpoints for tempering.
    best : dict or None
        Fitted attributes of the best epoch.
    n_finished : int
        Epochs so far.
    """

    state: TrainState
    n_epochs: int
    watched: Tensor
    stream: Stream
    stopping: EarlyStopping
    held_out: HeldOut | None = None
    trajectory: Trajectory | None = None
    best: dict[str, Any] | None = None
    n_finished: int = 0

    def saved(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that the coming epochs depend on but the rows, on the CPU.

        First what is the same in each of several processes, then what each has for itself: chains and randomness.
        """
        training = saved_state(self.state)
        own = {name: training.pop(name) for name in _OWN} | {"monitor": self.stream.state()}
        shared = {
            "training": training,
            "stopping": self.stopping.state(),
            "trajectory": None if self.trajectory is None else self.trajectory.state(),
            "best": self.best,
            "n_finished": self.n_finished,
        }
        return shared, own

    def restore_(self, saved: dict[str, Any], own: dict[str, Any]) -> None:
        """Continue where `saved()` was taken."""
        restore_(self.state, saved["training"] | {name: own[name] for name in _OWN})
        self.stream.set_state(own["monitor"])
        self.stopping.set_state(saved["stopping"])
        if self.trajectory is not None:
            self.trajectory.set_state(saved["trajectory"])
        self.best, self.n_finished = saved["best"], saved["n_finished"]
