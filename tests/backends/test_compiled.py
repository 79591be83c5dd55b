"""Parts of compiled updates: rows that are unpacked and drawn, copies of the weights, and the sums of an update."""

import math

import numpy as np
import pytest
import torch

from skrbm.backends.compiled import (
    PhasesInFloat32,
    PhasesInInt8,
    SmallMachine,
    Step,
    Terms,
    WideWeights,
    draw_greys_,
    padded,
    unpack_,
)
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Phases
from skrbm.machines.restricted import mean_h_given_v
from skrbm.support.randomness import TABLE, Stream, Uniform, bernoulli_, blocks_for
from tests.backends.test_protocol import bits, damping, machine, needs_int8
from tests.compiled import needs_numba

pytestmark = needs_numba
KINDS = ["float32", pytest.param("int8", marks=needs_int8)]
TYPES = [torch.int8, torch.float32]


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 8), (2, 9), (300, 37), (1, 784)])
def test_bits_are_unpacked(shape, dtype):
    rows = np.random.default_rng(0).integers(0, 2, shape)
    out = torch.full(shape, 5, dtype=dtype)
    unpack_(out, torch.from_numpy(np.packbits(rows, axis=1)))
    assert torch.equal(out, torch.from_numpy(rows).to(dtype))
    if rows.size > 1:
        unpack_(out, torch.from_numpy(np.packbits(rows, axis=1, bitorder="little")))
        assert not torch.equal(out, torch.from_numpy(rows).to(dtype))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("level", [16, 255])
@pytest.mark.parametrize("shape", [(1, 1), (7, 37), (3, 4096), (200, 784)])  # the last spans the table of low parts
def test_greys_are_drawn_as_probabilities_are(shape, level, dtype):
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, level + 1, shape).astype(np.uint8))
    out, stream, other = torch.full(shape, 5, dtype=dtype), Stream(1), Stream(1)
    for each in (stream, other):
        each.position = 3
    draw_greys_(out, codes, float(level), stream)
    expected = bernoulli_(torch.empty(shape), codes.float() / level, other.numbers(codes.numel()))
    assert torch.equal(out, expected.to(dtype))
    assert stream.position == other.position == 3 + blocks_for(codes.numel())
    elsewhere = bernoulli_(torch.empty(shape), codes.float() / level, Uniform(other.key, 4, codes.numel()))
    assert codes.numel() == 1 or not torch.equal(out, elsewhere.to(dtype))


def test_black_and_white_are_sure():
    out = torch.empty((1000, 3), dtype=torch.int8)
    draw_greys_(out, torch.tensor([[0, 128, 255]], dtype=torch.uint8).repeat(1000, 1), 255.0, Stream(0))
    assert out[:, 0].sum() == 0
    assert out[:, 2].sum() == 1000
    assert float(out[:, 1].float().mean()) == pytest.approx(128 / 255, abs=4.5 * 0.5 / math.sqrt(1000))


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "expected"), [(1, 16), (16, 16), (17, 32), (784, 784)])
def test_padded(n, expected):
    assert padded(n) == expected


@pytest.mark.parametrize("shape", [(1, 1), (19, 37), (16, 32), (5, 48)])
def test_wide_weights(shape):
    W = torch.randn(shape)
    wide = WideWeights(W)
    for factor in (1.0, 2.0):
        W.mul_(factor)
        wide.refresh_()
        assert wide.rows.shape == (shape[0], padded(shape[1]))
        assert wide.transposed.shape == (shape[1], padded(shape[0]))
        assert torch.equal(wide.rows[:, : shape[1]], W)
        assert torch.equal(wide.transposed[:, : shape[0]], W.T)
        assert wide.rows[:, shape[1] :].abs().sum() == wide.transposed[:, shape[0] :].abs().sum() == 0
    assert (wide.rows is W) == (shape[1] % 16 == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_are_taken_before_the_sums(kind):
    params, mu = machine(30, 50), torch.rand(50)
    terms = plain_terms(params, mu)
    phases = phases_of(kind, params, 9, 9, terms)
    assert (terms.n, terms.is_centered) == (1, True)
    mu.mul_(2.0)
    phases.hidden_(0, 18, 7, 100)
    assert torch.equal(terms.directions[0], mu)
    phases.step_(Step(0.1, 1.0), 0)
    assert not torch.equal(terms.directions[0], mu)  # which has moved


@pytest.mark.parametrize(
    ("sizes", "suits"),
    [
        ((256, 512, 10, 100), True),
        ((257, 512, 10, 100), False),
        ((16, 64, TABLE // 64, 10), True),
        ((16, 64, TABLE // 64 + 1, 10), False),
        ((64, 16, 10, TABLE // 64 + 1), False),
    ],
)
def test_small_machines(sizes, suits):
    assert SmallMachine.suits(*sizes) == suits


# -- an update ---------------------------------------------------------------------------------------------------------


def phases_of(kind, params, n_data, n_chains, terms, seed=0):
    """An update of these parameters, on random rows."""
    dtype = torch.int8 if kind == "int8" else torch.float32
    rows, h = bits(n_data + n_chains, params.n_features, dtype), bits(n_chains, params.n_hidden, dtype, seed=3)
    if kind == "int8":
        found = PhasesInInt8(Int8Backend(params), Phases(rows, n_data), h, terms)
    else:
        weights = WideWeights(params.W)
        weights.refresh_()
        found = PhasesInFloat32(params, weights, Phases(rows, n_data), h, terms)
    found.set_key_(Stream(seed).key)
    return found


def weights_seen(phases, kind):
    """The weights that products are made with."""
    backend = phases._backend if kind == "int8" else None
    return phases._params.W.clone() if backend is None else backend.narrow.float() * backend.unit


def plain_terms(params, mu=None, P=None):
    share = torch.empty(0) if P is None else P.share
    directions = torch.zeros(len(share) + (mu is not None), params.n_features)
    if P is not None:
        directions[len(directions) - len(share) :] = P.directions
    return Terms(directions, share, mu, 0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [0, 5, 1 << 40])
@pytest.mark.parametrize("sizes", [(30, 50, 20), (19, 37, 3), (1, 1, 1), (300, 1100, 150)])
def test_layers_are_drawn_from_their_means(kind, sizes, position):
    n_hidden, n_features, n_chains = sizes
    params = machine(n_hidden, n_features)
    phases = phases_of(kind, params, 4, n_chains, plain_terms(params))
    key, W = Stream(0).key, weights_seen(phases, kind)
    for draw_, states, given, weights, bias in (
        (phases.draw_v_, phases.chains, phases.h, W, params.b),
        (phases.draw_h_, phases.h, phases.chains, W.T, params.c),
    ):
        means = torch.sigmoid(given.float() @ weights + bias)
        draw_(position)
        uniform = Uniform(key, position, states.numel()).numbers().view(states.shape)
        is_sure = (uniform - means).abs() > 1e-5
        assert is_sure.float().mean() > 0.99
        assert torch.equal(states[is_sure].bool(), (uniform < means)[is_sure])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_data", "n_chains"), [(20, 20), (9, 30), (30, 9), (1, 1), (8, 16)])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("damped", [False, True])
def test_an_update_steps_along_the_contrast(kind, n_data, n_chains, centered, damped):
    """Of means that are known: each of W, b, c and μ, by the formulas."""
    params = machine(30, 50)
    mu, P = torch.rand(50) if centered else None, damping() if damped else None
    phases = phases_of(kind, params, n_data, n_chains, plain_terms(params, mu, P))
    W, before = weights_seen(phases, kind), params.clone()
    old_mu = torch.zeros(50) if mu is None else mu.clone()
    phases.hidden_(0, n_data + n_chains, 7, 100)
    assert math.isnan(phases.step_(Step(0.5, 0.9), 0))
    v = phases.phases.all.float()
    mean_h = mean_h_given_v(before.with_tensors({**before.tensors, "W": W}), v)
    contrast = lambda x: x[:n_data].mean(0) - x[n_data:].mean(0)  # noqa: E731
    dh, dv = contrast(mean_h), contrast(v)
    dW = contrast(mean_h[:, :, None] * (v - old_mu)[:, None])
    dW = dW if P is None else P.of(dW)
    kept_c = 0.1 * before.W @ old_mu
    torch.testing.assert_close(params.c, before.c + 0.5 * (dh - dW @ old_mu) + kept_c, rtol=0, atol=2e-5)
    torch.testing.assert_close(params.b, before.b + 0.5 * dv, rtol=0, atol=1e-6)
    level = 1 / 127 * max(1.0, n_data / n_chains, n_chains / n_data) if kind == "int8" else 1e-5  # rounding at random
    torch.testing.assert_close(params.W, 0.9 * before.W + 0.5 * dW, rtol=0, atol=level)
    if (centered or damped) and n_data > 1:
        plain = contrast(mean_h[:, :, None] * v[:, None])
        assert (params.W - 0.9 * before.W - 0.5 * plain).abs().max() > 2 * level
    if mu is not None:
        torch.testing.assert_close(mu, old_mu + 0.1 * (v[:n_data].mean(0) - old_mu))
    uniform = Uniform(Stream(0).key, 7, n_chains * 30).numbers().view(n_chains, 30)
    is_sure = (uniform - mean_h[n_data:]).abs() > 1e-5
    assert torch.equal(phases.h[is_sure].bool(), (uniform < mean_h[n_data:])[is_sure])
    if kind == "int8":
        backend = phases._backend
        assert (backend.narrow.float() * backend.unit - params.W).abs().max() <= 0.501 * backend.unit


@pytest.mark.parametrize("kind", KINDS)
def test_what_forgets_finds_a_changed_machine(kind):
    """The decay moves c by what it takes of Wμ, of the W there is."""
    found = {}
    for forgets in (True, False):
        params, mu = machine(30, 50), torch.full((50,), 0.5)
        phases = phases_of(kind, params, 9, 9, plain_terms(params, mu))
        for _ in range(2):
            phases.hidden_(0, 18, 7, 100)
            before, old_mu = params.clone(), mu.clone()
            phases.step_(Step(1e-9, 0.5), 0)
            off = (params.c - before.c - 0.5 * before.W @ old_mu).abs().max()
            params.W.normal_(generator=torch.Generator().manual_seed(0))
            if forgets:
                phases.forget_()
        found[forgets] = float(off)
    assert found[True] < 1e-5
    assert found[False] > 0.1


def mean_of_rounded(position_of):
    """Of so many roundings of the same means, and what it should be."""
    params, n_calls = machine(30, 50), 400
    phases = phases_of("int8", params, 9, 18, plain_terms(params))
    total = torch.zeros(27, 30)
    for i in range(n_calls):
        phases.hidden_(0, 27, None, position_of(i))
        total += phases._rounded[:, :30].float() / n_calls
    ones = phases._rounded[:, 30:]
    assert ones[:9].tolist() == [[1, 0]] * 9
    assert ones[9:].tolist() == [[0, 1]] * 18
    level, model_level = 127.0, 127.0 / 2
    v, W = phases.phases.all.float(), weights_seen(phases, "int8")
    expected = torch.sigmoid(v @ W.T + params.c) * torch.tensor([level] * 9 + [-model_level] * 18)[:, None]
    return total - expected, 0.5 / math.sqrt(n_calls)


@needs_int8
def test_rounding_at_random_keeps_the_mean():
    off, error = mean_of_rounded(lambda i: i)
    assert off.abs().max() < 4.8 * error
    off, error = mean_of_rounded(lambda i: 0)  # the same numbers each time
    assert off.abs().max() > 4.8 * error
