import os

import numpy as np
import pytest
import torch

from skrbm.support import files
from skrbm.support.files import (
    check_folder,
    from_plain,
    read_archive,
    remove_leftovers,
    to_plain,
    write_archive,
    write_atomically,
)

CONTENT = {
    "words": np.arange(4, dtype=np.uint64),
    "tensors": (torch.ones(2, 3), [torch.zeros(1)]),
    "numbers": {"n": 3, "x": np.float32(0.5), "none": None, 0: "a key that is a number"},
}


def test_a_checkpoint_has_what_was_written(tmp_path):
    path = tmp_path / "file"
    write_archive(path, CONTENT)
    found = read_archive(path)
    np.testing.assert_array_equal(found["words"], CONTENT["words"])
    assert found["words"].dtype == np.uint64
    assert isinstance(found["tensors"], tuple)
    assert torch.equal(found["tensors"][0], torch.ones(2, 3))
    assert isinstance(found["tensors"][1], list)
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
    monkeypatch.setattr(files, "_encoded", lambda content: Trap())
    write_archive("file", {})
    with pytest.raises(ValueError, match="not a checkpoint of skrbm"):
        read_archive("file")
    assert os.listdir() == ["file"]


def test_damaged_and_foreign_files(tmp_path):
    path = tmp_path / "file"
    write_archive(path, CONTENT)
    whole = path.read_bytes()
    for data in (b"", b"not one", whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=r"file is (a damaged checkpoint|not a checkpoint of this version of skrbm)"
        ):
            read_archive(path)
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this version"):
        read_archive(path)
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "nothing")


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_atomically(tmp_path / "file", lambda file: file.write(b"new"))
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_plain_data_has_arrays_for_tensors_and_shares_no_memory():
    first, (second,) = CONTENT["tensors"]
    plain = to_plain(CONTENT)
    assert plain.keys() == CONTENT.keys()
    np.testing.assert_array_equal(plain["tensors"][0], first)
    assert plain["tensors"][1][0].dtype == np.float32
    assert plain["numbers"] == CONTENT["numbers"]
    back = from_plain(plain)
    assert torch.equal(back["tensors"][0], first)
    assert isinstance(back["tensors"], tuple)
    assert torch.equal(back["words"], torch.from_numpy(CONTENT["words"]))
    for data in (plain["tensors"][1][0], back["tensors"][1][0]):
        data += 1
    assert second.item() == 0
    assert plain["tensors"][1][0][0] == 1


def test_plain_data_travels_in_an_archive(tmp_path):
    write_archive(tmp_path / "file", to_plain(CONTENT))
    found = from_plain(read_archive(tmp_path / "file"))
    assert torch.equal(found["tensors"][1][0], torch.zeros(1))


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_of_any_shape_and_order(tmp_path, shape):
    array = np.array(np.random.default_rng(0).random(shape), order="F")
    write_archive(tmp_path / "file", {"x": array})
    found = read_archive(tmp_path / "file")["x"]
    np.testing.assert_array_equal(found, array)
    assert found.shape == shape


def test_a_folder_that_is_missing(tmp_path):
    check_folder("path", tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=r"path=.*there is no folder .*nowhere'. Make it first"):
        check_folder("path", tmp_path / "nowhere" / "file")


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    for name in (".file[1].0a1b", ".file[1].2c", ".file1.0a1b", "file[1]"):
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path / "file[1]")
    assert sorted(os.listdir(tmp_path)) == [".file1.0a1b", "file[1]"]
