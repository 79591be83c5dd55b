from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.machines import restricted as model
from skrbm.machines.restricted import RBMParameters
from skrbm.support.randomness import Stream
from tests import reference


@pytest.fixture(params=[(3, 4), (5, 2), (1, 1)], ids=str)
def params(request):
    return reference.random_params(*request.param, seed=sum(request.param))


def tensor(rows):
    return torch.from_numpy(np.asarray(rows))


def test_energy(params):
    V, H = reference.states(params.n_features), reference.states(params.n_hidden)
    v, h = np.repeat(V, len(H), 0), np.tile(H, (len(V), 1))
    np.testing.assert_allclose(model.energy(params, tensor(v), tensor(h)), reference.all_energies(params).ravel())


def test_free_energies_sum_out_the_other_layer(params):
    energies = reference.all_energies(params)
    V, H = tensor(reference.states(params.n_features)), tensor(reference.states(params.n_hidden))
    np.testing.assert_allclose(model.free_energy(params, V), -np.log(np.exp(-energies).sum(1)))
    np.testing.assert_allclose(model.free_energy_h(params, H), -np.log(np.exp(-energies).sum(0)))
    np.testing.assert_allclose(model.free_energy_h(params, H), model.free_energy(params.transposed(), H))


def test_conditional_means(params):
    V, H = reference.states(params.n_features), reference.states(params.n_hidden)
    np.testing.assert_allclose(model.mean_h_given_v(params, tensor(V)), reference.h_given_v(params) @ H)
    np.testing.assert_allclose(model.mean_v_given_h(params, tensor(H)), reference.v_given_h(params) @ V)


def test_conditional_samples(params):
    n, stream = 40_000, Stream(0)
    for v, p in zip(reference.states(params.n_features), reference.h_given_v(params), strict=True):
        h = model.sample_h_given_v(params, tensor(v).expand(n, -1), stream)
        assert reference.total_variation(reference.frequencies(h), p) < reference.total_variation_floor(p, n)
    for h, p in zip(reference.states(params.n_hidden), reference.v_given_h(params), strict=True):
        v = model.sample_v_given_h(params, tensor(h).expand(n, -1), stream)
        assert reference.total_variation(reference.frequencies(v), p) < reference.total_variation_floor(p, n)


def test_float32_is_close_and_keeps_its_type(params):
    V = tensor(reference.states(params.n_features))
    narrow = params.to(torch.float32)
    result = model.free_energy(narrow, V.float())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), model.free_energy(params, V), rtol=1e-5, atol=1e-5)


def test_clone_shares_nothing_and_to_shares_what_it_can(params):
    assert params.to(torch.float64).W is params.W
    clone = params.clone()
    clone.W.zero_()
    assert params.W.abs().sum() > 0


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"got \(3, 4\), \(3,\) and \(4,\)"):
        RBMParameters(torch.zeros(3, 4), torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match="W must have shape"):
        RBMParameters(torch.zeros(4), torch.zeros(4), torch.zeros(()))


def test_initial_parameters():
    mean = torch.tensor([0.0, 0.25, 1.0])
    params = model.initial_parameters(mean, 2000, Stream(0), smoothing=0.5)
    torch.testing.assert_close(params.b.sigmoid(), torch.tensor([0.25, 0.375, 0.75]))
    assert params.W.shape == (2000, 3)
    assert not params.c.any()
    assert abs(params.W.std() / 0.01 - 1) < 0.05


# -- parameters as a whole ---------------------------------------------------------------------------------------------


def assert_equal(params, expected):
    assert list(params.tensors) == list(expected.tensors) == ["W", "b", "c"]
    for name, tensor in params.tensors.items():
        assert torch.equal(tensor, expected.tensors[name])


def test_map_and_placement(params):
    doubled = params.map(lambda tensor: 2 * tensor)
    torch.testing.assert_close(doubled.W, 2 * params.W)
    torch.testing.assert_close(doubled.c, 2 * params.c)
    assert (doubled.visible, doubled.hidden) == (params.visible, params.hidden)
    assert params.placement == (torch.float64, torch.device("cpu"))
    assert params.to(torch.float32).placement.dtype == torch.float32


def test_other_tensors_are_copied_to_where_these_are(params):
    arrays = {name: tensor.float().numpy() for name, tensor in params.clone().tensors.items()}
    found = params.with_tensors(arrays)
    assert found.placement == params.placement
    torch.testing.assert_close(found.W, params.W, rtol=1e-6, atol=0)
    same = params.with_tensors(params.tensors)
    assert_equal(same, params)
    same.W.zero_()
    assert params.W.any()


def test_copies_and_averages_in_place(params):
    other, target = params.map(lambda tensor: tensor + 1), params.clone()
    W = target.W
    target.lerp_(other, 0.25)
    torch.testing.assert_close(target.b, params.b + 0.25)
    target.copy_(other)
    assert_equal(target, other)
    assert target.W is W


def test_without_weights(params):
    b = torch.arange(params.n_features)
    bare = params.without_weights(b)
    assert_equal(bare, RBMParameters(0 * params.W, b.double(), 0 * params.c))
    assert bare.b.dtype == params.b.dtype


def test_transposed_shares_its_memory(params):
    turned = params.transposed()
    assert (turned.n_hidden, turned.n_features) == (params.n_features, params.n_hidden)
    turned.W.zero_()
    assert not params.W.any()
    assert_equal(turned.transposed(), params)


def test_what_is_no_tensor():
    with pytest.raises(TypeError, match=r"W, c must be tensors, got ndarray, list. Pass torch.from_numpy\(array\)."):
        RBMParameters(np.zeros((2, 3)), torch.zeros(3), [0.0, 0.0])


def test_types_and_devices_that_do_not_go_together():
    W, b, c = torch.zeros(2, 3), torch.zeros(3), torch.zeros(2)
    with pytest.raises(ValueError, match="got float64 on cpu, float32 on cpu, float32 on cpu"):
        RBMParameters(W.double(), b, c)
    with pytest.raises(ValueError, match="got float32 on cpu, float32 on cpu, float32 on meta"):
        RBMParameters(W, b, c.to("meta"))
    with pytest.raises(ValueError, match="one float type .*, got int64 on cpu"):
        RBMParameters(W.long(), b.long(), c.long())


def test_a_machine_prints_itself_in_short():
    machine = RBMParameters(torch.zeros(2, 3), torch.zeros(3), torch.zeros(2))
    assert repr(machine) == str(machine) == "RBMParameters(n_hidden=2, n_features=3, float32, cpu)"

    class Other(type(machine.hidden)):
        pass

    assert repr(replace(machine, hidden=Other())).endswith("cpu, visible=Bernoulli(), hidden=Other())")


V_FUNCTIONS = [
    model.free_energy,
    model.input_to_h,
    model.mean_h_given_v,
    lambda params, v: model.sample_h_given_v(params, v, Stream(0)),
    lambda params, v: model.energy(params, v, torch.zeros(2, 3).double()),
]
H_FUNCTIONS = [
    model.free_energy_h,
    model.input_to_v,
    model.mean_v_given_h,
    lambda params, h: model.sample_v_given_h(params, h, Stream(0)),
    lambda params, h: model.energy(params, torch.zeros(2, 4).double(), h),
]


@pytest.mark.parametrize(
    ("name", "function"),
    [*(("v", function) for function in V_FUNCTIONS), *(("h", function) for function in H_FUNCTIONS)],
)
def test_states_that_do_not_go_with_the_machine(name, function):
    params, width = reference.random_params(3, 4), {"v": 4, "h": 3}[name]
    for states, error, message in (
        (np.zeros((2, width)), TypeError, rf"{name} must be a tensor, got ndarray. Pass torch.from_numpy\(array\)"),
        (torch.zeros(2, 5).double(), ValueError, rf"{name} must have shape \(n, {width}\), .* is \(2, 5\)"),
        (torch.zeros(width).double(), ValueError, rf"{name} must have shape \(n, {width}\), .* is \({width},\)"),
        (torch.zeros(2, width), ValueError, rf"{name} is float32 on cpu, .* float64 on cpu. Pass {name}.to\(params.W"),
        (torch.zeros(2, width).bool(), ValueError, f"{name} is bool on cpu"),
    ):
        with pytest.raises(error, match=message) as caught:
            function(params, states)
        assert "\n" not in str(caught.value)
