"""Files that are whole at any moment, and nested plain data as bytes that can be read without running any code."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import pickle
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from skrbm.support.tensors import from_torch

_MAGIC = b"skrbm checkpoint 2\n"
_ARRAY = "__array__"  # marks an array, which an archive holds as a tensor


def check_folder(name: str, path: str | os.PathLike[str]) -> None:
    """Raise a FileNotFoundError if there is no folder for the file `path`, given as the parameter `name`."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}={os.fspath(path)!r}: there is no folder {str(folder)!r}. Make it first.")


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Write a file by `write(file)`. At any moment, also of a crash, there is the old file or the new one, whole."""
    path = Path(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as file:  # which gives it the permissions of any new file
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the name too is to survive
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what processes that died while they wrote the file have left beside it."""
    path = Path(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        leftover.unlink(missing_ok=True)


def write_archive(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write nested dicts, lists and tuples of arrays, numbers and strings, atomically and with a checksum."""
    payload = io.BytesIO()
    torch.save(_encoded(content), payload)
    data = payload.getbuffer()
    write_atomically(path, lambda file: file.writelines((_MAGIC, hashlib.sha256(data).digest(), data)))


def read_archive(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_archive` wrote. No code in the file is run.

    Raises
    ------
    ValueError
        If the file is damaged, or something else.
    OSError
        If it can't be read.
    """
    data = memoryview(Path(path).read_bytes())
    magic, digest, payload = data[: len(_MAGIC)], data[len(_MAGIC) :][:32], data[len(_MAGIC) + 32 :]
    if magic != _MAGIC:
        raise ValueError(f"{os.fspath(path)} is not a checkpoint of this version of skrbm.")
    if digest != hashlib.sha256(payload).digest():
        raise ValueError(f"{os.fspath(path)} is a damaged checkpoint: its checksum does not match.")
    try:
        return _decoded(torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"{os.fspath(path)} is not a checkpoint of skrbm: {first_line}") from error


def _encoded(value: Any) -> Any:
    """Arrays as marked tensors, which torch loads without running code."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))}
    if isinstance(value, np.generic):
        return value.item()
    return _mapped(_encoded, value)


def _decoded(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get(_ARRAY), Tensor):
        return value[_ARRAY].numpy()
    return _mapped(_decoded, value)


def to_plain(value: Any) -> Any:
    """Nested data with its tensors as arrays, on the CPU and copied: what can be pickled and stored anywhere."""
    if isinstance(value, Tensor):
        return from_torch(value).copy()
    return _mapped(to_plain, value)


def from_plain(value: Any) -> Any:
    """Nested data with its arrays as tensors, copied: what `to_plain` was given, but for the device."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return _mapped(from_plain, value)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A container with `function` of its items; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: function(item) for key, item in value.items()}
    return type(value)(map(function, value)) if type(value) in (list, tuple) else value
