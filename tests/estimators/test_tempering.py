"""Samplers by name: what tempering does better than Gibbs chains, and what tells."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest

import skrbm.estimators.chains
from skrbm.sampling.tempering import SwapWarning
from tests import reference
from tests.estimators.modes import METHODS, PATTERN, X
from tests.estimators.small import params_of


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_of_the_machine(model, method):
    """Both modes in the right proportion from random starts; Gibbs chains decide at the start."""
    V = model.sample(2000, 100, method=method, random_state=0)
    p = reference.p_v(params_of(model))
    assert V.dtype == np.float32
    exact, found = share_of_pattern(reference.states(10), p), share_of_pattern(V)
    error = np.sqrt(exact * (1 - exact) / 2000)
    if method == "gibbs":
        assert abs(found - exact) > 4 * error
    else:
        assert abs(found - exact) < 4 * error
        assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 2000)


def share_of_pattern(V, p=None):
    like = (V == PATTERN).sum(1) > 5
    return np.average(like, weights=p)


def test_large_samples_by_tempering_come_in_blocks(model, monkeypatch):
    monkeypatch.setattr("skrbm.sampling.kernels._BLOCK", 2000)
    assert model.sample(150, 5, method="trajectory_tempering").shape == (150, 10)


def test_a_ladder_is_built_once_a_call(model, monkeypatch):
    calls = []
    real = skrbm.estimators.chains.ladder_by_name
    monkeypatch.setattr(
        skrbm.estimators.chains, "ladder_by_name", lambda *args, **kw: calls.append(1) or real(*args, **kw)
    )
    model.sample(5000, 2, method="parallel_tempering")  # more than a chunk
    assert len(calls) == 1


def test_a_warning_where_rungs_do_not_swap(model):
    model.intercept_visible_ = np.where(np.arange(10) % 4 < 2, 40.0, -40.0)  # to neither of the two patterns
    with pytest.warns(SwapWarning, match=r"Samples by method='trajectory_tempering' are not to be trusted. Rungs \d"):
        model.sample(10, 20, method="trajectory_tempering")


def test_methods_by_name(model):
    with pytest.raises(ValueError, match="method='metropolis' is not known"):
        model.sample(method="metropolis")
    del model.trajectory_
    before = pickle.dumps(model)
    name = "trajectory_tempering"
    for call in (model.sample, model.log_partition, partial(model.complete, X)):
        with pytest.raises(ValueError, match="Call fit with store_trajectory=True"):
            call(method=name)
    with pytest.raises(ValueError, match="Call fit with store_trajectory=True"):
        model.diagnose(["gibbs", name])
    assert pickle.dumps(model) == before  # the stream has not moved either
    model.trajectory_ = [(np.zeros((2, 10)), np.zeros(10), np.zeros(2))]
    with pytest.raises(ValueError, match=r"trajectory_ has machines of shape \(2, 10\)"):
        model.sample(method=name)


def test_diagnose(model):
    table = model.diagnose(n_steps=1000, random_state=0)
    assert table["method"].tolist() == [method for method in METHODS for _ in range(4)]
    assert set(table["statistic"]) == {"free_energy", "share_of_ones", "direction_1", "direction_2"}
    worst = pd.DataFrame(table).groupby("method")["r_hat"].max()
    assert worst["gibbs"] > 2
    assert worst["parallel_tempering"] < 1.25
    assert worst["trajectory_tempering"] < 1.25
    assert model.diagnose("gibbs", n_steps=8, n_chains=2)["method"].tolist() == ["gibbs"] * 4
    del model.data_samples_
    assert np.isnan(model.diagnose(["gibbs"], n_steps=8)["merge_time"]).all()
    with pytest.raises(ValueError, match="methods='wish' is not known"):
        model.diagnose(["wish"])
    with pytest.raises(ValueError, match="n_steps == 2, must be >= 8"):
        model.diagnose(n_steps=2)
    for nothing in ([], 3):
        with pytest.raises(ValueError, match="must be names of samplers"):
            model.diagnose(nothing)


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS)
def test_cuda_samples(model, method):
    condition = np.full(10, np.nan)
    condition[:3] = 1, 0, 1
    V = model.set_params(device="cuda").sample(3000, 50, condition=condition, method=method)
    p = reference.conditional_p_v(params_of(model), condition)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)
    assert np.isfinite(model.diagnose(method, n_steps=20)["r_hat"]).all()
