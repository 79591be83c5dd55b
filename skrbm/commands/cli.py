"""The command `skrbm`."""

from __future__ import annotations

import argparse
import os
import shlex
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
from skrbm.commands.feature_comparison import (
    Split,
    compare,
    digits_splits,
    format_table,
    held_out_split,
    methods,
    write_csv,
)
from skrbm.datasets import load_digits, load_mnist
from skrbm.estimators.bernoulli import BernoulliRBMTorch

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
    args.argv = list(sys.argv[1:] if argv is None else argv)
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
    _add_train(commands)
    _add_sample(commands)
    _add_complete(commands)
    return parser


# -- skrbm compare -----------------------------------------------------------------------------------------------------


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare raw pixels, scikit-learn's BernoulliRBM and BernoulliRBMTorch as features for a classifier",
        description="Tune a logistic regression on raw pixels, on the features of scikit-learn's BernoulliRBM and on "
        "those of BernoulliRBMTorch, each by a grid search over as many candidates, and print their test accuracies.",
    )
    _add_data(parser)
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
    _add_device(parser)
    _add_random_state(parser, "the folds and of both RBMs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table to a CSV file, too")
    parser.set_defaults(run=_compare, parser=parser)


def _compare(args: argparse.Namespace) -> None:
    started = time.perf_counter()
    _check_device(args)
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


# -- skrbm train -------------------------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="learn images, with a picture an epoch, and write a report",
        description="Learn images by the recipe of a lecture deck, by ours, or by both. Writes pictures of what the "
        "machine makes of test images before training and after each epoch, its filters, samples and curves, the "
        "machine itself, and report.html, which shows it all. Ctrl-C keeps everything up to the last epoch.",
    )
    _add_data(parser)
    parser.add_argument(
        "--n-hidden", type=_whole(1), default=500, metavar="N", help="hidden units (default: %(default)s)"
    )
    parser.add_argument(
        "--k", type=_whole(1), default=1, metavar="K", help="Gibbs steps an update (default: %(default)s)"
    )
    parser.add_argument("--n-iter", type=_whole(1), default=100, metavar="N", help="epochs (default: %(default)s)")
    parser.add_argument(
        "--recipe",
        choices=["deck", "best", "both"],
        default="best",
        help="the deck's: CD, Adam at 1e-3, batches of 64, biases from 0; ours: persistent chains, centred, a falling "
        "rate, averaged weights; or one after the other (default: %(default)s)",
    )
    parser.add_argument(
        "--output-dir", type=Path, default=Path("pic"), metavar="FOLDER", help="where files go (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures-every", type=_whole(1), default=1, metavar="N", help="epochs from one picture to the next"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a training that was interrupted")
    _add_device(parser)
    _add_random_state(parser, "training")
    parser.set_defaults(run=_train, parser=parser)


def _train(args: argparse.Namespace) -> None:
    experiment = _needs_plots(args)
    _check_device(args)
    try:
        images = experiment.load_images(args.data, args.random_state)
    except (OSError, ValueError) as error:
        args.parser.error(f"argument --data: {error}")
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        args.parser.error(f"argument --output-dir: {error}")
    parameters = {name: getattr(args, name) for name in ("n_hidden", "k", "n_iter", "device", "random_state")}
    task = experiment.Task(images, args.output_dir, parameters, args.pictures_every, args.resume)
    command = _command(args)
    outcomes: list[Any] = []
    for name in ("deck", "best") if args.recipe == "both" else (args.recipe,):
        try:
            with _progress() as progress, _interruptible():
                outcome = experiment.train(name, task, progress)
        except NotImplementedError as error:  # no callbacks in this scikit-learn
            args.parser.error(str(error))
        except ValueError as error:
            if not args.resume:
                raise
            args.parser.error(f"argument --resume: {error}")
        outcomes.append(outcome)
        _report(f"{name}: pictures and figures")
        experiment.draw(outcome, task)
        experiment.judge(outcome, images)
        if not outcome.is_finished:
            break
    path = experiment.write_report(outcomes, task, command)
    for outcome in outcomes:
        print(f"{outcome.name}")
        for name, value in outcome.figures.items():
            print(f"  {name}: {value}")
    print(f"wrote {path}")
    if not outcomes[-1].is_finished:
        _report(f"Interrupted. Go on with: {command}{'' if args.resume else ' --resume'}")
        sys.exit(130)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int, Any], None]]:
    """What shows how far training has come: a bar on a terminal, if rich is installed, else a line an epoch."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        yield _report_epoch
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _report_epoch
        return
    text, left = TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(text, BarColumn(), MofNCompleteColumn(), left, console=console) as bar:
        task = bar.add_task("")

        def show(name: str, epoch: int, n_epochs: int, model: Any) -> None:
            bar.update(task, completed=epoch, total=n_epochs, description=f"{name}: {_measures(model, epoch)}")

        yield show


def _report_epoch(name: str, epoch: int, n_epochs: int, model: Any) -> None:
    if epoch:
        _report(f"{name}: epoch {epoch} of {n_epochs}, {_measures(model, epoch)}")


def _measures(model: Any, epoch: int) -> str:
    if not epoch:
        return "before training"
    loss, nats = (model.history_[name][-1] for name in ("loss", "pseudo_log_likelihood"))
    return f"loss {loss:.2f}, pseudo-log-likelihood {nats:.2f} nats"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within it, Ctrl-C ends a training and not the program, unless there is nothing yet to be kept."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, before)


# -- skrbm sample, skrbm complete --------------------------------------------------------------------------------------


_ON_FILES = (
    "The machine's file is one of `skrbm train` or joblib, which runs what stands in it, so open only those that you "
    "trust; or one of BernoulliRBMTorch.save, by its ending .safetensors, which doesn't."
)


def _add_sample(commands: Any) -> None:
    parser = commands.add_parser(
        "sample",
        help="draw a picture of samples from a machine",
        description="Draw samples of a machine. " + _ON_FILES,
    )
    _add_model(parser)
    parser.add_argument("--n", type=_whole(1), default=64, metavar="N", help="samples (default: %(default)s)")
    parser.add_argument(
        "--values",
        choices=["probabilities", "bits"],
        default="probabilities",
        help="what is shown of each pixel (default: %(default)s)",
    )
    parser.add_argument(
        "--image-shape",
        type=_whole(1),
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="where images aren't square, and for machines that know names of their features",
    )
    _add_chains(parser, "samples.png")
    parser.set_defaults(run=_sample, parser=parser)


def _sample(args: argparse.Namespace) -> None:
    experiment = _needs_plots(args)
    how = (args.n, args.steps, args.method, args.values, args.image_shape, args.random_state)
    _draw(args, experiment.draw_samples, _load_model(args), args.output, *how)


def _add_complete(commands: Any) -> None:
    parser = commands.add_parser(
        "complete",
        help="draw a picture of images that a machine completes",
        description="Draw test images, a half of each hidden, and what a machine completes them to. " + _ON_FILES,
    )
    _add_model(parser)
    _add_data(parser)
    parser.add_argument("--n", type=_whole(1), default=10, metavar="N", help="images (default: %(default)s)")
    parser.add_argument(
        "--missing",
        choices=["lower", "upper", "left", "right"],
        default="lower",
        help="the half that is hidden (default: %(default)s)",
    )
    _add_chains(parser, "completed.png")
    parser.set_defaults(run=_complete, parser=parser)


def _complete(args: argparse.Namespace) -> None:
    experiment = _needs_plots(args)
    model = _load_model(args)
    try:
        images = experiment.load_images(args.data)
    except (OSError, ValueError) as error:
        args.parser.error(f"argument --data: {error}")
    how = (args.n, args.missing, args.steps, args.method, args.random_state)
    _draw(args, experiment.draw_completions, model, images, args.output, *how)


def _draw(args: argparse.Namespace, draw: Callable[..., None], *arguments: Any) -> None:
    """Draw a picture, and say where it is or what was wrong."""
    try:
        draw(*arguments)
    except (OSError, ValueError) as error:
        args.parser.error(str(error))
    print(f"wrote {args.output}")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="file of the machine, such as pic/best/model.joblib")


def _add_chains(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument(
        "--steps", type=_whole(1), default=1000, metavar="N", help="length of the chains (default: %(default)s)"
    )
    parser.add_argument(
        "--method",
        choices=["gibbs", "parallel_tempering", "trajectory_tempering"],
        default="gibbs",
        help="how the chains move (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="FILE",
        help="where the picture goes (default: %(default)s)",
    )
    _add_random_state(parser, "the chains")


def _load_model(args: argparse.Namespace) -> Any:
    _check_writable(args.parser, args.output)
    try:
        is_safe = args.model.suffix == ".safetensors"
        model = BernoulliRBMTorch.load(args.model) if is_safe else joblib.load(args.model)
    except Exception as error:  # whatever a file that is something else leads to
        args.parser.error(f"argument MODEL: {str(args.model)!r} can't be loaded ({type(error).__name__}: {error})")
    if not isinstance(model, BernoulliRBMTorch):
        args.parser.error(f"argument MODEL: {str(args.model)!r} holds a {type(model).__name__}, no BernoulliRBMTorch")
    return model


# -- arguments and signals ---------------------------------------------------------------------------------------------


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="digits",
        metavar="digits|mnist|FOLDER",
        help="scikit-learn's digits (the default); MNIST, from the folder that the environment variable SKRBM_MNIST "
        "names, else from OpenML; or a folder of idx files that are named as MNIST's are",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where BernoulliRBMTorch learns (default: %(default)s)",
    )


def _check_device(args: argparse.Namespace) -> None:
    if args.device == "cuda" and not torch.cuda.is_available():
        args.parser.error("argument --device: there is no CUDA device here; leave it out, or use --device cpu")


def _add_random_state(parser: argparse.ArgumentParser, of_what: str) -> None:
    parser.add_argument(
        "--random-state",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="SEED",
        help=f"seed of {of_what} (default: %(default)s)",
    )


def _needs_plots(args: argparse.Namespace) -> Any:
    """The module that draws, or an error that says what to install."""
    try:
        import matplotlib
    except ImportError:
        args.parser.error('it draws pictures, which needs matplotlib; install it with: pip install "skrbm[plots]"')
    matplotlib.use("Agg")
    from skrbm.commands import image_experiment as experiment

    return experiment


def _command(args: argparse.Namespace) -> str:
    """The command line as it was given."""
    return " ".join(["skrbm", *map(shlex.quote, args.argv)])


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
