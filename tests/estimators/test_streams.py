"""Fits on rows that are not an array in memory: files, data loaders, datasets, iterators."""

import copy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch.utils.data import DataLoader, TensorDataset

from skrbm import BernoulliRBMTorch, DataRangeWarning
from tests.rows.table import BITS, Batches, Iterable, X, mapped

SETTINGS = {"n_hidden": 4, "n_iter": 30, "batch_size": 23, "random_state": 0}


@pytest.fixture(scope="module")
def in_memory():
    return BernoulliRBMTorch(**SETTINGS).fit(BITS)


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
        lambda: list(Batches(BITS)),
        lambda: tuple(pd.DataFrame(rows) for rows in Batches(BITS)),
        lambda: list(Batches(BITS, wrap=lambda rows: (torch.from_numpy(rows), np.zeros(len(rows))))),
        lambda: Batches(BITS, wrap=lambda rows: rows.reshape(-1, 1, 2, 3)),
        lambda: [rows.reshape(-1, 3, 2) for rows in Batches(BITS)],
        lambda: DataLoader(TensorDataset(torch.from_numpy(BITS).view(-1, 1, 2, 3), torch.zeros(230)), batch_size=23),
        lambda: TensorDataset(torch.from_numpy(BITS).view(-1, 1, 2, 3)),
    ],
    ids=[
        "arrays", "pairs", "tensors", "lists", "DataLoader", "Dataset", "IterableDataset", "list of arrays",
        "tuple of frames", "list of pairs", "images", "list of images", "DataLoader of images", "Dataset of images",
    ],
)  # fmt: skip
def test_fit_on_what_yields_batches(make, in_memory):
    """As good a machine as one that had the rows in memory, if not the same."""
    rbm = BernoulliRBMTorch(**SETTINGS).fit(make())
    rbm.log_partition("exact")
    assert rbm.log_likelihood(BITS).mean() == pytest.approx(in_memory.log_likelihood(BITS).mean(), abs=0.03)
    np.testing.assert_allclose(rbm.base_rates_, in_memory.base_rates_, rtol=1e-5)
    assert rbm.n_features_in_ == BITS.shape[1]
    assert len(rbm.data_samples_) == 100


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


def test_partial_fit_on_a_list_is_one_pass():
    rbm, other = (BernoulliRBMTorch(n_hidden=4, batch_size=23, random_state=0) for _ in range(2))
    rbm.partial_fit(list(Batches(BITS)))
    other.partial_fit(Batches(BITS))
    assert rbm.n_iter_ == 1
    np.testing.assert_array_equal(rbm.components_, other.components_)


def loader(X, **kwargs):
    rows = torch.from_numpy(X)
    return DataLoader(TensorDataset(rows, torch.zeros(len(rows))), batch_size=23, **kwargs)


@pytest.mark.parametrize(
    "make",
    [
        lambda X: loader(X),
        lambda X: iter(Batches(X)),
        lambda X: list(Batches(X)),
        lambda X: TensorDataset(torch.from_numpy(X).view(-1, 1, 2, 3)),
        lambda X: Batches(X, wrap=pd.DataFrame),
    ],
    ids=["DataLoader", "iterator", "list", "Dataset of images", "frames"],
)
@pytest.mark.parametrize(
    "method", ["transform", "reconstruct", "free_energy", "score_samples", "log_likelihood", "score"]
)
def test_methods_go_over_batches_in_their_order(in_memory, make, method):
    rows = BITS if method == "log_likelihood" else X  # of greys it is that of draws, which come batch by batch
    found, expected = (getattr(in_memory, method)(given) for given in (make(rows), rows))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    assert np.shape(found) == np.shape(expected)


def test_features_of_a_loader_in_a_frame(in_memory):
    frame = copy.deepcopy(in_memory).set_output(transform="pandas").transform(loader(X))
    assert frame.shape == (230, 4)
    assert list(frame) == list(in_memory.get_feature_names_out())
    assert list(frame.index) == list(range(230))


def test_batches_that_methods_do_not_take(in_memory):
    for method in (in_memory.transform, in_memory.score, in_memory.log_likelihood):
        with pytest.raises(ValueError, match="X yields no rows"):
            method(iter([]))
        with pytest.raises(ValueError, match="X has 3 features, but BernoulliRBMTorch is expecting 6"):
            method([BITS, BITS[:, :3]])
        with pytest.raises(TypeError, match="A batch of X is a dict with the key 'x'"):
            method([{"x": BITS}])
        with pytest.raises(NotFittedError):
            method.__func__(BernoulliRBMTorch(), loader(X))
    calls = {
        "X": [in_memory.complete, in_memory.inverse_transform],
        "v": [in_memory.gibbs],
        "init": [lambda rows: in_memory.sample(230, 1, init=rows)],
        "condition": [lambda rows: in_memory.sample(230, 1, condition=rows)],
    }
    for name, functions in calls.items():
        for call in functions:
            with pytest.raises(TypeError, match=f"^{name} must be rows, but this DataLoader yields .* each batch.$"):
                call(loader(X))


def test_of_batches_out_of_range_methods_warn_once(in_memory):
    rows = X.copy()
    rows[[30, 60, 229]] *= 16
    for method in (in_memory.transform, in_memory.score):
        with pytest.warns(DataRangeWarning, match=f"X has values from .* to {rows.max():g}, .* rows of fit") as caught:
            method(loader(rows))
        assert len(caught) == 1
        assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="X has values from"):
        in_memory.log_likelihood(loader(rows))


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
        (lambda: Batches(BITS, size=1000, wrap=lambda rows: np.where(rows, np.inf, 0.0)), {}, "infinity"),
        (lambda: Batches(BITS, wrap=lambda rows: rows[0]), {}, "2D array"),
        (
            lambda: Batches(BITS),
            {"early_stopping": True},
            r"early_stopping=True needs rows .* X \(Batches\) yields them in passing. Name them, fit\(X, X_val=",
        ),
        (lambda: [BITS, BITS], {"early_stopping": True}, "early_stopping=True needs rows"),
        (lambda: [BITS, BITS[:, :3]], {}, "X has 3 features"),
        (
            lambda: Batches(BITS, wrap=lambda rows: {"image": torch.from_numpy(rows), "label": 1}),
            {},
            "A batch of X is a dict with the keys 'image', 'label'. Yield the tensor under one of them: .* own.$",
        ),
        (lambda: [{"image": BITS}], {}, "A batch of X is a dict with the key 'image'. Yield"),
        (lambda: DataLoader([{"x": row} for row in BITS]), {}, "A batch of X is a dict with the key 'x'. Yield"),
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
