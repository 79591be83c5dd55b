import gzip
import os
import struct
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import shift
from sklearn.model_selection import StratifiedGroupKFold

from skrbm import datasets
from skrbm.datasets import bars_and_stripes, load_digits, load_mnist, read_idx, shift_images

CODES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}


def idx_bytes(array):
    """An idx file, written from the format's description."""
    (code,) = (code for code, name in CODES.items() if np.dtype(name) == array.dtype)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, n_train=6, n_test=4, suffix=".gz", images=None):
    """Small files in MNIST's form; the pixels of an image are its number."""
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if suffix else bytes
    for stem, n in (("train", n_train), ("t10k", n_test)):
        pixels = np.repeat(np.arange(n, dtype="u1"), 6).reshape(n, 3, 2) if images is None else images[:n]
        (folder / f"{stem}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(pixels)))
        (folder / f"{stem}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(np.arange(n, dtype="u1") % 10)))


# -- digits and shifts -------------------------------------------------------------------------------------------------


def test_digits():
    data, target, image_shape = load_digits()
    assert data.shape == (1797, 64)
    assert data.dtype == np.float32
    assert (data.min(), data.max()) == (0, 1)
    assert image_shape == (8, 8)
    assert np.bincount(target).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 100))
def test_shifts_are_scipys(n, height, width, seed):
    images = np.random.default_rng(seed).random((n, height, width), dtype=np.float32)
    data, groups = shift_images(images.reshape(n, -1), (height, width))
    moves = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]  # none, up, down, left, right
    for copy, move in zip(data.reshape(5, n, height, width), moves, strict=True):
        np.testing.assert_array_equal(copy, shift(images, (0, *move), order=0, mode="constant"))
    assert data.dtype == np.float32
    np.testing.assert_array_equal(groups, np.tile(np.arange(n), 5))


def test_groups_keep_copies_together():
    digits = load_digits()
    X, groups = shift_images(digits.data[:200], digits.image_shape)
    y = digits.target[groups]
    n_images = len(digits.data[:200])
    for train, test in StratifiedGroupKFold(4).split(X, y, groups):
        assert not set(train % n_images) & set(test % n_images)
        assert len(test) % 5 == 0


@pytest.mark.parametrize(("shape", "image_shape"), [((3, 7), (2, 3)), ((6,), (2, 3)), ((2, 2, 3), (2, 3))])
def test_shift_of_another_shape(shape, image_shape):
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 6\) for image_shape=\(2, 3\); got"):
        shift_images(np.zeros(shape), image_shape)


# -- bars and stripes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "optimum"), [(1, -np.log(2)), (2, -1.732868), (3, None), (4, -3.379093)])
def test_bars_and_stripes(n, optimum):
    images = bars_and_stripes(n).reshape(-1, n, n)
    assert images.shape[0] == 2 * 2**n
    assert images.dtype == np.float32
    bars = (images == images[:, :1, :]).all((1, 2))
    stripes = (images == images[:, :, :1]).all((1, 2))
    assert (bars | stripes).all()
    assert set(np.unique(images)) == {0, 1}
    distinct, counts = np.unique(images.reshape(len(images), -1), axis=0, return_counts=True)
    assert len(distinct) == (2 ** (n + 1) - 2 if n > 1 else 2)
    assert n == 1 or sorted(counts)[-3:] == [1, 2, 2]  # blank and full, twice each
    p = counts / counts.sum()
    if optimum is not None:
        assert p @ np.log(p) == pytest.approx(optimum, abs=1e-6)


def test_bars_and_stripes_of_no_size():
    with pytest.raises(ValueError, match="n=0"):
        bars_and_stripes(0)


# -- idx files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", CODES.values())
def test_idx_of_every_type(tmp_path, name, pack):
    array = (np.random.default_rng(0).random((2, 3, 4)) * 100).astype(name)
    (tmp_path / "file").write_bytes(pack(idx_bytes(array)))
    read = read_idx(tmp_path / "file")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.dtype.isnative


GOOD = idx_bytes(np.arange(24, dtype="u1").reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begin with two zeros"),
        (b"\x89PNG\r\n\x1a\n", "begin with two zeros"),
        (b"\0\0\x07" + GOOD[3:], "code of the type is 0x07"),
        (b"\0\0\x08\0", "number of dimensions is 0"),
        (b"\0\0\x08\xff" + bytes(1020) + b"x", "number of dimensions is 255"),
        (GOOD[:10], "ends within the sizes"),
        (GOOD[:4] + bytes(4) + GOOD[8:], "no values"),
        (GOOD[:-1], "needs 24 bytes of values; there are 23"),
        (GOOD + b"x", "needs 24 bytes of values; there are more"),
        (b"\0\0\x0e\x20" + b"\xff" * 128 + b"xyz", "there are 3"),  # 2**1027 bytes, says the header
        (gzip.compress(GOOD)[:-9], "damaged gzip"),
        (gzip.compress(GOOD)[:-8] + bytes(8), "damaged gzip"),  # a wrong checksum
        (gzip.compress(GOOD[:-1]), "there are 23"),
        (b"\x1f\x8bnothing", "damaged gzip"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_idx(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(datasets, "_CHUNK_BYTES", 8)
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"some-file.*{message}"):
        read_idx(path)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), zipped=st.booleans())
def test_idx_never_crashes(tmp_path, data, zipped):
    """Cut, changed or grown anywhere, a file gives an array of what it says it has, or a ValueError."""
    content = bytearray(gzip.compress(GOOD) if zipped else GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"\0")
    path = tmp_path / "file"
    path.write_bytes(content)
    try:
        array = read_idx(path)
    except ValueError:
        return
    plain = content if content[:2] != b"\x1f\x8b" else gzip.decompress(content)
    assert idx_bytes(array) == plain


def test_idx_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


# -- MNIST -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_from_a_folder(tmp_path, layout, suffix):
    write_mnist(tmp_path / layout, suffix=suffix)
    train, test = load_mnist(tmp_path), load_mnist(str(tmp_path), subset="test")
    assert train.data.shape == (6, 6)
    assert test.data.shape == (4, 6)
    assert train.image_shape == (3, 2)
    assert train.data.dtype == np.float32
    np.testing.assert_array_equal(train.data[5], np.full(6, np.float32(5) / np.float32(255)))
    np.testing.assert_array_equal(test.target, [0, 1, 2, 3])
    assert test.target.dtype == np.int64


def test_mnist_as_bytes_and_doubles(tmp_path):
    write_mnist(tmp_path)
    as_bytes, doubles = load_mnist(tmp_path, dtype="uint8").data, load_mnist(tmp_path, dtype=float).data
    assert as_bytes.dtype == np.uint8
    assert as_bytes[5].tolist() == [5] * 6
    np.testing.assert_array_equal(doubles, as_bytes / 255)


def test_mnist_from_the_environment(tmp_path, monkeypatch):
    write_mnist(tmp_path / "named")
    write_mnist(tmp_path / "given", n_train=3)
    monkeypatch.setenv("SKRBM_MNIST", os.fspath(tmp_path / "named"))
    assert len(load_mnist().data) == 6
    assert len(load_mnist(tmp_path / "given").data) == 3
    monkeypatch.setenv("SKRBM_MNIST", os.fspath(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"(?s)train-images-idx3-ubyte.*nowhere.*`folder`.*SKRBM_MNIST"):
        load_mnist()


def test_mnist_with_a_file_missing(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    load_mnist(tmp_path)
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_mnist(tmp_path, subset="test")


def test_mnist_with_labels_of_other_images(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(5, "u1"))))
    with pytest.raises(ValueError, match=r"6 images, but .*train-labels-idx1-ubyte\.gz has 5 labels"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("images", [np.zeros((6, 3, 2), "f4"), np.zeros((6, 6), "u1")])
def test_mnist_whose_images_are_not(tmp_path, images):
    write_mnist(tmp_path, images=images)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz must hold bytes in 3 dimension"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("wrong", [{"subset": "valid"}, {"dtype": "int8"}])
def test_mnist_of_another_kind(tmp_path, wrong):
    write_mnist(tmp_path)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        load_mnist(tmp_path, **wrong)


def test_mnist_from_openml(monkeypatch):
    def fetch_openml(name, **kwargs):
        assert name == "mnist_784"
        data = np.zeros((70_000, 784), dtype=np.uint8)
        data[60_000:] = 51
        return data, np.array(["1"] * 60_000 + ["2"] * 10_000, dtype=object)

    monkeypatch.delenv("SKRBM_MNIST", raising=False)
    monkeypatch.setattr(datasets.sklearn_datasets, "fetch_openml", fetch_openml)
    train, test = load_mnist(dtype=np.uint8), load_mnist(subset="test")
    assert train.data.shape == (60_000, 784)
    assert not train.data.any()
    assert set(train.target) == {1}
    assert test.data.shape == (10_000, 784)
    assert set(test.data.ravel()) == {np.float32(0.2)}
    assert set(test.target) == {2}
    assert test.image_shape == (28, 28)


@pytest.mark.parametrize("error", [URLError("no name"), ImportError("no pandas"), TimeoutError("no answer")])
def test_mnist_offline(monkeypatch, error):
    def fetch_openml(name, **kwargs):
        raise error

    monkeypatch.delenv("SKRBM_MNIST", raising=False)
    monkeypatch.setattr(datasets.sklearn_datasets, "fetch_openml", fetch_openml)
    with pytest.raises(OSError, match=r"OpenML \(.*no .*`folder`.*SKRBM_MNIST") as caught:
        load_mnist()
    assert caught.value.__cause__ is error


@pytest.mark.mnist
def test_mnist_itself():
    train, test = load_mnist(dtype=np.uint8), load_mnist(subset="test", dtype=np.uint8)
    assert np.bincount(train.target).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert train.data.shape == (60_000, 784)
    assert test.data.shape == (10_000, 784)
    assert train.image_shape == (28, 28)
    assert train.data.mean() == pytest.approx(33.3184, abs=1e-4)
