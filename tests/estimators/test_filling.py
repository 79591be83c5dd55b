"""Tables with gaps, cell by cell: where they are, and what becomes of the columns."""

import numpy as np
import pandas as pd
import pytest

from skrbm.estimators.filling import dtypes_of, filled_table, gaps_of, only_value, with_columns, with_new_columns

TABLE = pd.DataFrame(
    {
        "float": [1.5, np.nan, 3.0],
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "flag": pd.array([True, None, False], dtype="boolean"),
        "text": pd.Series(["a", None, "b"], dtype="str"),
        "label": pd.Categorical(["u", None, "v"], ordered=True),
        "object": pd.Series([1, None, "x"], dtype=object),
        "full": [7, 8, 9],
    }
)
FILLS = {0: [0.1], 1: [2.0], 2: [True], 3: ["c"], 4: ["u"], 5: ["y"]}
EVERY = np.arange(7)


def filled(table, fills, dtypes=None, places=EVERY):
    arrays = {place: np.array(values) for place, values in fills.items()}
    return filled_table(table, places, gaps_of(table), arrays, dtypes or dtypes_of(table))


def test_gaps_of_every_kind():
    expected = np.array([[False] * 7, [True] * 6 + [False], [False] * 7])
    np.testing.assert_array_equal(gaps_of(TABLE), expected)
    np.testing.assert_array_equal(gaps_of(TABLE.to_numpy(object)), expected)
    pl = pytest.importorskip("polars")
    np.testing.assert_array_equal(gaps_of(pl.DataFrame({"a": [1, None], "b": ["x", None]})), [[False] * 2, [True] * 2])
    assert not gaps_of(np.eye(2, dtype=int)).any()


def test_columns_are_filled_and_keep_their_types():
    found = filled(TABLE, FILLS)
    assert list(found.dtypes) == list(TABLE.dtypes)
    assert found.iloc[1].tolist() == [0.1, 2, True, "c", "u", "y", 8]
    pd.testing.assert_frame_equal(found.iloc[[0, 2]], TABLE.iloc[[0, 2]])
    some = filled(TABLE, FILLS, places=np.array([1, 6]))
    assert list(some) == ["whole", "full"]


@pytest.mark.parametrize(
    ("name", "fill", "learned", "expected"),
    [
        ("float", 2.0, "int64", "float64"),  # 1.5 is observed
        ("whole", 2.0, "int64", "int64"),
        ("whole", 2.5, "float64", "float64"),
        ("whole", 2.5, "Int64", "Float64"),  # which is broken
        ("flag", True, "bool", "bool"),
        ("text", "c", "object", "object"),
        ("object", "c", "int64", "object"),
    ],
)
def test_types_that_were_learned_are_taken_where_no_value_changes(name, fill, learned, expected):
    column = TABLE[[name]]
    found = filled(column, {0: [fill]}, [learned], np.arange(1))[name]
    assert str(found.dtype) == expected
    assert found[1] == fill
    assert found[0] == column[name][0]


def test_an_index_stays():
    table = TABLE.set_axis(list("xyz"))
    assert list(filled(table, FILLS).index) == list("xyz")


def test_labels_that_categories_lack_become_categories():
    found = filled(TABLE[["label"]], {0: ["missing"]}, ["category"], np.arange(1))["label"]
    assert list(found.cat.categories) == ["u", "v", "missing"]
    assert found.cat.ordered


def test_arrays_of_numbers_are_such_of_floats():
    X = np.array([[1.0, np.nan], [0.5, 3.0]], np.float32)
    found = filled(X, {1: [2.0]}, ["float32"] * 2, np.arange(2))
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 2.0], [0.5, 3.0]]
    assert np.isnan(X[0, 1])
    assert filled(np.eye(2, dtype=int), {}, ["int64"] * 2, np.arange(2)).dtype == np.float64
    objects = np.array([[1, None], [2, 3]], object)
    assert filled(objects, {1: [2.5]}, ["object"] * 2, np.arange(2)).dtype == np.float64
    text = np.array([["a", None], ["b", 3]], object)
    assert filled(text, {1: [2.5]}, ["object"] * 2, np.arange(2)).tolist() == [["a", 2.5], ["b", 3]]


def test_frames_of_polars():
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"whole": [1, None], "text": ["a", None], "nothing": [None, None]})
    fills = {0: [2.0], 1: ["b"], 2: ["c", "d"]}
    found = filled(table, fills, ["Int64", "String", "String"], np.arange(3))
    assert found.to_dict(as_series=False) == {"whole": [1, 2], "text": ["a", "b"], "nothing": ["c", "d"]}
    assert found.schema == {"whole": pl.Int64, "text": pl.String, "nothing": pl.String}
    broken = filled(table[:, :1], {0: [2.5]}, ["Int64"], np.arange(1))
    assert broken["whole"].to_list() == [1.0, 2.5]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, np.nan, 1.0], 1.0),
        (["a", None], "a"),
        ([1.0, 2.0], None),
        ([np.nan, np.nan], 0),
        (pd.array([None, None], dtype="boolean"), False),
        (pd.Series([None, None], dtype="str"), "missing"),
    ],
)
def test_the_only_value_of_a_column(values, expected):
    found = only_value(pd.Series(values))
    assert found == expected
    assert type(found) is type(expected)


def test_columns_by_number_and_new_ones():
    assert list(with_columns(TABLE, np.array([6, 0]))) == ["full", "float"]
    assert with_columns(np.eye(3), np.array([1])).shape == (3, 1)
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"a": [1], "b": [2]})
    assert with_columns(table, np.array([1])).columns == ["b"]
    assert with_new_columns(table, {"c": np.array([True])}).columns == ["a", "b", "c"]
    assert list(with_new_columns(TABLE[["full"]], {"new": np.ones(3)})) == ["full", "new"]
