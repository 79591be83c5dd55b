"""Sweeps over coupled units, Gibbs sampling and tempering with them, against enumeration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.machines.couplings import Graph
from skrbm.sampling import sweeps
from skrbm.sampling.kernels import GIBBS, GibbsState, Kernel, gibbs_step
from skrbm.sampling.ladder import AnnealingPath, Ladder
from skrbm.sampling.sweeps import sweep_
from skrbm.sampling.tempering import TEMPERING, tempering_init, tempering_step
from skrbm.support.randomness import Stream
from tests import reference
from tests.compiled import needs_numba, on_threads, without_loops
from tests.kernels import N, all_rungs, assert_one_step, assert_stationary
from tests.sampling.test_tempering import product

GIVEN = np.array([np.nan, 1.0, 0.0, np.nan, np.nan])


def coupled(n_hidden=0, n_features=6, **kwargs):
    return reference.random_params(n_hidden, n_features, coupled=True, **kwargs)


def transition_of(params, sweep=sweep_, h=None, **kwargs):
    """Probabilities of v → v', a row for each v, read off the logits of sweeps that are forced to each v'."""
    v = torch.from_numpy(reference.states(params.n_features)).to(params.W)
    n = len(v)
    starts, to = v.repeat_interleave(n, 0), v.repeat(n, 1)
    inputs = params.b if h is None else params.b + h @ params.W
    numbers = (1 - to).flatten()  # 0 turns a unit on, 1 off, whatever its logit
    x = sweep(params, starts, inputs.expand_as(to).clone(), numbers, **kwargs)
    assert torch.equal(starts, to)
    return torch.where(to > 0, x.sigmoid(), (-x).sigmoid()).prod(1).view(n, n).numpy()


def assert_keeps(transition, p, atol=1e-12):
    np.testing.assert_allclose(transition.sum(1), 1.0, atol=atol)
    np.testing.assert_allclose(p @ transition, p, atol=atol)


# -- one sweep ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 6, 32])
def test_a_sweep_draws_one_unit_after_another(block_size):
    params = coupled(scale=1.5)
    transition = transition_of(params, block_size=block_size)
    assert_keeps(transition, reference.p_v(params))
    np.testing.assert_allclose(transition, reference.sweep_transition(params, np.zeros(0)), atol=1e-12)


def all_at_once(params, v, inputs, numbers):
    """A twin that draws all units given the old states."""
    x = inputs + v @ params.R
    v.copy_(numbers.view(v.shape) == 0)
    return x


def forgets_changes_in_a_block(params, v, inputs, numbers, size=2):
    """A twin that draws the units of a block given the old states of each other."""
    x = torch.empty_like(inputs)
    for first in range(0, v.shape[1], size):
        units = slice(first, first + size)
        x[:, units] = inputs[:, units] + v @ params.R[:, units]
        v[:, units] = (numbers.view(v.shape)[:, units] == 0).to(v)
    return x


@pytest.mark.parametrize("broken", [all_at_once, forgets_changes_in_a_block])
def test_sweeps_that_forget_are_rejected(broken):
    params = coupled(scale=1.5)
    transition = transition_of(params, broken)
    np.testing.assert_allclose(transition.sum(1), 1.0)
    with pytest.raises(AssertionError):
        assert_keeps(transition, reference.p_v(params), atol=1e-3)


def test_the_sweep_of_a_graph_goes_by_colours():
    mask = torch.zeros(6, 6, dtype=torch.bool)
    for i, j in ((0, 1), (1, 2), (2, 3), (4, 5)):
        mask[i, j] = mask[j, i] = True
    params = coupled(scale=2.0)
    params = replace(params, R=params.R * mask)
    neighbours = torch.tensor([[1, 0], [0, 2], [1, 3], [2, 3], [5, 4], [4, 5]])
    graph = Graph((torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])), neighbours)
    transition = transition_of(replace(params, graph=graph))
    assert_keeps(transition, reference.p_v(params))
    expected = reference.sweep_transition(params, np.zeros(0), order=[0, 2, 4, 1, 3, 5])
    np.testing.assert_allclose(transition, expected, atol=1e-12)
    assert np.abs(transition - transition_of(params)).max() > 1e-3  # another order
    of_neighbours = replace(graph, colors=(torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5])))
    with pytest.raises(AssertionError):
        assert_keeps(transition_of(replace(params, graph=of_neighbours)), reference.p_v(params), atol=1e-3)


def test_hidden_units_and_scales():
    params, h = coupled(2, 5), torch.tensor([1.0, 0.0]).double()
    np.testing.assert_allclose(transition_of(params, h=h), reference.sweep_transition(params, h.numpy()), atol=1e-12)
    half = replace(params, R=0.5 * params.R)
    n = 2 ** (2 * params.n_features)
    for scale in (0.5, torch.full((n,), 0.5).double()):
        found = transition_of(params, h=h, scale=scale, block_size=2)
        np.testing.assert_allclose(found, transition_of(half, h=h), atol=1e-12)


@pytest.mark.parametrize("with_graph", [False, True])
def test_each_chain_has_its_scale(with_graph):
    params, stream = coupled(0, 40), Stream(0)
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[range(39), range(1, 40)] = mask[range(1, 40), range(39)] = True
    params = replace(params, R=params.R * mask, graph=Graph.of(mask) if with_graph else None)
    v = stream.bernoulli(torch.full((3, 40), 0.5).double())
    inputs, numbers = params.b.expand(3, -1), torch.rand(3, 40).double()
    scale = torch.tensor([0.0, 0.4, 1.0]).double()
    together = v.clone()
    logits = sweep_(params, together, inputs.clone(), numbers.flatten(), scale=scale)
    for i in range(3):
        alone = v[[i]].clone()
        found = sweep_(params, alone, inputs[[i]].clone(), numbers[i], scale=float(scale[i]))
        torch.testing.assert_close(found[0], logits[i])
        assert torch.equal(alone[0], together[i])
    torch.testing.assert_close(logits[0], params.b)


def path_of(params):
    """The machine with couplings of neighbours only, as they are numbered, and its graph."""
    n = params.n_features
    mask = torch.zeros(n, n, dtype=torch.bool)
    mask[range(n - 1), range(1, n)] = mask[range(1, n), range(n - 1)] = True
    neighbours = torch.arange(n)[:, None] + torch.tensor([-1, 1])
    neighbours[0, 0], neighbours[-1, 1] = 0, n - 1
    units = torch.arange(n)
    return replace(params, R=params.R * mask, graph=Graph((units[::2], units[1::2]), neighbours))


def star_of(params):
    """The machine with couplings of the first unit with every other only: another number of neighbours for each."""
    n = params.n_features
    mask = torch.zeros(n, n, dtype=torch.bool)
    mask[0, 1:] = mask[1:, 0] = True
    neighbours = torch.arange(n)[:, None].repeat(1, n - 1)
    neighbours[0], neighbours[1:, 0] = torch.arange(1, n), 0
    return replace(params, R=params.R * mask, graph=Graph((torch.arange(1, n), torch.tensor([0])), neighbours))


def clamped_sweeps(params, given, n=50_000, n_sweeps=3):
    """Frequencies of states after some sweeps from p(v | given)."""
    stream, p = Stream(0), reference.conditional_p_v(params, given)
    v = torch.from_numpy(reference.states(5)[np.random.default_rng(0).choice(32, n, p=p)])
    for _ in range(n_sweeps):
        numbers = stream.numbers(v.numel(), v.device)
        sweep_(params, v, params.b.expand_as(v).clone(), numbers, given=torch.from_numpy(given).expand_as(v))
    return reference.total_variation(reference.frequencies(v), p), reference.total_variation_floor(p, n)


@pytest.mark.parametrize("with_graph", [False, True])
def test_what_is_given_stays(with_graph):
    params = coupled(0, 5)
    params = path_of(params) if with_graph else params
    found, floor = clamped_sweeps(params, GIVEN)
    assert found < floor
    of_others = replace(params, R=torch.zeros_like(params.R), graph=None)
    p, q = (reference.conditional_p_v(machine, GIVEN) for machine in (params, of_others))
    assert reference.total_variation(p, q) > 2 * floor


@pytest.mark.parametrize("with_graph", [False, True])
def test_greys_that_are_given_stay(with_graph):
    """They count as they are in the inputs of the others."""
    params = coupled(0, 5)
    params = path_of(params) if with_graph else params
    given = torch.tensor([[torch.nan, 0.3, 0.5, torch.nan, 0.9]]).double().repeat(4, 1)
    v = torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]]).double().repeat(4, 1)
    logits = sweep_(params, v, params.b.expand_as(v).clone(), torch.full((20,), 0.4).double(), given=given)
    assert torch.equal(v[:, [1, 2, 4]], given[:, [1, 2, 4]])
    before = torch.where(given.isnan(), 0.0, given)
    torch.testing.assert_close(logits[:, 0], (params.b + before @ params.R)[:, 0])
    before[:, 0] = v[:, 0]
    torch.testing.assert_close(logits[:, 3], (params.b + before @ params.R)[:, 3])


@pytest.fixture
def _loops(monkeypatch):
    monkeypatch.setattr(sweeps, "_LEAST_COMPILED", 0)
    with on_threads(1):
        yield


@needs_numba
@pytest.mark.usefixtures("_loops")
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("make", [lambda params: params, path_of, star_of], ids=["dense", "path", "star"])
@pytest.mark.parametrize("shape", [(1, 3), (8, 16), (9, 40), (100, 33)])
def test_the_compiled_loop_is_the_sweep(shape, make, given):
    params = make(coupled(0, shape[1], scale=0.5, dtype=torch.float32))
    generator = torch.Generator().manual_seed(0)
    v, numbers = torch.rand(shape, generator=generator).round(), torch.rand(shape, generator=generator).flatten()
    scale = torch.rand(len(v), generator=generator)
    kwargs = {"given": v.masked_fill(torch.rand(shape, generator=generator) < 0.7, torch.nan) if given else None}

    def run(scale):
        states = v.clone()
        return sweep_(params, states, params.b.expand_as(v).clone(), numbers, scale=scale, **kwargs), states

    for factor in (1.0, scale):
        logits, states = run(factor)
        with without_loops():
            expected, of_blocks = run(factor)
        assert torch.equal(states, of_blocks)
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=2e-6)
        if shape[0] > 1:
            assert not torch.equal(states, v)
    assert (run(1.0)[0] - run(scale)[0]).abs().max() > 0.1


@needs_numba
def test_the_loop_is_left_out_where_it_isnt_worth_it_or_cant(monkeypatch):
    for name in ("_SWEEP", "_SWEEP_OF_GRAPH"):
        monkeypatch.setattr(sweeps, name, lambda *arguments: pytest.fail("a compiled loop"))

    def run(n, dtype=torch.float32, make=lambda params: params):
        params = make(coupled(0, 32, dtype=dtype))
        v = torch.zeros(n, 32, dtype=dtype)
        sweep_(params, v, params.b.expand_as(v).clone(), torch.rand(v.numel()))

    run(15)
    run(16, torch.float64)
    with without_loops():
        run(16)
    for make in (lambda params: params, path_of):
        with pytest.raises(pytest.fail.Exception):
            run(16, make=make)


# -- Gibbs sampling ----------------------------------------------------------------------------------------------------

of_machines = pytest.mark.parametrize("n_hidden", [0, 2])


def stationary(params, kernel):
    v = torch.from_numpy(reference.draw_v(params, N))
    assert_stationary(kernel, params, v, reference.p_v(params))


def one_step(params, kernel):
    starts, transition = reference.states(params.n_features), reference.gibbs_transition(params)
    some = np.random.default_rng(0).choice(len(starts), 6, replace=False)
    assert_one_step(kernel, params, starts[some], transition[some])


@of_machines
def test_gibbs_sampling(n_hidden):
    params = coupled(n_hidden, 4, scale=1.5)
    assert_keeps(reference.gibbs_transition(params), reference.p_v(params))
    stationary(params, GIBBS)
    one_step(params, GIBBS)


def forgets_couplings(params, state, stream):
    """A twin that draws units as if they were independent given h."""
    new, info = gibbs_step(replace(params, R=None), state._replace(v=None), stream)
    return GibbsState(new.h, state.given, info.v), info


def starts_anew(params, state, stream):
    """A twin whose every sweep starts from zeros."""
    return gibbs_step(params, state._replace(v=torch.zeros_like(state.v)), stream)


@of_machines
@pytest.mark.parametrize("broken", [forgets_couplings, starts_anew])
def test_broken_gibbs_sampling_is_rejected(n_hidden, broken):
    kernel = GIBBS._replace(step=broken)
    params = coupled(n_hidden, 4, scale=1.5)
    for test in (stationary, one_step):
        with pytest.raises(AssertionError):
            test(params, kernel)


@of_machines
def test_clamped_gibbs_sampling(n_hidden):
    params, given = coupled(n_hidden, 5, scale=1.5), torch.from_numpy(GIVEN)
    p = reference.conditional_p_v(params, GIVEN)
    v = torch.from_numpy(reference.states(5)[np.random.default_rng(0).choice(32, N, p=p)])
    assert_stationary(GIBBS, params, v, p, given=given.expand(N, -1))
    some = np.flatnonzero(p)[::3]
    transition = reference.clamped_gibbs_transition(params, GIVEN)
    assert_keeps(transition[p > 0][:, p > 0], p[p > 0])
    assert_one_step(GIBBS, params, reference.states(5)[some], transition[some], given=given[None])
    forgets = Kernel(GIBBS.init, lambda params, state, stream: gibbs_step(params, state._replace(given=None), stream))
    with pytest.raises(AssertionError):
        assert_stationary(forgets, params, v, p, given=given.expand(N, -1))


def test_means_are_those_that_units_were_drawn_by():
    params, stream = coupled(2, 5), Stream(0)
    state = GIBBS.init(params, torch.from_numpy(reference.draw_v(params, 50)), stream)
    new, info = gibbs_step(params, state, stream)
    torch.testing.assert_close(info.mean_v[:, 0], (params.b + state.h @ params.W + state.v @ params.R)[:, 0].sigmoid())
    torch.testing.assert_close(info.mean_v[:, -1], (params.b + state.h @ params.W + info.v @ params.R)[:, -1].sigmoid())
    assert torch.equal(new.v, info.v)


def test_greys_that_are_given_to_chains_stay():
    params, given = coupled(2, 5), torch.tensor([torch.nan, 0.3, torch.nan, 0.9, torch.nan]).double()
    state = GIBBS.init(params, torch.zeros(20, 5).double(), Stream(0), given.expand(20, -1))
    for _ in range(3):
        state, info = gibbs_step(params, state, Stream(0))
        assert (info.v[:, [1, 3]] == given[[1, 3]]).all()
        assert (info.mean_v[:, [1, 3]] == given[[1, 3]]).all()


# -- tempering ---------------------------------------------------------------------------------------------------------


def ladder_of(params, *betas):
    base = torch.linspace(-0.5, 0.5, params.n_features).double()
    return AnnealingPath(params, base).ladder(torch.tensor(betas))


def rungs(ladder):
    return [ladder.rung(i) for i in range(ladder.n_rungs)]


def tempered(ladder, kernel=TEMPERING, n=N // 2):
    """From states of all rungs, steps lead to states of all rungs."""
    v = torch.from_numpy(np.stack([reference.draw_v(rung, n, seed) for seed, rung in enumerate(rungs(ladder))]))
    assert_stationary(kernel, ladder, v, product(map(reference.p_v, rungs(ladder))), all_rungs)


@of_machines
@pytest.mark.parametrize("betas", [(0.3, 1.0), (0.0, 0.5, 1.0)])
def test_tempering(n_hidden, betas):
    tempered(ladder_of(coupled(n_hidden, 3, scale=2.0), *betas))


def test_tempering_one_step():
    ladder = ladder_of(coupled(2, 3, scale=2.0), 0.3, 1.0)
    low, high = rungs(ladder)
    transition = np.kron(reference.gibbs_transition(low), reference.gibbs_transition(high))
    transition = transition @ reference.swap_transition(reference.p_v(low), reference.p_v(high))
    starts = reference.states(6).reshape(-1, 2, 3)
    some = np.random.default_rng(0).choice(len(starts), 8, replace=False)
    assert_one_step(TEMPERING, ladder, starts[some], transition[some], all_rungs)


def test_rungs_are_those_of_the_path():
    params = coupled(2, 3)
    path = AnnealingPath(params, torch.zeros(3).double())
    ladder = path.ladder(torch.tensor([0.0, 0.4, 1.0]))
    for i, beta in enumerate((0.0, 0.4, 1.0)):
        for name, tensor in path.at(beta).tensors.items():
            torch.testing.assert_close(ladder.rung(i).tensors[name], tensor, rtol=0, atol=1e-7)


class Forgetful(Ladder):
    """A twin whose swaps leave the couplings out of the free energy."""

    def log_weight(self, v, input_to_h, rungs):
        return replace(Ladder(self.W, self.b, self.c, self.scale)).log_weight(v, input_to_h, rungs)


class AllAlike(Ladder):
    """A twin whose swaps take all rungs for as strongly coupled."""

    def log_weight(self, v, input_to_h, rungs):
        ladder = Ladder(self.W, self.b, self.c, torch.ones_like(self.scale), R=self.R)
        return ladder.log_weight(v, input_to_h, rungs)


@of_machines
@pytest.mark.parametrize("broken", [Forgetful, AllAlike])
def test_tempering_with_wrong_swaps_is_rejected(n_hidden, broken):
    ladder = ladder_of(coupled(n_hidden, 3, scale=2.0), 0.3, 1.0)
    twin = broken(ladder.W, ladder.b, ladder.c, ladder.scale, R=ladder.R)
    with pytest.raises(AssertionError):
        tempered(twin)


def test_clamped_tempering():
    ladder, given = ladder_of(coupled(2, 3, scale=2.0), 0.3, 1.0), np.array([np.nan, 1.0, np.nan])
    distributions = [reference.conditional_p_v(rung, given) for rung in rungs(ladder)]
    n, rng = N // 2, np.random.default_rng(0)
    v = torch.from_numpy(np.stack([reference.states(3)[rng.choice(8, n, p=p)] for p in distributions]))

    def run(kernel):
        of_all = torch.from_numpy(given).expand(n, -1)
        assert_stationary(kernel, ladder, v, product(distributions), all_rungs, given=of_all)

    run(TEMPERING)
    forgets = Kernel(
        tempering_init, lambda ladder, state, stream: tempering_step(ladder, state._replace(given=None), stream)
    )
    with pytest.raises(AssertionError):
        run(forgets)


def test_trajectories_of_coupled_machines_are_refused():
    with pytest.raises(ValueError, match="Tempering along a trajectory is for machines without couplings"):
        Ladder.of_rungs([coupled(2, 3)])
