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

`n_chains` and `batch_size` are those of a rank. An epoch has as many updates as the rank with the fewest batches can
have, so give all ranks about as many rows. Rank 0 writes the checkpoint, which has the chains of all ranks.
"""

from __future__ import annotations

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
    """torch's default process group."""

    def __init__(self, timeout: float) -> None:
        self.rank, self.size, self._timeout = dist.get_rank(), dist.get_world_size(), timeout
        self._device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")

    def mean(self, value: Tensor, weight: float = 1.0) -> Tensor:
        both = torch.cat((weight * value.double().ravel(), torch.tensor([weight], device=value.device).double()))
        both = self._sum(both.to(self._device)).to(value.device)
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
        with self._explained():
            dist.all_reduce(values)
        return values

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
    backend : {"gloo", "nccl"}, optional
        By default "nccl" where there is CUDA, else "gloo". A process group that exists already is used as it is.
    timeout : float
        Seconds to wait for another process. Where one has died, the others end with a RuntimeError after so many
        seconds at the latest.

    Yields
    ------
    Group
        With `rank` and `size`.

    Raises
    ------
    RuntimeError
        If the processes weren't started by `torchrun`, or by what sets its environment variables; or later, if another
        process is lost.
    """
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r} must be a positive number of seconds.")
    created = not dist.is_initialized()
    if created:
        backend = backend or ("nccl" if torch.cuda.is_available() else "gloo")
        try:
            dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        except ValueError as error:
            raise RuntimeError(
                "process_group() finds no other processes. Start them with torchrun, such as `torchrun "
                f"--nproc-per-node 2 script.py`. ({error})"
            ) from error
    group = _ProcessGroup(timeout)
    token = _current.set(group)
    try:
        yield group
    finally:
        _current.reset(token)
        if created:
            dist.destroy_process_group()
