"""Couplings of visible units: energies, inputs and graphs, against enumeration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.machines import couplings
from skrbm.machines.bernoulli import BERNOULLI
from skrbm.machines.blocks import Blocks
from skrbm.machines.couplings import Graph, fields, log_weight_of_couplings
from skrbm.machines.gaussian import GAUSSIAN
from skrbm.machines.restricted import (
    RBMParameters,
    energy,
    free_energy,
    free_energy_h,
    input_to_h,
    input_to_v,
    mean_h_given_v,
    mean_v_given_h,
    mean_v_given_rest,
    sample_v_given_h,
)
from skrbm.support.randomness import Stream
from tests import reference

of_machines = pytest.mark.parametrize("n_hidden", [0, 3])


def coupled(n_hidden=3, n_features=4, **kwargs):
    return reference.random_params(n_hidden, n_features, coupled=True, **kwargs)


def ring(n):
    """A mask of units in a ring."""
    mask = torch.zeros(n, n, dtype=torch.bool)
    units = torch.arange(n)
    mask[units, (units + 1) % n] = mask[(units + 1) % n, units] = True
    return mask


def on_graph(params, mask):
    """The machine with couplings only where the mask has them, without a graph and with it."""
    without = replace(params, R=params.R * mask)
    return without, replace(without, graph=Graph.of(mask))


def some_states(n, n_features, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (n, n_features)).astype(float))


# -- energies ----------------------------------------------------------------------------------------------------------


def paired_states(params):
    V, H = reference.states(params.n_features), reference.states(params.n_hidden)
    return torch.from_numpy(V.repeat(len(H), 0)), torch.from_numpy(np.tile(H, (len(V), 1)))


@of_machines
def test_energy(n_hidden):
    params = coupled(n_hidden)
    v, h = paired_states(params)
    np.testing.assert_allclose(energy(params, v, h), reference.all_energies(params).ravel(), atol=1e-12)
    twice = replace(params, R=2 * params.R)  # a twin that counts each pair two times
    assert np.abs(energy(twice, v, h).numpy() - reference.all_energies(params).ravel()).max() > 0.1


@of_machines
def test_free_energy(n_hidden):
    params = coupled(n_hidden)
    v = torch.from_numpy(reference.states(4))
    expected = -np.log(reference.p_v(params)) - reference.log_partition(params)
    np.testing.assert_allclose(free_energy(params, v), expected, atol=1e-12)
    assert np.abs(free_energy(replace(params, R=None), v).numpy() - expected).max() > 0.1


def test_conditionals():
    params = coupled()
    v, h = paired_states(params)
    p = reference.joint(params)
    np.testing.assert_allclose(
        mean_h_given_v(params, torch.from_numpy(reference.states(4))),
        reference.h_given_v(params) @ reference.states(3),
        atol=1e-12,
    )
    rest, found = np.empty(v.shape), mean_v_given_rest(params, v, h)
    for i in range(4):
        one, zero = v.numpy().copy(), v.numpy().copy()
        one[:, i], zero[:, i] = 1.0, 0.0
        of_one, of_zero = (p[reference.index(u), reference.index(h)] for u in (one, zero))
        rest[:, i] = of_one / (of_one + of_zero)
    np.testing.assert_allclose(found, rest, atol=1e-12)
    alone = params.visible.mean(input_to_v(params, h))  # as if the others didn't matter
    assert np.abs(alone.numpy() - rest).max() > 0.1


def test_fields_and_weights_of_pairs():
    params = coupled(0, 5)
    v = torch.from_numpy(reference.states(5))
    pairs = [reference.coupling(params, row.numpy()) for row in v]
    np.testing.assert_allclose(params.log_weight_of_couplings(v), pairs, atol=1e-12)
    torch.testing.assert_close(params.fields(v), v @ params.R)
    units = torch.tensor([3, 1])
    torch.testing.assert_close(fields(params.R, None, v, units), (v @ params.R)[:, units])
    assert not log_weight_of_couplings(None, None, v).any()
    assert not replace(params, R=None).fields(v).any()


def test_couplings_of_zero_are_an_rbm():
    rbm = reference.random_params(3, 4)
    params = replace(rbm, R=torch.zeros(4, 4).double())
    v, h = paired_states(rbm)
    assert torch.equal(energy(params, v, h), energy(rbm, v, h))
    assert torch.equal(free_energy(params, v), free_energy(rbm, v))
    for function in (input_to_h, mean_h_given_v):
        assert torch.equal(function(params, v), function(rbm, v))
    assert torch.equal(input_to_v(params, h), input_to_v(rbm, h))
    torch.testing.assert_close(mean_v_given_rest(params, v, h), mean_v_given_h(rbm, h))
    assert torch.equal(mean_v_given_rest(rbm, v, h), mean_v_given_h(rbm, h))


# -- machines that are the same ----------------------------------------------------------------------------------------


def with_gaussian_units(params, A):
    """An RBM without couplings, whose Gaussian units beside the hidden ones have the weights A.

    Summed out, they are worth ½ |A v|²: the couplings A'A, and a bias of half their diagonal, as v² is v.
    """
    hidden = Blocks([(BERNOULLI, params.n_hidden), (GAUSSIAN, len(A))]) if params.n_hidden else GAUSSIAN
    b = params.b - 0.5 * A.square().sum(0)
    return RBMParameters(torch.cat((params.W, A)), b, torch.cat((params.c, A.new_zeros(len(A)))), hidden=hidden)


def log_p(params, v):
    return (-free_energy(params, v)).log_softmax(0)


@of_machines
def test_couplings_of_a_square_are_gaussian_hidden_units(n_hidden):
    params, A = coupled(n_hidden, 6), reference.random_params(2, 6, scale=0.7, seed=1).W
    params = replace(params, R=A.T @ A - torch.diag(A.square().sum(0)))
    v, rbm = torch.from_numpy(reference.states(6)), with_gaussian_units(params, A)
    torch.testing.assert_close(log_p(params, v), log_p(rbm, v), rtol=0, atol=1e-12)
    unshifted = replace(rbm, b=params.b)
    assert (log_p(params, v) - log_p(unshifted, v)).abs().max() > 0.1


def test_a_tempered_machine_has_tempered_couplings():
    params = coupled()
    v, h = paired_states(params)
    torch.testing.assert_close(energy(params.tempered(0.3), v, h), 0.3 * energy(params, v, h))


def test_a_machine_without_weights_has_no_couplings():
    params = coupled()
    alone = params.without_weights(params.b)
    assert (alone.R, alone.graph) == (None, None)


# -- what coupled machines refuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda params, h: mean_v_given_h(params, h), r"E\[v \| h\] has no closed form: the visible units are coupled"),
        (lambda params, h: sample_v_given_h(params, h, Stream(0)), "the visible units are coupled"),
        (lambda params, h: params.transposed(), "The hidden layer can't take the place of the visible one"),
        (lambda params, h: free_energy_h(params, h), "not independent given h"),
    ],
    ids=["mean_v_given_h", "sample_v_given_h", "transposed", "free_energy_h"],
)
def test_what_needs_independent_units(call, message):
    h = torch.zeros(2, 3).double()
    call(replace(coupled(), R=None), h)
    with pytest.raises(ValueError, match=message):
        call(coupled(), h)


@pytest.mark.parametrize("shape", [(4,), (4, 3), (3, 3), (5, 5), (1, 4, 4)])
def test_couplings_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"R must have shape \(4, 4\), \(n_features, n_features\); got"):
        replace(coupled(), R=torch.zeros(shape).double())


def test_couplings_go_along():
    params = on_graph(coupled(3, 40), ring(40))[1]
    assert [*params.tensors] == ["W", "b", "c", "R"]
    assert "coupled" in repr(params)
    assert "coupled" not in repr(replace(params, R=None))
    copy = params.clone()
    copy.R.zero_()
    assert params.R.any()
    copy.copy_(params)
    assert torch.equal(copy.R, params.R)
    copy.lerp_(replace(params, R=torch.zeros_like(params.R)), 0.5)
    torch.testing.assert_close(copy.R, 0.5 * params.R)
    assert params.to(torch.float32).R.dtype == torch.float32
    assert params.to(torch.float32).graph is params.graph
    assert params.to("meta").graph.neighbours.is_meta


# -- graphs ------------------------------------------------------------------------------------------------------------


def sparse(n=60, n_pairs=25, seed=0):
    """A mask of a few pairs at random, with units that have none."""
    rng, mask = np.random.default_rng(seed), torch.zeros(n, n, dtype=torch.bool)
    for _ in range(n_pairs):
        i, j = rng.choice(n, 2, replace=False)
        mask[i, j] = mask[j, i] = mask[i, j] or max(mask[i].sum(), mask[j].sum()) < n // 16
    return mask


def blocks(n=64, size=4):
    """A mask of cliques."""
    of_unit = torch.arange(n) // size
    return (of_unit[:, None] == of_unit) & ~torch.eye(n, dtype=torch.bool)


MASKS = {"ring": ring(40), "odd ring": ring(41), "at random": sparse(), "cliques": blocks()}


def assert_proper(mask, graph):
    """Each unit has one colour, which none of its neighbours has; and its neighbours are those of the mask."""
    assert torch.cat(graph.colors).sort().values.tolist() == list(range(len(mask)))
    for units in graph.colors:
        assert not mask[units][:, units].any()
    for unit, others in enumerate(graph.neighbours.tolist()):
        assert sorted({*others} - {unit}) == mask[unit].nonzero().flatten().tolist()
        assert len([other for other in others if other != unit]) == int(mask[unit].sum())


@pytest.mark.parametrize("name", MASKS)
def test_colours_are_proper_and_neighbours_right(name):
    mask = MASKS[name]
    graph = Graph.of(mask)
    assert_proper(mask, graph)
    assert len(graph.colors) <= mask.sum(1).max() + 1
    assert graph.neighbours.shape == (len(mask), mask.sum(1).max())
    one_color = replace(graph, colors=(torch.arange(len(mask)),))
    with pytest.raises(AssertionError):
        assert_proper(mask, one_color)


def test_rings_take_two_colours_or_three():
    assert [len(Graph.of(ring(n)).colors) for n in (40, 41)] == [2, 3]


def test_dense_couplings_have_no_graph():
    assert Graph.of(~torch.eye(5, dtype=torch.bool)) is None
    assert Graph.of(ring(31)) is None  # two of 31 are more than one in sixteen
    assert Graph.of(ring(32)) is not None


def test_units_without_neighbours():
    graph = Graph.of(torch.zeros(7, 7, dtype=torch.bool))
    assert [color.tolist() for color in graph.colors] == [[0, 1, 2, 3, 4, 5, 6]]
    v = some_states(3, 7)
    assert not fields(torch.zeros(7, 7).double(), graph, v).any()
    isolated = sparse().sum(1) == 0
    assert isolated.any()
    params = on_graph(coupled(0, 60), sparse())[1]
    assert not params.fields(some_states(5, 60))[:, isolated].any()


def test_a_graph_of_no_units():
    graph = Graph.of(torch.zeros(0, 0, dtype=torch.bool))
    assert graph.colors == ()
    assert fields(torch.zeros(0, 0), graph, torch.zeros(3, 0)).shape == (3, 0)


@pytest.mark.parametrize("name", MASKS)
def test_a_graph_changes_nothing(name, monkeypatch):
    mask = MASKS[name]
    without, with_graph = on_graph(coupled(3, len(mask), seed=2), mask)
    v, h = some_states(9, len(mask)), some_states(9, 3)
    units = torch.tensor([7, 0, 30])
    for block in (couplings._BLOCK, 100):
        monkeypatch.setattr(couplings, "_BLOCK", block)
        torch.testing.assert_close(with_graph.fields(v), without.fields(v))
        torch.testing.assert_close(fields(with_graph.R, with_graph.graph, v, units), without.fields(v)[:, units])
        for function, arguments in (
            (energy, (v, h)),
            (free_energy, (v,)),
            (mean_v_given_rest, (v, h)),
            (mean_h_given_v, (v,)),
        ):
            torch.testing.assert_close(function(with_graph, *arguments), function(without, *arguments))
    other = replace(with_graph, graph=Graph.of(torch.zeros_like(mask)))  # a twin whose graph has no neighbours
    assert (other.fields(v) - without.fields(v)).abs().max() > 0.1
