import gzip
import os

import numpy as np
import pytest
import sklearn.datasets

from skrbm.commands import images
from skrbm.commands.images import load_images, read_images
from skrbm.datasets import load_digits
from tests.commands.running import error_of
from tests.test_datasets import write_mnist


def test_digits_for_testing_are_not_learned():
    found = load_images("digits")
    assert (found.name, found.image_shape) == ("scikit-learn's digits", (8, 8))
    rows = np.concatenate([found.train, found.test])
    np.testing.assert_array_equal(np.sort(rows.sum(1)), np.sort(load_digits().data.sum(1)))
    seen = {row.tobytes() for row in found.train}
    assert not any(row.tobytes() in seen for row in found.test)
    assert len(found.test) == 360


def test_digits_are_read_in_one_piece():
    digits, rest = read_images("digits")
    np.testing.assert_array_equal(digits.data, load_digits().data)
    assert rest is None


def test_a_folder_comes_split(tmp_path):
    write_mnist(tmp_path, 6, 4)
    train, test = read_images(os.fspath(tmp_path))
    assert (len(train.data), len(test.data)) == (6, 4)
    found = load_images(os.fspath(tmp_path))
    assert (found.name, found.image_shape) == (os.fspath(tmp_path), (3, 2))
    np.testing.assert_array_equal(found.train, train.data)
    np.testing.assert_array_equal(found.test, test.data)


def test_mnist_is_what_the_environment_names(tmp_path, monkeypatch):
    write_mnist(tmp_path, 6, 4)
    monkeypatch.setenv("SKRBM_MNIST", os.fspath(tmp_path))
    assert load_images("mnist").name == "MNIST"
    assert len(read_images("mnist")[0].data) == 6


@pytest.mark.parametrize("command", ["compare", "train"])
def test_what_is_neither(capsys, tmp_path, command):
    if command == "train":
        pytest.importorskip("matplotlib")
    error = error_of(capsys, command, "--data", "nowhere")
    assert "argument --data: 'nowhere' is neither 'digits' nor 'mnist' nor a folder" in error


def test_a_folder_without_the_files(capsys, tmp_path):
    error = error_of(capsys, "compare", "--data", os.fspath(tmp_path))
    assert "train-images-idx3-ubyte" in error
    assert "Give the folder of the idx files as --data, or in" in error


def test_a_folder_with_a_damaged_file(capsys, tmp_path):
    write_mnist(tmp_path, 50, 20)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    assert "t10k-images-idx3-ubyte.gz" in error_of(capsys, "compare", "--data", os.fspath(tmp_path))


def test_mnist_offline_names_the_flag(capsys, monkeypatch):
    def fetch_openml(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.delenv("SKRBM_MNIST", raising=False)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    error = error_of(capsys, "compare", "--data", "mnist")
    assert "(no network). Give a folder of its idx files as --data, or in the environment variable" in error


def test_mnist_offline(capsys, monkeypatch):
    def load_mnist(folder, subset):
        raise OSError("MNIST couldn't be\nfetched")

    monkeypatch.setattr(images, "load_mnist", load_mnist)
    error = error_of(capsys, "compare", "--data", "mnist")
    assert error == "skrbm compare: error: argument --data: MNIST couldn't be fetched\n"
