"""Compiled loops of sampling do what the plain kernels do: the same draws, sums in another order."""

import numpy as np
import pytest
import torch

from skrbm.likelihood import annealed
from skrbm.likelihood.annealed import anneal, inverse_temperatures, uniform_schedule
from skrbm.machines.bernoulli import Bernoulli
from skrbm.machines.restricted import RBMParameters
from skrbm.sampling import GIBBS, TEMPERING, kernels
from skrbm.sampling.compiled import CompiledGibbs, Weights
from skrbm.sampling.kernels import GibbsState, moved_on, record_chains, run_chains
from skrbm.sampling.ladder import AnnealingPath
from skrbm.support.compiled import loaded_loops
from skrbm.support.randomness import Stream
from tests import reference
from tests.compiled import needs_numba, on_threads, refused_loops, without_loops

pytestmark = needs_numba

SIZES = [(3, 4), (20, 30), (130, 17), (16, 200)]


def machine(n_hidden=20, n_features=30, scale=0.5, dtype=torch.float32):
    return reference.random_params(n_hidden, n_features, scale, seed=3, dtype=dtype)


def starts(n, params):
    return torch.rand(n, params.n_features, generator=torch.Generator().manual_seed(0)).round().to(params.W)


def both_ways(call):
    """What `call(stream)` returns with loops and without; the streams end at the same position."""
    found = []
    for way in (loaded_loops, without_loops):
        stream = Stream(4)
        with way():
            found.append(call(stream))
        found.append(stream.position)
    with_loops, position, plain, plain_position = found
    assert position == plain_position
    return with_loops, plain


@pytest.fixture(autouse=True)
def _one_thread():
    """Whose draws are the same, and quicker in machines as small as these."""
    with on_threads(1):
        yield


def agree(found, plain, **tolerances):
    """Whether chains are the same, but for one in fifty: one that comes to a tie goes its own way from there on."""
    same = torch.isclose(found, plain, **tolerances).flatten(1).all(1)
    return same.double().mean() >= 0.98


# -- Gibbs sampling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_chains", [1, 60, 1100])
def test_ends_of_chains(size, n_chains):
    params = machine(*size)
    v = starts(n_chains, params)
    found, plain = both_ways(lambda stream: run_chains(GIBBS, params, v, 7, stream)[0])
    assert agree(found, plain)
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_that_test_rejects_another_machine():
    params, other = machine(), machine()
    other.W[0, 0] += 0.5
    v = starts(70, params)
    found, _ = both_ways(lambda stream: run_chains(GIBBS, params, v, 7, stream)[0])
    _, plain = both_ways(lambda stream: run_chains(GIBBS, other, v, 7, stream)[0])
    assert not agree(found, plain)


@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_means_over_second_halves(n_steps):
    params = machine()
    v = starts(70, params)
    found, plain = both_ways(lambda stream: run_chains(GIBBS, params, v, n_steps, stream, mean=True)[0])
    assert agree(found, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("thin", [1, 3, 4, 12])
def test_records_of_chains(thin):
    params = machine()
    v = starts(60, params)
    found, plain = both_ways(lambda stream: record_chains(GIBBS, params, v, 12, stream, thin=thin)[0])
    assert found.shape == (60, 12 // thin, 30)
    assert agree(found, plain)


def test_steps_behind_the_last_record_are_made():
    params = machine()
    v = starts(60, params)
    found, plain = both_ways(lambda stream: record_chains(GIBBS, params, v, 14, stream, thin=5)[0])
    assert found.shape == (60, 2, 30)
    assert agree(found, plain)


@pytest.mark.parametrize("n_steps", [1, 8])
def test_hidden_states_moved_on(n_steps):
    params = machine()
    h = torch.rand(70, 20, generator=torch.Generator().manual_seed(1)).round()
    before = h.clone()
    found, plain = both_ways(lambda stream: moved_on(params, GibbsState(h), n_steps, stream).h)
    assert agree(found, plain)
    assert torch.equal(h, before)


@pytest.mark.parametrize("mean", [False, True])
def test_several_blocks_of_chains(mean, monkeypatch):
    monkeypatch.setattr(kernels, "_BLOCK", 30 * 25)
    params = machine()
    v = starts(70, params)
    found, plain = both_ways(lambda stream: run_chains(GIBBS, params, v, 7, stream, mean=mean)[0])
    assert agree(found, plain, rtol=1e-5, atol=1e-6)
    found, plain = both_ways(lambda stream: record_chains(GIBBS, params, v, 7, stream, thin=2)[0])
    assert agree(found, plain)


def test_rows_and_weights_of_any_layout():
    params = machine()
    turned = RBMParameters(params.W.T.contiguous().T, params.b.repeat_interleave(2)[::2], params.c)
    v = starts(70, params)
    with loaded_loops():
        found = [run_chains(GIBBS, p, x, 7, Stream(4))[0] for p, x in ((params, v), (turned, v.T.contiguous().T))]
        h = torch.ones(20, 70).T
        moved = [moved_on(params, GibbsState(x), 3, Stream(5)).h for x in (h, h.contiguous())]
    assert torch.equal(*found)
    assert torch.equal(*moved)


def test_the_number_of_threads_makes_no_difference():
    params = machine()
    v, results = starts(300, params), []
    for n_threads in (1, 2):
        with on_threads(n_threads), loaded_loops():
            ends = run_chains(GIBBS, params, v, 9, Stream(4), mean=True)[0]
            path = AnnealingPath(params, torch.zeros(30))
            found = anneal(path, v, uniform_schedule(60), Stream(5))
        results.append((ends, found.v, found.log_weight))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_where_loops_cannot_do_it_the_plain_kernels_do():
    narrow, wide, n = machine(), machine(dtype=torch.float64), 5
    given = torch.full((n, 30), torch.nan)
    own = GIBBS._replace(step=lambda model, state, stream: GIBBS.step(model, state, stream))
    other = RBMParameters(narrow.W, narrow.b, narrow.c, hidden=type("Other", (Bernoulli,), {})())
    ladder = AnnealingPath(narrow, 0.5 * narrow.b).ladder(torch.linspace(0, 1, 3))
    cases = [(GIBBS, narrow, given), (GIBBS, wide, None), (own, narrow, None), (TEMPERING, ladder, None)]
    with loaded_loops(), refused_loops():
        for kernel, model, fixed in [*cases, (GIBBS, other, None)]:
            v = torch.zeros(n, 30, dtype=torch.float64 if model is wide else torch.float32)
            run_chains(kernel, model, v, 2, Stream(0), given=fixed)
            record_chains(kernel, model, v, 2, Stream(0), given=fixed)
        moved_on(wide, GibbsState(torch.zeros(n, 20).double()), 2, Stream(0))
        for run in (run_chains, record_chains):
            with pytest.raises(AssertionError, match="a compiled loop"):
                run(GIBBS, narrow, torch.zeros(n, 30), 2, Stream(0))


def test_loops_are_loaded_for_long_work_only():
    params = machine()
    assert Weights.of(params, 1000, 100) is None
    assert Weights.of(params, 1000, 10_000) is not None
    with loaded_loops():
        assert Weights.of(params, 1, 1) is not None
    with loaded_loops(), without_loops():
        assert Weights.of(params, 1000, 10_000) is None


def test_chains_go_on_where_they_are():
    """In one run and in several, which end with the same states."""
    params = machine()
    h = starts(20, params)[:, :20]
    with loaded_loops():
        whole, parts = (CompiledGibbs(Weights.of(params, 20, 6), h) for _ in range(2))
    one, other = Stream(6), Stream(6)
    whole.run_(6, one)
    for n_steps in (1, 2, 3):
        parts.run_(n_steps, other)
    assert torch.equal(whole.h, parts.h)
    assert torch.equal(whole.v, parts.v)
    assert one.position == other.position


# -- annealing ---------------------------------------------------------------------------------------------------------

BASES = {
    "halves": lambda params, n: torch.zeros_like(params.b),
    "near": lambda params, n: 0.5 * params.b,
    "one for each chain": lambda params, n: params.b * torch.linspace(0, 1, n)[:, None],
}
N_STEPS = [1, 2, 49, 50, 51, 100]  # loops make 50 together


def annealed_both_ways(params, base, betas, n_chains=70):
    v = starts(n_chains, params)
    path = AnnealingPath(params, BASES[base](params, n_chains))
    return both_ways(lambda stream: anneal(path, v, betas, stream))


def is_same(found, plain):
    """The same states, and log-weights but for rounding."""
    assert found.log_weight.dtype == torch.float64
    chains, plain_chains = (torch.column_stack((of.v.double(), of.log_weight)) for of in (found, plain))
    return agree(chains, plain_chains, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("n_steps", N_STEPS)
@pytest.mark.parametrize("falls", [False, True])
def test_annealing(base, n_steps, falls):
    betas = [x**2 for x in uniform_schedule(n_steps)]
    assert is_same(*annealed_both_ways(machine(scale=0.05), base, betas[::-1] if falls else betas))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_chains", [1, 60, 300])
def test_annealing_of_all_sizes(size, n_chains):
    assert is_same(*annealed_both_ways(machine(*size, scale=0.2), "near", uniform_schedule(60), n_chains))


def test_that_test_rejects_other_steps():
    params = machine(scale=0.05)
    found, _ = annealed_both_ways(params, "near", uniform_schedule(60))
    for change in (0.999, 1.001):
        _, plain = annealed_both_ways(params, "near", [change * beta for beta in uniform_schedule(60)])
        assert not is_same(found, plain)


def test_annealing_in_blocks_of_chains(monkeypatch):
    monkeypatch.setattr(annealed, "_BLOCK", 30 * 25)
    for base in BASES:
        assert is_same(*annealed_both_ways(machine(scale=0.1), base, uniform_schedule(60)))


def test_progress_is_reported_alike():
    params, reports = machine(scale=0.1), ([], [])
    path, v = AnnealingPath(params, 0.5 * params.b), starts(10, params)
    for way, calls in zip((loaded_loops, without_loops), reports, strict=True):
        with way():
            anneal(path, v, uniform_schedule(120), Stream(0), lambda *numbers, calls=calls: calls.append(numbers))
    assert reports[0] == reports[1] == [(50, 120), (100, 120)]


def test_schedules_from_pilot_runs():
    params = machine(scale=0.3)
    path = AnnealingPath(params, 0.5 * params.b)
    found, plain = both_ways(lambda stream: inverse_temperatures(path, stream, 100, "adaptive"))
    np.testing.assert_allclose(found, plain, atol=1e-6)


@pytest.mark.parametrize("falls", [False, True])
def test_large_steps_are_made_by_the_plain_way(falls):
    params = machine(scale=2.0)
    path, v = AnnealingPath(params, torch.zeros(30)), starts(10, params)
    betas = uniform_schedule(3000)
    large = [0.0, 0.5, 1.0]
    with loaded_loops(), refused_loops():
        anneal(path, v, large[::-1] if falls else large, Stream(0))
        anneal(AnnealingPath(machine(dtype=torch.float64), v[0].double()), v.double(), betas[::300], Stream(0))
        with pytest.raises(AssertionError, match="a compiled loop"):
            anneal(path, v, betas[::-1] if falls else betas, Stream(0))
    assert torch.isfinite(annealed_both_ways(params, "halves", large)[0].log_weight).all()


def test_steps_that_are_just_small_enough():
    """Inputs of hidden units move by just less than 1; all they add stays within the range of float64."""
    params = RBMParameters(torch.full((1000, 10), 4.99), torch.zeros(10), torch.zeros(1000))
    for sign in (1, -1):
        signed = RBMParameters(sign * params.W, params.b, params.c)
        betas = [step / 50 for step in range(51)]
        found, plain = annealed_both_ways(signed, "halves", betas, 20)
        assert is_same(found, plain)
        with loaded_loops(), refused_loops(), pytest.raises(AssertionError, match="a compiled loop"):
            anneal(AnnealingPath(signed, signed.b), found.v, betas, Stream(0))
