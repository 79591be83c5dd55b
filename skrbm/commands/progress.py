"""For whoever waits for a training: how far it has come, and Ctrl-C that keeps what has been learned."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skrbm.commands.arguments import report

ShowEpoch = Callable[[str, int, int, Any], None]  # what is learned, epochs done, epochs in all, the machine


@contextmanager
def show_progress() -> Iterator[ShowEpoch]:
    """What shows how far training has come: a bar on a terminal, if rich is installed, else a line an epoch."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield _report_epoch
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _report_epoch
        return
    text, left = TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(text, BarColumn(), MofNCompleteColumn(), left, console=console) as bar:
        task = bar.add_task("")

        def show(name: str, epoch: int, n_epochs: int, model: Any) -> None:
            bar.update(task, completed=epoch, total=n_epochs, description=f"{name}: {_measures(model, epoch)}")

        yield show


def _report_epoch(name: str, epoch: int, n_epochs: int, model: Any) -> None:
    if epoch:
        report(f"{name}: epoch {epoch} of {n_epochs}, {_measures(model, epoch)}")


def _measures(model: Any, epoch: int) -> str:
    if not epoch:
        return "before training"
    loss, nats = (model.history_[name][-1] for name in ("loss", "pseudo_log_likelihood"))
    return f"loss {loss:.2f}, pseudo-log-likelihood {nats:.2f} nats"


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it, Ctrl-C ends a training and not the program, unless there is nothing yet to be kept."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)
