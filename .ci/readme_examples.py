"""Run the Python blocks of README.md and docs/, one after the other: each file in a namespace and an empty folder.

Sketches that are not to be run stand in blocks marked `py` instead of `python`.
"""

import os
import re
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
    text = path.read_text(encoding="utf-8")
    name = str(path.relative_to(ROOT))
    namespace: dict[str, object] = {"__name__": "examples"}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block in blocks:
            # Blank lines before it, so that a traceback has the line of the file.
            lines_before = text.count("\n", 0, block.start(1))
            exec(compile("\n" * lines_before + block[1], name, "exec"), namespace)
        os.chdir(ROOT)
    print(f"{len(blocks)} examples of {name} ran")
