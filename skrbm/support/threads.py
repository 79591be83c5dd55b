"""As many threads as the work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # scikit-learn depends on it

# Multiply-adds of a product from which on a second thread is worth its while, see `benchmarks/threads.py`. Below it
# brings a tenth to a third on an idle machine; where another process is busy, waiting for it makes a fit two to five
# times as slow as one thread does.
LEAST_WORK = 200_000_000


@cache
def _openmp() -> ThreadpoolController:
    """torch's OpenMP library, which has been loaded with torch."""
    return ThreadpoolController().select(user_api="openmp")


@contextmanager
def threads_for(n_rows: int, n_hidden: int, n_features: int) -> Iterator[None]:
    """One thread while products of so many rows with the weights are small; else as many as torch would take.

    Only this Python thread is limited, and only inside: OpenMP keeps its number for each thread, other than
    `torch.set_num_threads`, whose number new threads start from.

    Parameters
    ----------
    n_rows, n_hidden, n_features : int
        Of the largest product that is made again and again.
    """
    if n_rows * n_hidden * n_features >= LEAST_WORK:
        yield
        return
    with _openmp().limit(limits=1):
        yield
