"""What tests of compiled loops share."""

from contextlib import contextmanager

import pytest
import torch

from skrbm.support.compiled import SWITCH, Loop, is_compiled

needs_numba = pytest.mark.skipif(not is_compiled(), reason="numba is not installed, or compiled loops are turned off")


@contextmanager
def without_loops():
    """Inside, everything goes without compiled loops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0")
        yield


@contextmanager
def refused_loops():
    """Inside, whoever makes a compiled loop gets an AssertionError."""

    def refuse(*arguments):
        raise AssertionError("a compiled loop")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "bind", refuse)
        yield


@contextmanager
def on_threads(n):
    """Inside, torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
