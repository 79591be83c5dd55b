"""log Z and log-likelihoods of a fitted machine."""

from itertools import count

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from skrbm import BernoulliRBMTorch
from skrbm.likelihood import LogPartitionWarning, log_likelihood_exact, log_partition_exact
from tests import reference
from tests.estimators.modes import X
from tests.estimators.small import params_of


@pytest.mark.parametrize("method", ["auto", "exact", "ais", "parallel_tempering", "trajectory_tempering"])
def test_log_partition(model, method):
    found = model.log_partition(method, n_temperatures=None if "temp" in method else 2000, random_state=0)
    truth = log_partition_exact(params_of(model))
    assert abs(found.value - truth) <= max(4 * found.standard_error, 1e-9)
    assert found.standard_error < 0.1
    assert found.method == ("exact" if method == "auto" else method)


def test_brackets(model):
    truth = log_partition_exact(params_of(model))
    found = model.log_partition("ais", n_temperatures=2000, bracket=1.0, random_state=0)
    assert found.lower == found.value
    assert abs(found.upper - truth) < 4 * found.standard_error
    given = model.log_partition("ais", n_temperatures=200, samples=X[:50], random_state=0)
    assert given.upper is not None
    with pytest.warns(LogPartitionWarning, match=r"bracket of log Z, \d.* more temperatures"):
        model.log_partition("ais", n_temperatures=20, bracket=0, samples=reference_draws(model, 500), random_state=2)
    assert model.log_partition("trajectory_tempering", bracket=1.0, random_state=0).upper is not None


def reference_draws(model, n):
    return reference.draw_v(params_of(model), n)


def test_random_state_and_the_models_own_stream(model):
    kwargs = {"method": "ais", "n_temperatures": 50}
    first, second = (model.log_partition(random_state=3, **kwargs).value for _ in range(2))
    assert first == second
    assert model.log_partition(**kwargs).value != model.log_partition(**kwargs).value
    twins = [clone(model).set_params(n_iter=2).fit(X[:100]) for _ in range(2)]
    assert twins[0].log_partition(**kwargs).value == twins[1].log_partition(**kwargs).value


def test_verbose_models_report(model, capsys, monkeypatch):
    model.log_partition("ais", n_temperatures=200)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("time.perf_counter", count(0.0, 10.0).__next__)  # ten seconds go by at each look at the clock
    model.set_params(verbose=1).log_partition("ais", n_temperatures=200)
    assert "[BernoulliRBMTorch] log Z: step 100 of 200" in capsys.readouterr().out
    model.sample(3, n_steps=5, random_state=0)
    assert "[BernoulliRBMTorch] chains: step 5 of 5" in capsys.readouterr().out
    gaps = np.full((2, model.n_features_in_), np.nan)
    model.complete(gaps, n_steps=4)
    assert "[BernoulliRBMTorch] chains: step 4 of 4" in capsys.readouterr().out
    model.diagnose("gibbs", n_steps=8, n_chains=2)
    assert "[BernoulliRBMTorch] gibbs: step 8 of 8" in capsys.readouterr().out


def test_log_likelihood(model):
    exact = log_likelihood_exact(params_of(model), torch.from_numpy(X).double())
    np.testing.assert_allclose(model.log_likelihood(X), exact, atol=1e-4)
    nats, std = model.log_likelihood(sp.csr_matrix(X.astype(np.float64)), return_std=True)
    np.testing.assert_allclose(nats, exact, rtol=1e-9)
    assert std == 0.0
    assert model.log_likelihood(X).dtype == np.float32
    model.log_partition("ais", n_temperatures=500)
    nats, std = model.log_likelihood(X, return_std=True)
    assert 0 < std < 0.2
    np.testing.assert_allclose(nats, exact, atol=5 * std)


def test_log_likelihood_keeps_up_with_the_parameters(model):
    before = model.log_likelihood(X[:5])
    model.intercept_visible_ = model.intercept_visible_ + 1
    after = model.log_likelihood(X[:5])
    np.testing.assert_allclose(after, log_likelihood_exact(params_of(model), torch.from_numpy(X[:5])), atol=1e-4)
    model.intercept_visible_ -= 1  # in place
    np.testing.assert_allclose(model.log_likelihood(X[:5]), before, atol=1e-4)


def test_log_likelihood_of_grey_values(model):
    grey = np.linspace(0, 1, 10)[None].repeat(4000, 0)
    assert model.set_params(binarize="sample").log_likelihood(grey).std() > 0
    np.testing.assert_array_equal(model.log_likelihood(grey), model.log_likelihood(grey))
    drawn = np.random.default_rng(0).random((4000, 10)) < grey
    expected = model.log_likelihood(drawn)
    assert abs(model.log_likelihood(grey).mean() - expected.mean()) < 4 * expected.std() / np.sqrt(2000)
    np.testing.assert_array_equal(model.set_params(binarize=0.5).log_likelihood(grey), model.log_likelihood(grey > 0.5))
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        model.set_params(binarize="none").log_likelihood(grey)


def test_log_likelihood_outside_0_to_1(model):
    for rule in ("sample", "none", 0.5):
        with pytest.raises(ValueError, match="X has values from 0 to 255"):
            model.set_params(binarize=rule).log_likelihood(X * 255)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"method": "wish"}, ValueError, "method='wish' is not known"),
        ({"n_chains": 1}, ValueError, "n_chains == 1, must be >= 2"),
        ({"n_temperatures": 2.5}, TypeError, "n_temperatures=2.5 must be a whole number or None"),
        ({"method": "ais", "schedule": "steep"}, ValueError, "schedule='steep' must be 'uniform', 'adaptive'"),
        ({"bracket": -1.0}, ValueError, "bracket == -1.0, must be >= 0"),
        ({"bracket": "narrow"}, TypeError, "bracket='narrow' must be a width in nats, or None"),
        ({"method": "ais", "samples": X[:, :3]}, ValueError, "X has 3 features, but BernoulliRBMTorch is expecting 10"),
    ],
)
def test_log_partition_of_bad_arguments(model, kwargs, error, message):
    with pytest.raises(error, match=message):
        model.log_partition(**kwargs)


def test_samples_for_the_bracket_must_be_bits(model):
    with pytest.raises(ValueError, match="samples has values other than 0 and 1"):
        model.log_partition("ais", samples=np.full((5, 10), 0.5))
    with pytest.raises(ValueError, match=r"samples is not usable as rows: X has 3 features"):
        model.log_partition("ais", samples=X[:, :3])


def test_bracket_where_the_chains_are_of_another_size(model):
    model.h_samples_ = model.h_samples_[:, :2]
    assert model.log_partition("ais", n_temperatures=100, n_chains=10, bracket=100.0).upper is not None


def test_base_rates(model):
    np.testing.assert_allclose(model.base_rates_, (X.mean(0) + 1 / 2000) / (1 + 2 / 2000), rtol=1e-6)
    del model.base_rates_
    truth = log_partition_exact(params_of(model))
    assert model.log_partition("ais", n_temperatures=2000).value == pytest.approx(truth, abs=0.3)
    for wrong in (np.zeros(10), np.full(9, 0.5), np.full(10, np.nan)):
        model.base_rates_ = wrong
        with pytest.raises(ValueError, match="base_rates_ must be 10 numbers between 0 and 1"):
            model.log_partition("ais")


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["ais", "parallel_tempering", "trajectory_tempering"])
def test_cuda_log_partition(method):
    model = BernoulliRBMTorch(6, n_iter=20, store_trajectory=True, random_state=0, device="cuda").fit(X)
    found = model.log_partition(method, n_temperatures=1000 if method == "ais" else None, bracket=5.0)
    assert abs(found.value - log_partition_exact(params_of(model))) < 5 * found.standard_error
