"""`skrbm compare`: its arguments, and what it prints and writes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skrbm.commands.arguments import (
    DATA,
    DEVICE,
    Arguments,
    add_command,
    check_device,
    check_writable,
    errors_of,
    positive,
    random_state,
    report,
    whole,
)

if TYPE_CHECKING:
    from skrbm.commands.feature_comparison import Split

_DIGITS_CS, _OTHER_CS = [100.0, 1000.0], [0.3, 3.0]  # found on held-out training rows
_N_HIDDEN, _N_ITER, _SPLITS = {False: [200], True: [100, 200]}, {False: 12, True: 20}, {False: 3, True: 5}  # by --full
_MAX_DEFAULT_JOBS = 4  # each process holds a copy of its training rows

_ARGUMENTS: Arguments = {
    **DATA,
    "--n-hidden": {
        "type": whole(1),
        "nargs": "+",
        "metavar": "N",
        "help": "numbers of hidden units tried with both RBMs (default: 200; with --full 100 200)",
    },
    "--k": {
        "type": whole(1),
        "nargs": "+",
        "default": [1, 5],
        "metavar": "K",
        "help": "Gibbs steps tried with BernoulliRBMTorch; BernoulliRBM gets as many learning rates (default: 1 5)",
    },
    "--C": {
        "type": positive,
        "nargs": "+",
        "metavar": "C",
        "help": "inverse penalties of the classifier tried with both RBMs; raw pixels get as many as there are "
        "candidates (default: 100 1000 for digits, 0.3 3 for other data)",
    },
    "--n-iter": {
        "type": whole(1),
        "metavar": "N",
        "help": "epochs that BernoulliRBMTorch learns for (default: 12; with --full 20)",
    },
    "--sklearn-n-iter": {
        "type": whole(1),
        "metavar": "N",
        "help": "epochs that BernoulliRBM learns for (default: as many)",
    },
    "--learning-rate": {
        "type": positive,
        "default": 0.2,
        "metavar": "RATE",
        "help": "learning rate of BernoulliRBMTorch (default: %(default)s)",
    },
    "--splits": {
        "type": whole(2, 20),
        "metavar": "N",
        "help": "outer folds of digits, from 2 to 20 (default: 3; with --full 5); other data come split",
    },
    "--full": {"action": "store_true", "help": "more folds and candidates, for narrower errors: thrice the time"},
    "--n-jobs": {
        "type": whole(1),
        "metavar": "N",
        "help": f"number of processes (default: one for each core, up to {_MAX_DEFAULT_JOBS})",
    },
    **DEVICE,
    **random_state("the folds and of both RBMs"),
    "--output": {"type": Path, "metavar": "FILE", "help": "write the table to a CSV file, too"},
}


def add_compare(commands: Any) -> None:
    """Add the command to a parser's."""
    add_command(
        commands,
        "compare",
        _compare,
        _ARGUMENTS,
        help="compare raw pixels, scikit-learn's BernoulliRBM and BernoulliRBMTorch as features for a classifier",
        text="Tune a logistic regression on raw pixels, on the features of scikit-learn's BernoulliRBM and on those of "
        "BernoulliRBMTorch, each by a grid search over as many candidates, and print their test accuracies.",
    )


def _compare(args: argparse.Namespace) -> None:
    from joblib import cpu_count

    from skrbm.commands.feature_comparison import compare, format_table, methods, write_csv

    started = time.perf_counter()
    check_device(args)
    if args.output is not None:
        check_writable(args)
    with errors_of(args, "--data"):
        splits = _splits(args)
    candidates = methods(
        args.n_hidden or _N_HIDDEN[args.full],
        args.k,
        args.C or (_DIGITS_CS if args.data == "digits" else _OTHER_CS),
        n_iter=args.n_iter or _N_ITER[args.full],
        sklearn_n_iter=args.sklearn_n_iter,
        learning_rate=args.learning_rate,
        device=args.device,
        random_state=args.random_state,
    )
    n_jobs = args.n_jobs or min(cpu_count(), _MAX_DEFAULT_JOBS)
    results = compare(candidates, splits, n_jobs=n_jobs, report=report)
    print(format_table(results), flush=True)
    if args.output is not None:
        with errors_of(args, "--output", (OSError,)):
            write_csv(results, args.output)
    report(f"Done in {time.perf_counter() - started:.0f} s.")


def _splits(args: argparse.Namespace) -> Iterable[Split]:
    from skrbm.commands.feature_comparison import digits_splits, held_out_split
    from skrbm.commands.images import read_images

    if args.splits is not None and args.data != "digits":
        args.parser.error("argument --splits: only for --data digits; other data come split into training and test")
    images, test = read_images(args.data)
    if test is None:
        return digits_splits(images, args.splits or _SPLITS[args.full], args.random_state)
    return [held_out_split(images, test, args.random_state)]
