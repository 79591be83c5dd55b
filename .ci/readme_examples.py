"""Run the Python blocks of README.md and docs/, one after the other: each file in a namespace and an empty folder.

A `text` block right behind a Python block is what that prints: the words have to be the same, and the numbers but for a
twentieth, as they differ between processors. A warning is an error. Sketches that are not to be run stand in blocks
marked `py`.
"""

import contextlib
import io
import math
import os
import re
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def check_same(shown: str, printed: str, name: str) -> None:
    """Raise where what a document shows isn't what was printed."""
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (shown, printed)]
    words = [NUMBER.sub("#", text).split() for text in (shown, printed)]
    same = words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=0.05, abs_tol=0.1) for a, b in zip(*numbers, strict=True)
    )
    if not same:
        raise SystemExit(f"{name} shows\n{shown}\nbut its example prints\n{printed}")


warnings.simplefilter("error", UserWarning)
for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    namespace: dict[str, object] = {"__name__": "examples"}
    blocks = list(BLOCK.finditer(text))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block in blocks:
            # Blank lines before it, so that a traceback has the line of the file.
            lines_before = text.count("\n", 0, block.start(1))
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * lines_before + block[1], name, "exec"), namespace)
            if block[2] is not None:
                check_same(block[2], printed.getvalue(), name)
        os.chdir(ROOT)
    if blocks:
        print(f"{len(blocks)} examples of {name} ran", flush=True)
