import os

import numpy as np
import pytest
import torch

from skrbm.persistence import read_checkpoint, write_atomically, write_checkpoint

CONTENT = {
    "words": np.arange(4, dtype=np.uint64),
    "tensors": (torch.ones(2, 3), [torch.zeros(1)]),
    "numbers": {"n": 3, "x": np.float32(0.5), "none": None, 0: "a key that is a number"},
}


def test_a_checkpoint_has_what_was_written(tmp_path):
    path = tmp_path / "file"
    write_checkpoint(path, CONTENT)
    found = read_checkpoint(path)
    np.testing.assert_array_equal(found["words"], CONTENT["words"])
    assert found["words"].dtype == np.uint64
    assert isinstance(found["tensors"], tuple)
    assert torch.equal(found["tensors"][0], torch.ones(2, 3))
    assert found["numbers"] == {"n": 3, "x": 0.5, "none": None, 0: "a key that is a number"}
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


class Trap:
    """Runs code where it is unpickled carelessly."""

    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_loading_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "skrbm checkpoint 1", "content": Trap()}, "file")
    with pytest.raises(ValueError, match="no checkpoint of skrbm"):
        read_checkpoint("file")
    assert os.listdir() == ["file"]


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "file"
    write_checkpoint(path, CONTENT)
    whole = path.read_bytes()
    for data in (b"", b"not one", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"file is no checkpoint of skrbm, or a damaged one"):
            read_checkpoint(path)
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "nothing")
