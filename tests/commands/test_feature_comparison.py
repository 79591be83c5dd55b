import csv
import re
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from skrbm import BernoulliRBMTorch
from skrbm.commands import feature_comparison as comparison
from skrbm.commands.feature_comparison import (
    Method,
    Result,
    Split,
    compare,
    digits_splits,
    format_table,
    held_out_split,
    methods,
    write_csv,
)
from skrbm.datasets import LabelledImages, load_digits, shift_images

N_IMAGES = 60


@pytest.fixture(autouse=True)
def one_thread():
    """Problems this small take far longer on several threads, where others use the machine too."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def numbered():
    """Images of 5 x 5 pixels that tell their number, shifted or not: it stands in the middle."""
    images = np.zeros((N_IMAGES, 5, 5), np.float32)
    images[:, 2, 2] = np.arange(N_IMAGES) + 1
    return LabelledImages(images.reshape(N_IMAGES, -1), np.arange(N_IMAGES) % 3, (5, 5))


def numbers(X):
    return (X.max(axis=1) - 1).astype(int)


def assert_nothing_leaks(split):
    """No image is among the training rows and a test's, or on both sides of an inner fold."""
    for X_test, _ in split.tests.values():
        assert not set(numbers(split.X)) & set(numbers(X_test))
    for train, valid in split.inner:
        assert not set(numbers(split.X[train])) & set(numbers(split.X[valid]))


def small_digits(n=150):
    digits = load_digits()
    return LabelledImages(digits.data[:n], digits.target[:n], digits.image_shape)


def small_methods():
    small = methods([3, 4], [1], [1.0, 10.0], n_iter=2)
    for method in small:
        method.pipeline.set_params(classifier__tol=1e-2)
    return small


# -- splits ------------------------------------------------------------------------------------------------------------


def test_digits_are_split_before_they_are_shifted(numbered):
    splits = list(digits_splits(numbered, 4))
    assert len(splits) == 4
    tested = []
    for split in splits:
        assert_nothing_leaks(split)
        assert len(split.X) == 5 * 45
        assert sorted(numbers(split.X)) == sorted(np.repeat(np.unique(numbers(split.X)), 5))
        X_test, _ = split.tests["unshifted"]
        X_shifted, _ = split.tests["shifted"]
        np.testing.assert_array_equal(X_shifted, shift_images(X_test, (5, 5)).data)
        for X, y in [(split.X, split.y), *split.tests.values()]:
            np.testing.assert_array_equal(y, numbers(X) % 3)
        tested += list(numbers(X_test))
    assert sorted(tested) == list(range(N_IMAGES))


def test_a_split_of_shifted_images_would_leak(numbered):
    X, source = shift_images(numbered.data, numbered.image_shape)
    y = numbered.target[source]
    train, test = next(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))
    with pytest.raises(AssertionError):
        assert_nothing_leaks(Split(X[train], y[train], [], {"shifted": (X[test], y[test])}))
    inner = list(StratifiedKFold(2, shuffle=True, random_state=0).split(X, y))
    with pytest.raises(AssertionError):
        assert_nothing_leaks(Split(X, y, inner, {}))


def test_inner_folds_score_each_training_row_once(numbered):
    for split in digits_splits(numbered, 3):
        valid = np.concatenate([valid for _, valid in split.inner])
        assert sorted(valid) == list(range(len(split.X)))


def test_seed_of_the_splits(numbered):
    first, again, other = (next(digits_splits(numbered, 3, seed)).X for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(numbers(first)) != set(numbers(other))


def test_held_out_rows_are_training_rows(numbered, monkeypatch):
    test = LabelledImages(numbered.data[:10] + 100 * (numbered.data[:10] > 0), numbered.target[:10], (5, 5))
    split = held_out_split(numbered, test)
    assert_nothing_leaks(split)
    ((train, valid),) = split.inner
    assert (len(train), len(valid)) == (48, 12)
    assert split.X is numbered.data
    assert split.tests["test"][0] is test.data
    monkeypatch.setattr(comparison, "MAX_HELD_OUT", 6)
    assert len(held_out_split(numbered, test).inner[0][1]) == 6


def test_images_of_two_sizes(numbered):
    with pytest.raises(ValueError, match=r"\(5, 5\), but test images of \(8, 8\)"):
        held_out_split(numbered, small_digits())


# -- methods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [([10], [1], [1.0]), ([10, 20], [1, 5], [1.0, 10.0]), ([5], [1, 2, 3], [1.0, 2.0])])
def test_every_method_has_the_same_number_of_candidates(sizes):
    n_candidates = [len(ParameterGrid(method.grid)) for method in methods(*sizes)]
    assert n_candidates == [np.prod([len(values) for values in sizes])] * 3
    for method in methods(*sizes):
        assert all(len(set(values)) == len(values) for values in method.grid.values())


def test_methods_are_told_what_they_are_asked(monkeypatch):
    _, theirs, ours = methods([7], [3], n_iter=4, learning_rate=0.3, device="cpu", random_state=5)
    assert theirs.pipeline["rbm"].n_iter == ours.pipeline["rbm"].n_iter == 4
    assert [m.pipeline["rbm"].n_iter for m in methods([7], [3], n_iter=4, sklearn_n_iter=2)[1:]] == [2, 4]
    assert theirs.pipeline["rbm"].random_state == ours.pipeline["rbm"].random_state == 5
    assert ours.pipeline["rbm"].device == "cpu"
    assert ours.pipeline["rbm"].learning_rate == 0.3
    assert isinstance(ours.pipeline["rbm"], BernoulliRBMTorch)
    assert ours.grid["rbm__n_hidden"] == theirs.grid["rbm__n_components"] == [7]
    assert ours.grid["rbm__k"] == [3]
    assert ours.grid["classifier__C"] == theirs.grid["classifier__C"]


# -- the experiment ----------------------------------------------------------------------------------------------------


def test_compare_end_to_end_and_again():
    lines = []
    first, again = (compare(small_methods(), digits_splits(small_digits(), 2), report=lines.append) for _ in range(2))
    assert [result.method for result in first] == ["raw pixels", "BernoulliRBM", "BernoulliRBMTorch"]
    assert {result.n_candidates for result in first} == {4}
    for one, other in zip(first, again, strict=True):
        assert one.accuracy == other.accuracy
        assert one.best_params == other.best_params
        assert list(one.accuracy) == ["unshifted", "shifted"]
        assert all(len(values) == 2 and min(values) >= 0.05 for values in one.accuracy.values())
        assert len(one.seconds) == len(one.best_params) == 2
        assert min(one.seconds) > 0
    assert min(first[0].accuracy["unshifted"]) > 0.7
    assert len(lines) == 2 * (6 + 6)  # searches and tests
    assert "split 2, BernoulliRBMTorch: C=1" in lines[5]
    assert "split 2, BernoulliRBMTorch: unshifted 0." in lines[11]


def test_compare_is_a_grid_search_without_the_cache():
    """The best candidate and its accuracy are those of a plain GridSearchCV that knows the training rows only."""
    split = next(digits_splits(small_digits(), 3))
    for method, result in zip(small_methods(), compare(small_methods(), [split]), strict=True):
        search = GridSearchCV(method.pipeline, method.grid, cv=split.inner).fit(split.X, split.y)
        assert result.best_params == [search.best_params_]
        for name, (X, y) in split.tests.items():
            assert result.accuracy[name] == [search.score(X, y)]


class CountingPCA(PCA):
    """A step that counts its fits, wherever it is cloned to."""

    fits = 0

    def fit_transform(self, X, y=None):
        CountingPCA.fits += 1
        return super().fit_transform(X, y)


def test_a_feature_is_learned_once_for_all_penalties(monkeypatch):
    monkeypatch.setattr(CountingPCA, "fits", 0)
    pipeline = Pipeline([("rbm", CountingPCA()), ("classifier", LogisticRegression(tol=1e-2))])
    method = Method("PCA", pipeline, {"rbm__n_components": [2, 3], "classifier__C": [0.1, 1.0, 10.0]})
    (result,) = compare([method], [next(digits_splits(small_digits(), 3))])
    assert CountingPCA.fits == 2 * comparison.N_INNER_FOLDS + 1  # and once for all training rows, timed
    assert result.n_candidates == 6


def test_classifiers_converge():
    split = next(digits_splits(small_digits(), 2))
    for method in methods([10], [1], n_iter=3):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            classifier = method.pipeline.set_params(classifier__C=1000).fit(split.X, split.y)["classifier"]
        assert classifier.n_iter_.max() < classifier.max_iter


# -- the table ---------------------------------------------------------------------------------------------------------

TWO = [
    Result("raw", 4, {"unshifted": [0.9, 0.8], "shifted": [0.7, 0.7]}, [{"clf__C": 1.0}, {"clf__C": 1.0}], [1.0, 2.0]),
    Result(
        "ours",
        4,
        {"unshifted": [1.0, 0.9], "shifted": [0.8, 0.9]},
        [{"rbm__k": 5, "clf__C": 1e3}, {"rbm__k": 1, "clf__C": 1e3}],
        [3, 4],
    ),
]


def test_table():
    header, rule, raw, ours = format_table(TWO).splitlines()
    assert header.split() == [
        "method",
        "unshifted",
        "error",
        "shifted",
        "error",
        "best",
        "parameters",
        "one",
        "fit",
        "candidates",
    ]
    assert set(rule) == {"-", " "}
    cells = ["raw", "0.8500 ± 0.0707", "15.00 %", "0.7000 ± 0.0000", "30.00 %", "C=1 (2 of 2)", "1.5 s", "4"]
    assert re.split(" {2,}", raw) == cells
    cells = ["ours", "0.9500 ± 0.0707", "5.00 %", "0.8500 ± 0.0707", "15.00 %", "C=1000 k=5 (1 of 2)", "3.5 s", "4"]
    assert re.split(" {2,}", ours) == cells
    assert raw.index("C=") == ours.index("C=") == header.index("best")


def test_table_of_one_split():
    table = format_table([Result("raw", 1, {"test": [0.926]}, [{"clf__C": 0.01}], [12.34])])
    assert re.split(" {2,}", table.splitlines()[2]) == ["raw", "0.9260", "7.40 %", "C=0.01", "12.3 s", "1"]


def test_csv(tmp_path):
    write_csv(TWO, tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        raw, ours = csv.DictReader(file)
    assert list(raw) == [
        "method",
        *(
            f"{test}_{what}"
            for test in ("unshifted", "shifted")
            for what in ("accuracy_mean", "accuracy_std", "error_percent")
        ),
        "best_params",
        "fit_seconds",
        "n_candidates",
        "n_splits",
    ]
    assert ours["method"] == "ours"
    assert float(ours["unshifted_accuracy_mean"]) == pytest.approx(0.95)
    assert float(ours["unshifted_accuracy_std"]) == pytest.approx(0.05 * 2**0.5, abs=1e-6)
    assert float(ours["shifted_error_percent"]) == pytest.approx(15)
    assert ours["best_params"] == "C=1000 k=5; C=1000 k=1"
    assert (ours["fit_seconds"], ours["n_candidates"], ours["n_splits"]) == ("3.5", "4", "2")
