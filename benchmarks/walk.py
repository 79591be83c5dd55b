"""The walk of X through `fit`: the functions that are handed X, or the rows made of it, in the order of the calls.

    python benchmarks/walk.py

A room is a folder of skrbm/, or a file directly in it; a move goes from one room to another, a climb to one on a higher
floor. One epoch of one batch; a generator counts where it begins.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

import skrbm
from skrbm import BernoulliRBMTorch

PACKAGE = Path(skrbm.__file__).parent
X = (np.random.default_rng(0).random((50, 6)) < 0.5).astype(np.float32)


class Stay(NamedTuple):
    """A call that is handed X or the rows."""

    room: str
    file: str
    function: str


def room_of(path: str | Path) -> str:
    """The folder in skrbm/ that a file is in, or its own name."""
    return Path(path).relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_rows(value: Any) -> bool:
    """Whether that is X, or what training takes for it."""
    return value is X or (hasattr(value, "epoch") and hasattr(value, "n_features"))


def walk(fit: Callable[[], Any]) -> list[Stay]:
    """Where X is during a fit."""
    stays: list[Stay] = []
    begun: set[CodeType] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)) or "<" in code.co_name:
            return
        given = list(inspect.getargvalues(frame).locals.values())  # at a call, the arguments
        given += [item for value in given if isinstance(value, tuple) for item in value]
        if code not in begun and any(map(is_rows, given)):
            if code.co_flags & inspect.CO_GENERATOR:
                begun.add(code)
            file = str(Path(code.co_filename).relative_to(PACKAGE))
            stays.append(Stay(room_of(code.co_filename), file, code.co_qualname))

    sys.setprofile(look)
    try:
        fit()
    finally:
        sys.setprofile(None)
    return stays


def floors() -> dict[str, int]:
    """The height of each room: one above the highest that it imports."""
    below: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        taken = below.setdefault(room_of(path), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skrbm."):
                taken.add(str(node.module).split(".")[1])
    height: dict[str, int] = {}
    while len(height) < len(below):
        for room, taken in below.items():
            others = taken & {*below} - {room}
            if others <= {*height}:
                height.setdefault(room, 1 + max((height[other] for other in others), default=0))
    return height


def main() -> None:
    """Print the walk, a line a stay."""
    model = BernoulliRBMTorch(n_hidden=3, n_iter=1, batch_size=50, random_state=0)
    model.fit(X.copy())  # what happens only once happens here
    height, moves, climbs = floors(), 0, 0
    stays = walk(lambda: model.fit(X))
    for before, stay in zip([stays[0], *stays], stays, strict=False):
        step = height[stay.room] - height[before.room]
        moves, climbs = moves + (stay.room != before.room), climbs + (step > 0)
        way = "up" if step > 0 else "down" if step < 0 else ""
        print(f"{way:4}  floor {height[stay.room]:2}  {stay.file}: {stay.function}")
    print(f"{moves} moves between rooms, {climbs} climbs; {len(height)} rooms on {max(height.values())} floors")


if __name__ == "__main__":
    main()
