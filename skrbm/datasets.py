"""Data to try a machine on: scikit-learn's digits, MNIST, bars-and-stripes; and rows of Parquet files."""

from __future__ import annotations

import gzip
import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn import datasets as sklearn_datasets

from skrbm.rows.iterables import ParquetRows as ParquetRows  # offered here, beside the other sources of data

Array = NDArray[Any]

MNIST_VARIABLE = "SKRBM_MNIST"  # the environment variable that names the folder of MNIST's files
_MNIST_LAYOUTS = ("", "raw", "MNIST/raw")  # where in the folder they may lie; torchvision's is the last
_MNIST_STEMS = {"train": "train", "test": "t10k"}
_MNIST_ROWS = {"train": slice(60_000), "test": slice(60_000, None)}  # of OpenML's 70,000

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_MAX_DIMENSIONS = 32  # numpy's own bound up to 1.26
_CHUNK_BYTES = 1 << 20


class LabelledImages(NamedTuple):
    """Labelled images.

    Attributes
    ----------
    data : ndarray of shape (n_samples, height * width)
        Pixels, row by row; floats in [0, 1], or bytes where the loader was asked for them.
    target : ndarray of shape (n_samples,)
        Labels.
    image_shape : tuple of int
        (height, width).
    """

    data: Array
    target: Array
    image_shape: tuple[int, int]


class ShiftedImages(NamedTuple):
    """Images with their shifted copies, from :func:`shift_images`.

    Attributes
    ----------
    data : ndarray of shape (5 * n_samples, n_pixels)
        The images as they were, then all of them moved up, down, left and right.
    groups : ndarray of shape (5 * n_samples,)
        Index of the image that a row is a copy of: `y[groups]` are the rows' labels, and a splitter that takes
        groups keeps the copies of an image together.
    """

    data: Array
    groups: NDArray[np.intp]


def load_digits() -> LabelledImages:
    """Scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, float32 in [0, 1].

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.data.shape, digits.data.dtype.name, float(digits.data.max())
    ((1797, 64), 'float32', 1.0)
    """
    data, target = sklearn_datasets.load_digits(return_X_y=True)
    return LabelledImages((data / 16).astype(np.float32), target, (8, 8))


def shift_images(X: Array, image_shape: tuple[int, int]) -> ShiftedImages:
    """Each image as it is and moved by one pixel up, down, left and right; zeros come in at the border.

    Split into training and test rows first: a copy of a training image is no test of anything.

    Parameters
    ----------
    X : ndarray of shape (n_samples, height * width)
        Images, pixels row by row.
    image_shape : tuple of int
        (height, width).

    Returns
    -------
    ShiftedImages
        The copies, of X's type, and the index of each one's source.

    Raises
    ------
    ValueError
        If the rows of X don't have height * width pixels.

    Examples
    --------
    >>> import numpy as np
    >>> shifted = shift_images(np.array([[1, 2, 3, 4]]), (2, 2))
    >>> shifted.data
    array([[1, 2, 3, 4],
           [3, 4, 0, 0],
           [0, 0, 1, 2],
           [2, 0, 4, 0],
           [0, 1, 0, 3]])
    >>> shifted.groups
    array([0, 0, 0, 0, 0])
    """
    X = np.asarray(X)
    height, width = image_shape
    if X.ndim != 2 or X.shape[1] != height * width:
        raise ValueError(
            f"X must have shape (n_samples, {height * width}) for image_shape={image_shape}; got {X.shape}."
        )
    framed = np.pad(X.reshape(-1, height, width), ((0, 0), (1, 1), (1, 1)))
    corners = [(1, 1), (2, 1), (0, 1), (1, 2), (1, 0)]  # of the window: in place; moved down, the image goes up
    copies = [framed[:, row : row + height, column : column + width] for row, column in corners]
    return ShiftedImages(np.concatenate(copies).reshape(-1, height * width), np.tile(np.arange(len(X)), len(copies)))


def bars_and_stripes(n: int) -> NDArray[np.float32]:
    """All images of n x n pixels whose columns, or whose rows, are each of one colour.

    Every one of the 2 * 2**n draws (bars or stripes, then a colour for each) is a row, so the blank and the full image
    are there twice, and no model has a higher mean log-likelihood in nats than minus the entropy of the rows.

    Parameters
    ----------
    n : int
        Side of the image, at least 1.

    Returns
    -------
    ndarray of shape (2 * 2**n, n * n)
        Zeros and ones, float32.

    Raises
    ------
    ValueError
        If n is less than 1.

    References
    ----------
    MacKay (2003), Information Theory, Inference, and Learning Algorithms, section 43.

    Examples
    --------
    >>> import numpy as np
    >>> for n in (2, 4):
    ...     _, counts = np.unique(bars_and_stripes(n), axis=0, return_counts=True)
    ...     p = counts / counts.sum()
    ...     print(n, round(float(p @ np.log(p)), 6))
    2 -1.732868
    4 -3.379093
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got n={n}.")
    colours = (np.arange(2**n)[:, None] >> np.arange(n)) & 1  # (2**n, n)
    bars = np.repeat(colours[:, None, :], n, axis=1)  # (2**n, n, n), the columns of one colour
    return np.concatenate([bars, bars.transpose(0, 2, 1)]).reshape(-1, n * n).astype(np.float32)


def load_mnist(
    folder: str | os.PathLike[str] | None = None,
    *,
    subset: Literal["train", "test"] = "train",
    dtype: DTypeLike = np.float32,
) -> LabelledImages:
    """MNIST's handwritten digits, 28 x 28 pixels; or other images that come in files of the same names and form.

    Parameters
    ----------
    folder : path, optional
        Folder of the four idx files, gzipped or not; they may also lie in its subfolder `raw` or `MNIST/raw`, as
        torchvision puts them. None takes the folder that the environment variable SKRBM_MNIST names; where
        that isn't set either, the data comes from OpenML, through :func:`sklearn.datasets.fetch_openml` and its cache.
    subset : {"train", "test"}
        The 60,000 images to learn from or the 10,000 to be judged by.
    dtype : dtype
        Floats give pixels in [0, 1]; uint8 gives the bytes 0-255, in a quarter of float32's memory.

    Returns
    -------
    LabelledImages
        Images and labels.

    Raises
    ------
    FileNotFoundError
        If the folder doesn't have the files.
    OSError
        If OpenML can't be reached.
    ValueError
        If a file is damaged or isn't what its name says, or for another `subset` or `dtype`.
    """
    dtype = np.dtype(dtype)
    if subset not in _MNIST_STEMS:
        raise ValueError(f"subset must be 'train' or 'test'; got subset={subset!r}.")
    if dtype.kind != "f" and dtype != np.uint8:
        raise ValueError(f"dtype must be a float type (pixels in [0, 1]) or uint8 (bytes); got dtype={dtype}.")
    folder = folder or os.environ.get(MNIST_VARIABLE)
    images, target = _openml_mnist(subset) if folder is None else _idx_mnist(Path(folder), subset)
    data = images.reshape(len(images), -1).astype(dtype)
    if dtype.kind == "f":
        data /= 255
    return LabelledImages(data, target.astype(np.int64), (images.shape[1], images.shape[2]))


def _idx_mnist(folder: Path, subset: str) -> tuple[Array, Array]:
    """Images (n, height, width) and labels (n,) from idx files, as bytes."""
    stem = _MNIST_STEMS[subset]
    images_path, labels_path = _find_idx(folder, f"{stem}-images", 3), _find_idx(folder, f"{stem}-labels", 1)
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise ValueError(f"{path} must hold bytes in {ndim} dimension(s); it has {array.dtype} in {array.ndim}.")
    if len(images) != len(labels):
        raise ValueError(f"{images_path} has {len(images)} images, but {labels_path} has {len(labels)} labels.")
    return images, labels


def _find_idx(folder: Path, stem: str, ndim: int) -> Path:
    """The idx file of this stem, in any of the usual places and spellings."""
    for layout in _MNIST_LAYOUTS:
        for ending in (f"-idx{ndim}-ubyte", f".idx{ndim}-ubyte"):
            for suffix in ("", ".gz"):
                path = folder / layout / f"{stem}{ending}{suffix}"
                if path.is_file():
                    return path
    raise FileNotFoundError(
        f"There is no {stem}-idx{ndim}-ubyte or {stem}-idx{ndim}-ubyte.gz in {folder}, nor in its subfolders raw and "
        f"MNIST/raw. Give the folder of the idx files as `folder` or in the environment variable {MNIST_VARIABLE}."
    )


def _openml_mnist(subset: str) -> tuple[Array, Array]:
    """Images (n, 28, 28) and labels (n,) from OpenML or scikit-learn's cache of it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # each try that fails; we raise if all do
            data, target = sklearn_datasets.fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
    except (OSError, ImportError) as error:  # no network; no pandas, which fetch_openml parses with
        raise OSError(
            f"MNIST couldn't be fetched from OpenML ({error}). Give a folder of its idx files as `folder` or in the "
            f"environment variable {MNIST_VARIABLE}."
        ) from error
    rows = _MNIST_ROWS[subset]
    return data[rows].astype(np.uint8).reshape(-1, 28, 28), target[rows]


def read_idx(path: str | os.PathLike[str]) -> Array:
    """An array from an idx file, the format of MNIST; plain or gzipped, which its first bytes tell.

    No more memory is taken than the file has content, whatever its header says.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        Of the shape and type that the header gives, in the machine's byte order.

    Raises
    ------
    ValueError
        If the file isn't a whole and valid idx file; the message says which file and what is wrong with it.
    OSError
        If it can't be read.

    References
    ----------
    LeCun, Cortes, Burges, The MNIST database of handwritten digits, "File formats".
    """
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            return _parse_idx(cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{os.fspath(path)} is a damaged gzip file: {error}") from error
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} isn't a valid idx file: {error}") from error


def _parse_idx(stream: BinaryIO) -> Array:
    """The array of an idx stream: two zeros, the type's code, the number of dimensions, the dimensions, the values."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"it must begin with two zeros, a type and a number of dimensions; it begins with {magic!r}.")
    code, ndim = magic[2:]
    if code not in _IDX_DTYPES:
        raise ValueError(f"its code of the type is 0x{code:02X}, none of those that exist.")
    if not 1 <= ndim <= _IDX_MAX_DIMENSIONS:
        raise ValueError(f"its number of dimensions is {ndim}, not from 1 to {_IDX_MAX_DIMENSIONS}.")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"it ends within the sizes of its {ndim} dimensions.")
    shape = struct.unpack(f">{ndim}I", sizes)
    dtype = np.dtype(_IDX_DTYPES[code])
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes == 0:
        raise ValueError(f"it has no values: its shape is {shape}.")
    payload = bytearray()
    while len(payload) <= n_bytes and (chunk := stream.read(_CHUNK_BYTES)):  # never by the header's word alone
        payload += chunk
    if len(payload) != n_bytes:
        found = "more" if len(payload) > n_bytes else f"{len(payload)}"
        raise ValueError(f"its shape {shape} of {dtype.name} needs {n_bytes} bytes of values; there are {found}.")
    return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
