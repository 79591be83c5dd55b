"""`skrbm train`: its arguments, and what it prints and draws."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skrbm.commands.arguments import (
    DATA,
    DEVICE,
    Arguments,
    add_command,
    check_device,
    check_plots,
    errors_of,
    in_flags,
    random_state,
    report,
    whole,
)
from skrbm.commands.progress import interruptible, show_progress

if TYPE_CHECKING:
    from skrbm.commands.image_experiment import Outcome, Task

_OLD_CHECKPOINT = "checkpoint.pt"  # as it was called once

_ARGUMENTS: Arguments = {
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
    "--force": {"action": "store_true", "help": "begin anew where the folder holds a machine, and overwrite it"},
    **DEVICE,
    **random_state("training"),
}


def add_train(commands: Any) -> None:
    """Add the command to a parser's."""
    add_command(
        commands,
        "train",
        _train,
        _ARGUMENTS,
        help="learn images, with a picture an epoch, and write a report",
        text="Learn images by the recipe of a lecture deck, by ours, or by both. Writes pictures of what the machine "
        "makes of test images before training and after each epoch, its filters, samples and curves, the machine "
        "itself, and report.html, which shows it all. Ctrl-C keeps everything up to the last epoch.",
    )


def _train(args: argparse.Namespace) -> None:
    from skrbm.commands.image_experiment import Task, write_report
    from skrbm.commands.images import load_images

    _check_nothing_is_lost(args)
    check_plots(args)
    check_device(args)
    with errors_of(args, "--data"):
        images = load_images(args.data, args.random_state)
    with errors_of(args, "--output-dir", (OSError,)):
        args.output_dir.mkdir(parents=True, exist_ok=True)
    parameters = {name: getattr(args, name) for name in ("n_hidden", "k", "n_iter", "device", "random_state")}
    task = Task(images, args.output_dir, parameters, args.pictures_every, args.resume)
    outcomes = list(_outcomes(args, task))
    path = write_report(outcomes, task, _as_typed(args.argv))
    for outcome in outcomes:
        print(f"{outcome.name}")
        for name, value in outcome.figures.items():
            print(f"  {name}: {value}")
    print(f"wrote {path}")
    if not outcomes[-1].is_finished:
        words = [word for word in args.argv if word not in ("--force", "--resume")]
        report(f"Interrupted. Continue with: {_as_typed([*words, '--resume'])}")
        sys.exit(130)


def _as_typed(argv: Sequence[str]) -> str:
    return " ".join(["skrbm", *map(shlex.quote, argv)])


def _check_nothing_is_lost(args: argparse.Namespace) -> None:
    """Stop where a training would overwrite a machine and nobody said that it shall."""
    if args.resume and args.force:
        args.parser.error("argument --force: not with --resume, which goes on with what --force overwrites")
    folders = [args.output_dir / name for name in _recipes(args)]
    files = ("model.joblib", "checkpoint.ckpt", _OLD_CHECKPOINT)
    there = [folder for folder in folders if any((folder / file).exists() for file in files)]
    if there and not (args.resume or args.force):
        args.parser.error(
            f"argument --output-dir: {str(there[0])!r} holds a machine. Go on with its training by --resume, overwrite "
            "it by --force, or name another folder"
        )
    for folder in folders if args.resume else ():
        if (folder / _OLD_CHECKPOINT).exists() and not (folder / "checkpoint.ckpt").exists():
            args.parser.error(
                f"argument --resume: {str(folder)!r} is of an older version. Rename its {_OLD_CHECKPOINT} to "
                "checkpoint.ckpt to go on, or give --force instead of --resume to begin anew"
            )


def _recipes(args: argparse.Namespace) -> tuple[str, ...]:
    return ("deck", "best") if args.recipe == "both" else (args.recipe,)


def _outcomes(args: argparse.Namespace, task: Task) -> Iterator[Outcome]:
    """What becomes of each recipe, up to the first one that is interrupted."""
    from skrbm.commands.image_experiment import draw, judge, train

    for name in _recipes(args):
        with (
            errors_of(args, errors=(NotImplementedError,)),  # this scikit-learn has no callbacks
            errors_of(args, "--resume", (ValueError,) if args.resume else ()),
            show_progress() as show,
            interruptible(),
        ):
            outcome = train(name, task, show)
        report(f"{name}: pictures and figures")
        draw(outcome, task)
        judge(outcome, task.images)
        for note in outcome.notes:
            report(f"{name}: warning: {in_flags(note, args)}")
        yield outcome
        if not outcome.is_finished:
            return
