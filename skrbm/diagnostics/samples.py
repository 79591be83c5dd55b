"""Two-sample quality: how samples of a machine compare with rows that it has not seen.

Rows are zeros and ones; grey values are allowed. The distance is the squared Euclidean one, which on bits is the
Hamming distance. No measure depends on the order of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skrbm.support.randomness import Stream
from skrbm.support.tables import Table
from skrbm.support.tensors import is_bits

_CHUNK = 1 << 23  # elements of a block of distances
_MAX_POOLED = 20_000  # rows whose pairwise distances are held at once, 4 bytes each
_ROUNDING = 1e-12  # of an MMD², and of a distance relative to the squared lengths
_CEILING = "training rows"
_COLUMNS = [
    "samples",
    "aa_truth",
    "aa_synthetic",
    "mmd2",
    "p_value",
    "mean_error",
    "covariance_error",
    "nearest_train",
]


# -- nearest neighbours ----------------------------------------------------------------------------------------------


def nearest_distances(A: ArrayLike, B: ArrayLike, exclude_self: bool = False) -> np.ndarray:
    """Distance of each row of `A` to the nearest row of `B`.

    Parameters
    ----------
    A : array-like of shape (n, n_features)
        Rows.
    B : array-like of shape (m, n_features)
        Rows to look among, m >= 2.
    exclude_self : bool
        For rows of `A` that are rows of `B` themselves (all of them or a part, in any order): leave each one out of
        `B` for its own search. A second row of `B` that equals it still counts, at distance 0.

    Returns
    -------
    ndarray of shape (n,)
        Squared Euclidean distances (Hamming distances of bits), float64.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If the shapes do not fit, or a value is not finite; if `exclude_self` and a row of `A` is not in `B`.

    Examples
    --------
    >>> rows = [[0, 0, 0], [0, 0, 1], [1, 1, 1]]
    >>> nearest_distances([[1, 1, 0]], rows)
    array([1.])
    >>> nearest_distances(rows, rows, exclude_self=True)
    array([1., 1., 2.])
    """
    A = _checked("A", A, min_rows=1)
    B = _checked("B", B, A.shape[1])
    if not exclude_self:
        return _nearest(A, B, 1)[:, 0]
    itself, nearest = _nearest(A, B, 2).T
    if itself.any():
        raise ValueError(f"exclude_self needs rows of B in A; row {itself.argmax()} of A is none. Leave it at False.")
    return nearest


def _nearest(A: np.ndarray, B: np.ndarray, k: int) -> np.ndarray:
    """Distances of each row of `A` to its `k` nearest rows of `B`, nearest first: (n, k)."""
    nearest = np.empty((len(A), k))
    for rows, D in _distance_blocks(A, B):
        each = np.arange(len(D))
        for rank in range(k):
            found = D.argmin(1)
            D[each, found] = np.inf
            # Measured once more, directly: the same two grey rows then always have the same distance, and can tie.
            nearest[rows, rank] = ((A[rows] - B[found]) ** 2).sum(1)
    nearest.sort(1)
    return nearest


def _distance_blocks(A: np.ndarray, B: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Some rows of `A` and their distances to all of `B`, (n_block, m), block after block."""
    if is_bits(A) and is_bits(B):  # counts, which float32 holds exactly
        A, B = A.astype(np.float32), B.astype(np.float32)
    squares_A, squares_B = np.einsum("ij,ij->i", A, A), np.einsum("ij,ij->i", B, B)
    tiny = _ROUNDING * float(max(squares_A.max(), squares_B.max()))
    n_rows = max(1, _CHUNK // max(B.shape))
    for first in range(0, len(A), n_rows):
        rows = slice(first, first + n_rows)
        block = A[rows] @ B.T
        block *= -2.0
        block += squares_A[rows, None]
        block += squares_B
        block[block < tiny] = 0.0  # equal grey rows, but for rounding
        yield rows, block


# -- adversarial accuracy --------------------------------------------------------------------------------------------


class AdversarialAccuracy(NamedTuple):
    """How often the nearest neighbour tells which side a row is from: 0.5 at best.

    Attributes
    ----------
    truth : float
        Share of the real rows that are nearer to another real row than to any sample. Near 1: the samples miss
        where real rows are. Near 0: real rows have a copy among the samples.
    synthetic : float
        Share of the samples that are nearer to another sample than to any real row. Near 1: the samples are unlike
        the rows, or all alike. Near 0: the samples are copies.
    """

    truth: float
    synthetic: float


def adversarial_accuracy(samples: ArrayLike, rows: ArrayLike) -> AdversarialAccuracy:
    """Nearest-neighbour adversarial accuracy of samples against as many real rows.

    Parameters
    ----------
    samples, rows : array-like of shape (n, n_features)
        The two sides, n >= 2.

    Returns
    -------
    AdversarialAccuracy

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If the shapes do not fit, or a value is not finite.

    Notes
    -----
    AA_TS of Yale et al. 2020, "Generation and evaluation of privacy preserving synthetic health data", in its two
    halves; used for RBMs by Béreux, Decelle, Furtlehner & Seoane 2024. A tie counts one half. A row has n-1 others on
    its own side but n on the other, where the nearest is a little nearer for that alone: here one of these n is left
    out at random, and the share is the mean over which one. The expected value is then exactly 1/2 where both sides
    come from one distribution, for every n and with ties.

    Examples
    --------
    >>> rows = [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]]
    >>> adversarial_accuracy([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 1]], rows)
    AdversarialAccuracy(truth=1.0, synthetic=1.0)
    """
    samples, rows = _checked_pair(samples, rows)
    if len(samples) != len(rows):
        raise ValueError(
            f"samples and rows must have equally many rows, got {len(samples)} and {len(rows)}. Draw a random part of "
            "the larger one."
        )
    return AdversarialAccuracy(_share_nearer_to_own(rows, samples), _share_nearer_to_own(samples, rows))


def _share_nearer_to_own(own: np.ndarray, other: np.ndarray) -> float:
    """Share of the rows of `own` that are nearer to another one than to n-1 of `other`, ties counted half."""
    n = len(own)
    to_own = _nearest(own, own, 2)[:, 1:]  # (n, 1)
    to_other = _nearest(own, other, 2)  # (n, 2): the second one is the nearest where the first is left out
    nearer = (to_own < to_other) + 0.5 * (to_own == to_other)  # (n, 2)
    return float(nearer.mean(0) @ [1.0 - 1.0 / n, 1.0 / n])


# -- maximum mean discrepancy ----------------------------------------------------------------------------------------


class MMD(NamedTuple):
    """A squared maximum mean discrepancy and its test.

    Attributes
    ----------
    value : float
        Unbiased estimate of MMD²: around 0, negative too, where both sides come from one distribution.
    p_value : float
        Probability of so large a value if both sides do.
    """

    value: float
    p_value: float


def mmd2(
    samples: ArrayLike, rows: ArrayLike, stream: Stream, n_permutations: int = 1000, bandwidth: float | None = None
) -> MMD:
    """Squared maximum mean discrepancy of two sets of rows, with a permutation test of their equality.

    Parameters
    ----------
    samples : array-like of shape (n, n_features)
        One side, n >= 2.
    rows : array-like of shape (m, n_features)
        The other, m >= 2.
    stream : Stream
        Randomness of the permutations. The value does not depend on it.
    n_permutations : int
        The p-value is at least 1 / (1 + `n_permutations`).
    bandwidth : float, optional
        Of the kernel exp(-d(x, y) / `bandwidth`), d the squared Euclidean distance. By default the median distance
        of all the pairs of the n+m rows, their mean where that is 0, and 1 where all the rows are equal. Values are
        comparable only at one bandwidth.

    Returns
    -------
    MMD

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If the shapes do not fit, or a value is not finite; if `n_permutations` or `bandwidth` is too small; if
        n + m > 20,000 and no bandwidth is given.

    Notes
    -----
    Gretton et al. 2012, "A kernel two-sample test", eq. 3. The p-value is (1 + #{permuted >= observed}) /
    (1 + `n_permutations`): a test at level α rejects equal distributions with a probability of at most α. The kernel
    matrix is never held as a whole. Memory is 8 (n+m) `n_permutations` bytes, and for the default bandwidth 4 bytes a
    pair (0.8 GB for 20,000 rows); time is of the order of (n+m)² (n_features + `n_permutations`).
    """
    samples, rows = _checked_pair(samples, rows)
    if not isinstance(n_permutations, (int, np.integer)) or n_permutations < 1:
        raise ValueError(f"n_permutations must be a whole number, at least 1, got {n_permutations!r}. 1000 will do.")
    if bandwidth is not None and not 0.0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be a positive finite number, got {bandwidth!r}. None takes the median.")
    pooled = np.concatenate([samples, rows])
    bandwidth = _median_distance(pooled) if bandwidth is None else bandwidth
    # Column 0 marks the samples, each further column as many random rows.
    marks = np.zeros((len(pooled), 1 + n_permutations))
    marks[: len(samples), 0] = 1.0
    for column in range(1, 1 + n_permutations):
        marks[stream.permutation(len(pooled))[: len(samples)], column] = 1.0
    values = _mmd2_of_splits(pooled, marks, len(samples), bandwidth)
    n_as_large = int((values[1:] >= values[0] - _ROUNDING).sum())
    return MMD(float(values[0]), (1 + n_as_large) / (1 + n_permutations))


def _mmd2_of_splits(pooled: np.ndarray, marks: np.ndarray, n: int, bandwidth: float) -> np.ndarray:
    """Unbiased MMD² of each split of the rows in two: a column of `marks` has a 1 for the `n` rows of one side."""
    m = len(pooled) - n
    marked, marked_all, everything = np.zeros(marks.shape[1]), np.zeros(marks.shape[1]), 0.0
    for block, D in _distance_blocks(pooled, pooled):
        K = np.exp(np.divide(D, -bandwidth, dtype=np.float64))  # (n_block, n+m)
        sums = K.sum(1)
        marked += np.einsum("ij,ij->j", marks[block], K @ marks)
        marked_all += sums @ marks[block]
        everything += float(sums.sum())
    # Sums over the pairs of both sides; a row with itself, exp(0), is taken out.
    xx, yy, xy = marked - n, everything - 2.0 * marked_all + marked - m, marked_all - marked
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2.0 * xy / (n * m)


def _median_distance(X: np.ndarray) -> float:
    """Median distance of all the pairs of rows; their mean, or else 1, if it is 0."""
    n = len(X)
    if n > _MAX_POOLED:
        raise ValueError(
            f"The median distance is taken over at most {_MAX_POOLED} rows, got {n} (samples and rows together). "
            "Compare random parts of them, or give a bandwidth."
        )
    distances, filled = np.empty(n * (n - 1) // 2, dtype=np.float32), 0
    for block, D in _distance_blocks(X, X):
        pairs = D[np.arange(n) > np.arange(n)[block, None]]
        distances[filled : filled + len(pairs)] = pairs
        filled += len(pairs)
    mean = float(distances.mean(dtype=np.float64))
    return float(np.median(distances, overwrite_input=True)) or mean or 1.0


# -- moments ---------------------------------------------------------------------------------------------------------


class MomentErrors(NamedTuple):
    """Root-mean-square differences of the first two moments.

    Attributes
    ----------
    mean : float
        Of the means of the columns.
    covariance : float
        Of the covariances of the pairs of different columns; 0 for a single column.
    """

    mean: float
    covariance: float


def moment_errors(samples: ArrayLike, rows: ArrayLike) -> MomentErrors:
    """How far the means and the pairwise covariances of the columns differ.

    Parameters
    ----------
    samples : array-like of shape (n, n_features)
        One side, n >= 2.
    rows : array-like of shape (m, n_features)
        The other, m >= 2.

    Returns
    -------
    MomentErrors
        Positive by chance too: the errors of real rows of the same number are the level to reach.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If the shapes do not fit, or a value is not finite.
    """
    samples, rows = _checked_pair(samples, rows)
    pairs = np.triu_indices(rows.shape[1], k=1)
    covariances = [np.atleast_2d(np.cov(X, rowvar=False))[pairs] for X in (samples, rows)]
    return MomentErrors(_rms(samples.mean(0) - rows.mean(0)), _rms(covariances[0] - covariances[1]))


def _rms(x: np.ndarray) -> float:
    return float(np.linalg.norm(x)) / math.sqrt(max(1, x.size))


# -- all of it -------------------------------------------------------------------------------------------------------


def quality_table(
    candidates: Mapping[str, ArrayLike],
    test: ArrayLike,
    train: ArrayLike,
    stream: Stream,
    n_permutations: int = 1000,
) -> Table:
    """All the measures of several sets of samples against test rows, with training rows as the ceiling.

    Parameters
    ----------
    candidates : mapping of str to array-like of shape (n_samples, n_features)
        Sets of samples by name. Where the test rows are bits, samples should be bits too, not probabilities.
    test : array-like of shape (n_test, n_features)
        Rows that no machine has seen.
    train : array-like of shape (n_train, n_features)
        Rows that the machines were trained on.
    stream : Stream
        Randomness: which rows are compared, and the permutations.
    n_permutations : int
        Of the test of `mmd2`.

    Returns
    -------
    Table
        Columns of n_candidates + 1 places, ready for `pandas.DataFrame` or to be printed; one place for each candidate,
        in their order, and the ceiling last:

        - "samples": the name, "training rows" for the ceiling;
        - "aa_truth", "aa_synthetic": see `adversarial_accuracy`;
        - "mmd2", "p_value": see `mmd2`. One bandwidth, the median distance of the ceiling's rows and the test rows,
          serves all, so that the values are comparable;
        - "mean_error", "covariance_error": see `moment_errors`;
        - "nearest_train": median distance of the set's rows to the nearest training row. Those of the ceiling are
          compared with the other training rows: its value is what rows that are not memorised have.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If the shapes do not fit, or a value is not finite; if a candidate is named "training rows"; if more than
        10,000 rows would be compared with as many; if `n_permutations` is too small.

    Notes
    -----
    Every comparison has the same number of rows: that of the smallest of all the sets, drawn without repetition from
    each larger one. Distances to the nearest training row are to all of `train`. A set of 10,000 rows of 784 columns
    against 60,000 training rows takes about a minute on one core, and 2 GB.

    Examples
    --------
    >>> import numpy as np
    >>> stream = Stream(0, "demo")
    >>> train, test = np.eye(8)[stream.integers(8, (40,))], np.eye(8)[stream.integers(8, (20,))]
    >>> table = quality_table({"all zero": np.zeros((20, 8))}, test, train, stream, n_permutations=99)
    >>> [(str(name), float(p) < 0.05) for name, p in zip(table["samples"], table["p_value"])]
    [('all zero', True), ('training rows', False)]
    """
    if _CEILING in candidates:
        raise ValueError(f"A candidate is named {_CEILING!r}, as the ceiling is. Give it another name.")
    test = _checked("test", test)
    train = _checked("train", train, test.shape[1])
    sets = {name: _checked(f"candidates[{name!r}]", X, test.shape[1]) for name, X in candidates.items()}
    n = min(len(X) for X in (test, train, *sets.values()))
    test, ceiling, *drawn = (X[stream.permutation(len(X))[:n]] for X in (test, train, *sets.values()))
    bandwidth = _median_distance(np.concatenate([ceiling, test]))
    records = []
    for name, X in zip([*sets, _CEILING], [*drawn, ceiling], strict=True):
        mmd = mmd2(X, test, stream, n_permutations, bandwidth)
        distances = nearest_distances(X, train, exclude_self=X is ceiling)
        records.append((name, *adversarial_accuracy(X, test), *mmd, *moment_errors(X, test), np.median(distances)))
    columns = zip(_COLUMNS, zip(*records, strict=True), strict=True)
    return Table({column: np.array(values) for column, values in columns})


# -- checks ----------------------------------------------------------------------------------------------------------


def _checked_pair(samples: ArrayLike, rows: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    samples = _checked("samples", samples)
    return samples, _checked("rows", rows, samples.shape[1])


def _checked(name: str, X: ArrayLike, n_features: int | None = None, min_rows: int = 2) -> np.ndarray:
    """The array in float64, or an error that says what is wrong with it."""
    X = np.asarray(X)
    if X.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got type {X.dtype}. Pass a dense array of zeros and ones.")
    if X.ndim != 2 or len(X) < min_rows or X.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape (n, n_features) with n >= {min_rows}, got {X.shape}. Pass one row a case."
        )
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(
            f"{name} must have {n_features} columns like the other rows, got {X.shape[1]}. Pass rows of one kind."
        )
    if not np.isfinite(X).all():
        raise ValueError(f"{name} has values that are NaN or infinite. Fill them in, or drop their rows.")
    return X.astype(np.float64, copy=False)
