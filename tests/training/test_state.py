"""What training carries on from update to update."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.machines.restricted import RBMParameters, mean_h_given_v
from skrbm.rows.arrays import ArrayRows
from skrbm.training.update import carried_state, epochs, resume_, update_
from tests import reference
from tests.training.states import PLAIN, begin, bits


def test_start_copies_what_it_is_given():
    params = reference.random_params(3, 4)
    kept = params.clone()
    state = begin(params)
    for _ in range(3):
        update_(state, bits(5, 4))
    assert torch.equal(params.W, kept.W)
    assert torch.equal(params.b, kept.b)


def test_tensors_that_ask_for_gradients_are_not_tracked():
    params = RBMParameters(*(t.requires_grad_() for t in (torch.zeros(2, 3), torch.zeros(3), torch.zeros(2))))
    state = begin(params)
    update_(state, torch.ones(4, 3))
    assert not state.params.W.requires_grad


def test_offsets_follow_the_data():
    state = begin(reference.random_params(3, 4), replace(PLAIN, centered=True, learning_rate=1e-9))
    v = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).double()
    for _ in range(1000):
        update_(state, v)
    torch.testing.assert_close(state.offsets.v, v[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(state.offsets.h, mean_h_given_v(state.params, v)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [replace(PLAIN, momentum=0.5), replace(PLAIN, optimizer="adam", centered=True)])
def test_a_carried_state_goes_on_as_if_nothing_had_happened(settings):
    X = np.random.default_rng(0).random((23, 4))
    settings = replace(settings, binarize="sample")
    source = ArrayRows(X, batch_size=5, dtype=torch.float64)
    state = begin(reference.random_params(3, 4), settings)
    list(epochs(state, source, 2))
    carried = pickle.loads(pickle.dumps(carried_state(state)))
    twin = begin(state.params, settings, seed=99, chains=state.chains)
    resume_(twin, carried)
    list(epochs(state, source, 2))
    list(epochs(twin, source, 2))
    assert torch.equal(state.params.W, twin.params.W)
    assert torch.equal(state.params.b, twin.params.b)
    assert torch.equal(state.chains.h, twin.chains.h)
    assert (twin.n_epochs, twin.n_updates) == (4, 20)


def test_the_memory_of_another_optimizer_is_left_aside():
    state = begin(reference.random_params(3, 4), replace(PLAIN, optimizer="adam"))
    update_(state, bits(5, 4))
    other = begin(state.params, PLAIN)
    resume_(other, carried_state(state))
    update_(other, bits(5, 4))
    assert other.n_updates == 2
