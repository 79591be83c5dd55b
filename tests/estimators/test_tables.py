"""Columns of tables: what kind each is, as numbers and back, for frames of pandas and Polars and for arrays."""

import datetime

import numpy as np
import pandas as pd
import pytest

from skrbm.estimators.tables import Column, as_table, columns_of, frame_kind, learn_columns, numbers_of

N = 40
RNG = np.random.default_rng(0)


def cycle(*values):
    """A column of N values, these in turn."""
    return [values[i % len(values)] for i in range(N)]


# -- the rule: columns, and the kind that each is ----------------------------------------------------------------------

FRAMES = {
    "floats": (pd.Series(RNG.normal(size=N)), "gaussian"),
    "narrow floats": (pd.Series(RNG.normal(size=N).astype(np.float32)), "gaussian"),
    "floats that are whole": (pd.Series(np.arange(N, dtype=float) % 7), "gaussian"),
    "floats of two values": (pd.Series(cycle(0.5, 2.5)), "binary"),
    "zeros and ones": (pd.Series(cycle(0, 1)), "binary"),
    "zeros and ones as floats": (pd.Series(cycle(0.0, 1.0)), "binary"),
    "truth values": (pd.Series(cycle(True, False)), "binary"),
    "truth values, all the same": (pd.Series(cycle(True)), "binary"),
    "signs": (pd.Series(cycle(-1, 1)), "binary"),
    "few whole numbers": (pd.Series(np.arange(N) % 5), "categorical"),
    "ten whole numbers": (pd.Series(np.arange(N) % 10), "categorical"),
    "eleven whole numbers": (pd.Series(np.arange(N) % 11), "gaussian"),
    "many whole numbers": (pd.Series(RNG.permutation(1000)[:N]), "gaussian"),
    "bytes": (pd.Series(np.arange(N, dtype=np.uint8)), "gaussian"),
    "nullable integers": (pd.Series(cycle(1, 2, None, 3), dtype="Int64"), "categorical"),
    "nullable truth values": (pd.Series(cycle(True, None, False), dtype="boolean"), "binary"),
    "text": (pd.Series(cycle("red", "green", "blue")), "categorical"),
    "text of two values": (pd.Series(cycle("yes", "no")), "binary"),
    "text as objects": (pd.Series(cycle("red", "green", None, "blue"), dtype=object), "categorical"),
    "categories": (pd.Series(pd.Categorical(cycle("b", "a", "c"), ["c", "b", "a"])), "categorical"),
    "ordered categories": (pd.Series(pd.Categorical(cycle(3, 1, 2), [1, 2, 3], ordered=True)), "categorical"),
    "numbers as objects": (pd.Series(list(range(N)), dtype=object), "gaussian"),
    "floats with gaps": (pd.Series(cycle(0.1, np.nan, 0.7, 3.5)), "gaussian"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_the_kind_of_a_column(name):
    values, kind = FRAMES[name]
    (column,) = learn_columns(pd.DataFrame({"a": values}))
    assert (column.name, column.kind, column.dtype) == ("a", kind, str(values.dtype))


@pytest.mark.parametrize("name", FRAMES)
def test_there_and_back(name):
    """Values, gaps, dtype and names."""
    frame = pd.DataFrame({"a": FRAMES[name][0], "b": RNG.normal(size=N)})
    columns = learn_columns(frame)
    numbers = numbers_of(frame, columns)
    assert (numbers.dtype, numbers.shape) == (np.float64, (N, 2))
    assert (np.isnan(numbers[:, 0]) == frame["a"].isna()).all()
    back = as_table(numbers, columns, "pandas")
    pd.testing.assert_frame_equal(back.astype(object), frame.astype(object), check_dtype=False)
    whole = frame["a"].notna().all()
    if whole:
        assert back["a"].dtype == frame["a"].dtype or name == "ordered categories"


def test_codes_are_in_the_order_of_categories():
    values, _ = FRAMES["categories"]
    (column,) = learn_columns(pd.DataFrame({"a": values}))
    assert list(column.labels) == ["c", "b", "a"]
    assert column.numbers_of(pd.Series(["a", "c"])).tolist() == [2, 0]


def test_categories_that_no_row_has_are_kept():
    values = pd.Series(pd.Categorical(cycle("a", "b"), ["a", "b", "never"]))
    (column,) = learn_columns(pd.DataFrame({"a": values}))
    assert (column.kind, column.width) == ("categorical", 3)


def test_equal_values_are_the_same_label_whatever_their_type():
    (column,) = learn_columns(np.array(cycle(1, 2, 3))[:, None])
    for values in ([3, 1], [3.0, 1.0], np.array([3, 1], np.int8), np.array([3.0, 1.0], object)):
        assert column.numbers_of(values).tolist() == [2, 0]


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_arrays_have_columns_by_number():
    X = np.column_stack((RNG.normal(size=N), np.arange(N) % 2))
    columns = learn_columns(X)
    assert [(column.name, column.kind) for column in columns] == [("x0", "gaussian"), ("x1", "binary")]
    assert np.array_equal(as_table(numbers_of(X, columns), columns, None), X)


def test_arrays_of_text():
    X = np.array([cycle("a", "b", "c"), cycle("x", "y")]).T
    columns = learn_columns(X, "categorical")
    back = as_table(numbers_of(X, columns), columns, None)
    assert back.dtype == object
    assert (back == X).all()


def test_arrays_of_objects_of_every_kind():
    X = np.empty((N, 3), object)
    X[:, 0], X[:, 1], X[:, 2] = RNG.normal(size=N), cycle("a", "b", None, "c"), cycle(True, False)
    columns = learn_columns(X)
    assert [column.kind for column in columns] == ["gaussian", "categorical", "binary"]
    back = as_table(numbers_of(X, columns), columns, None)
    assert [row[1] for row in back[:3]] == ["a", "b", None]


# -- Polars ------------------------------------------------------------------------------------------------------------


def test_polars_there_and_back():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "x": RNG.normal(size=N),
            "n": list(range(N)),
            "k": cycle(1, 2, 3),
            "b": cycle(True, False),
            "s": cycle("a", "b", None, "c"),
            "c": pl.Series(cycle("u", "v", "w"), dtype=pl.Categorical),
            "e": pl.Series(cycle("p", "q", "r"), dtype=pl.Enum(["r", "q", "p"])),
        }
    )
    columns = learn_columns(frame)
    assert [column.kind for column in columns] == [
        "gaussian",
        "gaussian",
        "categorical",
        "binary",
        "categorical",
        "categorical",
        "categorical",
    ]
    assert frame_kind(frame) == "polars"
    back = as_table(numbers_of(frame, columns), columns, "polars")
    assert back.schema == frame.schema
    assert back.rows() == frame.rows()


# -- as asked ----------------------------------------------------------------------------------------------------------


def test_kinds_that_are_given():
    frame = pd.DataFrame({"a": np.arange(N) % 5, "b": np.arange(N) % 5, "c": cycle("x", "y", "z")})
    columns = learn_columns(frame, {"gaussian": ["a"], "categorical": [1]})
    assert [column.kind for column in columns] == ["gaussian", "categorical", "categorical"]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"numbers": ["a"]}, "has the key 'numbers'"),
        ({"gaussian": ["z"]}, "names 'z', which X doesn't have"),
        ({"gaussian": [7]}, "names 7, which X doesn't have"),
        ({"gaussian": ["a"], "binary": ["a"]}, "names 'a' more than once"),
        ({"gaussian": ["c"]}, "Column 'c' is Gaussian, but has values that are no numbers"),
        ({"binary": ["a"]}, "Column 'a' is to be binary, but has 5 different values"),
    ],
)
def test_kinds_that_cant_be(kinds, message):
    frame = pd.DataFrame({"a": np.arange(N) % 5, "c": cycle("x", "y", "z")})
    with pytest.raises(ValueError, match=message):
        learn_columns(frame, kinds)


def test_labels_that_are_given():
    X = np.array(cycle("a", "b"))[:, None]
    (column,) = learn_columns(X, "categorical", [["b", "a", "c"]])
    assert list(column.labels) == ["b", "a", "c"]
    with pytest.raises(ValueError, match="categories has entries for 2 columns, but X has 1"):
        learn_columns(X, "categorical", [["a"], ["b"]])


def test_columns_that_cant_be():
    with pytest.raises(ValueError, match="more than one column called 'a'"):
        learn_columns(pd.DataFrame(RNG.normal(size=(5, 2)), columns=["a", "a"]))
    with pytest.raises(ValueError, match="Column 'a' has no values at all"):
        learn_columns(pd.DataFrame({"a": [np.nan] * 5}))
    with pytest.raises(ValueError, match="not supported"):
        learn_columns(pd.DataFrame({"a": [datetime.datetime(2026, 1, i + 1) for i in range(20)]}))
    with pytest.raises(ValueError, match="infinity"):
        learn_columns(pd.DataFrame({"a": [1.0, np.inf, 2.0]}))
    with pytest.raises(ValueError, match="3 dimensions"):
        columns_of(np.zeros((2, 2, 2)))


def test_unknown_labels_are_an_error_or_missing():
    (column,) = learn_columns(np.array(cycle("a", "b", "c"))[:, None])
    values = np.array(["a", "d", "b", "e"])
    with pytest.raises(ValueError, match=r"X has unknown values in column 'x0': 'd', 'e'\. Those of fit were 'a', 'b'"):
        column.numbers_of(values)
    assert np.isnan(column.numbers_of(values, "missing")).tolist() == [False, True, False, True]


def test_a_column_of_one_label_gets_another_that_no_row_has():
    for value, other in ((True, False), ("a", "not a"), (3, 4)):
        column = Column.of("a", np.array([value] * 5), "categorical")
        assert set(column.labels.tolist()) == {value, other}


def test_numbers_that_are_off_become_the_nearest_label():
    (column,) = learn_columns(np.array(cycle("a", "b", "c"))[:, None])
    assert list(column.values_of_numbers(np.array([-0.4, 0.6, 1.4, 7.0]))) == ["a", "b", "b", "c"]
    whole = Column.of("n", np.arange(20))
    assert whole.values_of_numbers(np.array([1.4, 2.6])).tolist() == [1, 3]
