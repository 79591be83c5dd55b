"""Files: written so that they are whole at any moment, and read without running any code that stands in them."""

from __future__ import annotations

import glob
import hashlib
import io
import json
import math
import os
import pickle
import re
import secrets
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from skrbm import __version__

__all__ = [
    "check_folder",
    "plain",
    "read_checkpoint",
    "read_model",
    "remove_rests",
    "unplain",
    "write_atomically",
    "write_checkpoint",
    "write_model",
]

_MAGIC = b"skrbm checkpoint 1\n"
_ARRAY, _TENSOR = "__array__", "__tensor__"

_MODEL_FORMAT = 1  # raise it when older versions can't make sense of a new file
_NEEDED = ("components_", "intercept_visible_", "intercept_hidden_")
_ARRAYS = (*_NEEDED, "h_samples_", "base_rates_", "validation_scores_", "best_validation_score_")
_OF_A_TRAINING = ("checkpoint", "checkpoint_every", "resume")  # not for a file to set: fit overwrites that path
_LAYERS = ("W", "b", "c")
_MAX_DESCRIPTION = 200


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


def remove_rests(path: str | os.PathLike[str]) -> None:
    """Remove what processes that died while they wrote the file have left beside it."""
    path = Path(path)
    for rest in path.parent.glob(f".{glob.escape(path.name)}.*"):
        rest.unlink(missing_ok=True)


def write_checkpoint(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write nested dicts, lists and tuples of tensors, arrays, numbers and strings, atomically."""
    payload = io.BytesIO()
    torch.save(_encoded(content), payload)
    data = payload.getbuffer()
    write_atomically(path, lambda file: file.writelines((_MAGIC, hashlib.sha256(data).digest(), data)))


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_checkpoint` wrote, tensors on the CPU. No code in the file is run.

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
        raise ValueError(f"{os.fspath(path)} is no checkpoint of this version of skrbm.")
    if digest != hashlib.sha256(payload).digest():
        raise ValueError(f"{os.fspath(path)} is a damaged checkpoint: its checksum is another one.")
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
        raise ValueError(f"{os.fspath(path)} is no checkpoint of skrbm: {first_line}") from error


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


def plain(value: Any) -> Any:
    """Tensors in nested dicts, lists and tuples as marked arrays, which formats that know no torch can hold."""
    if isinstance(value, Tensor) and value.dtype != torch.bfloat16:
        return {_TENSOR: value.detach().cpu().numpy()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def unplain(value: Any) -> Any:
    """What `plain` was given."""
    if isinstance(value, dict):
        if isinstance(value.get(_TENSOR), np.ndarray):
            return torch.from_numpy(np.array(value[_TENSOR]))
        return {key: unplain(item) for key, item in value.items()}
    return type(value)(map(unplain, value)) if type(value) in (list, tuple) else value


# -- models: arrays in a safetensors file, all else as JSON in its header ----------------------------------------------


def write_model(path: str | os.PathLike[str], model: Any, *, data_samples: bool = False) -> None:
    """Write a fitted machine to one file, atomically; see `BernoulliRBMTorch.save`."""
    safetensors = _safetensors("safetensors.numpy")
    check_folder("path", path)
    arrays = _arrays_of(model, data_samples)
    names = getattr(model, "feature_names_in_", None)
    facts = {
        "format": _MODEL_FORMAT,
        "skrbm": __version__,
        "class": type(model).__name__,
        "parameters": {
            name: _json(value) for name, value in model.get_params(deep=False).items() if name not in _OF_A_TRAINING
        },
        "arrays": {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()},
        "n_iter_": int(getattr(model, "n_iter_", 0)) or None,
        "n_checkpoints": len(model.trajectory_) if hasattr(model, "trajectory_") else None,
        "feature_names_in_": None if names is None else [str(name) for name in names],
    }
    _check_facts(facts, arrays)
    text = _as_text(facts | {"sha256": _checksum(facts, arrays)})
    data = safetensors.save(arrays, {"skrbm": text})  # more entries would come in any order
    write_atomically(path, lambda file: file.write(data))


def read_model(path: str | os.PathLike[str], model_class: Any) -> Any:
    """The machine that `write_model` wrote; see `BernoulliRBMTorch.load`."""
    _safetensors("safetensors")
    with open(path, "rb"):  # raises what open does if it can't be read
        pass
    try:
        facts, arrays = _contents(path)
        _check_facts(facts, arrays)
        parameters = {name: _from_json(value) for name, value in facts["parameters"].items()}
    except _NewerFormat:
        raise
    except Exception as error:  # whatever the parsers raise, what they were given is at fault
        if isinstance(error, OSError | MemoryError):
            raise
        first_line = str(error).partition("\n")[0]
        raise ValueError(f"{os.fspath(path)} is no model of skrbm, or a damaged one: {first_line}") from error
    if facts["class"] != model_class.__name__:
        raise ValueError(
            f"{os.fspath(path)} has a model of the class {facts['class']}. Load it with {facts['class']}.load."
        )
    return _model_from(model_class, facts, parameters, arrays)


class _NewerFormat(ValueError):
    """A file of a later version."""


class _LeftOut(str):
    """Describes a value that JSON can't hold."""


def _safetensors(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            'save and load need the package safetensors. Install it: pip install "skrbm[safetensors]"'
        ) from error


def _arrays_of(model: Any, data_samples: bool) -> dict[str, np.ndarray]:
    """All fitted arrays by name; those in a dict or a list as `history_/loss` or `trajectory_/0/W`."""
    found = {name: getattr(model, name) for name in _ARRAYS if hasattr(model, name)}
    if data_samples and hasattr(model, "data_samples_"):
        found["data_samples_"] = model.data_samples_
    for name, values in getattr(model, "history_", {}).items():
        found[f"history_/{name}"] = values
    for i, params in enumerate(getattr(model, "trajectory_", ())):
        found |= {f"trajectory_/{i}/{layer}": array for layer, array in zip(_LAYERS, params, strict=True)}
    arrays = {}
    for name, value in found.items():
        array = np.asarray(value)
        arrays[name] = np.array(array, array.dtype.newbyteorder("="), order="C")
    return arrays


def _contents(path: str | os.PathLike[str]) -> tuple[Any, dict[str, np.ndarray]]:
    with _safetensors("safetensors").safe_open(path, framework="numpy") as file:
        header = file.metadata() or {}
        if "skrbm" not in header:
            raise ValueError("it is a safetensors file, but not one that skrbm wrote")
        facts = json.loads(header["skrbm"])
        _check_format(path, facts)
        arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    if facts.pop("sha256", None) != _checksum(facts, arrays):
        raise ValueError("its checksum is another one than what it contains has")
    return facts, arrays


def _check_format(path: str | os.PathLike[str], facts: Any) -> None:
    number = facts.get("format") if isinstance(facts, dict) else None
    if type(number) is not int or number < 1:
        raise ValueError("it doesn't say what format it has")
    if number > _MODEL_FORMAT:
        raise _NewerFormat(
            f"{os.fspath(path)} was written by skrbm {facts.get('skrbm')} in format {number}, but skrbm {__version__} "
            f"reads formats up to {_MODEL_FORMAT}. Upgrade it: pip install -U skrbm"
        )


def _as_text(facts: dict[str, Any]) -> str:
    return json.dumps(facts, allow_nan=False, sort_keys=True)


def _checksum(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the facts and of each array's name, type, shape and bytes."""
    hasher = hashlib.sha256(_as_text(facts).encode())
    for name in sorted(arrays):
        array = arrays[name]
        hasher.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        hasher.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return hasher.hexdigest()


def _check_facts(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError unless facts and arrays are those of one machine."""
    _check_arrays(arrays)
    n_features = arrays["components_"].shape[1]
    if not isinstance(facts["parameters"], dict) or not isinstance(facts["class"], str):
        raise ValueError("it doesn't say what class and parameters the model has")
    if facts["arrays"] != {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}:
        raise ValueError("its arrays have other shapes or types than it says")
    for name, least in (("n_iter_", 1), ("n_checkpoints", 0)):
        if facts[name] is not None and (type(facts[name]) is not int or facts[name] < least):
            raise ValueError(f"{name} is {facts[name]!r}")
    wanted = {f"trajectory_/{i}/{layer}" for i in range(facts["n_checkpoints"] or 0) for layer in _LAYERS}
    if wanted != {name for name in arrays if name.startswith("trajectory_/")}:
        raise ValueError(f"trajectory_ has other arrays than those of {facts['n_checkpoints']} checkpoints")
    names = facts["feature_names_in_"]
    if names is not None and not (
        isinstance(names, list) and len(names) == n_features and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"feature_names_in_ must be {n_features} strings")


def _check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    if missing := [name for name in _NEEDED if name not in arrays]:
        raise ValueError(f"{', '.join(missing)} is missing")
    if arrays["components_"].ndim != 2:
        raise ValueError(f"components_ must have two dimensions, got shape {arrays['components_'].shape}")
    for name, array in arrays.items():
        _check_array(name, array, *arrays["components_"].shape)


def _check_array(name: str, array: np.ndarray, n_hidden: int, n_features: int) -> None:
    """Raise a ValueError if a fitted array has not the shape it must have, or values that can't be."""
    W, b, c, any_ = (n_hidden, n_features), (n_features,), (n_hidden,), -1
    shapes: dict[str, tuple[int, ...]] = {
        "components_": W,
        "intercept_visible_": b,
        "intercept_hidden_": c,
        "h_samples_": (any_, n_hidden),
        "base_rates_": b,
        "data_samples_": (any_, n_features),
        "validation_scores_": (any_,),
        "best_validation_score_": (),
        "history_": (any_,),
        "W": W,
        "b": b,
        "c": c,
    }
    kind = name.split("/")[0 if name.startswith("history_") else -1]
    if kind not in shapes:
        return  # of a later version
    shape = shapes[kind]
    if len(shape) != array.ndim or any(n not in (any_, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = str(shape).replace("-1", "any")
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    if kind not in ("history_", "validation_scores_", "best_validation_score_") and not np.isfinite(array).all():
        raise ValueError(f"{name} has values that aren't finite")


def _json(value: Any) -> Any:
    """A parameter as JSON; a description of what that can't hold."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.device | os.PathLike):
        value = str(value)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        pairs = [[_json(key), _json(item)] for key, item in value.items()]
        if not any(isinstance(item, dict | list) for pair in pairs for item in pair):
            return {"mapping": pairs}
    return {"left_out": re.sub(" at 0x[0-9a-f]+", "", repr(value))[:_MAX_DESCRIPTION]}


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "left_out" in value:
        return _LeftOut(value["left_out"])
    return dict(value["mapping"])


def _model_from(model_class: Any, facts: dict[str, Any], parameters: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """A machine with these parameters, as far as it knows them, and fitted attributes."""
    model = model_class()
    known = set(model.get_params(deep=False)) - set(_OF_A_TRAINING)
    if unknown := sorted(set(parameters) - known):
        _warn(f"skrbm {facts['skrbm']} wrote this file, and {__version__} doesn't know its {', '.join(unknown)}.")
    for name in sorted(known & set(parameters)):
        value = parameters[name]
        if isinstance(value, _LeftOut):
            _warn(f"{name} was {value}, which no file holds; it is {getattr(model, name)!r} now. Set it again.")
        else:
            setattr(model, name, value)
    for name in (*_ARRAYS, "data_samples_"):
        if name in arrays:
            setattr(model, name, arrays[name])
    for name, convert in (("validation_scores_", np.ndarray.tolist), ("best_validation_score_", float)):
        if name in arrays:
            setattr(model, name, convert(arrays[name]))
    if history := {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("history_/")}:
        model.history_ = history
    if (n_checkpoints := facts["n_checkpoints"]) is not None:
        model.trajectory_ = [
            tuple(arrays[f"trajectory_/{i}/{layer}"] for layer in _LAYERS) for i in range(n_checkpoints)
        ]
    model.n_features_in_ = arrays["components_"].shape[1]
    if facts["n_iter_"] is not None:
        model.n_iter_ = facts["n_iter_"]
    if facts["feature_names_in_"] is not None:
        model.feature_names_in_ = np.array(facts["feature_names_in_"], dtype=object)
    return model


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)
