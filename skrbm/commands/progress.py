"""For whoever waits for a training: how far it has come, and Ctrl-C that keeps what has been learned."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skrbm.commands.arguments import report

ShowEpoch = Callable[[str, int, int, Any], None]  # what is learned, epochs done, epochs in all, the machine

_N_LINES = 10  # of a training that is over soon
_SECONDS = 60.0  # between two lines of one that isn't


@contextmanager
def show_progress() -> Iterator[ShowEpoch]:
    """What shows how far training has come: one line of a terminal, a bar if rich is installed; else some ten lines."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        with _rewritten_line() if sys.stderr is not None and sys.stderr.isatty() else _few_lines() as show:
            yield show
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        with _few_lines() as show:
            yield show
        return
    text, left = TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(text, BarColumn(), MofNCompleteColumn(), left, console=console) as bar:
        task = bar.add_task("")

        def show_bar(name: str, epoch: int, n_epochs: int, model: Any) -> None:
            bar.update(task, completed=epoch, total=n_epochs, description=f"{name}: {_measures(model, epoch)}")

        yield show_bar


@contextmanager
def _rewritten_line() -> Iterator[ShowEpoch]:
    """A line of the terminal that is written over and over."""
    written = 0

    def show(name: str, epoch: int, n_epochs: int, model: Any) -> None:
        nonlocal written
        line = _line(name, epoch, n_epochs, model)[: shutil.get_terminal_size().columns - 1]
        print(f"\r{line:<{written}}", end="", file=sys.stderr, flush=True)
        written = len(line)

    try:
        yield show
    finally:
        if written:
            report("")


@contextmanager
def _few_lines() -> Iterator[ShowEpoch]:
    """Lines below each other: one after the first epoch, after each tenth of all epochs, and at least one a minute."""
    last = time.monotonic()

    def show(name: str, epoch: int, n_epochs: int, model: Any) -> None:
        nonlocal last
        is_tenth = epoch * _N_LINES // n_epochs > (epoch - 1) * _N_LINES // n_epochs
        if epoch and (epoch == 1 or is_tenth or time.monotonic() - last > _SECONDS):
            last = time.monotonic()
            report(_line(name, epoch, n_epochs, model))

    yield show


def _line(name: str, epoch: int, n_epochs: int, model: Any) -> str:
    done = f"epoch {epoch} of {n_epochs}, " if epoch else ""
    return f"{name}: {done}{_measures(model, epoch)}"


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
