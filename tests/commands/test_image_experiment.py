"""What `skrbm train` leaves in its folder, and how its recipes begin."""

import os
import re

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn.callback")
pytest.importorskip("matplotlib")

from matplotlib.image import imread

from skrbm.commands.image_experiment import RECIPES, chosen_epochs
from skrbm.commands.images import load_images
from tests.commands.test_page import checked

PICTURES = ["activity.png", "curve.png", "filters.png", "samples.png", "steps.png"]


@pytest.mark.parametrize("recipe", ["deck", "best"])
def test_files(trained, recipe):
    epochs = [f"epoch_00{i}.png" for i in range(4)]
    assert sorted(os.listdir(trained / recipe)) == sorted([*PICTURES, *epochs, "checkpoint.ckpt", "model.joblib"])
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


def test_the_page_shows_some_thirty_epochs():
    assert chosen_epochs([0]) == [0]
    assert chosen_epochs([0, 1, 2, 3]) == [0, 1, 2, 3]
    found = chosen_epochs(list(range(101)))
    assert found[:6] == [0, 1, 2, 3, 4, 5]
    assert found[-1] == 100
    assert 20 <= len(found) <= 32
    assert chosen_epochs([0, 7, 14, 15])[-2:] == [14, 15]
