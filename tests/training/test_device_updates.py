"""Updates in few launches: the same as those one by one, whatever is looked at in between."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrbm.likelihood import log_likelihood_exact
from skrbm.machines import RBMParameters, initial_parameters
from skrbm.rows import ArrayRows, SharedRows
from skrbm.rows.source import Batch
from skrbm.support.randomness import Stream
from skrbm.training import Streams, epoch_, start_state
from skrbm.training.device_updates import DeviceUpdates, _Offsets
from skrbm.training.observers import Average
from skrbm.training.update import _make_several_, update_
from tests import reference
from tests.fake_cuda import fake_cuda
from tests.training.states import PLAIN, RECORD, begin, bits
from tests.training.test_update import spectrum


class Sequence(Stream):
    """Draws the same numbers, however many are asked for at a time."""

    def __init__(self, seed):
        super().__init__(seed)
        self._in_turn = np.random.default_rng(seed)

    def uniform(self, n, device="cpu"):
        return torch.from_numpy(self._in_turn.random(n))

    numbers = uniform


def begin_in_sequence(settings, seed=0, **kwargs):
    state = begin(reference.random_params(3, 4), settings, seed, **kwargs)
    state.streams = Streams(*(Sequence([seed, i]) for i in range(5)))
    return state


def assert_alike(one, other):
    for name, tensor in one.params.tensors.items():
        torch.testing.assert_close(tensor, other.params.tensors[name])
    for offset, expected in ((one.centering.mu, other.centering.mu), (one.centering.lam, other.centering.lam)):
        assert (offset is None) == (expected is None)
        if offset is not None:
            torch.testing.assert_close(offset, expected)
    assert torch.equal(one.h, other.h)
    assert one.n_updates == other.n_updates


def one_by_one(state, rows, n):
    """`n` updates by `update_`, but for the two things that device updates do once for all of them together."""
    centering, settings = state.centering, state.settings
    offset_rate, centering._rate = centering._rate, 0.0
    means = []
    for i, v in enumerate(rows.split(len(rows) // n)):
        kept = (1 - state.learning_rate * settings.decay) ** n if i == 0 else 1.0
        state.settings = replace(settings, weight_decay=(1 - kept) / state.learning_rate)
        centering.move_ = lambda data_v, data_h=None: means.append((data_v, data_h))
        update_(state, Batch(v))
    del centering.move_
    state.settings, centering._rate = settings, offset_rate
    for data_v, data_h in means:
        centering.move_(data_v, data_h)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])  # so much that Wμ isn't taken for constant
@pytest.mark.parametrize("damped", [False, True])
@pytest.mark.parametrize("centered", [False, "visible", True])
@pytest.mark.parametrize(("algorithm", "k"), [("pcd", 1), ("pcd", 3), ("cd", 2)])
def test_they_are_the_updates_made_one_by_one(algorithm, k, centered, damped, weight_decay):
    settings = replace(PLAIN, algorithm=algorithm, k=k, centered=centered, weight_decay=weight_decay, offset_rate=0.2)
    settings = replace(settings, learning_rate=0.1, spectrum=spectrum() if damped else None)
    alone, together = begin_in_sequence(settings), begin_in_sequence(settings)
    updates = DeviceUpdates(together)
    for n, seed in ((1, 0), (4, 1), (2, 2)):
        rows = bits(7 * n, 4, seed)
        if n == 1:
            update_(alone, Batch(rows))
        else:
            one_by_one(alone, rows, n)
        assert updates.make_(Batch(rows), n, 1)
        assert_alike(together, alone)


@pytest.mark.parametrize("broken", ["begin_", "follow_", "end_"])
def test_they_would_not_be_if_offsets_were_not_followed(broken, monkeypatch):
    settings = replace(PLAIN, centered="visible", weight_decay=0.1, learning_rate=0.1)
    alone, together = begin_in_sequence(settings), begin_in_sequence(settings)
    monkeypatch.setattr(_Offsets, broken, lambda *args: None)
    rows = bits(28, 4)
    one_by_one(alone, rows, 4)
    DeviceUpdates(together).make_(Batch(rows), 4, 1)
    with pytest.raises(AssertionError):
        assert_alike(together, alone)


@pytest.mark.parametrize("rule", ["none", "sample", 0.5])
def test_greys_are_drawn_cut_or_kept(rule):
    settings = replace(PLAIN, binarize=rule, centered="visible")
    alone, together = begin_in_sequence(settings), begin_in_sequence(settings)
    rows = torch.from_numpy(np.random.default_rng(0).random((20, 4)))
    one_by_one(alone, rows, 4)
    assert DeviceUpdates(together).make_(Batch(rows), 4, 1)
    assert_alike(together, alone)


def test_the_rate_moves_without_a_new_recording(monkeypatch):
    recorded = record_by_repeating(monkeypatch)
    settings = replace(PLAIN, learning_rate=0.1, weight_decay=0.1, centered="visible")
    alone, together = begin_in_sequence(settings), begin_in_sequence(settings)
    updates = DeviceUpdates(together)
    for seed in range(6):
        for state in (alone, together):
            state.scale_rate_(0.7)
        update_(alone, Batch(bits(5, 4, seed)))
        updates.make_(Batch(RemoteRows(bits(5, 4, seed))), 1, 1000)
    assert_alike(together, alone)
    assert len(recorded) == 1


class RemoteRows(torch.Tensor):
    """Rows that say they are on a GPU."""

    @staticmethod
    def __new__(cls, rows):
        return rows.as_subclass(cls)

    @property
    def is_cuda(self):
        return True


def record_by_repeating(monkeypatch):
    """Lets a recording just repeat the work; the list of what was recorded."""
    recorded = []
    monkeypatch.setattr(RECORD, lambda work, streams, device: recorded.append(work) or work)
    return recorded


def test_what_cannot_be_recorded_is_updated_all_the_same():
    state = begin(reference.random_params(3, 4), PLAIN)
    updates = DeviceUpdates(state)
    assert updates.make_(Batch(RemoteRows(bits(5, 4))), 1, 1000)
    with pytest.warns(RuntimeWarning, match="Training goes on without a CUDA graph"):
        assert updates.make_(Batch(RemoteRows(bits(5, 4))), 1, 1000)
    assert updates.make_(Batch(RemoteRows(bits(5, 4))), 1, 1000)  # and doesn't try again
    assert state.n_updates == 3


def test_few_updates_are_not_recorded(monkeypatch):
    recorded = record_by_repeating(monkeypatch)
    state = begin(reference.random_params(3, 4), PLAIN)
    updates = DeviceUpdates(state)
    for _ in range(5):
        updates.make_(Batch(RemoteRows(bits(5, 4))), 1, 20)
    assert not recorded
    updates.make_(Batch(RemoteRows(bits(5, 4))), 1, 200)
    assert len(recorded) == 1


def test_other_optimisers_are_left_to_others():
    state = begin(reference.random_params(3, 4), replace(PLAIN, optimizer="adam"))
    assert not DeviceUpdates(state).make_(Batch(bits(5, 4)), 1, 1)
    assert state.n_updates == 0


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_uneven_batches_find_their_memory(algorithm, monkeypatch):
    """What is recorded keeps the memory that it works on, and isn't replayed where training has taken other memory."""
    recorded = record_by_repeating(monkeypatch)
    settings = replace(PLAIN, algorithm=algorithm, centered="visible", learning_rate=0.1)
    alone, together = begin_in_sequence(settings), begin_in_sequence(settings)
    updates = DeviceUpdates(together)
    used = None
    for seed, n in enumerate((50, 50, 80, 50, 50, 20, 50)):
        rows = bits(n, 4, seed)
        update_(alone, Batch(rows))
        if not updates.make_(Batch(RemoteRows(rows)), 1, 1000):
            update_(together, Batch(rows))
        if n == 50:
            used = weakref.ref(updates._updates.phases.all)
            here = together.buffer.phases(50, 50 if algorithm == "cd" else len(together.h)).all
            assert used().data_ptr() == here.data_ptr()
        assert_alike(together, alone)
    assert len(recorded) == 2  # once for the memory of 50 rows, once for that which 80 rows asked for


@pytest.mark.parametrize("n_rows", [40, 43])
@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_an_epoch_looks_when_it_would_have_looked(n_rows, averaging):
    """Several updates at a time end where something is to be looked at; the looks are the same."""
    X = np.random.default_rng(0).integers(0, 2, (n_rows, 4)).astype(float)
    settings = replace(PLAIN, batch_size=1, averaging=averaging, learning_rate=0.05, centered="visible")
    settings = replace(settings, offset_rate=0.0)  # offsets move in pieces where updates are made together
    rows = SharedRows(ArrayRows(X, dtype=torch.float64))
    states, looks = [], []
    for on_device in (False, True):
        state = begin_in_sequence(settings)
        observers = [Average(state.params, 0.3)]
        seen = []
        look, keep_pace = observers[0].look_, type(state).keep_pace_
        observers[0].look_ = lambda params, seen=seen, look=look, state=state: (
            seen.append(state.n_updates),
            look(params),
        )
        for _ in range(8):
            if on_device:
                _make_several_(state, DeviceUpdates(state), rows, observers)
                state.hear_of_look_()
            else:
                for batch in rows.epoch(state.streams.shuffle, 1):
                    before = state.snapshot()
                    update_(state, batch)
                    if before is not None:
                        keep_pace(state, before, 1, rows.group)
                    observers[0].observe_(state.params)
            seen.append(state.pace.take())
        states.append((state, observers[0].params))
        looks.append(seen)
    assert looks[0] == pytest.approx(looks[1])
    assert_alike(states[1][0], states[0][0])
    torch.testing.assert_close(states[1][1].W, states[0][1].W)


# -- on fake CUDA tensors ----------------------------------------------------------------------------------------------


def fake_state(centered, precision, device, **settings):
    shapes = (500, 784), (784,), (500,)
    params = RBMParameters(*(torch.zeros(shape, device=device) for shape in shapes))
    mean_v = torch.zeros(784, device=device)
    words = replace(PLAIN, n_chains=100, weight_decay=1e-4, centered=centered, precision=precision)
    return start_state(params, mean_v, replace(words, **settings), Streams.from_seed(0))


@pytest.mark.parametrize(
    ("precision", "centered", "algorithm", "k", "device", "most"),
    [
        ("float32", False, "pcd", 1, "cuda:0", 14),
        ("float32", "visible", "pcd", 1, "cuda:1", 17),
        ("float32", True, "cd", 1, "cuda:0", 26),
        ("bfloat16", False, "cd", 1, "cuda:1", 18),
        ("bfloat16", "visible", "pcd", 1, "cuda:0", 18),
        ("bfloat16", "visible", "pcd", 5, "cuda:0", 42),
        ("bfloat16", "visible", "cd", 1, "cuda:0", 21),
        ("bfloat16", True, "pcd", 1, "cuda:1", 24),
    ],
)
def test_nothing_waits_for_the_device_nor_leaves_it(precision, centered, algorithm, k, device, most):
    """And launches are few: each takes some two microseconds, whatever it computes."""
    with fake_cuda() as launches:
        state = fake_state(centered, precision, device, algorithm=algorithm, k=k)
        updates = DeviceUpdates(state)
        rows = torch.zeros((800, 784), dtype=torch.uint8, device=device)
        updates.make_(Batch(rows), 8, 1)
        launches.sent.clear()
        launches.fetched.clear()
        launches.kernels.clear()
        updates.make_(Batch(rows), 8, 1)
        assert not launches.sent
        assert not launches.fetched
        assert len(launches.kernels) <= 8 * most, f"{len(launches.kernels) / 8} an update: {launches.kernels[:40]}"


# -- on a real one -----------------------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
@pytest.mark.parametrize(("centered", "damped", "rule"), [("visible", True, "none"), (True, False, "sample")])
def test_cuda_graphs_are_what_they_record(algorithm, precision, centered, damped, rule, monkeypatch, recwarn):
    """Bit by bit, over epochs whose rate falls and whose last batch is smaller."""
    X = np.random.default_rng(0).random((330, 9)).astype(np.float32)
    X = X if rule == "sample" else X.round()
    settings = replace(PLAIN, algorithm=algorithm, k=2, precision=precision, centered=centered, binarize=rule)
    settings = replace(settings, learning_rate=0.1, weight_decay=1e-2, batch_size=20, averaging=0.2, n_epochs=20)
    settings = replace(settings, learning_rate_schedule="linear")
    found = []
    for recording in (True, False):
        if not recording:
            monkeypatch.setattr(RECORD, lambda *args: None)
        mean_v, streams = torch.from_numpy(X.mean(0)).cuda(), Streams.from_seed(0)
        params = initial_parameters(mean_v, 6, streams.start, smoothing=1e-2)
        rows = SharedRows(ArrayRows(X, device="cuda"))
        state = start_state(params, mean_v, settings, streams)
        if damped:
            state.damping = spectrum(9).damping(params.W)
        state.n_updates = 1000  # so that there are longer ways between looks
        for _ in range(5):
            epoch_(state, rows)
        assert state.n_updates == 1000 + 5 * 17
        if recording:
            assert len(state.several._replays) >= 2
            assert all(state.several._replays.values())
        found.append(state)
    assert not recwarn.list
    for name, tensor in found[0].params.tensors.items():
        assert torch.equal(tensor, found[1].params.tensors[name]), name
    assert torch.equal(found[0].h, found[1].h)
    assert torch.equal(found[0].average.params.W, found[1].average.params.W)
    assert not torch.equal(found[0].params.W, params.W)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_learns_what_the_cpu_learns(precision):
    """A machine small enough for its likelihood, of rows from a machine that is known, within what seeds differ by."""
    truth = reference.random_params(3, 8).to(torch.float32)
    h = torch.bernoulli(torch.full((4000, 3), 0.5), generator=torch.Generator().manual_seed(0))
    for _ in range(50):
        v = torch.bernoulli(torch.sigmoid(h @ truth.W + truth.b), generator=torch.Generator().manual_seed(len(h)))
        h = torch.bernoulli(torch.sigmoid(v @ truth.W.T + truth.c), generator=torch.Generator().manual_seed(1))
    X = v.numpy()
    nats = {}
    for device in ("cpu", "cuda"):
        mean_v, streams = torch.from_numpy(X.mean(0)).to(device), Streams.from_seed(0)
        params = initial_parameters(mean_v, 6, streams.start, smoothing=1e-3)
        settings = replace(PLAIN, n_chains=100, learning_rate=0.1, learning_rate_schedule="linear", n_epochs=20)
        settings = replace(settings, centered="visible", averaging=0.2)
        settings = replace(settings, precision="float32" if device == "cpu" else precision)
        state = start_state(params, mean_v, settings, streams)
        rows = SharedRows(ArrayRows(X, device=device))
        for _ in range(20):
            epoch_(state, rows)
        nats[device] = float(log_likelihood_exact(state.model, torch.from_numpy(X).to(device)).mean())
    assert math.isclose(nats["cpu"], nats["cuda"], abs_tol=0.02)
