import copy
import json
import pickle
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skrbm.diagnostics.verdict import judge
from skrbm.likelihood.annealed import log_partition_ais
from skrbm.likelihood.log_partition import log_partition
from skrbm.machines.restricted import initial_parameters, sample_h_given_v
from skrbm.sampling.kernels import GIBBS, GibbsState, gibbs_init, gibbs_step, run_chains
from skrbm.sampling.ladder import AnnealingPath
from skrbm.sampling.tempering import tempering_init
from skrbm.support import randomness
from skrbm.support.randomness import TABLE, Stream, Uniform, bernoulli_, blocks_for, dither_at, draw_compiled_, tables
from tests import reference
from tests.compiled import needs_numba, on_threads, without_loops


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


# -- the numbers by their place ----------------------------------------------------------------------------------------

SIZES = [1, 31, 32, 33, 1000, 1023, 1025, 4096, 4097, TABLE - 1, TABLE, TABLE + 1, TABLE + 33, 3 * TABLE + 17]
KEYS = [(1, 2), (2**64 - 1, 2**63), (2**63 - 1, 0)]
POSITIONS = [0, 2**33 + 5, 2**53 + 1, 2**62]


def philox(key, position, n_blocks):
    """Words of numpy's generator."""
    place = {"key": np.array(key, np.uint64), "counter": np.array([position, 0, 0, 0], np.uint64)}
    return np.random.Philox(**place).random_raw(4 * n_blocks)


def numbers_by_numpy(key, position, n):
    """What `Uniform` says that its numbers are."""
    low, numbers = tables()[1].numpy(), []
    for some in [TABLE] * (n // TABLE) + [n % TABLE] * (n % TABLE > 0):
        n_blocks = 1 + (some + 31) // 32
        words = philox(key, position, n_blocks)
        place = int(words[0] >> np.uint64(47))
        high = words[4:].astype("<u8").view(np.uint8)[:some].astype(np.float32) / np.float32(256)
        numbers.append(high + low[place : place + some])
        position += n_blocks
    return np.concatenate(numbers), position


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("key", "position"), zip(KEYS, POSITIONS[1:], strict=True))
def test_numbers_are_of_numpys_philox(n, key, position):
    uniform = Uniform(key, position, n)
    expected, end = numbers_by_numpy(key, position, n)
    assert np.array_equal(uniform.numbers().numpy(), expected)
    assert blocks_for(n) == uniform.n_blocks == end - position


@pytest.mark.parametrize("n", [0, *SIZES])
def test_a_stream_moves_on_by_the_blocks_of_its_numbers(n):
    stream = Stream(11)
    for i in range(1, 4):
        stream.bernoulli(torch.full((n,), 0.5))
        assert stream.position == i * blocks_for(n)


def bounds(uniform, dtype):
    """Probabilities that are just not above numbers, and just above."""
    numbers = uniform.numbers().to(dtype)
    return numbers, torch.nextafter(numbers, torch.ones_like(numbers))


@needs_numba
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    ("of_p", "of_out"), [(torch.float32, torch.float32), (torch.float32, torch.int8), (torch.float64, torch.float64)]
)
def test_loops_draw_by_the_same_numbers_bit_by_bit(of_p, of_out, n_threads):
    with on_threads(n_threads):
        for i, n in enumerate(SIZES):
            uniform = Uniform(KEYS[i % 3], POSITIONS[i % 4], n)
            for p, expected in zip(bounds(uniform, of_p), (0, 1), strict=True):
                out = torch.full((n + 1,), 7, dtype=of_out)  # and nothing behind the end is written
                draw_compiled_(out[:n], p, uniform)
                assert (out[:n] == expected).all()
                assert out[n] == 7


@needs_numba
@pytest.mark.parametrize("other", [((1, 3), 5), ((1, 2), 6)], ids=["key", "position"])
def test_that_test_rejects_numbers_of_another_place(other):
    below, above = bounds(Uniform((1, 2), 5, 4096), torch.float32)
    for p, expected in ((below, 0), (above, 1)):
        draw_compiled_(out := torch.empty(4096), p, Uniform(*other, 4096))
        assert (out != expected).float().mean() > 0.4


@needs_numba
@pytest.mark.parametrize("n_threads", [1, 2])
def test_draws_do_not_depend_on_loops_and_threads(n_threads, monkeypatch):
    calls = []
    monkeypatch.setattr(randomness, "_LEAST_TO_LOAD", 0)
    monkeypatch.setattr(randomness, "draw_compiled_", lambda *arguments: calls.append(1) or draw_compiled_(*arguments))
    p = torch.rand(500, 999, generator=torch.Generator().manual_seed(0))
    cases = [p, p.double(), p[:7, :999], p.T, p[::2]]  # the smallest, and those of other layouts, go without
    with on_threads(n_threads):
        stream, plain = Stream(12), Stream(12)
        for case in cases:
            drawn = stream.bernoulli(case)
            with without_loops():
                assert torch.equal(drawn, plain.bernoulli(case))
            assert stream.position == plain.position
    assert len(calls) == 2


def test_loops_are_loaded_when_much_has_been_drawn(monkeypatch):
    calls = []
    monkeypatch.setattr(randomness, "_n_drawn", 0)
    monkeypatch.setattr(randomness, "_LEAST_TO_LOAD", 100_000)
    monkeypatch.setattr(randomness, "is_compiled", lambda: True)
    monkeypatch.setattr(randomness, "draw_compiled_", lambda *arguments: calls.append(1))
    for _ in range(11):
        Stream(13).bernoulli(torch.full((10_000,), 0.5))
    assert len(calls) == 2


def test_a_key_and_a_position_are_all_that_a_stream_is():
    stream = Stream(14, "a")
    stream.bernoulli(torch.full((5000,), 0.5))
    stream.integers(9, (3,))
    twin = Stream()
    twin.key, twin.position = stream.key, stream.position
    for _ in range(2):
        assert torch.equal(stream.uniform(50), twin.uniform(50))
        assert np.array_equal(stream.permutation(9), twin.permutation(9))
        assert np.array_equal(stream.normal((2, 3), 2.0), twin.normal((2, 3), 2.0))
        assert np.array_equal(stream.integers(1000, (7,)), twin.integers(1000, (7,)))
        assert stream.places() == twin.places()
        assert stream.spawn("b").key == twin.spawn("b").key
        assert stream.state() == twin.state()


def test_a_state_is_plain_data():
    stream = Stream(15)
    stream.uniform(100)
    stored = json.loads(json.dumps(stream.state()))
    assert stored == {"key": list(stream.key), "position": stream.position, "devices": {}}
    expected = stream.uniform(50)
    twin = Stream()
    twin.set_state(stored)
    assert torch.equal(twin.uniform(50), expected)


def test_states_from_before_0_7():
    """They had numpy's SFC64: each gives a stream of its own, the same each time."""
    streams = []
    for seed in (0, 0, 1):
        streams.append(Stream())
        streams[-1].set_state({"cpu": np.random.SFC64(seed).state, "devices": {}})
    one, same, other = (stream.uniform(50) for stream in streams)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert pickle.loads(pickle.dumps(streams[0])).position == streams[0].position


# -- no block is used twice --------------------------------------------------------------------------------------------

DRAWS = {
    "uniform": lambda stream: stream.uniform(5),
    "long": lambda stream: stream.uniform(TABLE + 40),
    "permutation": lambda stream: stream.permutation(10),
    "normal": lambda stream: stream.normal((3,)),
    "integers": lambda stream: stream.integers(10, (3,)),
    "small integers": lambda stream: stream.integers(np.array([1, 2, 3]), (3,)),
    "places": lambda stream: stream.places(),
    "spawn": lambda stream: stream.spawn("a").key,
}


def by_numpy(name, key, position):
    """A draw by numpy, and where its generator is then."""
    bits = np.random.Philox(key=np.array(key, np.uint64), counter=np.array([position, 0, 0, 0], np.uint64))
    numbers = np.random.Generator(bits)
    found = {
        "permutation": lambda: numbers.permutation(10),
        "normal": lambda: numbers.normal(0.0, 1.0, (3,)),
        "integers": lambda: numbers.integers(10, size=(3,)),
        "small integers": lambda: numbers.integers(np.array([1, 2, 3]), size=(3,)),
    }[name]()
    return found, int(bits.state["state"]["counter"][0])


def reuses(stream):
    """Whether a stream begins a draw before the end of the one before; draws of all kinds, one after another."""
    end = 0
    for name in [*DRAWS, *reversed(DRAWS), "normal", "normal", "integers", "permutation", "uniform"]:
        before = stream.position
        if before < end:
            return True
        found = DRAWS[name](stream)
        if name in ("permutation", "normal", "integers", "small integers"):
            expected, end = by_numpy(name, stream.key, before)
            assert np.array_equal(found, expected)
        else:
            end = before + {"uniform": blocks_for(5), "long": blocks_for(TABLE + 40)}.get(name, 1)
    return stream.position < end


class Stays(Stream):
    """A twin that isn't moved on by what numpy draws."""

    def normal(self, shape, scale=1.0):
        before = self.position
        found = super().normal(shape, scale)
        self.position = before
        return found


def test_no_block_is_used_twice():
    assert not reuses(Stream(16))


def test_that_test_rejects_a_stream_that_stays():
    assert reuses(Stays(16))


# -- quality -----------------------------------------------------------------------------------------------------------


def correlated(x, y):
    """Probability of so large a correlation of independent numbers."""
    return 2 * stats.norm.sf(abs(np.corrcoef(x, y)[0, 1]) * np.sqrt(len(x)))


def evenly_spread(classes, n_classes):
    return stats.chisquare(np.bincount(classes, minlength=n_classes)).pvalue


def runs(x):
    """Wald & Wolfowitz's test: how often numbers go from one half of [0, 1) to the other."""
    n_changes = np.count_nonzero((x[1:] < 0.5) != (x[:-1] < 0.5))
    return 2 * stats.norm.sf(abs(2 * n_changes - (len(x) - 1)) / np.sqrt(len(x) - 1))


def orders(x):
    """In which of their six orders three neighbours are."""
    a, b, c = x[: len(x) // 3 * 3].reshape(-1, 3).T
    return stats.chisquare(np.bincount(4 * (a < b) + 2 * (b < c) + (a < c), minlength=8)[[0, 2, 3, 4, 5, 7]]).pvalue


def battery(draw, n_calls=100, n=4096):
    """p-values of numbers `draw(seed, use, n_calls, n)` of streams, (n_calls, n)."""
    calls = draw(0, "a", n_calls, n)
    x = calls.ravel().astype(float)
    a, b = np.floor(16 * x).astype(int).reshape(-1, 2).T
    quarters = np.floor(4 * calls).astype(int)
    return {
        "uniform": stats.kstest(x, "uniform").pvalue,
        "bytes": evenly_spread(np.floor(256 * x).astype(int), 256),
        "low part": evenly_spread(np.floor(2**16 * x).astype(int) % 256, 256),
        "pairs": evenly_spread(16 * a + b, 256),
        "pairs of calls": evenly_spread((4 * quarters[::2] + quarters[1::2]).ravel(), 16),
        "runs": runs(x),
        "orders": orders(x),
        "neighbours": correlated(x[1:], x[:-1]),
        "second neighbours": correlated(x[2:], x[:-2]),
        "calls": correlated(calls[1:].ravel(), calls[:-1].ravel()),
        "means of calls": stats.kstest((calls.mean(1) - 0.5) * np.sqrt(12 * n), "norm").pvalue,
        "uses": correlated(x, draw(0, "b", n_calls, n).ravel()),
        "seeds": correlated(x, draw(1, "a", n_calls, n).ravel()),
    }


def as_drawn(seed, use, n_calls, n, kind=Stream):
    stream = kind(seed, use)
    return torch.stack([stream.uniform(n) for _ in range(n_calls)]).numpy()


def test_quality():
    p = battery(as_drawn)
    assert min(p.values()) > 1e-3, p


class Repeats(Stream):
    """A twin that draws the same at each call."""

    def uniform(self, n, device="cpu"):
        self.position = 0
        return super().uniform(n, device)


def changed(change):
    """A twin whose numbers are changed."""
    return lambda *arguments: change(as_drawn(*arguments))


TWINS = {
    "stays": (lambda *arguments: as_drawn(*arguments, Repeats), {"calls", "pairs of calls"}),
    "one key": (lambda seed, use, *sizes: as_drawn(0, "", *sizes), {"uses", "seeds"}),
    "bent": (changed(lambda x: x**1.05), {"uniform", "bytes", "means of calls"}),
    "even bytes": (changed(lambda x: np.floor(128 * x) / 128 + x % (1 / 256)), {"bytes"}),
    "8 bits": (changed(lambda x: np.floor(256 * x) / 256), {"low part"}),
    "each twice": (changed(lambda x: np.repeat(x[:, ::2], 2, 1)), {"neighbours", "pairs", "runs", "orders"}),
    "two in turn": (
        changed(lambda x: x[:, np.arange(x.shape[1]) // 4 * 4 + np.arange(x.shape[1]) % 2]),
        {"second neighbours"},
    ),
    "balanced": (changed(lambda x: np.hstack((x[:, ::2], 1 - x[:, ::2]))), {"means of calls"}),
}


@pytest.mark.parametrize("name", TWINS)
def test_quality_of_broken_twins(name):
    draw, rejected_by = TWINS[name]
    p = battery(draw)
    assert all(p[check] < 1e-9 for check in rejected_by), p


def test_each_check_of_quality_rejects_a_twin():
    assert set().union(*(rejected_by for _, rejected_by in TWINS.values())) == set(battery(as_drawn, 2, 10))


def dithered(n_calls, draw=dither_at):
    """Numbers for rounding at random, from the places that a stream gives, each used once."""
    stream = Stream(18)
    places = [place for _ in range(n_calls) for place in stream.places()]
    return torch.stack([draw(place, 500) for place in places]).numpy()


def dither_quality(numbers):
    return {
        "uniform": stats.kstest(numbers.ravel(), "uniform").pvalue,
        "neighbours": correlated(numbers[:, 1:].ravel(), numbers[:, :-1].ravel()),
        "calls": correlated(numbers[1:].ravel(), numbers[:-1].ravel()),
    }


def test_numbers_for_rounding():
    p = dither_quality(dithered(100))
    assert min(p.values()) > 1e-3, p
    assert min(dither_quality(dithered(100, lambda place, n: dither_at(0, n))).values()) < 1e-9
    assert torch.equal(dither_at(3, TABLE + 5)[TABLE:], dither_at(3, 5))


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
