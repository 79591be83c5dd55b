"""Likelihoods, samples, completions and diagnoses of a fitted model."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import skrbm.estimators.base
from skrbm import BernoulliRBMTorch, log_likelihood_scorer
from skrbm.likelihood.log_partition import LogPartitionWarning, log_likelihood_exact, log_partition_exact
from skrbm.machines.restricted import mean_h_given_v
from skrbm.sampling.tempering import SwapWarning
from skrbm.training.trajectory import Trajectory
from tests import reference
from tests.estimators.test_bernoulli import params_of

RNG = np.random.default_rng(0)
PATTERN = np.tile([1.0, 0.0], 5)
# Two noisy patterns, each the other's opposite, 7:3.
X = np.where(RNG.random((2000, 1)) < 0.7, PATTERN, 1 - PATTERN)
X = np.abs(X - (RNG.random(X.shape) < 0.02)).astype(np.float32)
METHODS = ("gibbs", "parallel_tempering", "trajectory_tempering")


@pytest.fixture(scope="module")
def fitted():
    return BernoulliRBMTorch(6, n_iter=100, store_trajectory=True, random_state=0).fit(X)


@pytest.fixture
def model(fitted):
    return pickle.loads(pickle.dumps(fitted))


# -- likelihood ------------------------------------------------------------------------------------------------------


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
    assert abs(found.upper - truth) < 0.2
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
    monkeypatch.setattr(skrbm.estimators.base, "_PROGRESS_SECONDS", 0.0)
    model.set_params(verbose=1).log_partition("ais", n_temperatures=200)
    assert "[BernoulliRBMTorch] log Z: step 100 of 200" in capsys.readouterr().out


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
    drawn = RNG.random((4000, 10)) < grey
    expected = model.log_likelihood(drawn)
    assert abs(model.log_likelihood(grey).mean() - expected.mean()) < 4 * expected.std() / np.sqrt(2000)
    np.testing.assert_array_equal(model.set_params(binarize=0.5).log_likelihood(grey), model.log_likelihood(grey > 0.5))
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        model.set_params(binarize="none").log_likelihood(grey)


def test_scoring_by_name():
    V = np.eye(7)[RNG.integers(0, 7, 200)]
    search = GridSearchCV(
        BernoulliRBMTorch(n_iter=20, random_state=0), {"n_hidden": [1, 6]}, scoring="log_likelihood", cv=2
    ).fit(V)
    assert search.best_params_ == {"n_hidden": 6}
    best = BernoulliRBMTorch(6, n_iter=10, random_state=0).fit(X)
    assert log_likelihood_scorer(best, X) == pytest.approx(best.log_likelihood(X).mean(), rel=1e-5)
    rbm = BernoulliRBMTorch(6, n_iter=10, random_state=0)
    pipeline = make_pipeline(MinMaxScaler(), rbm)
    named, plain = (cross_val_score(e, x, scoring="log_likelihood", cv=2) for e, x in ((pipeline, 4 * X), (rbm, X)))
    np.testing.assert_allclose(named, plain, rtol=1e-4)
    with pytest.raises(TypeError, match="needs a BernoulliRBMTorch, got MinMaxScaler"):
        log_likelihood_scorer(MinMaxScaler(), X)


def test_score_stays_the_pseudo_likelihood(model):
    assert model.score(X) == pytest.approx(model.score_samples(X).mean(), rel=1e-6)
    assert abs(model.score(X) - model.log_likelihood(X).mean()) > 0.1


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"method": "wish"}, ValueError, "method='wish' is not known"),
        ({"n_chains": 1}, ValueError, "n_chains == 1, must be >= 2"),
        ({"n_temperatures": 2.5}, TypeError, "n_temperatures must be an instance of int"),
        ({"method": "ais", "schedule": "steep"}, ValueError, "schedule='steep' must be 'uniform', 'adaptive'"),
        ({"bracket": -1.0}, ValueError, "bracket == -1.0, must be >= 0"),
        ({"bracket": "narrow"}, TypeError, "bracket must be an instance of float"),
        ({"method": "ais", "samples": X[:, :3]}, ValueError, "X has 3 features, but BernoulliRBMTorch is expecting 10"),
    ],
)
def test_log_partition_of_bad_arguments(model, kwargs, error, message):
    with pytest.raises(error, match=message):
        model.log_partition(**kwargs)


def test_a_trajectory_without_checkpoints_is_a_ladder_of_two_rungs():
    model = BernoulliRBMTorch(2, n_iter=1, store_trajectory=True, random_state=0).fit(X[:100])
    assert model.trajectory_ == []
    assert model.sample(3, 5, method="trajectory_tempering").shape == (3, 10)
    assert model.log_partition("trajectory_tempering").n_temperatures == 2
    assert "trajectory_tempering" in model.diagnose(n_steps=8)["method"]


def test_samples_for_the_bracket_must_be_bits(model):
    with pytest.raises(ValueError, match="samples has values other than 0 and 1"):
        model.log_partition("ais", samples=np.full((5, 10), 0.5))
    with pytest.raises(ValueError, match=r"samples won't do: X has 3 features"):
        model.log_partition("ais", samples=X[:, :3])


def test_bracket_where_the_chains_are_of_another_size(model):
    model.h_samples_ = model.h_samples_[:, :2]
    assert model.log_partition("ais", n_temperatures=100, n_chains=10, bracket=100.0).upper is not None


def test_log_likelihood_outside_0_to_1(model):
    for rule in ("sample", "none", 0.5):
        with pytest.raises(ValueError, match="X has values from 0 to 255"):
            model.set_params(binarize=rule).log_likelihood(X * 255)


def test_base_rates(model):
    np.testing.assert_allclose(model.base_rates_, (X.mean(0) + 1 / 2000) / (1 + 2 / 2000), rtol=1e-6)
    del model.base_rates_
    truth = log_partition_exact(params_of(model))
    assert model.log_partition("ais", n_temperatures=2000).value == pytest.approx(truth, abs=0.3)
    for wrong in (np.zeros(10), np.full(9, 0.5), np.full(10, np.nan)):
        model.base_rates_ = wrong
        with pytest.raises(ValueError, match="base_rates_ must be 10 numbers between 0 and 1"):
            model.log_partition("ais")


# -- sampling --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("method", METHODS)
def test_condition(model, method):
    condition = np.full(10, np.nan)
    condition[:3] = (1, 0, 1) if method == "gibbs" else (1, 0, 0)  # the latter leaves two modes
    V = model.sample(3000, 50, condition=condition, method=method, random_state=0)
    assert (V[:, :3] == condition[:3]).all()
    p = reference.conditional_p_v(params_of(model), condition)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)


def test_conditions_of_any_kind():
    frame = pd.DataFrame(X[:200], columns=list("abcdefghij"))
    model = BernoulliRBMTorch(6, n_iter=2, random_state=0).fit(frame)
    gaps = frame[:2].copy()
    gaps["c"] = np.nan
    V = model.sample(2, 5, condition=gaps)  # without a warning that names are missing
    np.testing.assert_array_equal(V[:, :2], frame.to_numpy()[:2, :2])
    plain = BernoulliRBMTorch(6, n_iter=2, random_state=0).fit(X[:200])
    for row in (gaps.to_numpy()[0], gaps.to_numpy()[0].tolist(), torch.from_numpy(gaps.to_numpy()[0])):
        assert plain.sample(3, 5, condition=row).shape == (3, 10)
    tensor = torch.full((10,), float("nan"), dtype=torch.bfloat16, requires_grad=True)
    assert plain.sample(3, 5, condition=tensor).shape == (3, 10)
    assert plain.sample(2, 5, condition=X[0]).tolist() == [X[0].tolist()] * 2  # nothing is free
    assert set(np.unique(plain.sample(2, 5, condition=[np.nan] * 10))) <= {0.0, 1.0}


def test_a_condition_for_each_sample(model):
    rows = np.array([[1.0] + [np.nan] * 9, [np.nan] * 9 + [1.0]])
    V = model.sample(2, 20, condition=rows)
    assert V[0, 0] == V[1, 9] == 1
    with pytest.raises(ValueError, match=r"condition has 2 rows, but n_samples=3"):
        model.sample(3, condition=rows)
    with pytest.raises(ValueError, match=r"condition has values from 0 to 7"):
        model.sample(2, condition=rows * 7)
    with pytest.raises(ValueError, match="condition won't do: Input X contains infinity"):
        model.sample(2, condition=rows * np.inf)
    with pytest.raises(ValueError, match="condition won't do: X has 3 features"):
        model.sample(condition=[1.0, 0.0, np.nan])


@pytest.mark.parametrize("method", METHODS)
def test_complete_with_means(model, method):
    rows = X[:3].astype(np.float64)
    rows[0, 2:6], rows[1, 0], rows[2, :] = np.nan, np.nan, np.nan
    found = model.complete(rows, n_steps=4000, method=method, random_state=0)
    given = ~np.isnan(rows)
    np.testing.assert_array_equal(found[given], rows[given])
    for row, filled in zip(rows[:2], found[:2], strict=True):  # the third may be of either mode for long
        exact = reference.conditional_p_v(params_of(model), row) @ reference.states(10)
        np.testing.assert_allclose(filled, exact, atol=0.02)
    if method != "gibbs":
        np.testing.assert_allclose(found[2], reference.p_v(params_of(model)) @ reference.states(10), atol=0.1)


def test_complete_with_samples(model):
    row = np.array([1, 0, 1, *[np.nan] * 7])
    V = model.complete(np.tile(row, (3000, 1)), "sample", n_steps=50, random_state=0)
    p = reference.conditional_p_v(params_of(model), row)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)


def test_complete_keeps_what_it_is_given(model):
    rows = X[:4].copy()
    rows[:, 0] = 0.3
    np.testing.assert_array_equal(model.complete(rows, n_steps=999), rows)
    rows[0, 3] = np.nan
    before = rows.copy()
    frame = pd.DataFrame(rows)
    assert model.complete(frame, n_steps=2).dtype == np.float32
    np.testing.assert_array_equal(frame, before)
    assert not np.isnan(model.complete(torch.from_numpy(rows), n_steps=1)).any()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"kind": "median"}, ValueError, "kind='median' is not known"),
        ({"n_steps": 0}, ValueError, "n_steps == 0, must be >= 1"),
        ({"method": "wish"}, ValueError, "method='wish' is not known"),
        ({"X": X[:2] * 3}, ValueError, "X has values from 0 to 3"),
        ({"X": X[:2, :4]}, ValueError, "X has 4 features"),
        ({"X": sp.csr_matrix(X[:2])}, TypeError, "Sparse data was passed"),
    ],
)
def test_complete_of_bad_arguments(model, kwargs, error, message):
    with pytest.raises(error, match=message):
        model.complete(**({"X": X[:2]} | kwargs))


def test_nan_stays_an_error_elsewhere(model):
    rows = X[:20].copy()
    rows[0, 0] = np.nan
    for method in (model.fit, model.transform, model.log_likelihood, model.score_samples):
        with pytest.raises(ValueError, match="NaN"):
            method(rows)


def test_large_samples_by_tempering_come_in_blocks(model, monkeypatch):
    monkeypatch.setattr(skrbm.estimators.base, "_CHUNK_SYSTEMS", 2000)
    assert model.sample(150, 5, method="trajectory_tempering").shape == (150, 10)


def test_a_ladder_is_built_once_a_call(model, monkeypatch):
    calls = []
    real = skrbm.estimators.base.ladder_by_name
    monkeypatch.setattr(skrbm.estimators.base, "_CHUNK_ROWS", 10)
    monkeypatch.setattr(
        skrbm.estimators.base, "ladder_by_name", lambda *args, **kw: calls.append(1) or real(*args, **kw)
    )
    model.sample(35, 3, method="parallel_tempering")
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
    with pytest.raises(ValueError, match=r"trajectory_ has checkpoints of shape \(2, 10\)"):
        model.sample(method=name)


# -- the trajectory --------------------------------------------------------------------------------------------------


def test_the_trajectory_changes_nothing_else(fitted):
    plain = BernoulliRBMTorch(6, n_iter=100, random_state=0).fit(X)
    np.testing.assert_array_equal(plain.components_, fitted.components_)
    assert not hasattr(plain, "trajectory_")
    assert len(fitted.trajectory_) >= 1
    W, b, c = fitted.trajectory_[0]
    assert (W.shape, b.shape, c.shape) == ((6, 10), (10,), (6,))


def test_the_trajectory_of_another_fit(model):
    before = model.trajectory_
    model.set_params(warm_start=True, n_iter=30).fit(np.where(np.arange(10) < 5, 1, X))
    assert len(model.trajectory_) > len(before)
    for arrays, kept in zip(before, model.trajectory_, strict=False):
        np.testing.assert_array_equal(arrays[0], kept[0])
    before = model.trajectory_
    model.set_params(n_iter=1, learning_rate=1e-6).fit(X)
    assert len(model.trajectory_) <= len(before) + 1
    model.set_params(warm_start=False, store_trajectory=False).fit(X)
    assert not hasattr(model, "trajectory_")


def test_ctrl_c_keeps_what_the_trajectory_has(monkeypatch):
    def interrupted(self, params):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trajectory, "settle_", interrupted)
    with pytest.warns(UserWarning, match="interrupted after epoch 40 of 40"):
        model = BernoulliRBMTorch(6, n_iter=40, store_trajectory=True, random_state=0).fit(X)
    assert model.n_iter_ == 40
    assert isinstance(model.trajectory_, list)


# -- diagnosis -------------------------------------------------------------------------------------------------------


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


# -- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("method", ["ais", "parallel_tempering", "trajectory_tempering"])
def test_cuda_log_partition(method):
    model = BernoulliRBMTorch(6, n_iter=20, store_trajectory=True, random_state=0, device="cuda").fit(X)
    found = model.log_partition(method, n_temperatures=1000 if method == "ais" else None, bracket=5.0)
    assert abs(found.value - log_partition_exact(params_of(model))) < 5 * found.standard_error


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS)
def test_cuda_samples(model, method):
    condition = np.full(10, np.nan)
    condition[:3] = 1, 0, 1
    V = model.set_params(device="cuda").sample(3000, 50, condition=condition, method=method)
    p = reference.conditional_p_v(params_of(model), condition)
    assert reference.total_variation(reference.frequencies(V), p) < reference.total_variation_floor(p, 3000)
    assert np.isfinite(model.diagnose(method, n_steps=20)["r_hat"]).all()


def test_exhausted_memory_halves_the_chunks(monkeypatch):
    rbm = BernoulliRBMTorch(n_hidden=3, n_iter=1, random_state=0).fit(X)
    expected, sizes = rbm.transform(X), []

    def small(params, v):
        sizes.append(len(v))
        if len(v) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return mean_h_given_v(params, v)

    monkeypatch.setattr("skrbm.estimators.base.mean_h_given_v", small)
    np.testing.assert_allclose(rbm.transform(X), expected, rtol=1e-6)
    assert max(sizes[-3:]) <= 5
    assert sum(size for size in sizes if size <= 5) == len(X)


def test_exhausted_memory_is_an_error_in_the_end(monkeypatch):
    rbm = BernoulliRBMTorch(n_hidden=3, n_iter=1, random_state=0).fit(X)

    def never(params, v):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("skrbm.estimators.base.mean_h_given_v", never)
    with pytest.raises(MemoryError, match="set device='cpu'"):
        rbm.transform(X)
