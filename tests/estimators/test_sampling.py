"""Samples by Gibbs chains, and the streams of random numbers that they come from."""

import copy
import pickle

import numpy as np
import pytest

from skrbm import BernoulliRBMTorch
from tests import reference
from tests.estimators.small import X, params_of, rbm


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
    array = np.random.default_rng(0).integers(0, 2, (5, 7))
    np.testing.assert_array_equal(model.sample(5, 1, array), array)
    random = model.sample(4000, 1, "random")
    assert np.abs(random.mean(0) - 0.5).max() < 0.05
    np.testing.assert_array_equal(model.gibbs(array), array)


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


def test_wrong_arguments_of_the_samplers(fitted):
    with pytest.raises(ValueError, match="k == 0"):
        fitted.gibbs(X, k=0)
    with pytest.raises(TypeError, match="n_samples=2.5 must be a whole number"):
        fitted.sample(2.5)
    with pytest.raises(ValueError, match="n_steps == 0"):
        fitted.sample(2, 0)
    with pytest.raises(ValueError, match="init='prior' is not known.*'random', 'data', or an array"):
        fitted.sample(2, init="prior")
    with pytest.raises(ValueError, match="init has 60 rows, but n_samples=2"):
        fitted.sample(2, init=X)
    for beta, error, message in (
        (-1, ValueError, "beta == -1, must be >= 0"),
        (float("nan"), ValueError, "beta=nan must be a finite number"),
        ("hot", TypeError, "beta='hot' must be a number"),
    ):
        with pytest.raises(error, match=message):
            fitted.sample(2, beta=beta)
    with pytest.raises(ValueError, match="thin == 6, must be <= 5"):
        fitted.sample(2, 5, return_chain=True, thin=6)
    with pytest.raises(ValueError, match="thin=2 is of chains, but return_chain=False returns their ends"):
        fitted.sample(2, 5, thin=2)
    with pytest.raises(ValueError, match="cannot be used to seed"):
        fitted.sample(2, random_state="x")


# -- other temperatures, and whole chains ------------------------------------------------------------------------------

PARAMS = reference.random_params(3, 4, seed=1)


@pytest.fixture
def known():
    return BernoulliRBMTorch.from_parameters(**PARAMS.tensors, random_state=0)


@pytest.mark.parametrize("method", ["gibbs", "parallel_tempering"])
@pytest.mark.parametrize("beta", [0, 0.4, 2.0])
def test_samples_at_an_inverse_temperature(known, method, beta):
    n = 30_000
    p = reference.p_v(PARAMS.map(lambda tensor: beta * tensor))
    found = reference.frequencies(known.sample(n, 40, beta=beta, method=method))
    assert reference.total_variation(found, p) < reference.total_variation_floor(p, n)
    assert reference.total_variation(found, reference.p_v(PARAMS)) > 0.1
    assert (known.components_ == PARAMS.W.numpy()).all()


def test_samples_along_a_trajectory_at_an_inverse_temperature(known):
    known.trajectory_ = [tuple(0.5 * tensor.numpy() for tensor in PARAMS.tensors.values())]
    n, p = 10_000, reference.p_v(PARAMS.map(lambda tensor: 1.5 * tensor))
    found = reference.frequencies(known.sample(n, 40, beta=1.5, method="trajectory_tempering"))
    assert reference.total_variation(found, p) < reference.total_variation_floor(p, n)


@pytest.mark.parametrize("thin", [1, 3])
def test_chains_move_by_the_transition_probabilities(known, thin):
    n, start = 40_000, np.array([[0.0, 1.0, 1.0, 0.0]])
    chains = known.sample(n, 2 * thin + (thin > 1), start.repeat(n, 0), return_chain=True, thin=thin)
    assert chains.shape == (n, 2, 4)
    step = np.linalg.matrix_power(reference.gibbs_transition(PARAMS), thin)
    first = step[reference.index(start)[0]]
    pairs = np.bincount(reference.index(chains[:, 0]) * 16 + reference.index(chains[:, 1]), minlength=256) / n
    expected = (first[:, None] * step).ravel()
    assert reference.total_variation(pairs, expected) < reference.total_variation_floor(expected, n)


@pytest.mark.parametrize("method", ["gibbs", "parallel_tempering"])
def test_a_chain_ends_where_a_sample_is(known, method):
    kwargs = {"method": method, "condition": [np.nan, 1.0, np.nan, np.nan], "random_state": 7}
    ends = known.sample(30, 12, **kwargs)
    chains = known.sample(30, 12, return_chain=True, thin=4, **kwargs)
    assert chains.shape == (30, 3, 4)
    np.testing.assert_array_equal(chains[:, -1], ends)
    assert (chains[..., 1] == 1).all()
    every = known.sample(30, 12, return_chain=True, **kwargs)
    np.testing.assert_array_equal(every[:, 3::4], chains)
    assert known.sample(1, return_chain=True).shape == (1, 1000, 4)


# -- hidden states -----------------------------------------------------------------------------------------------------


def is_joint(v, h, p):
    """Whether visible and hidden states together are as likely as `p` (16, 8) says."""
    n, both = v[..., 0].size, np.concatenate([v, h], axis=-1).reshape(-1, 7)
    return reference.total_variation(reference.frequencies(both), p.ravel()) < reference.total_variation_floor(p, n)


@pytest.mark.parametrize("method", ["gibbs", "parallel_tempering"])
@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_hidden_states_come_with_their_visible_ones(known, method, beta):
    kwargs = {"method": method, "beta": beta, "random_state": 3}
    v, h = known.sample(30_000, 40, return_hidden=True, **kwargs)
    p = reference.joint(PARAMS.map(lambda tensor: beta * tensor))
    assert (v.shape, h.shape, h.dtype) == ((30_000, 4), (30_000, 3), v.dtype)
    assert is_joint(v, h, p)
    np.testing.assert_array_equal(v, known.sample(30_000, 40, **kwargs))
    # What must be refused: hidden states of other chains, means, and those at another temperature.
    assert not is_joint(v, np.roll(h, 1, 0), p)
    assert not is_joint(v, known.transform(v).round(), p)
    assert not is_joint(v, h, reference.joint(PARAMS.map(lambda tensor: (1.4 - beta) * tensor)))


def test_hidden_states_under_a_condition(known):
    condition = np.array([np.nan, 1.0, np.nan, 0.0])
    v, h = known.sample(30_000, 40, condition=condition, return_hidden=True)
    p = reference.joint(PARAMS) * reference.compatible(condition)[:, None]
    assert is_joint(v, h, p / p.sum())


def test_hidden_states_along_chains(known):
    v, h = known.sample(3000, 90, return_chain=True, thin=10, return_hidden=True)
    assert (v.shape, h.shape) == ((3000, 9, 4), (3000, 9, 3))
    late = v[:, 4:], h[:, 4:]
    assert is_joint(*late, reference.joint(PARAMS))
    assert not is_joint(late[0], late[1][:, ::-1], reference.joint(PARAMS))
    one, two = (known.sample(5, 4, random_state=1, return_hidden=True)[1] for _ in range(2))
    np.testing.assert_array_equal(one, two)
