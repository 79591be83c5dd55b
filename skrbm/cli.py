"""The command `skrbm`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import joblib
import torch

from skrbm import __version__
from skrbm.comparison import Split, compare, digits_splits, format_table, held_out_split, methods, write_csv
from skrbm.datasets import load_digits, load_mnist

__all__ = ["main"]

_DIGITS_CS, _OTHER_CS = [100.0, 1000.0], [0.3, 3.0]  # found on held-out training rows
_MAX_DEFAULT_JOBS = 4  # each process holds a copy of its training rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0.

    Raises
    ------
    SystemExit
        With code 2 and a line on stderr if an argument or a file is wrong, with code 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    with _quiet_interrupt():
        args.run(args)
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="skrbm", description="Restricted Boltzmann machines for scikit-learn, on a torch core.")
    parser.add_argument("--version", action="version", version=f"skrbm {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_compare(commands)
    return parser


# -- skrbm compare -----------------------------------------------------------------------------------------------------


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare raw pixels, scikit-learn's BernoulliRBM and BernoulliRBMTorch as features for a classifier",
        description="Tune a logistic regression on raw pixels, on the features of scikit-learn's BernoulliRBM and on "
        "those of BernoulliRBMTorch, each by a grid search over as many candidates, and print their test accuracies.",
    )
    parser.add_argument(
        "--data",
        default="digits",
        metavar="digits|mnist|FOLDER",
        help="scikit-learn's digits (the default); MNIST, from the folder that the environment variable SKRBM_MNIST "
        "names, else from OpenML; or a folder of idx files that are named as MNIST's are",
    )
    parser.add_argument(
        "--n-hidden",
        type=_whole(1),
        nargs="+",
        default=[100, 200],
        metavar="N",
        help="numbers of hidden units tried with both RBMs (default: 100 200)",
    )
    parser.add_argument(
        "--k",
        type=_whole(1),
        nargs="+",
        default=[1, 5],
        metavar="K",
        help="Gibbs steps tried with BernoulliRBMTorch; BernoulliRBM gets as many learning rates (default: 1 5)",
    )
    parser.add_argument(
        "--C",
        type=_positive,
        nargs="+",
        metavar="C",
        help="inverse penalties of the classifier tried with both RBMs; raw pixels get as many as there are candidates "
        "(default: 100 1000 for digits, 0.3 3 for other data)",
    )
    parser.add_argument(
        "--n-iter",
        type=_whole(1),
        default=20,
        metavar="N",
        help="epochs that BernoulliRBMTorch learns for (default: %(default)s)",
    )
    parser.add_argument(
        "--sklearn-n-iter",
        type=_whole(1),
        metavar="N",
        help="epochs that BernoulliRBM learns for (default: as many)",
    )
    parser.add_argument(
        "--learning-rate",
        type=_positive,
        default=0.2,
        metavar="RATE",
        help="learning rate of BernoulliRBMTorch (default: %(default)s)",
    )
    parser.add_argument(
        "--splits",
        type=_whole(2, 20),
        metavar="N",
        help="outer folds of digits, from 2 to 20 (default: 5); other data come split",
    )
    parser.add_argument(
        "--n-jobs",
        type=_whole(1),
        default=min(joblib.cpu_count(), _MAX_DEFAULT_JOBS),
        metavar="N",
        help="number of processes (default here: %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where BernoulliRBMTorch learns (default: %(default)s)",
    )
    parser.add_argument(
        "--random-state",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="SEED",
        help="seed of the folds and of both RBMs (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table to a CSV file, too")
    parser.set_defaults(run=_compare, parser=parser)


def _compare(args: argparse.Namespace) -> None:
    started = time.perf_counter()
    if args.device == "cuda" and not torch.cuda.is_available():
        args.parser.error("argument --device: there is no CUDA device here; leave it out, or use --device cpu")
    if args.output is not None:
        _check_writable(args.parser, args.output)
    try:
        splits = _splits(args)
    except (OSError, ValueError) as error:
        args.parser.error(f"argument --data: {error}")
    candidates = methods(
        args.n_hidden,
        args.k,
        args.C or (_DIGITS_CS if args.data == "digits" else _OTHER_CS),
        n_iter=args.n_iter,
        sklearn_n_iter=args.sklearn_n_iter,
        learning_rate=args.learning_rate,
        device=args.device,
        random_state=args.random_state,
    )
    results = compare(candidates, splits, n_jobs=args.n_jobs, report=_report)
    print(format_table(results), flush=True)
    if args.output is not None:
        try:
            write_csv(results, args.output)
        except OSError as error:
            args.parser.error(f"argument --output: {error}")
    _report(f"Done in {time.perf_counter() - started:.0f} s.")


def _splits(args: argparse.Namespace) -> Iterable[Split]:
    if args.data == "digits":
        return digits_splits(load_digits(), args.splits or 5, args.random_state)
    if args.splits is not None:
        args.parser.error("argument --splits: only for --data digits; other data come split into training and test")
    folder = None if args.data == "mnist" else args.data
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder!r} is neither 'digits' nor 'mnist' nor a folder that exists")
    train, test = load_mnist(folder, subset="train"), load_mnist(folder, subset="test")
    return [held_out_split(train, test, args.random_state)]


# -- arguments and signals ---------------------------------------------------------------------------------------------


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
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


def _positive(text: str) -> float:
    """A type of argument: positive, finite numbers."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return number


def _check_writable(parser: argparse.ArgumentParser, path: Path) -> None:
    """Find out before a long run, not after it."""
    if not path.parent.is_dir():
        parser.error(f"argument --output: there is no folder {str(path.parent)!r}; make it first")
    if path.is_dir():
        parser.error(f"argument --output: {str(path)!r} is a folder; name a file in it")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        parser.error(f"argument --output: no permission to write {str(path)!r}")


@contextmanager
def _quiet_interrupt() -> Iterator[None]:
    """Ctrl-C ends the program, without a traceback from it or from joblib's processes.

    As KeyboardInterrupt it would only end the training at hand.
    """
    before = signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    deaf = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    try:
        with joblib.parallel_config("loky", **deaf):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
