import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder

from skrbm import BernoulliRBMTorch
from skrbm.datasets import load_digits
from skrbm.onnx import register, to_onnx

X, y = load_digits().data[:300], load_digits().target[:300]
CLOSE = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def skl2onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("skl2onnx")


@pytest.fixture(scope="module")
def rbm():
    model = BernoulliRBMTorch(20, n_iter=5, random_state=0).fit(X)
    model.components_ = model.components_ * 30  # as decided as after long training
    return model


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(
        FunctionTransformer(), BernoulliRBMTorch(20, n_iter=5, random_state=0), LogisticRegression(max_iter=1000)
    ).fit(X, y)


def run(model, X):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip((out.name for out in session.get_outputs()), session.run(None, {"X": X}), strict=True))


@pytest.mark.parametrize("dtype", CLOSE)
def test_features(rbm, dtype):
    rows = X.astype(dtype)
    (found,) = run(to_onnx(rbm, dtype=dtype), rows).values()
    assert found.dtype == dtype
    assert found.std() > 0.2
    np.testing.assert_allclose(found, rbm.transform(rows), rtol=0, atol=CLOSE[dtype])


@pytest.mark.parametrize("dtype", CLOSE)
def test_a_pipeline(pipeline, dtype):
    rows = X.astype(dtype)
    found = run(to_onnx(pipeline, dtype=dtype), rows)
    assert found["probabilities"].dtype == dtype
    np.testing.assert_allclose(found["probabilities"], pipeline.predict_proba(rows), rtol=0, atol=CLOSE[dtype])
    np.testing.assert_array_equal(found["label"], pipeline.predict(rows))


@pytest.mark.parametrize("dtype", CLOSE)
def test_by_skl2onnx_itself(rbm, pipeline, skl2onnx, dtype):
    register()
    register()  # once more does no harm
    rows = X.astype(dtype)
    (found,) = run(skl2onnx.to_onnx(rbm, rows[:1]), rows).values()
    np.testing.assert_allclose(found, rbm.transform(rows), rtol=0, atol=CLOSE[dtype])
    found = run(skl2onnx.to_onnx(pipeline, rows[:1], options={"zipmap": False}), rows)
    np.testing.assert_allclose(found["probabilities"], pipeline.predict_proba(rows), rtol=0, atol=CLOSE[dtype])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_zeros_and_ones(rbm, skl2onnx, dtype):
    register()
    rows = (X > 0.5).astype(dtype)
    (found,) = run(skl2onnx.to_onnx(rbm, rows[:1]), rows).values()
    np.testing.assert_allclose(found, rbm.transform(rows), rtol=0, atol=1e-5)


def test_two_machines_after_a_scaler():
    machines = (BernoulliRBMTorch(n, n_iter=2, random_state=0) for n in (12, 8))
    stack = make_pipeline(MinMaxScaler(clip=True), *machines).fit(X)
    (found,) = run(to_onnx(stack), X).values()
    np.testing.assert_allclose(found, stack.transform(X), rtol=0, atol=1e-5)


def test_the_file_and_the_names(tmp_path):
    import onnx

    frame = pd.DataFrame(X[:, :3], columns=["a", "ç", "c d"])
    model = to_onnx(BernoulliRBMTorch(2, n_iter=1).fit(frame), tmp_path / "rbm.onnx")
    loaded = onnx.load(tmp_path / "rbm.onnx")
    assert loaded == model
    assert {p.key: p.value for p in loaded.metadata_props} == {"feature_names": '["a", "\\u00e7", "c d"]'}
    onnx.checker.check_model(loaded, full_check=True)


def test_columns_by_name(skl2onnx):
    """What the message recommends works."""
    import onnxruntime

    frame = pd.DataFrame(
        {"color": ["red", "blue", "red", "green"] * 5, "is_big": np.eye(20, 4, dtype=np.float32)[:, 1]}
    )
    one_hot = ColumnTransformer([("one", OneHotEncoder(sparse_output=False), ["color"])], remainder="passthrough")
    model = make_pipeline(one_hot, BernoulliRBMTorch(3, n_iter=2, random_state=0)).fit(frame)
    with pytest.raises(ValueError, match=r"takes columns by name.*register\(\), then skl2onnx.to_onnx\(model, frame"):
        to_onnx(model)
    register()
    session = onnxruntime.InferenceSession(
        skl2onnx.to_onnx(model, frame[:1]).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {name: frame[[name]].to_numpy() for name in frame})
    np.testing.assert_allclose(found, model.transform(frame), rtol=0, atol=1e-5)


def test_other_errors_of_skl2onnx_stay(rbm, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr("skl2onnx.to_onnx", fail)
    with pytest.raises(RuntimeError, match="something else"):
        to_onnx(rbm)


def test_errors(rbm, skl2onnx, tmp_path):
    with pytest.raises(NotFittedError):
        to_onnx(BernoulliRBMTorch())
    with pytest.raises(ValueError, match="dtype='float16' is not known"):
        to_onnx(rbm, dtype="float16")
    with pytest.raises(FileNotFoundError, match="Make it first"):
        to_onnx(rbm, tmp_path / "nothing" / "rbm.onnx")
    with pytest.raises(ValueError, match="The input has 5 columns, but the machine was fitted with 64 features"):
        skl2onnx.to_onnx(rbm, np.zeros((1, 5), np.float32))


def test_without_the_package(rbm, monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    for call in (register, partial(to_onnx, rbm)):
        with pytest.raises(ImportError, match=r"skrbm\[onnx\]"):
            call()
