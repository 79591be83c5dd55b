"""`skrbm fit`, `complete`, `sample` and `score`: machines of tables, and pictures of machines of images."""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skrbm.commands.arguments import (
    DATA,
    DEVICE,
    FORCE,
    Arguments,
    add_command,
    check_device,
    check_plots,
    check_readable,
    check_writable,
    errors_of,
    random_state,
    reported_warnings,
    whole,
)
from skrbm.commands.progress import interruptible, show_progress

if TYPE_CHECKING:
    import numpy as np

    from skrbm.commands.table_files import Rows
    from skrbm.estimators.base import BaseRBM
    from skrbm.estimators.tables import Kind

_TABLES = (".csv", ".tsv", ".parquet")
_PICTURES = (".png", ".svg", ".pdf", ".eps", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")  # that matplotlib writes
_ENDINGS = "by its ending .csv, .tsv or .parquet"


def add_model_commands(commands: Any) -> None:
    """Add the commands to a parser's."""
    table = (
        "A table is a file .csv, .tsv or .parquet with a header, whose columns are numbers, categories, or true and "
        "false. A .parquet file needs pyarrow."
    )
    formats = (
        "The machine's file is one of `skrbm fit`, `skrbm train`, or a machine's save in Python. One that "
        "ends in .safetensors runs no code. Others may be joblib's, and run what stands in them, so open only those "
        "that you trust."
    )
    add_command(
        commands,
        "fit",
        _fit,
        _FIT,
        help="learn a table",
        text=f"Learn a table, and write the machine to a file, with the names of the columns and without rows. {table} "
        "What isn't named --binary, --gaussian or --categorical goes by its cells: two different values are binary; "
        "text, and at most 10 different whole numbers, categorical; other numbers Gaussian. Ctrl-C keeps what has been "
        "learned up to the last epoch.",
    )
    add_command(
        commands,
        "complete",
        _complete,
        _COMPLETE,
        help="fill in the empty cells of a table, or missing halves of images",
        text=f"Fill in the empty cells of a table (NA, NaN, null, None and ? count as empty), given all other cells of "
        f"the row; without a machine, one learns the table first, gaps and all. With a machine alone: draw test "
        f"images, a half of each hidden, and what a machine of images completes them to. {table} {formats}",
    )
    add_command(
        commands,
        "sample",
        _sample,
        _SAMPLE,
        help="draw samples from a machine, as a table or a picture",
        text=f"Draw samples from a machine: as a table if --output ends in .csv, .tsv or .parquet, else as a picture "
        f"of images, such as .png, .svg or .pdf. {formats}",
    )
    add_command(
        commands,
        "score",
        _score,
        _SCORE,
        help="tell how likely a table is under a machine",
        text="Print the mean log-likelihood of the rows of a table under a machine, in nats, with its standard "
        f"errors: that of a mean over so many rows, and that of log Z where it isn't exact. {table} {formats}",
    )


# -- arguments ---------------------------------------------------------------------------------------------------------

_MODEL: Arguments = {
    "model": {"type": Path, "metavar": "MODEL", "help": "file of the machine, such as model.safetensors"}
}
_TABLE: Arguments = {"table": {"type": Path, "metavar": "TABLE", "help": "file of the rows"}}

_MOST_WITH_GAPS = 200  # rows that a fit is judged by, where cells are empty
_KINDS: dict[Kind, str] = {
    "binary": "bits, each of two values",
    "gaussian": "real numbers, with noise",
    "categorical": "categories",
}

_FIT: Arguments = {
    **_TABLE,
    "--machine": {
        "choices": ["auto", "bernoulli", "gaussian", "categorical", "mixed"],
        "default": "auto",
        "help": "what learns it: a machine whose columns are all bits (or their probabilities), all real numbers, all "
        "categories, or each of its kind (default: bernoulli if all cells are 0, 1, true or false, else mixed)",
    },
    **{
        f"--{kind}": {"nargs": "+", "metavar": "NAME", "help": f"columns that are {what}"}
        for kind, what in _KINDS.items()
    },
    "--n-hidden": {
        "type": whole(1),
        "metavar": "N",
        "help": "hidden units (default: 256 of a machine of bits, else 64)",
    },
    "--n-iter": {"type": whole(1), "default": 100, "metavar": "N", "help": "epochs (default: %(default)s)"},
    "--k": {"type": whole(1), "default": 1, "metavar": "K", "help": "Gibbs steps an update (default: %(default)s)"},
    "--n-chains": {
        "type": whole(1),
        "default": 100,
        "metavar": "N",
        "help": "persistent chains (default: %(default)s)",
    },
    "--output": {
        "type": Path,
        "default": Path("model.safetensors"),
        "metavar": "FILE",
        "help": "where the machine goes; .safetensors or .joblib (default: %(default)s)",
    },
    **FORCE,
    **DEVICE,
    **random_state("training"),
}


def _chains(output: str) -> Arguments:
    """How chains run, and where their ends go."""
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
        "--output": {"type": Path, "metavar": "FILE", "help": output},
        **FORCE,
        **random_state("the chains"),
    }


_SAMPLE: Arguments = {
    **_MODEL,
    "-n --n": {"type": whole(1), "default": 64, "metavar": "N", "help": "samples (default: %(default)s)"},
    "--values": {
        "choices": ["probabilities", "draws", "bits"],
        "help": "what is shown of each cell or pixel; bits are draws, and only they have probabilities (default: draws "
        "in a table, probabilities in a picture)",
    },
    "--image-shape": {
        "type": whole(1),
        "nargs": 2,
        "metavar": ("HEIGHT", "WIDTH"),
        "help": "of a picture: where images aren't square, and for machines that know names of their features",
    },
    **_chains(
        f"where the samples go: a table {_ENDINGS}, else a picture such as .png "
        "(default: samples.csv if the machine knows names of columns, else samples.png)"
    ),
}

_COMPLETE: Arguments = {
    **_MODEL,
    "table": {**_TABLE["table"], "nargs": "?", "help": "file of rows with empty cells; images are drawn without it"},
    "--values": {
        "choices": ["probabilities", "draws", "bits"],
        "default": "probabilities",
        "help": "what a table's empty cells get: given the others, the probability of a 1 by a machine of bits, else "
        "the mean or the most probable category; or a draw, of bits or whatever it is (default: %(default)s)",
    },
    "--data": {**DATA["--data"], "default": None, "help": f"images: {DATA['--data']['help']}"},
    "-n --n": {"type": whole(1), "metavar": "N", "help": "images (default: 10)"},
    "--missing": {
        "choices": ["lower", "upper", "left", "right"],
        "help": "the half of images that is hidden (default: lower)",
    },
    **_chains(f"where it goes: the full table, {_ENDINGS} (default: completed.csv), or the picture (completed.png)"),
}

_SCORE: Arguments = {**_MODEL, **_TABLE}


# -- skrbm fit, skrbm score --------------------------------------------------------------------------------------------


def _fit(args: argparse.Namespace) -> None:
    import numpy as np

    from skrbm.commands.likelihoods import mean_log_likelihood
    from skrbm.commands.table_machines import new_machine, told_kinds, values_for
    from skrbm.estimators.bernoulli import BernoulliRBMTorch

    check_device(args)
    _check_model_output(args)
    rows = _read(args)
    kinds = _named_kinds(args, rows)
    names = ("n_hidden", "n_iter", "k", "n_chains", "device", "random_state")
    settings = {name: value for name in names if (value := getattr(args, name)) is not None}
    with reported_warnings(args), _errors_of_table(args):
        model, columns = new_machine(rows, args.machine, kinds, settings)
        values = values_for(rows, model, columns)
    with reported_warnings(args), show_progress() as show, interruptible(), _errors_of_table(args):
        _on_epoch(model, lambda model, epoch: show("fit", epoch, args.n_iter, model))
        model.fit(values.astype(np.float32) if isinstance(model, BernoulliRBMTorch) else values)
    _on_epoch(model)
    del model.data_samples_  # rows are nothing to be given away with a machine
    if columns:
        model.columns_ = columns  # with names and dtypes, which an array hasn't
    some, which = _some_rows(values)
    found = mean_log_likelihood(model, some)
    _print_rows(rows)
    print(*told_kinds(model, rows.names), f"hidden units: {model.n_hidden}", sep="\n")
    print(f"epochs: {model.n_iter_} of {model.n_iter}")
    print(f"mean log-likelihood of {which}, nats a row: {found.nats:.3f} ({found.how})")
    print(f"mean pseudo-log-likelihood of {which}, nats a row: {model.score(some):.3f}")
    _report_notes(args, found.notes)
    model.feature_names_in_ = np.array(rows.names, dtype=object)
    with errors_of(args, "--output", (OSError,)):
        _write_model(model, args.output)
    print(f"wrote {args.output}")
    if model.n_iter_ < model.n_iter:
        sys.exit(130)


def _some_rows(values: np.ndarray) -> tuple[np.ndarray, str]:
    """The rows that a fit is judged by, and what they are called: few if they have gaps, which take long to sum out."""
    import numpy as np

    if len(values) <= _MOST_WITH_GAPS or not bool((values != values).any()):
        return values, "these rows"
    some = np.sort(np.random.default_rng(0).permutation(len(values))[:_MOST_WITH_GAPS])
    return values[some], f"{_MOST_WITH_GAPS} of these rows"


def _named_kinds(args: argparse.Namespace, rows: Rows) -> dict[Kind, list[str]]:
    """The columns whose kinds are named; stops if there are no such columns, or one is named twice."""
    from skrbm.commands.table_files import listed

    kinds: dict[Kind, list[str]] = {kind: names for kind in _KINDS if (names := getattr(args, kind))}
    seen: set[str] = set()
    for kind, names in kinds.items():
        if args.machine not in ("auto", "mixed"):
            args.parser.error(f"argument --{kind}: only for --machine mixed, not {args.machine}")
        for name in names:
            if name not in rows.names:
                args.parser.error(f"argument --{kind}: there is no column {name!r} among {listed(rows.names, 10)}")
            if name in seen:
                args.parser.error(f"argument --{kind}: {name!r} is named more than once")
            seen.add(name)
    return kinds


def _on_epoch(model: BaseRBM, *looks: Any) -> None:
    """Set what looks at a training after each epoch, where this scikit-learn has callbacks."""
    from skrbm.callbacks import OnEpoch

    try:
        model.set_callbacks(*map(OnEpoch, looks))
    except NotImplementedError:
        return  # then nobody is told how far it has come, which is all that is lost


def _check_model_output(args: argparse.Namespace) -> None:
    from skrbm.support.checks import optional

    check_writable(args)
    if args.output.suffix not in (".safetensors", ".joblib"):
        args.parser.error(f"argument --output: {str(args.output)!r} must end in .safetensors or .joblib")
    if args.output.suffix == ".safetensors":
        try:
            optional("safetensors", "A file .safetensors", "safetensors")
        except ImportError as error:
            args.parser.error(f"argument --output: {error}, or let it end in .joblib")


def _write_model(model: BaseRBM, path: Path) -> None:
    import joblib

    from skrbm.support.files import write_atomically

    if path.suffix == ".safetensors":
        model.save(path)
    else:
        write_atomically(path, lambda file: joblib.dump(model, file))


def _score(args: argparse.Namespace) -> None:
    from skrbm.commands.likelihoods import mean_log_likelihood
    from skrbm.commands.table_machines import columns_of, values_for

    model, names = _load_model(args)
    rows = _read(args, model, names)
    with errors_of(args, "TABLE", (ValueError,)):
        learned = _as_learned(rows, model, names)
    with _errors_of_table(args):
        found = mean_log_likelihood(model, values_for(learned, model, columns_of(model)))
    _print_rows(rows)
    of_rows = "" if math.isnan(found.error_of_rows) else f" ± {found.error_of_rows:.3f}"  # which one row doesn't tell
    print(f"mean log-likelihood, nats a row: {found.nats:.3f}{of_rows} (log Z: {found.how})")
    _report_notes(args, found.notes)


def _print_rows(rows: Rows) -> None:
    print(f"rows: {len(rows.places):,}")
    print(f"columns: {len(rows.names):,}")
    if n_gaps := int(rows.gaps.sum()):
        print(f"empty cells, summed out: {n_gaps:,}")


def _report_notes(args: argparse.Namespace, notes: list[str]) -> None:
    with reported_warnings(args):
        for note in notes:
            warnings.warn(note, stacklevel=1)


# -- skrbm sample, skrbm complete --------------------------------------------------------------------------------------


def _sample(args: argparse.Namespace) -> None:
    from skrbm.commands.table_machines import columns_of
    from skrbm.estimators.bernoulli import BernoulliRBMTorch

    model, names = _load_model(args)
    is_picture = names is None and not columns_of(model)
    args.output = args.output or Path("samples.png" if is_picture or args.image_shape is not None else "samples.csv")
    check_writable(args)
    is_table = args.output.suffix in _TABLES
    if not is_table:
        _check_picture(args, f"{_listed(_TABLES)}, as a table does, or ")
        if columns_of(model):
            args.parser.error(f"argument --output: a {type(model).__name__} has rows of tables: {_ENDINGS}")
        check_plots(args)
    elif args.image_shape is not None:
        args.parser.error(f"argument --image-shape: only for pictures, and {str(args.output)!r} is a table")
    are_bits = isinstance(model, BernoulliRBMTorch)
    if args.values == "probabilities" and not are_bits:
        args.parser.error(f"argument --values: probabilities are of bits, and a {type(model).__name__} has others, too")
    args.values = args.values or ("draws" if is_table or not are_bits else "probabilities")
    with errors_of(args), reported_warnings(args):
        samples = model.sample(args.n, args.steps, method=args.method, random_state=args.random_state)
        shown = model.reconstruct(samples) if args.values == "probabilities" else samples
    if is_table:
        _write_samples(args, shown, model, names)
    else:
        _draw_samples(args, shown, names)
    print(f"wrote {args.output}")


def _check_picture(args: argparse.Namespace, or_else: str = "") -> None:
    """Stop if --output doesn't end as pictures do."""
    if args.output.suffix.lower() not in _PICTURES:
        args.parser.error(
            f"argument --output: {str(args.output)!r} must end in {or_else}{_listed(_PICTURES)}, as a picture does"
        )


def _listed(endings: Sequence[str]) -> str:
    return f"{', '.join(endings[:-1])} or {endings[-1]}"


def _write_samples(args: argparse.Namespace, samples: np.ndarray, model: BaseRBM, names: list[str] | None) -> None:
    from skrbm.commands.table_files import write_rows
    from skrbm.commands.table_machines import rows_from

    names = names or [f"x{i}" for i in range(samples.shape[1])]  # as scikit-learn calls them
    with errors_of(args, "--output", (OSError, ImportError)):
        write_rows(args.output, rows_from(samples, model, names))


def _draw_samples(args: argparse.Namespace, samples: np.ndarray, names: list[str] | None) -> None:
    from skrbm.commands.image_experiment import draw_samples

    title = f"{args.n:,} samples: {args.steps:,} steps ({args.method.replace('_', ' ')}) from random bits"
    with errors_of(args):
        draw_samples(samples, args.output, title, image_shape=args.image_shape, names=names)


def _complete(args: argparse.Namespace) -> None:
    if args.table is None and args.model.suffix in _TABLES:
        args.table = args.model
        _impute_table(args)
    elif args.table is None:
        _complete_images(args)
    else:
        _complete_table(args)
    print(f"wrote {args.output}")


def _check_table_output(args: argparse.Namespace) -> None:
    for name in ("data", "n", "missing"):
        if getattr(args, name) is not None:
            args.parser.error(f"argument --{name}: only for images, that is, without a TABLE")
    args.output = args.output or Path("completed.csv")
    check_writable(args)
    if args.output.suffix not in _TABLES:
        args.parser.error(
            f"argument --output: {str(args.output)!r} must end in .csv, .tsv or .parquet, as a table does"
        )


def _impute_table(args: argparse.Namespace) -> None:
    """Fill in a table by a machine that learns it first."""
    from skrbm.commands.table_files import write_rows
    from skrbm.commands.table_machines import imputed

    _check_table_output(args)
    rows = _read(args)
    with _errors_of_table(args), reported_warnings(args):
        full = imputed(rows, is_draw=args.values != "probabilities", random_state=args.random_state)
    with errors_of(args, "--output", (OSError, ImportError)):
        write_rows(args.output, full)
    _print_filled(rows)


def _print_filled(rows: Rows) -> None:
    gaps = rows.gaps
    print(f"filled {gaps.sum():,} cells in {gaps.any(1).sum():,} of {len(gaps):,} rows")


def _complete_table(args: argparse.Namespace) -> None:
    from skrbm.commands.table_files import Rows, write_rows
    from skrbm.commands.table_machines import columns_of, filled_in, rows_from, values_for

    _check_table_output(args)
    model, names = _load_model(args)
    rows = _read(args, model, names)
    with errors_of(args, errors=(ValueError,)):
        learned = _as_learned(rows, model, names)
    with _errors_of_table(args):
        values = values_for(learned, model, columns_of(model))
    kind: Literal["mean", "sample"] = "mean" if args.values == "probabilities" else "sample"
    chains = {"n_steps": args.steps, "method": args.method, "random_state": args.random_state}
    with errors_of(args, errors=(ValueError,)), reported_warnings(args):
        full = rows_from(model.complete(values, kind, **chains), model, learned.names)
    if not columns_of(model):  # whose columns are numbers, all of them
        learned = Rows(learned.names, list(values.T))
    with errors_of(args, "--output", (OSError, ImportError)):
        write_rows(args.output, filled_in(learned, full).in_order_of(rows.names))
    _print_filled(rows)


def _complete_images(args: argparse.Namespace) -> None:
    args.output = args.output or Path("completed.png")
    if args.output.suffix in _TABLES:
        args.parser.error(f"argument --output: {str(args.output)!r} is a table, so name the TABLE to fill in, too")
    from skrbm.commands.images import load_images
    from skrbm.commands.table_machines import columns_of

    model, names = _load_model(args)
    with errors_of(args, "--data"):
        images = load_images(args.data or DATA["--data"]["default"])
    if (n := model.n_features_in_) != (n_pixels := images.test.shape[1]) or columns_of(model):
        if names is not None or columns_of(model):
            args.parser.error(f"argument TABLE: this machine is of a table of {n:,} columns: give a TABLE")
        args.parser.error(
            f"argument --data: this machine has {n:,} features, but images of {images.name} have {n_pixels:,} pixels. "
            "Give --data of such images as it learned, or a TABLE"
        )
    check_writable(args)
    _check_picture(args)
    check_plots(args)
    from skrbm.commands.image_experiment import draw_completions

    with errors_of(args), reported_warnings(args):
        draw_completions(
            model,
            images,
            args.output,
            args.n or 10,
            missing=args.missing or "lower",
            n_steps=args.steps,
            method=args.method,
            random_state=args.random_state,
        )


# -- files -------------------------------------------------------------------------------------------------------------


def _load_model(args: argparse.Namespace) -> tuple[BaseRBM, list[str] | None]:
    """The machine, and the names of its columns, which it doesn't ask for any more: tables are checked here."""
    check_readable(args, "MODEL", args.model)
    if args.model.suffix in _TABLES:
        args.parser.error(
            f"argument MODEL: {str(args.model)!r} is a table. Name the file of the machine first, such as "
            "model.safetensors"
        )
    from skrbm.commands.model_files import read_machine

    with errors_of(args, "MODEL", (OSError, ImportError, ValueError)):
        return read_machine(args.model)


def _read(args: argparse.Namespace, model: BaseRBM | None = None, names: list[str] | None = None) -> Rows:
    """The table, for a machine."""
    from skrbm.commands.table_files import read_rows
    from skrbm.commands.table_machines import texts_of

    if args.table.suffix not in _TABLES:
        args.parser.error(f"argument TABLE: {str(args.table)!r} must end in .csv, .tsv or .parquet")
    check_readable(args, "TABLE", args.table)
    texts = [] if model is None else texts_of(model, names)
    with errors_of(args, "TABLE", (OSError,)), _errors_of_table(args, ImportError):
        return read_rows(args.table, texts=texts)


@contextmanager
def _errors_of_table(args: argparse.Namespace, *others: type[Exception]) -> Iterator[None]:
    """Within it, errors end the program with a line that names the table."""
    with errors_of(args, f"TABLE: {args.table}", (ValueError, *others)):
        yield


def _as_learned(rows: Rows, model: BaseRBM, names: list[str] | None) -> Rows:
    """The columns in the order that the machine has learned them in; as they are where it has no names."""
    if names is not None:
        return rows.in_order_of(names)
    if len(rows.names) != model.n_features_in_:
        raise ValueError(f"it has {len(rows.names)} columns, but the machine has {model.n_features_in_}")
    return rows
