"""What `skrbm train` leaves in its folder, and how its recipes begin."""

import os
import re
import shutil

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.image import imread

from skrbm.commands import cli, image_experiment
from skrbm.commands.image_experiment import RECIPES, chosen_epochs
from skrbm.commands.images import load_images
from tests.commands.running import SMALL_TRAINING
from tests.commands.test_page import checked

PICTURES = ["activity.png", "curve.png", "filters.png", "samples.png", "steps.png"]


@pytest.mark.parametrize("recipe", ["deck", "best"])
def test_files(trained, recipe):
    epochs = [f"epoch_00{i}.png" for i in range(4)]
    assert sorted(os.listdir(trained / recipe)) == sorted(
        [*PICTURES, *epochs, "checkpoint.ckpt", "model.joblib", "record.json"]
    )
    frames = [imread(trained / recipe / name) for name in epochs]
    assert all(frame.shape == frames[0].shape for frame in frames)
    assert all(np.ptp(frame) > 0.5 for frame in frames)
    assert np.abs(frames[3] - frames[0]).mean() > 0.005  # it learned


def test_the_report_says_what_the_machines_are(trained):
    page = (trained / "report.html").read_text()
    found = checked(page)
    assert len(found.images) == 2 + 2 * (len(PICTURES) + 4) + 1  # the originals twice, a film each, both curves
    text = " ".join(found.text)
    assert re.search(r"1,437 images .* 360", text)
    for recipe in ("deck", "best"):
        model = joblib.load(trained / recipe / "model.joblib")
        assert (model.checkpoint, model.resume, model.warm_start) == (None, False, False)
        nats = model.log_likelihood(load_images("digits").test).mean(dtype=np.float64)
        assert f"{nats:.2f} (exact)" in text
        assert f"{model.history_['seconds'].sum():.1f}" in text
    assert "test log-likelihood, nats an image (pixels drawn as 0 or 1)" in text
    assert "test pseudo-log-likelihood, nats an image (pixels drawn as 0 or 1)" in text
    assert "zeros and ones that are drawn from the grey of the test images" in text
    assert text.count("F(v) - F(v_k) swings around 0 and says little") == 3  # at each machine's curves, and at both
    assert "1,000 Gibbs steps" in text
    assert not re.search("Learned before|leaves out|in the folder", text)


def copied(trained, folder, *recipes):
    for recipe in recipes:
        shutil.copytree(trained / recipe, folder / recipe)


def report_of(folder, *argv):
    assert cli.main(["train", "--output-dir", os.fspath(folder), *SMALL_TRAINING, *argv]) == 0
    found = checked((folder / "report.html").read_text())
    return found, " ".join(found.text)


def test_a_report_has_all_recipes_that_are_finished_in_the_folder(trained, tmp_path):
    copied(trained, tmp_path, "deck", "best")
    found, text = report_of(tmp_path, "--recipe", "best", "--resume")
    assert len(found.images) == 2 + 2 * (len(PICTURES) + 4) + 1
    before = " ".join(checked((trained / "report.html").read_text()).text)
    model = joblib.load(trained / "deck" / "model.joblib")
    nats = f"{model.log_likelihood(load_images('digits').test).mean(dtype=np.float64):.2f} (exact)"
    assert nats in text
    assert nats in before
    assert text.index("Recipe 'deck'") < text.index("Recipe 'best'")
    assert re.search("Learned before, by +skrbm train --recipe both", text)
    assert "leaves out" not in text


def test_machines_that_a_report_leaves_out_are_told(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(joblib, "load", None)  # which would run what stands in a file that happens to be there
    copied(trained, tmp_path, "deck")
    record = tmp_path / "deck" / "record.json"
    _, text = report_of(tmp_path, "--random-state", "1")
    assert "deck: this report leaves out the machine in its folder, which is of other images." in text
    assert "Recipe 'deck'" not in text
    record.unlink()
    _, text = report_of(tmp_path, "--force")
    assert "it has no record.json of a finished training. Go on with it by --recipe deck --resume." in text
    assert "Recipe 'deck'" not in text


def test_pictures_have_titles(trained, monkeypatch, tmp_path):
    titles = {}

    def savefig(figure, path, **how):
        titles[path.name] = figure.axes[0].get_title()

    monkeypatch.setattr(Figure, "savefig", savefig)
    model = joblib.load(trained / "best" / "model.joblib")
    task = image_experiment.Task(load_images("digits"), tmp_path, {})
    image_experiment.draw(image_experiment.Outcome("best", model, True), task)
    assert titles["samples.png"] == "Samples after 1,000 steps"
    assert titles["filters.png"] == "Weights of 8 hidden units"


def test_the_deck_begins_as_it_did():
    rbm = RECIPES["deck"].machine(784, n_hidden=500, random_state=0)
    assert rbm.components_.shape == (500, 784)
    assert rbm.components_.std() == pytest.approx(0.01, rel=0.01)
    assert not rbm.intercept_visible_.any()
    assert not rbm.intercept_hidden_.any()
    parameters = rbm.get_params()
    deck = {"algorithm": "cd", "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 64, "binarize": "sample"}
    assert {name: parameters[name] for name in deck} == deck
    other = RECIPES["deck"].machine(784, n_hidden=500, random_state=1)
    assert not np.array_equal(rbm.components_, other.components_)


def test_the_deck_starts_from_these_parameters():
    parameters = {"n_hidden": 4, "n_iter": 1, "random_state": 0, "learning_rate": 1e-9}
    recipe = RECIPES["deck"]
    recipe = recipe._replace(settings={k: v for k, v in recipe.settings.items() if k != "learning_rate"})
    rbm = recipe.machine(64, **parameters)
    before = rbm.components_.copy()
    rbm.fit(load_images("digits").train)
    np.testing.assert_allclose(rbm.components_, before, atol=1e-6)
    np.testing.assert_allclose(rbm.intercept_visible_, 0, atol=1e-6)


def test_the_page_tells_how_many_pictures_it_leaves_out(trained, tmp_path):
    copied(trained, tmp_path, "best")
    for epoch in range(60):
        shutil.copy(trained / "best" / "epoch_000.png", tmp_path / "best" / f"epoch_{epoch:03d}.png")
    found, text = report_of(tmp_path, "--recipe", "best", "--resume")
    n_shown = len(chosen_epochs(list(range(60))))
    assert n_shown < 60
    assert f"It has {n_shown} of 60 pictures; all are in the folder." in text
    assert len(found.images) == 1 + n_shown + len(PICTURES)


def test_the_page_shows_some_thirty_epochs():
    assert chosen_epochs([0]) == [0]
    assert chosen_epochs([0, 1, 2, 3]) == [0, 1, 2, 3]
    assert chosen_epochs(list(range(41))) == list(range(41))
    found = chosen_epochs(list(range(101)))
    assert found[:6] == [0, 1, 2, 3, 4, 5]
    assert found[-1] == 100
    assert 20 <= len(found) <= 32
    assert chosen_epochs([0, 7, 14, 15]) == [0, 7, 14, 15]
    assert chosen_epochs([*range(0, 1000, 7), 1000])[-1] == 1000
