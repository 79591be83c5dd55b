"""What all sources of rows share."""

import numpy as np
import torch

from skrbm.rows import ArrayRows, binarize_rows
from skrbm.support.randomness import Stream


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
