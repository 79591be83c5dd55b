"""As many threads as the work is worth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# Multiply-adds of a product from which on a second thread is worth its while, see `benchmarks/threads.py`. Below it
# brings a tenth to a third on an idle machine; where another process is busy, waiting for it makes a fit two to five
# times as slow as one thread does.
LEAST_WORK = 200_000_000
_LOCK = threading.Lock()


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
    try:
        if before > 1:
            with _LOCK:
                _set_here(1)
        yield
    finally:
        if before > 1:
            with _LOCK:
                _set_here(before)


def one_thread() -> AbstractContextManager[None]:
    """`threads_for` the smallest work: for reading rows, which waits for memory, and comes before their size is known.

    A process that never makes more threads can be forked: in the child, OpenMP would wait for those of its parent.
    """
    return threads_for(1, 1, 1)


def _set_here(n: int) -> None:
    """Set the number of threads of this Python thread alone.

    OpenMP and MKL have one for each thread, which `torch.set_num_threads` sets; but also torch's own, which new threads
    begin with. Another new thread knows that, and puts it back.
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
