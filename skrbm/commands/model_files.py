"""Files of machines as the commands read them, whatever their endings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib

from skrbm.estimators.base import BaseRBM
from skrbm.estimators.bernoulli import BernoulliRBMTorch
from skrbm.estimators.gaussian import GaussianRBM
from skrbm.estimators.saving import read_model
from skrbm.estimators.tabular import CategoricalRBM, MixedRBM

_MACHINES = (BernoulliRBMTorch, GaussianRBM, CategoricalRBM, MixedRBM)
_PICKLES = (b"\x80", b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22\x4d\x18")  # compressed or not


def read_machine(path: Path) -> tuple[BaseRBM, list[str] | None]:
    """The machine, and the names of its columns, which it doesn't ask for any more: who calls checks tables.

    What it takes and hands out are arrays, even if it has learned from a data frame.

    What the file begins with tells whether `save` or joblib wrote it, as `save` takes any name. A file that ends in
    .safetensors is never unpickled, as that would run what stands in it.

    Raises
    ------
    OSError
        If it can't be read.
    ImportError
        If a library is missing.
    ValueError
        If it has no machine.
    """
    with open(path, "rb") as file:
        head = file.read(9)
    is_safe = path.suffix == ".safetensors" or _is_safetensors(head, path.stat().st_size)
    if not is_safe and not head.startswith(_PICKLES):
        raise ValueError(
            f"{str(path)!r} can't be loaded: it is no file of a machine, as `skrbm fit`, `skrbm train` and the "
            "machines' method save write them"
        )
    try:
        model: Any = read_model(path, *_MACHINES) if is_safe else joblib.load(path)
    except ImportError:
        raise
    except Exception as error:  # whatever a file that is something else leads to
        raise ValueError(f"{str(path)!r} can't be loaded ({type(error).__name__}: {error})") from error
    if not isinstance(model, _MACHINES):
        known = ", ".join(machine.__name__ for machine in _MACHINES)
        raise ValueError(f"{str(path)!r} holds a {type(model).__name__}, not a {known.replace(', Mixed', ' or Mixed')}")
    if hasattr(model, "frame_"):
        model.frame_ = None
    if not hasattr(model, "feature_names_in_"):
        return model, None
    names = [str(name) for name in model.feature_names_in_]
    del model.feature_names_in_
    return model, names


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether it begins with the length of a header and then JSON, which no pickle has in such a place."""
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < size
