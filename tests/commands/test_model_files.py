"""Which files are machines, by what they begin with."""

import bz2
import gzip
import lzma
import os
import pickle
import zlib

import joblib
import numpy as np
import pytest

from skrbm.commands.model_files import read_machine
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.tabular import CategoricalRBM, MixedRBM


@pytest.fixture(scope="module")
def rbm():
    return BernoulliRBMTorch(2, n_iter=1, random_state=0).fit(np.eye(3))


@pytest.mark.parametrize("name", ["q", "q.bin", "q.joblib", "q.safetensors"])
def test_what_save_wrote_is_read_by_any_name(rbm, tmp_path, name):
    pytest.importorskip("safetensors")
    rbm.save(tmp_path / name)
    model, names = read_machine(tmp_path / name)
    np.testing.assert_array_equal(model.components_, rbm.components_)
    assert names is None


@pytest.mark.parametrize("compress", [0, ("zlib", 1), ("zlib", 9), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
@pytest.mark.parametrize("name", ["q", "q.joblib"])
def test_what_joblib_wrote(rbm, tmp_path, name, compress):
    joblib.dump(rbm, tmp_path / name, compress=compress)
    model, _ = read_machine(tmp_path / name)
    np.testing.assert_array_equal(model.components_, rbm.components_)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(rbm, tmp_path, protocol):
    (tmp_path / "q.pkl").write_bytes(pickle.dumps(rbm, protocol))
    model, _ = read_machine(tmp_path / "q.pkl")
    np.testing.assert_array_equal(model.components_, rbm.components_)


@pytest.mark.parametrize("machine", [GaussianRBM, CategoricalRBM, MixedRBM])
@pytest.mark.parametrize("is_safe", [True, False])
def test_machines_of_any_columns(tmp_path, machine, is_safe):
    X = np.array([[0.0, 1.5], [2.0, 3.0], [1.0, 0.5]] * 4)
    fitted = machine(2, n_iter=1, random_state=0).fit(X)
    if is_safe:
        pytest.importorskip("safetensors")
        fitted.save(tmp_path / "q")
    else:
        joblib.dump(fitted, tmp_path / "q")
    model, names = read_machine(tmp_path / "q")
    assert (type(model), names) == (machine, None)
    np.testing.assert_array_equal(model.log_likelihood(X), fitted.log_likelihood(X))


def test_machines_of_frames_hand_out_arrays(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.5, 1.5, 2.5] * 4, "b": ["x", "y", "z"] * 4})
    joblib.dump(MixedRBM(2, n_iter=1, random_state=0).fit(frame), tmp_path / "q")
    model, names = read_machine(tmp_path / "q")
    assert names == ["a", "b"]
    assert isinstance(model.sample(2, 2), np.ndarray)


def test_names_of_columns(rbm, tmp_path):
    pytest.importorskip("safetensors")
    named = pickle.loads(pickle.dumps(rbm))
    named.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    named.save(tmp_path / "q")
    model, names = read_machine(tmp_path / "q")
    assert names == ["a", "b", "c"]
    assert model.transform(np.eye(3)).shape == (3, 2)  # which a machine with names would warn of


class Trap:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


@pytest.mark.parametrize("protocol", [0, 4])
def test_what_ends_in_safetensors_or_looks_like_text_runs_no_code(tmp_path, monkeypatch, protocol):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ("q" if protocol == 0 else "q.safetensors")
    path.write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(ValueError, match="can't be loaded"):
        read_machine(path)
    assert not (tmp_path / "trap").exists()


@pytest.mark.parametrize("content", [b"a,b\n0,1\n", b"", b"{", b"\x89PNG\r\n\x1a\n", bytes(100), b"PAR1 and so on"])
def test_what_is_no_machine(tmp_path, content):
    (tmp_path / "q").write_bytes(content)
    with pytest.raises(ValueError, match="it is no file of a machine, as `skrbm fit`"):
        read_machine(tmp_path / "q")


@pytest.mark.parametrize("module", [gzip, bz2, lzma, zlib])
def test_damaged_pickles(tmp_path, module):
    (tmp_path / "q").write_bytes(module.compress(b"something else"))
    with pytest.raises(ValueError, match=r"can't be loaded [(]\w+: "):
        read_machine(tmp_path / "q")
    joblib.dump([1], tmp_path / "q")
    with pytest.raises(ValueError, match="holds a list, not a BernoulliRBMTorch"):
        read_machine(tmp_path / "q")
