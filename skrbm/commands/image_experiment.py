"""The experiment that the command `skrbm train` runs: a machine learns images, and is watched at it.

In a folder for each recipe there are pictures of what the machine makes of some test images before training and after
each epoch, its filters, samples, and curves, and the machine itself; above them a page `report.html` that shows it all.
"""

from __future__ import annotations

import hashlib
import html
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch

from skrbm._version import __version__
from skrbm.callbacks import OnEpoch
from skrbm.commands.images import Images
from skrbm.commands.likelihoods import mean_log_likelihood
from skrbm.commands.page import film, page, paragraph, picture, side_by_side, table
from skrbm.commands.progress import ShowEpoch
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.chains import Sampler
from skrbm.machines.restricted import initial_parameters
from skrbm.plots.curves import HiddenActivityDisplay, LearningCurveDisplay
from skrbm.plots.drawing import matplotlib
from skrbm.plots.filters import FiltersDisplay
from skrbm.plots.samples import SamplesDisplay
from skrbm.support.files import write_atomically
from skrbm.support.randomness import Stream

N_PICTURED, SAMPLING_STEPS = 32, 1000
_BITS = "nats an image (pixels drawn as 0 or 1)"
LIKELIHOOD = f"test log-likelihood, {_BITS}"
_RECORD = "record.json"  # in a recipe's folder: what reports say of it
_DPI = 100
_MOST_FRAMES, _N_FRAMES = 41, 30  # pictures of epochs on the page: where there are more than 41, some 30
_PICTURES = ("curve.png", "filters.png", "activity.png", "samples.png", "steps.png")
_PIXELS = (
    "Both test likelihoods judge zeros and ones that are drawn from the grey of the test images: a pixel that is black "
    "to 30 % is 1 with probability 0.3. The same draws are made each time."
)
_LOSS = (
    "The loss F(v) - F(v_k) swings around 0 and says little; look at the pseudo-log-likelihood, which should rise and "
    "level off."
)


# -- recipes -----------------------------------------------------------------------------------------------------------


class Recipe(NamedTuple):
    """A way to train.

    Attributes
    ----------
    title : str
        In a few words.
    settings : dict
        Parameters of `BernoulliRBMTorch`; all else is at its default.
    biases_from_0 : bool
        Whether both biases start at 0, instead of the visible one at the data's log-odds.
    """

    title: str
    settings: Mapping[str, Any]
    biases_from_0: bool = False

    def machine(self, n_features: int, **parameters: Any) -> BernoulliRBMTorch:
        """A machine that is about to learn by this recipe."""
        rbm = BernoulliRBMTorch(**self.settings, **parameters)
        if self.biases_from_0:
            # A machine to go on from, as no parameter says that both biases start at 0.
            stream = Stream(parameters.get("random_state"), "start")
            half = torch.full((n_features,), 0.5)  # whose log-odds are 0
            start = initial_parameters(half, rbm.n_hidden, stream)
            return BernoulliRBMTorch.from_parameters(**start.tensors, **rbm.get_params() | {"warm_start": True})
        return rbm


RECIPES = {
    "deck": Recipe(
        "CD, Adam at 1e-3, batches of 64, biases from 0, as in the lecture",
        {
            "algorithm": "cd",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "learning_rate_schedule": "constant",
            "batch_size": 64,
            "centered": False,
            "weight_decay": 0.0,
            "averaging": 0.0,
        },
        biases_from_0=True,
    ),
    "best": Recipe("persistent chains, both layers centred, falling rate, averaged weights", {"centered": True}),
}


# -- training ----------------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """What to train, and where its files go.

    Attributes
    ----------
    images : Images
        To learn.
    folder : Path
        Of all files; each recipe has one in it.
    parameters : dict
        Of `BernoulliRBMTorch`, the same in all recipes: n_hidden, k, n_iter, device, random_state.
    pictures_every : int
        Epochs from one picture to the next; there is one before the first epoch and one after the last anyway.
    resume : bool
        Whether to go on from checkpoints that are there.
    """

    images: Images
    folder: Path
    parameters: dict[str, Any]
    pictures_every: int = 1
    resume: bool = False


@dataclass
class Outcome:
    """A machine that has learned by a recipe, and what became of it.

    Attributes
    ----------
    name : str
        Of the recipe.
    model : BernoulliRBMTorch
        The machine.
    is_finished : bool
        Whether training came to its end.
    figures : dict
        Names and values for the report.
    notes : list of str
        Warnings, which the report repeats.
    """

    name: str
    model: BernoulliRBMTorch
    is_finished: bool
    figures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def train(name: str, task: Task, show: ShowEpoch) -> Outcome:
    """Train by the recipe of that name, with pictures on the way and after, and store the machine.

    Ctrl-C ends it early; what there is then is kept, and training can be resumed from there.
    """
    images, folder = task.images, task.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if not task.resume:
        for file in (*folder.glob("epoch_*.png"), *folder.glob(_RECORD)):
            file.unlink()
    n_epochs, shown = task.parameters["n_iter"], images.test[:N_PICTURED]

    def look(model: BernoulliRBMTorch, epoch: int) -> None:
        if epoch % task.pictures_every == 0 or epoch == n_epochs:
            display = SamplesDisplay(model.reconstruct(shown), image_shape=images.image_shape).plot()
            _save(display, folder / f"epoch_{epoch:03d}.png", f"Reconstructions {_moment(epoch)}")
        show(name, epoch, n_epochs, model)

    where = {"checkpoint": folder / "checkpoint.ckpt", "resume": task.resume}
    rbm = RECIPES[name].machine(images.train.shape[1], **task.parameters, **where)
    rbm.set_callbacks(OnEpoch(look, before=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rbm.fit(images.train)
    rbm.set_callbacks().set_params(
        checkpoint=None, resume=False, warm_start=False
    )  # nothing that surprises whoever loads it
    write_atomically(folder / "model.joblib", partial(joblib.dump, rbm))
    return Outcome(name, rbm, rbm.n_iter_ == n_epochs, notes=[str(warning.message) for warning in caught])


def judge(outcome: Outcome, images: Images) -> None:
    """Compute the figures of the report; the likelihood of the test images only where training came to its end."""
    model, figures, last = outcome.model, outcome.figures, {k: v[-1] for k, v in outcome.model.history_.items()}
    figures["epochs"] = f"{model.n_iter_} of {model.n_iter}"
    figures["seconds of training"] = f"{model.history_['seconds'].sum():.1f}"
    if outcome.is_finished:
        found = mean_log_likelihood(model, images.test)
        outcome.notes += found.notes
        figures[LIKELIHOOD] = f"{found.nats:.2f} ({found.how})"
    test = Stream(0, "test pixels").bernoulli(torch.from_numpy(images.test)).numpy()
    figures[f"test pseudo-log-likelihood, {_BITS}"] = f"{model.score(test):.2f}"
    figures["loss F(v) - F(v_k) in the last epoch, nats"] = f"{last['loss']:.2f}"
    figures["mean squared error of reconstructions"] = f"{last['reconstruction_error']:.4f}"
    figures["hidden units that are always off, always on"] = f"{last['dead_share']:.1%}, {last['saturated_share']:.1%}"


# -- pictures and the page ---------------------------------------------------------------------------------------------


def draw(outcome: Outcome, task: Task) -> None:
    """The pictures of a machine that has learned."""
    model, folder, shape = outcome.model, task.folder / outcome.name, task.images.image_shape
    sampling: dict[str, Any] = {"image_shape": shape, "n_steps": SAMPLING_STEPS, "random_state": 0}
    displays: dict[str, Any] = {
        "curve.png": LearningCurveDisplay.from_estimator(model),
        "filters.png": FiltersDisplay.from_estimator(model, image_shape=shape),
        "activity.png": HiddenActivityDisplay.from_estimator(model, task.images.test[:1000]),
        "samples.png": SamplesDisplay.from_estimator(model, n_samples=64, **sampling),
        "steps.png": SamplesDisplay.from_estimator(model, kind="steps", n_samples=8, **sampling),
    }
    titles = {
        "filters.png": f"Weights of {len(displays['filters.png'].weights)} hidden units",
        "samples.png": f"Samples after {SAMPLING_STEPS:,} steps",
    }
    for file in _PICTURES:
        _save(displays[file], folder / file, titles.get(file, ""))


def draw_samples(samples: np.ndarray, path: Path, title: str, *, image_shape: Any, names: Sequence[str] | None) -> None:
    """A picture of samples (n_samples, n_features): images, or a table where the columns have names."""
    display = SamplesDisplay(samples, image_shape=image_shape, feature_names=names).plot()
    _save(display, path, title)


def draw_completions(
    model: BernoulliRBMTorch,
    images: Images,
    path: Path,
    n: int,
    *,
    missing: str,
    n_steps: int,
    method: Sampler,
    random_state: int,
) -> None:
    """A picture of test images with a half missing, and of what the machine makes of that half."""
    height, width = images.image_shape
    whole, given = images.test[:n], images.test[:n].copy()
    canvas = given.reshape(-1, height, width)
    upper, lower = canvas[:, : height // 2], canvas[:, height // 2 :]
    left, right = canvas[:, :, : width // 2], canvas[:, :, width // 2 :]
    {"upper": upper, "lower": lower, "left": left, "right": right}[missing][:] = np.nan
    rows = {"test image": whole, "given": given}
    chains: dict[str, Any] = {"n_steps": n_steps, "method": method}
    rows["mean"] = model.complete(given, **chains, random_state=random_state)
    for i in range(1, 4):
        rows[f"sample {i}"] = model.complete(given, "sample", **chains, random_state=random_state + i)
    display = SamplesDisplay(
        np.concatenate(list(rows.values())),
        image_shape=images.image_shape,
        n_columns=len(whole),
        row_labels=list(rows),
    ).plot()
    _save(display, path, f"The {missing} half completed: {n_steps:,} clamped steps ({method.replace('_', ' ')})")


def write_report(outcomes: Sequence[Outcome], task: Task, command: str) -> Path:
    """Write `report.html`, of these recipes and of others that were finished in the folder before; the path."""
    folder, images, shape = task.folder, task.images, task.images.image_shape
    records, notes = _records(outcomes, task, command)
    _save(SamplesDisplay(images.test[:N_PICTURED], image_shape=shape).plot(), folder / "originals.png", "Test images")
    notes += [f"{name}: {note}" for name, record in records.items() for note in record["notes"]]
    parts = [
        f"<p>What <code>{html.escape(command)}</code> did with {html.escape(images.name)}: {shape[0]} × {shape[1]} "
        f"pixels, {len(images.train):,} images to learn from and {len(images.test):,} to be judged by; skrbm "
        f"{__version__}, {time.strftime('%Y-%m-%d')}.</p>",
        paragraph("Figures", "h2"),
        table({name: record["figures"] for name, record in records.items()}),
        paragraph(_PIXELS),
        *map(paragraph, notes),
    ]
    if len(records) > 1:
        first, *others = (LearningCurveDisplay(record["history"], name=name) for name, record in records.items())
        first.plot()
        for display in others:
            display.plot(ax=first.axes_)
        _save(first, folder / "curves.png")
        parts.append(picture(folder / "curves.png", f"Both while they learned. {_LOSS}"))
    now = {outcome.name for outcome in outcomes}
    for name, record in records.items():
        parts += _section(name, "" if name in now else record["command"], task)
    parts += [paragraph("Settings", "h2"), table({n: record["settings"] for n, record in records.items()}, "parameter")]
    path = folder / "report.html"
    _write(path, page(f"A Boltzmann machine learns {images.name}", parts))
    return path


def _records(outcomes: Sequence[Outcome], task: Task, command: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What the report says of each recipe, by name; and notes on recipes in the folder that it must leave out.

    Records of finished machines stay in their folders for later reports: as JSON, since to load machines that happen to
    be there would run code.
    """
    pixels = np.ascontiguousarray(task.images.test).tobytes()
    found: dict[str, dict[str, Any]] = {}
    same = {"format": 1, "test_images": hashlib.sha256(pixels).hexdigest()}
    for outcome in outcomes:
        history = {name: np.asarray(values).tolist() for name, values in outcome.model.history_.items()}
        told = {"figures": outcome.figures, "notes": outcome.notes, "settings": _settings(outcome.model)}
        found[outcome.name] = {**same, "command": command, "history": history, **told}
        if outcome.is_finished:
            _write(task.folder / outcome.name / _RECORD, json.dumps(found[outcome.name], indent=1))
    notes = []
    for name in RECIPES.keys() - found.keys():
        folder = task.folder / name
        if all((folder / file).exists() for file in (_RECORD, "epoch_000.png", *_PICTURES)):
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            if same.items() <= record.items():
                found[name] = record
            else:
                notes.append(f"{name}: this report leaves out the machine in its folder, which is of other images.")
        elif (folder / "model.joblib").exists():
            notes.append(
                f"{name}: this report leaves out the machine in its folder: it has no {_RECORD} of a finished "
                f"training. Go on with it by --recipe {name} --resume."
            )
    return {name: found[name] for name in RECIPES if name in found}, notes


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _section(name: str, command: str, task: Task) -> Iterator[str]:
    """What the page shows of one machine; with the `command` that it was learned by if another one wrote the page."""
    folder = task.folder / name
    yield paragraph(f"Recipe {name!r}: {RECIPES[name].title}", "h2")
    if command:
        yield f"<p>Learned before, by <code>{html.escape(command)}</code>.</p>"
    files = {int(file.stem.removeprefix("epoch_")): file for file in folder.glob("epoch_*.png")}
    frames = {_moment(epoch): files[epoch] for epoch in chosen_epochs(sorted(files))}
    originals = picture(task.folder / "originals.png", f"The first {N_PICTURED} test images.")
    text = "What the machine makes of them, P(v = 1 | h) at h = P(h = 1 | v). Move the slider through training."
    if len(frames) < len(files):
        text += f" It has {len(frames)} of {len(files)} pictures; all are in the folder."
    yield side_by_side([originals, film(frames, text)])
    curve = picture(folder / "curve.png", f"The likelihood's proxy, the loss, and reconstruction. {_LOSS}")
    samples = f"Fresh samples: {SAMPLING_STEPS:,} Gibbs steps from random bits."
    yield side_by_side([curve, picture(folder / "samples.png", samples)])
    yield picture(folder / "steps.png", "The way there, from random bits.")
    filters = picture(folder / "filters.png", "Weights of the hidden units with the largest norms.")
    yield side_by_side([filters, picture(folder / "activity.png", "How often hidden units are on, test images.")])


def chosen_epochs(epochs: list[int]) -> list[int]:
    """All of up to 41; else some thirty, the more densely the earlier, and always the first and the last."""
    if len(epochs) <= _MOST_FRAMES:
        return epochs
    wanted = np.geomspace(1, max(epochs[-1], 1), _N_FRAMES)
    near = {epochs[int(np.abs(np.array(epochs) - epoch).argmin())] for epoch in wanted}
    return sorted(near | {epochs[0], epochs[-1]})


def _settings(model: BernoulliRBMTorch) -> dict[str, str]:
    hidden = ("checkpoint", "checkpoint_every", "resume", "verbose")
    return {name: str(value) for name, value in model.get_params().items() if name not in hidden}


def _moment(epoch: int) -> str:
    return "before training" if epoch == 0 else f"after epoch {epoch}"


def _save(display: Any, path: Path, title: str = "") -> None:
    if title:
        display.ax_.set_title(title)
    display.figure_.savefig(path, dpi=_DPI)
    matplotlib().close(display.figure_)
