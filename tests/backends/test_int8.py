import math

import pytest
import torch

from skrbm.backends.floats import FloatBackend
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Phases
from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_h
from skrbm.support.randomness import Stream
from tests.backends.test_protocol import bits, contrast, expected_contrast, generator, machine, needs_int8

pytestmark = needs_int8


def test_int8_is_exact_where_the_weights_are():
    W = torch.randint(-127, 128, (30, 50), generator=generator()).float() / 100
    W[0, 0] = 1.27
    params = RBMParameters(W, torch.randn(50, generator=generator()), torch.randn(30, generator=generator()))
    ours = Int8Backend(params)
    torch.testing.assert_close(ours.mean_h(bits(9, 50, torch.int8)), mean_h_given_v(params, bits(9, 50)))
    torch.testing.assert_close(ours.mean_v(bits(9, 30, torch.int8)), mean_v_given_h(params, bits(9, 30)))


def test_input_error_is_what_it_says():
    params = machine(300, 400)
    ours, v = Int8Backend(params), bits(500, 400)
    off = ours.mean_h(v.to(torch.int8)).logit() - (v @ params.W.T + params.c)
    off = off[off.abs() < 1]  # without those where the sigmoid leaves no digits
    assert off.std() == pytest.approx(ours.input_error * math.sqrt(200 / 100), rel=0.1)


@pytest.mark.parametrize("max_change", [0.01, 0.3, math.inf])
def test_rounded_weights_follow_the_weights_without_overflow(max_change):
    params = machine(scale=0.01)
    ours = Int8Backend(params)
    move = torch.sign(params.W) * min(max_change, 0.5)
    for _ in range(40):
        params.W.add_(move)
        ours.refresh_(max_change)
        assert (ours.narrow.float() * ours.unit - params.W).abs().max() <= 0.501 * ours.unit
    assert ours.unit < 2 * params.W.abs().max() / 127


def test_rounded_weights_overflow_if_the_change_is_wrong():
    params = machine(scale=0.01)
    ours = Int8Backend(params)
    for _ in range(40):
        params.W.add_(torch.sign(params.W) * 0.3)
        ours.refresh_(1e-6)
    assert (ours.narrow.float() * ours.unit - params.W).abs().max() > ours.unit


def test_large_weights_are_too_much_for_8_bits():
    params = machine(scale=0.1)
    ours = Int8Backend(params)
    assert ours.suffices
    params.W[0, 0] = 8.0
    ours.refresh_()
    assert not ours.suffices


def test_that_the_contrasts_test_rejects_rounding_down(monkeypatch):
    monkeypatch.setattr("skrbm.backends.int8.dither_at", lambda place, n: torch.zeros(n))
    params, v = machine(150, 50), bits(40, 50)
    target, _, _ = contrast(Int8Backend(params), v, 35)
    expected, _ = expected_contrast(params, v, 35, None, 0.5, 2.0)
    assert (target - expected).abs().max() > 5e-3


def error_along_means():
    """What rounding puts into Δ⟨h (v - μ)'⟩ μ, where no unit says much: root of the mean square."""
    n_data, n_hidden, n_features = 100, 50, 400
    params = RBMParameters(torch.zeros(n_hidden, n_features), torch.zeros(n_features), torch.zeros(n_hidden))
    v, mu = bits(2 * n_data, n_features), torch.full((n_features,), 0.5)
    mean_h = torch.sigmoid(0.05 * torch.randn(2 * n_data, n_hidden, generator=generator()))
    ours, exact = torch.empty(n_hidden, n_features), torch.empty(n_hidden, n_features)
    FloatBackend(params).add_contrast_(exact, mean_h.clone(), Phases(v, n_data), Stream(0), 1.0, 0.0, mu)
    v = v.to(torch.int8)
    Int8Backend(params).add_contrast_(ours, mean_h.clone(), Phases(v, n_data), Stream(0), 1.0, 0.0, mu)
    return float(((ours - exact) @ mu).square().mean().sqrt())


def test_both_phases_are_rounded_by_the_same_numbers(monkeypatch):
    """Else the weights move along ⟨v⟩, and with them the inputs of the hidden units by ⟨v⟩'⟨v⟩ times as much."""
    assert error_along_means() < 0.05
    numbers = generator()
    monkeypatch.setattr("skrbm.backends.int8.dither_at", lambda place, n: torch.rand(n, generator=numbers))
    assert error_along_means() > 0.2
