"""CUDA without a GPU: fake tensors that live on "cuda:0", a count of what is launched there, and a driver that answers.

    with fake_cuda() as launches:
        W = torch.rand(5, 4, device="cuda:0")
        work(W)
    assert len(launches.kernels) <= 3

`fake_cuda` runs torch's own code on tensors that have a shape, a type and a device, but no numbers (FakeTensorMode), so
it sees what a GPU would refuse: tensors on different devices, wrong shapes and types, and a number that the host waits
for (`.item()`, `bool()`, `float()` raise `HostWaits`; with `reads=` they answer that, and are
counted). It doesn't see what the numbers would be, nor streams. Make everything that the work takes within the block;
what is made outside is real and refused. `Stream.generator` gives None within it, as a build without CUDA has none.

`fake_driver(monkeypatch)` is for real code on real tensors that asks torch.cuda for devices, free memory and the like.
"""

from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import torch
from torch._prims_common import wrappers
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from skrbm.support.randomness import Stream

HostWaits = DataDependentOutputException  # a number was asked for that only the device has
aten = torch.ops.aten
_NO_KERNELS = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "_local_scalar_dense",
}
_HAS_OUT_DTYPE = "dtype" in aten.mm.overloads()
_PRODUCTS = {"mm", "addmm", "addmm_", "mv", "addmv", "addmv_", "bmm", "baddbmm", "dot", "addr", "addr_"}


class Launches(TorchDispatchMode):
    """What has been asked of a device, as the names of operators.

    Attributes
    ----------
    kernels : list of str
        Operators that work on a device, in order. Views and allocations aren't among them. One operator is one kernel
        for what is elementwise, a sum or a product; the library may take more for others, such as an svd.
    sent : list of Tensor
        Tensors that came to the device from the host.
    not_waited_for : list of Tensor
        Those of them that were sent with non_blocking=True.
    pinned : list of Tensor
        Copies in pinned memory on the host.
    fetched : list of Tensor
        Tensors that came back from it, by a copy or as a number: each time the host waits.
    """

    def __init__(self, reads=None):
        super().__init__()
        self.kernels, self.sent, self.not_waited_for, self.pinned, self.fetched = [], [], [], [], []
        self._reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [x for x in _flat((args, kwargs)) if isinstance(x, torch.Tensor)]
        if name == "_local_scalar_dense" and _is_remote(args[0]):
            self.fetched.append(args[0])
            if self._reads is not None:
                return bool(self._reads) if args[0].dtype == torch.bool else self._reads
        has_types_of_its_own = func._overloadname.startswith("dtype")
        is_product = name in _PRODUCTS and any(_is_remote(x) for x in tensors) and not has_types_of_its_own
        if is_product and len(dtypes := {x.dtype for x in tensors}) > 1:  # which fake tensors don't look at
            raise RuntimeError(f"{name}: expected tensors of the same type, got {dtypes}")
        if name == "_pin_memory":  # which fake tensors don't know
            self.pinned.append(aten.clone.default(args[0]))
            return self.pinned[-1]
        found = func(*args, **kwargs)
        results = [x for x in _flat(found) if isinstance(x, torch.Tensor)]
        remote_in, remote_out = (any(_is_remote(x) for x in some) for some in (tensors, results))
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if remote_out and not _is_remote(source):
                self.sent.append(source)
                if kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,)):
                    self.not_waited_for.append(source)
                return found
            if _is_remote(source) and not remote_out:
                self.fetched.append(source)
                return found
        if (remote_in or remote_out) and not (func.is_view or func.namespace == "prim" or name in _NO_KERNELS):
            self.kernels.append(name)
        return found


class _WithoutDevice(FakeTensorMode):
    """Makes nothing on the GPU that `fake_driver` has promised."""

    avoid_device_init = True


class _WithoutGuard(TorchFunctionMode):
    """Indexing, `copy_`, `float()` and `int()` by operators: Python's own ask for a guard that a CPU build lacks.

    So does "cuda" without a number.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        args = tuple(_numbered(x) for x in args)
        kwargs = {name: _numbered(x) for name, x in (kwargs or {}).items()}
        if args and isinstance(args[0], torch.Tensor) and _is_remote(args[0]):
            name = getattr(func, "__name__", "")
            if name == "__getitem__":
                return _get(*args)
            if name == "__setitem__":
                tensor, index, value = args
                part = _get(tensor, index)
                if any(isinstance(i, torch.Tensor) for i in _flat(index)):
                    raise NotImplementedError("fake_cuda: indices that are tensors in an assignment")
                if isinstance(value, torch.Tensor):
                    aten.copy_.default(part, value)
                else:
                    part.fill_(value)
                return None
            if name in ("__float__", "__int__"):
                return {"__float__": float, "__int__": int}[name](args[0].item())
            if name == "tolist":
                number = aten.select.int(args[0].reshape(-1), 0, 0).item()
                return np.full(args[0].shape, number).tolist()
        if func is torch.Tensor.copy_ and any(_is_remote(x) for x in args[:2]):
            return aten.copy_.default(*args, **kwargs)
        return func(*args, **kwargs)


def _numbered(x):
    is_current = isinstance(x, (str, torch.device)) and str(x) == "cuda"
    return torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_available() else 0) if is_current else x


def _get(tensor, index):
    index = index if isinstance(index, tuple) else (index,)
    n_taken = sum(i is not None and i is not Ellipsis for i in index)
    dim, picks = 0, []
    for i in index:
        if i is Ellipsis:
            dim += tensor.ndim - n_taken - dim
        elif i is None:
            tensor, dim = tensor.unsqueeze(dim), dim + 1
        elif isinstance(i, slice):
            whole = i.start is None and i.stop is None and i.step is None
            tensor = tensor if whole else aten.slice.Tensor(tensor, dim, i.start, i.stop, i.step or 1)
            dim += 1
        elif isinstance(i, torch.Tensor):
            picks += [None] * (dim - len(picks)) + [i]
            dim += 1
        else:
            tensor = aten.select.int(tensor, dim, int(i))
    return aten.index.Tensor(tensor, picks) if picks else aten.alias.default(tensor)


def _flat(x):
    if isinstance(x, dict):
        x = x.values()
    elif not isinstance(x, (list, tuple)):
        yield x
        return
    for part in x:
        yield from _flat(part)


def _is_remote(x):
    return x.device.type != "cpu"


@contextmanager
def fake_cuda(reads=None):
    """Tensors on "cuda:0" (and "cuda:1") that have no numbers.

    Parameters
    ----------
    reads : float, optional
        What `.item()`, `float()` and `bool()` of tensors on a device are. By default they raise.

    Yields
    ------
    Launches
        What has been asked of the device so far.
    """
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Stream, "generator", return_value=None))
        # What is found out by numbers elsewhere, once for all.
        sums = mock.patch(
            "skrbm.support.kernels.sums_in_float32", lambda device: _HAS_OUT_DTYPE and device.type == "cuda"
        )
        stack.enter_context(sums)
        # What is written to an `out` is copied there in Python, which asks for a guard.
        copy = lambda copy_from, copy_to, **_: aten.copy_.default(copy_to, copy_from)  # noqa: E731
        stack.enter_context(mock.patch.object(wrappers, "_safe_copy_out", copy))
        stack.enter_context(_WithoutDevice())
        launches = stack.enter_context(Launches(reads))
        stack.enter_context(_WithoutGuard())
        yield launches


class Driver:
    """Answers for torch.cuda, and what it was asked to do.

    Attributes
    ----------
    free, total, reserved : int
        Bytes of memory; `reserved` ones are torch's, and no tensor has them.
    current : int
        The current device.
    calls : list of tuple
        ("set_device", index), ("synchronize", device), in order.
    """

    def __init__(self, n_devices, capability, free):
        self.n_devices, self.capability, self.free, self.total = n_devices, capability, free, 2 * free
        self.reserved, self.current, self.calls = 0, 0, []

    def set_device(self, device):
        index = torch.device("cuda", device).index if isinstance(device, int) else torch.device(device).index
        if not 0 <= index < self.n_devices:
            raise RuntimeError("CUDA error: invalid device ordinal")
        self.current = index
        self.calls.append(("set_device", index))

    def synchronize(self, device=None):
        self.calls.append(("synchronize", device))


def fake_driver(monkeypatch, n_devices=1, capability=(9, 0), free=1 << 34):
    """torch.cuda with so many devices of a capability, and so much free memory, that works through no GPU."""
    driver = Driver(n_devices, capability, free)
    answers = {
        "is_available": lambda: n_devices > 0,
        "device_count": lambda: n_devices,
        "current_device": lambda: driver.current,
        "get_device_capability": lambda device=None: driver.capability,
        "mem_get_info": lambda device=None: (driver.free, driver.total),
        "memory_reserved": lambda device=None: driver.reserved,
        "memory_allocated": lambda device=None: 0,
        "set_device": driver.set_device,
        "synchronize": driver.synchronize,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return driver
