"""A file of skrbm imports only from lower floors, and floors 0-3 know nothing of scikit-learn."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "skrbm"
FLOORS = {
    "randomness": 0,
    "tables": 0,
    "cuda_graph": 0.5,
    "linear": 0,
    "units": 0.5,  # the draws of a unit come from a stream
    "restricted": 1,
    "arrays": 1,
    "products": 1.5,
    "kernels": 2,
    "annealed": 2,
    "averaging": 2,
    "schedules": 2,
    "trajectory": 2.5,
    "gradients": 2,
    "tempering": 2.5,
    "update": 3,
    "log_partition": 3,
    "pseudo": 3,
    "chains": 3,
    "samples": 3,
    "measures": 3.5,
    "mixing": 3.5,
    "distributed": 3,
    "fit": 3.8,
    "files": 4,
    "_compat": 4,
    "checks": 3.9,
    "reading": 4,
    "parameters": 4.5,
    "checkpoints": 4.5,
    "datasets": 4,
    "base": 4.5,
    "bernoulli": 5,
    "callbacks": 6,
    "feature_comparison": 6,
    "displays": 6,
    "onnx": 6,
    "page": 6,
    "image_experiment": 6.5,
    "cli": 7,
    "__main__": 8,
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def imports(source):
    """The dotted names that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(name, source):
    for imported in imports(source):
        package, _, rest = imported.partition(".")
        module = next((part for part in rest.split(".") if part in FLOORS), "")
        if package == "skrbm" and module in FLOORS and FLOORS[module] >= FLOORS[name]:
            yield imported
        if package == "sklearn" and (FLOORS[name] < 4 or (rest.split(".")[-1].startswith("_") and name != "_compat")):
            yield imported


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_go_down(path):
    assert path.stem in FLOORS, "give the new file a floor"
    assert not list(breaches(path.stem, path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "from skrbm.training.update import update_",
        "def f():\n    from skrbm import estimator",
        "import sklearn.base",
        "import skrbm.machines.restricted",
    ],
)
def test_breaches_are_seen(source):
    assert list(breaches("restricted", source))


def test_private_imports_are_seen():
    assert list(breaches("bernoulli", "from sklearn.utils.validation import _check_sample_weight"))


def test_core_runs_without_scikit_learn():
    core = "skrbm.training.update, skrbm.likelihood.log_partition, skrbm.diagnostics.mixing, skrbm.diagnostics.samples"
    code = f"import sys; sys.modules['sklearn'] = None; import {core}"
    subprocess.run([sys.executable, "-c", code], check=True)
