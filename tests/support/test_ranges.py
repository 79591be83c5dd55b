"""The range of values, and what kind of numbers they are."""

import numpy as np
import pytest
import scipy.sparse as sp

from skrbm.support.ranges import Range


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.25, 3.5]], (0.25, 3.5, False, False, False)),
        ([[0, 16]], (0, 16, True, False, False)),
        (np.array([[3, 200]], np.uint8), (3, 200, True, True, False)),
        ([[-1.0, 1.0]], (-1, 1, True, False, True)),
        ([[-1, 0, 1]], (-1, 1, True, False, False)),
        ([[-0.5, -0.25]], (-0.5, -0.25, False, False, False)),
        (sp.csr_array([[0, 5.0], [2, 0]]), (0, 5, True, False, False)),  # what isn't stored is zero
        (sp.csr_array([[4, 5.0], [2, 3]]), (2, 5, True, False, False)),
        (sp.csr_array([[0, -1.0], [1, 0]]), (-1, 1, True, False, False)),
        (sp.csr_array((2, 2)), (0, 0, True, True, False)),
    ],
)
def test_range(values, expected):
    assert Range.of(values if sp.issparse(values) else np.asarray(values)) == expected


def test_kinds_are_told_in_the_unit_interval_only_if_asked_for():
    bits = np.array([[0.0, 1.0]])
    assert Range.of(bits) == (0, 1, False, False, False)
    assert Range.of(bits, kinds=True) == (0, 1, True, False, False)
    assert Range.of(np.ones((1, 2)), kinds=True) == (1, 1, True, False, True)
    assert Range.of(np.array([[0.5]]), kinds=True) == (0.5, 0.5, False, False, False)
    assert Range.of(bits.astype(bool))[:3] == (0, 1, True)


def test_the_union_is_the_range_of_all():
    parts = [np.array([[0.0, 1.0]]), np.array([[7.0, 3.0]]), np.array([[0.0, 0.0]])]
    found = Range()
    for part in parts:
        found = found | Range.of(part, kinds=True)
    assert found == Range.of(np.concatenate(parts)) == (0, 7, True, False, False)
    assert not (found | Range.of(np.array([[0.5]]), kinds=True)).is_whole
    signs = Range.of(np.array([-1.0, 1.0])) | Range.of(np.array([1.0, 1.0]), kinds=True)
    assert signs.is_signs
    assert not (signs | Range.of(np.zeros(2), kinds=True)).is_signs


@pytest.mark.parametrize("shape", [(600_000,), (200_000, 4), (2, 400_000)])
def test_no_part_of_many_values_is_left_out(shape):
    for first, last in [(0, -3.0), (-3.0, 0), (0.5, 9)]:
        values = np.zeros(shape)
        values[(0,) * len(shape)], values[(-1,) * len(shape)] = first, last
        assert Range.of(values)[:3] == (min(first, last, 0), max(first, last, 0), first != 0.5)
