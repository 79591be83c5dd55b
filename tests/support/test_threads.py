"""As many threads as the work is worth, for this call and this Python thread only."""

import ctypes
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from skrbm.support import threads
from skrbm.support.threads import LEAST_WORK, Threads, available_threads, one_thread, threads_for

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


def numbers_here():
    """torch's, OpenMP's and MKL's, as far as they are known."""
    found = [torch.get_num_threads()]
    if threads.openmp("omp_get_max_threads") is not None:
        found.append(threads.openmp("omp_get_max_threads")())
    libraries = Path(torch.__file__).parent.glob("lib/libtorch_cpu.*")
    for library in libraries if torch.backends.mkl.is_available() else ():
        with suppress(AttributeError, OSError):
            found.append(ctypes.CDLL(str(library)).MKL_Get_Max_Threads())
    return set(found)


@pytest.mark.parametrize("is_by_torch", [False, True])
def test_all_libraries_hear_of_it(is_by_torch, monkeypatch):
    if is_by_torch:
        monkeypatch.setattr(threads, "_setters", lambda: None)
    seen = []
    with threads_for(200, 100, 100):
        assert numbers_here() == {1}
        other = threading.Thread(target=lambda: seen.append(numbers_here()))
        other.start()
        other.join()
    assert numbers_here() == {2}
    assert seen == [{2}]


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


# -- how many there would be -------------------------------------------------------------------------------------------


def test_how_many_are_available():
    assert available_threads() == 2
    with threads_for(200, 100, 100):
        assert torch.get_num_threads() == 1
        assert available_threads() == 2
        with threads_for(*LARGE), one_thread():
            assert available_threads() == 2
        assert available_threads() == 2
    assert available_threads() == 2


def test_how_many_are_available_while_the_best_number_is_sought():
    """Which may be all of them when the next limit begins."""
    with threads_for(200, 100, 100):
        trial = Threads(available_threads())
        for _ in range(6):
            trial.end_(trial.begin_())
        assert torch.get_num_threads() == 2
        with one_thread():
            assert torch.get_num_threads() == 1
        trial.put_back_()
        assert torch.get_num_threads() == 1
        assert available_threads() == 2
    assert available_threads() == torch.get_num_threads() == 2


def test_other_threads_are_not_limited():
    seen = []
    with threads_for(200, 100, 100):
        other = threading.Thread(target=lambda: seen.append((available_threads(), torch.get_num_threads())))
        other.start()
        other.join()
    assert seen == [(2, 2)]


# -- as many as go fastest ---------------------------------------------------------------------------------------------

TRIAL, ROUND = 10, 300  # pieces of a trial, and from one to the next


def numbers_used(monkeypatch, takes, n_pieces=TRIAL + 5, most=2):
    """With how many threads each piece is done, where the piece i on n threads takes `takes(i, n)` seconds."""
    now, used = [0.0], []
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    trial = Threads(most)
    for i in range(n_pieces):
        began = trial.begin_()
        used.append(torch.get_num_threads())
        now[0] += takes(i, used[-1])
        trial.end_(began)
    trial.put_back_()
    return used


@pytest.mark.parametrize(("seconds_of_two", "best"), [(0.5, 2), (0.85, 2), (0.95, 1), (1.0, 1), (3.0, 1)])
def test_all_threads_where_they_are_clearly_faster(seconds_of_two, best, monkeypatch):
    used = numbers_used(monkeypatch, lambda i, n: seconds_of_two if n == 2 else 1.0)
    assert used == [1] * 5 + [2] * 5 + [best] * 5
    assert torch.get_num_threads() == 2


def test_single_delays_are_overlooked(monkeypatch):
    used = numbers_used(monkeypatch, lambda i, n: 50.0 if i in (1, 2, 7) else 1.0 / n)
    assert used[TRIAL:] == [2] * 5


def test_the_trial_is_repeated(monkeypatch):
    """A neighbour begins at piece 100 and ends before piece 600."""
    used = numbers_used(monkeypatch, lambda i, n: 3.0 if n == 2 and 100 <= i < 600 else 1.0 / n, 2 * ROUND + 20)
    assert used[TRIAL:ROUND] == [2] * (ROUND - TRIAL)
    assert used[ROUND : ROUND + TRIAL] == [1] * 5 + [2] * 5
    assert used[ROUND + TRIAL : 2 * ROUND] == [1] * (ROUND - TRIAL)
    assert used[2 * ROUND + TRIAL :] == [2] * 10


def test_one_where_no_more_are_available(monkeypatch):
    torch.set_num_threads(1)
    assert numbers_used(monkeypatch, lambda i, n: 1.0, most=1) == [1] * (TRIAL + 5)


def test_the_number_before_comes_back(monkeypatch):
    with one_thread():
        used = numbers_used(monkeypatch, lambda i, n: 1.0 / n, most=available_threads())
        assert used[TRIAL:] == [2] * 5
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
