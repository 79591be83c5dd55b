"""The compiled loops, one by one, on memory of their own; what they are put together to is in the tests of updates."""

import re
from pathlib import Path

import pytest
import torch

from skrbm.backends import compiled as callers
from skrbm.support.compiled import Loop
from skrbm.support.randomness import Stream, Uniform, signed, tables
from tests.backends.test_compiled import needs_numba
from tests.backends.test_protocol import bits

pytestmark = needs_numba
KEY = Stream(0).key
SOURCE = Path(callers.__file__).with_name("loops.py")


def loop(name):
    return Loop("skrbm.backends.loops", name)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_pieces_are_as_large_as_callers_think():
    from skrbm.backends import loops
    from skrbm.support import loops as shared
    from skrbm.support.randomness import TABLE

    assert (callers._ROWS, callers._ROWS_OF_W, callers._COLUMNS) == (loops.ROWS, loops._ROWS_OF_W, loops._COLUMNS)
    assert (callers._PIECE, callers.LANES, TABLE) == (shared.PIECE, shared.LANES, shared.TABLE)


def test_every_loop_is_called():
    """Those that take a block of arguments, and nothing else."""
    defined = set(re.findall(r"^def (\w+)\(a\):$", SOURCE.read_text(), re.MULTILINE))
    called = set(re.findall(r'_loop\("(\w+)"\)', Path(callers.__file__).read_text()))
    assert defined == called != set()


@pytest.mark.parametrize("position", [0, 9])
@pytest.mark.parametrize(("n", "n_units"), [(1, 1), (7, 37), (3, 1024), (5, 2500), (140, 1000)])
def test_states_of_sums(n, n_units, position):
    """Rows longer than what is drawn at a time, and more numbers than the table has."""
    sums = torch.randint(-100, 100, (n, n_units), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    bias, out = normal(n_units), torch.full((n, n_units), 5, dtype=torch.int8)
    loop("draw_sums")(n, sums, out, bias, n_units, 0.03, *signed(KEY), position, tables()[1])
    means = torch.sigmoid(sums * 0.03 + bias)
    numbers = lambda at: Uniform(KEY, at, n * n_units).numbers().view(n, n_units)  # noqa: E731
    is_sure = (numbers(position) - means).abs() > 1e-6
    assert is_sure.float().mean() > 0.999
    assert torch.equal(out[is_sure].bool(), (numbers(position) < means)[is_sure])
    if n > 1:
        assert not torch.equal(out.bool(), numbers(position + 1) < means)


@pytest.mark.parametrize(("n_data", "n_chains", "n_features"), [(1, 1, 1), (7, 20, 37), (9, 3, 64), (8, 8, 130)])
def test_means_of_columns(n_data, n_chains, n_features):
    v, out = bits(n_data + n_chains, n_features), torch.empty(2, n_features)
    loop("column_means")(-(-n_features // 64), v, n_data, n_chains, n_features, out)
    torch.testing.assert_close(out, torch.stack((v[:n_data].mean(0), v[n_data:].mean(0))))


@pytest.mark.parametrize("share_on", [0.05, 0.3, 0.9, 1.0])  # few enough for sums over those that are on, or too many
@pytest.mark.parametrize(("n", "n_features", "n_hidden"), [(1, 1, 1), (7, 37, 19), (5, 64, 130), (9, 20, 300)])
def test_inputs(n, n_features, n_hidden, share_on):
    wide = callers.padded(n_hidden)
    v = (torch.rand(n, n_features, generator=torch.Generator().manual_seed(0)) < share_on).float()
    v[v > 0] = 0.75  # real values are as good
    W, c = normal(n_hidden, n_features), normal(n_hidden, seed=1)
    W_t, out = torch.zeros(n_features, wide), torch.empty(n, wide)
    W_t[:, :n_hidden] = W.T
    most = n * max(n_features, n_hidden)
    room = (torch.empty(most, dtype=torch.int32), torch.empty(most), torch.empty(n, dtype=torch.int64))
    loop("inputs_float32")(1, v, n, n_features, W_t, n_hidden, c, out, *room)
    torch.testing.assert_close(out[:, :n_hidden], v @ W.T + c, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_directions", [1, 3])
@pytest.mark.parametrize(("n_hidden", "n_features"), [(1, 1), (4, 16), (19, 37)])
def test_weights_step_and_are_rounded(n_hidden, n_features, n_directions):
    W, mu = normal(n_hidden, n_features), normal(n_features, seed=1)
    left, directions = normal(n_directions, n_hidden, seed=2), normal(n_directions, n_features, seed=3)
    sums = torch.randint(-999, 999, (n_hidden, n_features), dtype=torch.int32)
    narrow, W_mu = torch.empty((n_hidden, n_features), dtype=torch.int8), torch.empty(n_hidden)
    largest, before = torch.empty(-(-n_hidden // 4), dtype=torch.int32), W.clone()
    weights, low_rank = (W, sums, n_hidden, n_features, narrow, largest), (left, directions, n_directions)
    loop("descend_int8")(len(largest), *weights, *low_rank, 0.9, 1e-4, 0.05, 1 / 0.1, mu, W_mu)
    torch.testing.assert_close(W, 0.9 * before + 1e-4 * sums - 0.05 * left.T @ directions, rtol=1e-5, atol=1e-6)
    assert (narrow * 0.1 - W).abs().max() <= 0.0501
    assert float(largest.max().view(torch.float32)) == float(W.abs().max())
    torch.testing.assert_close(W_mu, W @ mu, rtol=1e-5, atol=1e-5)
