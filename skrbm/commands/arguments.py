"""What the commands share: tables of arguments, checks of these, and lines for whoever waits.

All commands are described before one of them runs, so here and in the files that describe them nothing large (torch,
scikit-learn, numpy, matplotlib) is imported but inside functions: `skrbm --help` is there at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Arguments = dict[str, dict[str, Any]]  # by name (or names, with blanks between), what add_argument takes


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], arguments: Arguments, help: str, text: str
) -> None:
    """Add a command: `help` is its line in the list of all, and `text` what its own --help says first."""
    # Not abbreviated, so that a new argument makes no line ambiguous that somebody has written down.
    parser = commands.add_parser(name, help=help, description=text, allow_abbrev=False)
    for argument, settings in arguments.items():
        parser.add_argument(*argument.split(), **settings)
    parser.set_defaults(run=run, parser=parser)


# -- types -------------------------------------------------------------------------------------------------------------


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A type of argument: whole numbers from low to high."""
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if number < low or (high is not None and number > high):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
        return number

    return convert


def positive(text: str) -> float:
    """A type of argument: positive, finite numbers."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return number


# -- arguments of several commands -------------------------------------------------------------------------------------

DATA: Arguments = {
    "--data": {
        "default": "digits",
        "metavar": "digits|mnist|FOLDER",
        "help": "scikit-learn's digits (the default); MNIST, from the folder that the environment variable SKRBM_MNIST "
        "names, else from OpenML; or a folder of idx files that are named as MNIST's are",
    }
}
DEVICE: Arguments = {
    "--device": {
        "choices": ["auto", "cpu", "cuda"],
        "default": "auto",
        "help": "where the machine learns (default: %(default)s)",
    }
}

FORCE: Arguments = {"--force": {"action": "store_true", "help": "overwrite an --output that is there already"}}


def random_state(of_what: str) -> Arguments:
    """The argument --random-state, the seed of what is named."""
    settings = {"type": whole(0, 2**32 - 1), "default": 0, "metavar": "SEED"}
    return {"--random-state": {**settings, "help": f"seed of {of_what} (default: %(default)s)"}}


# -- checks ------------------------------------------------------------------------------------------------------------


@contextmanager
def errors_of(
    args: argparse.Namespace, argument: str = "", errors: tuple[type[Exception], ...] = (OSError, ValueError)
) -> Iterator[None]:
    """Within it, errors end the program with a line that names the argument, in the command's own words."""
    try:
        yield
    except BrokenPipeError:  # nobody reads what the program says any more: that is no matter of its arguments
        raise
    except errors as error:
        text = in_flags(str(error), args)
        args.parser.error(f"argument {argument}: {text}" if argument else text)


# What the library says to who writes Python, and what is to be done on a command line instead.
_PHRASES = {
    "For more epochs let that one end, then fit again with warm_start=True and checkpoint=None (n_iter more).": "For "
    "more epochs begin anew: training that has come to its end is not gone on with.",
    "set resume=False to begin anew": "give --force instead of --resume to begin anew",
    "Give a folder of its idx files as `folder` or in": "Give a folder of its idx files as --data, or in",
    "Give the folder of the idx files as `folder` or in": "Give the folder of the idx files as --data, or in",
    "Pass image_shape=(height, width); or feature_names, for a table (an estimator has them when fitted on a data "
    "frame)": "Give --image-shape HEIGHT WIDTH, or an --output that ends in .csv",
    "Pass (height, width) with height * width =": "Give HEIGHT and WIDTH whose product is",
    "Call fit with store_trajectory=True, or choose 'parallel_tempering'": "Learn it in Python with "
    "store_trajectory=True, or give --method parallel_tempering",
    "`diagnose` shows more": "in Python, the machine's `diagnose` shows more",
    " With handle_unknown='missing' others count as missing.": " Leave such rows out, or let `skrbm complete` fill "
    "in other values: empty these cells.",
}
_SAID = re.compile(r"\(([a-z]\w*) is ([^()]*(?:\([^()]*\))?[^()]*)\)")  # "(n_iter is 5)"; not all that is said of data
_SETTING = re.compile(r"\b([a-z]\w*)=('[^']*'|\([^)]*\)|\[[^]]*\]|[^\s,.;:)]+(?:\.\d+)?)")


def in_flags(text: str, args: argparse.Namespace) -> str:
    """What the library says, with the flags of this command in place of parameters: --k 2 and not k=2."""
    for phrase, ours in _PHRASES.items():
        text = text.replace(phrase, ours)

    def flag(match: re.Match[str], form: str = "--{} {}") -> str:
        name, value = match.groups()
        option = {"n_samples": "n", "n_steps": "steps"}.get(name, name)
        if option not in vars(args):
            return match.group()
        for sign in "[](),'":  # of a list such as that of --image-shape, or of a string
            value = value.replace(sign, "")
        return form.format(option.replace("_", "-"), value)

    return _SETTING.sub(flag, _SAID.sub(lambda match: flag(match, "(--{} is {})"), text))


def check_device(args: argparse.Namespace) -> None:
    """Stop if --device asks for CUDA and it is not available."""
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        args.parser.error("argument --device: CUDA is not available; leave it out, or use --device cpu")


def check_readable(args: argparse.Namespace, argument: str, path: Path) -> None:
    """Stop if there is no such file."""
    if path.is_dir():
        args.parser.error(f"argument {argument}: {str(path)!r} is a folder; name a file in it")
    if not path.exists():
        args.parser.error(f"argument {argument}: there is no file {str(path)!r}")


def check_writable(args: argparse.Namespace) -> None:
    """Stop before a long run, not after it, if the file --output can't be written, or would be lost without --force."""
    path: Path = args.output
    if not path.parent.is_dir():
        args.parser.error(f"argument --output: there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        args.parser.error(f"argument --output: {str(path)!r} is a folder; name a file in it")
    if path.exists() and not getattr(args, "force", True):  # of commands that have it
        args.parser.error(
            f"argument --output: {str(path)!r} is there already. Overwrite it by --force, or name another file"
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        args.parser.error(f"argument --output: no permission to write {str(path)!r}")


def check_plots(args: argparse.Namespace) -> None:
    """Stop with what to install if matplotlib is missing. If it isn't, no picture will ask for a display."""
    from skrbm.support.checks import optional

    with errors_of(args, errors=(ImportError,)):
        optional("matplotlib", "A picture", "plots").use("Agg")


@contextmanager
def reported_warnings(args: argparse.Namespace) -> Iterator[None]:
    """Within it, warnings of the library become lines on stderr, in the command's own words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)  # what is meant for users, among it ConvergenceWarning
        try:
            yield
        finally:
            for note in dict.fromkeys(str(warning.message) for warning in caught):
                report(f"{args.parser.prog}: warning: {in_flags(note, args)}")


def report(line: str) -> None:
    """Show a line at once, on stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)
