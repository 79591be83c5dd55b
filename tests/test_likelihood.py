import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skrbm import likelihood
from skrbm.likelihood import log_likelihood_exact, log_partition_ais, log_partition_exact, pseudo_log_likelihood
from skrbm.randomness import Stream
from tests import reference


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.1, 1.0, 5.0]), st.integers(0, 1000))
def test_log_partition_by_enumeration_of_both_layers(n_hidden, n_features, scale, seed):
    params = reference.random_params(n_hidden, n_features, scale, seed)
    assert log_partition_exact(params) == pytest.approx(reference.log_partition(params), rel=1e-12)


@pytest.mark.parametrize("shape", [(3, 6), (6, 3), (12, 13)])
def test_log_partition_does_not_depend_on_the_chunks(shape, monkeypatch):
    params = reference.random_params(*shape)
    whole = log_partition_exact(params)
    monkeypatch.setattr(likelihood, "_CHUNK", 16)
    assert log_partition_exact(params) == pytest.approx(whole, rel=1e-12)


def test_log_partition_of_independent_units():
    params = reference.random_params(40, 18)
    params.W.zero_()
    units = (*params.b.tolist(), *params.c.tolist())
    assert log_partition_exact(params.to(torch.float32)) == pytest.approx(
        sum(math.log1p(math.exp(x)) for x in units), rel=1e-6
    )


def test_log_partition_of_too_large_a_machine():
    with pytest.raises(ValueError, match=r"at most 30 units; this machine has 32 visible and 31 hidden"):
        log_partition_exact(reference.random_params(31, 32))


def test_log_likelihood_is_that_of_the_enumerated_distribution():
    params = reference.random_params(3, 4)
    log_p = log_likelihood_exact(params, torch.from_numpy(reference.states(4)))
    np.testing.assert_allclose(log_p.exp(), reference.p_v(params))
    torch.testing.assert_close(
        log_likelihood_exact(params, torch.zeros(1, 4).double(), log_partition_exact(params)), log_p[:1]
    )


def ais_errors():
    """Deviations from the exact log Z, in standard errors."""
    errors = []
    for seed in range(12):
        params = reference.random_params(8, 12, scale=(0.3, 1.0)[seed % 2], seed=seed, dtype=torch.float32)
        estimate = log_partition_ais(params, params.b * 0.5, Stream(seed), n_temperatures=200, n_chains=200)
        assert estimate.effective_sample_size > 20
        errors.append((estimate.value - log_partition_exact(params)) / estimate.standard_error)
    return np.array(errors)


def test_ais_agrees_with_enumeration():
    errors = ais_errors()
    assert np.abs(errors).max() < 4
    assert 0.4 < errors.std() < 1.8


def test_that_test_rejects_ais_with_chains_at_another_temperature(monkeypatch):
    draw = Stream.bernoulli_logits
    monkeypatch.setattr(Stream, "bernoulli_logits", lambda self, x, p=None: draw(self, 0.8 * x))
    assert np.abs(ais_errors()).max() > 4


def test_ais_without_weights_is_exact():
    params = reference.random_params(5, 6)
    params.W.zero_()
    params.c.zero_()
    estimate = log_partition_ais(params, params.b, Stream(0), n_temperatures=3, n_chains=4)
    assert estimate.value == pytest.approx(log_partition_exact(params), rel=1e-12)
    assert estimate.effective_sample_size == pytest.approx(4)


def grey(values):
    return np.array(values, dtype=float)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 4).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n, max_size=n)),
    st.sampled_from([0.1, 1.0, 4.0]),
    st.integers(0, 1000),
)
@example(3, [0.0, 1.0, 0.0, 0.0], 4.0, 442)  # where p is 1 but for 1e-14
def test_pseudo_log_likelihood_of_grey_values(n_hidden, values, scale, seed):
    params = reference.random_params(n_hidden, len(values), scale, seed)
    # The reference keeps the other places as they are, grey values too, as p_i is defined there.
    expected = reference.pseudo_log_likelihood(params, grey(values))
    ours = pseudo_log_likelihood(params, torch.tensor([values], dtype=torch.float64))
    assert float(ours[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_pseudo_log_likelihood_of_bits(scale):
    params = reference.random_params(3, 5, scale)
    V = reference.states(5)
    expected = [reference.pseudo_log_likelihood(params, v) for v in V]
    np.testing.assert_allclose(pseudo_log_likelihood(params, torch.from_numpy(V)), expected, rtol=1e-11)


def test_pseudo_log_likelihood_in_both_forms_and_with_huge_weights(monkeypatch):
    V = torch.from_numpy(reference.states(6))
    for scale in (1.0, 30.0, 300.0):
        params = reference.random_params(7, 6, scale)
        quick_allowed = pseudo_log_likelihood(params, V)
        assert torch.isfinite(quick_allowed).all()
        with monkeypatch.context() as patch:
            patch.setattr(likelihood, "_effect_of_bits", likelihood._effect)
            torch.testing.assert_close(pseudo_log_likelihood(params, V), quick_allowed)


def test_pseudo_log_likelihood_does_not_depend_on_the_chunks(monkeypatch):
    params = reference.random_params(7, 6)
    V = torch.from_numpy(reference.states(6))
    whole = pseudo_log_likelihood(params, V)
    for chunk in (1, 13, 100):
        monkeypatch.setattr(likelihood, "_CHUNK", chunk)
        torch.testing.assert_close(pseudo_log_likelihood(params, V), whole)


def test_pseudo_log_likelihood_in_float32():
    params = reference.random_params(300, 200, 0.1)
    V = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (50, 200)).astype(float))
    narrow = pseudo_log_likelihood(params, V.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), pseudo_log_likelihood(params, V), rtol=2e-6, atol=0)
