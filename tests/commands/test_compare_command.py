import csv
import os

import pytest
from threadpoolctl import threadpool_limits

from skrbm.commands import cli, feature_comparison
from skrbm.commands.feature_comparison import methods
from tests.commands.running import SMALL_COMPARISON, error_of
from tests.test_datasets import write_mnist


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--n-hidden"], "--n-hidden"),
        (["--n-iter", "0"], "--n-iter"),
        (["--n-jobs", "0"], "--n-jobs"),
        (["--splits", "3", "--data", "mnist"], "--splits: only for --data digits"),
    ],
)
def test_wrong_arguments(capsys, monkeypatch, argv, words):
    def compare(*args, **kwargs):
        raise AssertionError("the comparison was started")

    monkeypatch.setattr(feature_comparison, "compare", compare)
    assert words in error_of(capsys, "compare", *argv)


def test_compare_on_a_folder(capsys, tmp_path):
    write_mnist(tmp_path, 60, 20)
    output = tmp_path / "table.csv"
    argv = ["compare", "--data", os.fspath(tmp_path), "--output", os.fspath(output), *SMALL_COMPARISON]
    with threadpool_limits(1):
        assert cli.main(argv) == 0
    captured = capsys.readouterr()
    table = captured.out.splitlines()
    assert [line.split("  ")[0] for line in table[2:]] == ["raw pixels", "BernoulliRBM", "BernoulliRBMTorch"]
    assert len(captured.err.splitlines()) == 7  # three searches, three tests, the end
    with open(output, newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert [record["method"] for record in records] == ["raw pixels", "BernoulliRBM", "BernoulliRBMTorch"]
    for record, line in zip(records, table[2:], strict=True):
        assert f"{float(record['test_accuracy_mean']):.4f}" in line
        assert record["test_accuracy_std"] == ""
        assert (record["n_candidates"], record["n_splits"]) == ("1", "1")


def test_arguments_arrive(monkeypatch, capsys):
    seen = {}

    def note_methods(*args, **kwargs):
        seen.update(methods=(args, kwargs))
        return methods(*args, **kwargs)

    def note_compare(candidates, splits, **kwargs):
        seen.update(n_splits=len(list(splits)), n_jobs=kwargs["n_jobs"])
        return []

    monkeypatch.setattr(feature_comparison, "methods", note_methods)
    monkeypatch.setattr(feature_comparison, "compare", note_compare)
    monkeypatch.setattr(feature_comparison, "format_table", lambda results: "a table")
    argv = "--n-hidden 7 8 --k 2 3 --n-iter 4 --sklearn-n-iter 5 --learning-rate 0.5 --splits 6 --n-jobs 3 --device cpu"
    assert cli.main(["compare", *argv.split(), "--random-state", "9"]) == 0
    assert seen["methods"] == (
        ([7, 8], [2, 3], [100, 1000]),
        {
            "n_iter": 4,
            "sklearn_n_iter": 5,
            "learning_rate": 0.5,
            "device": "cpu",
            "random_state": 9,
        },
    )
    assert (seen["n_splits"], seen["n_jobs"]) == (6, 3)
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize(
    ("argv", "n_hidden", "n_iter", "n_splits"),
    [([], [200], 12, 3), (["--full"], [100, 200], 20, 5), (["--full", "--splits", "2"], [100, 200], 20, 2)],
)
def test_full_or_quick(argv, n_hidden, n_iter, n_splits, monkeypatch):
    seen = {}

    def note_compare(candidates, splits, **kwargs):
        seen.update(n_splits=len(list(splits)))
        return []

    def note_methods(*args, **kwargs):
        seen.update(n_hidden=args[0], n_iter=kwargs["n_iter"])
        return []

    monkeypatch.setattr(feature_comparison, "methods", note_methods)
    monkeypatch.setattr(feature_comparison, "compare", note_compare)
    monkeypatch.setattr(feature_comparison, "format_table", lambda results: "a table")
    assert cli.main(["compare", *argv]) == 0
    assert seen == {"n_hidden": n_hidden, "n_iter": n_iter, "n_splits": n_splits}


def test_a_table_that_cannot_be_written(monkeypatch, capsys, tmp_path):
    def write_csv(results, path):
        raise OSError("the disk is full")

    monkeypatch.setattr(feature_comparison, "compare", lambda *args, **kwargs: [])
    monkeypatch.setattr(feature_comparison, "format_table", lambda results: "a table")
    monkeypatch.setattr(feature_comparison, "write_csv", write_csv)
    with pytest.raises(SystemExit) as caught:
        cli.main(["compare", "--output", os.fspath(tmp_path / "table.csv")])
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (2, "a table\n")  # which is not lost
    assert captured.err == "skrbm compare: error: argument --output: the disk is full\n"
