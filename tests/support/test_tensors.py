import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from skrbm.support.tensors import (
    CHUNK_ROWS,
    Placement,
    chunks,
    clock,
    dense,
    find_device,
    from_torch,
    is_bits,
    numpy_type,
    take_rows,
    to_numpy,
    to_tensor,
)
from tests.fake_cuda import fake_cuda, fake_driver


def test_devices():
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("device", ["meta:9x", "cuda:99", "nonsense", 3.5])
def test_missing_devices(device):
    with pytest.raises(ValueError, match=r"^(device=.*|CUDA) is not available.*\(.*\)\. Choose .*'cpu'.*\.$"):
        find_device(device)
    assert find_device(device, fall_back=True) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_cuda_where_there_is_none(device, monkeypatch):
    """What was refused isn't offered."""
    monkeypatch.setattr(torch, "zeros", refused("Torch not compiled with CUDA enabled"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"^CUDA is not available.*\(Torch not.*enabled\)\. Choose 'cpu', or 'auto'"
    ) as e:
        find_device(device)
    assert "'cuda" not in str(e.value).partition("Choose")[2]


def test_a_gpu_too_many(monkeypatch):
    monkeypatch.setattr(torch, "zeros", refused("CUDA error: invalid device ordinal\nFor debugging consider ..."))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"'cuda:7'.*ordinal\)\. Choose one of 'auto', 'cpu', 'cuda:0', 'cuda:1'\.$"):
        find_device("cuda:7")


def test_a_message_has_the_first_line_of_torch_only(monkeypatch):
    """Which lists all its kernels for a device that this build doesn't know."""
    monkeypatch.setattr(torch, "zeros", refused("Could not run 'aten::empty'. There are\n" + 500 * "kernels "))
    with pytest.raises(ValueError, match=r"^device='cpu' is not available \(Could.*empty'\)\. Choose") as caught:
        find_device("cpu")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("mps", "Apple's MPS has no float64, which sums are taken in"),
        (torch.device("mps"), "Apple's MPS has no float64, which sums are taken in"),
        ("meta", "its tensors have no values"),
        ("xpu", "only the CPU and CUDA have been tried"),
        ("xpu:1", "only the CPU and CUDA have been tried"),
    ],
)
@pytest.mark.parametrize("works", [False, True])
def test_devices_that_nobody_has_tried_are_refused_at_once(device, reason, works, monkeypatch):
    """Rather than at the first sum in float64, or by numbers that nobody has checked."""
    if works:
        zeros = torch.zeros
        monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **others: zeros(*size, **others))
    assert find_device(device, fall_back=True).type == "cpu"
    with pytest.raises(ValueError, match=rf"^device=.* is not supported: {reason}\. Choose one of 'auto'"):
        find_device(device)


def test_cuda_is_the_current_device(monkeypatch):
    fake_driver(monkeypatch, n_devices=2)
    torch.cuda.set_device(1)
    with fake_cuda():
        for device in ("auto", "cuda", torch.device("cuda")):
            assert find_device(device) == torch.device("cuda:1")
        assert find_device("cuda:0") == torch.device("cuda:0")


def refused(message):
    def zeros(*args, **kwargs):
        raise RuntimeError(message)

    return zeros


def test_the_clock_waits_for_the_device(monkeypatch):
    driver = fake_driver(monkeypatch)
    first = clock(torch.device("cpu"))
    assert driver.calls == []
    assert clock(torch.device("cuda:1")) > first
    assert driver.calls == [("synchronize", torch.device("cuda:1"))]


def test_tensors_to_arrays():
    tensor = torch.ones(2, 3, requires_grad=True)
    array = from_torch(tensor)
    assert isinstance(array, np.ndarray)
    assert np.shares_memory(array, tensor.detach().numpy())
    assert not np.shares_memory(to_numpy(tensor), array)
    assert from_torch(torch.ones(2).bfloat16()).dtype == np.float32
    assert from_torch("anything") == "anything"


def test_arrays_to_tensors():
    rows = np.arange(6.0).reshape(2, 3)
    assert np.shares_memory(to_tensor(rows, torch.float64).numpy(), rows)
    fixed = rows.copy()
    fixed.flags.writeable = False
    copied = to_tensor(fixed, torch.float64)
    assert not np.shares_memory(copied.numpy(), fixed)
    for X in (rows, np.asfortranarray(rows), sparse.csr_matrix(rows), rows.tolist(), rows.astype(np.int32)):
        found = to_tensor(X, torch.float32)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_array_equal(dense(X), rows)
    assert numpy_type(torch.float32) == np.float32
    assert numpy_type(torch.int8) == np.int8


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_bits(make):
    assert is_bits(make([[0.0, 1.0], [1.0, 1.0]]))
    assert is_bits(make([0, 1]))
    assert is_bits(make([True, False]))
    assert is_bits(make([]))
    for value in (0.5, 2.0, -1.0, float("nan")):
        assert not is_bits(make([0.0, value]))


@pytest.mark.parametrize("n", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1])
def test_chunks_are_all_rows_once(n):
    parts = list(chunks(n))
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    assert all(part.stop <= n for part in parts)
    assert all(0 < part.stop - part.start <= CHUNK_ROWS for part in parts)
    assert [part.stop for part in chunks(10, 4)] == [4, 8, 10]


def test_rows_in_their_own_type():
    rows = np.arange(6).reshape(3, 2)
    frame = pd.DataFrame(rows, index=[7, 8, 9])
    for which in (slice(1, 3), [2, 0], np.array([1])):
        np.testing.assert_array_equal(take_rows(rows, which), rows[which])
        np.testing.assert_array_equal(take_rows(rows.tolist(), which), rows[which])
        np.testing.assert_array_equal(take_rows(sparse.csr_matrix(rows), which).toarray(), rows[which])
        taken = take_rows(frame, which)
        assert isinstance(taken, pd.DataFrame)
        np.testing.assert_array_equal(taken, rows[which])


def test_placement():
    dtype, device = Placement.of(torch.ones(2, dtype=torch.float64))
    assert (dtype, device) == (torch.float64, torch.device("cpu"))
