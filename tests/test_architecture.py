"""The rules of the house (docs/design.md), as functions over source text, and breaches that each must see.

A rule takes sources, a dict from paths inside `skrbm/` to texts, and yields what is wrong in words. To print what
docs/design.md and tests/data/private_reaches.txt must hold, or to put it there:

    python tests/test_architecture.py
    python tests/test_architecture.py --write
"""

import ast
import dataclasses
import graphlib
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
REACHES, DESIGN = ROOT / "tests/data/private_reaches.txt", ROOT / "docs/design.md"

# From the ground up: folders, and files that lie directly in skrbm/. Those on one floor don't know each other.
FLOORS = [
    {"_version", "support"},
    {"distributed", "machines"},
    {"rows", "backends"},
    {"sampling"},
    {"likelihood"},
    {"diagnostics"},
    {"training"},
    {"estimators"},
    {"datasets", "plots", "callbacks", "onnx"},
    {"commands"},
    {"__init__", "__main__"},
]
FLOOR = {place: floor for floor, places in enumerate(FLOORS) for place in places}
CORE = set().union(*FLOORS[: FLOOR["training"] + 1])  # what runs without scikit-learn

# Who may know the private names of a package: nobody but the file that is there for it.
KEEPERS = {"torch": "support/kernels.py", "sklearn": "estimators/_compat.py"}
# Underscored, yet public: of named tuples, functions that Python's manual describes, and what notebooks ask for.
PUBLIC = {"_replace", "_asdict", "_fields", "_field_defaults", "_make", "_getframe", "_exit", "_repr_html_"}

MAX_FUNCTION, MAX_FILE = 60, 500  # lines of code, without blanks, comments and docstrings

# Files without a test file of their own name, and which one tests them instead.
TESTED_IN = {
    "training/learned.py": "estimators/test_fitted.py",
    "estimators/_compat.py": "test_callbacks.py",
}


def read(folder):
    """The sources in a folder, by path."""
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}


# -- what a source says ------------------------------------------------------------------------------------------------


def place(path):
    """The folder of a file, or the file itself if it lies directly in skrbm/."""
    return path.split("/")[0].removesuffix(".py")


def imports(source):
    """What a source imports, wherever in it: (module, name), the name None for a whole module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "optional"):
            yield from ((arg.value, None) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", None))


def file_of(module, name, sources):
    """The file of ours that an import reads, and whether it takes the face of a package; None if it isn't ours."""
    top, *rest = module.split(".")
    if top != "skrbm":
        return None, False
    for parts in ([*rest, name or ""], rest):  # a name may be a module, or a folder
        path = "/".join(filter(None, parts))
        if f"{path}.py" in sources:
            return f"{path}.py", False
        if path and f"{path}/__init__.py" in sources:
            return f"{path}/__init__.py", True
    return f"{'/'.join(rest)}/__init__.py".lstrip("/"), True


def is_private(name):
    """Whether a name is nobody else's business."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__")) and name not in PUBLIC


# -- imports -----------------------------------------------------------------------------------------------------------


def imports_go_down(sources):
    """A file imports from lower floors, or from its own folder."""
    for path, source in sources.items():
        if place(path) not in FLOOR:
            yield f"{path}: {place(path)} has no floor"
            continue
        for module, name in imports(source):
            there = place(file_of(module, name, sources)[0] or path)
            if module.startswith("."):
                yield f"{path}: write imports in full, not {module}"
            elif there not in (place(path), "__init__") and FLOOR.get(there, len(FLOORS)) >= FLOOR[place(path)]:
                yield f"{path}: {module} is on no lower floor"


def no_circles(sources):
    """No file imports, by way of others, itself."""
    graph = {path: set() for path in sources}
    for path, source in sources.items():
        graph[path].update(found for found, _ in (file_of(*taken, sources) for taken in imports(source)) if found)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "a circle: " + " → ".join(error.args[1])


def nobody_takes_a_face(sources):
    """Files import from concrete modules; `__init__` files are for users, and list what their own folder has."""
    for path, source in sources.items():
        for module, name in imports(source):
            found, is_face = file_of(module, name, sources)
            if is_face and found != path and path not in ("__init__.py", "__main__.py"):
                yield f"{path}: takes {name or module} from the face of {module}"
            is_folder = path.endswith("/__init__.py")
            if is_folder and found is not None and place(found) != place(path):
                yield f"{path}: offers what belongs to {module}"


def core_without_scikit_learn(sources):
    """Nothing up to `training/` knows scikit-learn."""
    for path, source in sources.items():
        if place(path) in CORE and any(module.split(".")[0] == "sklearn" for module, _ in imports(source)):
            yield f"{path}: knows scikit-learn"


# -- private names -----------------------------------------------------------------------------------------------------


def reaches(source):
    """Private names that a source takes from others: (where from, name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            yield ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and _called(node) in ("getattr", "hasattr", "setattr", "delattr"):
            # monkeypatch.setattr too, which may have the whole in one string: "skrbm.a._b"
            owner, *names = [ast.unparse(arg) for arg in node.args]
            words = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if names and owner not in ("self", "cls"):
                yield from ((owner, word.split(".")[-1]) for word in words)
    for module, name in imports(source):
        outside = module.split(".") if not module.startswith("skrbm") else []  # our private modules belong to all of us
        yield from ((module, part) for part in [*outside, name or ""])


def no_private_reach(sources):
    """Nobody takes a private name of another module, but for the one file that keeps those of a package."""
    for path, source in sources.items():
        for owner, name in reaches(source):
            keeper = KEEPERS.get(owner.split(".")[0])
            # scikit-learn's keeper meets its private names on instances of any name
            kept = path == keeper or (path == KEEPERS["sklearn"] and not owner.startswith(("torch", "skrbm")))
            if is_private(name) and not kept:
                yield f"{path}: {owner}.{name} is private"


def private_reaches_of_tests():
    """What tests/data/private_reaches.txt must hold: the private names that tests take, file by file."""
    for path, source in read(ROOT / "tests").items():
        names = sorted({name for _, name in reaches(source) if is_private(name)})
        if names and path != Path(__file__).name:
            yield f"{path}: {' '.join(names)}"


# -- classes -----------------------------------------------------------------------------------------------------------


def abstract_or_final(sources):
    """No class of ours overrides what another of ours implements."""
    classes, names = {}, {}
    for path, source in sources.items():
        known = names[path] = {}
        for module, name in imports(source):
            known[name] = (file_of(module, name, sources)[0], name)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef) and path != KEEPERS["sklearn"]:  # whose classes stand in for others
                classes[path, node.name], known[node.name] = node, (path, node.name)

    def ancestors(key):
        for base in classes[key].bases:
            base = base.value if isinstance(base, ast.Subscript) else base  # Protocol[T]
            above = names[key[0]].get(ast.unparse(base))
            if above in classes and above != key:
                yield above
                yield from ancestors(above)

    for key, node in classes.items():
        for above in ancestors(key):
            for name in sorted(_methods(node) & _implemented(classes[above])):
                yield f"{key[0]}: {key[1]}.{name} overrides {above[1]}'s"


def _functions(node):
    return [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]


def _methods(node):
    return {function.name for function in _functions(node)}


def _implemented(node):
    if any(ast.unparse(base).split("[")[0].split(".")[-1] == "Protocol" for base in node.bases):
        return set()
    return {
        function.name
        for function in _functions(node)
        if not any("abstract" in ast.unparse(decorator) for decorator in function.decorator_list)
        and not (len(function.body) == 1 and ast.get_docstring(function))  # a hook, which does nothing
    }


def other_ancestors(final, base):
    """Classes of ours that a final class has beside its abstract base, without stand-ins for scikit-learn's."""
    ours = {cls for cls in final.__mro__ if cls.__module__.split(".")[0] == "skrbm"}
    return {cls for cls in ours if cls.__module__ != "skrbm.estimators._compat"} - {final, base}


def overridden(final, base):
    """What a final class defines although its base has implemented it."""
    kinds = (FunctionType, property, classmethod, staticmethod)  # and not what scikit-learn adds to each class
    theirs = {name for name, value in vars(base).items() if isinstance(value, kinds)}
    return (set(vars(final)) & theirs) - set(base.__abstractmethods__)


# -- sizes and the map -------------------------------------------------------------------------------------------------


def code_lines(source):
    """Numbers of the lines that have code: no blanks, comments, docstrings."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in layout for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body and ast.get_docstring(node) is not None else None
            lines -= set(range(first.lineno, first.end_lineno + 1)) if first else set()
    return lines


def short_enough(sources):
    """Functions of at most 60 lines of code (but `__init__`, where scikit-learn wants all parameters), files of 500."""
    for path, source in sources.items():
        lines = code_lines(source)
        if len(lines) > MAX_FILE:
            yield f"{path}: {len(lines)} lines of code"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "__init__":
                n_lines = len(lines & set(range(node.lineno, node.end_lineno + 1)))
                if n_lines > MAX_FUNCTION:
                    yield f"{path}: {node.name} has {n_lines} lines of code"


def first_line(source):
    """The first line of a file's docstring."""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def all_say_what_they_are(sources):
    """Each file and folder has a docstring, for the map."""
    for path, source in sources.items():
        if not first_line(source):
            yield f"{path}: has no docstring"


def tree(sources):
    """The map: folders and files from the ground up, with their floors and the first lines of their docstrings."""
    lines = ["skrbm/"]
    for here in sorted({place(path) for path in sources}, key=lambda here: (FLOOR.get(here, 99), here)):
        files = sorted(path for path in sources if place(path) == here)
        is_folder = files != [f"{here}.py"]
        shown = f"{here}/" if is_folder else f"{here}.py"
        docstring = first_line(sources.get(f"{here}/__init__.py", sources[files[0]]))
        lines.append(f"  {shown:<25} {FLOOR.get(here, '?')}  {docstring}")
        inside = [path for path in files if is_folder and path != f"{here}/__init__.py"]
        lines += [f"    {path.removeprefix(f'{here}/'):<23}    {first_line(sources[path])}" for path in inside]
    return "\n".join(lines) + "\n"


TREE = re.compile(r"(?<=```text\n)skrbm/\n.*?(?=```)", re.DOTALL)


def untested(sources, tests):
    """Files that no test file mirrors; `tests` are paths inside tests/."""
    for path in sources:
        folder, _, name = path.rpartition("/")
        if name.startswith("__") or path == "_version.py":
            continue
        own = f"{folder}/test_{name.lstrip('_')}".lstrip("/")
        if own in tests and path in TESTED_IN:
            yield f"{path}: has {own}, so it is no exception any more"
        elif TESTED_IN.get(path, own) not in tests:
            yield f"{path}: {own} is missing"


# -- the house ---------------------------------------------------------------------------------------------------------

SOURCES = read(ROOT / "skrbm")
RULES = [
    imports_go_down,
    no_circles,
    nobody_takes_a_face,
    core_without_scikit_learn,
    no_private_reach,
    abstract_or_final,
    short_enough,
    all_say_what_they_are,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule):
    assert list(rule(SOURCES)) == []


def import_core(*missing):
    """Import all files of the core but compiled loops in a process that lacks some packages."""
    sources = [path for path in SOURCES if place(path) in CORE and not path.endswith("loops.py")]
    modules = [path.removesuffix(".py").replace("/", ".") for path in sources]
    names = ", ".join(f"skrbm.{module.removesuffix('.__init__')}" for module in modules)
    code = f"import sys\nsys.modules.update(dict.fromkeys({missing}))\nimport {names}"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_the_core_runs_alone():
    import_core("sklearn", "matplotlib", "pyarrow", "safetensors", "numba", "llvmlite")


def test_a_package_that_the_core_needs_is_missed():
    with pytest.raises(subprocess.CalledProcessError):
        import_core("scipy")


def test_private_reaches_of_tests_are_known():
    """The list may only shrink: test what users can reach. After a reach has gone, run this file with --write."""
    assert list(private_reaches_of_tests()) == REACHES.read_text(encoding="utf-8").splitlines()


def test_every_file_has_its_tests():
    tests = set(read(ROOT / "tests"))
    assert list(untested(SOURCES, tests)) == []
    assert set(TESTED_IN) <= set(SOURCES), "exceptions for files that are gone"


def test_the_map_in_the_design_is_the_house():
    (found,) = TREE.findall(DESIGN.read_text(encoding="utf-8"))
    assert found == tree(SOURCES)


def test_the_base_is_abstract_and_the_estimator_final():
    from skrbm import BernoulliRBMTorch
    from skrbm.estimators.base import BaseRBM

    assert not other_ancestors(BernoulliRBMTorch, BaseRBM)
    assert not overridden(BernoulliRBMTorch, BaseRBM)
    assert "__init__" not in vars(BaseRBM)
    with pytest.raises(TypeError, match="abstract"):
        BaseRBM()


def fitted_attributes(model):
    """What `fit` has set, but for scikit-learn's own."""
    public = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    return public - {"n_features_in_", "feature_names_in_"}


def test_fitted_attributes_are_those_of_learned(tmp_path):
    pytest.importorskip("safetensors")
    from skrbm import BernoulliRBMTorch, BoltzmannMachine
    from skrbm.estimators.fitted import ATTRIBUTES
    from skrbm.training.learned import Learned

    assert {*ATTRIBUTES, "params"} == {field.name for field in dataclasses.fields(Learned)}
    names = {name for field, name in ATTRIBUTES.items() if field != "params"}
    of_solvers = {"couplings_stderr_", "intercept_stderr_", "v_samples_"}  # of `BoltzmannMachine`
    expected = {name for name in names if not name.startswith("_")} - of_solvers
    expected |= {"components_", "intercept_visible_", "intercept_hidden_"}

    X = np.random.default_rng(0).integers(0, 2, (60, 8)).astype(float)
    model = BernoulliRBMTorch(4, n_iter=4, early_stopping=True, store_trajectory=True, random_state=0).fit(X)
    assert fitted_attributes(model) == expected
    assert names - of_solvers <= set(vars(model))
    assert of_solvers <= fitted_attributes(BoltzmannMachine(l2_penalty=0).fit(X))

    model.save(tmp_path / "model.safetensors")
    loaded = BernoulliRBMTorch.load(tmp_path / "model.safetensors")
    assert fitted_attributes(loaded) == expected - {"data_samples_"}
    for name in sorted(fitted_attributes(loaded)):
        if isinstance(getattr(model, name), np.ndarray):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))


# -- planted breaches: each rule must see its own ----------------------------------------------------------------------

FINAL = "from skrbm.machines.units import Unit\nclass Spin(Unit):\n    {}"
UNIT = "class Unit(ABC):\n    @abstractmethod\n    def mean_(self): ...\n    def mean(self): return 1"
PROTOCOL = "class Backend(Protocol):\n    def mean_h(self): ..."
FLOATS = "from skrbm.backends.protocol import Backend\nclass Floats(Backend):\n    def mean_h(self): ..."
GRANDCHILD = "class A:\n    def f(self): ...\nclass B(A): ...\nclass C(B):\n    def f(self): ..."
STAND_IN = "class ScoringMonitor:\n    def __init__(self): raise ImportError"
MONITOR = "from skrbm.estimators._compat import ScoringMonitor\nclass M(ScoringMonitor):\n    def __init__(self): ..."
DOCUMENTED = 'def f():\n    """A.\n' + "\n    b\n" * 99 + '    """\n' + "    # c\n" * 99 + "    x = 1"
LONG = "def f():\n    x = [\n" + "        1,\n" * 60 + "    ]"

PLANTED = [
    (imports_go_down, {"machines/a.py": "from skrbm.training.update import update_"}),
    (imports_go_down, {"machines/a.py": "import skrbm.distributed"}),  # the same floor
    (imports_go_down, {"rows/a.py": "def f():\n    from skrbm.backends.choose import PRECISIONS"}),
    (imports_go_down, {"support/a.py": "if TYPE_CHECKING:\n    from skrbm.machines.units import Unit"}),
    (imports_go_down, {"support/a.py": "import_module('skrbm.machines.units')"}),
    (imports_go_down, {"support/a.py": "from . import b"}),
    (imports_go_down, {"attic/a.py": ""}),
    (imports_go_down, {"training/a.py": "from skrbm.attic.b import c"}),
    (no_circles, {"support/a.py": "import skrbm.support.b", "support/b.py": "from skrbm.support.a import c"}),
    (no_circles, {"support/a.py": "from skrbm.support import b", "support/b.py": "import skrbm.support.a"}),
    (no_circles, {"rows/__init__.py": "from skrbm.rows.a import A", "rows/a.py": "from skrbm.rows import A"}),
    (nobody_takes_a_face, {"machines/a.py": "from skrbm import BernoulliRBMTorch"}),
    (nobody_takes_a_face, {"commands/a.py": "def f():\n    import skrbm"}),
    (nobody_takes_a_face, {"commands/a.py": "from skrbm import plots", "plots/__init__.py": ""}),
    (nobody_takes_a_face, {"machines/a.py": "from skrbm.support import Stream", "support/__init__.py": ""}),
    (nobody_takes_a_face, {"machines/a.py": "import skrbm.support as s", "support/__init__.py": ""}),
    (
        nobody_takes_a_face,
        {"training/__init__.py": "from skrbm.support.a import A", "support/a.py": "", "support/__init__.py": ""},
    ),
    (core_without_scikit_learn, {"training/a.py": "import sklearn.base"}),
    (core_without_scikit_learn, {"distributed.py": "def f():\n    from sklearn.base import clone"}),
    (core_without_scikit_learn, {"rows/a.py": "optional('sklearn', 'this', 'x')"}),
    (no_private_reach, {"training/a.py": "from skrbm.support.files import _checksum"}),
    (no_private_reach, {"estimators/a.py": "from sklearn.utils.validation import _check_sample_weight"}),
    (no_private_reach, {"estimators/a.py": "from sklearn.utils._tags import Tags"}),
    (no_private_reach, {"estimators/_compat.py": "torch._int_mm(a, b)"}),
    (no_private_reach, {"estimators/_compat.py": "from skrbm.support.files import _checksum"}),
    (no_private_reach, {"backends/a.py": "torch._int_mm(a, b)"}),
    (no_private_reach, {"backends/a.py": "torch.ops.mkldnn._linear_pointwise"}),
    (no_private_reach, {"backends/a.py": "from torch._C import x"}),
    (no_private_reach, {"support/kernels.py": "model._starts"}),
    (no_private_reach, {"plots/a.py": "self.estimator._starts(3)"}),
    (no_private_reach, {"plots/a.py": "getattr(estimator, '_starts')"}),
    (no_private_reach, {"support/a.py": "class A:\n    @classmethod\n    def b(cls):\n        cls()._c = 1"}),
    (abstract_or_final, {"machines/units.py": UNIT, "machines/a.py": FINAL.format("def mean(self): ...")}),
    (abstract_or_final, {"machines/a.py": GRANDCHILD}),
    (abstract_or_final, {"machines/a.py": GRANDCHILD.replace("def f(", "def __init__(")}),
    (short_enough, {"training/a.py": LONG}),
    (short_enough, {"training/a.py": f"class A:\n    async {LONG.replace(chr(10), chr(10) + '    ')}"}),
    (short_enough, {"training/a.py": "x = 1\n" * 501}),
    (all_say_what_they_are, {"training/a.py": "# no docstring"}),
]

HARMLESS = [
    (imports_go_down, {"rows/a.py": "from skrbm.distributed import Group\nimport skrbm.rows.b", "rows/b.py": ""}),
    (imports_go_down, {"datasets.py": "from skrbm.rows.a import ParquetRows", "rows/a.py": ""}),
    (imports_go_down, {"rows/a.py": "from skrbm._version import __version__", "_version.py": ""}),
    (no_circles, {"rows/__init__.py": "import skrbm.rows.a", "rows/a.py": "import skrbm.rows.b", "rows/b.py": ""}),
    (no_circles, {"__init__.py": "from skrbm import plots", "plots/__init__.py": ""}),
    (nobody_takes_a_face, {"rows/__init__.py": "from skrbm.rows.a import A", "rows/a.py": ""}),
    (nobody_takes_a_face, {"__init__.py": "from skrbm.rows.a import A", "rows/a.py": "", "rows/__init__.py": ""}),
    (nobody_takes_a_face, {"rows/a.py": "from skrbm.rows import b", "rows/b.py": "", "rows/__init__.py": ""}),
    (core_without_scikit_learn, {"estimators/a.py": "import sklearn.base"}),
    (no_private_reach, {"estimators/_compat.py": "from sklearn.metrics import _scorer\nestimator._callbacks"}),
    (no_private_reach, {"support/kernels.py": "torch._int_mm(a, b)\ntorch._C.f()"}),
    (no_private_reach, {"rows/a.py": "self._a\ncls._b\nstate._replace(v=1)\nStreams._fields\nx.__doc__"}),
    (no_private_reach, {"callbacks.py": "from skrbm.estimators._compat import ScoringMonitor"}),
    (abstract_or_final, {"machines/units.py": UNIT, "machines/a.py": FINAL.format("def mean_(self): ...")}),
    (abstract_or_final, {"backends/protocol.py": PROTOCOL, "backends/floats.py": FLOATS}),
    (abstract_or_final, {"estimators/_compat.py": STAND_IN, "callbacks.py": MONITOR}),
    (short_enough, {"training/a.py": LONG.replace("def f()", "def __init__()")}),
    (short_enough, {"training/a.py": DOCUMENTED}),
    (all_say_what_they_are, {"training/a.py": '"""Training."""'}),
]


@pytest.mark.parametrize(("rule", "sources"), PLANTED)
def test_planted_breaches_are_seen(rule, sources):
    assert list(rule(sources))


@pytest.mark.parametrize(("rule", "sources"), HARMLESS)
def test_what_is_allowed_passes(rule, sources):
    assert list(rule(sources)) == []


def test_a_reach_of_a_test_is_seen():
    source = "import skrbm.a as a\na._b\nmonkeypatch.setattr(a, '_c', 1)\nmonkeypatch.setattr('skrbm.a._d', 1)"
    assert {name for _, name in reaches(source) if is_private(name)} == {"_b", "_c", "_d"}


def test_planted_ancestors_and_overrides_are_seen():
    def do(self): ...

    base = type("Base", (), {"__module__": "skrbm.estimators.base", "fit": do, "_new": do})
    base.__abstractmethods__ = frozenset({"_new"})
    mixin = type("Mixin", (), {"__module__": "skrbm.mixins"})
    good = type("Good", (base,), {"__module__": "skrbm.estimators.good", "_new": do, "__init__": do})
    bad = type("Bad", (mixin, base), {"__module__": "skrbm.estimators.bad", "fit": do})
    assert not other_ancestors(good, base)
    assert not overridden(good, base)
    assert other_ancestors(bad, base) == {mixin}
    assert overridden(bad, base) == {"fit"}


def test_an_attribute_that_learned_lacks_is_seen():
    model = type("Model", (), {})()
    model.components_, model.extra_, model.alpha, model._carried_, model.n_features_in_ = range(5)
    assert fitted_attributes(model) == {"components_", "extra_"}


def test_a_file_without_tests_is_seen():
    sources = {"training/a.py": "", "estimators/_b.py": "", "c.py": "", "_version.py": ""}
    tests = {"training/test_a.py"}
    assert len(list(untested(sources, tests))) == 2
    assert list(untested(sources, tests | {"estimators/test_b.py", "test_c.py"})) == []
    (path, instead), *_ = TESTED_IN.items()
    own = f"{path.partition('/')[0]}/test_{path.partition('/')[2]}"
    assert list(untested({path: ""}, {instead, own})), "an exception that isn't one any more"


def test_a_map_that_is_out_of_date_is_seen():
    old = tree({"support/__init__.py": '"""Beneath all."""', "support/a.py": '"""A."""'})
    for sources in (
        {"support/__init__.py": '"""Beneath."""', "support/a.py": '"""A."""'},
        {"support/__init__.py": '"""Beneath all."""', "support/b.py": '"""A."""'},
        {"support/__init__.py": '"""Beneath all."""'},
    ):
        assert tree(sources) != old
    assert TREE.findall(f"```text\n{old}```\n```text\nother\n```") == [old]


if __name__ == "__main__":
    listed = "".join(f"{line}\n" for line in private_reaches_of_tests())
    if sys.argv[1:] == ["--write"]:
        REACHES.write_text(listed, encoding="utf-8")
        DESIGN.write_text(TREE.sub(lambda _: tree(SOURCES), DESIGN.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree(SOURCES), listed, sep="\n", end="")
