"""Compiled loops: what arrives, where they run, when they are used, and what happens where something is missing."""

import os
import struct
import threading
import weakref
from ctypes import CFUNCTYPE, POINTER, c_int64
from pathlib import Path

import pytest
import torch

from skrbm.support import compiled
from skrbm.support.compiled import Bound, Loop, is_compiled, loaded_loops, loops_pay
from tests.compiled import needs_numba, on_threads, without_loops

TASKS = Path("/proc/self/task")

# y[i] += x[i] * factor in the piece i, which says nothing of the others.
SOURCE = """
from skrbm.support.loops import as_float64, f8, next_piece

def scale(a):
    x, y, factor, shift = a[2], a[3], as_float64(a[4]), a[5]
    while True:
        i = next_piece(a)
        if i >= a[1]:
            break
        f8(y, i, 1)[0] += f8(x, i, 1)[0] * factor + shift
"""


@pytest.fixture
def loop(tmp_path, monkeypatch, request):
    """A loop that nobody has compiled yet."""
    name = f"scale_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return Loop(name, "scale")


def is_right(loop, n=10_000):
    """Whether each piece has been worked on once, with arguments of all kinds."""
    x, y = torch.arange(float(n)).double(), torch.zeros(n).double()
    loop(n, x, y, -0.3, -7)
    return torch.equal(y, x * -0.3 - 7)


@needs_numba
def test_a_loop_is_compiled_and_called(loop):
    assert all(is_right(loop) for _ in range(2))


@needs_numba
def test_that_test_rejects_pieces_that_come_twice(loop, monkeypatch):
    """As where each thread counts for itself."""
    monkeypatch.setattr(Bound, "__call__", twice_on_its_own(Bound.__call__))
    assert not is_right(loop)


def twice_on_its_own(run):
    def run_twice(self, n_pieces):
        run(self, n_pieces)
        run(self, n_pieces)

    return run_twice


@needs_numba
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_pieces_on_several_threads(loop, n_threads):
    with on_threads(n_threads):
        assert all(is_right(loop) for _ in range(20))


@needs_numba
def test_where_the_pool_is_not_found_one_thread_does_it_all(loop, monkeypatch):
    monkeypatch.setattr(compiled, "_parallel", lambda: None)
    with on_threads(2):
        assert is_right(loop)


@needs_numba
def test_without_a_folder_for_a_cache(loop, monkeypatch):
    import numba

    refused = []

    def cfunc(signature, cache=False, **options):
        if cache:
            refused.append(signature)
            raise RuntimeError("cannot cache function: no locator available")
        return compile_(signature, **options)

    compile_ = numba.cfunc
    monkeypatch.setattr(numba, "cfunc", cfunc)
    assert is_right(loop)
    assert len(refused) == 1


# -- arguments ---------------------------------------------------------------------------------------------------------


class Shown(Bound):
    """One that keeps what it has been called with; no numba is needed."""

    def __init__(self, *arguments):
        super().__init__(lambda numbers: setattr(self, "numbers", list(numbers)), arguments)


def seen_by(shown):
    """The numbers that a loop's function gets."""
    shown(1)
    return shown.numbers


def as_bits(number):
    return struct.unpack("q", struct.pack("d", number))[0]


def test_numbers_and_addresses_arrive():
    x = torch.zeros(3)
    numbers = seen_by(Shown(5, -3, 2**63 - 1, -(2**63), True, 2.5, -0.0, x[1:]))
    assert numbers[:2] == [0, 1]
    assert numbers[2:7] == [5, -3, 2**63 - 1, -(2**63), 1]
    assert numbers[7:9] == [as_bits(2.5), as_bits(-0.0)]
    assert numbers[9] == x.data_ptr() + 4


def test_arguments_can_be_replaced():
    x, shown = torch.zeros(3), Shown(1, 2, 3, 4)
    shown[1] = 0.5
    shown.set_from(2, (x, 7))
    assert seen_by(shown)[2:6] == [1, as_bits(0.5), x.data_ptr(), 7]


def test_a_call_begins_at_the_first_piece():
    shown = Shown()
    shown(1)
    assert seen_by(shown)[:2] == [0, 1]


def test_tensors_live_as_long_as_their_addresses():
    x = torch.zeros(3)
    shown, kept = Shown(x), weakref.ref(x)
    del x
    assert kept() is not None
    assert seen_by(shown)[2] == kept().data_ptr()


# -- threads -----------------------------------------------------------------------------------------------------------


def which_threads(n_threads, n_pieces):
    """The threads that run a loop after a product has made a pool; those of the process before it and after."""
    found, wait = [], threading.Barrier(min(n_threads, n_pieces))

    @CFUNCTYPE(None, POINTER(c_int64))
    def note(numbers):
        found.append(threading.get_native_id())
        wait.wait(5)

    with on_threads(n_threads):
        torch.rand(2_000_000).exp_()
        before = {int(task) for task in os.listdir(TASKS)}
        Bound(note, ())(n_pieces)
    return found, before, {int(task) for task in os.listdir(TASKS)}


has_pool = pytest.mark.skipif(
    not TASKS.exists() or compiled._parallel() is None, reason="no Linux, or a torch without OpenMP"
)


@has_pool
def test_loops_run_on_torchs_threads():
    found, before, after = which_threads(2, 100)
    assert len(set(found)) == 2
    assert set(found) <= before
    assert after <= before  # a thread of somebody else may have ended


@has_pool
@pytest.mark.parametrize(("n_threads", "n_pieces"), [(1, 100), (2, 1)])
def test_one_thread_where_there_is_one_or_one_piece(n_threads, n_pieces):
    found, before, after = which_threads(n_threads, n_pieces)
    assert found == [threading.get_native_id()]
    assert after <= before  # a thread of somebody else may have ended


# -- whether they are used ---------------------------------------------------------------------------------------------


def test_the_switch(monkeypatch):
    monkeypatch.setattr(compiled, "_has_numba", lambda: True)
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    assert is_compiled()
    for value, expected in (("0", False), ("1", True)):
        monkeypatch.setenv(compiled.SWITCH, value)
        assert is_compiled() == expected


def test_without_numba(monkeypatch):
    monkeypatch.setenv(compiled.SWITCH, "1")
    monkeypatch.setattr(compiled, "_has_numba", lambda: False)
    assert not is_compiled()
    with loaded_loops():
        assert not loops_pay(True)


@pytest.fixture
def _numba(monkeypatch):
    """As if it was installed."""
    monkeypatch.setattr(compiled, "_has_numba", lambda: True)
    monkeypatch.delenv(compiled.SWITCH, raising=False)


@pytest.mark.usefixtures("_numba")
def test_loops_pay_for_long_work_or_where_they_are_loaded():
    assert loops_pay(True)
    assert not loops_pay(False)
    with loaded_loops():
        assert loops_pay(False)
        with loaded_loops(False):
            assert not loops_pay(False)
            with loaded_loops():
                assert loops_pay(False)
            assert not loops_pay(False)
        assert loops_pay(False)
    assert not loops_pay(False)
    with loaded_loops(), without_loops():
        assert not loops_pay(True)


@pytest.mark.usefixtures("_numba")
def test_put_back_after_an_error():
    for are_loaded in (True, False):
        with loaded_loops(not are_loaded), pytest.raises(KeyError), loaded_loops(are_loaded):
            raise KeyError
    assert not loops_pay(False)


@pytest.mark.usefixtures("_numba")
def test_other_threads_have_loaded_nothing():
    seen = []
    with loaded_loops():
        other = threading.Thread(target=lambda: seen.append(loops_pay(False)))
        other.start()
        other.join()
    assert seen == [False]
