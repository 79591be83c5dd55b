"""Paths and ladders against the machines that they are made of."""

import numpy as np
import pytest
import torch

from skrbm.machines.restricted import free_energy, input_to_h, input_to_v
from skrbm.sampling.ladder import AnnealingPath, Ladder
from skrbm.support.randomness import Stream
from tests import reference

PARAMS = reference.random_params(2, 3, scale=1.5, seed=3)
BASE_B = torch.tensor([0.5, -1.0, 0.2], dtype=torch.float64)
PATH = AnnealingPath(PARAMS, BASE_B)
OTHER = reference.random_params(2, 3, seed=7)
LADDERS = {"temperatures": PATH.ladder(torch.tensor([0.0, 0.5, 1.0])), "rungs": PATH.ladder_through([OTHER])}


def assert_same(params, expected):
    for name, tensor in params.tensors.items():
        torch.testing.assert_close(tensor, expected.tensors[name])


def test_rungs_are_the_machines():
    ladder = LADDERS["rungs"]
    assert_same(ladder.rung(2), PARAMS)
    assert_same(ladder.rung(1), OTHER)
    assert not ladder.rung(0).W.any()
    torch.testing.assert_close(ladder.rung(0).b, BASE_B)
    ladder = LADDERS["temperatures"]
    torch.testing.assert_close(ladder.rung(1).W, PARAMS.W / 2)
    torch.testing.assert_close(ladder.rung(1).b, (BASE_B + PARAMS.b) / 2)
    torch.testing.assert_close(ladder.rung(1).c, PARAMS.c / 2)
    torch.testing.assert_close(ladder.rung(0).b, BASE_B)
    assert_same(Ladder.of_rungs([OTHER, PARAMS]).rung(0), OTHER)


@pytest.mark.parametrize("name", LADDERS)
def test_a_ladder_does_what_its_rungs_do(name):
    ladder, everywhere = LADDERS[name], slice(None)
    assert (ladder.n_rungs, ladder.n_hidden, ladder.n_features) == (3, 2, 3)
    v = torch.from_numpy(reference.states(3)).expand(3, -1, -1)
    h = torch.from_numpy(reference.states(2)).expand(3, -1, -1)
    inputs = ladder.input_to_h(ladder.project(v, everywhere), everywhere)
    log_weight = ladder.log_weight(v, inputs, everywhere)
    for i in range(3):
        rung = ladder.rung(i)
        torch.testing.assert_close(ladder.input_to_v(h)[i], input_to_v(rung, h[i]))
        torch.testing.assert_close(inputs[i], input_to_h(rung, v[i]))
        torch.testing.assert_close(log_weight[i], -free_energy(rung, v[i]))


def test_a_path_leads_from_the_base_to_the_machine():
    assert_same(PATH.at(1.0), PARAMS)
    assert_same(PATH.at(0.0), PATH.base)
    for beta in (0.0, 0.3, 1.0):
        assert_same(PATH.at(beta), PATH.ladder(torch.tensor([beta], dtype=torch.float64)).rung(0))
        torch.testing.assert_close(PATH.bias(beta), PATH.at(beta).b)


def test_base_is_the_machine_without_weights():
    assert not PATH.base.W.any()
    assert not PATH.base.c.any()
    torch.testing.assert_close(PATH.base.b, BASE_B)
    assert pytest.approx(reference.log_partition(PATH.base), rel=1e-12) == PATH.log_z_of_base


@pytest.mark.parametrize("shape", [5, (5,), (2, 5)])
def test_samples_of_the_base(shape):
    found = PATH.samples_of_base(shape, Stream(0))
    assert found.shape == (*((shape,) if isinstance(shape, int) else shape), 3)
    assert found.dtype == torch.float64
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_samples_of_the_base_have_its_distribution():
    n = 50_000
    found, p = PATH.samples_of_base(n, Stream(0)).numpy(), reference.p_v(PATH.base)
    assert reference.total_variation(reference.frequencies(found), p) < reference.total_variation_floor(p, n)
    assert np.ptp(p) > 0.1
