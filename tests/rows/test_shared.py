"""Rows of this process among those of others."""

import numpy as np
import pytest
import torch

from skrbm.distributed import Alone
from skrbm.rows import ArrayRows, SharedRows, rows_in_passing
from skrbm.support.randomness import Stream
from skrbm.support.tensors import Placement
from tests.rows.table import BITS, Batches, rows_of, sorted_rows


class Two(Alone):
    """This process and another one, whose numbers are known."""

    size = 2

    def __init__(self, n_rows, n_batches, kind=20):
        self._n_rows, self._n_batches, self._kind = n_rows, n_batches, kind

    def total(self, number):
        return number + self._n_rows

    def least(self, number):
        return min(number, self._n_batches)

    def mean(self, value, weight=1.0):
        return (weight * value + self._n_rows) / (weight + self._n_rows)  # there all are ones

    def gather_everywhere(self, value):
        return [value, self._kind]


def test_alone_they_are_the_rows_themselves():
    rows = SharedRows(ArrayRows(BITS))
    assert (rows.n_rows, rows.n_own_rows, rows.n_features, rows.n_batches(20)) == (230, 230, 6, 12)
    np.testing.assert_allclose(rows.mean("none"), BITS.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(sorted_rows(rows_of(rows)), sorted_rows(BITS))
    assert not any(batch.is_even for batch in rows.epoch(Stream(0), 20))


def test_numbers_and_means_are_those_of_all():
    rows = SharedRows(ArrayRows(BITS), Two(n_rows=70, n_batches=12))
    assert (rows.n_rows, rows.n_own_rows) == (300, 230)
    np.testing.assert_allclose(rows.mean("none"), (BITS.sum(0) + 70) / 300, rtol=1e-6)
    assert len(rows.some(500, Stream(0))) == 230


def test_an_epoch_is_as_long_as_the_one_with_the_fewest_batches_can_have():
    rows = SharedRows(ArrayRows(BITS), Two(n_rows=60, n_batches=3))
    with pytest.warns(UserWarning, match="Rank 0 has rows for 12 batches, another for 3 only"):
        batches = list(rows.epoch(Stream(0), 20))
    assert [len(batch.v) for batch in batches] == [20] * 3
    assert [batch.is_even for batch in batches] == [True, True, False]  # the last may be shorter elsewhere


@pytest.mark.parametrize("kind", [10, False])
def test_batches_of_other_sizes_are_not_even(kind):
    rows = SharedRows(ArrayRows(BITS), Two(n_rows=230, n_batches=12, kind=kind))
    assert not any(batch.is_even for batch in rows.epoch(Stream(0), 20))


def test_weighted_rows_and_rows_that_pass_by_are_never_even():
    settings = {"rule": "none", "shuffle": True, "stream": Stream(0)}
    passing = rows_in_passing(
        Batches(BITS), np.asarray, place=Placement(torch.float64, torch.device("cpu")), **settings
    )
    for source, n_batches in ((ArrayRows(BITS, np.ones(230)), 12), (passing, 14)):
        rows = SharedRows(source, Two(n_rows=230, n_batches=n_batches))
        assert not any(batch.is_even for batch in rows.epoch(Stream(0), 20))
