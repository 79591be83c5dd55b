"""Streams of randomness: seeded, spawned by use, with a state that can be stored and set again.

Every draw in skrbm takes its randomness from a :class:`Stream` that is passed in; no global generator is touched.
On the CPU the raw words come from numpy's SFC64, several times faster than torch's generator; on another device
from a `torch.Generator` that lives there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Stream"]

_WORD = 65536.0  # number of values of one 16-bit draw
_BELOW_WORD = 65535.996  # the float32 below, so that a probability of 1 falls into the last cell
_MIDDLE = torch.tensor(-32768.0)


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
    Bernoulli draws on the CPU compare 16 random bits with the probability; a draw that these bits leave
    undecided (one in 65,536) is decided with 53 more against the probability in float64. Their frequency is off by
    no more than the rounding of a float32 probability, 6e-8. On other devices they compare a
    float32 uniform number: resolution 2^-24.

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
        self._bits = np.random.SFC64(sequence)
        self._device_generators: dict[str, torch.Generator] = {}

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
        self._bits = np.random.SFC64(0)
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

    def integers(self, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Independent integers, uniform on 0 … high-1."""
        return np.random.Generator(self._bits).integers(high, size=shape)

    # -- Bernoulli draws on any device -------------------------------------------------------------------------------

    def bernoulli(self, p: Tensor) -> Tensor:
        """Independent draws, 1 with probability `p` and else 0, in the shape, type and device of `p`.

        Probabilities outside [0, 1] act as the nearest bound.
        """
        if p.device.type != "cpu":
            return self._uniform(p).lt(p).to(p.dtype)
        return self._draw(p.clamp(0.0, 1.0), lambda tied: p.reshape(-1)[tied].double())

    def bernoulli_logits(self, logits: Tensor, p: Tensor | None = None) -> Tensor:
        """Independent draws, 1 with probability sigmoid(`logits`), in the shape, type and device of `logits`.

        Pass `p` = sigmoid(`logits`) where it is known already.
        """
        p = logits.sigmoid() if p is None else p
        if logits.device.type != "cpu":
            return self._uniform(p).lt(p).to(p.dtype)
        return self._draw(p, lambda tied: logits.reshape(-1)[tied].double().sigmoid())

    def _draw(self, p: Tensor, exact: Callable[[Tensor], Tensor]) -> Tensor:
        """Draw from probabilities in [0, 1]; `exact` gives single ones in float64."""
        n = p.numel()
        # Signed words, as torch compares no unsigned ones: the thresholds move by half the range too.
        words = self._bits.random_raw((n + 3) // 4).view(np.int16)[:n].reshape(tuple(p.shape))
        thresholds = torch.add(_MIDDLE, p, alpha=_BELOW_WORD).floor_()
        cells = thresholds.to(torch.int16)
        draws = torch.lt(torch.from_numpy(words), cells, out=thresholds)
        tied = np.flatnonzero(words == cells.numpy())
        if tied.size:
            self._refine(draws, words, tied, exact(torch.from_numpy(tied)).numpy())
        return draws

    def _refine(self, draws: Tensor, words: np.ndarray, tied: np.ndarray, p: np.ndarray) -> None:
        """Decide the draws that 16 bits left open: more bits behind the words, against `p` in float64."""
        fraction = np.random.Generator(self._bits).random(tied.size)
        uniform = (words.reshape(-1)[tied] + (_WORD / 2 + fraction)) / _WORD
        draws.view(-1)[torch.from_numpy(tied)] = torch.from_numpy(uniform < p).to(draws.dtype)

    def _uniform(self, like: Tensor) -> Tensor:
        name = str(like.device)
        if name not in self._device_generators:
            generator = torch.Generator(like.device)
            generator.manual_seed(int(self._bits.random_raw()) >> 1)
            self._device_generators[name] = generator
        return torch.rand(like.shape, device=like.device, generator=self._device_generators[name])
