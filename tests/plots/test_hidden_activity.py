import numpy as np
import pytest

from skrbm.plots import HiddenActivityDisplay
from tests.plots.pictures import IMAGES, RNG, assert_legible

pyplot = pytest.importorskip("matplotlib.pyplot")


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
def test_activity_of_any_number_of_units(machine, n_hidden):
    display = HiddenActivityDisplay.from_estimator(machine(n_hidden, 64), IMAGES)
    assert sum(len(line.get_xdata()) for line in display.axes_[0].lines) == n_hidden
    assert_legible(display)


def test_activity_in_an_axes_of_yours(machine):
    _, axes = pyplot.subplots(2, 2, figsize=(12, 8), layout="constrained")
    display = HiddenActivityDisplay.from_estimator(machine(100, 64), IMAGES, ax=axes[0, 0])
    assert_legible(display)
    assert all(ax.get_position().width > 0.15 for ax in display.axes_)


def test_values_that_are_no_probabilities():
    with pytest.raises(ValueError, match="from 3 to 3"):
        HiddenActivityDisplay(np.ones((3, 2)) * 3).plot()
