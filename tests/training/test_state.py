"""What training carries on from update to update."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.machines.restricted import RBMParameters, mean_h_given_v
from skrbm.rows import Batch
from skrbm.training import update_
from tests import reference
from tests.training.states import PLAIN, Rows, begin, bits, epochs


def test_start_copies_what_it_is_given():
    params = reference.random_params(3, 4)
    kept = params.clone()
    state = begin(params)
    for _ in range(3):
        update_(state, Batch(bits(5, 4)))
    assert torch.equal(params.W, kept.W)
    assert torch.equal(params.b, kept.b)


def test_tensors_that_ask_for_gradients_are_not_tracked():
    params = RBMParameters(*(t.requires_grad_() for t in (torch.zeros(2, 3), torch.zeros(3), torch.zeros(2))))
    state = begin(params)
    update_(state, Batch(torch.ones(4, 3)))
    assert not state.params.W.requires_grad


def test_offsets_follow_the_data():
    state = begin(reference.random_params(3, 4), replace(PLAIN, centered=True, learning_rate=1e-9))
    v = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).double()
    for _ in range(1000):
        update_(state, Batch(v))
    torch.testing.assert_close(state.centering.mu, v[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(state.centering.lam, mean_h_given_v(state.params, v)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("settings", [replace(PLAIN, momentum=0.5), replace(PLAIN, optimizer="adam", centered=True)])
def test_a_carried_state_goes_on_as_if_nothing_had_happened(settings):
    X = np.random.default_rng(0).random((23, 4))
    settings = replace(settings, binarize="sample")
    source = Rows(X, batch_size=5)
    state = begin(reference.random_params(3, 4), settings)
    list(epochs(state, source, 2))
    carried = pickle.loads(pickle.dumps(state.carried()))
    twin = begin(state.params, settings, seed=99, h=state.h)
    twin.carry_on_(carried)
    list(epochs(state, source, 2))
    list(epochs(twin, source, 2))
    assert torch.equal(state.params.W, twin.params.W)
    assert torch.equal(state.params.b, twin.params.b)
    assert torch.equal(state.h, twin.h)
    assert (twin.n_epochs, twin.n_updates) == (4, 20)


def test_the_memory_of_another_optimizer_is_left_aside():
    state = begin(reference.random_params(3, 4), replace(PLAIN, optimizer="adam"))
    update_(state, Batch(bits(5, 4)))
    other = begin(state.params, PLAIN)
    other.carry_on_(state.carried())
    update_(other, Batch(bits(5, 4)))
    assert other.n_updates == 2


@pytest.mark.parametrize("settings", [PLAIN, replace(PLAIN, optimizer="adam", centered=True, averaging=0.5)])
def test_a_state_is_plain_data_that_goes_on_to_the_same_bits(settings):
    settings = replace(settings, learning_rate_schedule="linear", k={0: 1, 0.5: 2})
    source, state = Rows(bits(23, 4).numpy(), batch_size=5), begin(reference.random_params(3, 4), settings, n_epochs=4)
    list(epochs(state, source, 2))
    stored = state.state()
    assert not list(tensors_in(stored))
    twin = begin(reference.random_params(3, 4, seed=9), settings, seed=99, n_epochs=4)
    twin.set_state(pickle.loads(pickle.dumps(stored)))
    for each in (state, twin):
        list(epochs(each, source, 2))
    for name, tensor in state.params.tensors.items():
        assert torch.equal(tensor, twin.params.tensors[name])
    assert torch.equal(state.h, twin.h)
    assert torch.equal(state.model.W, twin.model.W)
    assert state.learning_rate == twin.learning_rate


def tensors_in(value):
    """What is not plain in nested data."""
    if isinstance(value, torch.Tensor):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from tensors_in(item)
