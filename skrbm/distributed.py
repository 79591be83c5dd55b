"""Learning in several processes, on one machine or many, by `torch.distributed`.

Each process (rank) has rows of its own and chains of its own. An update averages the statistics of all of them, so that
it is the update of one process with all their rows in its batch and all their chains; the parameters are the same on
all ranks at any time.

A script for `torchrun --nproc-per-node 4 script.py`:

    from skrbm import BernoulliRBMTorch
    from skrbm.distributed import process_group

    with process_group() as group:
        rows = numpy.load("rows.npy", mmap_mode="r")[group.rank :: group.size]
        rbm = BernoulliRBMTorch(n_hidden=500, random_state=0, checkpoint="run.ckpt", resume=True).fit(rows)
        if group.rank == 0:
            joblib.dump(rbm, "rbm.joblib")

Where there is CUDA, each process on a machine takes a GPU of its own, that of its LOCAL_RANK: device="auto" and "cuda"
mean this one.

`n_chains` and `batch_size` are those of a rank. An epoch has as many updates as the rank with the fewest batches can
have, so give all ranks about as many rows. Rank 0 writes the checkpoint, which has the chains of all ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Group(Protocol):
    """Processes that learn one machine together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        How many there are.
    """

    rank: int
    size: int

    def mean(self, value: Tensor, weight: float = 1.0) -> Tensor:
        """Weighted mean of a tensor over the ranks."""

    def mean_(self, values: Tensor) -> None:
        """Replace a tensor by its mean over the ranks."""

    def pooled(self, *phases: Any) -> tuple[Any, ...]:
        """Named tuples of weighted means and, last, their total weight: what they are over all ranks together."""

    def total(self, number: int) -> int:
        """Sum over the ranks."""

    def least(self, number: int) -> int:
        """The least of the numbers of all ranks."""

    def of_first(self, value: Any) -> Any:
        """What rank 0 has."""

    def gather(self, value: Any) -> list[Any]:
        """What each rank has, on rank 0; on others an empty list."""

    def gather_everywhere(self, value: Any) -> list[Any]:
        """What each rank has, on all."""

    def seed(self, seed: list[int]) -> list[int]:
        """A seed of this rank's own."""


class Alone(Group):
    """A single process: everybody has what it has."""

    rank: int = 0
    size: int = 1

    def mean(self, value: Tensor, weight: float = 1.0) -> Tensor:
        return value

    def mean_(self, values: Tensor) -> None:
        pass

    def pooled(self, *phases: Any) -> tuple[Any, ...]:
        return phases

    def total(self, number: int) -> int:
        return number

    def least(self, number: int) -> int:
        return number

    def of_first(self, value: Any) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def gather_everywhere(self, value: Any) -> list[Any]:
        return [value]

    def seed(self, seed: list[int]) -> list[int]:
        return seed


class _ProcessGroup(Group):
    """torch's default process group. Tensors are summed where they live, if it has a backend for that."""

    def __init__(self, timeout: float) -> None:
        self.rank, self.size, self._timeout = dist.get_rank(), dist.get_world_size(), timeout
        self._served = {pair.partition(":")[0] for pair in dist.get_backend_config().split(",")}
        self._device = torch.device("cpu" if "cpu" in self._served else "cuda")  # of numbers and objects

    def mean(self, value: Tensor, weight: float = 1.0) -> Tensor:
        both = torch.cat((weight * value.double().ravel(), torch.tensor([weight], device=value.device).double()))
        both = self._sum(both)
        return (both[:-1] / both[-1]).view(value.shape).to(value.dtype)

    def mean_(self, values: Tensor) -> None:
        self._sum(values).div_(self.size)

    def pooled(self, *phases: Any) -> tuple[Any, ...]:
        sums = [part for *means, weight in phases for part in (*(weight * mean for mean in means), weight)]
        flat = self._sum(torch.cat([part.reshape(-1) for part in sums]))  # all in one piece
        parts = iter(flat.split([part.numel() for part in sums]))  # type: ignore[no-untyped-call]
        found = []
        for *means, _ in phases:
            totals = [next(parts).view(mean.shape) for mean in means]
            weight = next(parts)
            found.append([*(total / weight for total in totals), weight[0]])
        return tuple(type(phase)(*values) for phase, values in zip(phases, found, strict=True))

    def total(self, number: int) -> int:
        return int(self._sum(torch.tensor(number, device=self._device)))

    def least(self, number: int) -> int:
        found = torch.tensor(number, device=self._device)
        with self._explained():
            dist.all_reduce(found, dist.ReduceOp.MIN)
        return int(found)

    def of_first(self, value: Any) -> Any:
        values = [value]
        with self._explained():
            dist.broadcast_object_list(values, 0, device=self._device)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size if self.rank == 0 else []
        with self._explained():
            dist.gather_object(value, values or None)
        return values

    def gather_everywhere(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with self._explained():
            dist.all_gather_object(values, value)
        return values

    def seed(self, seed: list[int]) -> list[int]:
        return [*seed, self.rank]

    def _sum(self, values: Tensor) -> Tensor:
        is_served = values.device.type in self._served
        summed = values if is_served else values.to(self._device)
        with self._explained():
            dist.all_reduce(summed)
        return values if is_served else values.copy_(summed)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f"Rank {self.rank} has lost another of the {self.size} processes, or has waited for it for more than "
                f"{self._timeout:g} s. Start them all again; with checkpoint and resume=True they go on from the last "
                f"checkpoint. ({str(error).partition(chr(10))[0]})"
            ) from error


ALONE = Alone()
_current: ContextVar[Group] = ContextVar("group", default=ALONE)


def current_group() -> Group:
    """The group of the innermost `process_group`, or one of this process alone."""
    return _current.get()


@contextmanager
def process_group(backend: str | None = None, timeout: float = 60.0) -> Iterator[Group]:
    """Within it, `BernoulliRBMTorch.fit` and `partial_fit` learn together with the other processes of `torchrun`.

    Parameters
    ----------
    backend : {"gloo", "nccl", "cpu:gloo,cuda:nccl"}, optional
        By default "cpu:gloo,cuda:nccl" where there are CUDA and NCCL, which learns on either device, else "gloo". With
        NCCL, the GPU of the number LOCAL_RANK, which `torchrun` sets, becomes torch's current device: the one that
        device="auto" and "cuda" mean. Where that isn't set, the current device stays. With "gloo" no GPU is taken: set
        `device`. A process group that exists already is used as it is.
    timeout : float
        Seconds to wait for another process. Where one has died, the others end with a RuntimeError after so many
        seconds at the latest; for NCCL to do that, TORCH_NCCL_BLOCKING_WAIT is 1 while it starts, unless the
        environment says otherwise.

    Yields
    ------
    Group
        With `rank` and `size`.

    Raises
    ------
    RuntimeError
        If the processes weren't started by `torchrun`, or by what sets its environment variables; if there is no GPU
        for this one; or later, if another process is lost.
    """
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r} must be a positive number of seconds.")
    created = not dist.is_initialized()
    if created:
        _start(backend or _default_backend(), timeout)
    group = _ProcessGroup(timeout)
    token = _current.set(group)
    try:
        yield group
    finally:
        _current.reset(token)
        if created:
            dist.destroy_process_group()


def _default_backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def _start(backend: str, timeout: float) -> None:
    """Find the other processes."""
    device = _take_gpu() if "nccl" in backend else None
    try:
        with _blocking_wait():
            # With its device, NCCL connects at once instead of guessing it at the first sum.
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout), device_id=device)
    except ValueError as error:
        raise RuntimeError(
            "process_group() finds no other processes. Start them with torchrun, such as `torchrun "
            f"--nproc-per-node 2 script.py`. ({error})"
        ) from error


def _take_gpu() -> torch.device | None:
    """Make the GPU of this process the current device; None where nobody has numbered the processes."""
    if "LOCAL_RANK" not in os.environ:
        return None
    local_rank, n_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= n_gpus:
        raise RuntimeError(
            f"No GPU is left for the process with LOCAL_RANK={local_rank}: it sees {n_gpus}. Start as many processes "
            f"as there are GPUs (`torchrun --nproc-per-node {max(n_gpus, 1)}`), or learn on the CPU, with "
            "process_group('gloo') and device='cpu'. Where each process sees one GPU, its own, set LOCAL_RANK=0."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


@contextmanager
def _blocking_wait() -> Iterator[None]:
    """Process groups of NCCL that are made within it raise an error when a sum fails: else the process is torn down."""
    name = "TORCH_NCCL_BLOCKING_WAIT"
    is_set = name in os.environ or "NCCL_BLOCKING_WAIT" in os.environ  # the older name
    if is_set:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
