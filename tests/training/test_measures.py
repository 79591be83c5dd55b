import math

import numpy as np
import pytest
import torch

from skrbm.likelihood import log_likelihood_exact
from skrbm.machines.restricted import RBMParameters
from skrbm.rows import HeldOut
from skrbm.support.randomness import Stream
from skrbm.training import EarlyStopping, measure, validation_score
from tests import reference


def bits(n, n_features, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (n, n_features)).astype(float))


def free_energies(params, v):
    """By enumeration: -log p(v) - log Z."""
    return -np.log(reference.p_v(params)[reference.index(v.numpy())]) - reference.log_partition(params)


def test_measures_against_enumeration():
    params, before = reference.random_params(3, 4), reference.random_params(3, 4, seed=9)
    v, held_out, h = bits(50, 4), HeldOut(bits(7, 4, 1), torch.arange(7).double()), bits(4000, 3, 2)
    found = measure(params, before, h, v, held_out, Stream(0))
    weight = held_out.weight.numpy()
    inside, outside = free_energies(params, v).mean(), np.average(free_energies(params, held_out.v), weights=weight)
    assert found.free_energy == pytest.approx(inside)
    assert found.free_energy_held_out == pytest.approx(outside)
    assert found.free_energy_gap == pytest.approx(outside - inside)
    scores = [reference.pseudo_log_likelihood(params, row) for row in held_out.v.numpy()]
    assert found.pseudo_log_likelihood == pytest.approx(np.average(scores, weights=weight))
    # The chains show v_k with the probabilities that h gives them.
    v_given_h = reference.v_given_h(params)[reference.index(h.numpy())]  # (n_chains, states of v)
    energies = free_energies(params, torch.from_numpy(reference.states(4)))
    assert found.loss == pytest.approx(inside - (v_given_h @ energies).mean(), abs=0.1)
    mean_h = 1 / (1 + np.exp(-(v.numpy() @ params.W.numpy().T + params.c.numpy())))
    mean_v = 1 / (1 + np.exp(-(mean_h @ params.W.numpy() + params.b.numpy())))
    assert found.reconstruction_error == pytest.approx(((v.numpy() - mean_v) ** 2).mean())
    assert found.weight_norm == pytest.approx(np.linalg.norm(params.W))
    assert found.update_norm == pytest.approx(np.linalg.norm(params.W - before.W))
    assert found.dead_share == found.saturated_share == 0


def test_without_held_out_rows():
    params, v = reference.random_params(3, 4), bits(50, 4)
    found = measure(params, params, bits(5, 3), v, None, Stream(0))
    assert math.isnan(found.free_energy_held_out)
    assert math.isnan(found.free_energy_gap)
    scores = [reference.pseudo_log_likelihood(params, row) for row in v.numpy()]
    assert found.pseudo_log_likelihood == pytest.approx(np.mean(scores))
    assert found.update_norm == 0


def test_dead_and_saturated_units_are_counted():
    c = torch.tensor([-9.0, 9.0, 9.0, 0.0]).double()
    params = RBMParameters(torch.zeros(4, 3).double(), torch.zeros(3).double(), c)
    found = measure(params, params, bits(5, 4), bits(9, 3), None, Stream(0))
    assert found.dead_share == pytest.approx(0.25)
    assert found.saturated_share == pytest.approx(0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_by_likelihood(weighted):
    params, v = reference.random_params(3, 4), bits(9, 4)
    weight = torch.arange(1, 10).double() if weighted else None
    found = validation_score(params, HeldOut(v, weight), "log_likelihood")
    log_p = np.log(reference.p_v(params)[reference.index(v.numpy())])
    assert found == pytest.approx(np.average(log_p, weights=weight))


def test_validation_by_annealing_is_close(recwarn):
    params, v = reference.random_params(21, 25, scale=0.1), bits(9, 25)
    found = validation_score(params, HeldOut(v), "log_likelihood", stream=Stream(0))
    assert found == pytest.approx(float(log_likelihood_exact(params, v).mean()), abs=0.05)
    assert not recwarn


def test_early_stopping_follows_mlp():
    rule = EarlyStopping(tol=0.1, n_iter_no_change=2)
    assert [rule.is_best(score) for score in (-3.0, -2.0, -1.95, -2.5)] == [True, True, True, False]
    assert not rule.is_over  # two epochs without improvement by tol
    assert not rule.is_best(-1.94 + 0.05 - 0.1)
    assert rule.is_over  # three
    assert rule.best == -1.95
    assert rule.scores[:2] == [-3.0, -2.0]


def test_an_improvement_by_tol_starts_the_count_anew():
    rule = EarlyStopping(tol=0.1, n_iter_no_change=1)
    for score in (0.0, 0.05, 0.2, 0.2, 0.4):
        rule.is_best(score)
        assert not rule.is_over
