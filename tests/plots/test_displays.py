import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.plots import displays as plots
from skrbm.plots.displays import FiltersDisplay, HiddenActivityDisplay, LearningCurveDisplay, SamplesDisplay

pytest.importorskip("matplotlib").use("Agg")
colors, pyplot = pytest.importorskip("matplotlib.colors"), pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
IMAGES = (RNG.random((60, 64)) < np.linspace(0.1, 0.9, 64)).astype(np.float32)
NAMES = [f"a feature with the name {i}" for i in range(16)]
TABLE = pd.DataFrame((RNG.random((50, 16)) < 0.4).astype(float), columns=NAMES)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def fitted(X, n_hidden=6, **settings):
    return BernoulliRBMTorch(n_hidden, n_iter=2, random_state=0, **settings).fit(X)


def machine(n_hidden, n_features):
    """One that has not learned, of any size."""
    rbm = fitted(IMAGES[:, :4], 1)
    rbm.components_ = RNG.normal(size=(n_hidden, n_features)).astype(np.float32)
    rbm.intercept_visible_, rbm.intercept_hidden_ = np.zeros(n_features, "f4"), np.zeros(n_hidden, "f4")
    rbm.n_features_in_ = n_features
    return rbm


def tiles(display, shape):
    """The pictures of a mosaic, line by line, without the blank pixels around samples."""
    mosaic, gap = display.im_.get_array(), int(isinstance(display, SamplesDisplay))
    height, width = np.array(shape) + 2 * gap
    found = mosaic.reshape(mosaic.shape[0] // height, height, -1, width).swapaxes(1, 2)
    found = found[:, :, gap : height - gap, gap : width - gap]
    return found.reshape(-1, np.prod(shape))


def texts(figure):
    """All that is written, and where."""
    figure.canvas.draw()
    found = list(figure.texts)
    for ax in figure.axes:
        found += [ax.title, *ax.texts, *(ax.get_legend().get_texts() if ax.get_legend() else [])]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [axis.label, *(label for tick in ticks for label in (tick.label1, tick.label2))]
    shown = [text for text in found if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


def assert_legible(display):
    """No text overlaps another, nor does one reach over the edge."""
    figure = display.figure_
    found = texts(figure)
    for i, (text, box) in enumerate(found):
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.width + 1, text
        assert box.y1 <= figure.bbox.height + 1, text
        for other, other_box in found[:i]:
            width = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
            height = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
            assert min(width, height) < 1, f"{text!r} and {other!r}"
    assert figure.bbox.width / figure.dpi <= 16
    assert figure.bbox.height / figure.dpi <= 16


# -- filters -----------------------------------------------------------------------------------------------------------


def test_filters_by_norm():
    rbm = machine(70, 64)
    display = FiltersDisplay.from_estimator(rbm)
    order = np.argsort(-np.linalg.norm(rbm.components_, axis=1))[:64]
    np.testing.assert_array_equal(display.units, order)
    np.testing.assert_allclose(tiles(display, (8, 8)), rbm.components_[order])
    limits = display.im_.get_clim()
    assert limits[0] == -limits[1] == -np.abs(rbm.components_[order]).max()
    assert [ax.get_ylabel() for ax in display.figure_.axes] == ["", "weight"]
    assert_legible(display)


def test_filters_by_use_and_in_their_order():
    rbm = machine(9, 64)
    display = FiltersDisplay.from_estimator(rbm, IMAGES, sort="use", n_units=4)
    np.testing.assert_array_equal(display.units, np.argsort(-rbm.transform(IMAGES).mean(0))[:4])
    display = FiltersDisplay.from_estimator(rbm, sort=None, n_units=None)
    np.testing.assert_allclose(tiles(display, (8, 8)), rbm.components_)


def test_places_that_are_left_over_are_blank():
    display = FiltersDisplay(np.ones((7, 4))).plot()
    found = np.ma.filled(np.ma.masked_invalid(tiles(display, (2, 2))), np.nan)
    assert np.isnan(found[7:]).all()
    np.testing.assert_array_equal(found[:7], 1)


@pytest.mark.parametrize(("n_hidden", "n_features"), [(1, 64), (1, 784), (2000, 64), (2000, 784)])
def test_any_number_of_filters(n_hidden, n_features):
    rbm = machine(n_hidden, n_features)
    display = FiltersDisplay.from_estimator(rbm, n_units=None, sort=None)
    side = int(np.sqrt(n_features))
    np.testing.assert_allclose(tiles(display, (side, side))[:n_hidden], rbm.components_)
    assert_legible(display)


@pytest.mark.parametrize("n_hidden", [1, 6, 2000])
def test_filters_of_a_table_have_names(n_hidden):
    rbm = fitted(TABLE, n_hidden)
    display = FiltersDisplay.from_estimator(rbm, sort=None, n_units=None)
    np.testing.assert_allclose(display.im_.get_array(), rbm.components_)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == NAMES
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature", "hidden unit")
    assert_legible(display)


def test_many_names_are_thinned_out_and_long_ones_cut():
    names = ["a name that is much too long to stand " + str(i) for i in range(300)]
    display = FiltersDisplay(np.ones((3, 300)), feature_names=names).plot()
    shown = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert 20 < len(shown) < 300
    assert max(map(len, shown)) == 30
    assert shown[0].endswith("…")
    assert_legible(display)


def test_an_image_shape_overrules_names():
    rbm = fitted(TABLE)
    display = FiltersDisplay.from_estimator(rbm, image_shape=(2, 8), sort=None)
    np.testing.assert_allclose(tiles(display, (2, 8)), rbm.components_)


def test_filters_of_scikit_learns_machine():
    rbm = BernoulliRBM(n_components=5, n_iter=1).fit(IMAGES)
    display = FiltersDisplay.from_estimator(rbm, sort=None)
    np.testing.assert_allclose(tiles(display, (8, 8))[:5], rbm.components_)


def test_the_colour_bar_is_as_long_as_the_picture():
    for shape in ((4, 64), (1, 64), (2000, 64)):
        figure = FiltersDisplay(np.ones(shape)).plot().figure_
        figure.canvas.draw()
        picture, bar = (ax.get_position() for ax in figure.axes)
        assert picture.height == pytest.approx(bar.height, abs=0.06)


def test_filters_in_an_axes_of_yours():
    figure, axes = pyplot.subplots(1, 2)
    display = FiltersDisplay(np.ones((4, 9))).plot(ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].images


def lightness(rgba):
    """L* of sRGB colours."""
    linear = np.where(rgba[:, :3] <= 0.04045, rgba[:, :3] / 12.92, ((rgba[:, :3] + 0.055) / 1.055) ** 2.4)
    Y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(Y) - 16


def test_weights_can_be_told_apart_in_greyscale():
    cmap = FiltersDisplay(np.ones((1, 4))).plot().im_.get_cmap()
    found = lightness(cmap(np.linspace(0, 1, 101)))
    assert (np.diff(found) > 0).all()
    assert found[-1] - found[0] > 70
    red_blue = lightness(pyplot.get_cmap("RdBu")(np.linspace(0, 1, 101)))
    assert not (np.diff(red_blue) > 0).all()  # as most diverging maps


def test_zero_is_grey_and_the_ends_differ_in_hue():
    low, middle, high = (np.array(colors.to_rgb(plots._DIVERGING[i])) for i in (0, 2, -1))
    assert np.ptp(middle) < 0.02
    assert low[2] > low[0]  # blue
    assert high[2] < high[0]  # yellow


# -- samples -----------------------------------------------------------------------------------------------------------


def test_samples_are_the_machines():
    rbm = fitted(IMAGES)
    display = SamplesDisplay.from_estimator(rbm, n_samples=5, n_steps=3, values="bits", random_state=0)
    found = display.samples
    assert found.shape == (5, 64)
    assert np.isin(found, [0, 1]).all()
    grey = SamplesDisplay.from_estimator(rbm, n_samples=5, n_steps=3, random_state=0)
    np.testing.assert_allclose(grey.samples, rbm.reconstruct(found))
    np.testing.assert_allclose(tiles(grey, (8, 8))[:5], grey.samples)
    assert grey.im_.get_clim() == (0, 1)
    assert_legible(grey)


def test_samples_have_the_machines_distribution():
    """Not only zeros and ones: their means are those of `sample`."""
    rbm = fitted(IMAGES)
    display = SamplesDisplay.from_estimator(rbm, n_samples=2000, n_steps=50, values="bits", random_state=0)
    expected = rbm.sample(2000, 50, random_state=1).mean(0)
    assert np.abs(display.samples.mean(0) - expected).max() < 0.07


def test_reconstructions_stand_below_what_was_given():
    rbm = fitted(IMAGES)
    display = SamplesDisplay.from_estimator(rbm, IMAGES, kind="reconstructions", n_samples=10)
    found = tiles(display, (8, 8)).reshape(-1, 2, display.n_columns, 64)
    given, seen = found[:, 0].reshape(-1, 64), found[:, 1].reshape(-1, 64)
    np.testing.assert_array_equal(given[:10], IMAGES[:10])
    np.testing.assert_allclose(seen[:10], rbm.reconstruct(IMAGES[:10]))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["given", "reconstructed"] * len(found)
    assert_legible(display)


@pytest.mark.parametrize("start", [None, IMAGES[:3]])
def test_a_strip_of_steps(start):
    rbm = fitted(IMAGES)
    display = SamplesDisplay.from_estimator(rbm, start, kind="steps", n_samples=3, n_steps=30, values="bits")
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["0", "1", "2", "5", "10", "20", "30"]
    assert display.ax_.get_xlabel() == "step"
    found = tiles(display, (8, 8)).reshape(3, 7, 64)
    assert np.isin(found, [0, 1]).all()
    assert len(np.unique(found[0], axis=0)) == 7  # it moves
    if start is not None:
        np.testing.assert_array_equal(found[:, 0], start)
    assert_legible(display)


def test_chains_of_a_strip_go_on(monkeypatch):
    rbm = fitted(IMAGES)
    seen = []
    gibbs = BernoulliRBMTorch.gibbs

    def note(self, v, k, random_state):
        seen.append((np.array(v), k, found := gibbs(self, v, k, random_state)))
        return found

    monkeypatch.setattr(BernoulliRBMTorch, "gibbs", note)
    SamplesDisplay.from_estimator(rbm, kind="steps", n_samples=2, n_steps=10)
    assert [k for _, k, _ in seen] == [1, 1, 3, 5]
    for (_, _, end), (start, _, _) in itertools.pairwise(seen):
        np.testing.assert_array_equal(end, start)


def test_missing_pixels_are_shaded():
    X = IMAGES[:2].copy()
    X[1, 32:] = np.nan
    display = SamplesDisplay(X, n_columns=2, row_labels=["given"], column_labels=["whole", "half"]).plot()
    drawn = display.im_.to_rgba(display.im_.get_array())
    np.testing.assert_allclose(drawn[-2, -2, :3], colors.to_rgb(plots._MISSING), atol=0.01)
    np.testing.assert_array_equal(display.im_.get_array()[1:9, 1:9], X[0].reshape(8, 8))
    assert 40 < lightness(np.array([colors.to_rgb(plots._MISSING)]))[0] < 85  # neither ink nor paper
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["whole", "half"]


@pytest.mark.parametrize("kind", ["samples", "reconstructions", "steps"])
def test_samples_of_a_table(kind):
    rbm = fitted(TABLE)
    display = SamplesDisplay.from_estimator(rbm, TABLE, kind=kind, n_samples=4, n_steps=10)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == NAMES
    assert display.ax_.get_xlabel() == "feature"
    assert display.ax_.get_ylabel() == ("step" if kind == "steps" else "row")
    np.testing.assert_array_equal(display.im_.get_array(), display.samples)
    if kind == "reconstructions":
        np.testing.assert_array_equal(display.samples[::2], TABLE[:4])
    assert_legible(display)


# -- curves ------------------------------------------------------------------------------------------------------------


def test_curves_of_the_history():
    rbm = fitted(IMAGES, early_stopping=True)
    display = LearningCurveDisplay.from_estimator(rbm)
    measures = ["pseudo_log_likelihood", "loss", "free_energy_gap", "reconstruction_error"]
    assert len(display.axes_) == len(measures)
    for ax, measure in zip(display.axes_, measures, strict=True):
        (line,) = ax.lines
        np.testing.assert_array_equal(line.get_xdata(), rbm.history_["epoch"])
        np.testing.assert_array_equal(line.get_ydata(), rbm.history_[measure])
    assert "nats a row" in display.axes_[0].get_ylabel()
    assert "nats" in display.axes_[1].get_ylabel()
    assert display.axes_[-1].get_xlabel() == "epoch"
    assert_legible(display)


def test_measures_that_are_not_there_have_no_panel():
    assert len(LearningCurveDisplay.from_estimator(fitted(IMAGES)).axes_) == 3
    display = LearningCurveDisplay(fitted(IMAGES).history_, measures=["dead_share", "loss"]).plot()
    assert [ax.get_ylabel() for ax in display.axes_] == ["dead units\n(share)", "loss F(v) - F(v_k)\n(nats)"]


def test_a_second_curve_looks_different():
    first, second = fitted(IMAGES), fitted(IMAGES, 3)
    display = LearningCurveDisplay.from_estimator(first, name="one")
    other = LearningCurveDisplay.from_estimator(second, name="two", ax=display.axes_)
    assert other.figure_ is display.figure_
    for ax in display.axes_:
        one, two = ax.lines
        assert one.get_color() != two.get_color()
        assert one.get_linestyle() != two.get_linestyle()
    assert [text.get_text() for text in display.axes_[0].get_legend().get_texts()] == ["one", "two"]
    assert_legible(display)


def test_one_epoch_is_a_point():
    rbm = BernoulliRBMTorch(3, n_iter=1).fit(IMAGES)
    assert LearningCurveDisplay.from_estimator(rbm).axes_[0].lines[0].get_marker() == "o"


def test_curves_of_different_measures_do_not_mix():
    history = fitted(IMAGES).history_
    first = LearningCurveDisplay(history, measures=["loss", "seconds"]).plot()
    with pytest.raises(ValueError, match=r"'seconds' can't go into a panel of the loss .* Draw the same measures"):
        LearningCurveDisplay(history, measures=["seconds", "loss"]).plot(ax=first.axes_)


def test_a_single_axes_is_divided():
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained")
    display = LearningCurveDisplay.from_estimator(fitted(IMAGES), ax=axes[0])
    assert len(display.axes_) == 3
    assert display.figure_ is figure
    assert max(ax.get_position().x1 for ax in display.axes_) < 0.6


# -- activity ----------------------------------------------------------------------------------------------------------


def test_dead_and_saturated_units_are_seen():
    activity = RNG.uniform(0.2, 0.8, (30, 10))
    activity[:, 0], activity[:, [4, 7]] = 0.001, 0.995
    display = HiddenActivityDisplay(activity).plot()
    np.testing.assert_array_equal(np.flatnonzero(display.dead), [0])
    np.testing.assert_array_equal(np.flatnonzero(display.saturated), [4, 7])
    left, right = display.axes_
    legend = [text.get_text() for text in left.get_legend().get_texts()]
    assert legend == ["saturated: 2 of 10 (20.0 %)", "in use: 7 of 10 (70.0 %)", "dead: 1 of 10 (10.0 %)"]
    lines = dict(zip(legend, left.lines, strict=True))
    np.testing.assert_allclose(lines[legend[2]].get_ydata(), 0.001)
    np.testing.assert_array_equal(lines[legend[2]].get_xdata(), [10])
    assert len({line.get_marker() for line in left.lines}) == 3
    heights = [bar.get_height() for bar in right.patches]
    assert sum(heights) == 30
    assert (left.get_xlabel(), left.get_ylabel()) == ("hidden unit, sorted", "mean P(h = 1 | v)")
    assert_legible(display)


@pytest.mark.parametrize("n_hidden", [1, 2000])
def test_activity_of_any_number_of_units(n_hidden):
    display = HiddenActivityDisplay.from_estimator(machine(n_hidden, 64), IMAGES)
    assert sum(len(line.get_xdata()) for line in display.axes_[0].lines) == n_hidden
    assert_legible(display)


def test_activity_in_an_axes_of_yours():
    _, axes = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    display = HiddenActivityDisplay.from_estimator(machine(100, 64), IMAGES, ax=axes[0, 0])
    assert_legible(display)
    assert all(ax.get_position().width > 0.15 for ax in display.axes_)


# -- what will not do --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (lambda: FiltersDisplay(np.ones((3, 10))).plot(), ValueError, "10 features make no square .* image_shape"),
        (lambda: FiltersDisplay(np.ones((3, 10)), image_shape=(3, 3)).plot(), ValueError, r"height \* width = 10"),
        (lambda: FiltersDisplay(np.ones(9)).plot(), ValueError, r"must have shape \(n_units, n_features\)"),
        (lambda: FiltersDisplay(np.full((2, 9), np.nan)).plot(), ValueError, "NaN"),
        (lambda: FiltersDisplay(np.ones((2, 9)), feature_names=["a"]).plot(), ValueError, "1 names"),
        (lambda: FiltersDisplay.from_estimator(machine(3, 9), n_units=0), ValueError, "n_units"),
        (lambda: FiltersDisplay.from_estimator(machine(3, 9), sort="beauty"), ValueError, "sort='beauty'"),
        (lambda: FiltersDisplay.from_estimator(machine(3, 9), sort="use"), ValueError, "Pass X"),
        (lambda: FiltersDisplay.from_estimator(BernoulliRBMTorch()), NotFittedError, "not fitted"),
        (lambda: SamplesDisplay(np.ones((3, 9)) * 2).plot(), ValueError, "from 2 to 2"),
        (lambda: SamplesDisplay(np.ones((3, 9)), row_labels=["a"] * 5, n_columns=1).plot(), ValueError, "5 labels"),
        (lambda: SamplesDisplay(np.ones((3, 9)), n_columns=0).plot(), ValueError, "n_columns"),
        (lambda: SamplesDisplay.from_estimator(machine(3, 9), kind="x"), ValueError, "kind='x'"),
        (lambda: SamplesDisplay.from_estimator(machine(3, 9), values="x"), ValueError, "values='x'"),
        (lambda: SamplesDisplay.from_estimator(machine(3, 9), n_samples=0), ValueError, "n_samples"),
        (lambda: SamplesDisplay.from_estimator(machine(3, 9), kind="reconstructions"), ValueError, "Pass X"),
        (lambda: SamplesDisplay.from_estimator(BernoulliRBM(2, n_iter=1).fit(IMAGES)), TypeError, "from_sklearn"),
        (lambda: LearningCurveDisplay.from_estimator(BernoulliRBMTorch()), NotFittedError, "not fitted"),
        (lambda: LearningCurveDisplay(fitted(IMAGES).history_, measures=["joy"]).plot(), ValueError, "joy"),
        (lambda: HiddenActivityDisplay(np.ones((3, 2)) * 3).plot(), ValueError, "from 3 to 3"),
        (
            lambda: HiddenActivityDisplay(np.ones((3, 2))).plot(ax=pyplot.subplots(1, 3)[1]),
            ValueError,
            "2 panels, but ax is 3 Axes",
        ),
    ],
)
def test_what_will_not_do(draw, error, words):
    with pytest.raises(error, match=words):
        draw()


@pytest.mark.parametrize("display", [FiltersDisplay, SamplesDisplay, LearningCurveDisplay])
def test_without_matplotlib(display, monkeypatch):
    rbm = fitted(IMAGES)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "skrbm\[plots\]"'):
        display.from_estimator(rbm)
