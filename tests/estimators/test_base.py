"""What the methods of a fitted machine return."""

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.exceptions import NotFittedError

from tests import reference
from tests.estimators.small import ARRAYS, METHODS, NAN, X, params_of, rbm


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


@pytest.mark.filterwarnings("ignore:The machine is not to be trusted")
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


def test_chunks_make_no_difference(fitted):
    n_times = 200  # 12,000 rows, which are some chunks
    for name in METHODS:
        method = getattr(fitted, name)
        expected = np.concatenate([method(X)] * n_times)
        np.testing.assert_allclose(method(np.tile(X, (n_times, 1))), expected, rtol=1e-5)


def exhausted_by(n_rows, monkeypatch):
    """Sparse rows of which no more than so many can be made dense at a time, and the sizes of those that were tried."""
    rows, sizes = sp.csr_matrix(X), []
    toarray = sp.csr_matrix.toarray

    def limited(self, *args, **kwargs):
        sizes.append(self.shape[0])
        if self.shape[0] > n_rows:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr(sp.csr_matrix, "toarray", limited)
    return rows, sizes


def test_exhausted_memory_halves_the_chunks(fitted, monkeypatch):
    rows, sizes = exhausted_by(5, monkeypatch)
    np.testing.assert_allclose(fitted.transform(rows), fitted.transform(X), rtol=1e-6)
    assert max(sizes[-3:]) <= 5
    assert sum(size for size in sizes if size <= 5) == len(X)


def test_exhausted_memory_is_an_error_in_the_end(fitted, monkeypatch):
    rows, _ = exhausted_by(0, monkeypatch)
    with pytest.raises(MemoryError, match="set device='cpu'"):
        fitted.transform(rows)


def test_wrong_data_for_the_other_methods(fitted):
    for name in ("reconstruct", "gibbs"):
        with pytest.raises(ValueError, match="NaN"):
            getattr(fitted, name)(NAN)
    for name in (*METHODS, "gibbs", "score"):
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
