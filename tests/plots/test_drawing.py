"""What the displays share, as seen through them."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skrbm import BernoulliRBMTorch
from skrbm.plots import CouplingsDisplay, FiltersDisplay, HiddenActivityDisplay, LearningCurveDisplay, SamplesDisplay
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
        (CouplingsDisplay, ()),
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


# -- machines in pipelines ---------------------------------------------------------------------------------------------


def of_pixels(n_hidden=6):
    return BernoulliRBMTorch(n_hidden, n_iter=2, random_state=0)


PIXELS = 255 * IMAGES
Y = np.arange(len(IMAGES)) % 2


@pytest.fixture(
    scope="module",
    params=[
        lambda: make_pipeline(MinMaxScaler(), of_pixels(), LogisticRegression()),
        lambda: make_pipeline(MinMaxScaler(), PCA(49), MinMaxScaler(), of_pixels(9), of_pixels(), PCA(2)),
        lambda: make_pipeline(MinMaxScaler(), make_pipeline(StandardScaler(), MinMaxScaler(), of_pixels())),
    ],
    ids=["before a classifier", "the last of two", "nested"],
)
def pipeline(request):
    return request.param().fit(PIXELS, Y)


def taken_apart(pipeline):
    """The last machine, and the rows as it sees them, by hand."""
    X = PIXELS
    while True:
        numbers = [i for i, (_, step) in enumerate(pipeline.steps) if hasattr(step, "gibbs") or hasattr(step, "steps")]
        for _, step in pipeline.steps[: numbers[-1]]:
            X = step.transform(X)
        pipeline = pipeline[numbers[-1]]
        if hasattr(pipeline, "gibbs"):
            return pipeline, X


def test_displays_of_a_pipeline_are_those_of_its_machine(pipeline):
    rbm, X = taken_apart(pipeline)
    shape = (3, 3) if rbm.n_features_in_ == 9 else (8, 8)
    weights = FiltersDisplay.from_estimator(pipeline, PIXELS, sort="use").weights
    np.testing.assert_array_equal(weights, FiltersDisplay.from_estimator(rbm, X, sort="use").weights)
    seen = SamplesDisplay.from_estimator(pipeline, PIXELS, kind="reconstructions", n_samples=4, image_shape=shape)
    np.testing.assert_allclose(seen.samples[seen.n_columns : 2 * seen.n_columns], rbm.reconstruct(X[: seen.n_columns]))
    assert SamplesDisplay.from_estimator(pipeline, n_samples=4, n_steps=2).samples.shape == (4, rbm.n_features_in_)
    np.testing.assert_array_equal(HiddenActivityDisplay.from_estimator(pipeline, PIXELS).activity, rbm.transform(X))
    assert LearningCurveDisplay.from_estimator(pipeline).history is rbm.history_


DISPLAYS = [
    FiltersDisplay.from_estimator,
    lambda estimator: HiddenActivityDisplay.from_estimator(estimator, PIXELS),
    LearningCurveDisplay.from_estimator,
    SamplesDisplay.from_estimator,
]


@pytest.mark.parametrize("draw", DISPLAYS)
def test_pipelines_without_a_machine_or_a_fit(draw):
    with pytest.raises(TypeError, match=r"no step of this Pipeline \(MinMaxScaler, PCA\) is a machine. Pass one with"):
        draw(make_pipeline(MinMaxScaler(), PCA(2)).fit(PIXELS))
    with pytest.raises(NotFittedError, match="This BernoulliRBMTorch instance is not fitted"):
        draw(make_pipeline(MinMaxScaler(), of_pixels()))


# -- colours and lines of one's own ------------------------------------------------------------------------------------


def test_colours_and_images_as_the_user_wants_them(rbm):
    kwargs = {"cmap": "viridis", "im_kw": {"vmin": -3.0, "interpolation_stage": "data"}}
    for display in (
        FiltersDisplay.from_estimator(rbm, **kwargs),
        SamplesDisplay.from_estimator(rbm, n_samples=4, n_steps=1, **kwargs),
        FiltersDisplay(np.eye(3), feature_names=list("abc")).plot(**kwargs),
    ):
        np.testing.assert_array_equal(display.im_.cmap.colors, pyplot.get_cmap("viridis").colors)
        assert display.im_.get_clim()[0] == -3.0
        assert display.im_.get_interpolation_stage() == "data"
    plain = FiltersDisplay.from_estimator(rbm)
    assert plain.im_.cmap.name == "blue_grey_yellow"
    own = pyplot.get_cmap("magma")
    assert SamplesDisplay(np.eye(9)).plot(cmap=own).im_.cmap(0.5) == own(0.5)


def test_lines_as_the_user_wants_them(rbm):
    curves = LearningCurveDisplay.from_estimator(rbm, name="mine", line_kw={"c": "red", "linestyle": ":"})
    assert {(line.get_color(), line.get_linestyle(), line.get_label()) for line in curves.lines_} == {
        ("red", ":", "mine")
    }
    assert {line.get_linewidth() for line in curves.plot(line_kw={"lw": 5}).lines_} == {5}
    activity = HiddenActivityDisplay.from_estimator(rbm, IMAGES, line_kw={"marker": "x", "ms": 9})
    units = activity.axes_[0].lines
    assert {(line.get_marker(), line.get_markersize(), line.get_linestyle()) for line in units} == {("x", 9, "None")}
    assert {line.get_color() for line in HiddenActivityDisplay(np.eye(3)).plot().axes_[0].lines} != {"red"}
