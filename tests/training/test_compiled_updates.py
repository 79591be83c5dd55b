"""Updates by compiled loops: those of `update_`, state by state, and what a fit makes of them."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from skrbm import BernoulliRBMTorch
from skrbm.backends.compiled import Follow, SmallMachine, Step, Terms
from skrbm.backends.int8 import Int8Backend
from skrbm.backends.protocol import Damping
from skrbm.likelihood import log_likelihood_exact
from skrbm.machines.restricted import RBMParameters, free_energy
from skrbm.rows import ArrayRows, SharedRows
from skrbm.rows.source import Batch
from skrbm.support import compiled
from skrbm.support.compiled import is_compiled
from skrbm.support.randomness import Stream
from skrbm.training import TrainSettings, epoch_
from skrbm.training.compiled_updates import CompiledUpdates
from skrbm.training.observers import Average
from skrbm.training.pace import LOOKED_AT, step_divergence
from skrbm.training.spectrum import Spectrum
from skrbm.training.update import update_
from tests import reference
from tests.backends.test_protocol import needs_int8
from tests.compiled import needs_numba
from tests.estimators.test_resume import assert_same, cut_off
from tests.training.states import PLAIN, begin, bits

# Whole updates of small machines, passes in float32 (see `small_only_in_name`), and passes in 8 bits.
KINDS = [
    pytest.param("small", marks=needs_numba),
    pytest.param("float32", marks=needs_numba),
    pytest.param("int8", marks=[needs_numba, needs_int8]),
]
LARGE = KINDS[1:]
WEAK = replace(PLAIN, learning_rate=0.1, offset_rate=0.2, averaging=0.0, batch_size=7)


@pytest.fixture(autouse=True)
def one_thread():
    """More aren't worth it for machines as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kind(request, monkeypatch):
    """The kind of update; machines that would be small are made by the passes of large ones for "float32"."""
    monkeypatch.setattr("skrbm.training.gradients._DECAY_EVERY", 1)  # Wμ is new at each update, as in the loops
    if request.param == "float32":
        monkeypatch.setattr("skrbm.backends.compiled._SMALL", 0)
    return request.param


def of_kinds(kinds=KINDS):
    return pytest.mark.parametrize("kind", kinds, indirect=True)


def spectrum(n, n_features):
    """Of a table that varies along so many directions."""
    if n == 0:
        return None
    directions = torch.linalg.qr(torch.randn(n_features, n, generator=torch.Generator().manual_seed(5)).double())[0].T
    return Spectrum(directions.contiguous(), torch.linspace(5.0, 1.5, n).double(), 1.0, 1.0, 1.0)


def start(kind, settings, shape=(19, 37), seed=0):
    """A training whose products are made in that kind; one of 8 bits has some reserve in its unit."""
    precision = "int8" if kind == "int8" else "float32"
    params = reference.random_params(*shape, scale=0.4).to(torch.float32)
    state = begin(params, replace(settings, precision=precision), seed)
    if kind == "int8":
        state.backend.refresh_(1.0)
    return state


def rows_of(state, n_data):
    """The data and the chains of the last update."""
    return state.buffer.phases(n_data, n_data if state.settings.algorithm == "cd" else len(state.h))


def assert_alike(one, other, n_data, atol=5e-6):
    for name, tensor in one.params.tensors.items():
        torch.testing.assert_close(tensor, other.params.tensors[name], rtol=0, atol=atol)
    if one.centering.mu is not None:
        torch.testing.assert_close(one.centering.mu, other.centering.mu, rtol=0, atol=atol)
    assert torch.equal(rows_of(one, n_data).all, rows_of(other, n_data).all)
    assert torch.equal(one.h, other.h)
    assert one.n_updates == other.n_updates
    for stream, expected in zip(one.streams, other.streams, strict=True):
        assert (stream.key, stream.position) == (expected.key, expected.position)


def compare(alone, compiled, batches, plain=update_, atol=5e-6):
    """The same updates one by one, and by compiled loops; both have to end alike."""
    updates = CompiledUpdates(compiled)
    updates.begin_()
    try:
        for batch in batches:
            plain(alone, batch)
            assert updates.make_(batch, 1, 1)
            assert_alike(compiled, alone, len(batch.v), atol)
    finally:
        updates.end_()


def bit_batches(n_features, sizes=(7, 7, 7, 7), seed=0):
    return [Batch(bits(n, n_features, seed + i).float()) for i, n in enumerate(sizes)]


# -- one by one --------------------------------------------------------------------------------------------------------


@of_kinds()
@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.5])
@pytest.mark.parametrize("n_damped", [0, 1, 3])
@pytest.mark.parametrize("centered", [False, "visible"])
@pytest.mark.parametrize(("algorithm", "k"), [("pcd", 1), ("pcd", 3), ("cd", 1), ("cd", 2)])
def test_they_are_the_updates_made_one_by_one(kind, algorithm, k, centered, n_damped, weight_decay):
    settings = replace(WEAK, algorithm=algorithm, k=k, centered=centered, weight_decay=weight_decay)
    settings = replace(settings, spectrum=spectrum(n_damped, 37), learning_rate=0.01 if kind == "int8" else 0.1)
    compare(start(kind, settings), start(kind, settings), bit_batches(37))


def forget_decay(state, batch):
    state.centering.keep_biases_ = lambda *args: None
    update_(state, batch)


def move_offset_first(state, batch):
    state.centering.move_(batch.v.mean(0))
    move, state.centering.move_ = state.centering.move_, lambda *args: None
    update_(state, batch)
    state.centering.move_ = move


def turn_damping(state, batch):
    damping, state.damping = state.damping, Damping(state.damping.directions, -state.damping.share)
    update_(state, batch)
    state.damping = damping


def damp_only_the_first(state, batch):
    damping, state.damping = state.damping, Damping(*(values[:1] for values in state.damping))
    update_(state, batch)
    state.damping = damping


def leave_offset(state, batch):
    move, state.centering.move_ = state.centering.move_, lambda *args: None
    update_(state, batch)
    state.centering.move_ = move


def decay_twice(state, batch):
    update_(state, batch)
    state.params.W.mul_(1.0 - state.learning_rate * state.settings.decay)


def one_step_less(state, batch):
    state.k -= 1
    update_(state, batch)
    state.k += 1


def shift_chains(state, batch):
    state.streams.chains.position += 1
    update_(state, batch)
    state.streams.chains.position -= 1


BROKEN = [
    forget_decay,
    move_offset_first,
    turn_damping,
    damp_only_the_first,
    leave_offset,
    decay_twice,
    one_step_less,
    shift_chains,
]


@of_kinds()
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_the_comparison_rejects_updates_that_are_broken(kind, algorithm, broken):
    settings = replace(WEAK, algorithm=algorithm, k=2, centered="visible", weight_decay=0.5, learning_rate=0.01)
    settings = replace(settings, spectrum=spectrum(3, 37))
    with pytest.raises(AssertionError):
        compare(start(kind, settings), start(kind, settings), bit_batches(37), broken)


@of_kinds()
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
@pytest.mark.parametrize(
    ("shape", "n_chains", "sizes"),
    [
        ((1, 1), 1, (1, 1)),
        ((1, 37), 20, (7, 3)),
        ((19, 1), 20, (1, 7)),
        ((19, 37), 1, (7, 1)),
        ((19, 37), 20, (1, 1)),
        ((16, 32), 8, (8, 8)),
        ((19, 37), 20, (50, 30, 50)),
        ((17, 1100), 9, (5, 5)),  # rows longer than what is drawn at a time
        ((1100, 17), 9, (5, 5)),
        ((130, 150), 1000, (20, 20)),  # more draws of a layer than there are numbers in the table
    ],
)
def test_sizes(kind, algorithm, shape, n_chains, sizes):
    settings = replace(WEAK, algorithm=algorithm, n_chains=n_chains, centered="visible", weight_decay=0.1)
    settings = replace(settings, spectrum=spectrum(1, shape[1]), learning_rate=0.01)
    one, other = start(kind, settings, shape), start(kind, settings, shape)
    compare(one, other, bit_batches(shape[1], sizes), atol=2e-5)  # sums over a thousand rows


@of_kinds()
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_chains_numbers_of_steps_and_memory_may_be_replaced(kind, algorithm):
    settings = replace(WEAK, algorithm=algorithm, centered="visible", weight_decay=0.1, learning_rate=0.01)
    alone, compiled_ = start(kind, settings), start(kind, settings)
    updates = CompiledUpdates(compiled_)
    updates.begin_()
    for i, batch in enumerate(bit_batches(37, (7, 7, 7, 30, 7))):
        for state in (alone, compiled_):
            state.k = 1 + i % 2
            if i == 2 and algorithm == "pcd":
                state.h = 1 - state.h
        update_(alone, batch)
        updates.make_(batch, 1, 1)
        assert_alike(compiled_, alone, len(batch.v))
    updates.end_()


@of_kinds()
def test_machines_may_be_changed_between_two_epochs(kind):
    settings = replace(WEAK, centered="visible", weight_decay=0.5, learning_rate=0.01)
    alone, compiled_ = start(kind, settings), start(kind, settings)
    updates = CompiledUpdates(compiled_)
    for batch in bit_batches(37):
        for state in (alone, compiled_):
            state.params.W.mul_(0.9)
            state.streams.chains.set_state(Stream(int(batch.v.sum())).state())
            state.recompute_derived_()
            if kind == "int8":
                state.backend.refresh_(1.0)
        updates.begin_()
        updates.make_(batch, 1, 1)
        updates.end_()
        update_(alone, batch)
        assert_alike(compiled_, alone, 7)


@needs_numba
def test_which_machines_are_updated_as_a_whole():
    assert not CompiledUpdates(start("float32", WEAK)).takes_kept
    assert CompiledUpdates(start("float32", WEAK)).most_together > 1
    many_draws = replace(WEAK, n_chains=20_000)
    for large in (start("float32", WEAK, (400, 400)), start("float32", many_draws)):
        assert CompiledUpdates(large).takes_kept
        assert CompiledUpdates(large).most_together == 1


def kept_and_plain(X, n, rule):
    """Two batches of rows as they are kept, and the same as values."""
    kept, plain = (
        ArrayRows(X.astype(np.float32), shuffle=False).epoch(Stream(0), n, as_kept) for as_kept in (True, False)
    )
    return list(zip(kept, plain, strict=True))


ROWS = {
    "bits": np.random.default_rng(0).integers(0, 2, (18, 37)),
    "bytes": np.random.default_rng(0).integers(0, 256, (18, 37)) / np.float32(255),
    "sixteenths": np.random.default_rng(0).integers(0, 17, (18, 37)) / 16,
    "any": np.random.default_rng(0).random((18, 37)),
}


@of_kinds()
@pytest.mark.parametrize("rule", ["none", "sample", 0.3])
@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_drawn_cut_or_left(kind, rows, rule):
    if kind == "int8" and rule == "none" and rows != "bits":
        pytest.skip("8 bits are for states that are bits")
    settings = replace(WEAK, binarize=rule, centered="visible", learning_rate=0.01)
    alone, compiled = start(kind, settings), start(kind, settings)
    updates = CompiledUpdates(compiled)
    updates.begin_()
    forms = set()
    for kept, plain in kept_and_plain(ROWS[rows], 9, rule):
        update_(alone, plain)
        batch = kept if updates.takes_kept else plain
        forms.add(batch.form)
        assert updates.make_(batch, 1, 1)
        assert_alike(compiled, alone, 9)
    updates.end_()
    if kind != "small":
        assert forms == {{"bits": "packed", "any": "values"}.get(rows, "codes")}


@pytest.mark.parametrize("rule", ["none", "sample", 0.3])
@pytest.mark.parametrize("n", [2, 5])
@needs_numba
def test_small_machines_make_several_at_a_time(n, rule, monkeypatch):
    monkeypatch.setattr("skrbm.training.gradients._DECAY_EVERY", 1)
    settings = replace(WEAK, binarize=rule, centered="visible", weight_decay=0.1, k=2, spectrum=spectrum(2, 37))
    alone, compiled = start("small", settings), start("small", settings)
    v = torch.rand(7 * n, 37, generator=torch.Generator().manual_seed(0))
    for rows in v.split(7):
        update_(alone, Batch(rows))
    assert CompiledUpdates(compiled).make_(Batch(v), n, 1)
    assert_alike(compiled, alone, 7)


# -- the gradient ------------------------------------------------------------------------------------------------------


def gradient_of(params, data, chains):
    """Of ⟨F(v)⟩ over chains less that over data, by autograd in float64: up the likelihood."""
    leaves = [t.double().requires_grad_() for t in (params.W, params.b, params.c)]
    machine = RBMParameters(*leaves)
    return torch.autograd.grad(free_energy(machine, chains).mean() - free_energy(machine, data).mean(), leaves)


@of_kinds()
@pytest.mark.parametrize("centered", [False, "visible"])
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_the_step_is_the_gradient_of_the_free_energies(kind, algorithm, centered):
    rate = 2.0**-4
    state = start(kind, replace(WEAK, algorithm=algorithm, learning_rate=rate, centered=centered))
    if kind == "int8":  # so that rounding the weights changes nothing
        state.params.W.copy_(state.backend.narrow.float() * state.backend.unit)
    before = state.params.clone()
    updates = CompiledUpdates(state)
    updates.begin_()
    updates.make_(bit_batches(37)[0], 1, 1)
    updates.end_()
    moved = [(after - old).double() / rate for after, old in zip(tensors(state.params), tensors(before), strict=True)]
    rows = rows_of(state, 7)
    atol = 1.5e-2 if kind == "int8" else 1e-4  # a level of 8 bits, in each row
    is_right = lambda data, chains: all(  # noqa: E731
        torch.allclose(found, expected, rtol=0, atol=atol)
        for found, expected in zip(moved, expected_step(before, data.double(), chains.double(), centered), strict=True)
    )
    assert is_right(rows.data, rows.chains)
    assert not is_right(rows.chains, rows.data)
    assert not is_right(rows.data[1:], rows.chains)
    assert not is_right(rows.data, rows.chains[1:])


def tensors(params):
    return params.W, params.b, params.c


def expected_step(params, data, chains, centered):
    """The plain gradient; or what it is in the coordinates of a machine that is centred at ½."""
    dW, db, dc = gradient_of(params, data, chains)
    if not centered:
        return dW, db, dc
    mu = torch.full((params.n_features,), 0.5).double()
    dW = dW - torch.outer(dc, mu)
    return dW, db, dc - dW @ mu


# -- looks -------------------------------------------------------------------------------------------------------------


@of_kinds()
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_looks(kind, algorithm):
    settings = replace(WEAK, algorithm=algorithm, n_chains=40, centered="visible", weight_decay=0.1)
    state = start(kind, settings)
    updates = CompiledUpdates(state)
    updates.begin_()
    for i, batch in enumerate(bit_batches(37, (30,) * 4)):
        before = state.params.clone()
        updates.make_(batch, 1, 1)
        found, chains = state.pace.take(), rows_of(state, 30).chains.float()
        if i % 2:
            assert math.isnan(found)
            continue
        looked_at = chains[:LOOKED_AT]
        rel = 2e-2 if kind == "int8" else 1e-3  # what is found from the rounded weights
        assert found == pytest.approx(float(step_divergence(before, state.params, looked_at)), rel=rel)
        for other in (chains, looked_at[1:], batch.v):
            assert found != pytest.approx(float(step_divergence(before, state.params, other)), rel=1e-3)
    updates.end_()


def train(kind, compiled, X, n_epochs, **settings):
    """The training after so many epochs, the rates it had, the divergences it saw, and a mean kept by an observer."""
    settings = replace(WEAK, is_compiled=compiled, averaging=0.3, centered="visible", **settings)
    state = start(kind, settings, (19, X.shape[1]))
    rows, beside = SharedRows(ArrayRows(X.astype(np.float32))), Average(state.params, 0.3)
    records = []
    for _ in range(n_epochs):
        records.append(epoch_(state, rows, beside))
        beside.look_(state.params)
    return state, beside, [[record.learning_rate, record.step_divergence] for record in records]


@of_kinds()
@pytest.mark.parametrize("is_free", [False, True])
@pytest.mark.parametrize(("n_rows", "batch_size", "n_epochs"), [(40, 1, 2), (43, 5, 3), (3, 7, 4), (53, 7, 3)])
def test_epochs_look_when_they_would_have_looked(kind, n_rows, batch_size, n_epochs, is_free):
    """Their last batch may have fewer rows."""
    X = np.random.default_rng(0).integers(0, 2, (n_rows, 37))
    settings = {"batch_size": batch_size, "learning_rate": 0.1 if is_free else 0.01}
    settings |= {"spectrum": spectrum(1, 37) if is_free else None}
    plain, _, of_plain = train(kind, False, X, n_epochs, **settings)
    loops, beside, of_loops = train(kind, True, X, n_epochs, **settings)
    assert loops.several is not None
    assert plain.several is None
    assert loops.average._n_looks == plain.average._n_looks == beside._n_looks > 0
    assert loops.average._n_updates == plain.average._n_updates == n_epochs * math.ceil(n_rows / batch_size)
    torch.testing.assert_close(loops.average.params.W, beside.params.W, rtol=0, atol=1e-6)
    assert not torch.allclose(loops.average.params.W, loops.params.W, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(np.isnan(of_loops), np.isnan(of_plain))
    if kind == "int8":  # its unit changes at other updates
        return
    assert_alike(loops, plain, n_rows % batch_size or batch_size, 1e-4)
    torch.testing.assert_close(loops.average.params.W, plain.average.params.W, rtol=0, atol=1e-4)
    np.testing.assert_allclose(of_loops, of_plain, rtol=1e-3)
    assert not is_free or batch_size > 1 or len({rate for rate, _ in of_loops}) > 1


# -- threads, and whole fits -------------------------------------------------------------------------------------------


@pytest.fixture
def any_number_of_threads(monkeypatch):
    """Loops take as many threads as torch has; the list of how many each took."""
    taken, real = [], compiled._parallel()
    monkeypatch.setattr("skrbm.support.threads._TRIES", 0)
    spy = lambda *args: taken.append(args[2]) or real(*args)  # noqa: E731
    monkeypatch.setattr(compiled, "_parallel", lambda: None if real is None else spy)
    return taken


@of_kinds(LARGE)
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_threads_change_nothing(kind, algorithm, any_number_of_threads):
    settings = replace(WEAK, algorithm=algorithm, n_chains=70, centered="visible", weight_decay=0.1, k=2)
    settings = replace(settings, spectrum=spectrum(2, 150))
    found = []
    for n_threads in (1, 2, 4):
        torch.set_num_threads(n_threads)
        state = start(kind, settings, (90, 150))
        updates = CompiledUpdates(state)
        updates.begin_()
        for batch in bit_batches(150, (70, 70, 33, 70)):
            updates.make_(batch, 1, 1)
        updates.end_()
        found.append((*tensors(state.params), state.centering.mu, state.h, torch.tensor(state.pace.take())))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    if compiled._parallel() is not None:
        assert {2, 4} <= set(any_number_of_threads)


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
@pytest.mark.parametrize(("n_hidden", "n_features", "n_data"), [(100, 64, 20), (9, 5, 3), (40, 90, 33)])
def test_threads_change_nothing_in_small_machines(algorithm, n_hidden, n_features, n_data, any_number_of_threads):
    """Draws of all kinds, the means of the parameters and looks among them; many updates, so that a race shows."""
    found, n_updates, n_chains = [], 32, n_data if algorithm == "cd" else 50
    greys = torch.rand((n_data * n_updates, n_features), generator=torch.Generator().manual_seed(0))
    directions = torch.linalg.qr(torch.randn((n_features, 3), generator=torch.Generator().manual_seed(1)))[0].T
    for n_threads in (1, 2, 3, 8, 20):
        params = reference.random_params(n_hidden, n_features, scale=0.4).to(torch.float32)
        mean, mu = params.clone(), torch.full((n_features,), 0.5)
        h = None if algorithm == "cd" else torch.zeros(n_chains, n_hidden)
        terms = Terms(torch.cat((mu[None], directions)), torch.tensor([0.5, 0.2, 0.1]), mu, 0.1)
        v = torch.zeros(n_data + n_chains, n_features)
        machine, streams = SmallMachine(params, h, v, n_data, terms, 2), (Stream(1), Stream(2))
        looks = []
        for call in range(6):
            follow = Follow(mean.W, mean.b, mean.c, 3, 2, 10 * call, 5.0)
            looks.append(machine.update_(greys, True, streams, Step(0.05, 0.999), n_threads, follow, 25))
        positions = torch.tensor([stream.position for stream in streams])
        found.append((*tensors(params), *tensors(mean), mu, v, machine.h, positions, torch.tensor(looks)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    if compiled._parallel() is not None:
        assert {2, 3, 8} <= set(any_number_of_threads)
        assert max(any_number_of_threads) == 8


X = np.random.default_rng(0).random((60, 40)).astype(np.float32).round(1)
FIT = {"n_hidden": 9, "n_iter": 6, "batch_size": 7, "random_state": 0}


@pytest.fixture
def always(monkeypatch):
    """However few updates there are, loops make them; the list of the trainings they were used in."""
    used, real = [], CompiledUpdates.__init__
    monkeypatch.setattr("skrbm.training.settings._LEAST_COMPILED", 0)
    monkeypatch.setattr(CompiledUpdates, "__init__", lambda self, state: used.append(state) or real(self, state))
    return used


def settings_of(kind, **settings):
    return FIT | {"precision": "int8" if kind == "int8" else "float32"} | settings


@of_kinds()
@pytest.mark.parametrize("settings", [{}, {"algorithm": "cd", "k": {0: 1, 0.5: 3}}, {"learning_rate": 0.05}])
def test_fits_repeat_and_resume_bit_by_bit(kind, settings, always, tmp_path, monkeypatch):
    settings = settings_of(kind, **settings)
    whole, path = BernoulliRBMTorch(**settings).fit(X), tmp_path / "checkpoint"
    assert_same(whole, BernoulliRBMTorch(**settings).fit(X))
    cut_off(BernoulliRBMTorch(**settings, checkpoint=path), X, 3, monkeypatch)
    again = BernoulliRBMTorch(**settings, checkpoint=path, resume=True)
    cut_off(again, X, 1, monkeypatch)
    again.fit(X)
    assert_same(whole, again)
    assert len(always) == 5
    other = BernoulliRBMTorch(**settings | {"random_state": 1}).fit(X)
    assert not np.array_equal(whole.components_, other.components_)


def test_without_what_a_checkpoint_holds_they_would_not(monkeypatch, tmp_path, always):
    """A training that forgets the place of its draws ends elsewhere."""
    if not is_compiled():
        pytest.skip("numba isn't installed, or turned off")
    settings = settings_of("small")
    whole, path = BernoulliRBMTorch(**settings).fit(X), tmp_path / "checkpoint"
    cut_off(BernoulliRBMTorch(**settings, checkpoint=path), X, 3, monkeypatch)
    real = Stream.set_state
    monkeypatch.setattr(Stream, "set_state", lambda self, state: real(self, {**state, "position": 0}))
    again = BernoulliRBMTorch(**settings, checkpoint=path, resume=True).fit(X)
    with pytest.raises(AssertionError):
        assert_same(whole, again)


# -- where they aren't used --------------------------------------------------------------------------------------------


def weighted(**settings):
    return settings, np.linspace(0.5, 1.5, len(X))


NOT_COMPILED = {
    "weights": weighted(),
    "momentum": ({"momentum": 0.5}, None),
    "Adam": ({"optimizer": "adam", "learning_rate": 1e-3}, None),
    "penalties": ({"l1_penalty": 1e-4}, None),
    "centred in both layers": ({"centered": True}, None),
    "float64": ({"precision": "float64"}, None),
    "bfloat16": ({"precision": "bfloat16"}, None),
}


@pytest.mark.parametrize("name", NOT_COMPILED)
def test_where_they_are_not_used(name, always):
    settings, weight = NOT_COMPILED[name]
    settings = settings_of("float32", **{"n_iter": 2} | settings)
    model = BernoulliRBMTorch(**settings).fit(X, sample_weight=weight)
    assert np.isfinite(model.components_).all()
    assert not always


def resolved(**settings):
    return TrainSettings(**{"precision": "float32"} | settings).resolved(SharedRows(ArrayRows(X)))


@needs_numba
def test_few_updates_are_not_compiled():
    assert resolved(batch_size=6, n_epochs=50).is_compiled
    assert not resolved(batch_size=6, n_epochs=49).is_compiled
    assert not resolved(batch_size=60, n_epochs=100).is_compiled


def turn_off(monkeypatch):
    monkeypatch.setenv("SKRBM_COMPILED", "0")


def without_numba(monkeypatch):
    monkeypatch.setattr(compiled, "_has_numba", lambda: False)


@pytest.mark.parametrize("off", [turn_off, without_numba])
def test_fits_go_without_numba(off, always, monkeypatch):
    settings = settings_of("float32", learning_rate=0.05, n_iter=3)
    compiled_fit = BernoulliRBMTorch(**settings).fit(X)
    if is_compiled():
        assert len(always) == 1
    always.clear()
    off(monkeypatch)
    assert not resolved(n_epochs=1000).is_compiled
    model = BernoulliRBMTorch(**settings).fit(X)
    assert not always
    np.testing.assert_array_equal(model.h_samples_, compiled_fit.h_samples_)
    np.testing.assert_allclose(model.components_, compiled_fit.components_, rtol=0, atol=1e-4)


# -- 8 bits ------------------------------------------------------------------------------------------------------------


def assert_within_half_a_unit(state):
    backend = state.backend
    assert (backend.narrow.float() * backend.unit - state.params.W).abs().max() <= 0.501 * backend.unit


def grow(n_updates, check):
    """Updates at a rate at which the weights soon outgrow their unit; the units."""
    settings = replace(WEAK, algorithm="cd", centered="visible", learning_rate=0.5)
    state = start("int8", settings)
    state.params.W.mul_(0.05)
    state.backend.refresh_()
    updates, units = CompiledUpdates(state), []
    updates.begin_()
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (7, 1))).float().expand(7, 37).contiguous()
    for _ in range(n_updates):
        updates.make_(Batch(rows), 1, 1)
        units.append(state.backend.unit)
        check(state)
    updates.end_()
    return units


@of_kinds(LARGE[1:])
def test_the_unit_of_8_bits_grows_with_the_weights(kind):
    assert len(set(grow(40, assert_within_half_a_unit))) > 1


@of_kinds(LARGE[1:])
def test_weights_would_outgrow_a_unit_that_stays(kind, monkeypatch):
    monkeypatch.setattr(Int8Backend, "know_largest_", lambda self, largest: None)
    with pytest.raises(AssertionError):
        grow(40, assert_within_half_a_unit)


@of_kinds(LARGE[1:])
@pytest.mark.filterwarnings("ignore:.*hidden units are off")
def test_where_8_bits_no_longer_suffice_training_goes_on_in_float32(kind, monkeypatch):
    monkeypatch.setattr("skrbm.backends.compiled._SMALL", 0)
    settings = replace(WEAK, is_compiled=True, learning_rate=1.0, batch_size=10)
    state, rows = start("int8", settings), SharedRows(ArrayRows(X.round()[:, :37]))
    made = []
    for _ in range(6):
        state.params.W.mul_(1.0 if state.n_epochs != 2 else 20.0)
        epoch_(state, rows)
        made.append({type(machine).__name__ for _, machine in state.several._made.values()})
    assert not state.is_narrow
    assert made[0] == {"PhasesInInt8"}
    assert "PhasesInFloat32" in made[-1]
    alone = start("float32", settings)
    alone.set_state(state.state())
    before = state.params.clone()
    batch = bit_batches(37, (10,))[0]
    update_(alone, batch)
    state.several.begin_()
    state.several.make_(batch, 1, 1)
    state.several.end_()
    assert_alike(state, alone, 10, 2e-5)
    assert not torch.equal(before.W, state.params.W)


# -- what is learned ---------------------------------------------------------------------------------------------------


def groups():
    """Rows of three groups of four columns, each of which tells the same bit, but for one value in twenty."""
    rng = np.random.default_rng(0)
    told = rng.integers(0, 2, (400, 3)).repeat(4, axis=1)
    return np.where(rng.random(told.shape) < 0.05, 1 - told, told).astype(np.float32)


def nats(seeds, **settings):
    """Mean log-likelihoods of what is learned of `groups`, by machines that start the same."""
    rows, found = groups(), []
    plain = replace(PLAIN, learning_rate=0.2, learning_rate_schedule="linear", batch_size=20, n_chains=50)
    settings = replace(plain, centered="visible", averaging=0.2, **settings)
    for seed in seeds:
        state = begin(reference.random_params(6, 12, 0.1).to(torch.float32), settings, seed, n_epochs=20)
        for _ in range(20):
            epoch_(state, SharedRows(ArrayRows(rows)))
        found.append(float(log_likelihood_exact(state.model, torch.from_numpy(rows)).mean()))
    return np.array(found)


@cache
def nats_without_loops(precision):
    return nats(range(6, 12), precision=precision)


def welch(a, b):
    return (a.mean() - b.mean()) / math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


@of_kinds()
def test_loops_learn_what_is_learned_without(kind, monkeypatch):
    precision = "int8" if kind == "int8" else "float32"
    without = nats_without_loops(precision)
    loops = nats(range(6), is_compiled=True, precision=precision)
    assert abs(welch(loops, without)) < 4
    assert loops.mean() > -5  # -8.3 without any weights
    make = CompiledUpdates.make_

    def repeat_draws(self, *args):
        self._state.streams.chains.position = 0
        return make(self, *args)

    monkeypatch.setattr(CompiledUpdates, "make_", repeat_draws)
    broken = nats(range(4), is_compiled=True, precision=precision)
    assert welch(broken, without) < -4
