import math
import re
import sys

import numpy as np
import pytest

from skrbm.commands.table_files import Rows, read_rows, write_rows

VALUES = np.array([[0.0, 1.0, 0.25], [1.0, math.nan, 0.0], [math.nan, 1.0, 1.0]])
COLUMNS = list(VALUES.T)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_what_is_written_is_read(tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"rows{ending}"
    write_rows(path, Rows(["a", 'with "quotes", and a comma', "ü"], COLUMNS))
    rows = read_rows(path)
    assert rows.names == ["a", 'with "quotes", and a comma', "ü"]
    np.testing.assert_array_equal(rows.bits(), VALUES)


def test_cells_are_written_as_people_write_them(tmp_path):
    write_rows(tmp_path / "a.csv", Rows(["a", "b", "c"], COLUMNS))
    assert (tmp_path / "a.csv").read_text() == "a,b,c\n0,1,0.25\n1,,0\n,1,1\n"


def test_all_decimals_come_back(tmp_path):
    values = np.random.default_rng(0).random((5, 3)).round(12)
    write_rows(tmp_path / "a.csv", Rows(["a", "b", "c"], list(values.T)))
    np.testing.assert_array_equal(read_rows(tmp_path / "a.csv").bits(), values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n0,1\n", [[0, 1]]),
        ("a;b\n0;1\n", [[0, 1]]),
        ("a;b,c\n0,1\n", [[0, 1]]),  # one name has a semicolon
        ("\ufeffa,b\r\n0,1\r\n", [[0, 1]]),  # as spreadsheets write it
        ("a,b\n\n0,1\n\n", [[0, 1]]),
        ("a,b\nTrue, false\n1.0,0e0\n", [[1, 0], [1, 0]]),
        ("a,b\n,NA\nnan,?\nNone,null\n 0.5 ,1", [[np.nan] * 2] * 3 + [[0.5, 1]]),
        ('"a","b"\n"0","1"\n', [[0, 1]]),
    ],
)
def test_ways_to_write_a_table(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    rows = read_rows(tmp_path / "a.csv")
    assert len(rows.names) == 2
    assert rows.names[0][0] == "a"
    np.testing.assert_array_equal(rows.bits(), expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,b\n0,1\n0,1,1\n", "line 3 has 3 cells, but the header has 2"),
        ("a,b\n0,1\n0,yes\n", "line 3, column 'b': 'yes' is no number"),
        ("a,b\n0,1\n0,7\n5,-1", "line 3, column 'b': 7 is not from 0 to 1 (3 such cells).$"),
        ("a,b\n0,1\n\n0,1\n0,1\n7,1\n", "line 6, column 'a': 7 is not from 0 to 1 (1 such cell).$"),
        ("a,b\n0,inf\n", "line 2, column 'b': inf is not from 0 to 1"),
        ("b,id\n7,1\n0,2\n0,3\n", "line 2, column 'b': 7 is not from 0 to 1 (3 such cells). Leave out columns that"),
        ("id,b\n0,1\n1,0\n2,1\n", "line 4, column 'id': 2 is not .* (1 such cell). Leave out columns that number the"),
        ("n,b\n1,0\n2,1\n2,1\n", "2 such cells).$"),
        ("0,1,1\n0,1,0\n", "more than one column is called '1'. Is the header missing?"),
        (",a\n0,1\n", "column 1 has no name"),
        ("a,b\n0,1\n\0", "line 3 has 1 cells"),
    ],
)
def test_what_is_no_table_of_bits(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=re.sub(r"[?()]", r"[\g<0>]", words)):
        read_rows(tmp_path / "a.csv").bits()


def test_another_encoding(tmp_path):
    (tmp_path / "a.csv").write_bytes("ü,b\n0,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="no text in UTF-8"):
        read_rows(tmp_path / "a.csv")


def test_kinds_of_parquet_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"flag": [True, None, False], "n": pyarrow.array([0, 1, 1], "int8"), "x": [0.5, 1.0, None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet")
    assert rows.names == ["flag", "n", "x"]
    np.testing.assert_array_equal(rows.bits(), [[1, 0, 0.5], [np.nan, 1, 1], [0, 1, np.nan]])
    parquet.write_table(pyarrow.table({"a": [0, 1, 7]}), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"^row 3, column 'a': 7 is not from 0 to 1"):
        read_rows(tmp_path / "d.parquet").bits()
    parquet.write_table(pyarrow.table({"name": ["Ann"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"^row 1, column 'name': 'Ann' is no number"):
        read_rows(tmp_path / "b.parquet").numbers()
    (tmp_path / "c.parquet").write_text("a,b\n0,1\n")
    with pytest.raises(ValueError, match="Parquet"):
        read_rows(tmp_path / "c.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "skrbm\[parquet\]"'):
        read_rows(tmp_path / "a.parquet")


def test_pandas_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for ending in (".csv", ".parquet") if "pyarrow" in sys.modules else (".csv",):
        write_rows(tmp_path / f"a{ending}", Rows(["a", "b", "c"], COLUMNS))
        np.testing.assert_array_equal(read_rows(tmp_path / f"a{ending}").bits(), VALUES)


def test_columns_in_another_order():
    rows = Rows(["a", "b", "c"], COLUMNS)
    turned = rows.in_order_of(["c", "a", "b"])
    assert turned.names == ["c", "a", "b"]
    np.testing.assert_array_equal(turned.bits(), VALUES[:, [2, 0, 1]])
    np.testing.assert_array_equal(turned.in_order_of(rows.names).bits(), VALUES)
    with pytest.raises(ValueError, match="it lacks 'd'; too many are 'a', 'c'"):
        rows.in_order_of(["b", "d"])


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        (["0", "1", "7"], "int64", [0, 1, 7]),
        (["-1", "+2"], "int64", [-1, 2]),
        (["1", "2.0"], "float64", [1.0, 2.0]),
        (["1e3", ".5"], "float64", [1000.0, 0.5]),
        (["1", "NA"], "float64", [1.0, math.nan]),
        (["1", "9" * 30], "float64", [1.0, 1e30]),
        (["TRUE", "false"], "bool", [True, False]),
        (["true", ""], "object", [True, None]),
        (["true", "1"], "bool", [True, True]),
        (["true", "2"], "object", ["true", "2"]),
        (["Ulm", " 3", "?"], "object", ["Ulm", "3", None]),
        (["01234", "90210"], "object", ["01234", "90210"]),  # as numbers they would lose a zero
        (["1_000", "2"], "object", ["1_000", "2"]),
        (["", "NA"], "float64", [math.nan, math.nan]),
        (["1,5", "2"], "float64", [1.5, 2.0]),
        (["Ulm, 1,5", "1,5"], "object", ["Ulm, 1,5", "1,5"]),
    ],
)
def test_what_columns_are(tmp_path, cells, dtype, expected):
    (tmp_path / "a.csv").write_text("x;y\n" + "".join(f"{cell};0\n" for cell in cells))
    column = read_rows(tmp_path / "a.csv").columns[0]
    assert column.dtype == dtype
    np.testing.assert_array_equal(column, expected)


def test_decimal_commas_only_between_semicolons(tmp_path):
    (tmp_path / "a.csv").write_text('x,y\n"1,500",0\n')
    assert read_rows(tmp_path / "a.csv").columns[0].tolist() == ["1,500"]


@pytest.mark.parametrize("which", ["code", 1])
def test_columns_of_text_by_name_or_number(tmp_path, which):
    (tmp_path / "a.csv").write_text("x,code\n1,1.50\n2,\n")
    x, code = read_rows(tmp_path / "a.csv", texts=[which]).columns
    assert (x.tolist(), code.tolist()) == ([1, 2], ["1.50", None])


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_columns_of_all_kinds_come_back(tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    text, gaps = np.array(["a,b", None, 'say "x"'], object), np.array([None, True, False], object)
    columns = [np.array([1, -2, 3]), np.array([0.1 + 0.2, 1e-9, 5.0]), np.array([True, False, True]), text, gaps]
    write_rows(tmp_path / f"a{ending}", Rows(list("abcde"), columns))
    found = read_rows(tmp_path / f"a{ending}")
    assert [column.dtype for column in found.columns] == [column.dtype for column in columns]
    for column, expected in zip(found.columns, columns, strict=True):
        np.testing.assert_array_equal(column, expected)
    np.testing.assert_array_equal(found.gaps.nonzero(), [[0, 1], [4, 3]])


def test_categories_and_dates_of_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"town": pyarrow.array(["Ulm", None]).dictionary_encode(), "n": pyarrow.array([1, None])})
    parquet.write_table(table, tmp_path / "a.parquet")
    town, n = read_rows(tmp_path / "a.parquet").columns
    assert town.tolist() == ["Ulm", None]
    np.testing.assert_array_equal(n, [1.0, math.nan])
    parquet.write_table(pyarrow.table({"day": pyarrow.array([0], "date32")}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"column 'day' is not of numbers, text, or true and false \(date32"):
        read_rows(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("text", "are_bits"),
    [
        ("0,1\ntrue,\n", True),
        ("0,1\n1,\n", True),
        ("0,true\n1.0,false\n", True),
        ("0.5,1\n", False),
        ("yes,1\n", False),
    ],
)
def test_zeros_and_ones_are_known(tmp_path, text, are_bits):
    (tmp_path / "a.csv").write_text("a,b\n" + text)
    assert read_rows(tmp_path / "a.csv").are_bits() == are_bits
