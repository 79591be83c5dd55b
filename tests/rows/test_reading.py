"""Rows that are not an array in memory: files, data loaders, datasets, iterators."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skrbm import BernoulliRBMTorch, DataRangeWarning
from skrbm.rows import arrays as batches_module
from skrbm.rows.arrays import ArrayRows, StreamedRows, is_mapped
from skrbm.support.randomness import Stream

X = np.random.default_rng(0).random((230, 6)).astype(np.float32)
BITS = (X > 0.7).astype(np.float32)


class Batches:
    """What can be iterated over again and again."""

    def __init__(self, X, size=50, wrap=lambda rows: rows):
        self.X, self.size, self.wrap, self.n_times = X, size, wrap, 0

    def __iter__(self):
        self.n_times += 1
        for first in range(0, len(self.X), self.size):
            yield self.wrap(self.X[first : first + self.size])


class Iterable(IterableDataset):
    def __iter__(self):
        return iter(Batches(BITS))


def mapped(path, X):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def streamed(batches, **settings):
    settings = {"rule": "none", "batch_size": 20, "dtype": torch.float64, "stream": Stream(0)} | settings
    return StreamedRows(batches, np.asarray, **settings)


def sorted_rows(rows):
    rows = np.asarray(rows)
    return rows[np.lexsort(rows.T)]


def rows_of(source, seed=0):
    return np.concatenate([np.asarray(v, float) for v, _ in source.epoch(Stream(seed))])


def test_every_row_passes_once_an_epoch():
    source = streamed(Batches(X))
    assert (source.n_rows, source.n_features, source.is_binary) == (230, 6, False)
    sizes = [len(v) for v, weight in source.epoch(Stream(0)) if weight is None]
    assert sizes == [20, 20, 10] * 4 + [20, 10]
    np.testing.assert_array_equal(sorted_rows(rows_of(source)), sorted_rows(X))
    assert not np.array_equal(rows_of(source, 0), rows_of(source, 1))
    np.testing.assert_array_equal(rows_of(streamed(Batches(X), shuffle=False)), X)


@pytest.mark.parametrize("rule", ["none", "sample", 0.3])
def test_the_mean_is_that_of_the_rows(rule):
    values = 2 * X - 0.5
    expected = {"none": values, "sample": values.clip(0, 1), 0.3: values > 0.3}[rule]
    source = streamed(Batches(values), rule=rule)
    np.testing.assert_allclose(source.mean(rule), expected.mean(0), rtol=1e-6)
    assert (source.low, source.high) == (values.min(), values.max())
    np.testing.assert_allclose(ArrayRows(values, dtype=torch.float64).mean(rule), expected.mean(0), rtol=1e-6)


def test_the_kept_rows_are_a_fair_sample(monkeypatch):
    monkeypatch.setattr(batches_module, "_KEPT", 10)
    rows = np.arange(40.0)[:, None]
    counts = np.zeros(40)
    for seed in range(2000):
        kept = streamed(Batches(rows, size=7), stream=Stream(seed)).some(10, Stream(0))
        assert len(np.unique(kept)) == 10
        counts[np.asarray(kept, int)] += 1
    assert abs(counts / 2000 - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_rows_that_are_kept_are_copies():
    rows = X.astype(float)
    source = streamed(Batches(rows))
    kept = source.some(5, Stream(0)).clone()
    rows[:] = 0
    np.testing.assert_array_equal(source.some(5, Stream(0)), kept)


def test_a_block_order_has_every_number_once_and_mixes(monkeypatch):
    monkeypatch.setattr(batches_module, "_BLOCK", 16)
    monkeypatch.setattr(batches_module, "_BLOCKS", 8)
    order = batches_module._block_order(Stream(0), 1000)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert len(np.unique(order[:128] // 16)) <= 9  # few places of the file at a time
    assert len(np.unique(order[:50] // 16)) >= 7
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.3


def test_arrays_in_files_stay_there(tmp_path, monkeypatch):
    monkeypatch.setattr(batches_module, "_MAX_STORE", 1000)
    rows = mapped(tmp_path / "rows.npy", BITS)
    assert is_mapped(rows)
    assert is_mapped(np.asarray(rows)[5:])
    assert not is_mapped(BITS)
    source = ArrayRows(rows, batch_size=20)
    assert source.is_binary
    assert source._in_blocks
    np.testing.assert_array_equal(sorted_rows(rows_of(source)), sorted_rows(BITS))


SETTINGS = {"n_hidden": 4, "n_iter": 30, "batch_size": 23, "random_state": 0}


def assert_as_good(rbm, X=BITS):
    """As a machine that had the rows in memory, if not the same."""
    other = BernoulliRBMTorch(**SETTINGS).fit(X)
    rbm.log_partition("exact")
    assert rbm.log_likelihood(X).mean() == pytest.approx(other.log_likelihood(X).mean(), abs=0.03)
    np.testing.assert_allclose(rbm.base_rates_, other.base_rates_, rtol=1e-5)
    assert rbm.n_features_in_ == X.shape[1]
    assert len(rbm.data_samples_) == 100


@pytest.mark.parametrize(
    "make",
    [
        lambda: Batches(BITS),
        lambda: Batches(BITS, wrap=lambda rows: (rows, np.zeros(len(rows)))),
        lambda: Batches(BITS, wrap=torch.from_numpy),
        lambda: Batches(BITS, wrap=lambda rows: rows.tolist()),
        lambda: DataLoader(TensorDataset(torch.from_numpy(BITS), torch.zeros(230)), batch_size=23),
        lambda: TensorDataset(torch.from_numpy(BITS), torch.zeros(230)),
        Iterable,
    ],
    ids=["arrays", "pairs", "tensors", "lists", "DataLoader", "Dataset", "IterableDataset"],
)
def test_fit_on_what_yields_batches(make):
    assert_as_good(BernoulliRBMTorch(**SETTINGS).fit(make()))


def test_a_dataset_has_a_new_order_each_epoch_and_the_same_by_the_same_seed():
    rows = TensorDataset(torch.from_numpy(BITS))
    fits = [BernoulliRBMTorch(**SETTINGS | {"random_state": seed}).fit(rows) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0].components_, fits[1].components_)
    assert not np.array_equal(fits[0].components_, fits[2].components_)


def test_fit_on_an_array_in_a_file_is_the_same(tmp_path):
    rows = mapped(tmp_path / "rows.npy", X)
    one, two = BernoulliRBMTorch(**SETTINGS).fit(rows), BernoulliRBMTorch(**SETTINGS).fit(X)
    np.testing.assert_array_equal(one.components_, two.components_)


def test_partial_fit_on_an_iterator_is_one_pass():
    rbm = BernoulliRBMTorch(n_hidden=4, batch_size=23, random_state=0)
    batches = Batches(BITS)
    rbm.partial_fit(iter(batches))
    assert (batches.n_times, rbm.n_iter_) == (1, 1)
    first = rbm.components_.copy()
    for _ in range(60):
        rbm.partial_fit(iter(batches))
    assert not np.array_equal(first, rbm.components_)
    other = BernoulliRBMTorch(n_hidden=4, batch_size=23, random_state=0)
    for _ in range(61):
        other.partial_fit(BITS)
    scores = [model.log_likelihood(BITS).mean() for model in (rbm, other)]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_names_of_features_come_along():
    frame = pd.DataFrame(BITS, columns=list("abcdef"))
    batches = Batches(frame, wrap=lambda rows: rows)
    rbm = BernoulliRBMTorch(**SETTINGS).fit(batches)
    assert list(rbm.feature_names_in_) == list("abcdef")


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        (lambda: iter(Batches(BITS)), {}, "X is an iterator"),
        (lambda: Batches(BITS[:0]), {}, "minimum of 1 is required|yields no rows"),
        (lambda: Batches(BITS, size=1000, wrap=lambda rows: rows * np.nan), {}, "NaN"),
        (lambda: Batches(BITS, wrap=lambda rows: rows[0]), {}, "2D array"),
        (lambda: Batches(BITS), {"early_stopping": True}, "early_stopping needs rows"),
    ],
)
def test_what_will_not_do(rows, settings, words):
    rbm = BernoulliRBMTorch(n_hidden=3, n_iter=2).fit(BITS)
    before = rbm.components_
    with pytest.raises((ValueError, TypeError), match=words):
        rbm.set_params(**settings).fit(rows())
    assert rbm.components_ is before


def test_batches_that_change_their_width():
    class Changing(Batches):
        def __iter__(self):
            yield BITS
            yield BITS[:, :3]

    with pytest.raises(ValueError, match="3 features, but BernoulliRBMTorch is expecting 6"):
        BernoulliRBMTorch(n_hidden=3).fit(Changing(BITS))


def test_batches_that_end_early():
    class Once(Batches):
        def __iter__(self):
            self.n_times += 1
            yield BITS[: 100 // self.n_times]

    with pytest.raises(ValueError, match="100 rows the first time and 50 now"):
        BernoulliRBMTorch(n_hidden=3).fit(Once(BITS))


def test_weights_need_an_array():
    with pytest.raises(ValueError, match="sample_weight needs rows"):
        BernoulliRBMTorch(n_hidden=3).fit(Batches(BITS), sample_weight=np.ones(230))


def test_range_is_looked_at():
    with pytest.warns(DataRangeWarning, match="look like pixels"):
        BernoulliRBMTorch(n_hidden=3, n_iter=1, learning_rate=1e-6).fit(Batches(BITS * 255))


FLAT = """
import sys, threading, time
import numpy as np
from skrbm import BernoulliRBMTorch

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))

class Batches:
    def __iter__(self):
        return iter(np.array_split(np.load(sys.argv[1], mmap_mode="r"), 200))

rows = np.load(sys.argv[1], mmap_mode="r") if sys.argv[2] == "memmap" else Batches()
settings = {"n_hidden": 8, "n_iter": 1, "batch_size": 1000}
BernoulliRBMTorch(**settings).fit(np.eye(400))
before, seen = anonymous(), []
def watch():
    while True:
        seen.append(anonymous())
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
BernoulliRBMTorch(**settings).fit(rows)
print(max(seen) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", ["memmap", "batches"])
def test_memory_does_not_grow_with_the_rows(tmp_path, kind):
    rows = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (125_000, 400))  # 200 MB
    rows[:, ::3] = 1
    rows.flush()
    argv = [sys.executable, "-c", FLAT, tmp_path / "rows.npy", kind]
    grown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert float(grown) < 100  # MB
