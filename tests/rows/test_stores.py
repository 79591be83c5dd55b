"""Devices that need not be there: the CPU serves as another, or tensors are fake."""

import math

import numpy as np
import pytest
import torch

from skrbm.rows import stores
from skrbm.rows.arrays import ArrayRows
from skrbm.rows.stores import Levels, OnCPU, Resident, Sent, on_device
from skrbm.support.randomness import Stream
from tests.fake_cuda import fake_cuda, fake_driver

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
GREYS = np.random.default_rng(0).integers(0, 256, (5000, 3)) / 255


class Rows(OnCPU):
    """Codes that stand for multiples of one over a divisor."""

    def __init__(self, codes, divisor=None):
        self.all, self.levels = torch.as_tensor(codes), Levels(divisor)

    def codes(self, rows):
        return self.all[rows]


def greys(n, n_columns=10, dtype=torch.float32):
    return Rows(
        torch.arange(n * n_columns, dtype=torch.int64).view(n, -1).to(torch.uint8), torch.tensor(255.0).to(dtype)
    )


@pytest.mark.parametrize(
    "store",
    [greys(5000), greys(5000, dtype=torch.float64), Rows(np.eye(5000, 3, dtype=np.uint8)), Rows(np.eye(5000, 3) / 7)],
)
@pytest.mark.parametrize(("room", "kind"), [(0.0, Sent), (math.inf, Resident)])
def test_a_device_has_the_same_rows(store, room, kind, monkeypatch):
    monkeypatch.setattr(stores, "free_memory", lambda device: room)
    found = on_device(store, tuple(store.all.shape), CPU)
    assert isinstance(found, kind)
    rows = np.random.default_rng(0).permutation(5000)[:999]
    expected = store.take(store.index(rows))
    assert found.take(found.index(rows)).dtype == expected.dtype
    assert torch.equal(found.take(found.index(rows)), expected)


def test_greys_are_exact():
    np.testing.assert_array_equal(
        greys(26).take(torch.arange(26)).ravel()[:256], np.arange(256, dtype="f") / np.float32(255)
    )


def test_rows_that_a_device_has_no_room_for_are_sent_in_batches(monkeypatch):
    class Full:
        def __init__(self, *args):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stores, "Resident", Full)
    assert isinstance(on_device(greys(50), (50, 10), CPU), Sent)


def test_rows_take_up_to_half_of_the_free_memory_of_a_gpu(monkeypatch):
    """A byte for a grey, and none more while they are sent."""
    driver, n = fake_driver(monkeypatch, free=199_999), 10_000
    with fake_cuda() as launches:
        store = greys(n)
        assert isinstance(on_device(store, (n, 10), CUDA), Sent)
        driver.reserved = 1  # by torch, which has no use for it
        launches.sent.clear()
        resident = on_device(store, (n, 10), CUDA)
        assert isinstance(resident, Resident)
        assert launches.kernels == []  # neither a cat nor a cast
        assert sum(codes.nbytes for codes in launches.sent[1:]) == 10 * n  # behind the divisor
        v = resident.take(torch.zeros(100, dtype=torch.int64, device=CUDA))
        assert (v.dtype, v.device, v.shape) == (torch.float32, CUDA, (100, 10))
        assert launches.kernels[1:] == ["index_select", "_to_copy", "div_"]


def test_greys_are_divided_on_the_device():
    """By a number on the host, CUDA multiplies with its rounded inverse."""
    with fake_cuda():
        assert Levels(torch.tensor(255.0)).to(CUDA).divisor.device == CUDA


def test_batches_are_sent_from_pinned_memory_as_codes():
    with fake_cuda() as launches:
        store = Sent(greys(200), CUDA)
        v = store.take(torch.arange(100))
        assert (v.dtype, v.device, v.shape) == (torch.float32, CUDA, (100, 10))
        (pinned,) = launches.pinned
        assert pinned.dtype == torch.uint8
        assert launches.sent[-1] is pinned
        assert len(launches.sent) == 2  # the divisor, and the batch
        assert launches.not_waited_for == [pinned]


@pytest.mark.cuda
@pytest.mark.parametrize("X", [GREYS, GREYS > 0.5, GREYS + 0.01], ids=["greys", "bits", "as given"])
@pytest.mark.parametrize("room", [0.0, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_on_cuda(X, room, dtype, monkeypatch):
    monkeypatch.setattr(stores, "free_memory", lambda device: room)
    cpu, cuda = (ArrayRows(X, dtype=dtype, device=device).epoch(Stream(0), 99) for device in ("cpu", "cuda"))
    for one, two in zip(cpu, cuda, strict=True):
        assert two.v.is_cuda
        assert torch.equal(one.v, two.v.cpu())
