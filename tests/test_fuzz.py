"""Odd and hostile input: every case ends in a right result, or in a builtin exception that says something.

`SKRBM_FUZZ=5000 pytest tests/test_fuzz.py -n 0 -m "slow or not slow" -s` looks at so many cases a test, with counts.
"""

import gzip
import os
import pickle
import time
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skrbm import BernoulliRBMTorch
from skrbm.datasets import read_idx
from skrbm.support.files import read_archive, write_archive

N_CASES = int(os.environ.get("SKRBM_FUZZ", "0"))
USEFUL = (ValueError, TypeError, MemoryError, FloatingPointError, OverflowError)  # and what is derived from them
DETERMINISTIC = ("transform", "score_samples", "free_energy", "reconstruct")
N_FEATURES = 4
COUNTS: Counter[tuple[str, str]] = Counter()


def cases(n):
    """So many examples, or as many as the environment asks for; no limit of time for one."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=N_CASES or n, deadline=None, suppress_health_check=checks, derandomize=not N_CASES)


@pytest.fixture(scope="module", autouse=True)
def report():
    began = time.perf_counter()
    yield
    if N_CASES:
        for (what, outcome), n in sorted(COUNTS.items()):
            print(f"{what:<14} {outcome:<22} {n:>7}")
        print(f"{sum(COUNTS.values())} cases in {time.perf_counter() - began:.0f} s")


RBM = BernoulliRBMTorch(n_hidden=3, n_iter=2, random_state=0).fit((np.arange(40).reshape(10, 4) % 3 == 0) * 1.0)

VALUES = {
    "probabilities": st.floats(0, 1),
    "bits": st.sampled_from([0.0, 1.0]),
    "tiny": st.sampled_from([0.0, 5e-324, 1e-310, 1e-40, 1e-8, 1 - 1e-16]),
    "any": st.floats(allow_nan=True, allow_infinity=True),
    "huge": st.sampled_from([1e300, -1e300, 3e38, -3e38, 65504.0, 1e5]),
    "pixels": st.integers(0, 255).map(float),
}
DTYPES = ["?", "u1", "i1", "i8", "u8", "f2", "f4", "f8", ">f4", ">f8", "g", "c16", "O", "U5", "S3", "M8[s]"]


@st.composite
def bases(draw):
    """A plain float64 array; now and then of another shape than the machine's."""
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 7), st.just(N_FEATURES)),
            st.sampled_from([(0, N_FEATURES), (3, 0), (3, 3), (3, 5), (N_FEATURES,), (2, 2, N_FEATURES), (1,), ()]),
        )
    )
    return draw(hnp.arrays(np.float64, shape, elements=draw(st.sampled_from(list(VALUES.values())))))


def strided(X, draw):
    """The same values with other strides."""
    if not X.ndim:
        return X
    way = draw(st.sampled_from(["C", "F", "every second", "backwards", "broadcast"]))
    if way == "F":
        return np.asfortranarray(X)
    if way == "every second":
        return np.repeat(X, 2, axis=0)[::2]
    if way == "backwards":
        return np.ascontiguousarray(X[::-1])[::-1]
    return np.broadcast_to(X, X.shape) if way == "broadcast" else X


def as_sparse(X, draw):
    """CSR with entries that come twice, columns out of order, and stored zeros; or another format."""
    rows, columns = X.nonzero() if draw(st.booleans()) else np.indices(X.shape).reshape(2, -1)
    values = X[rows, columns]
    order = draw(st.permutations(range(len(rows)))) if len(rows) < 40 else range(len(rows))
    order = np.array(list(order) * 2, int)
    halves = sp.coo_matrix((values[order] / 2, (rows[order], columns[order])), shape=X.shape)
    return halves.asformat(draw(st.sampled_from(["csr", "csc", "coo", "lil", "dok", "bsr"])))


def unsorted_csr(X, draw):
    """CSR by hand: each row's columns backwards, and the first entry in two halves."""
    indptr, indices, data = [0], [], []
    for row in X:
        for j in reversed(range(len(row))):
            parts = [row[j] / 2, row[j] / 2] if j == 0 else [row[j]]
            indices += [j] * len(parts)
            data += parts
        indptr.append(len(indices))
    return sp.csr_matrix((np.array(data), np.array(indices, int), np.array(indptr)), shape=X.shape)


@st.composite
def inputs(draw):
    """Something to pass as X, and its values as plain floats where they are numbers."""
    X = draw(bases())
    dtype = draw(st.sampled_from(DTYPES))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            dressed = X.astype(dtype)
            plain = dressed.astype(np.float64)
        except (ValueError, TypeError, OverflowError):
            dressed, plain = X, X
    kind = draw(
        st.sampled_from(
            ["array", "strided", "read-only", "list", "frame", "mixed frame", "sparse", "csr", "tensor", "objects",
             "masked", "iterator", "other"]
        )
    )  # fmt: skip
    two = X.ndim == 2
    if kind == "strided":
        return strided(dressed, draw), plain
    if kind == "read-only":
        dressed.flags.writeable = False
        return dressed, plain
    if kind == "list":
        return dressed.tolist(), plain
    if kind == "frame" and two:
        return pd.DataFrame(dressed), plain
    if kind == "mixed frame" and two and X.shape[1]:
        frame = pd.DataFrame(X)
        frame[frame.columns[0]] = draw(
            st.sampled_from([[True] * len(X), [1] * len(X), ["0.5"] * len(X), [None] * len(X)])
        )
        return frame, frame.to_numpy()
    if kind == "sparse" and two:
        return as_sparse(X, draw), X
    if kind == "csr" and two and X.shape[1]:
        return unsorted_csr(X, draw), X
    if kind == "tensor":
        tensor = torch.from_numpy(X.copy()).to(draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16])))
        plain = tensor.double().numpy()
        return tensor.requires_grad_(draw(st.booleans())), plain
    if kind == "objects":
        return X.astype(object), X
    if kind == "masked":
        return np.ma.masked_greater(X, 0.5), None
    if kind == "iterator":
        return iter([dressed]), None
    if kind == "other":
        return draw(
            st.sampled_from([None, 3, "rows", b"rows", {}, {1, 2}, object(), [[1, 2], [3]], [[]], Ellipsis])
        ), None
    return dressed, plain


def state_of(model):
    return {
        name: pickle.dumps(value) for name, value in vars(model).items() if name not in ("_sampling", "_log_partition")
    }


def outcome(what, call):
    """The result of a call, or None after an exception of a useful kind with something to read in it."""
    found = error = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call()
        except USEFUL as caught:
            error = caught
    COUNTS[what, "result" if error is None else type(error).__name__] += 1
    assert error is None or len(str(error)) > 15, repr(error)
    return found


@cases(300)
@given(inputs(), st.sampled_from(DETERMINISTIC))
def test_methods_of_rows(pair, method):
    X, plain = pair
    before = state_of(RBM)
    found = outcome(method, lambda: getattr(RBM, method)(X))
    assert state_of(RBM) == before
    if found is None:
        return
    assert np.isfinite(found).all()
    if plain is None or plain.dtype.kind not in "f":
        return
    expected = outcome(method, lambda: getattr(RBM, method)(plain))
    assert expected is not None
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3 * max(1.0, float(np.abs(plain).max())))


@cases(200)
@given(inputs(), st.sampled_from(["gibbs", "complete", "inverse_transform", "log_likelihood", "init", "condition"]))
def test_methods_that_draw(pair, method):
    X, _ = pair
    calls = {
        "gibbs": lambda: RBM.gibbs(X, 2),
        "complete": lambda: RBM.complete(X, n_steps=2),
        "inverse_transform": lambda: RBM.inverse_transform(X),
        "log_likelihood": lambda: RBM.log_likelihood(X),
        "init": lambda: RBM.sample(3, 2, init=X),
        "condition": lambda: RBM.sample(3, 2, condition=X),
    }
    before = state_of(RBM)
    found = outcome(method, calls[method])
    assert state_of(RBM) == before
    if found is not None:
        assert np.isfinite(found).all()


@cases(150)
@given(inputs(), st.sampled_from(["fit", "partial_fit", "weights", "early stopping"]))
def test_learning(pair, way):
    X, _ = pair
    model = pickle.loads(pickle.dumps(RBM)).set_params(n_iter=1, early_stopping=way == "early stopping")
    before = state_of(model)
    calls = {
        "fit": lambda: model.fit(X),
        "partial_fit": lambda: model.partial_fit(X),
        "weights": lambda: model.fit(np.ones((5, 4)), sample_weight=X),
        "early stopping": lambda: model.fit(X),
    }
    found = outcome(way, calls[way])
    if found is None:
        assert state_of(model) == before
    else:
        for array in (model.components_, model.intercept_visible_, model.intercept_hidden_, model.h_samples_):
            assert np.isfinite(array).all()
        assert np.isfinite(model.transform(np.eye(model.n_features_in_))).all()


ODD = [
    0,
    -1,
    1,
    3,
    1.5,
    2**40,
    np.int64(2),
    np.float32(0.5),
    True,
    None,
    "x",
    "auto",
    (),
    {},
    np.nan,
    np.inf,
    -np.inf,
    [1],
]
NAMES = sorted(set(BernoulliRBMTorch().get_params()) - {"verbose"})


@cases(200)
@given(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ODD), min_size=1, max_size=3))
def test_parameters(parameters):
    for large in ("n_hidden", "n_chains", "k", "n_iter"):  # which would run for ever, or take all memory
        if parameters.get(large) == 2**40:
            parameters[large] = 2
    if isinstance(parameters.get("checkpoint"), str):
        return
    model = BernoulliRBMTorch(n_hidden=2, n_iter=1, batch_size=3).set_params(**parameters)
    found = outcome("parameters", lambda: model.fit(np.eye(4)))
    assert hasattr(model, "components_") == (found is not None)


def idx_file():
    return b"\0\0\x08\x03\0\0\0\x02\0\0\0\x03\0\0\0\x02" + bytes(range(12))


@st.composite
def mutants(draw, data):
    """The bytes with some of them changed, left out, or put in twice."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        way = draw(st.sampled_from(["flip", "set", "cut", "drop", "insert"]))
        if way == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif way == "set" and data:
            data[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif way == "cut":
            del data[place:]
        elif way == "drop":
            del data[place : place + draw(st.integers(1, 8))]
        else:
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@cases(300)
@given(st.one_of(mutants(idx_file()), mutants(gzip.compress(idx_file(), mtime=0))))
def test_idx_files(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    found = outcome("read_idx", lambda: read_idx(path))
    if found is not None:
        assert found.size <= 100


CHECKPOINT = {"a": np.arange(5.0), "b": [torch.ones(3), (1, "text", None)], "c": {"d": 0.5}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint"
    write_archive(path, CHECKPOINT)
    return path.read_bytes()


@cases(150)
@given(st.data())
def test_checkpoints(checkpoint, tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data.draw(mutants(checkpoint)))
    found = outcome("checkpoint", lambda: read_archive(path))
    if found is not None:  # nothing that matters was changed
        np.testing.assert_array_equal(found["a"], CHECKPOINT["a"])
        assert torch.equal(found["b"][0], CHECKPOINT["b"][0])
        assert found["c"] == CHECKPOINT["c"]
