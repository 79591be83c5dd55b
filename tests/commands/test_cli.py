import csv
import gzip
import os
import signal
import subprocess
import sys
import time

import pytest
from threadpoolctl import threadpool_limits

from skrbm import __version__
from skrbm.commands import cli
from skrbm.commands.feature_comparison import methods
from tests.test_datasets import write_mnist

SMALL = ["--n-hidden", "3", "--k", "1", "--C", "1", "--n-iter", "1", "--n-jobs", "1"]


def exit_code_and_error(capsys, *argv):
    """How the command ends that fails before it has computed anything: code and what it says."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    captured = capsys.readouterr()
    assert captured.out == ""
    return caught.value.code, captured.err


@pytest.fixture
def no_comparison(monkeypatch):
    """Whoever gets as far as the long run has not been stopped by the checks."""

    def compare(*args, **kwargs):
        raise AssertionError("the comparison was started")

    monkeypatch.setattr(cli, "compare", compare)


@pytest.mark.usefixtures("no_comparison")
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["train-a-cat"], "train-a-cat"),
        (["compare", "--k", "0"], "--k: must be a whole number of at least 1, not '0'"),
        (["compare", "--k", "1", "2.5"], "--k: must be a whole number of at least 1, not '2.5'"),
        (["compare", "--n-hidden", "-3"], "--n-hidden: must be a whole number"),
        (["compare", "--n-hidden"], "--n-hidden"),
        (["compare", "--C", "0"], "--C: must be a positive number, not '0'"),
        (["compare", "--C", "nan"], "--C: must be a positive number"),
        (["compare", "--n-iter", "0"], "--n-iter"),
        (["compare", "--learning-rate", "fast"], "--learning-rate: must be a positive number, not 'fast'"),
        (["compare", "--n-jobs", "0"], "--n-jobs"),
        (["compare", "--splits", "1"], "--splits: must be a whole number from 2 to 20"),
        (["compare", "--splits", "3", "--data", "mnist"], "--splits: only for --data digits"),
        (["compare", "--random-state", "-1"], "--random-state"),
        (["compare", "--device", "abacus"], "--device"),
        (["compare", "--data", "no-such-folder"], "--data: 'no-such-folder' is neither 'digits' nor 'mnist' nor"),
        (["compare", "--output", "no-such-folder/table.csv"], "--output: there is no folder 'no-such-folder'"),
        (["compare", "--output", "."], "--output: '.' is a folder"),
    ],
)
def test_wrong_arguments(capsys, argv, words):
    code, error = exit_code_and_error(capsys, *argv)
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("skrbm")
    assert words in error


@pytest.mark.usefixtures("no_comparison")
def test_device_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setattr(cli.torch.cuda, "is_available", lambda: False)
    code, error = exit_code_and_error(capsys, "compare", "--device", "cuda")
    assert (code, error.count("\n")) == (2, 1)
    assert "no CUDA device" in error


@pytest.mark.usefixtures("no_comparison")
def test_output_that_may_not_be_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(cli.os, "access", lambda path, mode: False)
    code, error = exit_code_and_error(capsys, "compare", "--output", os.fspath(tmp_path / "table.csv"))
    assert (code, error.count("\n")) == (2, 1)
    assert "no permission" in error


@pytest.mark.usefixtures("no_comparison")
def test_folder_without_the_files(capsys, tmp_path):
    code, error = exit_code_and_error(capsys, "compare", "--data", os.fspath(tmp_path))
    assert (code, error.count("\n")) == (2, 1)
    assert "train-images-idx3-ubyte" in error


@pytest.mark.usefixtures("no_comparison")
def test_folder_with_a_damaged_file(capsys, tmp_path):
    write_mnist(tmp_path, 50, 20)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    code, error = exit_code_and_error(capsys, "compare", "--data", os.fspath(tmp_path))
    assert (code, error.count("\n")) == (2, 1)
    assert "t10k-images-idx3-ubyte.gz" in error


def test_mnist_offline(capsys, monkeypatch):
    def load_mnist(folder, subset):
        raise OSError("MNIST couldn't be\nfetched")

    monkeypatch.setattr(cli, "load_mnist", load_mnist)
    code, error = exit_code_and_error(capsys, "compare", "--data", "mnist")
    assert (code, error) == (2, "skrbm compare: error: argument --data: MNIST couldn't be fetched\n")


def test_compare_on_a_folder(capsys, tmp_path):
    write_mnist(tmp_path, 60, 20)
    output = tmp_path / "table.csv"
    with threadpool_limits(1):
        assert cli.main(["compare", "--data", os.fspath(tmp_path), "--output", os.fspath(output), *SMALL]) == 0
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

    monkeypatch.setattr(cli, "methods", note_methods)
    monkeypatch.setattr(cli, "compare", note_compare)
    monkeypatch.setattr(cli, "format_table", lambda results: "a table")
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


def test_errors_of_the_program_are_not_hidden(monkeypatch):
    def compare(*args, **kwargs):
        raise ValueError("a bug")

    monkeypatch.setattr(cli, "compare", compare)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["compare"])


def test_interrupt_is_quiet_and_the_handler_put_back(monkeypatch):
    def compare(*args, **kwargs):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:  # what an estimator does that keeps its last epoch
            return []

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(cli, "compare", compare)
    with pytest.raises(SystemExit) as caught:
        cli.main(["compare"])
    assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"skrbm {__version__}\n"


def test_module_runs_as_a_program():
    run = subprocess.run(
        [sys.executable, "-m", "skrbm", "compare", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--data", "--n-hidden", "--k", "--n-jobs", "--device", "--output", "--random-state"):
        assert option in run.stdout
    assert run.stderr == ""


def test_ctrl_c_in_the_search(tmp_path):
    write_mnist(tmp_path, 60, 20)
    argv = ["compare", "--data", os.fspath(tmp_path), "--n-jobs", "2", "--n-iter", "1000000"]
    run = subprocess.Popen(
        [sys.executable, "-m", "skrbm", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    first = run.stderr.readline()  # raw pixels are done, and the RBMs would take long
    time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does, to the workers too
    out, err = run.communicate(timeout=30)
    assert "raw pixels" in first
    assert (run.returncode, out) == (130, "")
    assert "Traceback" not in err
