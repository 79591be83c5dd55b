import numpy as np
import pytest

from skrbm.commands.likelihoods import mean_log_likelihood
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from tests import reference


def machine(n_hidden, n_features, scale=0.5):
    rng = np.random.default_rng(0)
    rbm = BernoulliRBMTorch(n_hidden, n_iter=1, random_state=0).fit(np.eye(n_features))
    rbm.components_ = rng.normal(0, scale, (n_hidden, n_features))
    return rbm


def noted(rbm, monkeypatch):
    """The temperatures of each estimate of log Z that is made."""
    asked, whole = [], rbm.log_partition
    monkeypatch.setattr(
        rbm, "log_partition", lambda **kwargs: (asked.append(kwargs.get("n_temperatures")), whole(**kwargs))[1]
    )
    return asked


def test_exact(monkeypatch):
    rbm, rows = machine(3, 6), np.random.default_rng(1).integers(0, 2, (40, 6)).astype(float)
    found = mean_log_likelihood(rbm, rows)
    states = reference.states(6)
    log_z = np.log(np.exp(-rbm.free_energy(states)).sum())
    nats = -rbm.free_energy(rows) - log_z
    assert found.nats == pytest.approx(nats.mean())
    assert found.error_of_rows == pytest.approx(nats.std(ddof=1) / np.sqrt(40))
    assert (found.how, found.notes) == ("exact", [])
    assert np.isnan(mean_log_likelihood(rbm, rows[:1]).error_of_rows)


def test_few_temperatures_where_they_are_enough(monkeypatch):
    rbm = machine(30, 24, 0.1)
    asked = noted(rbm, monkeypatch)
    found = mean_log_likelihood(rbm, np.eye(24))
    assert asked == [1000]
    assert found.log_z.standard_error < 0.02
    assert found.how.startswith("± 0.0")
    assert "effective sample size" in found.how
    exact = rbm.log_likelihood(np.eye(24)).mean()
    assert found.nats == pytest.approx(exact)


def test_all_temperatures_where_few_are_not_enough(monkeypatch):
    rbm = machine(30, 24, 3.0)
    asked = noted(rbm, monkeypatch)
    found = mean_log_likelihood(rbm, np.eye(24))
    assert asked == [1000, None]
    assert found.log_z.n_temperatures > 5000  # whose figures are reported, not those of the first
    assert found.nats == pytest.approx(rbm.log_likelihood(np.eye(24)).mean())
