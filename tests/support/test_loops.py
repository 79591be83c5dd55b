"""What compiled loops share, each function by itself, against numpy in float64."""

import math

import numpy as np
import pytest
import torch

from skrbm.support.randomness import TABLE, Uniform, bernoulli_, place_of
from tests.compiled import needs_numba, without_loops

loops = pytest.importorskip("skrbm.support.loops")  # which imports numba
pytestmark = needs_numba

F = np.float32


# -- functions ---------------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


WIDE = np.concatenate(
    [np.linspace(-87, 87, 20_001), np.geomspace(1e-42, 87, 2000), -np.geomspace(1e-42, 87, 2000), [0.0, -0.0]]
).astype(F)
NARROW = WIDE[np.abs(WIDE) <= 1]
# What each is off by at most, relative to its value; 6e-8 is half a unit in the last place.
FUNCTIONS = {
    "exp": (np.exp, WIDE, 2.5e-7),
    "expm1": (np.expm1, NARROW, 1.5e-7),
    "expm1_of_any": (np.expm1, WIDE, 3e-7),
    "sigmoid": (sigmoid, WIDE, 3e-7),
}


def error(function, exact, x):
    """The largest relative error."""
    found, expected = np.array([function(number) for number in x]), exact(x.astype(float))
    assert ((found == expected) | (expected != 0)).all()
    return np.abs(found / np.where(expected == 0, 1, expected) - 1)[expected != 0].max()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    exact, x, most = FUNCTIONS[name]
    assert error(getattr(loops, name), exact, x) < most


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("exp", lambda x: float(np.exp(x)) * (1 + 3e-7)),
        ("expm1", lambda x: float(np.exp(x) - F(1))),  # cancels
        ("expm1_of_any", lambda x: float(loops.exp(x)) - 1),
        ("sigmoid", lambda x: float(F(0.5) + F(0.5) * np.tanh(F(0.5) * x))),  # cancels too
    ],
)
def test_that_test_rejects_twins(name, twin):
    exact, x, most = FUNCTIONS[name]
    assert error(twin, exact, x) > most


def test_far_out_the_functions_stay_where_they_are():
    for x in (88.0, 1000.0, 1e30, math.inf):
        assert loops.exp(F(x)) == loops.exp(F(87))
        assert loops.exp(F(-x)) == loops.exp(F(-87)) > 0
        assert loops.sigmoid(F(x)) == 1
        assert 0 < loops.sigmoid(F(-x)) < 2e-38
    assert (loops.exp(F(0)), loops.sigmoid(F(0)), loops.expm1(F(0))) == (1, 0.5, 0)


@pytest.mark.parametrize("n", [1, 7, 16, 33])
def test_sigmoid_of_many(n):
    x = np.linspace(-20, 20, n + 1).astype(F)
    found = x.copy()
    loops.sigmoid_of(found, n)
    np.testing.assert_allclose(found[:n], sigmoid(x[:n].astype(float)), rtol=3e-7)
    assert found[n] == x[n]


@pytest.mark.parametrize(("n", "expected"), [(1, 16), (16, 16), (17, 32), (784, 784), (785, 800)])
def test_padded(n, expected):
    assert loops.padded(n) == expected


def test_floats_by_their_bits():
    from numba import njit

    read = njit(lambda bits: loops.as_float64(bits))
    for number in (0.0, -1.5, 1e-300, math.inf):
        assert read(int(np.float64(number).view(np.int64))) == number


# -- products ----------------------------------------------------------------------------------------------------------

WIDTHS = [16, 32, 48, 64, 80, 112, 128, 144, 208]
STATES = {
    "none": lambda rng, shape: np.zeros(shape),
    "few": lambda rng, shape: rng.random(shape) < 0.1,
    "some": lambda rng, shape: rng.random(shape) < loops.DENSE,
    "most": lambda rng, shape: rng.random(shape) < 0.8,
    "all": lambda rng, shape: np.ones(shape),
    "grey": lambda rng, shape: rng.random(shape),
    "few, of all signs": lambda rng, shape: rng.normal(size=shape) * (rng.random(shape) < 0.2),
}
GUARD = 64  # numbers behind the end


def guarded(values):
    """A copy in float32 with numbers behind it that mustn't change; and the view without them."""
    memory = np.concatenate([values.ravel(), np.full(GUARD, 7.0)]).astype(F)
    return memory, memory[: values.size].reshape(values.shape)


def address(array):
    return array.ctypes.data


def product_error(multiply, states, n_rows, n, width):
    """How far `multiply(a, b, out)` is from out + a b, in parts of what its terms come to together."""
    rng = np.random.default_rng(n_rows * n + width)
    a, b = STATES[states](rng, (n_rows, n)).astype(F), rng.normal(size=(n, width)).astype(F)
    memory, out = guarded(rng.normal(size=(n_rows, width)))
    expected, terms = out + a.astype(float) @ b, np.abs(out) + np.abs(a).astype(float) @ np.abs(b)
    multiply(a, b, out)
    assert (memory[-GUARD:] == 7).all()
    return (np.abs(out - expected) / terms).max()


def by_product(a, b, out):
    loops.add_product(address(a), a.shape[1], 1, *a.shape, address(b), b.shape[1], address(out), b.shape[1])


def by_columns(a, b, out):
    """As `by_product` of a matrix that lies there transposed."""
    turned = np.ascontiguousarray(a.T)
    loops.add_product(address(turned), 1, len(a), *a.shape, address(b), b.shape[1], address(out), b.shape[1])


def by_halves(a, b, out):
    """As `by_product` of its columns in two parts, as two threads would."""
    for first, end in ((0, b.shape[1] // 32 * 16), (b.shape[1] // 32 * 16, b.shape[1])):
        of_b, of_out = address(b) + 4 * first, address(out) + 4 * first
        loops.add_product(address(a), a.shape[1], 1, *a.shape, of_b, b.shape[1], of_out, end - first)


def by_sparse_product(a, b, out):
    room = (np.empty(a.size, np.int32), np.empty(a.size, F), np.empty(len(a), np.int64))
    loops.add_sparse_product(address(a), *a.shape, address(b), b.shape[1], address(out), *map(address, room))


def without_the_last(a, b, out):
    """A twin that leaves out the last unit."""
    by_product(np.ascontiguousarray(a[:, :-1]), b[:-1], out)


def overwrites(a, b, out):
    """A twin that forgets what is there."""
    out[:] = 0
    by_product(a, b, out)


@pytest.mark.parametrize("multiply", [by_product, by_columns, by_halves, by_sparse_product])
@pytest.mark.parametrize("states", STATES)
def test_products(multiply, states):
    for n_rows in range(1, 10):
        for i, width in enumerate(WIDTHS):
            assert product_error(multiply, states, n_rows, (1, 5, 40)[(n_rows + i) % 3], width) < 1e-6


@pytest.mark.parametrize("twin", [without_the_last, overwrites])
def test_that_test_rejects_broken_products(twin):
    assert product_error(twin, "grey", 5, 40, 48) > 1e-3


@pytest.mark.parametrize("states", STATES)
def test_units_that_are_on_are_gathered(states):
    values = STATES[states](np.random.default_rng(0), 50).astype(F)
    which, factors = np.empty(51, np.int32), np.empty(51, F)
    for step in (1, 2, 3):
        some = values[::step]
        n_found = loops.gather(values, step, len(some), which, factors)
        assert which[:n_found].tolist() == np.flatnonzero(some).tolist()
        assert factors[:n_found].tolist() == some[some != 0].tolist()


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize(("n_rows", "width", "n_units"), [(1, 3, 5), (4, 20, 16), (7, 33, 130)])
def test_inputs_of_a_layer(states, n_rows, width, n_units):
    rng, wide = np.random.default_rng(0), loops.padded(n_units)
    h, bias = STATES[states](rng, (n_rows, width)).astype(F), rng.normal(size=n_units).astype(F)
    matrix = np.pad(rng.normal(size=(width, n_units)), ((0, 0), (0, wide - n_units))).astype(F)
    memory, out = guarded(np.zeros((n_rows, wide)))
    room = (np.empty(h.size, np.int32), np.empty(h.size, F), np.empty(n_rows, np.int64))
    addresses = (address(h), width, address(matrix), n_units, address(bias), address(out), n_rows)
    loops.layer(*addresses, tuple(map(address, room)))
    np.testing.assert_allclose(out[:, :n_units], bias + h.astype(float) @ matrix[:, :n_units], atol=1e-5)
    assert (memory[-GUARD:] == 7).all()


# -- random numbers ----------------------------------------------------------------------------------------------------


def words(function, block, key):
    return [int(word) for word in function(*(np.uint64(number) for number in (block, *key)))]


@pytest.mark.parametrize("block", [0, 1, 2**32, 2**53 + 1, 2**63 - 2])
@pytest.mark.parametrize("key", [(0, 0), (1, 2), (2**64 - 1, 2**63 + 5)])
def test_words_are_numpys(block, key):
    place = {"key": np.array(key, np.uint64), "counter": np.array([block, 0, 0, 0], np.uint64)}
    assert words(loops.philox, block, key) == np.random.Philox(**place).random_raw(4).tolist()


def row_of_a_draw(n_units, row, n_rows, position, key=(3, 2**63 + 1)):
    """A row of a draw of all rows, by itself and as `bernoulli_` makes it; and what lies behind it."""
    uniform = Uniform(key, position, n_rows * n_units)
    means = torch.rand(n_rows, n_units, generator=torch.Generator().manual_seed(0))
    with without_loops():
        expected = bernoulli_(torch.empty_like(means), means, uniform)[row].numpy()
    _, key0, key1, position, low = place_of(uniform)
    memory, out = guarded(np.zeros(n_units))
    room, of_row = np.empty(loops.SEGMENT // 8 + 8, np.int64), means[row].numpy()
    places = (position, np.uint64(key[0]), np.uint64(key[1]), low.data_ptr(), address(room))
    assert (key0, key1) == tuple(np.array(key, np.uint64).view(np.int64))
    loops.draw_row(address(of_row), address(out), n_units, row, *places)
    return out, expected, memory


@pytest.mark.parametrize(
    ("n_units", "row", "n_rows"),
    [
        (1, 0, 1),
        (1, 33, 40),
        (5, 7, 8),
        (784, 3, 5),
        (1025, 2, 3),
        (5000, 26, 27),
        (TABLE // 2, 3, 5),
        (TABLE + 9, 1, 2),
    ],
)
def test_a_row_is_drawn_by_its_place(n_units, row, n_rows):
    """Also one that crosses a piece of the table, as 26 · 5,000 < 2^17 < 27 · 5,000."""
    out, expected, memory = row_of_a_draw(n_units, row, n_rows, position=2**40)
    assert np.array_equal(out, expected)
    assert (memory[-GUARD:] == 7).all()


def test_that_test_rejects_another_row(monkeypatch):
    draw_row = loops.draw_row
    monkeypatch.setattr(loops, "draw_row", lambda p, out, n, row, *rest: draw_row(p, out, n, row + 1, *rest))
    out, expected, _ = row_of_a_draw(784, 3, 5, position=0)
    assert (out != expected).mean() > 0.2


@pytest.mark.parametrize("block", [0, 5, 2**53 + 1])
def test_places_in_the_table(block):
    key = np.uint64(1), np.uint64(2)
    first, second, _, _ = words(loops.philox, block, key)
    assert loops.place_of_low(block, *key) == first >> 47 < TABLE
    assert loops.two_places(block, *key) == (first >> 47, second >> 47)
