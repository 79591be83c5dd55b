"""As many threads as the work is worth."""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from skrbm.support.compiled import openmp

# Multiply-adds of a product from which on a second thread is worth its while, see `benchmarks/threads.py`. Below it
# brings a tenth to a third on an idle machine; where another process is busy, waiting for it makes a fit two to five
# times as slow as one thread does.
LEAST_WORK = 200_000_000
_LOCK = threading.Lock()
_EVERY, _TRIES = 300, 5  # pieces of work from one trial to the next, and of a trial with either number of threads
_PAYS = 0.9  # of the time that one thread takes, which all together have to stay below


@contextmanager
def threads_for(n_rows: int, n_hidden: int, n_features: int) -> Iterator[None]:
    """One thread while products of so many rows with the weights are small; else as many as torch would take.

    Only this Python thread is limited, and only inside; others keep their number, also those that begin meanwhile.

    Parameters
    ----------
    n_rows, n_hidden, n_features : int
        Of the largest product that is made again and again.
    """
    if n_rows * n_hidden * n_features >= LEAST_WORK:
        yield
        return
    with _LOCK:  # lest this thread, if it is a new one, begins with a number that another has not put back yet
        before = torch.get_num_threads()
    if before == 1:
        yield
        return
    outer, _limited.before = _limited.before, available_threads()
    try:
        with _LOCK:
            _set_here(1)
        yield
    finally:
        _limited.before = outer
        with _LOCK:
            _set_here(before)


class _Limited(threading.local):
    """How many threads a Python thread had before it was limited; None where it isn't."""

    before: int | None = None


_limited = _Limited()


def available_threads() -> int:
    """How many threads this Python thread would have if it wasn't limited."""
    return _limited.before or torch.get_num_threads()


class Threads:
    """As many threads as make work go fastest just now: one, or all that are available.

    A second thread is worth a lot on an idle machine, and less than nothing beside a busy process, whose turns the
    others then wait for. So both are tried, again and again. For work whose results don't depend on it, in pieces that
    are alike.

    Parameters
    ----------
    most : int
        How many are available.
    """

    def __init__(self, most: int) -> None:
        self._most, self._n_done, self._chosen = most, 0, torch.get_num_threads()
        self._seconds: dict[int, list[float]] = {}
        self._before = self._chosen

    @property
    def n(self) -> int:
        """How many the next piece is to have."""
        turn = self._n_done % _EVERY
        if self._most > 1 and turn < 2 * _TRIES:
            return 1 if turn < _TRIES else self._most
        return self._chosen

    def begin_(self) -> float:
        """Before a piece: set the number of threads; the time."""
        if self.n != torch.get_num_threads():
            with _LOCK:
                _set_here(self.n)
        return time.perf_counter()

    def end_(self, began: float, n_parts: int = 1) -> None:
        """After it; a piece may have parts, as many as it has, which are alike."""
        turn, self._n_done = self._n_done % _EVERY, self._n_done + 1
        if self._most == 1 or turn >= 2 * _TRIES:
            return
        seconds = self._seconds.setdefault(turn // _TRIES, [])
        seconds.append((time.perf_counter() - began) / n_parts)
        if turn == 2 * _TRIES - 1:
            one, all_ = (statistics.median(self._seconds.pop(i)) for i in (0, 1))
            self._chosen = self._most if all_ < _PAYS * one else 1

    def put_back_(self) -> None:
        """The number of threads as it was."""
        if torch.get_num_threads() != self._before:
            with _LOCK:
                _set_here(self._before)


def one_thread() -> AbstractContextManager[None]:
    """`threads_for` the smallest work: for reading rows, which waits for memory, and comes before their size is known.

    A process that never makes more threads can be forked: in the child, OpenMP would wait for those of its parent.
    """
    return threads_for(1, 1, 1)


def _set_here(n: int) -> None:
    """Set the number of threads of this Python thread alone: OpenMP and MKL have one for each."""
    setters = _setters()
    if setters is None:
        _set_by_torch(n)
    else:
        for set_number in setters:
            set_number(n)


@cache
def _setters() -> tuple[Callable[[int], Any], ...] | None:
    """What sets the numbers of OpenMP and of MKL, where that is all there is to `torch.set_num_threads`; else None."""
    setters = [openmp("omp_set_num_threads")]
    if torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        try:
            library = ctypes.CDLL(str(next(Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"))))
            setters.append(library.MKL_Set_Num_Threads_Local)
        except (AttributeError, OSError, StopIteration):
            return None
    return None if None in setters else tuple(setters)


def _set_by_torch(n: int) -> None:
    """The same where that isn't known, by `torch.set_num_threads`, which also sets what new threads begin with.

    Another new thread knows that, and puts it back.
    """
    is_set = threading.Event()

    def put_back() -> None:
        default = torch.get_num_threads()
        is_known.set()
        is_set.wait()
        torch.set_num_threads(default)

    is_known = threading.Event()
    other = threading.Thread(target=put_back)
    other.start()
    is_known.wait()
    torch.set_num_threads(n)
    is_set.set()
    other.join()
