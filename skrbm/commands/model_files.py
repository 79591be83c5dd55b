"""Files of machines as the commands read them, whatever their endings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib

from skrbm.estimators.bernoulli import BernoulliRBMTorch

_PICKLES = (b"\x80", b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22\x4d\x18")  # compressed or not


def read_machine(path: Path) -> tuple[BernoulliRBMTorch, list[str] | None]:
    """The machine, and the names of its columns, which it doesn't ask for any more: who calls checks tables.

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
    if path.suffix == ".safetensors" or _is_safetensors(head, path.stat().st_size):
        load: Any = BernoulliRBMTorch.load
    elif head.startswith(_PICKLES):
        load = joblib.load
    else:
        raise ValueError(
            f"{str(path)!r} can't be loaded: it is no file of a machine, as `skrbm fit`, `skrbm train` and "
            "BernoulliRBMTorch.save write them"
        )
    try:
        model = load(path)
    except ImportError:
        raise
    except Exception as error:  # whatever a file that is something else leads to
        raise ValueError(f"{str(path)!r} can't be loaded ({type(error).__name__}: {error})") from error
    if not isinstance(model, BernoulliRBMTorch):
        raise ValueError(f"{str(path)!r} holds a {type(model).__name__}, not a BernoulliRBMTorch")
    if not hasattr(model, "feature_names_in_"):
        return model, None
    names = [str(name) for name in model.feature_names_in_]
    del model.feature_names_in_
    return model, names


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether it begins with the length of a header and then JSON, which no pickle has in such a place."""
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < size
