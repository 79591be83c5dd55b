"""Fitted machines as files that run no code: arrays in a safetensors file, all else as JSON in its header."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from skrbm._version import __version__
from skrbm.estimators.coding import CODING_ATTRIBUTES
from skrbm.estimators.fitted import ATTRIBUTES, COUPLINGS, HIDDEN_COUPLINGS, TENSORS, arrays_in, fitted_attributes
from skrbm.estimators.tables import Column
from skrbm.support.checks import optional, warn
from skrbm.support.files import check_folder, write_atomically

_FORMAT = 1  # raise it when older versions can't make sense of a new file
_OF_A_FIT = ("checkpoint", "checkpoint_every", "resume")  # parameters not for a file to set: fit overwrites that path
_LEFT_OUT = (
    "_carried",
    "n_iter_",
    "columns_",
    "frame_",
)  # attributes: the optimiser's memory; what stands among the facts
_MAX_DESCRIPTION = 200

_ANY = -1
_SHAPES: dict[str, tuple[str | int, ...]] = {  # of arrays: "h" hidden and "v" visible units, "x" columns of a table
    "components_": ("h", "v"),
    "intercept_visible_": ("v",),
    "intercept_hidden_": ("h",),
    "location_": (_ANY,),
    "scale_": (_ANY,),
    "couplings_": ("v", "v"),
    "hidden_couplings_": ("h", "h"),
    "couplings_stderr_": ("v", "v"),
    "intercept_stderr_": ("v",),
    "h_samples_": (_ANY, "h"),
    "v_samples_": (_ANY, "v"),
    "base_rates_": ("v",),
    "data_samples_": (_ANY, "x"),
    "validation_scores_": (_ANY,),
    "best_validation_score_": (),
    "learning_rate_": (),
    "balance_gain_": (),
    "history_": (_ANY,),
    "W": ("h", "v"),
    "b": ("v",),
    "c": ("h",),
}
_NUMBERS = ("validation_scores_", "best_validation_score_", "learning_rate_", "balance_gain_")  # the first, a list
_MAY_BE_NAN = ("history_", "validation_scores_", "best_validation_score_")


def write_model(path: str | os.PathLike[str], model: Any, *, data_samples: bool = False) -> None:
    """Write a fitted machine to one file, atomically; see `BernoulliRBMTorch.save`."""
    safetensors = _safetensors("safetensors.numpy")
    check_folder("path", path)
    attributes = fitted_attributes(model)
    left_out = _LEFT_OUT if data_samples else (*_LEFT_OUT, "data_samples_")
    arrays = {
        name: np.array(array, array.dtype.newbyteorder("="), order="C")
        for name, array in arrays_in({name: value for name, value in attributes.items() if name not in left_out})
    }
    names = getattr(model, "feature_names_in_", None)
    facts = {
        "format": _FORMAT,
        "skrbm": __version__,
        "class": type(model).__name__,
        "parameters": {
            name: _json(value) for name, value in model.get_params(deep=False).items() if name not in _OF_A_FIT
        },
        "arrays": {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()},
        "n_iter_": int(attributes.get("n_iter_", 0)) or None,
        "n_checkpoints": len(attributes["trajectory_"]) if "trajectory_" in attributes else None,
        "feature_names_in_": None if names is None else [str(name) for name in names],
        "n_features_in_": int(model.n_features_in_),
    }
    if "columns_" in attributes:
        facts["columns_"] = [_as_facts(column) for column in attributes["columns_"]]
        facts["frame_"] = attributes["frame_"]
    _check_facts(facts, arrays)
    text = _as_text(facts | {"sha256": _checksum(facts, arrays)})
    data = safetensors.save(arrays, {"skrbm": text})  # more entries would come in any order
    write_atomically(path, lambda file: file.write(data))


def read_model(path: str | os.PathLike[str], *classes: Any) -> Any:
    """The machine of one of these classes that `write_model` wrote; see `BernoulliRBMTorch.load`."""
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
    for model_class in classes:
        if facts["class"] == model_class.__name__:
            return _model_from(model_class, facts, parameters, arrays)
    raise ValueError(
        f"{os.fspath(path)} has a model of the class {facts['class']}. Load it with {facts['class']}.load."
    )


class _NewerFormat(ValueError):
    """A file of a later version."""


class _LeftOut(str):
    """Describes a value that JSON can't hold."""


def _safetensors(module: str) -> Any:
    return optional(module, "Saving and loading models", "safetensors")


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
    if number > _FORMAT:
        raise _NewerFormat(
            f"{os.fspath(path)} was written by skrbm {facts.get('skrbm')} in format {number}, but skrbm {__version__} "
            f"reads formats up to {_FORMAT}. Upgrade it: pip install -U skrbm"
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
    n_features = facts.get("n_features_in_", arrays["components_"].shape[-1])
    if type(n_features) is not int or n_features < 1:
        raise ValueError(f"n_features_in_ is {n_features!r}")
    _check_arrays(arrays, n_features)
    if not isinstance(facts["parameters"], dict) or not isinstance(facts["class"], str):
        raise ValueError("it doesn't say what class and parameters the model has")
    if facts["arrays"] != {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}:
        raise ValueError("its arrays have other shapes or types than it says")
    for name, least in (("n_iter_", 1), ("n_checkpoints", 0)):
        if facts[name] is not None and (type(facts[name]) is not int or facts[name] < least):
            raise ValueError(f"{name} is {facts[name]!r}")
    wanted = {f"trajectory_/{i}/{layer}" for i in range(facts["n_checkpoints"] or 0) for layer in TENSORS}
    if wanted != {name for name in arrays if name.startswith("trajectory_/")}:
        raise ValueError(f"trajectory_ has other arrays than those of {facts['n_checkpoints']} machines")
    names = facts["feature_names_in_"]
    if names is not None and not (
        isinstance(names, list) and len(names) == n_features and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"feature_names_in_ must be {n_features} strings")


def _check_arrays(arrays: Mapping[str, np.ndarray], n_features_in: int) -> None:
    if missing := [name for name in TENSORS.values() if name not in arrays]:
        raise ValueError(f"{', '.join(missing)} is missing")
    if arrays["components_"].ndim != 2:
        raise ValueError(f"components_ must have two dimensions, got shape {arrays['components_'].shape}")
    for name, array in arrays.items():
        n_hidden, n_features = arrays["components_"].shape
        _check_array(name, array, n_hidden, n_features, n_features_in)


def _check_array(name: str, array: np.ndarray, n_hidden: int, n_features: int, n_features_in: int) -> None:
    """Raise a ValueError if a fitted array has not the shape it must have, or values that can't be."""
    kind = name.split("/")[0 if name.startswith("history_") else -1]
    if kind not in _SHAPES:
        return  # of a later version
    sizes = {"h": n_hidden, "v": n_features, "x": n_features_in}
    shape = tuple(sizes.get(n, n) if isinstance(n, str) else n for n in _SHAPES[kind])
    if len(shape) != array.ndim or any(n not in (_ANY, m) for n, m in zip(shape, array.shape, strict=True)):
        wanted = str(shape).replace("-1", "any")
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, got {array.dtype}")
    if kind not in _MAY_BE_NAN and not np.isfinite(array).all():
        raise ValueError(f"{name} has values that aren't finite")


def _as_facts(column: Column) -> dict[str, Any]:
    """A column of a table as JSON."""
    labels = None if column.labels is None else [_json(label) for label in column.labels.tolist()]
    kind = None if column.labels is None else column.labels.dtype.str
    return {"name": column.name, "kind": column.kind, "labels": labels, "type": kind, "dtype": column.dtype}


def _column_from(facts: Any) -> Column:
    """The reverse of `_as_facts`."""
    labels = facts["labels"]
    if labels is not None:
        array = np.empty(len(labels), np.dtype(facts["type"]))
        array[:] = labels
        labels = array
    return Column(str(facts["name"]), facts["kind"], labels, str(facts["dtype"]))


def _json(value: Any) -> Any:
    """A parameter as JSON; a description of what that can't hold."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, torch.device | os.PathLike):
        value = str(value)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        items = [_json(item) for item in value]
        if not any(isinstance(item, dict) for item in items):
            return items
    if isinstance(value, Mapping):
        pairs = [[_json(key), _json(item)] for key, item in value.items()]
        if not any(isinstance(key, dict | list) or isinstance(item, dict) for key, item in pairs):
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
    known = set(model.get_params(deep=False)) - set(_OF_A_FIT)
    if unknown := sorted(set(parameters) - known):
        warn(f"skrbm {facts['skrbm']} wrote this file, and {__version__} doesn't know its {', '.join(unknown)}.")
    for name in sorted(known & set(parameters)):
        value = parameters[name]
        if isinstance(value, _LeftOut):
            warn(f"{name} was {value}, which no file holds; it is {getattr(model, name)!r} now. Set it again.")
        else:
            setattr(model, name, value)
    attributes = {
        name: arrays[name]
        for name in (*TENSORS.values(), COUPLINGS, HIDDEN_COUPLINGS, *ATTRIBUTES.values(), *CODING_ATTRIBUTES)
        if name in arrays
    }
    for name in (
        "validation_scores_",
        "best_validation_score_",
        "learning_rate_",
        "balance_gain_",
    ):  # numbers, and a list of them
        if name in arrays:
            attributes[name] = arrays[name].tolist()
    if history := {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith("history_/")}:
        attributes["history_"] = history
    if (n_rungs := facts["n_checkpoints"]) is not None:
        rungs = [[arrays[f"trajectory_/{i}/{name}"] for name in TENSORS] for i in range(n_rungs)]
        attributes["trajectory_"] = [tuple(rung) for rung in rungs]
    vars(model).update(attributes | _columns_in(facts, arrays))
    return model


def _columns_in(facts: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Fitted attributes that stand among the facts: of columns, and the number of epochs."""
    attributes: dict[str, Any] = {"n_features_in_": facts.get("n_features_in_", arrays["components_"].shape[1])}
    if "columns_" in facts:
        attributes["columns_"] = [_column_from(column) for column in facts["columns_"]]
        attributes["frame_"] = facts["frame_"]
    if facts["n_iter_"] is not None:
        attributes["n_iter_"] = facts["n_iter_"]
    if facts["feature_names_in_"] is not None:
        attributes["feature_names_in_"] = np.array(facts["feature_names_in_"], dtype=object)
    return attributes
