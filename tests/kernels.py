"""The two tests that every kernel must pass: it leaves its distribution as it is, and its single steps are right.

Each takes the kernel as an argument, so that a broken twin can be put through it and must fail.
"""

import numpy as np
import torch

from skrbm.support.randomness import Stream
from tests import reference

N = 200_000


def visible(info):
    """Visible states as numbers, (n,)."""
    return reference.index(info.v)


def all_rungs(info):
    """Visible states of all rungs as one number, the lowest rung's first, (n,)."""
    return reference.index(info.rung_v.transpose(0, 1).flatten(1))


def _check(codes, p, n):
    frequencies = np.bincount(codes, minlength=len(p)) / n
    assert reference.total_variation(frequencies, p) < reference.total_variation_floor(p, n)


def assert_stationary(kernel, model, v, p, read=visible, given=None, n_steps=3):
    """From states `v`, drawn from `p`, steps lead to states of `p`."""
    stream = Stream(1)
    state = kernel.init(model, v, stream, given)
    for _ in range(n_steps):
        state, info = kernel.step(model, state, stream)
    _check(read(info), p, len(read(info)))


def assert_one_step(kernel, model, starts, transition, read=visible, given=None):
    """From each of `starts`, one step leads to states with the probabilities of the row of `transition`."""
    stream, n = Stream(2), N // 4
    for v, p in zip(starts, transition, strict=True):
        v = torch.as_tensor(v)
        many = v.expand(n, -1) if v.ndim == 1 else v[:, None].expand(-1, n, -1)
        state = kernel.init(model, many, stream, given if given is None else given.expand(n, -1))
        _, info = kernel.step(model, state, stream)
        _check(read(info), p, n)
