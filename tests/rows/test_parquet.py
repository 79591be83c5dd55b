import sys

import numpy as np
import pandas as pd
import pytest

from skrbm import BernoulliRBMTorch, datasets
from skrbm.rows.iterables import ParquetRows

pytest.importorskip("pyarrow")

X = (np.random.default_rng(0).random((250, 5)) < 0.4).astype(np.float32)


@pytest.fixture
def paths(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde")).astype({"b": bool, "c": np.int64, "d": np.float64})
    paths = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    frame[:150].to_parquet(paths[0])
    frame[150:].to_parquet(paths[1])
    return paths


def test_rows_come_in_batches_again_and_again(paths):
    rows = ParquetRows(paths, batch_rows=40)
    for _ in range(2):
        found = list(rows)
        assert [len(batch) for batch in found] == [40, 40, 40, 30, 40, 40, 20]
        np.testing.assert_array_equal(np.concatenate(found), X)
    np.testing.assert_array_equal(np.concatenate(list(ParquetRows(paths[0], columns=["e", "a"]))), X[:150, [4, 0]])


def test_fit(paths):
    rbm = BernoulliRBMTorch(n_hidden=3, n_iter=3, random_state=0).fit(ParquetRows(paths, batch_rows=40))
    np.testing.assert_allclose(rbm.base_rates_, X.mean(0), atol=0.01)
    assert rbm.n_features_in_ == 5


def test_they_are_among_the_datasets():
    assert datasets.ParquetRows is ParquetRows


def test_unusable_files_and_parameters(tmp_path, paths, monkeypatch):
    with pytest.raises(ValueError, match=r"1.parquet is not usable as Parquet: it has no columns \['x'\]"):
        list(ParquetRows(paths, columns=["x"]))
    pd.DataFrame({"a": ["text"]}).to_parquet(tmp_path / "3.parquet")
    with pytest.raises(ValueError, match="column 'a' is of .*string, not of numbers"):
        list(ParquetRows(tmp_path / "3.parquet"))
    pd.DataFrame({"a": [0.0, np.inf]}).to_parquet(tmp_path / "4.parquet")
    with pytest.raises(ValueError, match="infinity"):
        BernoulliRBMTorch(n_hidden=2).fit(ParquetRows(tmp_path / "4.parquet"))
    whole = paths[0].read_bytes()
    for data in (b"", b"text", whole[:-9], whole[: len(whole) // 2]):
        paths[0].write_bytes(data)
        with pytest.raises(ValueError, match="1.parquet is not usable as Parquet"):
            list(ParquetRows(paths))
    with pytest.raises(FileNotFoundError):
        list(ParquetRows(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="batch_rows"):
        ParquetRows(paths, batch_rows=0)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"skrbm\[parquet\]"):
        ParquetRows(paths)


def test_what_is_no_path(paths, tmp_path):
    import pyarrow as pa
    from pyarrow import dataset

    whole = dataset.dataset(tmp_path, format="parquet")
    with pytest.raises(TypeError, match="a list of paths, got FileSystemDataset. Pass its `files`"):
        ParquetRows(whole)
    np.testing.assert_array_equal(np.concatenate(list(ParquetRows(whole.files))), X)
    for path in (3, [paths[0], 3], pa.table({"a": [1.0]})):
        with pytest.raises(TypeError, match=rf"path must be the path of a file.*got {type(path).__name__}\.$"):
            ParquetRows(path)
    assert len(list(ParquetRows(iter(paths)))) == 2
