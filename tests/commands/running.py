"""How the tests run the command."""

import pytest

from skrbm.commands import cli

SMALL_COMPARISON = ["--n-hidden", "3", "--k", "1", "--C", "1", "--n-iter", "1", "--n-jobs", "1"]
SMALL_TRAINING = ["--n-hidden", "8", "--n-iter", "3", "--device", "cpu"]


def error_of(capsys, *argv):
    """The one line that the command says when it fails before it has computed anything."""
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("skrbm")
    return captured.err
