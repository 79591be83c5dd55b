"""`BoltzmannMachine`: visible couplings, hidden couplings, and what stands beside them."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrbm import BernoulliRBMTorch, DataRangeWarning
from skrbm.estimators.boltzmann import BoltzmannMachine
from skrbm.machines.restricted import RBMParameters
from tests import reference
from tests.estimators.test_resume import assert_same, cut_off
from tests.machines.test_couplings import ring

BITS = reference.states(5)
ROWS = (np.random.default_rng(0).random((60, 6)) < 0.4).astype(np.float32)
of_machines = pytest.mark.parametrize(
    "settings",
    [{}, {"n_hidden": 3}, {"n_hidden": 3, "hidden_couplings": True}, {"n_hidden": 3, "visible_couplings": False}],
    ids=["visible", "with hidden units", "with coupled hidden units", "restricted"],
)


def machine(**settings):
    return BoltzmannMachine(**{"n_iter": 3, "solver": "pcd", "random_state": 0} | settings)


def truth(n_hidden=0, seed=0, scale=1.5):
    return reference.random_params(n_hidden, 5, scale, seed, coupled=True)


def given(params, **settings):
    arrays = (tensor.numpy() for tensor in params.tensors.values())
    return BoltzmannMachine.from_parameters(*arrays, random_state=0, **settings)


# -- given parameters, against enumeration -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_hidden", [0, 3])
def test_likelihoods(n_hidden):
    params = truth(n_hidden)
    model = given(params)
    p = reference.p_v(params)
    assert model.log_partition("exact").value == pytest.approx(reference.log_partition(params), abs=1e-9)
    np.testing.assert_allclose(model.log_likelihood(BITS), np.log(p), atol=1e-9)
    expected = [reference.pseudo_log_likelihood(params, v) for v in BITS]
    np.testing.assert_allclose(model.score_samples(BITS), expected, atol=1e-9)
    gaps = np.where(np.arange(5) < 2, BITS, np.nan)
    marginal = [np.log(p[reference.compatible(row)].sum()) for row in gaps]
    np.testing.assert_allclose(model.log_likelihood(gaps), marginal, atol=1e-9)
    ais = model.log_partition("ais", n_temperatures=100)
    assert abs(ais.value - reference.log_partition(params)) < 4 * ais.standard_error


def test_features():
    """E[h | v]; without hidden units what the others add up to."""
    params = truth(3)
    np.testing.assert_allclose(
        given(params).transform(BITS), reference.h_given_v(params) @ reference.states(3), atol=1e-9
    )
    params = truth(0)
    inputs = given(params).transform(BITS)
    assert inputs.shape == (32, 5)
    p = reference.p_v(params)
    for i in range(5):
        one, zero = BITS.copy(), BITS.copy()
        one[:, i], zero[:, i] = 1.0, 0.0
        np.testing.assert_allclose(inputs[:, i], np.log(p[reference.index(one)] / p[reference.index(zero)]), atol=1e-9)


@pytest.mark.parametrize("n_hidden", [0, 3])
def test_samples(n_hidden):
    params = truth(n_hidden)
    model, n = given(params), 20_000
    v = model.sample(n, 40, random_state=1)
    p, floor = reference.p_v(params), reference.total_variation_floor(reference.p_v(params), n)
    assert reference.total_variation(reference.frequencies(v), p) < floor
    condition = np.array([np.nan, 1.0, np.nan, 0.0, np.nan])
    v = model.sample(n, 40, condition=condition, random_state=1)
    p = reference.conditional_p_v(params, condition)
    assert reference.total_variation(reference.frequencies(v), p) < floor
    uncoupled = reference.p_v(truth(n_hidden).without_weights(params.b))
    assert reference.total_variation(uncoupled, reference.p_v(params)) > 2 * floor


def test_completions():
    params = truth(0)
    gaps = np.where(np.arange(5) < 2, BITS[::8], np.nan)
    filled = given(params).complete(gaps, n_steps=2000, random_state=0)
    np.testing.assert_array_equal(filled[:, :2], gaps[:, :2])
    p = np.stack([reference.conditional_p_v(params, row) for row in gaps])
    np.testing.assert_allclose(filled, p @ BITS, atol=0.08)


@pytest.mark.parametrize(
    ("R", "message"),
    [
        (np.ones((4, 5)), r"R must have \(5, 5\) finite values"),
        (np.full((5, 5), np.nan), "finite values"),
        (np.triu(np.ones((5, 5)), 1), "R must be symmetric with a diagonal of 0"),
        (np.ones((5, 5)), "R must be symmetric with a diagonal of 0"),
    ],
)
def test_couplings_that_cant_be(R, message):
    W, b, c, _ = (tensor.numpy() for tensor in truth(2).tensors.values())
    with pytest.raises(ValueError, match=message):
        BoltzmannMachine.from_parameters(W, b, c, R)


def test_couplings_need_a_machine_that_has_them():
    W, b, c, R = (tensor.numpy() for tensor in truth(2).tensors.values())
    with pytest.raises(ValueError, match="R has couplings, which BernoulliRBMTorch lacks. Take BoltzmannMachine"):
        BernoulliRBMTorch.from_parameters(W, b, c, R)
    assert not BoltzmannMachine.from_parameters(W, b, c).couplings_.any()


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")  # without couplings it isn't
def test_couplings_are_learned():
    params = truth(0)
    X = reference.draw_v(params, 3000)
    p = reference.p_v(params)
    best, settings = p @ np.log(p), {"n_iter": 20, "batch_size": 100}
    found = machine(**settings).fit(X)
    assert p @ found.log_likelihood(BITS) > best - 0.04
    R = params.R.numpy()
    assert np.corrcoef(found.couplings_[R != 0], R[R != 0])[0, 1] > 0.8
    alone = machine(visible_couplings=np.zeros((5, 5), bool), **settings).fit(X)
    assert not alone.couplings_.any()
    assert p @ alone.log_likelihood(BITS) < best - 0.3


def test_without_couplings_it_is_an_rbm():
    settings = {"n_hidden": 4, "n_iter": 5, "random_state": 0}
    ours = BoltzmannMachine(visible_couplings=False, **settings).fit(ROWS)
    theirs = BernoulliRBMTorch(**settings).fit(ROWS)
    assert not hasattr(ours, "couplings_")
    np.testing.assert_array_equal(ours.components_, theirs.components_)
    np.testing.assert_array_equal(ours.log_likelihood(ROWS), theirs.log_likelihood(ROWS))


def test_masks():
    mask = np.zeros((6, 6), bool)
    mask[0, 1] = mask[1, 0] = mask[4, 5] = mask[5, 4] = True
    model = machine(visible_couplings=mask).fit(ROWS)
    np.testing.assert_array_equal(model.couplings_ != 0, mask)
    np.testing.assert_array_equal(model.couplings_, model.couplings_.T)
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_, model.couplings_)
    again = BoltzmannMachine.from_parameters(*arrays)
    np.testing.assert_allclose(again.log_likelihood(ROWS), model.log_likelihood(ROWS), rtol=1e-5)
    wide = (np.random.default_rng(0).random((60, 40)) < 0.4).astype(np.float32)
    on_a_ring = machine(visible_couplings=ring(40).numpy()).fit(wide)  # which goes by its graph
    np.testing.assert_array_equal(on_a_ring.couplings_ != 0, ring(40))
    assert np.isfinite(on_a_ring.score_samples(wide)).all()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"visible_couplings": np.ones((5, 5), bool)}, ValueError, r"boolean mask of shape \(6, 6\)"),
        ({"visible_couplings": np.ones((6, 6))}, ValueError, "type float64"),
        ({"visible_couplings": np.triu(np.ones((6, 6), bool))}, ValueError, "visible_couplings must be symmetric"),
        ({"visible_couplings": "ring"}, TypeError, "visible_couplings must be True, False, or a boolean mask"),
        ({"hidden_couplings": True}, ValueError, "hidden_couplings needs hidden units to couple, but n_hidden=0"),
        ({"visible_couplings": False}, ValueError, "n_hidden=0 must be at least 1 where visible units aren't coupled"),
        ({"n_hidden": 2, "hidden_couplings": np.ones((3, 3), bool)}, ValueError, "hidden_couplings must be True"),
        ({"n_hidden": -1}, ValueError, "n_hidden"),
        ({"precision": "int8"}, ValueError, "precision='int8' is for machines without couplings"),
    ],
)
def test_parameters_that_cant_be(settings, error, message):
    with pytest.raises(error, match=message):
        machine(**settings).fit(ROWS)


def test_other_machines_need_a_hidden_unit():
    with pytest.raises(ValueError, match="n_hidden == 0, must be >= 1"):
        BernoulliRBMTorch(n_hidden=0).fit(ROWS)


@of_machines
def test_learning_goes_on(settings):
    model = machine(warm_start=True, **settings).fit(ROWS)
    before = model.intercept_visible_.copy()
    model.fit(ROWS)
    assert len(model.history_["epoch"]) == 6
    assert (model.intercept_visible_ != before).any()
    part = machine(**settings)
    for rows in (ROWS[:30], ROWS[30:]):
        part.partial_fit(rows)
    assert np.isfinite(part.log_likelihood(ROWS)).all()


@of_machines
def test_gaps_are_learned_from(settings):
    rng = np.random.default_rng(1)
    X = np.where(rng.random(ROWS.shape) < 0.2, np.nan, ROWS)
    model = machine(**settings).fit(X)
    for method in ("transform", "free_energy", "score_samples", "log_likelihood"):
        assert np.isfinite(getattr(model, method)(X)).all()
    assert np.isfinite(model.complete(X, n_steps=5)).all()


@of_machines
def test_diagnoses_and_scores(settings):
    model = machine(early_stopping=True, **settings).fit(ROWS)
    assert len(model.validation_scores_) >= 1
    table = model.diagnose(n_steps=8, n_chains=2)
    assert len(table["method"]) == 8
    assert np.isfinite(model.score(ROWS))


@of_machines
def test_copies(settings):
    model = machine(**settings).fit(ROWS)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.log_likelihood(ROWS), model.log_likelihood(ROWS))
    assert not hasattr(clone(model), "components_")


@of_machines
def test_files(settings, tmp_path):
    pytest.importorskip("safetensors")
    model = machine(**settings).fit(ROWS)
    model.save(tmp_path / "model.safetensors", data_samples=True)
    twin = BoltzmannMachine.load(tmp_path / "model.safetensors")
    for method in ("log_likelihood", "transform", "score_samples"):
        np.testing.assert_array_equal(getattr(twin, method)(ROWS), getattr(model, method)(ROWS))
    assert {*vars(twin)} | {"_carried", "_sampling", "_log_partition"} == {*vars(model)} | {"_log_partition"}


@of_machines
def test_training_that_was_cut_off(settings, tmp_path, monkeypatch):
    settings = {"batch_size": 7, "n_iter": 5, "solver": "pcd", "random_state": 0} | settings
    whole, path = BoltzmannMachine(**settings).fit(ROWS), tmp_path / "checkpoint"
    cut_off(BoltzmannMachine(**settings, checkpoint=path), ROWS, 3, monkeypatch)
    again = BoltzmannMachine(**settings, checkpoint=path, resume=True).fit(ROWS)
    assert_same(whole, again)
    for name in ("couplings_", "hidden_couplings_", "v_samples_"):
        assert hasattr(whole, name) == hasattr(again, name)
        np.testing.assert_array_equal(getattr(whole, name, 0), getattr(again, name, 0))


# -- hidden units that are coupled -------------------------------------------------------------------------------------


def joint_of(model):
    """p(v, h) of every pair, from W, b, c, R and T."""
    W, b, c, R, T = (
        np.asarray(getattr(model, name), float)
        for name in ("components_", "intercept_visible_", "intercept_hidden_", "couplings_", "hidden_couplings_")
    )
    V, H = reference.states(len(b)), reference.states(len(c))
    of_v = V @ b + 0.5 * ((V @ R) * V).sum(1)
    of_h = H @ c + 0.5 * ((H @ T) * H).sum(1)
    return V @ W.T @ H.T + of_v[:, None] + of_h


@pytest.fixture(scope="module")
def general():
    """Weights that are not small, set by hand."""
    model = machine(n_hidden=3, hidden_couplings=True, precision="float64").fit(ROWS[:, :4])
    params = reference.random_params(3, 4, 1.2, coupled=True)
    model.components_, model.intercept_visible_, model.intercept_hidden_, model.couplings_ = (
        tensor.numpy() for tensor in params.tensors.values()
    )
    model.hidden_couplings_ = 2 * reference.random_params(0, 3, 1.2, 1, coupled=True).R.numpy()
    return model


def test_sums_over_coupled_hidden_units(general):
    log_f, V = joint_of(general), reference.states(4)
    log_z = np.logaddexp.reduce(log_f.ravel())
    assert general.log_partition("exact").value == pytest.approx(log_z, abs=1e-6)
    log_p = np.logaddexp.reduce(log_f, 1) - log_z
    np.testing.assert_allclose(general.log_likelihood(V), log_p, atol=1e-6)
    p = np.exp(log_f - log_f.max(1, keepdims=True))
    mean_h = p @ reference.states(3) / p.sum(1, keepdims=True)
    np.testing.assert_allclose(general.transform(V), mean_h, atol=1e-6)
    W, b, c, R = (
        torch.from_numpy(getattr(general, name))
        for name in ("components_", "intercept_visible_", "intercept_hidden_", "couplings_")
    )
    uncoupled = RBMParameters(W, b, c, R=R)
    assert np.abs(np.log(reference.p_v(uncoupled)) - log_p).max() > 0.1
    assert np.abs(reference.h_given_v(uncoupled) @ reference.states(3) - mean_h).max() > 0.1


def test_samples_of_both_layers(general):
    n = 20_000
    v, h = general.sample(n, 60, return_hidden=True, random_state=0)
    p = np.exp(joint_of(general)).ravel()
    p /= p.sum()
    found = reference.frequencies(np.concatenate((v, h), 1))
    floor = reference.total_variation_floor(p, n)
    assert reference.total_variation(found, p) < floor
    shuffled = reference.frequencies(np.concatenate((v, h[::-1]), 1))  # hidden states of other chains
    assert reference.total_variation(shuffled, p) > floor


def test_what_is_fitted_has_parts():
    model = machine(n_hidden=3, hidden_couplings=True).fit(ROWS)
    shapes = {"components_": (3, 6), "couplings_": (6, 6), "hidden_couplings_": (3, 3), "v_samples_": (100, 6)}
    shapes |= {"h_samples_": (100, 3), "intercept_hidden_": (3,), "base_rates_": (6,), "data_samples_": (60, 6)}
    for name, shape in shapes.items():
        assert getattr(model, name).shape == shape
    assert model.hidden_couplings_.any()
    general = machine(n_hidden=3, hidden_couplings=True, visible_couplings=False).fit(ROWS)
    assert not general.couplings_.any()
    assert general.hidden_couplings_.any()


def test_two_hidden_layers_are_hidden_units_coupled_with_each_other(general):
    """Weights between v and the first, couplings between the layers: an RBM of v and the second, and of the first."""
    n_first, n_second = 2, 1
    model = pickle.loads(pickle.dumps(general))
    model.couplings_ = np.zeros((4, 4))
    model.components_[n_first:] = 0.0
    model.hidden_couplings_[:n_first, :n_first] = 0.0
    W, U = model.components_[:n_first], model.hidden_couplings_[:n_first, n_first:]
    b = np.concatenate((model.intercept_visible_, model.intercept_hidden_[n_first:]))
    rbm = BernoulliRBMTorch.from_parameters(np.concatenate((W, U), 1), b, model.intercept_hidden_[:n_first])
    V = reference.states(4)
    gaps = np.concatenate((V, np.full((16, n_second), np.nan)), 1)
    assert model.log_partition("exact").value == pytest.approx(rbm.log_partition("exact").value, abs=1e-9)
    np.testing.assert_allclose(model.log_likelihood(V), rbm.log_likelihood(gaps), atol=1e-9)
    np.testing.assert_allclose(model.transform(V)[:, :n_first], rbm.transform(gaps), atol=1e-9)
    assert np.abs(general.log_likelihood(V) - model.log_likelihood(V)).max() > 0.1


# -- spins in rows -----------------------------------------------------------------------------------------------------


def few_bits(n=300):
    rng = np.random.default_rng(0)
    X = (rng.random((n, 4)) < 0.4).astype(float)
    X[:, 1] = np.where(rng.random(n) < 0.7, X[:, 0], X[:, 1])
    return X


@pytest.mark.parametrize(
    "params", [{}, {"n_hidden": 2, "n_iter": 3}, {"n_hidden": 2, "n_iter": 2, "hidden_couplings": True}]
)
def test_a_machine_of_rows_of_spins_is_that_of_bits(params):
    X = few_bits()
    S, gaps = 2 * X - 1, np.where(np.arange(4) == 2, np.nan, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        bits = BoltzmannMachine(random_state=0, **params).fit(X)
        spins = BoltzmannMachine(random_state=0, encoding="spin", **params).fit(S)
    np.testing.assert_array_equal(spins.couplings_, bits.couplings_)
    np.testing.assert_array_equal(spins.log_likelihood(S[:5]), bits.log_likelihood(X[:5]))
    np.testing.assert_array_equal(spins.transform(S[:5]), bits.transform(X[:5]))
    drawn = spins.sample(20, 5, random_state=0)
    np.testing.assert_array_equal(drawn, 2 * bits.sample(20, 5, random_state=0) - 1)
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    filled = spins.complete(2 * gaps[:5] - 1, random_state=0)
    np.testing.assert_allclose(filled, 2 * bits.complete(gaps[:5], random_state=0) - 1, atol=1e-6)
    again = spins.gibbs(S[:3], 1)
    assert set(np.unique(again)) <= {-1.0, 1.0}


def test_moments_of_spins():
    X = few_bits()
    table = BoltzmannMachine(encoding="spin", l2_penalty=0).fit(2 * X - 1).check_moments(2 * X - 1)
    np.testing.assert_allclose(table["rows"], table["machine"], atol=1e-9)
    is_pair = (table["first"] == "x0") & (table["second"] == "x1")
    np.testing.assert_allclose(table["rows"][is_pair], np.mean((2 * X[:, 0] - 1) * (2 * X[:, 1] - 1)))


def test_rows_that_are_no_spins():
    X = few_bits()
    with pytest.raises(ValueError, match=r"Spins are -1 or 1, .* values from -3 to 3.*2 \* \(X > t\) - 1"):
        BoltzmannMachine(encoding="spin").fit(6 * X - 3)
    model = BoltzmannMachine(encoding="spin").fit(2 * X - 1)
    with pytest.raises(ValueError, match="Spins are -1 or 1"):
        model.score(6 * X - 3)
    with pytest.warns(DataRangeWarning, match="zeros and ones are for encoding='binary'"):
        BoltzmannMachine(encoding="spin").fit(X)
    with pytest.raises(ValueError, match="encoding='spins'"):
        BoltzmannMachine(encoding="spins").fit(X)


def test_a_network_with_the_hidden_layer_of_spins():
    S = 2 * few_bits() - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = BoltzmannMachine(2, encoding="spin", n_iter=3, random_state=0).fit(S)
    found = model.to_torch()(torch.from_numpy(S[:5]).float())
    np.testing.assert_allclose(found.detach().numpy(), model.transform(S[:5]), atol=1e-6)


def test_chains_go_on_from_the_pseudo_likelihood():
    model = given(truth())
    X = model.sample(2000, 200)
    learner = BoltzmannMachine(solver="pseudolikelihood", l2_penalty=0, random_state=0).fit(X)
    before, best = learner.log_likelihood(X).mean(), BoltzmannMachine(solver="exact", l2_penalty=0).fit(X)
    learner.set_params(solver="pcd", warm_start=True, n_iter=20, learning_rate=0.02, weight_decay=0).fit(X)
    after, best = learner.log_likelihood(X).mean(), best.log_likelihood(X).mean()
    assert before - 5e-3 < after <= best + 1e-6
    fresh = BoltzmannMachine(solver="pcd", n_iter=20, learning_rate=0.02, weight_decay=0, random_state=0).fit(X)
    assert fresh.log_likelihood(X).mean() < after - 0.01
