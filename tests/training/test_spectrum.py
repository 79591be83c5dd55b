"""What is known of the rows' covariance before the first update."""

import numpy as np
import pytest
import torch

from skrbm.rows import ArrayRows, SharedRows
from skrbm.training.spectrum import Spectrum


def rows(n, n_features, n_alike=0, seed=0):
    """Fair coins, the first `n_alike` columns of which are all the same."""
    X = np.random.default_rng(seed).integers(0, 2, (n, n_features)).astype(np.float32)
    X[:, :n_alike] = X[:, :1]
    return X


def of(X):
    return Spectrum.of(SharedRows(ArrayRows(X)))


@pytest.mark.parametrize(("n", "n_features"), [(500, 40), (120, 150), (1, 5), (2, 3)])
def test_eigenvalues_and_directions(n, n_features):
    """Whichever side is smaller."""
    X = rows(n, n_features, n_alike=30)
    found, covariance = of(X), np.cov(X.T.astype(float), bias=True)
    values, vectors = np.linalg.eigh(covariance)
    n_above = int((values > 1.0).sum())
    assert len(found.variances) == n_above
    assert n_above or n < 3
    np.testing.assert_allclose(found.variances, values[::-1][:n_above], rtol=1e-6)
    np.testing.assert_allclose(
        np.abs(found.directions.numpy() @ vectors[:, ::-1][:, :n_above]), np.eye(n_above), atol=1e-6
    )
    assert found.total == pytest.approx(np.trace(covariance))
    assert found.damped_size == pytest.approx(np.sqrt((values.clip(0, 1) ** 2).sum()), rel=1e-6)


def test_structure_is_what_independent_columns_would_not_show():
    """30 columns that are all the same have squared correlations of 29; coins have none, however wide the table."""
    assert of(rows(900, 30, n_alike=30)).structure == pytest.approx(29.0, rel=0.05)
    assert of(rows(900, 60, n_alike=30)).structure == pytest.approx(14.5, rel=0.05)  # half of the columns
    for n, n_features in ((900, 30), (200, 1000)):
        assert abs(of(rows(n, n_features)).structure) < 0.05
    assert of(np.ones((20, 5), np.float32)).structure == 0.0


def test_of_what_learning_sees():
    """Values from 0 to 255 that are cut at 127 have the spectrum of the bits."""
    X = rows(300, 40, n_alike=30)
    bits, bytes_ = of(X), Spectrum.of(SharedRows(ArrayRows(40 + 200 * X)), 127.0)
    torch.testing.assert_close(bytes_.variances, bits.variances)
    assert bytes_.structure == pytest.approx(bits.structure)


def test_damping_divides_by_the_variance():
    found = of(rows(900, 40, n_alike=30))
    P = found.damping(torch.zeros(1))
    along, across = found.directions[0].float(), torch.zeros(40)
    across[35] = 1.0
    across -= along * (across @ along)
    torch.testing.assert_close(P.of(along), along / float(found.variances[0]))
    torch.testing.assert_close(P.of(across), across)
    assert of(rows(900, 10)).damping(torch.zeros(1)) is None


def test_no_more_than_some_directions():
    X = np.repeat(rows(900, 40), 20, axis=1)  # each column twenty times: 40 directions of variance 5
    found = of(X)
    assert len(found.variances) == 16
    assert found.damped_size == pytest.approx(np.sqrt(40), rel=1e-3)
