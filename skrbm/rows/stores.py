"""Rows as they are kept: as codes on the CPU, or on a device, as a whole or sent to it batch by batch."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from skrbm.support.tensors import chunks

_MAX_SHARE = 0.5  # of the free memory of a device, which rows may take


class Levels(NamedTuple):
    """What the codes that a store keeps stand for: themselves, or multiples of one over a divisor."""

    divisor: Tensor | None = None  # of no dimensions, in the type of the rows

    def to(self, device: torch.device) -> Levels:
        """The same there: divided by a number of the host, CUDA would multiply with its rounded inverse."""
        return self if self.divisor is None else Levels(self.divisor.to(device))

    def of(self, codes: Tensor) -> Tensor:
        return codes if self.divisor is None else codes.to(self.divisor.dtype).div_(self.divisor)


class Store(Protocol):
    """Keeps rows, and hands some of them out."""

    def index(self, rows: np.ndarray) -> Tensor:
        """Numbers of rows where `take` wants them."""

    def take(self, rows: Tensor) -> Tensor:
        """Those rows, (len(rows), n_features)."""


class OnCPU(Store, Protocol):
    """Keeps rows in memory that numpy sees."""

    levels: Levels

    def codes(self, rows: Tensor) -> Tensor:
        """Those rows in the narrowest type that torch has for them."""

    def index(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows)

    def take(self, rows: Tensor) -> Tensor:
        return self.levels.of(self.codes(rows))


class Resident(Store):
    """All rows of another store, on a device, as codes that become floats batch by batch."""

    def __init__(self, store: OnCPU, shape: tuple[int, int], device: torch.device) -> None:
        self._levels = store.levels.to(device)
        numbers = torch.arange(shape[0])
        self._codes = torch.empty(shape, dtype=store.codes(numbers[:0]).dtype, device=device)
        for rows in chunks(shape[0]):
            self._codes[rows].copy_(store.codes(numbers[rows]))

    def index(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self._codes.device)

    def take(self, rows: Tensor) -> Tensor:
        return self._levels.of(self._codes.index_select(0, rows))


class Sent(Store):
    """Rows of another store, sent to a device batch by batch."""

    def __init__(self, store: OnCPU, device: torch.device) -> None:
        self._store, self._levels, self._device = store, store.levels.to(device), device

    def index(self, rows: np.ndarray) -> Tensor:
        return self._store.index(rows)

    def take(self, rows: Tensor) -> Tensor:
        codes = self._store.codes(rows)
        if self._device.type == "cuda":  # without waiting; torch gives pinned memory to nobody else until it is copied
            codes = codes.pin_memory().to(self._device, non_blocking=True)
        return self._levels.of(codes.to(self._device))


def on_device(store: OnCPU, shape: tuple[int, int], device: torch.device) -> Store:
    """The rows on a device: as a whole if that leaves enough of its memory to training, else a batch at a time."""
    n_bytes = shape[0] * shape[1] * store.codes(torch.arange(0)).element_size()
    if n_bytes > _MAX_SHARE * free_memory(device):
        return Sent(store, device)
    try:
        return Resident(store, shape, device)
    except torch.cuda.OutOfMemoryError:
        return Sent(store, device)


def free_memory(device: torch.device) -> float:
    """Bytes on a device that nobody uses, among them those that torch keeps for its next tensors."""
    if device.type != "cuda":
        return math.inf
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return float(torch.cuda.mem_get_info(device)[0] + kept)
