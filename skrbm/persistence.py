"""Files: written so that they are whole at any moment, and read without running any code that stands in them."""

from __future__ import annotations

import glob
import io
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

__all__ = ["check_folder", "read_checkpoint", "remove_rests", "write_atomically", "write_checkpoint"]

_FORMAT = "skrbm checkpoint 1"
_ARRAY = "__array__"


def check_folder(name: str, path: str | os.PathLike[str]) -> None:
    """Raise a FileNotFoundError if there is no folder for the file `path`, given as the parameter `name`."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}={os.fspath(path)!r}: there is no folder {str(folder)!r}. Make it first.")


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Write a file by `write(file)`. At any moment, also of a crash, there is the old file or the new one, whole."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the name too is to survive
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_rests(path: str | os.PathLike[str]) -> None:
    """Remove what processes that died while they wrote the file have left beside it."""
    path = Path(path)
    for rest in path.parent.glob(f".{glob.escape(path.name)}.*"):
        rest.unlink(missing_ok=True)


def write_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write nested dicts, lists and tuples of tensors, arrays, numbers and strings, atomically."""
    write_atomically(path, lambda file: torch.save({"format": _FORMAT, "content": _encoded(content)}, file))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_checkpoint` wrote, tensors on the CPU. No code in the file is run.

    Raises
    ------
    ValueError
        If the file is damaged, or something else.
    OSError
        If it can't be read.
    """
    data = Path(path).read_bytes()
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
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
        raise ValueError(f"{os.fspath(path)} is no checkpoint of skrbm, or a damaged one: {first_line}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ValueError(f"{os.fspath(path)} is no checkpoint of this version of skrbm.")
    return _decoded(found["content"])


def _encoded(value: Any) -> Any:
    """Arrays as marked tensors, which can be loaded safely."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _encoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_encoded(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get(_ARRAY), Tensor):
            return value[_ARRAY].numpy()
        return {key: _decoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_decoded(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value
