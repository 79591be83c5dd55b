"""What all backends keep to: they are the floats' one, within an error that they know."""

import math

import pytest
import torch

from skrbm.backends import BACKENDS, int8
from skrbm.backends.choose import backend_for
from skrbm.backends.protocol import Damping, Phases, RowBuffer
from skrbm.machines.restricted import RBMParameters, mean_h_given_v, mean_v_given_h
from skrbm.support.kernels import has_int8_mm
from skrbm.support.randomness import Stream

needs_int8 = pytest.mark.skipif(
    not has_int8_mm(torch.device("cpu")), reason="the processor has no units for 8-bit integers"
)
NAMES = [pytest.param(name, marks=needs_int8) if name == "int8" else name for name in BACKENDS]
# What a backend of that name may be off by: in a mean, and in a contrast of few rows and many.
MEAN_ERROR = {
    "float32": lambda backend: 1e-5,
    "float64": lambda backend: 1e-12,
    "bfloat16": lambda backend: 0.01,
    "int8": lambda backend: 5 * backend.input_error / 4,  # a quarter is the steepest slope of the sigmoid
}
CONTRAST_ERROR = {
    "float32": lambda few, many: 1e-5,
    "float64": lambda few, many: 1e-12,
    "bfloat16": lambda few, many: 0.01,
    # 5.5 standard deviations of the mean over 400 calls, whose rows have numbers of their own if few != many.
    "int8": lambda few, many: 5.5 * 0.6 * many / few / 127 / math.sqrt(400) / (1 if few == many else math.sqrt(many)),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def machine(n_hidden=30, n_features=50, scale=0.5, dtype=torch.float32):
    shapes = ((n_hidden, n_features), (n_features,), (n_hidden,))
    return RBMParameters(*((scale * torch.randn(*shape, generator=generator(1))).to(dtype) for shape in shapes))


def bits(n, n_columns, dtype=torch.float32, seed=2):
    return torch.randint(0, 2, (n, n_columns), generator=generator(seed)).to(dtype)


def dtype_for(name):
    return torch.float64 if name == "float64" else torch.float32


def damping(dtype=torch.float32):
    """Of two directions among 50 columns."""
    directions = torch.linalg.qr(torch.randn(50, 2, generator=generator(4)))[0].T
    return Damping(directions.to(dtype).contiguous(), torch.tensor([0.9, 0.5]).to(dtype))


def contrast(backend, v, n_data, mu=None, beta=0.5, alpha=2.0, n_calls=1, damping=None):
    """Means over the calls of what the target becomes, from 1, and of dW_mu; and what else there is."""
    params, stream = backend.params, Stream(0)
    total, along = torch.zeros_like(params.W), torch.zeros_like(params.c)
    for _ in range(n_calls):
        target = torch.ones_like(params.W)
        phases = Phases(v.to(backend.state_dtype), n_data)
        found = backend.add_contrast_(target, mean_h_given_v(params, v), phases, stream, alpha, beta, mu, damping)
        total += target / n_calls
        along += (found.dW_mu if mu is not None else 0.0) / n_calls
    return total, along, found


def expected_contrast(params, v, n_data, mu, beta, alpha):
    mean_h, mu = mean_h_given_v(params, v), torch.zeros(v.shape[1]).to(v) if mu is None else mu
    one, other = ((h.T @ (x - mu)) / len(x) for h, x in ((mean_h[:n_data], v[:n_data]), (mean_h[n_data:], v[n_data:])))
    return beta + alpha * (one - other), (one - other) @ mu


def test_every_backend_has_a_known_error():
    assert set(MEAN_ERROR) == set(CONTRAST_ERROR) == set(BACKENDS)


def assert_means_follow_the_weights(backend, name):
    """Now, and whenever they have changed and it has been told."""
    params = backend.params
    for move in (0.0, 0.01, 0.01, 0.3, math.inf):
        params.W.add_(torch.sign(params.W), alpha=min(move, 0.5))
        if move:
            backend.refresh_(move)
        tolerance = {"atol": MEAN_ERROR[name](backend), "rtol": 0}
        v, h = bits(9, 50, params.W.dtype), bits(9, 30, params.W.dtype)
        found_h, found_v = backend.mean_h(v.to(backend.state_dtype)), backend.mean_v(h.to(backend.state_dtype))
        torch.testing.assert_close(found_h, mean_h_given_v(params, v), **tolerance)
        torch.testing.assert_close(found_v, mean_v_given_h(params, h), **tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_means_follow_the_weights(name):
    assert_means_follow_the_weights(backend_for(name, machine(scale=0.1, dtype=dtype_for(name))), name)


@pytest.mark.parametrize("name", NAMES)
def test_that_test_rejects_a_backend_that_takes_no_note(name):
    backend = backend_for(name, machine(scale=0.1, dtype=dtype_for(name)))
    stale = backend_for(name, backend.params.clone())
    stale.refresh_ = lambda max_change: None
    for method in ("mean_h", "mean_v"):
        setattr(backend, method, getattr(stale, method))
    with pytest.raises(AssertionError):
        assert_means_follow_the_weights(backend, name)


def assert_contrast(backend, name, n_data, centred, beta, damped=False):
    params, v = backend.params, bits(40, 50, backend.params.W.dtype)
    mu, P = torch.rand(50, generator=generator()).to(v) if centred else None, damping(v.dtype) if damped else None
    target, along, found = contrast(backend, v, n_data, mu, beta, n_calls=400 if name == "int8" else 1, damping=P)
    expected, expected_along = expected_contrast(params, v, n_data, mu, beta, 2.0)
    if damped:
        plain = (expected - beta) / 2.0
        expected = beta + 2.0 * P.of(plain)
        expected_along = P.of(plain) @ mu if centred else None
        atol = 0.05 if name == "bfloat16" else 1e-5
        torch.testing.assert_close(found.excess.T @ P.directions, plain - P.of(plain), atol=atol, rtol=1e-4)
    error = CONTRAST_ERROR[name](*sorted((n_data, 40 - n_data)))
    torch.testing.assert_close(target, expected, atol=error, rtol=0)
    if centred:
        torch.testing.assert_close(along, expected_along, atol=0.05 if name == "bfloat16" else 1e-5, rtol=1e-4)
    else:
        assert found.dW_mu is None
    torch.testing.assert_close(found.data_v, v[:n_data].mean(0))
    torch.testing.assert_close(found.model_v, v[n_data:].mean(0))
    mean_h = mean_h_given_v(params, v)
    torch.testing.assert_close(found.dh, mean_h[:n_data].mean(0) - mean_h[n_data:].mean(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_data", [1, 20, 35])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("damped", [False, True])
def test_contrast(name, n_data, centred, beta, damped, monkeypatch):
    monkeypatch.setattr(int8, "_BLOCK", 64)  # rows of W in several blocks
    assert_contrast(backend_for(name, machine(150, 50, dtype=dtype_for(name))), name, n_data, centred, beta, damped)


def test_damping_is_a_matrix():
    P = damping(torch.float64)
    matrix = torch.eye(50).double() - P.directions.T @ torch.diag(P.share) @ P.directions
    x = torch.randn(3, 50, generator=generator()).double()
    torch.testing.assert_close(P.of(x), x @ matrix)
    assert torch.linalg.eigvalsh(matrix).min() == pytest.approx(0.1)


@pytest.mark.parametrize("name", NAMES)
def test_that_test_rejects_a_contrast_whose_chains_weigh_as_much_as_the_data(name):
    class Wrong(Phases):
        n_chains = property(lambda self: self.n_data)

    backend = backend_for(name, machine(150, 50, dtype=dtype_for(name)))
    real = backend.add_contrast_
    backend.add_contrast_ = lambda target, mean_h, phases, *rest: real(target, mean_h, Wrong(*phases), *rest)
    with pytest.raises(AssertionError):
        assert_contrast(backend, name, 35, False, 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_target_held_does_not_matter_with_beta_0(name):
    backend = backend_for(name, machine(dtype=dtype_for(name)))
    params, v = backend.params, bits(40, 50, backend.params.W.dtype)
    for mu in (None, torch.rand(50, generator=generator()).to(v)):
        target = torch.full_like(params.W, math.nan)
        phases = Phases(v.to(backend.state_dtype), 20)
        backend.add_contrast_(target, mean_h_given_v(params, v), phases, Stream(0), 1.0, 0.0, mu)
        assert torch.isfinite(target).all()


@pytest.mark.parametrize("name", NAMES)
def test_precision_suffices_for_weights_of_training(name):
    backend = backend_for(name, machine(scale=0.1, dtype=dtype_for(name)))
    assert backend.suffices is True


# -- rows ------------------------------------------------------------------------------------------------------------


def test_phases():
    phases = Phases(torch.arange(12.0).view(6, 2), 4)
    assert torch.equal(phases.data, phases.all[:4])
    assert torch.equal(phases.chains, phases.all[4:])
    assert phases.n_chains == 2
    values = torch.arange(6.0)
    assert phases.of(values).chains.tolist() == [4.0, 5.0]
    assert float(phases.signs(values) @ values) == pytest.approx((0 + 1 + 2 + 3) / 4 - (4 + 5) / 2)


def test_chains_stay_where_they_are_whatever_the_batch():
    buffer = RowBuffer(3, torch.int8, torch.device("cpu"))
    full = buffer.phases(10, 4)
    assert full.all.shape == (14, 3)
    assert full.all.is_contiguous()
    assert full.all.dtype == torch.int8
    last = buffer.phases(6, 4)
    assert last.n_data == 6
    assert last.chains.data_ptr() == full.chains.data_ptr()
    assert last.data.data_ptr() == full.data[4:].data_ptr()
    larger = buffer.phases(12, 8)
    assert larger.all.shape == (20, 3)
    assert buffer.phases(10, 4).chains.data_ptr() == larger.chains.data_ptr()
