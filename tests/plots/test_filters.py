import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.plots import FiltersDisplay
from tests.plots.pictures import IMAGES, NAMES, TABLE, assert_legible, lightness, tiles

pyplot = pytest.importorskip("matplotlib.pyplot")


def test_filters_by_norm(machine):
    rbm = machine(70, 64)
    display = FiltersDisplay.from_estimator(rbm)
    order = np.argsort(-np.linalg.norm(rbm.components_, axis=1))[:64]
    np.testing.assert_array_equal(display.units, order)
    np.testing.assert_allclose(tiles(display, (8, 8)), rbm.components_[order])
    limits = display.im_.get_clim()
    assert limits[0] == -limits[1] == -np.abs(rbm.components_[order]).max()
    assert [ax.get_ylabel() for ax in display.figure_.axes] == ["", "weight"]
    assert_legible(display)


def test_filters_by_use_and_in_their_order(machine):
    rbm = machine(9, 64)
    display = FiltersDisplay.from_estimator(rbm, IMAGES, sort="use", n_units=4)
    np.testing.assert_array_equal(display.units, np.argsort(-rbm.transform(IMAGES).mean(0))[:4])
    display = FiltersDisplay.from_estimator(rbm, sort=None, n_units=None)
    np.testing.assert_allclose(tiles(display, (8, 8)), rbm.components_)


@pytest.mark.parametrize(("n_hidden", "n_features"), [(1, 64), (1, 784), (2000, 64), (2000, 784)])
def test_any_number_of_filters(machine, n_hidden, n_features):
    rbm = machine(n_hidden, n_features)
    display = FiltersDisplay.from_estimator(rbm, n_units=None, sort=None)
    side = int(np.sqrt(n_features))
    np.testing.assert_allclose(tiles(display, (side, side))[:n_hidden], rbm.components_)
    assert_legible(display)


@pytest.mark.parametrize("n_hidden", [1, 6, 2000])
def test_filters_of_a_table_have_names(n_hidden):
    rbm = BernoulliRBMTorch(n_hidden, n_iter=1, random_state=0).fit(TABLE)
    display = FiltersDisplay.from_estimator(rbm, sort=None, n_units=None)
    np.testing.assert_allclose(display.im_.get_array(), rbm.components_)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == NAMES
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature", "hidden unit")
    assert_legible(display)


def test_an_image_shape_overrules_names(table_rbm):
    display = FiltersDisplay.from_estimator(table_rbm, image_shape=(2, 8), sort=None)
    np.testing.assert_allclose(tiles(display, (2, 8)), table_rbm.components_)


def test_filters_of_scikit_learns_machine():
    rbm = BernoulliRBM(n_components=5, n_iter=1).fit(IMAGES)
    display = FiltersDisplay.from_estimator(rbm, sort=None)
    np.testing.assert_allclose(tiles(display, (8, 8))[:5], rbm.components_)


def test_filters_in_an_axes_of_yours():
    figure, axes = pyplot.subplots(1, 2)
    display = FiltersDisplay(np.ones((4, 9))).plot(ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].images


def test_weights_can_be_told_apart_in_greyscale():
    cmap = FiltersDisplay(np.ones((1, 4))).plot().im_.get_cmap()
    found = lightness(cmap(np.linspace(0, 1, 101)))
    assert (np.diff(found) > 0).all()
    assert found[-1] - found[0] > 70
    red_blue = lightness(pyplot.get_cmap("RdBu")(np.linspace(0, 1, 101)))
    assert not (np.diff(red_blue) > 0).all()  # as most diverging maps


def test_zero_is_grey_and_the_ends_differ_in_hue():
    cmap = FiltersDisplay(np.ones((1, 4))).plot().im_.get_cmap()
    low, middle, high = cmap([0.0, 0.5, 1.0])[:, :3]
    assert np.ptp(middle) < 0.02
    assert low[2] > low[0] + 0.2  # blue
    assert high[2] < high[0] - 0.2  # yellow


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"n_units": 0}, "n_units"), ({"sort": "beauty"}, "sort='beauty'"), ({"sort": "use"}, "Pass X")],
)
def test_wrong_parameters(rbm, settings, words):
    with pytest.raises(ValueError, match=words):
        FiltersDisplay.from_estimator(rbm, **settings)


def test_a_machine_that_is_not_fitted():
    with pytest.raises(NotFittedError, match="not fitted"):
        FiltersDisplay.from_estimator(BernoulliRBMTorch())
