import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from skrbm.support.tables import Table, as_text


def test_tables_print_and_turn_into_frames():
    table = Table(name=np.array(["a", "bcd"]), value=np.array([1.23456, np.nan]), count=np.array([3, 12]))
    assert repr(table) == "name  value  count\na      1.23      3\nbcd       -     12"
    assert repr(Table()) == "Table()"
    frame = pd.DataFrame(table)
    assert frame.shape == (2, 3)
    with pytest.raises(KeyError):
        table["other"]


def test_text():
    rows = [("name", "n"), ("a", "1"), ("long name", "100")]
    assert as_text(rows, (True, False)) == "name         n\na            1\nlong name  100"
    assert as_text(rows, (False, True), rule=True).split("\n")[:3] == ["     name  n", "---------  ---", "        a  1"]


def test_tables_in_notebooks_are_escaped():
    table = Table({"<a>": np.array(["x&y", "z"]), "value": np.array([1.23456, np.nan])})
    table.note = "one < two\nthree"
    left, right = (f' style="text-align: {side}"' for side in ("left", "right"))
    assert table._repr_html_() == (
        f"<table>\n<tr><th{left}>&lt;a&gt;</th><th{right}>value</th></tr>\n"
        f"<tr><td{left}>x&amp;y</td><td{right}>1.23</td></tr>\n<tr><td{left}>z</td><td{right}>-</td></tr>\n</table>"
        "\n<p>one &lt; two<br/>three</p>"
    )
    ElementTree.fromstring(f"<div>{table._repr_html_()}</div>")
    assert Table()._repr_html_() == "<table>\n\n</table>"


def test_tables_as_frames(monkeypatch):
    table = Table(name=np.array(["a", "b"]), value=np.array([1.5, np.inf]))
    pd.testing.assert_frame_equal(table.to_frame(), pd.DataFrame({"name": ["a", "b"], "value": [1.5, np.inf]}))
    assert table.to_frame().attrs == {}
    table.note = "well"
    assert table.to_frame().attrs == {"note": "well"}
    assert list(table) == ["name", "value"]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^A data frame needs pandas. Install it with: pip install pandas$"):
        table.to_frame()
