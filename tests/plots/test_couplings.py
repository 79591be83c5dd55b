import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skrbm import BernoulliRBMTorch, BoltzmannMachine
from skrbm.plots import CouplingsDisplay
from tests.plots.pictures import assert_legible, texts

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def machine():
    """One that has learned a chain of five columns, a and b, b and c, …, which differ in sign, with errors."""
    J = np.zeros((5, 5))
    J[range(4), range(1, 5)] = J[range(1, 5), range(4)] = 0.5, -0.5, 0.5, -0.5
    rows = BoltzmannMachine.from_ising(np.zeros(5), J, random_state=0).sample(4000, 100)
    return BoltzmannMachine(l2_penalty=0).fit(pd.DataFrame(rows, columns=list("abcde")))


@pytest.fixture(scope="module")
def hidden_machine():
    """Three columns and two hidden units, all of them coupled."""
    machine = BoltzmannMachine.from_parameters(
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.zeros(3), np.zeros(2), 7.0 - 7.0 * np.eye(3)
    )
    machine.hidden_couplings_ = np.array([[0.0, -8.0], [-8.0, 0.0]])
    return machine


def couplings_of(n, seed=0):
    """Of n units, of which a few are coupled."""
    rng = np.random.default_rng(seed)
    half = np.triu(rng.normal(size=(n, n)) * (rng.random((n, n)) < 3 / n), 1)
    return half + half.T


def opacity(display):
    return display.im_.get_alpha()


def test_a_matrix_of_a_machine(machine):
    display = CouplingsDisplay.from_estimator(machine)
    shown = display.im_.get_array()
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(shown[off], machine.couplings_[off])
    assert np.ma.getmaskarray(shown).diagonal().all()
    low, high = display.im_.get_clim()
    assert -low == high == np.abs(machine.couplings_).max()
    for labels in (display.ax_.get_xticklabels(), display.ax_.get_yticklabels()):
        assert [label.get_text() for label in labels] == list("abcde")
    assert display.edges_ is None
    assert_legible(display)


def test_what_may_be_zero_is_faded_in_the_matrix_and_left_out_of_the_network(machine):
    is_clear = np.abs(machine.couplings_) > 2 * machine.couplings_stderr_.clip(1e-300)
    assert 4 <= np.triu(is_clear, 1).sum() < 10, "nothing was left out"
    off = ~np.eye(5, dtype=bool)
    display = CouplingsDisplay.from_estimator(machine)
    np.testing.assert_array_equal(opacity(display)[off] == 1.0, is_clear[off])
    edges = display.plot(kind="network").edges_
    assert {*map(tuple, edges.tolist())} == {*map(tuple, np.argwhere(np.triu(is_clear, 1)).tolist())}
    unsure = CouplingsDisplay(machine.couplings_)  # without errors all are shown
    assert (opacity(unsure.plot()) == 1.0).all()
    assert len(unsure.plot(kind="network").edges_) == 10


def test_a_network_of_a_machine(machine):
    display = CouplingsDisplay.from_estimator(machine, kind="network", threshold=1.0)
    size = np.abs(machine.couplings_)[tuple(display.edges_.T)]
    assert sorted(map(tuple, display.edges_.tolist())) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert (np.diff(size) >= 0).all()
    assert (np.diff(display.im_.get_linewidths()) >= 0).all()
    np.testing.assert_allclose(np.abs(display.im_.get_array()), size)
    is_dashed = np.array([style[1] is not None for style in display.im_.get_linestyles()])
    np.testing.assert_array_equal(is_dashed, display.im_.get_array() < 0)
    assert {text for text, _ in texts(display.figure_)} >= set("abcde")
    assert_legible(display)


def test_the_strongest_edges():
    couplings = couplings_of(20)
    display = CouplingsDisplay(couplings).plot(kind="network", max_edges=5)
    found = np.sort(np.abs(couplings[tuple(display.edges_.T)]))
    np.testing.assert_array_equal(found, np.sort(np.abs(couplings[np.triu_indices(20, 1)]))[-5:])
    assert len(CouplingsDisplay(couplings).plot(kind="network", max_edges=None).edges_) == (couplings != 0).sum() / 2


def test_coupled_units_stand_side_by_side():
    order = np.random.default_rng(0).permutation(9)
    couplings = np.zeros((9, 9))
    couplings[order[:-1], order[1:]] = couplings[order[1:], order[:-1]] = 1.0
    display = CouplingsDisplay(couplings).plot(kind="network")
    ends = np.array([[path[0], path[-1]] for path in display.im_.get_segments()])
    np.testing.assert_allclose(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1), 2 * np.sin(np.pi / 9))
    np.testing.assert_allclose(np.linalg.norm(ends, axis=-1), 1.0)
    as_they_come = 2 * np.sin(np.pi * np.abs(np.diff(order)) / 9)
    assert as_they_come.max() > 1.9


def test_hidden_units_come_last(hidden_machine):
    display = CouplingsDisplay.from_estimator(hidden_machine)
    expected = [[0, 7, 7, 1, 4], [7, 0, 7, 2, 5], [7, 7, 0, 3, 6], [1, 2, 3, 0, -8], [4, 5, 6, -8, 0]]
    np.testing.assert_allclose(display.couplings, expected)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["x0", "x1", "x2", "h0", "h1"]
    assert_legible(display)
    display.plot(kind="network")
    assert len(display.edges_) == 10
    assert {text for text, _ in texts(display.figure_)} >= {"x0", "x1", "x2", "h0", "h1"}


@pytest.mark.parametrize("kind", ["matrix", "network"])
@pytest.mark.parametrize("n", [1, 12, 16, 64])
def test_any_number_of_units_with_long_names(n, kind):
    names = [f"a column with the name {i}" for i in range(n)]
    display = CouplingsDisplay(couplings_of(n), names=names).plot(kind=kind)
    figure = display.figure_
    if kind == "matrix" or n <= 12:
        assert_legible(display)
    assert {text for text, _ in texts(figure)} >= set(names)
    assert max(figure.get_size_inches()) <= 16
    for _, box in texts(figure):
        assert min(box.x0, box.y0, figure.bbox.width - box.x1, figure.bbox.height - box.y1) >= -1


def test_names_around_a_circle_keep_apart():
    """Turned names don't meet where they begin, at the circle."""
    display = CouplingsDisplay(couplings_of(64)).plot(kind="network")
    display.figure_.canvas.draw()
    places = [display.ax_.transData.transform(text.get_position()) for text in display.ax_.texts]
    apart = np.linalg.norm(np.diff(places, axis=0), axis=1) / display.figure_.dpi
    assert apart.min() > 8 / 72  # inches: the size of the letters


def test_nodes_where_the_user_wants_them():
    places = np.array([[0, 0], [3, 0], [3, 1]])
    display = CouplingsDisplay(couplings_of(3) + 1 - np.eye(3)).plot(kind="network", positions=places)
    ends = np.array([segment[[0, -1]] for segment in display.im_.get_segments()])
    np.testing.assert_array_equal(ends, places[display.edges_])
    assert_legible(display)


def test_numbers_stand_in_small_matrices_only():
    couplings = np.array([[0.0, -1.26], [-1.26, 0.0]])
    assert [text.get_text() for text in CouplingsDisplay(couplings).plot().ax_.texts] == 2 * ["−1.3"]
    assert not CouplingsDisplay(couplings_of(30)).plot().ax_.texts
    small = pyplot.figure(figsize=(1, 1)).add_subplot()
    assert not CouplingsDisplay(couplings_of(12)).plot(ax=small).ax_.texts


@pytest.mark.parametrize("kind", ["matrix", "network"])
def test_an_axes_and_colours_of_yours(machine, kind):
    figure, axes = pyplot.subplots(1, 2)
    display = CouplingsDisplay.from_estimator(machine, kind=kind, ax=axes[1], cmap="viridis", im_kw={"alpha": 0.5})
    assert (display.ax_, display.figure_) == (axes[1], figure)
    assert display.im_.get_cmap().name == "viridis"
    assert display.im_.get_alpha() == 0.5
    assert not axes[0].has_data()


def test_couplings_of_a_pipeline(machine):
    pipeline = make_pipeline(FunctionTransformer(), machine)
    np.testing.assert_array_equal(CouplingsDisplay.from_estimator(pipeline).couplings, machine.couplings_)


def test_nothing_is_coupled():
    for kind in ("matrix", "network"):
        display = CouplingsDisplay(np.zeros((4, 4)), stderr=np.ones((4, 4))).plot(kind=kind)
    assert display.edges_.shape == (0, 2)


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        ({}, {"kind": "map"}, "kind='map'"),
        ({}, {"kind": "network", "threshold": -1}, "threshold"),
        ({}, {"kind": "network", "max_edges": 0}, "max_edges"),
        ({}, {"kind": "network", "positions": np.zeros((3, 2))}, r"positions must have shape \(4, 2\)"),
        ({"couplings": np.ones((4, 3))}, {}, r"couplings must have shape \(4, 4\)"),
        ({"couplings": np.triu(np.ones((4, 4)))}, {}, "symmetric"),
        ({"stderr": np.ones((3, 3))}, {}, r"stderr must have shape \(4, 4\)"),
        ({"names": ["a"]}, {}, "1 names, but there are 4 units"),
        ({"n_hidden": 5}, {}, "n_hidden"),
    ],
)
def test_wrong_parameters(data, settings, words):
    with pytest.raises(ValueError, match=words):
        CouplingsDisplay(**{"couplings": np.ones((4, 4))} | data).plot(**settings)


def test_machines_without_couplings():
    with pytest.raises(TypeError, match="BernoulliRBMTorch has no couplings_"):
        CouplingsDisplay.from_estimator(BernoulliRBMTorch(2, n_iter=1).fit(np.eye(3)))
    with pytest.raises(NotFittedError, match="not fitted"):
        CouplingsDisplay.from_estimator(BoltzmannMachine())
