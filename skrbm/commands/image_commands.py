"""`skrbm train`, `skrbm sample` and `skrbm complete`: their arguments, and what they print and draw."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib

from skrbm.commands.arguments import (
    DATA,
    DEVICE,
    Arguments,
    add_command,
    check_device,
    check_plots,
    check_writable,
    errors_of,
    load_images,
    random_state,
    report,
    whole,
)
from skrbm.commands.image_experiment import (
    Outcome,
    ShowEpoch,
    Task,
    draw,
    draw_completions,
    draw_samples,
    judge,
    train,
    write_report,
)
from skrbm.estimators.bernoulli import BernoulliRBMTorch


def add_image_commands(commands: Any) -> None:
    """Add the commands to a parser's."""
    add_command(
        commands,
        "train",
        _train,
        _TRAIN,
        help="learn images, with a picture an epoch, and write a report",
        text="Learn images by the recipe of a lecture deck, by ours, or by both. Writes pictures of what the machine "
        "makes of test images before training and after each epoch, its filters, samples and curves, the machine "
        "itself, and report.html, which shows it all. Ctrl-C keeps everything up to the last epoch.",
    )
    formats = (
        "The machine's file is one of `skrbm train` or joblib, which runs what stands in it, so open only those that "
        "you trust; or one of BernoulliRBMTorch.save, by its ending .safetensors, which doesn't."
    )
    add_command(
        commands,
        "sample",
        _sample,
        _SAMPLE,
        help="draw a picture of samples from a machine",
        text=f"Draw samples of a machine. {formats}",
    )
    add_command(
        commands,
        "complete",
        _complete,
        _COMPLETE,
        help="draw a picture of images that a machine completes",
        text=f"Draw test images, a half of each hidden, and what a machine completes them to. {formats}",
    )


# -- skrbm train -------------------------------------------------------------------------------------------------------

_TRAIN: Arguments = {
    **DATA,
    "--n-hidden": {"type": whole(1), "default": 500, "metavar": "N", "help": "hidden units (default: %(default)s)"},
    "--k": {"type": whole(1), "default": 1, "metavar": "K", "help": "Gibbs steps an update (default: %(default)s)"},
    "--n-iter": {"type": whole(1), "default": 100, "metavar": "N", "help": "epochs (default: %(default)s)"},
    "--recipe": {
        "choices": ["deck", "best", "both"],
        "default": "best",
        "help": "the deck's: CD, Adam at 1e-3, batches of 64, biases from 0; ours: persistent chains, centred, a "
        "falling rate, averaged weights; or one after the other (default: %(default)s)",
    },
    "--output-dir": {
        "type": Path,
        "default": Path("pic"),
        "metavar": "FOLDER",
        "help": "where files go (default: %(default)s)",
    },
    "--pictures-every": {
        "type": whole(1),
        "default": 1,
        "metavar": "N",
        "help": "epochs from one picture to the next",
    },
    "--resume": {"action": "store_true", "help": "continue a training that was interrupted"},
    **DEVICE,
    **random_state("training"),
}


def _train(args: argparse.Namespace) -> None:
    check_plots(args)
    check_device(args)
    with errors_of(args, "--data"):
        images = load_images(args.data, args.random_state)
    with errors_of(args, "--output-dir", (OSError,)):
        args.output_dir.mkdir(parents=True, exist_ok=True)
    parameters = {name: getattr(args, name) for name in ("n_hidden", "k", "n_iter", "device", "random_state")}
    task = Task(images, args.output_dir, parameters, args.pictures_every, args.resume)
    command = " ".join(["skrbm", *map(shlex.quote, args.argv)])
    outcomes = list(_outcomes(args, task))
    path = write_report(outcomes, task, command)
    for outcome in outcomes:
        print(f"{outcome.name}")
        for name, value in outcome.figures.items():
            print(f"  {name}: {value}")
    print(f"wrote {path}")
    if not outcomes[-1].is_finished:
        report(f"Interrupted. Continue with: {command}{'' if args.resume else ' --resume'}")
        sys.exit(130)


def _outcomes(args: argparse.Namespace, task: Task) -> Iterator[Outcome]:
    """What becomes of each recipe, up to the first one that is interrupted."""
    for name in ("deck", "best") if args.recipe == "both" else (args.recipe,):
        with (
            errors_of(args, errors=(NotImplementedError,)),  # this scikit-learn has no callbacks
            errors_of(args, "--resume", (ValueError,) if args.resume else ()),
            show_progress() as show,
            _interruptible(),
        ):
            outcome = train(name, task, show)
        report(f"{name}: pictures and figures")
        draw(outcome, task)
        judge(outcome, task.images)
        yield outcome
        if not outcome.is_finished:
            return


@contextmanager
def show_progress() -> Iterator[ShowEpoch]:
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
        report(f"{name}: epoch {epoch} of {n_epochs}, {_measures(model, epoch)}")


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

_MODEL: Arguments = {
    "model": {"type": Path, "metavar": "MODEL", "help": "file of the machine, such as pic/best/model.joblib"}
}


def _chains(output: str) -> Arguments:
    """How chains run, and where their picture goes."""
    return {
        "--steps": {
            "type": whole(1),
            "default": 1000,
            "metavar": "N",
            "help": "length of the chains (default: %(default)s)",
        },
        "--method": {
            "choices": ["gibbs", "parallel_tempering", "trajectory_tempering"],
            "default": "gibbs",
            "help": "how the chains move (default: %(default)s)",
        },
        "--output": {
            "type": Path,
            "default": Path(output),
            "metavar": "FILE",
            "help": "where the picture goes (default: %(default)s)",
        },
        **random_state("the chains"),
    }


_SAMPLE: Arguments = {
    **_MODEL,
    "--n": {"type": whole(1), "default": 64, "metavar": "N", "help": "samples (default: %(default)s)"},
    "--values": {
        "choices": ["probabilities", "bits"],
        "default": "probabilities",
        "help": "what is shown of each pixel (default: %(default)s)",
    },
    "--image-shape": {
        "type": whole(1),
        "nargs": 2,
        "metavar": ("HEIGHT", "WIDTH"),
        "help": "where images aren't square, and for machines that know names of their features",
    },
    **_chains("samples.png"),
}

_COMPLETE: Arguments = {
    **_MODEL,
    **DATA,
    "--n": {"type": whole(1), "default": 10, "metavar": "N", "help": "images (default: %(default)s)"},
    "--missing": {
        "choices": ["lower", "upper", "left", "right"],
        "default": "lower",
        "help": "the half that is hidden (default: %(default)s)",
    },
    **_chains("completed.png"),
}


def _sample(args: argparse.Namespace) -> None:
    model = _load_model(args)
    with errors_of(args):
        draw_samples(
            model,
            args.output,
            args.n,
            n_steps=args.steps,
            method=args.method,
            values=args.values,
            image_shape=args.image_shape,
            random_state=args.random_state,
        )
    print(f"wrote {args.output}")


def _complete(args: argparse.Namespace) -> None:
    model = _load_model(args)
    with errors_of(args, "--data"):
        images = load_images(args.data)
    with errors_of(args):
        draw_completions(
            model,
            images,
            args.output,
            args.n,
            missing=args.missing,
            n_steps=args.steps,
            method=args.method,
            random_state=args.random_state,
        )
    print(f"wrote {args.output}")


def _load_model(args: argparse.Namespace) -> BernoulliRBMTorch:
    """The machine that pictures are to be drawn of."""
    check_plots(args)
    check_writable(args)
    try:
        is_safe = args.model.suffix == ".safetensors"
        model = BernoulliRBMTorch.load(args.model) if is_safe else joblib.load(args.model)
    except Exception as error:  # whatever a file that is something else leads to
        args.parser.error(f"argument MODEL: {str(args.model)!r} can't be loaded ({type(error).__name__}: {error})")
    if not isinstance(model, BernoulliRBMTorch):
        args.parser.error(
            f"argument MODEL: {str(args.model)!r} holds a {type(model).__name__}, not a BernoulliRBMTorch"
        )
    return model
