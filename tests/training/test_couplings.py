"""Rows and moments that couplings are learned from, and where there is no optimum."""

import numpy as np
import pytest
import torch

from skrbm.training.couplings import (
    Couplings,
    CouplingsWarning,
    bias_alone,
    distinct_rows,
    edges_of,
    minimise,
    moments,
    unbounded_pairs,
    warn_of,
    worst_derivative,
)

X = np.random.default_rng(0).integers(0, 2, (300, 11)).astype(float)
X[150:] = X[:150]


def test_equal_rows_are_one():
    rows = distinct_rows(X[:, :4])
    states, counts = np.unique(X[:, :4], axis=0, return_counts=True)
    np.testing.assert_array_equal(rows.bits, states)
    np.testing.assert_allclose(rows.weight, counts / 300)
    assert rows.n_rows == 300
    assert len(distinct_rows(X).bits) <= 150


def test_blocks_are_the_same_as_the_whole():
    whole, blocks = distinct_rows(X), distinct_rows((X[i : i + 70], None) for i in range(0, 300, 70))
    assert all(np.array_equal(a, b) for a, b in zip(whole, blocks, strict=True))


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, lambda a: a.tolist(), lambda a: a.astype(bool)])
def test_weights_are_repeated_rows(convert):
    weight = np.random.default_rng(1).integers(0, 3, 300)
    found, expected = distinct_rows(convert(X), weight), distinct_rows(np.repeat(X, weight, axis=0))
    torch.testing.assert_close(tuple(found), tuple(expected))


def test_moments_are_those_of_the_rows():
    found = moments(distinct_rows(X))
    np.testing.assert_allclose(found.second, X.T @ X / 300, atol=1e-15)
    np.testing.assert_allclose(found.mean, X.mean(0), atol=1e-15)


@pytest.mark.parametrize(
    ("rows", "weight", "message"),
    [
        ([[0.5]], None, "no values but 0 and 1"),
        ([[1.0]], [-1.0], "at least 0"),
        ([[1.0]], [1.0, 1.0], r"shape \(1,\)"),
        ([[1.0]], [0.0], "no row that counts"),
        (np.zeros((0, 2)), None, "no row that counts"),
    ],
)
def test_what_rows_may_not_be(rows, weight, message):
    with pytest.raises(ValueError, match=message):
        distinct_rows(rows, weight)


def test_edges_are_those_of_the_mask_without_constant_columns():
    mean = torch.tensor([0.5, 1.0, 0.5, 0.2])
    edges = edges_of(4, None, mean)
    assert edges.sum() == 6
    assert not edges[1].any()
    mask = np.eye(4, k=2) + np.eye(4, k=-2)
    assert edges_of(4, mask, mean).nonzero().tolist() == [[0, 2], [2, 0]]
    for wrong in (np.ones((3, 3)), np.triu(np.ones((4, 4)))):
        with pytest.raises(ValueError, match="mask must be symmetric"):
            edges_of(4, wrong, mean)


def test_biases_of_constant_columns_are_finite():
    found = bias_alone(torch.tensor([0.25, 0.0, 1.0]).double(), 9.0)
    np.testing.assert_allclose(found, np.log([1 / 3, 0.5 / 9.5, 9.5 / 0.5]))


@pytest.mark.parametrize("combination", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_combination_that_is_in_no_row(combination):
    V = X[~(X[:, [2, 5]] == combination).all(1)]
    found = moments(distinct_rows(V))
    assert unbounded_pairs(found, edges_of(11, None, found.mean)) == ((2, 5),)
    found = moments(distinct_rows(np.vstack((V, X[(X[:, [2, 5]] == combination).all(1)][:1]))))
    assert unbounded_pairs(found, edges_of(11, None, found.mean)) == ()


def test_warnings_name_columns():
    R, b = torch.zeros(3, 3), torch.zeros(3)
    with pytest.warns(CouplingsWarning, match=r"'x' and 'z'.* is in no row"):
        warn_of(Couplings(R, b, None, None, 9, 0.0, True, 0.0, ((0, 2),)), 1e-6, ["x", "y", "z"])
    with pytest.warns(CouplingsWarning, match="after 9 iterations the gradient is 1.0e-03, not 1e-06"):
        warn_of(Couplings(R, b, None, None, 9, 1e-3, False, 0.0), 1e-6)


def test_derivatives_at_couplings_of_zero():
    R, slope = torch.tensor([0.0, 0.0, 2.0, -2.0]), torch.tensor([0.5, -3.0, -1.0, 1.5])
    found = [worst_derivative(R[i], slope[i], torch.zeros(1), torch.tensor(True), 1.0) for i in range(4)]
    assert found == [0.0, 2.0, 0.0, 0.5]


def test_minimising_ends_at_the_tolerance():
    def square(u):
        return float(u @ u), 2 * u, float(abs(2 * u).max())

    u, n_iter = minimise(square, np.array([3.0, -1.0]), 1e-8, 50)
    assert abs(u).max() < 1e-8
    assert n_iter < 10


def test_a_column_of_ones_is_constant():
    X = (np.random.default_rng(0).random((400, 15)) < 0.3).astype(float)
    X[:, 3], X[:, 4] = 0.0, 1.0
    rows = distinct_rows(X)
    rows = rows._replace(weight=rows.weight * (1 - 1e-12))  # shares add up to 1 but for rounding
    found = moments(rows)
    assert found.mean[4] == 1.0
    assert found.mean[3] == 0.0
    assert not edges_of(15, None, found.mean)[3:5].any()
