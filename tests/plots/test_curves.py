import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skrbm import BernoulliRBMTorch
from skrbm.plots import LearningCurveDisplay
from tests.plots.pictures import IMAGES, assert_legible

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def other():
    """A machine that learned without rows held out."""
    return BernoulliRBMTorch(3, n_iter=2, random_state=0).fit(IMAGES)


def test_curves_of_the_history(rbm):
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


def test_measures_that_are_not_there_have_no_panel(other):
    assert len(LearningCurveDisplay.from_estimator(other).axes_) == 3
    display = LearningCurveDisplay(other.history_, measures=["dead_share", "loss"]).plot()
    assert [ax.get_ylabel() for ax in display.axes_] == ["dead units\n(share)", "loss F(v) - F(v_k)\n(nats)"]


def test_ticks_of_counts_and_of_shares():
    """Steps are whole numbers, and there is no share below 0; a second curve has room."""
    history = {"epoch": [1, 2], "k": [10, 10], "dead_share": [0.0, 0.0]}
    first = LearningCurveDisplay(history, measures=["k", "dead_share"]).plot()
    steps, share = first.axes_
    assert [tick for tick in steps.get_yticks() if tick != round(tick)] == []
    assert share.get_ylim() == (0, 1)
    LearningCurveDisplay(history | {"dead_share": [0.5, 0.25]}, measures=["k", "dead_share"]).plot(ax=first.axes_)
    assert share.get_ylim() == (0, pytest.approx(0.55))


def test_a_second_curve_looks_different(rbm, other):
    measures = ["pseudo_log_likelihood", "loss", "reconstruction_error"]
    first = LearningCurveDisplay.from_estimator(rbm, name="one", measures=measures)
    second = LearningCurveDisplay.from_estimator(other, name="two", measures=measures, ax=first.axes_)
    assert second.figure_ is first.figure_
    for ax in first.axes_:
        one, two = ax.lines
        assert one.get_color() != two.get_color()
        assert one.get_linestyle() != two.get_linestyle()
    assert [text.get_text() for text in first.axes_[0].get_legend().get_texts()] == ["one", "two"]
    assert_legible(first)


def test_one_epoch_is_a_point():
    rbm = BernoulliRBMTorch(3, n_iter=1).fit(IMAGES)
    assert LearningCurveDisplay.from_estimator(rbm).axes_[0].lines[0].get_marker() == "o"


def test_curves_of_different_measures_do_not_mix(rbm):
    first = LearningCurveDisplay(rbm.history_, measures=["loss", "seconds"]).plot()
    with pytest.raises(ValueError, match=r"'seconds' can't go into a panel of the loss .* Draw the same measures"):
        LearningCurveDisplay(rbm.history_, measures=["seconds", "loss"]).plot(ax=first.axes_)


def test_a_single_axes_is_divided(other):
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 6), layout="constrained")
    display = LearningCurveDisplay.from_estimator(other, ax=axes[0])
    assert len(display.axes_) == 3
    assert display.figure_ is figure
    assert max(ax.get_position().x1 for ax in display.axes_) < 0.6


def test_a_measure_that_is_not_known(rbm):
    with pytest.raises(ValueError, match="joy"):
        LearningCurveDisplay(rbm.history_, measures=["joy"]).plot()


def test_machines_without_a_history(rbm):
    with pytest.raises(NotFittedError, match="not fitted"):
        LearningCurveDisplay.from_estimator(BernoulliRBMTorch())
    with pytest.raises(ValueError, match="has no history_.*Call its fit"):
        LearningCurveDisplay.from_estimator(BernoulliRBMTorch.from_sklearn(rbm.to_sklearn()))
