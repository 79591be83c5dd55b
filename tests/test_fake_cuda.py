"""What fake_cuda.py must see for the tests that stand on it to mean anything."""

import pytest
import torch

from skrbm.support.randomness import Stream
from tests.fake_cuda import HostWaits, fake_cuda, fake_driver


@pytest.fixture
def launches():
    with fake_cuda() as launches:
        yield launches


def ones(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype, device="cuda:0")


def test_kernels_are_counted_and_views_are_not(launches):
    a = torch.empty(4, 3, device="cuda:0")
    b = a[1:3, None, 0].T
    a.view(-1)
    assert launches.kernels == []
    a.T.flatten()
    assert launches.kernels == ["clone"]
    torch.mm(a, a.T).add_(1.0).sum(0)
    assert launches.kernels[1:] == ["mm", "add_", "sum"]
    a[:2] = a[2:]
    a[0] = 2.0
    assert launches.kernels[4:] == ["copy_", "fill_"]
    assert b.device == torch.device("cuda:0")
    torch.ones(3).add_(1.0)
    assert len(launches.kernels) == 6


@pytest.mark.parametrize(
    "index",
    [
        1,
        -1,
        slice(1, 3),
        (slice(None), 1),
        None,
        (None, 2),
        (..., None),
        (..., 0),
        (1, ...),
        (slice(None), None),
        ([0]),
    ],
    ids=str,
)
def test_indexing_is_torchs(index):
    index = torch.tensor(index) if isinstance(index, list) else index
    expected = torch.ones(4, 3, 2)[index].shape
    with fake_cuda():
        index = torch.ones(1, dtype=torch.long, device="cuda") if isinstance(index, torch.Tensor) else index
        assert ones(4, 3, 2)[index].shape == expected


def test_copies_between_host_and_device_are_told_apart(launches):
    a = torch.ones(3).to("cuda")
    a.copy_(torch.zeros(3))
    assert (len(launches.sent), len(launches.fetched), launches.kernels) == (2, 0, [])
    a.cpu()
    assert (len(launches.sent), len(launches.fetched), launches.kernels) == (2, 1, [])
    torch.ones(3).pin_memory().to("cuda")
    assert launches.sent[-1] is launches.pinned[0]
    assert len(launches.pinned) == 1
    a.double()
    assert launches.kernels == ["_to_copy"]


@pytest.mark.parametrize("read", [float, int, bool, torch.Tensor.item, torch.Tensor.tolist])
def test_waiting_for_a_number_is_refused_or_counted(read):
    with fake_cuda(), pytest.raises(HostWaits):
        read(ones(3).max())
    with fake_cuda(reads=1.0) as launches:
        assert read(ones(3).max()) == 1.0
        assert bool((ones(3) > 0).all()) is True
    assert len(launches.fetched) == 2


def test_other_devices_and_types_are_refused(launches):
    with pytest.raises(RuntimeError, match="same device"):
        torch.mm(ones(3, 3), torch.ones(3, 3))
    with pytest.raises(RuntimeError, match="same device"):
        ones(3, 3).add_(torch.ones(3, 3, device="cuda:1"))
    with pytest.raises(RuntimeError, match="same type"):
        torch.mm(ones(3, 3), ones(3, 3, dtype=torch.bfloat16))


def test_streams_draw_on_it(launches):
    assert Stream(0).bernoulli(ones(3, 2)).device == torch.device("cuda:0")
    assert launches.kernels[1:] == ["rand", "lt"]


def test_driver(monkeypatch):
    driver = fake_driver(monkeypatch, n_devices=2, capability=(7, 5), free=100)
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert torch.cuda.get_device_capability("cuda:1") == (7, 5)
    assert torch.cuda.mem_get_info("cuda:1")[0] == 100
    torch.cuda.set_device(1)
    torch.cuda.synchronize()
    assert torch.cuda.current_device() == 1
    assert driver.calls == [("set_device", 1), ("synchronize", None)]
    with pytest.raises(RuntimeError, match="ordinal"):
        torch.cuda.set_device(2)
    with fake_cuda():
        assert torch.tensor([1.0], device="cuda").device == torch.device("cuda:1")
