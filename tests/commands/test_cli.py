import argparse
import os
import signal
import subprocess
import sys
import time

import pytest

from skrbm import __version__
from skrbm.commands import cli, feature_comparison
from skrbm.commands.arguments import errors_of
from tests.commands.running import error_of
from tests.test_datasets import write_mnist


@pytest.mark.parametrize(("argv", "words"), [([], "COMMAND"), (["train-a-cat"], "train-a-cat")])
def test_commands_that_are_not_known(capsys, argv, words):
    assert words in error_of(capsys, *argv)


def test_errors_of_the_program_are_not_hidden(monkeypatch):
    def compare(*args, **kwargs):
        raise ValueError("a bug")

    monkeypatch.setattr(feature_comparison, "compare", compare)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["compare"])


def test_interrupt_is_quiet_and_the_handler_put_back(monkeypatch):
    def compare(*args, **kwargs):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:  # what an estimator does that keeps its last epoch
            return []

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(feature_comparison, "compare", compare)
    with pytest.raises(SystemExit) as caught:
        cli.main(["compare"])
    assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"skrbm {__version__}\n"


LARGE = ("torch", "sklearn", "numpy", "scipy", "pandas", "matplotlib", "joblib")


@pytest.mark.parametrize(
    "argv",
    [
        ["--version"],
        ["--help"],
        ["train", "--help"],
        ["sample", "--help"],
        ["compare", "--help"],
        ["train", "--k", "0"],
    ],
)
def test_nothing_large_is_imported_before_a_command_runs(argv):
    code = (
        "import sys\nfrom skrbm.commands.cli import main\n"
        f"try:\n    main({argv!r})\n"
        f"except SystemExit:\n    print('loaded:', *sorted({set(LARGE)!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded:"


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


def run_into_closed_pipe(argv, streams, setup=""):
    """A command whose reader has gone before it writes; its code, and what it says on the other stream."""
    code = f"import sys\nfrom skrbm.commands import cli\n{setup}\nsys.exit(cli.main({argv!r}))"
    read_end, write_end = os.pipe()
    os.close(read_end)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **dict.fromkeys(streams, write_end)}
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    run = subprocess.run([sys.executable, "-c", code], text=True, check=False, env=buffered, **pipes)
    os.close(write_end)
    return run.returncode, run.stdout or "", run.stderr or ""


@pytest.mark.parametrize("argv", [["--version"], ["--help"], ["compare", "--help"]])
def test_a_closed_pipe_is_no_error(argv):
    assert run_into_closed_pipe(argv, ["stdout"]) == (141, "", "")


def test_a_closed_pipe_in_a_command_is_no_error():
    setup = (
        "import skrbm.commands.feature_comparison as f\n"
        "f.compare = lambda *args, **kwargs: []\nf.format_table = lambda results: 'a table'"
    )
    code, _, error = run_into_closed_pipe(["compare"], ["stdout"], setup)
    assert (code, error) == (141, "")
    assert run_into_closed_pipe(["compare"], ["stderr"], setup)[0] == 141


def test_a_closed_pipe_is_no_wrong_argument():
    args = argparse.Namespace(parser=None)  # which would say so
    with pytest.raises(BrokenPipeError), errors_of(args, "--data"):
        raise BrokenPipeError
