"""`skrbm sample` and `skrbm complete`: their arguments, and what they print and draw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skrbm.commands.arguments import (
    DATA,
    Arguments,
    add_command,
    check_plots,
    check_writable,
    errors_of,
    random_state,
    whole,
)

if TYPE_CHECKING:
    from skrbm.estimators.bernoulli import BernoulliRBMTorch


def add_model_commands(commands: Any) -> None:
    """Add the commands to a parser's."""
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
    from skrbm.commands.image_experiment import draw_samples

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
    from skrbm.commands.image_experiment import draw_completions
    from skrbm.commands.images import load_images

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
    import joblib

    from skrbm.estimators.bernoulli import BernoulliRBMTorch

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
