"""The command `skrbm`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from skrbm._version import __version__
from skrbm.commands.compare_command import add_compare
from skrbm.commands.model_commands import add_model_commands
from skrbm.commands.train_command import add_train

_CLOSED_PIPE = 128 + 13  # what shells say of a program that SIGPIPE has ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0; 141 if whoever read the output has gone, as with `| head`.

    Raises
    ------
    SystemExit
        With code 2 and a line on stderr if an argument or a file is wrong, with code 130 after Ctrl-C.
    """
    try:
        try:
            args = _parser().parse_args(argv)
            args.argv = list(sys.argv[1:] if argv is None else argv)
            with _quiet_interrupt():
                args.run(args)
        finally:
            _flush()  # which fails here, if it does, and not when the interpreter ends
    except BrokenPipeError:
        _discard_output()
        return _CLOSED_PIPE
    return 0


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as it is under pythonw
            stream.flush()


def _discard_output() -> None:
    """What is still to be written goes nowhere: the interpreter flushes once more when it ends, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # of a stream without a file, such as that of a test
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="skrbm", description="Restricted Boltzmann machines for scikit-learn, on a torch core.")
    parser.add_argument("--version", action="version", version=f"skrbm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_compare(commands)
    add_train(commands)
    add_model_commands(commands)
    return parser


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Ctrl-C ends the program, without a traceback from it or from joblib's processes.

    As KeyboardInterrupt it would only end the training at hand.
    """
    import joblib

    before = signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    try:
        with joblib.parallel_config("loky", **deaf):
            yield
    finally:
        signal.signal(signal.SIGINT, before)
