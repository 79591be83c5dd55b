import copy
import pickle
import subprocess
import sys
import threading
import warnings
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

import skrbm.estimators.base
import skrbm.estimators.bernoulli
from skrbm import BernoulliRBMTorch, DataRangeWarning
from skrbm.rows.arrays import ArrayRows
from tests import reference

RNG = np.random.default_rng(0)
X = (RNG.random((60, 7)) * (RNG.random((60, 7)) < 0.6)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(int)
ARRAYS = ("components_", "intercept_visible_", "intercept_hidden_", "h_samples_")
METHODS = ("transform", "reconstruct", "free_energy", "score_samples")


def rbm(**kwargs):
    return BernoulliRBMTorch(**{"n_hidden": 4, "n_iter": 3, "random_state": 0, "batch_size": 20, **kwargs})


@pytest.fixture(scope="module")
def fitted():
    return rbm().fit(X)


def assert_same(a, b):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def params_of(model, dtype=torch.float64):
    arrays = (model.components_, model.intercept_visible_, model.intercept_hidden_)
    return skrbm.machines.restricted.RBMParameters(*(torch.from_numpy(a).to(dtype) for a in arrays))


# -- what the methods return ------------------------------------------------------------------------------------------


def test_shapes_and_types(fitted):
    assert fitted.components_.shape == (4, 7)
    assert fitted.intercept_visible_.shape == (7,)
    assert fitted.intercept_hidden_.shape == (4,)
    assert fitted.h_samples_.shape == (100, 4)
    assert fitted.n_features_in_ == 7
    assert fitted.n_iter_ == 3
    assert all(type(getattr(fitted, name)) is np.ndarray for name in ARRAYS)
    for dtype in (np.float32, np.float64):
        rows = X.astype(dtype)
        assert fitted.transform(rows).shape == (60, 4)
        assert fitted.inverse_transform(fitted.transform(rows)).shape == (60, 7)
        assert fitted.reconstruct(rows).shape == (60, 7)
        assert fitted.gibbs(rows).shape == (60, 7)
        assert fitted.score_samples(rows).shape == fitted.free_energy(rows).shape == (60,)
        assert all(getattr(fitted, name)(rows).dtype == dtype for name in (*METHODS, "gibbs"))


def test_values_are_those_of_the_enumerated_model(fitted):
    params = params_of(fitted)
    V = reference.states(7)
    np.testing.assert_allclose(fitted.transform(V), reference.h_given_v(params) @ reference.states(4))
    H = reference.states(4)
    np.testing.assert_allclose(fitted.inverse_transform(H), reference.v_given_h(params) @ V)
    np.testing.assert_allclose(np.exp(-fitted.free_energy(V) - reference.log_partition(params)), reference.p_v(params))
    rows = X[:5].astype(float)
    expected = [reference.pseudo_log_likelihood(params, row) for row in rows]
    np.testing.assert_allclose(fitted.score_samples(rows), expected)
    assert fitted.score(rows) == pytest.approx(np.mean(expected))
    np.testing.assert_allclose(fitted.reconstruct(rows), fitted.inverse_transform(fitted.transform(rows)))


@pytest.mark.parametrize("k", [1, 3])
def test_gibbs_has_the_transition_probabilities(fitted, k):
    v, n = X[:1].round(), 50_000
    got = fitted.gibbs(np.repeat(v, n, 0), k)
    p = np.linalg.matrix_power(reference.gibbs_transition(params_of(fitted)), k)[reference.index(v)[0]]
    assert reference.total_variation(reference.frequencies(got), p) < reference.total_variation_floor(p, n)


@pytest.mark.parametrize("init", ["random", "data", "array"])
def test_samples_are_from_the_model(fitted, init):
    n = 30_000
    start = np.zeros((n, 7)) if init == "array" else init
    p = reference.p_v(params_of(fitted))
    got = fitted.sample(n, n_steps=20, init=start, random_state=1)
    assert got.shape == (n, 7)
    assert reference.total_variation(reference.frequencies(got), p) < reference.total_variation_floor(p, n)


def test_samples_start_where_they_are_told():
    model = rbm(n_iter=1, binarize="none").fit(np.eye(7))
    # Hidden units that copy the visible ones, so that a step leads nowhere.
    model.components_, model.intercept_hidden_ = 60 * np.eye(7), np.full(7, -30.0)
    model.intercept_visible_ = np.full(7, -30.0)
    model.n_hidden = 7
    data = model.sample(200, n_steps=2, init="data")
    assert (data.sum(1) == 1).all()
    assert (data.sum(0) > 5).all()
    array = RNG.integers(0, 2, (5, 7))
    np.testing.assert_array_equal(model.sample(5, 1, array), array)
    random = model.sample(4000, 1, "random")
    assert np.abs(random.mean(0) - 0.5).max() < 0.05
    np.testing.assert_array_equal(model.gibbs(array), array)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_defaults_learn_a_small_table():
    """Two patterns and their noise: the defaults come close to the entropy."""
    V = np.where(RNG.random((400, 1)) < 0.5, [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0])
    V = np.abs(V - (RNG.random(V.shape) < 0.05))
    model = BernoulliRBMTorch(n_hidden=8, random_state=0).fit(V)
    p = reference.p_v(params_of(model))
    counts = reference.frequencies(V)
    entropy = -(counts[counts > 0] * np.log(counts[counts > 0])).sum()
    independent = sum(-m * np.log(m) - (1 - m) * np.log(1 - m) for m in V.mean(0))
    nats = np.log(p[reference.index(V)]).mean()
    assert -entropy - 0.15 < nats <= -entropy
    assert nats > -independent + 1


@pytest.mark.parametrize(
    "kwargs",
    [
        {"algorithm": "cd", "k": 3},
        {"optimizer": "adam", "learning_rate": 1e-3},
        {"optimizer": partial(torch.optim.RMSprop, alpha=0.9), "learning_rate": 1e-3},
        {"learning_rate_schedule": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)},
        {"learning_rate_schedule": "constant", "momentum": 0.5, "weight_decay": 0},
        {"learning_rate_schedule": "cosine"},
        {"learning_rate_schedule": "exponential"},
        {"optimizer": "nesterov", "momentum": 0.5},
        {"k": {0: 1, 0.5: 3}},
        {"l1_penalty": 0.01},
        {"sparsity_target": 0.1},
        {"sparsity_target": 0.1, "sparsity_cost": 1.0},
        {"averaging": 0.7},
        {"early_stopping": True},
        {"centered": False},
        {"centered": True},
        {"binarize": "none"},
        {"binarize": 0.5},
        {"shuffle": False},
        {"precision": "float64"},
        {"precision": "bfloat16"},
        {"batch_size": "auto", "n_chains": 7},
        {"device": "cpu"},
        {"device": torch.device("cpu")},
    ],
    ids=str,
)
def test_every_setting_changes_something_and_survives_clone_and_pickle(kwargs, fitted):
    model = clone(rbm(**kwargs)).fit(X)
    assert np.isfinite(model.components_).all()
    assert_same(pickle.loads(pickle.dumps(model)), model)
    if "device" not in kwargs:
        assert not np.array_equal(model.components_, fitted.components_)


def test_precision_is_that_of_training():
    assert rbm().fit(X.astype(float)).components_.dtype == np.float32
    assert rbm(precision="float64").fit(X).components_.dtype == np.float64
    assert rbm(precision="float64").fit(X).transform(X).dtype == np.float32


def products_of(n_hidden=300, device="cpu", weight=None, **kwargs):
    """What a fit on 500 columns of zeros and ones, or of greys, would multiply in."""
    rows = kwargs.pop("rows", (RNG.random((5, 500)) < 0.5).astype(np.float32))
    model = rbm(n_hidden=n_hidden, **kwargs)
    return model._products(ArrayRows(rows, weight), model.binarize, torch.device(device))


def test_auto_takes_fewer_bits_where_that_serves(monkeypatch):
    greys, weight = RNG.random((5, 500)), np.ones(5)
    monkeypatch.setattr(skrbm.estimators.bernoulli, "has_int8", lambda device: device.type == "cpu")
    assert products_of() == products_of(rows=greys) == products_of(binarize="none") == "int8"
    assert products_of(device="cuda") == "bfloat16"
    assert (
        products_of(rows=greys, binarize="none") == products_of(n_hidden=100) == products_of(weight=weight) == "float"
    )
    assert products_of(precision="float32") == products_of(precision="float64") == "float"
    monkeypatch.setattr(skrbm.estimators.bernoulli, "has_int8", lambda device: False)
    assert products_of() == "float"


def test_fewer_bits_that_are_not_to_be_had(monkeypatch):
    for precision in ("int8", "bfloat16"):
        with pytest.raises(ValueError, match=f"precision='{precision}' takes zeros and ones"):
            rbm(precision=precision, binarize="none").fit(X)
    monkeypatch.setattr(skrbm.estimators.bernoulli, "has_int8", lambda device: False)
    with pytest.raises(ValueError, match="precision='int8': cpu has no units for it"):
        rbm(precision="int8").fit(X)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_fewer_bits_learn_as_good_a_model(precision):
    if precision == "int8" and not skrbm.estimators.bernoulli.has_int8(torch.device("cpu")):
        pytest.skip("the processor has no units for 8-bit integers")
    rows = np.repeat((RNG.random((20, 12)) < 0.4).astype(np.float32), 5, 0)
    nats = {}
    for kind in ("float32", precision):
        model = rbm(n_hidden=10, n_iter=600, precision=kind).fit(rows)
        nats[kind] = model.log_likelihood(rows).mean()
        assert model.components_.dtype == model.h_samples_.dtype == np.float32
    assert nats[precision] == pytest.approx(nats["float32"], abs=0.15)
    assert nats[precision] > rbm(n_hidden=10, n_iter=3).fit(rows).log_likelihood(rows).mean() + 1


def test_binarize():
    """Where all values are one grey level, that level decides on the machine's visible bias."""
    grey = np.full((50, 3), 0.3, np.float32)
    for rule, mean in (("sample", 0.3), ("none", 0.3), (0.2, 1.0), (0.5, 0.0)):
        model = rbm(binarize=rule, n_iter=1).fit(grey)
        v = 1 / (1 + np.exp(-model.intercept_visible_))
        np.testing.assert_allclose(v, mean, atol=0.1)


def test_n_chains_does_not_depend_on_batch_size():
    assert rbm(n_chains=9, batch_size=20).fit(X).h_samples_.shape == (9, 4)
    assert rbm(n_chains=9, batch_size=20, algorithm="cd").fit(X).h_samples_.shape == (20, 4)


def test_same_seed_same_result():
    assert_same(rbm().fit(X), rbm().fit(X))
    assert_same(rbm(random_state=np.random.RandomState(3)).fit(X), rbm(random_state=np.random.RandomState(3)).fit(X))
    assert not np.array_equal(rbm(random_state=1).fit(X).components_, rbm().fit(X).components_)
    assert not np.array_equal(rbm(random_state=None).fit(X).components_, rbm(random_state=None).fit(X).components_)


def test_global_state_is_left_alone():
    numpy_state, torch_state, threads = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()
    for seed in (None, 0):
        model = rbm(random_state=seed).fit(X)
        model.sample(3, 2)
        model.score(X)
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert torch.equal(torch_state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_warm_start_goes_on_and_fit_starts_anew():
    model = rbm(warm_start=True, learning_rate_schedule="constant").fit(X)
    first = model.components_
    model.fit(X)
    assert not np.array_equal(model.components_, first)
    assert np.abs(model.components_ - first).max() < 0.2
    model.set_params(warm_start=False).fit(X)
    np.testing.assert_array_equal(model.components_, first)
    with pytest.raises(ValueError, match="n_hidden=5, but the fitted model has 4"):
        model.set_params(warm_start=True, n_hidden=5).fit(X)


def test_partial_fit_in_pieces_is_fit_at_a_constant_rate():
    """Same start, same stream: three calls are three epochs."""
    settings = {"learning_rate_schedule": "constant", "momentum": 0.5, "weight_decay": 1e-3}
    whole, pieces = rbm(**settings, averaging=0.0).fit(X), rbm(**settings)
    for _ in range(3):
        assert pieces.partial_fit(X) is pieces
    assert_same(whole, pieces)
    assert pieces.n_iter_ == 3


def test_partial_fit_goes_on_from_fit_and_from_a_pickle():
    model = rbm(optimizer="adam", learning_rate=1e-3).fit(X)
    twin = pickle.loads(pickle.dumps(model))
    for rows in (X[:1], X[:33], X):
        model.partial_fit(rows)
        twin.partial_fit(rows)
    assert_same(model, twin)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3])
    model.set_params(n_chains=30).partial_fit(X)
    assert model.h_samples_.shape == (30, 4)


def test_partial_fit_at_the_constant_rate():
    """After a fit whose rate fell to a fiftieth, a step is as long as `learning_rate` says."""
    model = rbm(n_iter=50, weight_decay=0, learning_rate=0.1).fit(X)
    before = model.components_
    half = copy.deepcopy(model).set_params(learning_rate=0.05).partial_fit(X[:20]).components_ - before
    step = model.partial_fit(X[:20]).components_ - before
    np.testing.assert_allclose(step, 2 * half, atol=1e-6)
    assert np.abs(step).max() > 2e-3


def test_weights():
    weight = np.repeat([0.0, 1.0], 30)
    assert_same(rbm().fit(X, sample_weight=weight), rbm().fit(X[30:], sample_weight=np.ones(30)))
    coin = np.repeat([[1.0], [0.0]], 50, 0)
    model = rbm(n_iter=200, batch_size=100).fit(coin, sample_weight=np.repeat([9.0, 1.0], 50))
    assert reference.p_v(params_of(model))[1] == pytest.approx(0.9, abs=0.03)


def test_fit_accepts_y_and_ignores_it():
    assert_same(rbm().fit(X, Y), rbm().fit(X))
    np.testing.assert_array_equal(rbm().fit_transform(X, Y), rbm().fit(X).transform(X))


# -- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, 0)[::2],
        lambda a: a.tolist(),
        pd.DataFrame,
        torch.from_numpy,
        lambda a: torch.from_numpy(a).requires_grad_(),
        sp.csr_matrix,
        sp.csr_array,
        sp.coo_array,
        sp.csc_matrix,
    ],
)
def test_kinds_of_input(convert, fitted):
    given_X = convert(X.copy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X has feature names|X does not have valid feature names")
        assert_same(rbm().fit(given_X), fitted)
        for name in METHODS:
            np.testing.assert_allclose(getattr(fitted, name)(given_X), getattr(fitted, name)(X), rtol=2e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float16, np.float64, np.longdouble, object])
def test_types_of_input(dtype):
    bits = X.round()
    model = rbm().fit(bits.astype(dtype))
    assert_same(model, rbm().fit(bits))
    for name in METHODS:
        np.testing.assert_allclose(getattr(model, name)(bits.astype(dtype)), getattr(model, name)(bits), rtol=1e-5)


def test_bfloat16_tensors():
    bits = torch.from_numpy(X.round())
    assert_same(rbm().fit(bits.bfloat16()), rbm().fit(bits))


def test_input_is_never_written_to(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, X)
    frozen = np.load(path, mmap_mode="r")
    model = rbm(binarize=0.5).fit(frozen)
    for name in (*METHODS, "gibbs"):
        getattr(model, name)(frozen)
    model.inverse_transform(model.transform(frozen))
    own = X.copy()
    rbm(binarize=0.5).fit(own).score_samples(own)
    np.testing.assert_array_equal(own, X)


def test_data_frames_keep_their_names():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    model = rbm().set_output(transform="pandas").fit(frame)
    assert model.feature_names_in_.tolist() == list("abcdefg")
    model.set_params(verbose=1).partial_fit(frame)
    for init in ("random", "data", frame[:2]):
        assert model.sample(2, 1, init).shape == (2, 7)  # without a warning on missing names
    out = model.transform(frame)
    assert out.columns.tolist() == [f"bernoullirbmtorch{i}" for i in range(4)]
    assert out.columns.tolist() == model.get_feature_names_out().tolist()
    assert (out.dtypes == np.float32).all()
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[list("gfedcba")])


def test_sparse_rows_never_become_dense_as_a_whole(monkeypatch):
    big = sp.random(20_000, 50, 0.01, "csr", dtype=np.float32, random_state=0)
    sizes = []
    toarray = type(big).toarray
    monkeypatch.setattr(type(big), "toarray", lambda self, *args, **kw: sizes.append(self.shape[0]) or toarray(self))
    model = rbm(n_iter=1, batch_size=100).fit(big)
    model.transform(big)
    model.score_samples(big)
    assert max(sizes) <= 4096
    assert sum(sizes) > 60_000


def test_chunks_make_no_difference(fitted, monkeypatch):
    whole = {name: getattr(fitted, name)(X) for name in METHODS}
    monkeypatch.setattr(skrbm.estimators.base, "_CHUNK_ROWS", 7)
    for name, expected in whole.items():
        np.testing.assert_allclose(getattr(fitted, name)(X), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (np.array([[0, 255], [3, 128]], np.uint8), r"from 0 to 255.*pass X / 255"),
        (np.array([[0, 255.0], [3, 128]]), r"pass X / 255"),
        (np.array([[-1.0, 0.5], [0.25, 1]]), r"from -1 to 1.*MinMaxScaler"),
        (sp.csr_matrix(np.array([[0, 3.5], [0.25, 1]])), r"from 0.25 to 3.5"),
    ],
)
def test_values_outside_0_1_warn_once(values, remedy):
    for method in ("fit", "partial_fit"):
        with pytest.warns(DataRangeWarning, match=remedy) as caught:
            getattr(rbm(), method)(values)
        assert len(caught) == 1
        assert caught[0].filename == __file__


@pytest.mark.parametrize("values", [np.eye(3), np.eye(3, dtype=bool), sp.eye(3, format="csr"), np.zeros((3, 2))])
def test_values_in_0_1_do_not_warn(values):
    rbm().fit(values)


# -- errors -----------------------------------------------------------------------------------------------------------


def no_optimizer(params, lr):
    return None


def no_schedule(optimizer):
    return 3


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_hidden": 0}, ValueError, "n_hidden == 0, must be >= 1"),
        ({"n_hidden": 2.5}, TypeError, "n_hidden must be an instance of int"),
        ({"k": 0}, ValueError, "k == 0"),
        ({"k": 1.5}, TypeError, "k must be an instance of int"),
        ({"k": {0.5: 5}}, ValueError, "k={0.5: 5} must have an entry for 0"),
        ({"k": {}}, ValueError, "k={} must have an entry for 0"),
        ({"k": {0: 1, 1.0: 5}}, ValueError, "share of the epochs == 1.0, must be < 1"),
        ({"k": {0: 1, "half": 5}}, TypeError, "share of the epochs must be an instance of float"),
        ({"k": {0: 1, 0.5: 0}}, ValueError, "number of steps == 0, must be >= 1"),
        ({"l1_penalty": -1.0}, ValueError, "l1_penalty == -1.0, must be >= 0"),
        ({"sparsity_target": 0}, ValueError, "sparsity_target == 0, must be > 0"),
        ({"sparsity_target": float("nan")}, ValueError, "sparsity_target=nan must be a finite"),
        ({"sparsity_cost": "high"}, TypeError, "sparsity_cost must be an instance of float"),
        ({"averaging": 1.5}, ValueError, "averaging == 1.5, must be <= 1"),
        ({"averaging": float("nan")}, ValueError, "averaging=nan must be a finite"),
        ({"optimizer": "nesterov"}, ValueError, "optimizer='nesterov' needs a momentum"),
        ({"early_stopping": "score"}, ValueError, "early_stopping='score'.*'log_likelihood', or True, or False"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction == 1.0, must be < 1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change == 0, must be >= 1"),
        ({"tol": -1e-4}, ValueError, "tol == -0.0001, must be >= 0"),
        ({"n_chains": -1}, ValueError, "n_chains == -1"),
        ({"n_iter": 0}, ValueError, "n_iter == 0"),
        ({"batch_size": 0}, ValueError, "batch_size == 0"),
        ({"batch_size": "big"}, ValueError, "batch_size='big' is not known.*'auto'"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate == 0.0, must be > 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate=nan must be a finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be an instance of float"),
        ({"momentum": 1.0}, ValueError, "momentum == 1.0, must be < 1"),
        ({"weight_decay": -1e-4}, ValueError, "weight_decay == -0.0001, must be >= 0"),
        ({"weight_decay": "much"}, TypeError, "weight_decay must be an instance of float"),
        ({"weight_decay": float("inf")}, ValueError, "weight_decay=inf must be a finite"),
        ({"algorithm": "sml"}, ValueError, "algorithm='sml' is not known. Choose one of: 'cd', 'pcd'"),
        ({"optimizer": "lion"}, ValueError, "optimizer='lion'.*'sgd', 'nesterov', 'adam', or a factory"),
        ({"learning_rate_schedule": None}, ValueError, "learning_rate_schedule=None.*'constant', 'linear'"),
        ({"binarize": True}, ValueError, "binarize=True.*'sample', 'none', or a threshold"),
        ({"binarize": float("nan")}, ValueError, "binarize=nan must be a finite"),
        ({"centered": "hidden"}, ValueError, "centered='hidden'.*'visible', or True, or False"),
        ({"centered": None}, ValueError, "centered=None"),
        ({"precision": "float16"}, ValueError, "precision='float16'"),
        ({"device": "gpu"}, ValueError, "device='gpu' is not to be had here.*'auto', 'cpu'"),
        ({"device": "cuda:99"}, ValueError, "device='cuda:99'"),
        ({"device": "meta"}, ValueError, "device='meta'"),
        ({"device": 1.5}, ValueError, "device=1.5"),
        ({"random_state": "x"}, ValueError, "'x' cannot be used to seed"),
        ({"optimizer": no_optimizer}, TypeError, "optimizer.*torch.optim.Optimizer.*NoneType"),
        ({"learning_rate_schedule": no_schedule}, TypeError, "learning_rate_schedule.*LRScheduler.*int"),
    ],
    ids=lambda value: str(value).split(" at 0x")[0],  # the same in every process
)
def test_wrong_parameters(kwargs, error, message):
    for method in ("fit", "partial_fit") if "learning_rate_schedule" not in kwargs else ("fit",):
        model = rbm().fit(X)
        before = dict(vars(model.set_params(**kwargs)))
        with pytest.raises(error, match=message):
            getattr(model, method)(X)
        assert vars(model) == before


NAN = X.copy()
NAN[3, 2] = np.nan


@pytest.mark.parametrize(
    ("rows", "weight", "error", "message"),
    [
        (NAN, None, ValueError, "NaN"),
        (np.where(np.isnan(NAN), np.inf, NAN), None, ValueError, "infinity"),
        (sp.csr_matrix(NAN), None, ValueError, "NaN"),
        (X[:0], None, ValueError, "minimum of 1 is required"),
        (X[:, :0], None, ValueError, "minimum of 1 is required"),
        (X[0], None, ValueError, "1D array"),
        (X[None], None, ValueError, "dim 3"),
        (np.array([["a", "b"]]), None, ValueError, "could not convert|numeric"),
        (X + 1j, None, ValueError, "Complex"),
        (None, None, ValueError, "None"),
        (X, -np.ones(60), ValueError, "[Nn]egative values in data passed to `sample_weight`"),
        (X, np.zeros(60), ValueError, "at least one non-zero"),
        (X, np.ones(59), ValueError, r"sample_weight.shape == \(59,\)"),
        (X, np.full(60, np.nan), ValueError, "NaN"),
        (X, np.ones((60, 2)), ValueError, "1D"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value)[:20],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_wrong_data_leaves_the_model_as_it_was(rows, weight, error, message, method):
    model = rbm().fit(pd.DataFrame(X, columns=list("abcdefg")))
    before = dict(vars(model))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        with pytest.raises(error, match=message):
            getattr(model, method)(rows, sample_weight=weight)
    assert vars(model) == before


def test_wrong_data_for_the_other_methods(fitted):
    for name in (*METHODS, "gibbs", "score"):
        with pytest.raises(ValueError, match="NaN"):
            getattr(fitted, name)(NAN)
        with pytest.raises(ValueError, match="X has 3 features, but BernoulliRBMTorch is expecting 7"):
            getattr(fitted, name)(X[:, :3])
        with pytest.raises(NotFittedError):
            getattr(rbm(), name)(X)
    with pytest.raises(ValueError, match="X has 7 columns, but the model has 4 hidden units"):
        fitted.inverse_transform(X)
    with pytest.raises(NotFittedError):
        rbm().inverse_transform(X)
    with pytest.raises(NotFittedError):
        rbm().sample(3)


def test_wrong_arguments_of_the_samplers(fitted):
    with pytest.raises(ValueError, match="k == 0"):
        fitted.gibbs(X, k=0)
    with pytest.raises(TypeError, match="n_samples must be an instance of int"):
        fitted.sample(2.5)
    with pytest.raises(ValueError, match="n_steps == 0"):
        fitted.sample(2, 0)
    with pytest.raises(ValueError, match="init='prior' is not known.*'random', 'data', or an array"):
        fitted.sample(2, init="prior")
    with pytest.raises(ValueError, match="init has 60 rows, but n_samples=2"):
        fitted.sample(2, init=X)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        fitted.sample(2, random_state="x")


def test_parameters_that_blow_up():
    model = rbm().fit(X)
    before = dict(vars(model.set_params(learning_rate=1e20, weight_decay=1e10)))
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        model.fit(X)
    assert vars(model) == before


def test_hidden_units_that_got_stuck():
    V = np.repeat([[1.0, 1, 1, 1, 1, 1, 0]], 50, 0)
    with pytest.warns(ConvergenceWarning, match=r"hidden units.*learning_rate=100.0") as caught:
        rbm(learning_rate=100.0, centered=False).fit(V)
    assert caught[0].filename == __file__


def test_assigned_arrays_of_the_wrong_shape(fitted):
    model = copy.deepcopy(fitted)
    model.components_ = np.zeros((4, 6))
    with pytest.raises(ValueError, match="W must have shape"):
        model.transform(X)


# -- interruption -----------------------------------------------------------------------------------------------------


def interrupted_after(n_epochs, monkeypatch):
    real = skrbm.estimators.bernoulli.epochs

    def epochs(state, source, n, *args):
        for i, record in enumerate(real(state, source, n, *args)):
            if i == n_epochs:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(skrbm.estimators.bernoulli, "epochs", epochs)


def test_ctrl_c_keeps_the_last_finished_epoch(monkeypatch):
    expected = rbm(n_iter=2, learning_rate_schedule="constant", averaging=0.0).fit(X)
    interrupted_after(2, monkeypatch)
    model = rbm(n_iter=5, learning_rate_schedule="constant", averaging=0.0)
    with pytest.warns(UserWarning, match="interrupted after epoch 2 of 5") as caught:
        model.fit(X)
    assert caught[0].filename == __file__
    assert_same(model, expected)
    assert model.n_iter_ == 2


def test_ctrl_c_keeps_the_best_epoch_where_there_is_one(monkeypatch):
    interrupted_after(4, monkeypatch)
    model = rbm(n_iter=9, early_stopping=True, learning_rate=3.0, random_state=1)
    with pytest.warns(UserWarning, match="interrupted after epoch 4 of 9; the model is the best until then"):
        model.fit(X)
    assert len(model.validation_scores_) == 4
    best = int(np.argmax(model.validation_scores_)) + 1
    assert model.history_["weight_norm"][best - 1] == pytest.approx(np.linalg.norm(model.components_))


def test_weight_decay_by_the_number_of_rows():
    """A prior on the weights counts for less, the more rows there are."""
    V = np.tile(X, (60, 1))
    assert_same(rbm(n_iter=1).fit(V), rbm(n_iter=1, weight_decay=3 / len(V)).fit(V))
    assert_same(rbm().fit(X), rbm(weight_decay=2e-3).fit(X))  # the most
    assert_same(rbm().partial_fit(X), rbm(weight_decay=1e-4).partial_fit(X))


def test_ctrl_c_before_the_first_epoch_changes_nothing(monkeypatch):
    model = rbm().fit(X)
    before = dict(vars(model))
    interrupted_after(0, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert vars(model) == before


def test_verbose_prints_a_line_an_epoch(capsys):
    rbm(verbose=1).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("[BernoulliRBMTorch] epoch 2/3, learning rate 0.133, pseudo-log-likelihood -")
    rbm().fit(X)
    assert not capsys.readouterr().out


# -- history, early stopping, averaging -------------------------------------------------------------------------------


def test_history_has_a_row_for_each_epoch():
    V = X.round()
    model = rbm(n_iter=4, k={0: 1, 0.5: 3}).fit(V)
    frame = pd.DataFrame(model.history_)
    assert frame.epoch.tolist() == [1, 2, 3, 4]
    assert frame.k.tolist() == [1, 1, 3, 3]
    assert frame.learning_rate.tolist() == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert frame.weight_norm.iloc[-1] == pytest.approx(np.linalg.norm(model.components_))
    assert frame.free_energy.iloc[-1] == pytest.approx(model.free_energy(V).mean())
    assert frame.pseudo_log_likelihood.iloc[-1] == pytest.approx(model.score(V))
    assert frame.free_energy_gap.isna().all()
    assert all(values.dtype.kind in "if" for values in model.history_.values())
    grey = rbm(n_iter=1).fit(X).history_
    assert grey["free_energy"][0] != pytest.approx(rbm(n_iter=1).fit(X).free_energy(X).mean())  # of draws
    one = rbm(n_iter=1, k={0: 1, 0.5: 3}).fit(X)
    two = rbm(n_iter=1, warm_start=True).fit(X).fit(X)
    assert two.history_["update_norm"][1] == pytest.approx(np.linalg.norm(two.components_ - one.components_), rel=1e-5)


def test_history_goes_on_where_training_does_and_begins_anew_where_it_does():
    model = rbm(warm_start=True).fit(X).fit(X)
    assert len(model.history_["loss"]) == 6
    assert len(model.partial_fit(X).history_["loss"]) == 7
    assert len(model.set_params(warm_start=False).fit(X).history_["loss"]) == 3


def test_early_stopping_keeps_the_best_epoch():
    """Trained far too fast, the held-out score falls after a while."""
    model = rbm(
        early_stopping=True, n_iter=60, n_iter_no_change=3, learning_rate=3.0, learning_rate_schedule="constant"
    ).fit(X)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ == len(model.history_["epoch"]) < 60
    assert model.best_validation_score_ == max(scores)
    np.testing.assert_array_equal(scores, model.history_["pseudo_log_likelihood"])
    best = int(np.argmax(scores)) + 1
    assert model.n_iter_ == best + 4  # as many epochs without improvement as `MLPClassifier` waits for
    again = rbm(
        early_stopping=True, n_iter=best, n_iter_no_change=3, learning_rate=3.0, learning_rate_schedule="constant"
    ).fit(X)
    np.testing.assert_array_equal(model.components_, again.components_)
    assert not np.isnan(model.history_["free_energy_gap"]).any()


def test_held_out_rows_are_not_learned():
    """Where a column is 1 in a single row, it is so in what the machine has seen or in what it was scored by."""
    V = np.zeros((20, 20))
    np.fill_diagonal(V, 1)
    model = rbm(early_stopping=True, validation_fraction=0.25, n_iter=2).fit(V)
    unseen = model.base_rates_ < 0.06
    assert unseen.sum() == 5
    assert not V[:, unseen][V[:, ~unseen].any(1)].any()


@pytest.mark.parametrize("criterion", ["pseudo_log_likelihood", "log_likelihood"])
def test_criteria_of_early_stopping(criterion):
    model = rbm(early_stopping=criterion).fit(X.round())
    assert len(model.validation_scores_) == 3
    held_out_score = model.history_["pseudo_log_likelihood"][np.argmax(model.validation_scores_)]
    assert (model.best_validation_score_ == held_out_score) == (criterion == "pseudo_log_likelihood")


def test_early_stopping_weighs_the_held_out_rows():
    weight = np.r_[np.ones(30), np.zeros(30)]
    model = rbm(early_stopping=True).fit(X, sample_weight=weight)
    alone = rbm(early_stopping=True).fit(X[:30], sample_weight=np.ones(30))
    assert model.validation_scores_ == pytest.approx(alone.validation_scores_)
    uneven = rbm(early_stopping=True).fit(X[:30], sample_weight=np.arange(1, 31))
    assert uneven.validation_scores_ != pytest.approx(alone.validation_scores_)


def test_early_stopping_needs_rows_enough_and_no_partial_fit():
    with pytest.raises(ValueError, match="train set will be empty"):
        rbm(early_stopping=True).fit(X[:1])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        rbm(early_stopping=True).partial_fit(X)


def test_the_scores_of_an_earlier_fit_are_gone():
    model = rbm(early_stopping=True).fit(X)
    model.set_params(early_stopping=False).fit(X)
    assert not hasattr(model, "validation_scores_")


def test_averaging_steadies_and_the_chains_run_on(monkeypatch):
    """The mean over the iterates lies between them, and the chains come from its own distribution."""
    V = np.repeat(np.eye(6)[:2], 50, 0)
    kwargs = {"n_iter": 40, "learning_rate": 1.0, "learning_rate_schedule": "constant", "batch_size": 5}
    plain, mean = (
        [rbm(**kwargs, averaging=share, random_state=seed).fit(V) for seed in range(5)] for share in (0.0, 0.5)
    )
    assert np.mean([m.log_likelihood(V).mean() for m in mean]) > np.mean([m.log_likelihood(V).mean() for m in plain])
    monkeypatch.setattr(skrbm.estimators.bernoulli, "_SETTLING_STEPS", 0)
    left = rbm(**kwargs, averaging=0.5, random_state=0).fit(V)
    np.testing.assert_array_equal(left.components_, mean[0].components_)
    assert not np.array_equal(left.h_samples_, mean[0].h_samples_)


# -- randomness of the samplers ---------------------------------------------------------------------------------------


def test_samplers_go_on_and_copies_go_on_identically(fitted):
    for draw in (lambda model, **kw: model.gibbs(X, 2, **kw), lambda model, **kw: model.sample(9, 3, **kw)):
        model = copy.deepcopy(fitted)
        first, second = draw(model), draw(model)
        assert not np.array_equal(first, second)
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            mine = copy.deepcopy(model)
            np.testing.assert_array_equal(draw(twin), draw(mine))
            np.testing.assert_array_equal(draw(twin), draw(mine))
        np.testing.assert_array_equal(draw(model, random_state=5), draw(model, random_state=5))
        rng = np.random.RandomState(0)
        assert not np.array_equal(draw(model, random_state=rng), draw(model, random_state=rng))


def test_same_seed_same_samples():
    np.testing.assert_array_equal(rbm().fit(X).sample(5, 5), rbm().fit(X).sample(5, 5))


# -- inside scikit-learn ----------------------------------------------------------------------------------------------


def test_pipeline_of_stacked_machines():
    model = make_pipeline(rbm(), rbm(n_hidden=3), LogisticRegression()).fit(X, Y)
    assert model.score(X, Y) > 0.4
    assert_same(pickle.loads(pickle.dumps(model))[1], model[1])


def test_column_transformer_and_feature_union():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    columns = ColumnTransformer([("rbm", rbm(), ["a", "b", "c"]), ("rest", "passthrough", ["d"])])
    assert columns.set_output(transform="pandas").fit_transform(frame).columns[-2:].tolist() == [
        "rbm__bernoullirbmtorch3",
        "rest__d",
    ]
    union = FeatureUnion([("small", rbm(n_hidden=2)), ("large", rbm(n_hidden=6))]).fit(X)
    assert union.transform(X).shape == (60, 8)


def test_grid_search_with_and_without_labels():
    search = GridSearchCV(
        Pipeline([("rbm", rbm()), ("clf", LogisticRegression())]),
        {"rbm__n_hidden": [2, 4], "rbm__k": [1, 2]},
        n_jobs=2,
        cv=2,
        error_score="raise",
    )
    assert set(search.fit(X, Y).best_params_) == {"rbm__n_hidden", "rbm__k"}
    pairs = np.repeat(X.round(), 2, 1)  # every column twice: there is something to learn
    search = GridSearchCV(rbm(), {"learning_rate": [1e-6, 0.3], "n_iter": [100]}, cv=2, error_score="raise").fit(pairs)
    assert search.best_params_["learning_rate"] == 0.3
    assert search.best_score_ == pytest.approx(np.mean([search.cv_results_[f"split{i}_test_score"][1] for i in (0, 1)]))


def test_sample_weight_is_routed_through_a_pipeline():
    weight = np.repeat([0.0, 1.0], 30)
    expected = rbm().fit(X, sample_weight=weight)
    assert_same(make_pipeline(rbm()).fit(X, bernoullirbmtorch__sample_weight=weight)[0], expected)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            rbm().set_fit_request(sample_weight=True), LogisticRegression().set_fit_request(sample_weight=False)
        )
        assert_same(routed.fit(X, Y, sample_weight=weight)[0], expected)


def test_joblib_with_memory_maps(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))
    loaded.partial_fit(X)
    assert not np.array_equal(loaded.components_, fitted.components_)


def test_threads_may_transform_at_once(fitted):
    expected, failures = fitted.transform(X), []

    def work():
        for _ in range(50):
            if not np.array_equal(fitted.transform(X), expected):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_may_fit_at_once():
    models = [rbm(n_iter=20, random_state=seed) for seed in range(4)]
    expected = [clone(model).fit(X) for model in models]
    threads = [threading.Thread(target=model.fit, args=(X,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, alone in zip(models, expected, strict=True):
        assert_same(model, alone)


def number_of_threads(estimator, X, y=None):
    return torch.get_num_threads()


def test_workers_of_a_grid_search_share_the_processor():
    search = GridSearchCV(rbm(), {"n_hidden": [2, 4]}, cv=2, n_jobs=2, scoring=number_of_threads, refit=False).fit(X)
    most = max(search.cv_results_[f"split{i}_test_score"].max() for i in (0, 1))
    assert 2 * most <= max(2, joblib.cpu_count())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bits", "greys in float64", "any numbers"])
def test_memory_of_a_fit(kind):
    """In a process of its own: at most 300 MB more than stood before."""
    code = f"""
import resource
import numpy as np
from skrbm import BernoulliRBMTorch
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rng = np.random.default_rng(0)
BernoulliRBMTorch(4, n_iter=1).fit(rng.random((20, 5)))  # what comes with the first fit of a process
if {kind!r} == "bits":
    X = (rng.random((60_000, 784), np.float32) < 0.13).astype(np.float32)
elif {kind!r} == "greys in float64":
    X = rng.integers(0, 256, (60_000, 784), np.uint8) / 255
else:
    X = rng.random((60_000, 784), np.float32)
before = peak()
BernoulliRBMTorch(500, n_iter=1).fit(X)
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(run.stdout) < 300


def test_assigned_arrays_take_effect_at_once(fitted):
    model = copy.deepcopy(fitted)
    model.components_ = np.zeros((4, 7))
    model.intercept_hidden_ = np.array([0.0, 1.0, -1.0, 50.0])
    np.testing.assert_allclose(model.transform(X)[0], 1 / (1 + np.exp([0, -1, 1, -50])), rtol=1e-6)
    model.components_ = [[1.0] * 7] * 4
    assert model.transform(X)[0, 0] > 0.5
    before = model.components_
    model.partial_fit(X)
    assert np.abs(model.components_ - np.array(before)).max() < 0.5


def test_a_device_that_is_gone_does_not_hinder_a_fitted_model(fitted):
    model = copy.deepcopy(fitted).set_params(device="cuda:99")
    np.testing.assert_array_equal(model.transform(X), fitted.transform(X))


# -- to and from scikit-learn -----------------------------------------------------------------------------------------


def test_from_sklearn_and_back():
    theirs = BernoulliRBM(5, learning_rate=0.05, batch_size=7, n_iter=3, random_state=1).fit(X)
    ours = BernoulliRBMTorch.from_sklearn(theirs)
    assert (ours.n_hidden, ours.learning_rate, ours.batch_size, ours.n_iter, ours.random_state) == (5, 0.05, 7, 3, 1)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-5)
    theirs.components_ += 1
    assert not np.allclose(ours.components_, theirs.components_)
    back = ours.to_sklearn()
    assert isinstance(back, BernoulliRBM)
    np.testing.assert_allclose(back.transform(X), ours.transform(X), rtol=1e-5)
    assert back.get_params() == theirs.get_params()
    assert back.get_feature_names_out().shape == (5,)
    back.partial_fit(X[:7])
    ours.partial_fit(X)
    ours.sample(3, 2)
    with pytest.raises(ValueError, match="keeps no training rows"):
        BernoulliRBMTorch.from_sklearn(back).sample(3, init="data")


def test_to_sklearn_of_names_and_unfitted():
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    back = rbm(batch_size="auto").fit(frame).to_sklearn()
    assert back.feature_names_in_.tolist() == list("abcdefg")
    assert back.h_samples_.shape == (back.batch_size, 4)
    back.transform(frame)
    assert not hasattr(rbm().to_sklearn(), "components_")
    assert not hasattr(BernoulliRBMTorch.from_sklearn(BernoulliRBM()), "components_")
    with pytest.raises(TypeError, match="must be a sklearn.neural_network.BernoulliRBM, got str"):
        BernoulliRBMTorch.from_sklearn("rbm")


# -- properties -------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(0, 1)),
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from(["cd", "pcd"]),
    st.sampled_from([True, False, "visible"]),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_any_table_of_probabilities_can_be_fitted(table, n_hidden, batch_size, algorithm, centered):
    model = rbm(n_hidden=n_hidden, batch_size=batch_size, algorithm=algorithm, centered=centered).fit(table)
    assert np.isfinite(model.components_).all()
    H = model.transform(table)
    assert ((H >= 0) & (H <= 1)).all()
    assert (model.score_samples(table) <= 0).all()
    assert set(np.unique(model.gibbs(table))) <= {0.0, 1.0}
    assert np.isfinite(model.free_energy(table)).all()


@pytest.mark.cuda
def test_cuda_end_to_end():
    model = rbm(device="cuda").fit(X)
    assert type(model.components_) is np.ndarray
    on_cpu = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    for name in METHODS:
        np.testing.assert_allclose(getattr(model, name)(X), getattr(on_cpu, name)(X), rtol=1e-4)
    assert model.sample(3, 5).shape == (3, 7)
    model.partial_fit(X)
    on_cpu.partial_fit(X)


def test_exhausted_memory_says_what_to_lower(monkeypatch):
    def never(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    rbm = BernoulliRBMTorch(n_hidden=3, n_iter=1, batch_size=7).fit(X)
    before = rbm.components_
    monkeypatch.setattr("skrbm.training.update_", never)
    with pytest.raises(MemoryError, match="n_hidden=3, n_chains=100 and batches of 7 rows. Lower one"):
        rbm.fit(X)
    assert rbm.components_ is before


def test_rounding_is_no_reason_to_warn():
    """MinMaxScaler, which a warning recommends, may go past 1 by 2e-16."""
    high = np.nextafter(1.0, 2.0)
    model = rbm().fit(np.array([[0.0, high, 0.3], [high, 0.0, -1e-17]] * 5))
    gaps = np.array([[np.nan, high, 0.0]])
    assert np.isfinite(model.complete(gaps, n_steps=2)).all()
    assert np.isfinite(model.log_likelihood([[high, 0.0, 0.0]])).all()
