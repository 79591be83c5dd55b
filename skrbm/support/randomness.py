"""Streams of randomness: seeded, spawned by use, with a state that can be stored and set again.

Every draw in skrbm takes its randomness from a :class:`Stream` that is passed in; no global generator is touched.
On the CPU the raw words come from numpy's SFC64, several times faster than torch's generator; on another device
from a `torch.Generator` that lives there.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

TABLE = 1 << 17  # numbers in the table of low bits


class Stream:
    """A stream of random numbers.

    Parameters
    ----------
    seed : int, sequence of int or None
        Entropy, each number >= 0. None takes fresh entropy from the operating system.
    use : str
        What the stream is used for. Streams of one seed and different uses are independent of each other.

    Notes
    -----
    Bernoulli draws compare the probability with a uniform number of 24 bits, so their frequency is off by no more than
    2^-24 = 6e-8, about the rounding of a float32 probability. On the CPU the upper 8 bits of each number are fresh. The
    lower ones, which decide one draw in 256, come from a table that has each number k / 2^17 once, in random order,
    and is read from a random place at each call: every number is uniform, the covariance of two draws of a call is
    of the order of 1e-8, and a third of the random words is enough. On a GPU all 24 bits are fresh.

    Examples
    --------
    >>> import torch
    >>> stream = Stream(0, "demo")
    >>> stored = stream.state()
    >>> first = stream.bernoulli(torch.full((2, 3), 0.5))
    >>> stream.set_state(stored)
    >>> torch.equal(first, stream.bernoulli(torch.full((2, 3), 0.5)))
    True
    """

    def __init__(self, seed: int | Sequence[int] | None = None, use: str = "") -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(use.encode()),))
        self._bits, self._use = np.random.SFC64(sequence), use
        self._device_generators: dict[str, torch.Generator] = {}

    def __repr__(self) -> str:
        """Streams that are about to draw the same numbers (on the CPU) look alike."""
        state = zlib.crc32(repr(self._bits.state).encode())
        return f"Stream({f'{self._use!r}, ' if self._use else ''}state {state:08x})"

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything the next draws depend on, as arrays and numbers that can be pickled anywhere."""
        return {
            "cpu": self._bits.state,
            "devices": {name: g.get_state().numpy() for name, g in self._device_generators.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self._bits.state = state["cpu"]
        self._device_generators = {}
        for name, values in state["devices"].items():
            try:
                generator = torch.Generator(name)
                generator.set_state(torch.from_numpy(np.array(values)))
            except RuntimeError:  # a state from a machine with a device that this one lacks
                continue
            self._device_generators[name] = generator

    def __getstate__(self) -> dict[str, Any]:
        return self.state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._bits, self._use = np.random.SFC64(0), ""
        self.set_state(state)

    # -- draws on the CPU ------------------------------------------------------------------------------------------

    def spawn(self, use: str) -> Stream:
        """A new stream, seeded from this one (which moves on by four words)."""
        return Stream([int(word) for word in self._bits.random_raw(4)], use)

    def permutation(self, n: int) -> np.ndarray:
        """A random order of 0 … n-1."""
        return np.random.Generator(self._bits).permutation(n)

    def normal(self, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        """Independent normal numbers of mean 0 and standard deviation `scale`, float64."""
        return np.random.Generator(self._bits).normal(0.0, scale, shape)

    def integers(self, high: int | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Independent integers, uniform on 0 … high-1, each of its own `high` where that is an array."""
        return np.random.Generator(self._bits).integers(high, size=shape)

    # -- Bernoulli draws on any device -------------------------------------------------------------------------------

    def uniform(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """`n` independent numbers, uniform on [0, 1), float32: shape (n,)."""
        if torch.device(device).type != "cpu":
            return torch.rand(n, device=device, generator=self.generator(torch.device(device)))
        numbers = torch.empty(n)
        for first in range(0, n, TABLE):
            self._fill_(numbers[first : first + TABLE])
        return numbers

    def bernoulli(self, p: Tensor) -> Tensor:
        """Independent draws, 1 with probability `p` and else 0, in the shape, type and device of `p`.

        Probabilities outside [0, 1] act as the nearest bound.
        """
        return bernoulli_(
            torch.empty_like(p, memory_format=torch.contiguous_format), p, self.uniform(p.numel(), p.device)
        )

    def dither(self, n: int) -> Tensor:
        """`n` numbers, uniform on [0, 1), for rounding at random: a piece of the table that `uniform` uses; (n,).

        Float32, on the CPU; not to be written to. Not for draws of states: a piece comes
        again in a long training.
        """
        piece = _piece(_table(), int(self._bits.random_raw()), min(n, TABLE))
        return piece if n <= TABLE else torch.cat((piece, self.dither(n - TABLE)))

    def _fill_(self, numbers: Tensor) -> None:
        n = len(numbers)
        words = self._bits.random_raw((n + 7) // 8 + 1)
        numbers.copy_(torch.from_numpy(words.view(np.uint8)[:n]))
        torch.add(_piece(_low_part(), int(words[-1]), n), numbers, alpha=1 / 256, out=numbers)

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of the draws on a device other than the CPU."""
        name = str(device)
        if name not in self._device_generators:
            generator = torch.Generator(device)
            generator.manual_seed(int(self._bits.random_raw()) >> 1)
            self._device_generators[name] = generator
        return self._device_generators[name]


def check_stream(stream: Any) -> None:
    """Raise a TypeError if this is no stream."""
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stream must be a Stream, got {type(stream).__name__}. Pass skrbm.support.randomness.Stream(seed)."
        )


def bernoulli_(out: Tensor, p: Tensor, uniform: Tensor) -> Tensor:
    """Write 1 to `out` where numbers `uniform` on [0, 1) lie below the probabilities `p`, else 0.

    Parameters
    ----------
    out : Tensor
        Contiguous, of a float type or int8.
    p : Tensor of the same shape
        Probabilities; outside [0, 1] they act as the nearest bound.
    uniform : Tensor of shape (p.numel(),), float32
        See `Stream.uniform`.

    Returns
    -------
    Tensor
        `out`.
    """
    uniform = uniform.view(p.shape)
    uniform = uniform if uniform.dtype == p.dtype else uniform.to(p.dtype)
    if out.is_floating_point():
        return torch.lt(uniform, p, out=out)
    # torch is slow at comparing floats into integers.
    return out.copy_(torch.lt(uniform, p, out=torch.empty_like(uniform)))


def _piece(table: Tensor, word: int, n: int) -> Tensor:
    """`n` numbers of the table from a place on that the upper 17 bits of a random word give."""
    first = word >> 47
    return table[first : first + n]


@cache
def _table() -> Tensor:
    """(k + 1/2) / 2^17 for k = 0 … 2^17-1, in random order, and the same once more, as pieces may start anywhere."""
    order = np.random.Generator(np.random.SFC64(0)).permutation(TABLE)
    # The largest stay below 1 - 2^-17 lest (255 + number) / 256 be rounded to 1.
    numbers = np.minimum((order + 0.5) / TABLE, 1.0 - 2.0**-16)
    return torch.from_numpy(np.tile(numbers.astype(np.float32), 2))


@cache
def _low_part() -> Tensor:
    return _table() / 256
