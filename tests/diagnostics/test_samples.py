import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist, pdist
from scipy.stats import kstest

from skrbm.diagnostics import samples as quality
from skrbm.diagnostics.samples import adversarial_accuracy, mmd2, moment_errors, nearest_distances, quality_table
from skrbm.support.randomness import Stream


def bits(shape, p=0.5, seed=0):
    return (np.random.default_rng(seed).random(shape) < p).astype(float)


def grey(shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def splits(pool):
    """Every way to call half of the rows samples and the other half rows."""
    everything = set(range(len(pool)))
    for chosen in itertools.combinations(everything, len(pool) // 2):
        yield pool[list(chosen)], pool[sorted(everything.difference(chosen))]


# -- nearest neighbours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 100, 1 << 23])
@pytest.mark.parametrize("make", [bits, grey])
def test_nearest_distances_are_those_of_the_distance_matrix(make, chunk, monkeypatch):
    monkeypatch.setattr(quality, "_CHUNK", chunk)
    A, B = make((23, 9), seed=1), make((31, 9), seed=2)
    np.testing.assert_allclose(nearest_distances(A, B), cdist(A, B, "sqeuclidean").min(1), rtol=1e-12)
    to_others = cdist(B, B, "sqeuclidean") + np.diag([np.inf] * 31)
    part = [30, 4, 17]
    np.testing.assert_allclose(nearest_distances(B[part], B, exclude_self=True), to_others.min(1)[part], rtol=1e-12)


def test_blocks_of_distances_have_bounded_size(monkeypatch):
    monkeypatch.setattr(quality, "_CHUNK", 1000)
    for m, n_features in ((100, 3), (3, 100)):
        blocks = list(quality._distance_blocks(bits((57, n_features)), bits((m, n_features))))
        assert max(D.size for _, D in blocks) <= 1000
        assert max(len(D) * n_features for _, D in blocks) <= 1000
        assert sum(len(D) for _, D in blocks) == 57


def far_off(shape):
    """Rows whose squares are so large that products round."""
    return grey(shape) + 10.0


def test_nearest_distances_do_not_suffer_from_rounding():
    X = far_off((50, 300))
    assert not nearest_distances(X[::-1], X).any()
    assert not nearest_distances(X, np.concatenate([X, X]), exclude_self=True).any()
    close = np.concatenate([X + 1e-9, X])  # the products tell no more which of the two is nearer
    distances = nearest_distances(X, close, exclude_self=True)
    np.testing.assert_array_equal(distances, ((X - (X + 1e-9)) ** 2).sum(1))
    assert nearest_distances([[0, 0]], [[0.5 + 1e-9, 0.5], [0.5, 0.5]]) == 0.5  # in float32 the two are equal


def test_exclude_self_of_a_row_that_is_not_there():
    with pytest.raises(ValueError, match="row 1 of A is none"):
        nearest_distances([[0, 1], [1, 0]], [[0, 1], [1, 1]], exclude_self=True)


# -- adversarial accuracy ----------------------------------------------------------------------------------------------


def truth_by_loops(samples, rows):
    """The share of rows nearer to their own side, with each sample left out in turn."""
    score, n = 0.0, len(rows)
    for i, row in enumerate(rows):
        own = min(((row - other) ** 2).sum() for j, other in enumerate(rows) if j != i)
        for left_out in range(n):
            other = min(((row - sample) ** 2).sum() for j, sample in enumerate(samples) if j != left_out)
            score += 1.0 if own < other else 0.5 if own == other else 0.0
    return score / n**2


@pytest.mark.parametrize("make", [bits, grey])
@pytest.mark.parametrize("shape", [(2, 3), (9, 4), (12, 30)])
def test_adversarial_accuracy_by_loops(make, shape):
    samples, rows = make(shape, seed=1) * 0.9, make(shape, seed=2)
    expected = truth_by_loops(samples, rows), truth_by_loops(rows, samples)
    assert adversarial_accuracy(samples, rows) == pytest.approx(expected, rel=1e-12)


def test_adversarial_accuracy_at_its_ends():
    rows = grey((40, 20))
    assert adversarial_accuracy(rows + 100.0, rows) == (1.0, 1.0)
    shuffled = np.random.default_rng(1).permutation(rows)
    # A copy is left out once in 40 times, and then its row has the same neighbours on both sides.
    assert adversarial_accuracy(shuffled, rows) == pytest.approx((0.5 / 40, 0.5 / 40))
    # A repeated row ties with its copies on both sides.
    twice = far_off((20, 300)).repeat(2, axis=0)
    assert adversarial_accuracy(twice[::-1], twice) == (0.5, 0.5)
    collapsed = np.repeat(rows[:1], 40, axis=0)
    assert adversarial_accuracy(collapsed, rows).truth > 0.8


nearest = quality._nearest


def mean_accuracies(pool):
    return np.mean([adversarial_accuracy(*split) for split in splits(pool)], axis=0)


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from([4, 6])
    .flatmap(lambda n: st.integers(1, 4).map(lambda f: (n, f)))
    .flatmap(lambda shape: arrays(float, shape, elements=st.sampled_from([0.0, 0.5, 1.0])))
)
def test_adversarial_accuracy_is_a_half_on_average_over_all_the_splits(pool):
    np.testing.assert_allclose(mean_accuracies(pool), 0.5, atol=1e-12)


@pytest.mark.parametrize(
    "broken",
    [
        lambda own, A, B, k: nearest(A, B, 1).repeat(k, 1) if own else nearest(A, B, k),
        lambda own, A, B, k: nearest(A, B, k) if own else nearest(A, B, 1).repeat(k, 1),
    ],
    ids=["a row finds itself", "n samples against n-1 rows"],
)
@pytest.mark.parametrize("pool", [bits((8, 2)), grey((8, 5))], ids=["many ties", "no ties"])
def test_that_test_rejects(broken, pool, monkeypatch):
    monkeypatch.setattr(quality, "_nearest", lambda A, B, k: broken(A is B, A, B, k))
    assert np.abs(mean_accuracies(pool) - 0.5).min() > 0.02


@pytest.mark.parametrize("n_features", [1, 3, 40])
def test_adversarial_accuracy_of_halves_of_one_distribution(n_features):
    draws = bits((600, 16, n_features), p=0.3)
    accuracies = np.array([adversarial_accuracy(X[:8], X[8:]) for X in draws])
    errors = (accuracies.mean(0) - 0.5) / (accuracies.std(0) / math.sqrt(len(draws)))
    assert np.abs(errors).max() < 4


# -- maximum mean discrepancy ------------------------------------------------------------------------------------------


def mmd2_by_loops(X, Y, bandwidth):
    def k(x, y):
        return math.exp(-((x - y) ** 2).sum() / bandwidth)

    xx = np.mean([k(x, z) for i, x in enumerate(X) for j, z in enumerate(X) if i != j])
    yy = np.mean([k(y, z) for i, y in enumerate(Y) for j, z in enumerate(Y) if i != j])
    return xx + yy - 2 * np.mean([k(x, y) for x in X for y in Y])


@pytest.mark.parametrize("chunk", [1, 50, 1 << 23])
@pytest.mark.parametrize("make", [bits, grey])
def test_mmd2_by_loops(make, chunk, monkeypatch):
    monkeypatch.setattr(quality, "_CHUNK", chunk)
    X, Y = make((7, 5), seed=1), make((11, 5), seed=2)
    assert mmd2(X, Y, Stream(0), 3, bandwidth=0.7).value == pytest.approx(mmd2_by_loops(X, Y, 0.7), rel=1e-11)
    median = np.median(pdist(np.concatenate([X, Y]), "sqeuclidean"))
    assert mmd2(X, Y, Stream(0), 3).value == pytest.approx(mmd2_by_loops(X, Y, median), rel=1e-5)


def test_bandwidth_where_the_median_distance_is_zero():
    rows = [[0, 0]] * 5 + [[1, 1]]  # 5 of the 15 pairs are at distance 2
    assert quality._median_distance(np.array(rows, dtype=float)) == pytest.approx(2 / 3)
    for row in far_off((20, 300)):
        assert quality._median_distance(np.stack([row] * 5 + [row + 1])) == pytest.approx(100)
    assert mmd2([[0, 1]] * 3, [[0, 1]] * 4, Stream(0), 9) == (pytest.approx(0, abs=1e-12), 1.0)


def mean_mmd2(pool):
    return np.mean([mmd2(*split, Stream(0), 1, bandwidth=0.5).value for split in splits(pool)])


@pytest.mark.parametrize("pool", [bits((8, 2)), grey((8, 5))], ids=["bits", "grey"])
def test_mmd2_is_zero_on_average_over_all_the_splits(pool, monkeypatch):
    assert mean_mmd2(pool) == pytest.approx(0, abs=1e-12)

    def biased(pooled, marks, n, bandwidth):  # with the diagonal: eq. 5 of Gretton et al.
        K = np.exp(-cdist(pooled, pooled, "sqeuclidean") / bandwidth)
        w = marks / n - (1 - marks) / (len(pooled) - n)
        return (w * (K @ w)).sum(0)

    monkeypatch.setattr(quality, "_mmd2_of_splits", biased)
    assert mean_mmd2(pool) > 0.1


@pytest.mark.parametrize("pool", [bits((8, 3)), grey((8, 3))], ids=["many ties", "no ties"])
def test_p_value_is_the_share_of_the_splits_that_are_as_far_apart(pool):
    X, Y = pool[:4], pool[4:]
    observed = mmd2_by_loops(X, Y, 0.5)
    share = np.mean([mmd2_by_loops(*split, 0.5) >= observed - 1e-9 for split in splits(pool)])
    assert 0.1 < share < 0.9
    estimate = mmd2(X, Y, Stream(3), 20_000, bandwidth=0.5).p_value
    assert estimate == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 20_000))


def test_p_value_counts_splits_that_tie_but_for_rounding():
    for seed in range(20):
        pool = grey((4, 3), seed)
        farthest = max(splits(pool), key=lambda split: mmd2_by_loops(*split, 0.5))
        # Of the 6 splits this one and the same with its sides exchanged.
        assert mmd2(*farthest, Stream(seed), 1000, bandwidth=0.5).p_value == pytest.approx(1 / 3, abs=0.07)


def p_values_under_equality():
    pairs = grey((300, 2, 12, 4))
    return [mmd2(X, Y, Stream(seed), 99).p_value for seed, (X, Y) in enumerate(pairs)]


def test_p_values_are_uniform_under_equality(monkeypatch):
    assert kstest(p_values_under_equality(), "uniform").pvalue > 0.01

    def exchange_two(self, n):
        order = np.arange(n)
        i, j = self.integers(n, (2,))
        order[[i, j]] = order[[j, i]]
        return order

    monkeypatch.setattr(Stream, "permutation", exchange_two)
    assert kstest(p_values_under_equality(), "uniform").pvalue < 1e-3


def test_p_value_where_the_means_or_only_the_covariances_differ():
    rows = bits((100, 20), p=0.5, seed=1)
    assert mmd2(bits((80, 20), p=0.65, seed=2), rows, Stream(0), 199).p_value == 1 / 200
    equal_columns = np.repeat(bits((80, 5), seed=3), 4, axis=1)  # the same means, other covariances
    assert mmd2(equal_columns, rows, Stream(0), 199).p_value == 1 / 200


def test_mmd2_of_too_many_rows_needs_a_bandwidth(monkeypatch):
    monkeypatch.setattr(quality, "_MAX_POOLED", 10)
    X, Y = bits((5, 3), seed=1), bits((6, 3), seed=2)
    with pytest.raises(ValueError, match="at most 10 rows, got 11"):
        mmd2(X, Y, Stream(0))
    mmd2(X, Y[:5], Stream(0), 3)
    mmd2(X, Y, Stream(0), 3, bandwidth=1.0)


# -- moments -----------------------------------------------------------------------------------------------------------


def test_moment_errors_by_loops():
    X, Y = bits((20, 4), seed=1), grey((30, 4), seed=2)

    def covariance(X, i, j):
        return ((X[:, i] - X[:, i].mean()) * (X[:, j] - X[:, j].mean())).sum() / (len(X) - 1)

    means = [X[:, i].mean() - Y[:, i].mean() for i in range(4)]
    covariances = [covariance(X, i, j) - covariance(Y, i, j) for i in range(4) for j in range(i)]
    expected = math.sqrt(np.mean(np.square(means))), math.sqrt(np.mean(np.square(covariances)))
    assert moment_errors(X, Y) == pytest.approx(expected, rel=1e-12)


def test_moment_errors_of_a_single_column():
    assert moment_errors([[0], [1]], [[1], [1], [1]]) == (0.5, 0.0)


# -- all of it ---------------------------------------------------------------------------------------------------------


def test_quality_table_has_the_measures_of_its_sets():
    test, train = grey((30, 12), seed=1), grey((30, 12), seed=2)
    candidates = {"near": grey((30, 12), seed=3), "far": bits((30, 12), seed=4), "copies": train[::-1]}
    table = quality_table(candidates, test, train, Stream(0), n_permutations=49)
    assert table["samples"].tolist() == ["near", "far", "copies", "training rows"]
    bandwidth = np.median(pdist(np.concatenate([test, train]), "sqeuclidean"))
    for i, X in enumerate([*candidates.values(), train]):
        assert (table["aa_truth"][i], table["aa_synthetic"][i]) == pytest.approx(adversarial_accuracy(X, test))
        assert (table["mean_error"][i], table["covariance_error"][i]) == pytest.approx(moment_errors(X, test))
        assert table["mmd2"][i] == pytest.approx(mmd2_by_loops(X, test, bandwidth), rel=1e-5)
        nearest = nearest_distances(X, train, exclude_self=i == 3)
        assert table["nearest_train"][i] == pytest.approx(np.median(nearest))
    assert table["nearest_train"][2] == 0 < table["nearest_train"][3]
    assert table["p_value"][1] == 1 / 50
    frame = pd.DataFrame(table)
    assert frame.shape == (4, 8)
    assert (frame.dtypes[1:] == np.float64).all()


def test_quality_table_draws_as_many_rows_from_each_set(monkeypatch):
    sizes = []
    compare = quality.adversarial_accuracy
    monkeypatch.setattr(quality, "adversarial_accuracy", lambda X, Y: sizes.append((X, Y)) or compare(X, Y))
    test, train, short = grey((15, 6), seed=1), grey((40, 6), seed=2), grey((9, 6), seed=3)
    long = grey((20, 6), seed=4)
    table = quality_table({"short": short, "long": long}, test, train, Stream(0), 9)
    for (X, Y), whole in zip(sizes, (short, long, train), strict=True):
        assert len(X) == len(Y) == 9
        assert len(np.unique(X, axis=0)) == 9  # without repetition
        assert not nearest_distances(X, whole).any()
        assert Y is sizes[0][1]
    assert not nearest_distances(sizes[0][1], test).any()
    # The nearest is looked for among all the training rows.
    assert table["nearest_train"][0] == np.median(nearest_distances(short, train))


def test_quality_table_depends_on_its_stream_alone():
    sets = {"a": grey((12, 5), seed=1)}, grey((30, 5), seed=2), grey((30, 5), seed=3)
    first, again, other = (quality_table(*sets, Stream(seed), 9) for seed in (0, 0, 1))
    for column in first:
        np.testing.assert_array_equal(first[column], again[column])
    assert first["mmd2"][0] != other["mmd2"][0]


def test_quality_table_of_a_candidate_named_as_the_ceiling():
    with pytest.raises(ValueError, match="Give it another name"):
        quality_table({"training rows": bits((3, 2))}, bits((3, 2)), bits((3, 2)), Stream(0))


# -- errors ------------------------------------------------------------------------------------------------------------

GOOD = bits((4, 3))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (nearest_distances, ("A", "B")),
        (adversarial_accuracy, ("samples", "rows")),
        (lambda X, Y: mmd2(X, Y, Stream(0)), ("samples", "rows")),
        (moment_errors, ("samples", "rows")),
        (lambda X, Y: quality_table({"a": X}, GOOD, Y, Stream(0)), (r"candidates\['a'\]", "train")),
        (lambda X, Y: quality_table({"a": GOOD}, X, Y, Stream(0)), ("test", "train")),
    ],
    ids=["nearest", "adversarial", "mmd2", "moments", "candidates", "test"],
)
def test_arrays_that_are_refused(call, names):
    call(GOOD, GOOD)
    for bad, error, message in [
        ([["0", "1", "1"]] * 4, TypeError, "must hold numbers, got type <U1"),
        (GOOD[0], ValueError, r"shape \(n, n_features\) with n >= \d, got \(3,\)"),
        (GOOD[:0], ValueError, r"n >= \d, got \(0, 3\)"),
        (np.where(GOOD > 0, np.nan, 0), ValueError, "NaN or infinite"),
        (np.where(GOOD > 0, np.inf, 0), ValueError, "NaN or infinite"),
    ]:
        for arguments, name in zip([(bad, GOOD), (GOOD, bad)], names, strict=True):
            with pytest.raises(error, match=f"^{name} .*{message}"):
                call(*arguments)
    with pytest.raises(ValueError, match="must have 3 columns like the other rows, got 2|must have 2 .*, got 3"):
        call(GOOD, GOOD[:, :2])
    with pytest.raises(ValueError, match=f"^{names[1]} must have .* n >= 2, got"):
        call(GOOD, GOOD[:1])


def test_numbers_that_are_refused():
    with pytest.raises(ValueError, match="must have equally many rows, got 4 and 3"):
        adversarial_accuracy(GOOD, GOOD[:3])
    for n_permutations in (0, -1, 2.5, "many"):
        with pytest.raises(
            ValueError, match=f"n_permutations must be a whole number, at least 1, got {n_permutations!r}"
        ):
            mmd2(GOOD, GOOD, Stream(0), n_permutations)
    for bandwidth in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"bandwidth must be a positive finite number, got {bandwidth!r}"):
            mmd2(GOOD, GOOD, Stream(0), 3, bandwidth)
