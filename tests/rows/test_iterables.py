"""Rows that come in batches, again and again."""

import numpy as np
import pytest
import torch

from skrbm.rows import ArrayRows, Sample, rows_in_passing
from skrbm.support.randomness import Stream
from skrbm.support.tensors import Placement
from tests.rows.table import Batches, X, rows_of, sorted_rows


def streamed(batches, **settings):
    place = Placement(torch.float64, torch.device("cpu"))
    settings = {"rule": "none", "shuffle": True, "place": place, "stream": Stream(0)} | settings
    return rows_in_passing(batches, np.asarray, **settings)


def test_every_row_passes_once_an_epoch():
    source = streamed(Batches(X))
    assert (source.n_rows, source.n_features, source.is_binary) == (230, 6, False)
    sizes = [len(batch.v) for batch in source.epoch(Stream(0), 20) if batch.weight is None]
    assert sizes == [20, 20, 10] * 4 + [20, 10]
    np.testing.assert_array_equal(sorted_rows(rows_of(source)), sorted_rows(X))
    assert not np.array_equal(rows_of(source, 0), rows_of(source, 1))
    np.testing.assert_array_equal(rows_of(streamed(Batches(X), shuffle=False)), X)


@pytest.mark.parametrize("rule", ["none", "sample", 0.3])
def test_the_mean_is_that_of_the_rows(rule):
    values = 2 * X - 0.5
    expected = {"none": values, "sample": values.clip(0, 1), 0.3: values > 0.3}[rule]
    source = streamed(Batches(values), rule=rule)
    np.testing.assert_allclose(source.mean(rule), expected.mean(0), rtol=1e-6)
    assert source.range[:3] == (values.min(), values.max(), False)
    np.testing.assert_allclose(ArrayRows(values, dtype=torch.float64).mean(rule), expected.mean(0), rtol=1e-6)


def test_the_range_is_that_of_all_batches():
    codes = np.zeros((100, 2))
    codes[60] = 7.0
    assert streamed(Batches(codes, size=30)).range == (0, 7, True, False, False)


def test_the_kept_rows_are_a_fair_sample(monkeypatch):
    monkeypatch.setattr("skrbm.rows.iterables._KEPT", 10)
    rows = np.arange(40.0)[:, None]
    counts = np.zeros(40)
    for seed in range(2000):
        kept = streamed(Batches(rows, size=7), stream=Stream(seed)).some(10, Stream(0))
        assert len(np.unique(kept)) == 10
        counts[np.asarray(kept, int)] += 1
    assert abs(counts / 2000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_rows_that_are_kept_are_copies():
    rows = X.astype(float)
    source = streamed(Batches(rows))
    kept = source.some(5, Stream(0)).clone()
    rows[:] = 0
    np.testing.assert_array_equal(source.some(5, Stream(0)), kept)


def test_each_row_has_the_same_chance_to_be_in_a_sample():
    rows, times = torch.arange(12.0)[:, None], torch.zeros(12)
    for seed in range(3000):
        sample = Sample(4, Stream(seed))
        for batch in rows.split(5):
            sample.add_(batch)
        assert len(set(sample.rows.flatten().tolist())) == 4
        times[sample.rows.flatten().long()] += 1
    assert (times / 3000 - 4 / 12).abs().max() < 5 * (2 / 9 / 3000) ** 0.5
    few = Sample(20, Stream(0))
    for batch in rows.split(5):
        few.add_(batch)
    assert torch.equal(few.rows, rows)
