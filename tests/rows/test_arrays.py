import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrbm.rows.arrays import ArrayRows, is_mapped
from skrbm.support.randomness import Stream
from tests.rows.table import BITS, mapped, rows_of, sorted_rows


def numbered(n, dtype=float):
    """Rows that tell their number."""
    return np.stack([np.arange(n), np.arange(n) + 1], 1).astype(dtype)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.integers(0, 100))
def test_an_epoch_has_every_row_once(n, batch_size, shuffle, seed):
    source = ArrayRows(numbered(n), shuffle=shuffle)
    batches = [batch.v for batch in source.epoch(Stream(seed), batch_size)]
    assert len(batches) == source.n_batches(batch_size)
    assert all(len(v) == batch_size for v in batches[:-1])
    order = torch.cat(batches)[:, 0].tolist()
    assert sorted(order) == list(range(n))
    assert shuffle or order == list(range(n))


def test_epochs_differ_and_a_stream_repeats_them():
    source = ArrayRows(numbered(50))
    order = lambda stream: next(source.epoch(stream)).v[:, 0].tolist()  # noqa: E731
    stream = Stream(0)
    first, second = order(stream), order(stream)
    assert first != second
    assert order(Stream(0)) == first


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array])
def test_sparse_rows_are_the_dense_ones(kind):
    X = np.random.default_rng(0).random((30, 5)) * (np.random.default_rng(1).random((30, 5)) < 0.3)
    dense = [batch.v for batch in ArrayRows(X).epoch(Stream(3), 7)]
    sparse = [batch.v for batch in ArrayRows(kind(X)).epoch(Stream(3), 7)]
    assert all(torch.equal(a, b) for a, b in zip(dense, sparse, strict=True))


def test_rows_of_weight_zero_are_as_if_they_were_not_there():
    X, weight = numbered(20), np.arange(20) % 3.0
    with_zeros = list(ArrayRows(X, weight).epoch(Stream(0), 4))
    without = list(ArrayRows(X[weight > 0], weight[weight > 0]).epoch(Stream(0), 4))
    for (v, w, *_), (v2, w2, *_) in zip(with_zeros, without, strict=True):
        assert torch.equal(v, v2)
        assert torch.equal(w, w2)
        assert torch.equal(w, v[:, 0] % 3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float16, np.float32, np.longdouble])
def test_every_type_becomes_floats(dtype):
    X = np.array([[0, 1], [1, 1]], dtype)
    X.flags.writeable = False
    for source_dtype in (torch.float32, torch.float64):
        (v, *_), *rest = ArrayRows(X, shuffle=False, dtype=source_dtype).epoch(Stream(0))
        assert not rest
        assert v.dtype == torch.uint8  # zeros and ones
        assert v.tolist() == [[0, 1], [1, 1]]
        (v, *_), *rest = ArrayRows(X, dtype=source_dtype).in_order()
        assert v.dtype == source_dtype
        assert v.tolist() == [[0, 1], [1, 1]]
        (v, *_), *rest = ArrayRows(X * 2, shuffle=False, dtype=source_dtype).epoch(Stream(0))
        assert v.tolist() == [[0, 2], [2, 2]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("level", "n_bytes"), [(1, 2), (16, 13), (255, 13), (100, 13 * 8)])
def test_rows_are_kept_narrow_and_come_back_exactly(dtype, level, n_bytes, monkeypatch):
    """13 columns a bit each, a byte each, or as they are; in rows of several chunks."""
    X = np.random.default_rng(0).integers(0, level + 1, (9000, 13)) / level
    expected = torch.from_numpy(X).to(dtype)
    source = ArrayRows(X, shuffle=False, dtype=dtype)
    without_store = 9000 * 8 + 5000  # the numbers of the rows, and the rest
    assert n_bytes * 9000 <= len(pickle.dumps(source)) < n_bytes * 9000 + without_store
    assert torch.equal(torch.cat([batch.v.to(dtype) for batch in source.epoch(Stream(0), 4000)]), expected)
    monkeypatch.setattr("skrbm.rows.arrays._MAX_STORE", 10)
    as_given = ArrayRows(X, shuffle=False, dtype=dtype)
    assert len(pickle.dumps(as_given)) >= 13 * 8 * 9000
    assert as_given.is_binary == (level == 1)
    assert torch.equal(next(as_given.epoch(Stream(0), 9000)).v.to(dtype), expected)


def in_values(batch, n_features):
    """The rows of a batch in whatever form."""
    if batch.form == "packed":
        return torch.from_numpy(np.unpackbits(batch.v.numpy(), axis=1, count=n_features)).float()
    return batch.v.float() / batch.divisor


@pytest.mark.parametrize(
    ("level", "form", "divisor"), [(1, "packed", 1.0), (16, "codes", 16.0), (255, "codes", 255.0), (100, "values", 1.0)]
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_as_they_are_kept_are_the_same_rows(shuffle, level, form, divisor):
    X = (np.random.default_rng(0).integers(0, level + 1, (50, 13)) / level).astype(np.float32)
    kept, plain, other = (
        list(ArrayRows(X, shuffle=shuffle).epoch(Stream(seed), 8, as_kept))
        for seed, as_kept in ((3, True), (3, False), (4, False))
    )
    assert {(batch.form, batch.divisor) for batch in kept} == {(form, divisor)}
    assert {(batch.form, batch.divisor) for batch in plain} == {("values", 1.0)}
    assert len(kept) == len(plain) == 7
    for one, two in zip(kept, plain, strict=True):
        assert torch.equal(in_values(one, 13), two.v.float())
        assert one.weight is None
    same = [torch.equal(in_values(one, 13), two.v.float()) for one, two in zip(kept, other, strict=True)]
    assert all(same) == (not shuffle)


@pytest.mark.parametrize("rows", [BITS, sp.csr_matrix(0.3 * BITS), BITS + 0.1])
def test_only_what_is_kept_narrow_and_unweighted_is_handed_out_so(rows):
    (batch,) = ArrayRows(rows, np.ones(rows.shape[0])).epoch(Stream(0), rows.shape[0], as_kept=True)
    assert batch.form == "values"
    assert batch.weight is not None
    (batch,) = ArrayRows(rows).epoch(Stream(0), rows.shape[0], as_kept=True)
    assert batch.form == ("packed" if rows is BITS else "values")


def test_some_rows():
    source = ArrayRows(numbered(10), np.array([0.0] + [1.0] * 9))
    rows = source.some(5, Stream(0))[:, 0].tolist()
    assert len(set(rows)) == 5
    assert 0 not in rows
    assert sorted(source.some(100, Stream(0))[:, 0].tolist()) == list(range(1, 10))


def test_is_binary():
    X = np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    assert not ArrayRows(X).is_binary
    assert ArrayRows(X[:2]).is_binary
    assert ArrayRows(X, np.array([1.0, 1.0, 0.0])).is_binary
    assert not ArrayRows(sp.csr_matrix(2 * X[:2])).is_binary


def test_arrays_in_files_stay_there(tmp_path, monkeypatch):
    monkeypatch.setattr("skrbm.rows.arrays._MAX_STORE", 1000)
    rows = mapped(tmp_path / "rows.npy", BITS)
    assert is_mapped(rows)
    assert is_mapped(np.asarray(rows)[5:])
    assert not is_mapped(BITS)
    source = ArrayRows(rows)
    assert source.is_binary
    np.testing.assert_array_equal(sorted_rows(rows_of(source)), sorted_rows(BITS))


def test_arrays_in_files_are_read_in_an_order_of_blocks_that_mixes(tmp_path, monkeypatch):
    for name, value in (("_MAX_STORE", 1000), ("_BLOCK", 16), ("_BLOCKS", 8)):
        monkeypatch.setattr(f"skrbm.rows.arrays.{name}", value)
    source = ArrayRows(mapped(tmp_path / "rows.npy", numbered(1000)))
    order = rows_of(source)[:, 0].astype(int)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert len(np.unique(order[:128] // 16)) <= 9  # few places of the file at a time
    assert len(np.unique(order[:50] // 16)) >= 7
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.3


@pytest.mark.cuda
def test_rows_on_cuda():
    X = numbered(20)
    cpu = list(ArrayRows(X, np.arange(20.0)).epoch(Stream(0), 6))
    cuda = list(ArrayRows(X, np.arange(20.0), device="cuda").epoch(Stream(0), 6))
    for (v, w, *_), (v2, w2, *_) in zip(cpu, cuda, strict=True):
        assert v2.is_cuda
        assert torch.equal(v, v2.cpu())
        assert torch.equal(w, w2.cpu())
