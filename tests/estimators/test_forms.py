"""In what form rows go in and come out; `test_tables.py` and `test_frames.py` have more."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from skrbm import BernoulliRBMTorch, CategoricalRBM, GaussianRBM, MixedRBM

X = np.random.default_rng(0).normal(size=(40, 3)).round(1)


@pytest.mark.parametrize("estimator", [CategoricalRBM, MixedRBM])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.empty((0, 3)), "Found array with 0 sample"),
        (np.empty((3, 0)), "Found array with 0 feature"),
        (pd.DataFrame({"a": []}), "Found array with 0 sample"),
        (csr_matrix(np.eye(3)), "Sparse data was passed"),
        (np.ones(3), "Expected 2D array, got 1D array"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "contains infinity"),
        (pd.DataFrame({"a": [None, None, None], "b": [1, 2, 3]}), "Column 'a' has no values at all. Leave it out"),
        (np.array([[1j, 2.0]]), "Complex data not supported"),
    ],
)
def test_tables_that_cant_be(estimator, rows, message):
    with pytest.raises((ValueError, TypeError), match=message):
        estimator(2, n_iter=1).fit(rows)


def test_numbers_come_out_as_set_output_asks():
    for estimator in (BernoulliRBMTorch, GaussianRBM):
        model = estimator(2, n_iter=1, random_state=0).fit(np.abs(X) % 1)
        assert isinstance(model.sample(3, 5), np.ndarray)
        assert list(model.set_output(transform="pandas").sample(3, 5).columns) == ["x0", "x1", "x2"]


def test_tables_come_out_as_they_went_in():
    frame = pd.DataFrame({"a": np.resize(["x", "y", "z"], 60), "b": np.arange(60.0), "c": np.resize([True, False], 60)})
    model = MixedRBM(2, n_iter=2, random_state=0).fit(frame)
    for found in (
        model.sample(5, 5),
        model.reconstruct(frame),
        model.gibbs(frame),
        model.inverse_transform(model.transform(frame)),
    ):
        assert list(found.dtypes) == list(frame.dtypes)
        assert list(found.columns) == list(frame.columns)
    shuffled = frame.sample(frac=1.0, random_state=0)
    assert (model.reconstruct(shuffled).index == shuffled.index).all()


def test_columns_have_to_be_those_of_fit():
    frame = pd.DataFrame({"a": np.resize(["x", "y", "z"], 60), "b": np.arange(60.0)})
    model = MixedRBM(2, n_iter=2, random_state=0).fit(frame)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame[["a"]])


def test_parameters_of_ones_own():
    model = GaussianRBM.from_parameters([[1.0, 2.0]], [0.0, 3.0], [0.0], random_state=0)
    assert (model.location_.tolist(), model.scale_.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert model.sample(2000, 50)[:, 1].mean() == pytest.approx(5.0, abs=0.2)
    model.location_, model.scale_ = np.array([10.0, 0.0]), np.array([1.0, 100.0])
    assert model.sample(2000, 50)[:, 1].mean() == pytest.approx(500.0, abs=20.0)
    with pytest.raises(ValueError, match="fit the machine"):
        MixedRBM.from_parameters([[1.0, 2.0]], [0.0, 3.0], [0.0])


def test_hidden_states_are_a_frame_beside_a_frame():
    frame = pd.DataFrame({"a": np.resize(["x", "y", "z"], 60), "b": np.arange(60.0)})
    v, h = MixedRBM(2, n_iter=2, random_state=0).fit(frame).sample(3, 5, return_hidden=True)
    assert list(h.columns) == ["mixedrbm0", "mixedrbm1"]
    assert len(v) == len(h) == 3
