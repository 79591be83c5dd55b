"""Streams of randomness: seeded, spawned by use, with a place that can be stored and set again.

Every draw in skrbm takes its randomness from a :class:`Stream` that is passed in; no global generator is touched. On
the CPU the numbers are those of a counter: a function of a key and a place, of which nothing has to be kept. On
another device they come from a `torch.Generator` that lives there.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrbm.support.compiled import Loop, is_compiled

TABLE = 1 << 17  # numbers in the table of low bits
_PER_BLOCK = 32  # bytes of a block of four words, which is what the counter counts
_PIECE = 1 << 12  # as in `loops`
_LEAST_COMPILED = 1 << 13  # draws of a call that pay for a compiled loop
_LEAST_TO_LOAD = 1 << 26  # draws of a process that pay for numba's import
_LOOPS = {
    (p, out): Loop("skrbm.support.loops", name)
    for p, out, name in (
        (torch.float32, torch.float32, "draw_f4_f4"),
        (torch.float32, torch.int8, "draw_f4_i1"),
        (torch.float64, torch.float64, "draw_f8_f8"),
    )
}


class Uniform(NamedTuple):
    """Independent numbers, uniform on [0, 1), by their place in a stream: they are made where they are needed.

    Attributes
    ----------
    key : tuple of int
        Of the stream, two words.
    position : int
        The first block of random words that they are made of.
    n : int
        How many.

    Notes
    -----
    The words are those of Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011), as numpy makes them: each block of four is
    a bijection of its place, under a key. For each `TABLE` numbers the first block says where in the table the low
    parts are read; in those that follow each byte is the upper part of a number.
    """

    key: tuple[int, int]
    position: int
    n: int

    def numbers(self) -> Tensor:
        """The numbers, float32: (n,)."""
        numbers, position = torch.empty(self.n), self.position
        for first in range(0, self.n, TABLE):
            some = numbers[first : first + TABLE]
            n_blocks = 1 + -(-len(some) // _PER_BLOCK)
            words = _words(self.key, position, n_blocks)
            some.copy_(torch.from_numpy(words[4:].view(np.uint8)[: len(some)]))
            low = _low_part()[(place := int(words[0]) >> 47) : place + len(some)]
            torch.add(low, some, alpha=1 / 256, out=some)
            position += n_blocks
        return numbers

    @property
    def n_blocks(self) -> int:
        """How many blocks they take in the stream."""
        return blocks_for(self.n)


def blocks_for(n: int) -> int:
    """How many blocks `n` uniform numbers take in a stream."""
    return -(-n // TABLE) + n // TABLE * (TABLE // _PER_BLOCK) + -(-(n % TABLE) // _PER_BLOCK)


class Stream:
    """A stream of random numbers.

    Parameters
    ----------
    seed : int, sequence of int or None
        Entropy, each number >= 0. None takes fresh entropy from the operating system.
    use : str
        What the stream is used for. Streams of one seed and different uses are independent of each other.

    Attributes
    ----------
    key : tuple of int
        Which stream it is, by two words.
    position : int
        How many blocks of four words have been used.

    Notes
    -----
    All that a stream consists of is a key, from the seed and the use, and a position, which every draw moves on. So
    draws are the same however many threads make them, and with compiled loops and without.

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

    key: tuple[int, int]
    position: int

    def __init__(self, seed: int | Sequence[int] | None = None, use: str = "") -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(use.encode()),))
        key0, key1 = sequence.generate_state(2, np.uint64).tolist()
        self.key, self.position, self._use = (key0, key1), 0, use
        self._device_generators: dict[str, torch.Generator] = {}

    def __repr__(self) -> str:
        """Streams that are about to draw the same numbers (on the CPU) look alike."""
        state = zlib.crc32(repr((self.key, self.position)).encode())
        return f"Stream({f'{self._use!r}, ' if self._use else ''}state {state:08x})"

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything the next draws depend on, as arrays and numbers that can be pickled anywhere."""
        return {
            "key": self.key,
            "position": self.position,
            "devices": {name: g.get_state().numpy() for name, g in self._device_generators.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken. Of older versions, on draws that are others than there."""
        if "cpu" in state:
            words = state["cpu"]["state"]["state"]
            state = {**Stream([int(word) for word in words]).state(), "devices": state["devices"]}
        key0, key1 = state["key"]
        self.key, self.position = (int(key0), int(key1)), int(state["position"])
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
        self._use = ""
        self.set_state(state)

    # -- draws on the CPU ------------------------------------------------------------------------------------------

    def spawn(self, use: str) -> Stream:
        """A new stream, seeded from this one (which moves on by a block)."""
        return Stream([int(word) for word in self._words(1)], use)

    def permutation(self, n: int) -> np.ndarray:
        """A random order of 0 … n-1."""
        with self._generator() as generator:
            return generator.permutation(n)

    def normal(self, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        """Independent normal numbers of mean 0 and standard deviation `scale`, float64."""
        with self._generator() as generator:
            return generator.normal(0.0, scale, shape)

    def integers(self, high: int | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Independent integers, uniform on 0 … high-1, each of its own `high` where that is an array."""
        with self._generator() as generator:
            return generator.integers(high, size=shape)

    @contextmanager
    def _generator(self) -> Iterator[np.random.Generator]:
        """numpy's generator on the words from here on; the stream moves on by the blocks that it has begun."""
        bits = _PHILOX.set_(self.key, self.position)
        yield np.random.Generator(bits)
        self.position = int(bits.state["state"]["counter"][0])

    def _words(self, n_blocks: int) -> np.ndarray:
        words = _words(self.key, self.position, n_blocks)
        self.position += n_blocks
        return words

    # -- Bernoulli draws on any device -------------------------------------------------------------------------------

    def numbers(self, n: int, device: torch.device | str = "cpu") -> Uniform | Tensor:
        """`n` independent numbers, uniform on [0, 1): on the CPU by their place, on other devices as `uniform`."""
        if torch.device(device).type != "cpu":
            return self.uniform(n, device)
        found = Uniform(self.key, self.position, n)
        self.position += found.n_blocks
        return found

    def numbers_for(self, *states: Tensor) -> Sequence[Uniform | Tensor]:
        """Numbers for the draws of several tensors; on a device all at once."""
        if states[0].device.type == "cpu":
            return [self.numbers(values.numel()) for values in states]
        sizes = [values.numel() for values in states]
        return torch.split(self.uniform(sum(sizes), states[0].device), sizes)

    def uniform(self, n: int, device: torch.device | str = "cpu") -> Tensor:
        """`n` independent numbers, uniform on [0, 1), float32: shape (n,)."""
        if torch.device(device).type != "cpu":
            return torch.rand(n, device=device, generator=self.generator(torch.device(device)))
        found = self.numbers(n)
        return found.numbers() if isinstance(found, Uniform) else found

    def bernoulli(self, p: Tensor) -> Tensor:
        """Independent draws, 1 with probability `p` and else 0, in the shape, type and device of `p`.

        Probabilities outside [0, 1] act as the nearest bound.
        """
        return bernoulli_(
            torch.empty_like(p, memory_format=torch.contiguous_format), p, self.numbers(p.numel(), p.device)
        )

    def places(self) -> tuple[int, int]:
        """Two random places in the table of low parts, for `dither_at`; they take a block."""
        words = self._words(1)
        return int(words[0]) >> 47, int(words[1]) >> 47

    def generator(self, device: torch.device) -> torch.Generator:
        """The generator of the draws on a device other than the CPU."""
        name = str(device)
        if name not in self._device_generators:
            generator = torch.Generator(device)
            generator.manual_seed(int(self._words(1)[0]) >> 1)
            self._device_generators[name] = generator
        return self._device_generators[name]


def dither_at(place: int, n: int) -> Tensor:
    """`n` numbers, uniform on [0, 1), for rounding at random: those of the table of low parts from a place on; (n,).

    Float32, on the CPU; not to be written to. Not for draws of states: a piece comes again in a long training, and
    after `TABLE` numbers.
    """
    piece = _table()[place : place + min(n, TABLE)]
    return piece if n <= TABLE else piece.repeat(-(-n // TABLE))[:n]


def check_stream(stream: Any) -> None:
    """Raise a TypeError if this is no stream."""
    if not isinstance(stream, Stream):
        raise TypeError(
            f"stream must be a Stream, got {type(stream).__name__}. Pass skrbm.support.randomness.Stream(seed)."
        )


def bernoulli_(out: Tensor, p: Tensor, uniform: Uniform | Tensor) -> Tensor:
    """Write 1 to `out` where numbers `uniform` on [0, 1) lie below the probabilities `p`, else 0.

    Parameters
    ----------
    out : Tensor
        Contiguous, of a float type or int8.
    p : Tensor of the same shape
        Probabilities; outside [0, 1] they act as the nearest bound.
    uniform : Uniform or Tensor of shape (p.numel(),), float32
        See `Stream.numbers`.

    Returns
    -------
    Tensor
        `out`.
    """
    if isinstance(uniform, Uniform):
        if _draw_compiled_(out, p, uniform):
            return out
        uniform = uniform.numbers()
    uniform = uniform.view(p.shape)
    uniform = uniform if uniform.dtype == p.dtype else uniform.to(p.dtype)
    if out.is_floating_point():
        return torch.lt(uniform, p, out=out)
    # torch is slow at comparing floats into integers.
    return out.copy_(torch.lt(uniform, p, out=torch.empty_like(uniform)))


_n_drawn = 0  # by all streams of the process, as far as a compiled loop could have done it


def _draw_compiled_(out: Tensor, p: Tensor, uniform: Uniform) -> bool:
    """`bernoulli_` by a compiled loop, to the same bits; whether that has been done, as it has where it pays."""
    global _n_drawn
    suits = (p.dtype, out.dtype) in _LOOPS and uniform.n >= _LEAST_COMPILED and p.is_contiguous()
    if not suits or not is_compiled():
        return False
    _n_drawn += uniform.n
    if _n_drawn < _LEAST_TO_LOAD:
        return False
    draw_compiled_(out, p, uniform)
    return True


def draw_compiled_(out: Tensor, p: Tensor, uniform: Uniform) -> None:
    """`bernoulli_` by a compiled loop, from float32 to float32 or int8, or from float64 to float64; all contiguous."""
    n_pieces = -(-uniform.n // _PIECE)
    _LOOPS[p.dtype, out.dtype](n_pieces, p, out, *place_of(uniform))


def place_of(uniform: Uniform) -> tuple[int, int, int, int, Tensor]:
    """What a compiled loop has to know of numbers: how many, the key, the position, and the table of low parts."""
    return uniform.n, *signed(uniform.key), uniform.position, _low_part()


@lru_cache
def signed(key: tuple[int, int]) -> tuple[int, int]:
    """Words of 64 bits as signed numbers."""
    key0, key1 = (word - (word >> 63 << 64) for word in key)
    return key0, key1


class _Philox(threading.local):
    """numpy's generator, one for each thread, that is set to where it is to begin: faster than making a new one."""

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._state = self._bits.state
        self._place = self._state["state"]

    def set_(self, key: tuple[int, int], position: int) -> np.random.Philox:
        """The generator before a block."""
        self._place["key"][:] = key
        self._place["counter"][0] = position
        self._bits.state = self._state  # of a fresh one, in whose buffer nothing is left
        return self._bits


_PHILOX = _Philox()


def _words(key: tuple[int, int], position: int, n_blocks: int) -> np.ndarray:
    """The words of so many blocks from a position on, (4 n_blocks,)."""
    return _PHILOX.set_(key, position).random_raw(4 * n_blocks)


def tables() -> tuple[Tensor, Tensor]:
    """For compiled loops the table, twice, that `Stream.dither` reads, and the low parts of uniform numbers from it."""
    return _table(), _low_part()


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
