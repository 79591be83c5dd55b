"""How far a long run has come, for whoever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Progress = Callable[[int, int], None]
"""What long runs call now and then, with the number of steps done and that of all."""

_DELAY = 1.0  # seconds, before a bar is shown
_SECONDS = 5.0  # between two lines


@contextmanager
def show_progress(label: str) -> Iterator[Progress]:
    """What shows how far a run has come: a bar by rich, in a terminal or a notebook; else a line now and then.

    Runs that are over within a second show nothing.

    Parameters
    ----------
    label : str
        What stands in front.

    Examples
    --------
    >>> from skrbm.support.progress import show_progress
    >>> with show_progress("log Z") as progress:
    ...     for step in range(100):
    ...         progress(step + 1, 100)
    """
    with ExitStack() as stack:
        yield _bar(label, stack) or _lines(label)


def _bar(label: str, stack: ExitStack) -> Progress | None:
    """A bar that goes away in the end; None without rich, or where nobody sees it."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar
    except ImportError:
        return None
    console = Console()
    if not (console.is_terminal or console.is_jupyter):
        return None
    bar = Bar(
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    began, tasks = time.perf_counter(), list[Any]()

    def show(n_done: int, n_all: int) -> None:
        if not tasks and time.perf_counter() - began > _DELAY:
            stack.enter_context(bar)
            tasks.append(bar.add_task(""))
        if tasks:
            bar.update(tasks[0], completed=n_done, total=n_all)

    return show


def _lines(label: str) -> Progress:
    began = last = time.perf_counter()

    def show(n_done: int, n_all: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last > _SECONDS:
            last = now
            print(f"{label}: step {n_done} of {n_all}, {now - began:.0f} s")

    return show
