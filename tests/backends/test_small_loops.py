"""The parts of whole updates of small machines; `training/test_compiled_updates.py` has them as a whole."""

import numpy as np
import pytest

from tests.compiled import needs_numba

pytestmark = needs_numba


def loops():
    from skrbm.backends import small_loops

    return small_loops


def at(array):
    return array.ctypes.data


def filled_up(matrix):
    """A copy in float32 with rows of whole vectors."""
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % 16))), np.float32)


def case(n=9, n_features=20, n_hidden=7, seed=0):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(n_hidden, n_features)).astype(np.float32)
    v = (rng.random((n, n_features)) < 0.4).astype(np.float32)
    return W, v, rng


@pytest.mark.parametrize(("n_features", "n_hidden"), [(1, 1), (20, 7), (16, 32), (33, 17)])
def test_transposed_weights(n_features, n_hidden):
    W, _, _ = case(n_features=n_features, n_hidden=n_hidden)
    wide, out = filled_up(W), filled_up(np.zeros((n_features, n_hidden)))
    loops()._transpose(at(wide), n_hidden, n_features, wide.shape[1], at(out), out.shape[1])
    assert np.array_equal(out, filled_up(W.T))


def test_means_of_the_other_layer():
    W, v, rng = case()
    c = rng.normal(size=7).astype(np.float32)
    W_t, out = filled_up(W.T), np.zeros((9, 16), np.float32)
    loops()._means(at(v), 20, at(W_t), 7, at(c), at(out), 9)
    expected = 1 / (1 + np.exp(-(v.astype(float) @ W.T + c)))
    np.testing.assert_allclose(out[:, :7], expected, rtol=2e-6)
    assert np.abs(out[:, :7] - 1 / (1 + np.exp(-(v @ W.T)))).max() > 1e-2  # without the bias


@pytest.mark.parametrize(("n", "unit"), [(0, 4), (3, 4), (9, 4), (100, 16), (33, 16)])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_parts_are_all_there_is(n, unit, n_threads):
    parts = [loops()._part(n, unit, (thread, n_threads)) for thread in range(n_threads)]
    assert [i for first, n_mine in parts for i in range(first, first + n_mine)] == list(range(n))
    assert all(first % unit == 0 for first, n_mine in parts if n_mine)


@pytest.mark.parametrize("n_damped", [0, 2])
@pytest.mark.parametrize("is_centered", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_gradient(n_damped, is_centered, n_threads):
    """Δ⟨(v - μ) h'⟩ less what the damping takes of it."""
    _, v, rng = case()
    n_data, n_chains, n_features, n_hidden = 4, 5, 20, 37
    h, mu = rng.random((9, n_hidden)), rng.random(n_features).astype(np.float32)
    means = filled_up(h)
    dh, data_v, model_v = (np.empty(n, np.float32) for n in (n_hidden, n_features, n_features))
    U = np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T[:n_damped].astype(np.float32)
    share = rng.random(n_damped).astype(np.float32)
    damping = np.concatenate((U.ravel(), share, [0.0])).astype(np.float32)
    gradient, excess = np.full((n_features, 48), np.nan, np.float32), np.full((2, 48), np.nan, np.float32)
    sizes, teams = (n_data, n_chains, n_features, n_hidden), [(thread, n_threads) for thread in range(n_threads)]
    for team in teams:
        loops()._weigh(sizes, at(means), team)
    of_mu, of_damping = at(mu) if is_centered else 0, (at(damping), n_damped, at(excess))
    for team in teams:
        loops()._sum_rows(sizes, at(v), at(means), at(dh), at(data_v), at(model_v), team)
        loops()._find_gradient(sizes, at(v), at(means), at(dh), at(gradient), of_mu, of_damping, team)
    signs = np.repeat([1 / n_data, -1 / n_chains], [n_data, n_chains])
    expected = ((v - mu * is_centered) * signs[:, None]).T @ h
    np.testing.assert_allclose(dh, signs @ h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(data_v, v[:n_data].mean(0), rtol=1e-6)
    np.testing.assert_allclose(model_v, v[n_data:].mean(0), rtol=1e-6)
    damped = expected - (U.T * share) @ (U @ expected)
    np.testing.assert_allclose(gradient[:, :n_hidden], damped, atol=1e-6)
    if n_damped:
        assert np.abs(gradient[:, :n_hidden] - expected).max() > 1e-3
