"""Data frames that come back for `set_output`, and conditions by the names of features."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch

from skrbm.estimators.frames import names_of
from tests.estimators.small import X, rbm

NAMES = list("abcdefg")
FRAME = pd.DataFrame(X[:6], columns=NAMES, index=list("uvwxyz"))
OF_ROWS = {
    "complete": lambda model, rows: model.complete(rows, n_steps=2, random_state=0),
    "reconstruct": lambda model, rows: model.reconstruct(rows),
    "gibbs": lambda model, rows: model.gibbs(rows, random_state=0),
    "init": lambda model, rows: model.sample(6, 2, init=rows, random_state=0),
    "condition": lambda model, rows: model.sample(6, 2, condition=rows, random_state=0),
}


@pytest.fixture(scope="module")
def named():
    return rbm().fit(pd.DataFrame(X, columns=NAMES))


@pytest.fixture
def framed(named):
    yield named.set_output(transform="pandas")
    named.set_output(transform="default")


@pytest.mark.parametrize("call", OF_ROWS.values(), ids=OF_ROWS)
def test_frames_for_frames(named, call):
    expected = call(named, FRAME)
    assert type(expected) is np.ndarray
    try:
        found = call(named.set_output(transform="pandas"), FRAME)
    finally:
        named.set_output(transform="default")
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, FRAME.index, NAMES))


def test_hidden_states_are_a_frame_of_their_own_names(framed):
    v, h = framed.sample(6, 2, init=FRAME, random_state=0, return_hidden=True)
    pd.testing.assert_frame_equal(v, framed.sample(6, 2, init=FRAME, random_state=0))
    assert h.columns.tolist() == framed.get_feature_names_out().tolist()
    assert h.index.tolist() == list("uvwxyz")
    assert set(np.unique(h)) <= {0.0, 1.0}
    chains = framed.sample(6, 4, thin=2, return_chain=True, return_hidden=True)
    assert [(type(part), part.shape) for part in chains] == [(np.ndarray, (6, 2, 7)), (np.ndarray, (6, 2, 4))]


def test_gaps_of_a_frame_are_filled_in_a_frame(framed):
    gaps = FRAME.copy()
    gaps.loc["v", "c"] = np.nan
    found = framed.complete(gaps, n_steps=5)
    assert found.index.tolist() == list("uvwxyz")
    assert 0 <= found.loc["v", "c"] <= 1
    pd.testing.assert_frame_equal(found.drop(index="v"), FRAME.drop(index="v"))


def test_there_and_back(framed):
    found = framed.inverse_transform(framed.transform(FRAME))
    pd.testing.assert_frame_equal(found, framed.reconstruct(FRAME))
    assert found.columns.tolist() == NAMES


def test_what_has_no_index_gets_numbers(framed):
    assert framed.sample(3, 2).index.tolist() == [0, 1, 2]
    assert framed.sample(3, 2, condition=FRAME[:1]).index.tolist() == [0, 1, 2]  # one row for all
    assert framed.sample(3, 2, condition=FRAME.loc["v"]).index.tolist() == [0, 1, 2]  # whose index are names
    assert framed.sample(1, 2, condition=FRAME[1:2]).index.tolist() == ["v"]


def test_a_model_without_names_has_those_of_scikit_learn(fitted):
    with sklearn.config_context(transform_output="pandas"):
        found = fitted.reconstruct(X)
    assert found.columns.tolist() == [f"x{i}" for i in range(7)] == names_of(fitted)
    np.testing.assert_array_equal(found, fitted.reconstruct(X))


def test_polars_is_asked_for_a_frame_of_these_names(named, monkeypatch):
    made = []

    def data_frame(*args, **kwargs):
        made.append((args, kwargs))
        return "a frame"

    monkeypatch.setitem(sys.modules, "polars", types.SimpleNamespace(DataFrame=type("DataFrame", (), {})))
    monkeypatch.setattr(sys.modules["polars"].DataFrame, "__new__", lambda cls, *args, **kw: data_frame(*args, **kw))
    try:
        assert named.set_output(transform="polars").sample(3, 2, random_state=0) == "a frame"
    finally:
        named.set_output(transform="default")
    ((rows,), settings) = made[0]
    np.testing.assert_array_equal(rows, named.sample(3, 2, random_state=0))
    assert settings == {"schema": NAMES, "orient": "row"}


# -- conditions by name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        {"b": 1, "f": 0},
        {"b": np.float32(1), "f": False, "a": np.nan},
        {"b": torch.tensor(1.0), "f": np.array(0)},
        pd.Series({"f": 0, "b": 1}),
        pd.Series({"f": 0.0, "b": 1.0, "g": np.nan}),
    ],
)
def test_a_condition_by_names_is_one_by_places(named, condition):
    by_place = pd.DataFrame([[np.nan, 1, np.nan, np.nan, np.nan, 0, np.nan]], columns=NAMES)
    found = named.sample(20, 5, condition=condition, random_state=0)  # without a warning on missing names
    np.testing.assert_array_equal(found, named.sample(20, 5, condition=by_place, random_state=0))
    assert (found[:, 1] == 1).all()
    assert (found[:, 5] == 0).all()
    assert len(np.unique(found, axis=0)) > 1


def test_a_condition_on_features_without_names(fitted):
    assert (fitted.sample(5, 3, condition={"x2": 1})[:, 2] == 1).all()
    row = np.array([np.nan] * 6 + [1.0])
    for by_place in (row, pd.Series(row), pd.Series(row, index=np.arange(7) + 40)):
        np.testing.assert_array_equal(
            fitted.sample(5, 3, condition=by_place, random_state=0),
            fitted.sample(5, 3, condition={"x6": 1}, random_state=0),
        )
    free = fitted.sample(5, 3, condition={}, random_state=0)
    np.testing.assert_array_equal(free, fitted.sample(5, 3, condition=row * np.nan, random_state=0))


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ({"z": 1}, ValueError, "unknown name 'z'. The model knows the names 'a', 'b', 'c', 'd', 'e' and 2 more"),
        ({"a": 1, "z": 1, 3: 0}, ValueError, "unknown names 'z', 3"),
        (pd.Series({"a": 1, "z": 0}), ValueError, "unknown name 'z'"),
        (pd.Series([0, 1], index=["a", "a"]), ValueError, "a name more than once"),
        ({"a": "1"}, TypeError, r"condition\['a'\] must be a number, got str"),
        ({"a": None}, TypeError, r"condition\['a'\] must be a number, got NoneType. Leave out what is free"),
        ({"a": [0, 1]}, TypeError, r"condition\['a'\] must be a number, got list"),
        ({"a": 7}, ValueError, "condition has values from 7 to 7, but"),
        ({"a": np.inf}, ValueError, "condition has values from inf to inf"),
    ],
)
def test_conditions_that_say_nothing(named, condition, error, message):
    with pytest.raises(error, match=message):
        named.sample(2, 2, condition=condition)
