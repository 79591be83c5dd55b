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
