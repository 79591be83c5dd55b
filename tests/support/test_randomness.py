import copy
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skrbm.diagnostics.verdict import judge
from skrbm.likelihood.annealed import log_partition_ais
from skrbm.likelihood.log_partition import log_partition
from skrbm.machines.restricted import initial_parameters, sample_h_given_v
from skrbm.sampling.kernels import GIBBS, GibbsState, gibbs_init, gibbs_step, run_chains
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.tempering import tempering_init
from skrbm.support import randomness
from skrbm.support.randomness import Stream, bernoulli_
from tests import reference


def z_score(n_ones, n, p):
    return (n_ones - n * p) / np.sqrt(n * p * (1 - p))


def count(draw, n, chunk=4_000_000):
    return sum(float(draw(min(chunk, n - done)).sum()) for done in range(0, n, chunk))


@pytest.mark.parametrize("p", [0.5, 0.1, 0.999, 1 / 3, 1e-3])
def test_frequency(p):
    stream, n = Stream(1), 4_000_000
    assert abs(z_score(count(lambda m: stream.bernoulli(torch.full((m,), p)), n), n, p)) < 4


@pytest.mark.parametrize("rare", [1e-6, 1 - 1e-6])
def test_frequency_below_the_resolution_of_8_bits(rare):
    stream, n = Stream(2), 200_000_000
    n_ones = count(lambda m: stream.bernoulli(torch.full((m,), rare)), n)
    assert abs(z_score(n_ones, n, rare)) < 4


def test_frequency_test_rejects_draws_of_8_bits_only(monkeypatch):
    monkeypatch.setattr(randomness, "_low_part", lambda: torch.zeros(2 * randomness.TABLE))
    stream, n, rare = Stream(2), 20_000_000, 1e-6
    n_ones = count(lambda m: stream.bernoulli(torch.full((m,), rare)), n)
    assert abs(z_score(n_ones, n, rare)) > 4


def test_uniform_numbers_are_uniform():
    numbers = Stream(7).uniform(3_000_001)
    assert numbers.dtype == torch.float32
    assert 0 < numbers.min() < 2e-6
    assert 1 - 2e-6 < numbers.max() < 1
    counts = np.bincount((numbers.double() * 1000).long().numpy(), minlength=1000)
    assert abs(((counts - 3000) ** 2 / 3000).sum() - 999) < 5 * np.sqrt(2 * 999)


def test_draws_into_bytes_are_those_into_floats():
    p, uniform = torch.rand(30, 20, generator=torch.Generator().manual_seed(0)), Stream(8).uniform(600)
    floats, byte = (
        bernoulli_(torch.empty(30, 20), p, uniform),
        bernoulli_(torch.empty(30, 20, dtype=torch.int8), p, uniform),
    )
    assert byte.dtype == torch.int8
    assert torch.equal(byte.float(), floats)
    assert torch.equal(bernoulli_(torch.empty(30, 20).double(), p.double(), uniform).float(), floats)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_draws(dtype):
    stream = Stream(3)
    p = torch.tensor([-3.0, 0.0, 1.0, 2.5], dtype=dtype).repeat(100_000, 1)
    assert torch.equal(stream.bernoulli(p), p.clamp(0, 1))


def test_each_place_has_its_own_probability():
    p = torch.linspace(0.01, 0.99, 99)
    mean = Stream(4).bernoulli(p.expand(40_000, -1)).mean(0)
    z = (mean - p) / (p * (1 - p) / 40_000).sqrt()
    assert z.abs().max() < 5
    assert 0.7 < z.std() < 1.3


def test_neighbours_are_independent():
    draws = Stream(5).bernoulli(torch.full((200_000, 8), 0.5)).numpy()
    correlation = np.corrcoef(draws.T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(200_000)
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 7])[0, 1]) < 5 / np.sqrt(200_000)


def test_input_is_left_alone_and_may_have_any_layout():
    p = torch.rand(30, 20, generator=torch.Generator().manual_seed(0))
    before = p.clone()
    stream, again = Stream(6), Stream(6)
    assert torch.equal(stream.bernoulli(p), again.bernoulli(p))
    assert stream.bernoulli(p.T).shape == (20, 30)
    assert stream.bernoulli(p[::3, 1::2]).shape == (10, 10)
    assert stream.bernoulli(p[:0]).shape == (0, 20)
    assert stream.bernoulli(p[0, 0]).shape == ()
    assert torch.equal(p, before)


@given(st.integers(0, 2**64), st.text(max_size=10), st.integers(1, 50))
def test_same_seed_and_use_give_the_same_draws(seed, use, n):
    p = torch.full((n,), 0.5)
    a, b = Stream(seed, use), Stream(seed, use)
    assert torch.equal(a.bernoulli(p), b.bernoulli(p))
    assert np.array_equal(a.permutation(n), b.permutation(n))


def test_uses_and_seeds_and_spawned_streams_differ():
    p = torch.full((200,), 0.5)
    parent = Stream(0, "a")
    streams = [Stream(0, "a"), Stream(0, "b"), Stream(1, "a"), parent.spawn("a"), parent.spawn("a"), Stream(), Stream()]
    draws = {tuple(stream.bernoulli(p).tolist()) for stream in streams}
    assert len(draws) == len(streams)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_go_on_identically(duplicate):
    stream = Stream(7)
    stream.normal((3,))
    stream.bernoulli(torch.full((5,), 0.5))
    twin = duplicate(stream)
    for _ in range(3):
        assert np.array_equal(stream.normal((4,)), twin.normal((4,)))
        assert torch.equal(stream.bernoulli(torch.full((9,), 0.3)), twin.bernoulli(torch.full((9,), 0.3)))
        assert np.array_equal(stream.integers(9, (4,)), twin.integers(9, (4,)))


def test_state_can_be_set_again():
    stream = Stream(8)
    state = stream.state()
    first = stream.bernoulli(torch.full((100,), 0.5))
    assert not torch.equal(first, stream.bernoulli(torch.full((100,), 0.5)))
    stream.set_state(state)
    assert torch.equal(first, stream.bernoulli(torch.full((100,), 0.5)))


def test_global_generators_are_left_alone():
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    Stream(9).bernoulli(torch.full((100,), 0.5))
    Stream().permutation(10)
    assert np.array_equal(numpy_before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())


@pytest.mark.cuda
def test_draws_on_cuda():
    stream, n = Stream(10), 4_000_000
    p = torch.full((n,), 0.1, device="cuda")
    state = stream.state()
    stream.bernoulli(p[:1])  # makes the generator
    state = stream.state()
    draws = stream.bernoulli(p)
    assert draws.device == p.device
    assert abs(z_score(float(draws.sum()), n, 0.1)) < 4
    twin = pickle.loads(pickle.dumps(stream))
    assert torch.equal(stream.bernoulli(p), twin.bernoulli(p))
    stream.set_state(state)
    assert torch.equal(stream.bernoulli(p), draws)


def test_streams_print_what_they_are_for_and_where_they_are():
    one, same, other = Stream(0, "demo"), Stream(0, "demo"), Stream(1, "demo")
    assert re.fullmatch(r"Stream\('demo', state [0-9a-f]{8}\)", repr(one))
    assert repr(one) == repr(same) != repr(other)
    one.uniform(3)
    assert repr(one) != repr(same)
    assert re.fullmatch(r"Stream\(state [0-9a-f]{8}\)", repr(pickle.loads(pickle.dumps(one))))


PARAMS = reference.random_params()
V = torch.zeros(2, 4).double()
PATH = AnnealingPath(PARAMS, torch.zeros(4).double())


@pytest.mark.parametrize("stream", [torch.Generator(), np.random.default_rng(0), 3])
@pytest.mark.parametrize(
    "call",
    [
        lambda stream: sample_h_given_v(PARAMS, V, stream),
        lambda stream: initial_parameters(V[0], 3, stream),
        lambda stream: gibbs_init(PARAMS, V, stream),
        lambda stream: gibbs_step(PARAMS, GibbsState(V[:, :3]), stream),
        lambda stream: run_chains(GIBBS, PARAMS, V, 3, stream),
        lambda stream: tempering_init(PATH.ladder(torch.linspace(0, 1, 3)), V, stream),
        lambda stream: log_partition(PATH, "ais", stream=stream),
        lambda stream: log_partition_ais(PATH, [0.0, 1.0], stream),
        lambda stream: judge(PATH, V, stream),
    ],
)
def test_what_is_no_stream(stream, call):
    with pytest.raises(TypeError, match=r"stream must be a Stream, got (Generator|int). Pass skrbm.*Stream\(seed\)"):
        call(stream)
