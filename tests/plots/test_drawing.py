"""What the displays share, as seen through them."""

import subprocess
import sys

import numpy as np
import pytest

from skrbm.plots import FiltersDisplay, HiddenActivityDisplay, LearningCurveDisplay, SamplesDisplay
from tests.plots.pictures import IMAGES, assert_legible, tiles

pyplot = pytest.importorskip("matplotlib.pyplot")


def test_places_that_are_left_over_are_blank():
    display = FiltersDisplay(np.ones((7, 4))).plot()
    found = np.ma.filled(np.ma.masked_invalid(tiles(display, (2, 2))), np.nan)
    assert np.isnan(found[7:]).all()
    np.testing.assert_array_equal(found[:7], 1)


def test_many_names_are_thinned_out_and_long_ones_cut():
    names = ["a name that is much too long to stand " + str(i) for i in range(300)]
    display = FiltersDisplay(np.ones((3, 300)), feature_names=names).plot()
    shown = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert 20 < len(shown) < 300
    assert max(map(len, shown)) == 30
    assert shown[0].endswith("…")
    assert_legible(display)


def test_the_colour_bar_is_as_long_as_the_picture():
    for shape in ((4, 64), (1, 64), (2000, 64)):
        figure = FiltersDisplay(np.ones(shape)).plot().figure_
        figure.canvas.draw()
        picture, bar = (ax.get_position() for ax in figure.axes)
        assert picture.height == pytest.approx(bar.height, abs=0.06)


@pytest.mark.parametrize(
    ("display", "words"),
    [
        (FiltersDisplay(np.ones((3, 10))), "10 features make no square .* image_shape"),
        (FiltersDisplay(np.ones((3, 10)), image_shape=(3, 3)), r"height \* width = 10"),
        (FiltersDisplay(np.ones(9)), r"must have shape \(n_units, n_features\)"),
        (FiltersDisplay(np.full((2, 9), np.nan)), "NaN"),
        (FiltersDisplay(np.ones((2, 9)), feature_names=["a"]), "1 names"),
        (SamplesDisplay(np.ones((3, 9)), row_labels=["a"] * 5, n_columns=1), "5 labels"),
        (SamplesDisplay(np.ones((3, 9)), n_columns=0), "n_columns"),
    ],
)
def test_what_cannot_be_drawn(display, words):
    with pytest.raises(ValueError, match=words):
        display.plot()


def test_axes_that_are_too_many():
    with pytest.raises(ValueError, match="2 panels, but ax is 3 Axes"):
        HiddenActivityDisplay(np.ones((3, 2))).plot(ax=pyplot.subplots(1, 3)[1])


@pytest.mark.parametrize(
    ("display", "X"),
    [
        (FiltersDisplay, ()),
        (SamplesDisplay, ()),
        (LearningCurveDisplay, ()),
        (HiddenActivityDisplay, (IMAGES,)),
    ],
)
def test_without_matplotlib(rbm, display, X, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'A plot needs matplotlib.*pip install "skrbm\[plots\]"'):
        display.from_estimator(rbm, *X)


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys; import skrbm.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
