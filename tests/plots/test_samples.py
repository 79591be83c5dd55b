import itertools

import numpy as np
import pytest
import sklearn
from scipy.sparse import csr_matrix
from sklearn.neural_network import BernoulliRBM

from skrbm import BernoulliRBMTorch
from skrbm.plots import SamplesDisplay
from tests.plots.pictures import IMAGES, NAMES, TABLE, assert_legible, lightness, tiles


def test_samples_are_the_machines(rbm):
    display = SamplesDisplay.from_estimator(rbm, n_samples=5, n_steps=3, values="bits", random_state=0)
    found = display.samples
    np.testing.assert_array_equal(found, rbm.sample(5, 3, random_state=0))
    assert np.isin(found, [0, 1]).all()
    grey = SamplesDisplay.from_estimator(rbm, n_samples=5, n_steps=3, random_state=0)
    np.testing.assert_allclose(grey.samples, rbm.reconstruct(found))
    np.testing.assert_allclose(tiles(grey, (8, 8), gap=1)[:5], grey.samples)
    assert grey.im_.get_clim() == (0, 1)
    assert_legible(grey)


def test_samples_have_the_machines_distribution(rbm):
    """Not only zeros and ones: their means are those of `sample`."""
    display = SamplesDisplay.from_estimator(rbm, n_samples=2000, n_steps=50, values="bits", random_state=0)
    expected = rbm.sample(2000, 50, random_state=1).mean(0)
    assert np.abs(display.samples.mean(0) - expected).max() < 0.07


@pytest.mark.parametrize("kind", ["samples", "reconstructions", "steps"])
@pytest.mark.parametrize("values", ["bits", "probabilities"])
def test_frames_of_the_machine_are_drawn_as_arrays(rbm, kind, values):
    settings = {"kind": kind, "values": values, "n_samples": 4, "n_steps": 2, "random_state": 0}
    given = None if kind == "samples" else IMAGES
    expected = SamplesDisplay.from_estimator(rbm, given, **settings).samples
    with sklearn.config_context(transform_output="pandas"):
        found = SamplesDisplay.from_estimator(rbm, given, **settings)
    assert type(found.samples) is np.ndarray
    np.testing.assert_array_equal(found.samples, expected)
    assert_legible(found)


def test_reconstructions_stand_below_what_was_given(rbm):
    display = SamplesDisplay.from_estimator(rbm, IMAGES, kind="reconstructions", n_samples=10)
    found = tiles(display, (8, 8), gap=1).reshape(-1, 2, display.n_columns, 64)
    given, seen = found[:, 0].reshape(-1, 64), found[:, 1].reshape(-1, 64)
    np.testing.assert_array_equal(given[:10], IMAGES[:10])
    np.testing.assert_allclose(seen[:10], rbm.reconstruct(IMAGES[:10]))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["given", "reconstructed"] * len(found)
    assert_legible(display)


def test_reconstructions_of_sparse_rows_and_as_bits(rbm):
    how = {"kind": "reconstructions", "n_samples": 10, "values": "bits", "random_state": 0}
    display = SamplesDisplay.from_estimator(rbm, csr_matrix(IMAGES), **how)
    found = tiles(display, (8, 8), gap=1).reshape(-1, 2, display.n_columns, 64)
    np.testing.assert_array_equal(found[:, 0].reshape(-1, 64)[:10], IMAGES[:10])
    np.testing.assert_array_equal(found[:, 1].reshape(-1, 64)[:10], rbm.gibbs(IMAGES[:10], 1, random_state=0))


@pytest.mark.parametrize("start", [None, IMAGES[:3]])
def test_a_strip_of_steps(rbm, start):
    display = SamplesDisplay.from_estimator(rbm, start, kind="steps", n_samples=3, n_steps=30, values="bits")
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["0", "1", "2", "5", "10", "20", "30"]
    assert display.ax_.get_xlabel() == "step"
    found = tiles(display, (8, 8), gap=1).reshape(3, 7, 64)
    assert np.isin(found, [0, 1]).all()
    assert len(np.unique(found[0], axis=0)) == 7  # it moves
    if start is not None:
        np.testing.assert_array_equal(found[:, 0], start)
    assert_legible(display)


def test_a_strip_starts_from_random_bits(rbm):
    def starts(random_state):
        how = {"n_samples": 500, "n_steps": 1, "random_state": random_state}
        return SamplesDisplay.from_estimator(rbm, kind="steps", **how).samples.reshape(500, 2, 64)[:, 0]

    seeded, again, other, fresh = (starts(random_state) for random_state in (0, 0, 1, None))
    for found in (seeded, other, fresh):
        assert np.isin(found, [0, 1]).all()
        assert np.abs(found.mean(0) - 0.5).max() < 0.12  # five standard errors
    np.testing.assert_array_equal(seeded, again)
    for one, two in itertools.combinations((seeded, other, fresh), 2):
        assert 0.4 < (one == two).mean() < 0.6


def test_chains_of_a_strip_go_on(rbm, monkeypatch):
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
    shade = drawn[-2, -2]
    assert shade[2] > shade[0] + 0.2  # blue
    assert 40 < lightness(shade[None])[0] < 85  # neither ink nor paper
    np.testing.assert_array_equal(drawn[6:9, 11:19], np.broadcast_to(shade, (3, 8, 4)))
    np.testing.assert_array_equal(display.im_.get_array()[1:9, 1:9], X[0].reshape(8, 8))
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["whole", "half"]


@pytest.mark.parametrize("kind", ["samples", "reconstructions", "steps"])
def test_samples_of_a_table(table_rbm, kind):
    display = SamplesDisplay.from_estimator(table_rbm, TABLE, kind=kind, n_samples=4, n_steps=10)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == NAMES
    assert display.ax_.get_xlabel() == "feature"
    assert display.ax_.get_ylabel() == ("step" if kind == "steps" else "row")
    np.testing.assert_array_equal(display.im_.get_array(), display.samples)
    if kind == "reconstructions":
        np.testing.assert_array_equal(display.samples[::2], TABLE[:4])
    assert_legible(display)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "x"}, "kind='x'"),
        ({"values": "x"}, "values='x'"),
        ({"n_samples": 0}, "n_samples"),
        ({"n_steps": 0}, "n_steps"),
        ({"kind": "reconstructions"}, "Pass X"),
    ],
)
def test_wrong_parameters(rbm, settings, words):
    with pytest.raises(ValueError, match=words):
        SamplesDisplay.from_estimator(rbm, **settings)


def test_values_that_are_no_probabilities():
    with pytest.raises(ValueError, match="from 2 to 2"):
        SamplesDisplay(np.ones((3, 9)) * 2).plot()


def test_a_machine_that_cannot_be_sampled_from():
    with pytest.raises(TypeError, match="from_sklearn"):
        SamplesDisplay.from_estimator(BernoulliRBM(2, n_iter=1).fit(IMAGES))
