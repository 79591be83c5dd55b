"""What all sources of rows share."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from torch.utils.data import DataLoader, TensorDataset

from skrbm.rows import ArrayRows, binarize_rows, yields_batches
from skrbm.rows.source import named, rows_of_batch
from skrbm.support.randomness import Stream

ROWS = np.eye(3)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (ROWS, False),
        (ROWS.tolist(), False),
        (list(ROWS), False),  # an array for each row
        (list(torch.eye(3)), False),
        (tuple(map(tuple, ROWS)), False),
        (pd.DataFrame(ROWS), False),
        (sp.csr_array(ROWS), False),
        ((ROWS, np.arange(3)), False),  # rows and labels: none of the two
        ([], False),
        ([[]], False),
        ({"a": ROWS}, False),
        ([{"a": 1.0}], False),  # records
        ([ROWS], True),
        ((ROWS, ROWS), True),
        ([pd.DataFrame(ROWS)], True),
        ([sp.csr_array(ROWS)] * 2, True),
        ([(ROWS, np.arange(3))], True),
        ([[torch.eye(3), torch.arange(3)]], True),
        ([{"a": ROWS}], True),  # refused later, by name
        (iter([ROWS]), True),
        (TensorDataset(torch.eye(3)), True),
        (DataLoader(TensorDataset(torch.eye(3))), True),
    ],
)
def test_what_yields_batches(X, expected):
    assert yields_batches(X) is expected


def test_rows_of_a_batch():
    images = torch.arange(24.0).view(2, 1, 3, 4)
    for batch in (images, images.numpy(), images[:, 0], (images, torch.zeros(2)), [images.numpy(), [0, 1]]):
        assert np.asarray(rows_of_batch(batch)).tolist() == images.view(2, 12).tolist()
    for batch in (ROWS, ROWS.tolist(), pd.DataFrame(ROWS)):
        assert rows_of_batch(batch) is batch
    frame = pd.DataFrame(ROWS)
    assert rows_of_batch((frame, [1, 2, 3])) is frame
    assert rows_of_batch(np.empty((0, 2, 2))).shape == (0, 2, 2)  # none: said by who looks at them
    for batch in ({"a": ROWS}, [{"a": 1}, {"a": 2}]):
        with pytest.raises(TypeError, match="A batch of X is a dict with the key 'a'"):
            rows_of_batch(batch)


def test_names_in_words():
    assert named("key", []) == "no keys"
    assert named("key", ["a"]) == "the key 'a'"
    assert named("key", {"a": 1, 2: 3}) == "the keys 'a', 2"
    assert named("unit", "abcdefgh", 3) == "the units 'a', 'b', 'c' and 5 more"


def test_binarize_rows():
    v = torch.tensor([[0.0, 0.2, 0.5, 1.0]])
    assert binarize_rows(v, "none", Stream(0)) is v
    assert binarize_rows(v, 0.2, Stream(0)).tolist() == [[0, 0, 1, 1]]
    draws = binarize_rows(v.expand(40_000, -1), "sample", Stream(0))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0), v[0], atol=0.01, rtol=0)
    assert draws[:, 0].sum() == 0
    assert draws[:, 3].sum() == 40_000


def test_mean():
    X = np.random.default_rng(0).random((10_000, 3)) * 1.2
    weight = np.random.default_rng(1).random(10_000)
    source = ArrayRows(X, weight, dtype=torch.float64)
    average = lambda values: torch.from_numpy(np.average(values, 0, weight))  # noqa: E731
    torch.testing.assert_close(source.mean("none"), average(X))
    torch.testing.assert_close(source.mean("sample"), average(X.clip(0, 1)))
    torch.testing.assert_close(source.mean(0.7), average(X > 0.7))
    unweighted = ArrayRows(X, dtype=torch.float64).mean("none")
    torch.testing.assert_close(unweighted, torch.from_numpy(X.mean(0)))
