"""Provisional values of missing cells."""

import numpy as np
import pytest
import torch

from skrbm.rows import ArrayRows, Batch
from skrbm.rows.gaps import Donors, Gaps, bits_or_gaps, gaps_in, is_empty
from skrbm.rows.iterables import IterableRows
from skrbm.support.randomness import Stream
from skrbm.support.tensors import Placement

NAN = np.nan
TABLE = np.array([[1.0, NAN, 0.0], [NAN, NAN, NAN], [0.0, 1.0, NAN], [1.0, 0.0, 1.0], [NAN, 1.0, 1.0]])


def test_first_values_are_those_of_other_rows():
    rng = np.random.default_rng(0)
    table = rng.normal([0.0, 100.0, 200.0], size=(500, 3))
    full = table.copy()
    table[rng.random(table.shape) < 0.4] = NAN
    gaps = Gaps.of(table, Stream(0))
    given, filled = gaps.take(np.arange(500))
    np.testing.assert_array_equal(given, table)
    known = ~np.isnan(table)
    np.testing.assert_array_equal(filled[known], full[known])
    for column in range(3):
        some = ~known[:, column] & ~is_empty(table)
        assert np.isin(filled[some, column], full[known[:, column], column]).all()
        assert len(set(filled[some, column])) > 100


def test_values_are_put_where_they_are_taken():
    gaps = Gaps.of(TABLE, Stream(0))
    _, filled = gaps.take(np.array([4, 0]))
    filled[np.isnan(TABLE[[4, 0]])] = [7.0, 8.0]
    gaps.put_(np.array([4, 0]), filled)
    _, after = gaps.take(np.arange(5))
    assert after[4, 0] == 7.0
    assert after[0, 1] == 8.0
    np.testing.assert_array_equal(after[3], TABLE[3])
    np.testing.assert_array_equal(is_empty(TABLE), [False, True, False, False, False])


def test_no_gaps():
    assert Gaps.of(np.array([[1.7e308, 1.7e308, -np.inf]]), Stream(0)) is None
    assert Gaps.of(np.eye(3), Stream(0)) is None
    assert Gaps.of(np.eye(3, dtype=int), Stream(0)) is None
    assert gaps_in(torch.eye(3)) is None
    assert gaps_in(torch.eye(3, dtype=torch.uint8)) is None


def test_bits_with_gaps_are_bits():
    assert bits_or_gaps(torch.from_numpy(TABLE))
    assert not bits_or_gaps(torch.from_numpy(TABLE + 0.5))
    assert bits_or_gaps(torch.eye(3, dtype=torch.uint8))
    assert ArrayRows(TABLE).is_binary


def test_a_column_without_values_gets_zeros():
    free = np.array([[True, True]])
    np.testing.assert_array_equal(Donors(np.array([[NAN, 3.0]])).draw(free, Stream(0)), [0.0, 3.0])


def test_rows_that_are_missing_altogether_are_left_out():
    rows = ArrayRows(TABLE, shuffle=False)
    assert rows.n_rows == 4
    (batch,) = rows.epoch(Stream(0), 10)
    np.testing.assert_array_equal(batch.rows, [0, 2, 3, 4])
    np.testing.assert_array_equal(batch.free, np.isnan(TABLE[[0, 2, 3, 4]]))
    assert batch.v.isfinite().all()
    with pytest.raises(ValueError, match="X has no values at all"):
        ArrayRows(np.full((3, 2), NAN))


def test_means_are_those_of_the_cells_that_are_there():
    expected = np.nanmean(TABLE, 0)
    np.testing.assert_allclose(ArrayRows(TABLE).mean("none"), expected, rtol=1e-6)
    weight = np.array([1.0, 5.0, 2.0, 1.0, 3.0])
    known = ~np.isnan(TABLE)
    weighted = (weight @ np.nan_to_num(TABLE)) / (weight @ known)
    np.testing.assert_allclose(ArrayRows(TABLE, weight).mean("none"), weighted, rtol=1e-6)
    assert ArrayRows(np.array([[NAN, 1.0]])).mean("none").isnan().tolist() == [True, False]


def test_what_is_put_comes_out_and_can_be_gone_on_from():
    rows = ArrayRows(TABLE, shuffle=False)
    (batch,) = rows.epoch(Stream(0), 10)
    rows.put_(batch._replace(v=torch.where(batch.free, 0.25, batch.v)))
    saved = rows.provisional()
    np.testing.assert_array_equal(rows.some(4, Stream(0))[batch.free], 0.25)
    other = ArrayRows(TABLE)
    other.set_provisional_(saved)
    np.testing.assert_array_equal(other.some(4, Stream(0)), rows.some(4, Stream(0)))
    rows.put_(Batch(batch.v))  # of rows that it doesn't know
    np.testing.assert_array_equal(rows.provisional(), saved)
    assert ArrayRows(np.eye(3)).provisional() is None


def test_codes_are_put_by_what_decodes_them():
    rows = ArrayRows(TABLE, shuffle=False, encode=lambda v: 10.0 * v, decode=lambda v: v / 10.0)
    (batch,) = rows.epoch(Stream(0), 10)
    rows.put_(batch._replace(v=torch.where(batch.free, 5.0, batch.v)))
    np.testing.assert_array_equal(rows.provisional()[-1], 0.5)
    (after,) = rows.epoch(Stream(0), 10)
    np.testing.assert_allclose(after.v[after.free], 5.0)


def test_rows_that_pass_by_begin_at_means():
    place = Placement(torch.float64, torch.device("cpu"))
    rows = IterableRows([TABLE[2:], TABLE[:1]], lambda v: v, rule="none", shuffle=False, place=place, stream=Stream(0))
    assert rows.has_gaps
    assert rows.is_binary
    first, second = rows.epoch(Stream(0), 10)
    assert second.rows is None
    mean = np.nanmean(np.delete(TABLE, 1, 0), 0)
    np.testing.assert_allclose(second.v, [[1.0, mean[1], 0.0]])
    np.testing.assert_array_equal(first.free, np.isnan(TABLE[2:]))
    assert rows.some(4, Stream(0)).isfinite().all()
    assert rows.provisional() is None
