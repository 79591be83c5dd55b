import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrbm.machines.restricted import RBMParameters, free_energy, mean_h_given_v
from skrbm.training.gradients import Centering, Gradient, difference, penalize_, statistics
from skrbm.training.settings import TrainSettings
from tests import reference


def penalties(**settings):
    return TrainSettings(**{"weight_decay": 0.0} | settings)


def loss_gradient(data, model, W, offsets=None, weight_decay=0.0):
    """The gradient in centred coordinates, as an update makes it."""
    gradient = Centering(*(offsets or (None, None))).gradient_(difference(data, model))
    penalize_(gradient, penalties(weight_decay=weight_decay), W, data.v, data.h)
    return gradient


def plain_biases(W, b, c, offsets):
    """b = b̃ - W'λ and c = c̃ - Wμ."""
    mu, lam = offsets
    return b if lam is None else b - W.T @ lam, c - W @ mu


def model_statistics(params):
    """The statistics of p(v), every state weighted with its probability."""
    v = torch.from_numpy(reference.states(params.n_features))
    return statistics(v, mean_h_given_v(params, v), torch.from_numpy(reference.p_v(params)))


def rows(params, n=6, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (n, params.n_features)).astype(float))


def log_likelihood_gradient(params, v, weight):
    """By autograd, of the weighted mean exact log-likelihood."""
    leaves = [t.clone().requires_grad_() for t in (params.W, params.b, params.c)]
    machine = RBMParameters(*leaves)
    log_z = (-free_energy(machine, torch.from_numpy(reference.states(params.n_features)))).logsumexp(0)
    log_p = -free_energy(machine, v) - log_z
    return torch.autograd.grad((weight / weight.sum() * log_p).sum(), leaves)


def sgd_step(params, v, weight, offsets, rate=1e-3, weight_decay=0.0):
    """Where a step down the gradient leads, in centred coordinates where there are offsets."""
    gradient = loss_gradient(
        statistics(v, mean_h_given_v(params, v), weight), model_statistics(params), params.W, offsets, weight_decay
    )
    _, b, c = Centering(*(offsets or (None, None))).trained(params)
    W, b, c = params.W - rate * gradient.W, b - rate * gradient.b, c - rate * gradient.c
    return RBMParameters(W, *(plain_biases(W, b, c, offsets) if offsets else (b, c)))


@pytest.mark.parametrize("weighted", [False, True])
def test_plain_gradient_is_that_of_the_exact_log_likelihood(weighted):
    params = reference.random_params(3, 4)
    v = rows(params)
    weight = torch.rand(len(v), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = statistics(v, mean_h_given_v(params, v), weight if weighted else None)
    gradient = loss_gradient(data, model_statistics(params), params.W)
    expected = log_likelihood_gradient(params, v, weight if weighted else torch.ones_like(weight))
    for ours, autograd in zip(gradient, expected, strict=True):
        torch.testing.assert_close(-ours, autograd)


def test_centred_gradient_is_the_image_of_the_plain_one_under_the_change_of_variables():
    params = reference.random_params(3, 4)
    v, n_hidden, n_features = rows(params), 3, 4
    generator = torch.Generator().manual_seed(1)
    offsets = tuple(torch.rand(n, dtype=torch.float64, generator=generator) for n in (n_features, n_hidden))

    def plain_of_centred(flat):
        W, b, c = flat.split((n_hidden * n_features, n_features, n_hidden))
        return torch.cat((W, *plain_biases(W.view(n_hidden, n_features), b, c, offsets)))

    flatten = lambda *tensors: torch.cat([t.reshape(-1) for t in tensors])  # noqa: E731
    centred = flatten(*Centering(*offsets).trained(params))
    J = torch.autograd.functional.jacobian(plain_of_centred, centred)
    plain = flatten(*log_likelihood_gradient(params, v, torch.ones(len(v), dtype=torch.float64)))
    moved = sgd_step(params, v, None, offsets, rate=1e-3)
    step = (flatten(moved.W, moved.b, moved.c) - flatten(params.W, params.b, params.c)) / 1e-3
    torch.testing.assert_close(step, J @ J.T @ plain)


@pytest.mark.parametrize("n", [3, 4])
def test_a_layer_that_is_not_centred_is_one_centred_at_zero(n):
    params, mu = reference.random_params(n, 4), torch.rand(4).double()
    v = rows(params)
    steps = [sgd_step(params, v, None, (mu, lam)) for lam in (None, torch.zeros(n).double())]
    for name, tensor in steps[0].tensors.items():
        torch.testing.assert_close(tensor, steps[1].tensors[name])


def test_that_test_rejects_the_plain_gradient():
    params = reference.random_params(3, 4)
    v = rows(params)
    offsets = torch.full((4,), 0.5).double(), torch.full((3,), 0.5).double()
    centred, plain = (sgd_step(params, v, None, o) for o in (offsets, None))
    assert (centred.b - plain.b).abs().max() > 1e-5


def test_centred_coordinates_go_there_and_back():
    params = reference.random_params(3, 4)
    offsets = torch.rand(4).double(), torch.rand(3).double()
    b, c = plain_biases(*Centering(*offsets).trained(params), offsets)
    torch.testing.assert_close(b, params.b)
    torch.testing.assert_close(c, params.c)


def flipped(params):
    """The machine that gives v the probability that `params` gives 1 - v."""
    return RBMParameters(-params.W, -params.b, params.c + params.W.sum(1))


def flip_changes_the_step_by(offsets, offsets_of_flipped):
    """How far a step from flipped parameters on flipped rows is from the flipped step."""
    params = reference.random_params(3, 4)
    v = rows(params)
    step = flipped(sgd_step(params, v, None, offsets))
    step_of_flipped = sgd_step(flipped(params), 1 - v, None, offsets_of_flipped)
    return max(float((getattr(step, name) - getattr(step_of_flipped, name)).abs().max()) for name in "Wbc")


def test_with_visible_offsets_a_step_does_not_depend_on_which_state_is_called_one():
    mu, lam = torch.tensor([0.1, 0.7, 0.5, 0.2]).double(), torch.tensor([0.3, 0.5, 0.9]).double()
    for h in (lam, torch.zeros_like(lam)):
        assert flip_changes_the_step_by((mu, h), (1 - mu, h)) < 1e-14
    assert flip_changes_the_step_by(None, None) > 1e-5


def test_weight_decay_is_the_gradient_of_half_the_squared_norm():
    params = reference.random_params(3, 4)
    v = rows(params)
    data, model = statistics(v, mean_h_given_v(params, v)), model_statistics(params)
    plain, decayed = (loss_gradient(data, model, params.W, None, decay) for decay in (0.0, 0.3))
    torch.testing.assert_close(decayed.W - plain.W, 0.3 * params.W)
    torch.testing.assert_close(decayed.b, plain.b)
    torch.testing.assert_close(decayed.c, plain.c)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=8).filter(any), st.integers(0, 1000))
def test_integer_weights_equal_repeated_rows(weights, seed):
    params = reference.random_params(3, 4, seed=seed)
    v = rows(params, len(weights), seed)
    weight = torch.tensor(weights)
    weighted = statistics(v, mean_h_given_v(params, v), weight.double())
    repeated = v.repeat_interleave(weight, 0)
    expected = statistics(repeated, mean_h_given_v(params, repeated))
    assert float(weighted.weight) == expected.weight
    for ours, theirs in zip(weighted[:3], expected[:3], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_statistics_leave_their_input_alone():
    params = reference.random_params(3, 4)
    v = rows(params)
    h = mean_h_given_v(params, v)
    before = v.clone(), h.clone()
    data, model = statistics(v, h, torch.ones(len(v)).double()), statistics(v.flip(0), h.flip(0))
    kept = [t.clone() for t in (*data[:3], *model[:3])]
    loss_gradient(data, model, params.W, (v[0], h[0]), 0.1)
    assert torch.equal(v, before[0])
    assert torch.equal(h, before[1])
    assert all(torch.equal(a, b) for a, b in zip(kept, (*data[:3], *model[:3]), strict=True))


def test_penalties_are_the_gradients_of_what_they_say():
    """By autograd, in plain coordinates: Σ|W|, and KL(target ‖ ⟨h⟩) by an input that all rows have in common."""
    params, v = reference.random_params(3, 4), rows(reference.random_params(3, 4))
    data = statistics(v, mean_h_given_v(params, v))
    gradient = Gradient(*(torch.zeros_like(t) for t in (params.W, params.b, params.c)))
    settings = penalties(l1_penalty=0.3, sparsity_target=0.1, sparsity_cost=0.7)
    penalize_(gradient, settings, params.W, data.v, data.h)
    W, b, c = (t.clone().requires_grad_() for t in (params.W, params.b, params.c))
    common = c - params.c + (W - params.W) @ data.v
    q = (torch.logit(data.h) + common).sigmoid()
    kl = 0.1 * torch.log(0.1 / q) + 0.9 * torch.log(0.9 / (1 - q))
    expected = torch.autograd.grad(0.3 * W.abs().sum() + 0.7 * kl.sum(), (W, b, c), materialize_grads=True)
    for ours, autograd in zip(gradient, expected, strict=True):
        torch.testing.assert_close(ours, autograd)


def test_the_sparsity_penalty_of_a_centred_machine_leaves_the_weights_alone():
    params, v = reference.random_params(3, 4), rows(reference.random_params(3, 4))
    data = statistics(v, mean_h_given_v(params, v))
    gradient = Gradient(*(torch.zeros_like(t) for t in (params.W, params.b, params.c)))
    penalize_(gradient, penalties(sparsity_target=0.1, sparsity_cost=0.7), params.W, data.v, data.h, data.v)
    assert not gradient.W.any()
    torch.testing.assert_close(gradient.c, 0.7 * (data.h - 0.1))
