"""As many threads as the work is worth, for this call and this Python thread only."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from skrbm.support.threads import LEAST_WORK, threads_for

LARGE = (LEAST_WORK // 10_000, 100, 100)


@pytest.fixture(autouse=True)
def _two_threads():
    """So that one is another number."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_for_small_products_put_back_afterwards():
    before = torch.get_num_threads()
    with threads_for(200, 100, 100):
        assert torch.get_num_threads() == 1
        with threads_for(*LARGE):
            assert torch.get_num_threads() == 1  # the outer call decides
    assert torch.get_num_threads() == before
    with threads_for(*LARGE):
        assert torch.get_num_threads() == before


def test_put_back_after_an_error():
    before = torch.get_num_threads()
    try:
        with threads_for(200, 100, 100):
            raise KeyError
    except KeyError:
        pass
    assert torch.get_num_threads() == before


def test_other_threads_keep_their_number():
    """Also those that begin meanwhile, which `torch.set_num_threads` would have changed for good."""
    before, seen = torch.get_num_threads(), []

    def look():
        seen.append(torch.get_num_threads())
        with threads_for(200, 100, 100):
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    with threads_for(200, 100, 100):
        other = threading.Thread(target=look)
        other.start()
        other.join()
    assert seen == [before, 1, before]
    assert torch.get_num_threads() == before


FORKED = """
import multiprocessing
import numpy as np
from skrbm import BernoulliRBMTorch

X = np.random.default_rng(0).integers(0, 17, (1800, 64)) / 16

def work():
    model = BernoulliRBMTorch(n_hidden=20, n_iter=1, random_state=0).fit(X)
    model.transform(X), model.score(X)

if __name__ == "__main__":
    work()
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    child.kill()
    raise SystemExit(child.exitcode != 0)
"""


@pytest.mark.slow
def test_a_small_fit_leaves_a_process_that_can_be_forked(tmp_path):
    """It has made no threads but its own: a child would wait for those of OpenMP, which it doesn't have."""
    (tmp_path / "forked.py").write_text(FORKED)
    done = subprocess.run(
        [sys.executable, tmp_path / "forked.py"], env=os.environ | {"OMP_NUM_THREADS": "2"}, timeout=150
    )
    assert done.returncode == 0
