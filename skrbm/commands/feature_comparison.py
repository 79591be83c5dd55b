"""What an RBM's features are worth to a classifier: the experiment behind `skrbm compare`.

Three pipelines that end in a logistic regression (on raw pixels, on the features of scikit-learn's `BernoulliRBM`, on
those of `BernoulliRBMTorch`) are each tuned by a grid search over the same number of candidates, on training rows only,
and then judged on test rows.

    rows = compare(methods(), digits_splits(load_digits()), n_jobs=2)
    print(format_table(rows))
"""

from __future__ import annotations

import csv
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import Pipeline

from skrbm.datasets import LabelledImages, shift_images
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.support.tables import as_text

Array = NDArray[Any]

RAW_CS = (1e-3, 1e2)  # from, to
SKLEARN_LEARNING_RATE = 0.06  # that of scikit-learn's digits example
N_INNER_FOLDS = 2
MAX_HELD_OUT = 10_000  # rows
MAX_ITER = 10_000  # of the logistic regression, far beyond what it needs


@dataclass(frozen=True)
class Split:
    """Rows to learn from, and rows to be judged by.

    Attributes
    ----------
    X, y : ndarray of shape (n_samples, n_features) and (n_samples,)
        Training rows.
    inner : list of (ndarray, ndarray)
        Indices of the training rows that the search fits and scores its candidates on, one pair for each fold.
    tests : dict of (ndarray, ndarray)
        Test sets by name: rows and labels.
    """

    X: Array
    y: Array
    inner: list[tuple[Array, Array]]
    tests: dict[str, tuple[Array, Array]]


@dataclass(frozen=True)
class Method:
    """A pipeline, and the grid of parameters that it is tuned over."""

    name: str
    pipeline: Pipeline
    grid: dict[str, list[Any]]


@dataclass
class Result:
    """How a method did: each list has one entry for each split.

    Attributes
    ----------
    method : str
        Its name.
    n_candidates : int
        Size of its grid.
    accuracy : dict of list of float
        Accuracies, by test set.
    best_params : list of dict
        What the search chose: the pipeline's parameters.
    seconds : list of float
        Wall time of fitting the chosen pipeline to all training rows.
    """

    method: str
    n_candidates: int
    accuracy: dict[str, list[float]] = field(default_factory=dict)
    best_params: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


# -- the data ----------------------------------------------------------------------------------------------------------


def digits_splits(digits: LabelledImages, n_splits: int = 5, random_state: int = 0) -> Iterator[Split]:
    """Stratified folds of images; each training image comes with its four shifted copies.

    The images are split first and shifted then, and the copies of an image stay in one fold of the inner search too, so
    nothing is ever judged by a copy of what it has learned.

    Parameters
    ----------
    digits : LabelledImages
        Images and labels.
    n_splits : int
        Number of folds, at least 2.
    random_state : int
        Seed of the folds.

    Yields
    ------
    Split
        With the test sets "unshifted" and "shifted" (all five copies).
    """
    images, target, shape = digits
    folds = StratifiedKFold(n_splits, shuffle=True, random_state=random_state)
    inner_folds = StratifiedGroupKFold(N_INNER_FOLDS, shuffle=True, random_state=random_state)
    for train, test in folds.split(images, target):
        X, source = shift_images(images[train], shape)
        y = target[train][source]
        X_shifted, source_shifted = shift_images(images[test], shape)
        yield Split(
            X,
            y,
            inner=list(inner_folds.split(X, y, groups=source)),
            tests={
                "unshifted": (images[test], target[test]),
                "shifted": (X_shifted, target[test][source_shifted]),
            },
        )


def held_out_split(train: LabelledImages, test: LabelledImages, random_state: int = 0) -> Split:
    """Training and test rows as they are given; the search holds out a fifth of the training rows, 10,000 at most.

    Parameters
    ----------
    train, test : LabelledImages
        Images and labels.
    random_state : int
        Seed of the choice of the rows held out.

    Returns
    -------
    Split
        With one inner fold, and the test set "test".

    Raises
    ------
    ValueError
        If the images are of different sizes, or if there are too few of a label to hold some out.
    """
    if train.image_shape != test.image_shape:
        raise ValueError(f"Training images of shape {train.image_shape}, but test images of {test.image_shape}.")
    n_held_out = min(MAX_HELD_OUT, len(train.data) // 5)
    inner = StratifiedShuffleSplit(1, test_size=n_held_out, random_state=random_state)
    return Split(
        train.data,
        train.target,
        inner=list(inner.split(train.data, train.target)),
        tests={"test": (test.data, test.target)},
    )


# -- the methods -------------------------------------------------------------------------------------------------------


def methods(
    n_hidden: Sequence[int] = (100, 200),
    k: Sequence[int] = (1, 5),
    C: Sequence[float] = (100.0, 1000.0),
    *,
    n_iter: int = 20,
    learning_rate: float = 0.2,
    sklearn_n_iter: int | None = None,
    device: str = "auto",
    random_state: int = 0,
) -> list[Method]:
    """The three pipelines, each with the same number of candidates.

    Parameters
    ----------
    n_hidden : sequence of int
        Numbers of hidden units that both RBMs are tried with.
    k : sequence of int
        Numbers of Gibbs steps that `BernoulliRBMTorch` is tried with; `BernoulliRBM` is tried with as many learning
        rates instead.
    C : sequence of float
        Inverse penalties of the classifier that both RBMs are tried with. Their features vary little, and want large
        ones on small data. Raw pixels are tried with as many as there are candidates, from 0.001 to 100.
    n_iter : int
        Epochs that `BernoulliRBMTorch` learns for.
    sklearn_n_iter : int, optional
        Epochs that `BernoulliRBM` learns for; by default as many.
    learning_rate : float
        Learning rate of `BernoulliRBMTorch`.
    device : str
        Where `BernoulliRBMTorch` learns.
    random_state : int
        Seed of both RBMs.

    Returns
    -------
    list of Method
        Raw pixels, `BernoulliRBM`, `BernoulliRBMTorch`.
    """
    rates = [SKLEARN_LEARNING_RATE * 2**i for i in range(len(k))]
    n_candidates = len(n_hidden) * len(k) * len(C)
    sklearn_rbm = BernoulliRBM(n_iter=sklearn_n_iter or n_iter, random_state=random_state)
    torch_rbm = BernoulliRBMTorch(n_iter=n_iter, learning_rate=learning_rate, device=device, random_state=random_state)
    return [
        Method("raw pixels", _classifier_on(), {"classifier__C": np.geomspace(*RAW_CS, n_candidates).tolist()}),
        Method(
            "BernoulliRBM",
            _classifier_on(sklearn_rbm),
            {"rbm__n_components": list(n_hidden), "rbm__learning_rate": rates, "classifier__C": list(C)},
        ),
        Method(
            "BernoulliRBMTorch",
            _classifier_on(torch_rbm),
            {"rbm__n_hidden": list(n_hidden), "rbm__k": list(k), "classifier__C": list(C)},
        ),
    ]


def _classifier_on(*rbm: Any) -> Pipeline:
    return Pipeline([("rbm", step) for step in rbm] + [("classifier", LogisticRegression(max_iter=MAX_ITER))])


# -- the experiment ----------------------------------------------------------------------------------------------------


def compare(
    methods: Sequence[Method],
    splits: Iterable[Split],
    *,
    n_jobs: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Tune each method on each split's training rows; then fit the best candidates to all of these, and test them.

    Parameters
    ----------
    methods : sequence of Method
        What to compare.
    splits : iterable of Split
        What to compare it on.
    n_jobs : int
        Number of processes. Each works on as many threads as joblib leaves it, and so are fits timed.
    report : callable
        Gets a line whenever a search is done, and a line whenever a test is.

    Returns
    -------
    list of Result
        One for each method.

    Warns
    -----
    ConvergenceWarning
        From scikit-learn, if a classifier doesn't converge; with several processes, on their stderr.
    """
    started = time.perf_counter()
    pairs = [(split, method) for split in splits for method in methods]

    def tell(number: int, words: str) -> None:
        where = f"split {number // len(methods) + 1}, {pairs[number][1].name}"
        report(f"[{time.perf_counter() - started:6.1f} s] {where}: {words}")

    chosen = []
    for number, (split, method) in enumerate(pairs):
        search = _search(method, split, n_jobs)
        chosen.append(search.best_params_)
        tell(number, f"{_words(search.best_params_)}, {search.best_score_:.4f} on held-out training rows")

    results = [Result(method.name, len(ParameterGrid(method.grid))) for method in methods]
    tasks = (
        delayed(_fit_and_test)(clone(method.pipeline).set_params(**params), split.X, split.y, split.tests)
        for (split, method), params in zip(pairs, chosen, strict=True)
    )
    for number, (seconds, accuracies) in enumerate(Parallel(n_jobs, return_as="generator")(tasks)):
        result = results[number % len(methods)]
        result.seconds.append(seconds)
        result.best_params.append(chosen[number])
        for test, accuracy in accuracies.items():
            result.accuracy.setdefault(test, []).append(accuracy)
        tell(number, ", ".join(f"{test} {accuracy:.4f}" for test, accuracy in accuracies.items()))
    return results


def _search(method: Method, split: Split, n_jobs: int) -> GridSearchCV:
    with TemporaryDirectory(prefix="skrbm-") as cache:
        # The cache saves fitting an RBM anew for each C. C is the slowest to vary (grids go through their names
        # in alphabetical order), so that two processes seldom fit the same one.
        return GridSearchCV(
            clone(method.pipeline).set_params(memory=cache),
            method.grid,
            cv=split.inner,
            n_jobs=n_jobs,
            refit=False,  # fitted and timed later, without the cache
            error_score="raise",
        ).fit(split.X, split.y)


def _fit_and_test(
    pipeline: Pipeline, X: Array, y: Array, tests: dict[str, tuple[Array, Array]]
) -> tuple[float, dict[str, float]]:
    """Seconds that fitting takes, and the accuracy on each test set."""
    started = time.perf_counter()
    pipeline.fit(X, y)
    seconds = time.perf_counter() - started
    return seconds, {test: float(pipeline.score(*rows)) for test, rows in tests.items()}


# -- the table ---------------------------------------------------------------------------------------------------------


def format_table(results: Sequence[Result]) -> str:
    """The results as a table in plain text.

    Accuracies are means over splits ± their standard deviation (that of a sample); the parameters are those chosen most
    often, and the seconds the mean.

    Parameters
    ----------
    results : sequence of Result
        From :func:`compare`.

    Returns
    -------
    str
        Lines, without a newline at the end.
    """
    tests = list(results[0].accuracy)
    header = [
        "method",
        *(title for test in tests for title in (test, "error")),
        "best parameters",
        "one fit",
        "candidates",
    ]
    rows = [header]
    for result in results:
        cells = [cell for test in tests for cell in _accuracy_cells(result.accuracy[test])]
        chosen, times = Counter(map(_words, result.best_params)).most_common(1)[0]
        share = f" ({times} of {len(result.best_params)})" if len(result.best_params) > 1 else ""
        rows.append([result.method, *cells, chosen + share, f"{mean(result.seconds):.1f} s", str(result.n_candidates)])
    return as_text(rows, to_the_left=[True] * len(header), rule=True)


def _accuracy_cells(accuracies: list[float]) -> list[str]:
    spread = f" ± {stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    return [f"{mean(accuracies):.4f}{spread}", f"{100 * (1 - mean(accuracies)):.2f} %"]


def _words(params: dict[str, Any]) -> str:
    return " ".join(f"{name.partition('__')[2]}={value:.4g}" for name, value in sorted(params.items()))


def write_csv(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """The results as a CSV file.

    Its columns are the method, for each test set the mean accuracy, its standard deviation over splits (empty
    if there is one only) and the error in per cent, the parameters chosen in each split, the mean seconds of
    the best fit, the number of candidates and the number of splits.

    Parameters
    ----------
    results : sequence of Result
        From :func:`compare`.
    path : path
        The file; it is overwritten.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        records = [_record(result) for result in results]
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def _record(result: Result) -> dict[str, Any]:
    record: dict[str, Any] = {"method": result.method}
    for test, accuracies in result.accuracy.items():
        record[f"{test}_accuracy_mean"] = round(mean(accuracies), 6)
        record[f"{test}_accuracy_std"] = round(stdev(accuracies), 6) if len(accuracies) > 1 else ""
        record[f"{test}_error_percent"] = round(100 * (1 - mean(accuracies)), 4)
    record["best_params"] = "; ".join(map(_words, result.best_params))
    record["fit_seconds"] = round(mean(result.seconds), 3)
    record["n_candidates"] = result.n_candidates
    record["n_splits"] = len(result.seconds)
    return record
