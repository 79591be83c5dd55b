"""Run the Python blocks of README.md one after the other, in one namespace and an empty folder."""

import os
import re
import tempfile
from pathlib import Path

text = Path("README.md").read_text(encoding="utf-8")
blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
namespace: dict[str, object] = {}
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    os.chdir("/")
print(f"{len(blocks)} examples of README.md ran")
