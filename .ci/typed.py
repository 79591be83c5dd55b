"""What type checkers see of skrbm where it is installed: how much of it has types, and a wrong call elsewhere.

    python .ci/typed.py PATH_OF_BASEDPYRIGHT

With the skrbm and the mypy of this environment. What is left without a known type, 1 %, comes from scikit-learn's base
classes, which have none.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAST = 0.97  # of the public names
LOOPS = re.compile(r"^skrbm\.\w+\.(small_)?loops\b")  # modules whose functions numba types, and nobody else calls
USE = """from skrbm import BernoulliRBMTorch

rbm = BernoulliRBMTorch(n_hidden=3)
rbm.set_params(n_iter=3)
trained = BernoulliRBMTorch(algorithm="pdc")
"""


def run(command: list[str], folder: str) -> str:
    """What a command prints in a folder, with this environment's Python as `python` and none but its own paths."""
    python = Path(sys.executable).parent
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["PATH"] = f"{python}{os.pathsep}{env['PATH']}"
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1 where something is found
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def completeness(checker: str, folder: str) -> None:
    """Whether enough of the public names have known types."""
    report = json.loads(run([checker, "--verifytypes", "skrbm", "--ignoreexternal", "--outputjson"], folder))
    found = report["typeCompleteness"]
    if found["packageRootDirectory"] != str(ROOT / "skrbm"):
        seen = found["packageRootDirectory"] or "nowhere"
        sys.exit(f'Type checkers find skrbm in {seen}, not in {ROOT}: pip install -e ".[test]" in this checkout.')
    public = [symbol for symbol in found["symbols"] if symbol["isExported"] and not LOOPS.search(symbol["name"])]
    names = [symbol["name"] for symbol in public if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]]
    score = 1.0 - len(names) / len(public)
    print(f"{score:.1%} of the public names have types that are known")
    if score < LEAST:
        sys.exit("\n".join([f"At least {LEAST:.0%} have to. These don't:", *names]))


def wrong_call(checker: str, folder: str) -> None:
    """Whether the mistake in USE, and nothing else, is found by code outside the repository."""
    Path(folder, "use.py").write_text(USE, encoding="utf-8")
    printed = run([sys.executable, "-m", "mypy", "--strict", "use.py"], folder)
    mypy = re.findall(r"^use\.py:(\d+): error: (.*)", printed, re.MULTILINE)
    report = json.loads(run([checker, "--pythonpath", sys.executable, "--outputjson", "use.py"], folder))
    pyright = [
        (str(found["range"]["start"]["line"] + 1), found["message"])
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    ]
    for name, errors in (("mypy", mypy), ("pyright", pyright)):
        if [line for line, _ in errors] != ["5"] or "pdc" not in errors[0][1]:
            sys.exit(f'{name} should find algorithm="pdc" in line 5 and nothing else; it finds {errors} in\n{USE}')
    print("mypy and pyright find a wrong call")


with tempfile.TemporaryDirectory() as folder:
    completeness(sys.argv[1], folder)
    wrong_call(sys.argv[1], folder)
