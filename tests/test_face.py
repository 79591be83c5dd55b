"""What `import skrbm` shows: names, doctests, sources and types, though each is imported at its first use."""

import doctest
import inspect
import pkgutil
import subprocess
import sys
import typing

import pytest

import skrbm


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_dir_is_what_is_public():
    assert dir(skrbm) == sorted(skrbm.__all__)
    assert {"BernoulliRBMTorch", "plots", "datasets", "likelihood", "register_scorer"} <= set(dir(skrbm))


def test_every_folder_and_file_for_users_is_shown():
    """All but `skrbm.commands`, which is there for the shell."""
    found = {module.name for module in pkgutil.iter_modules(skrbm.__path__) if not module.name.startswith("_")}
    assert found - {"commands"} == set(dir(skrbm)) & found


@pytest.mark.parametrize("name", skrbm.__all__)
def test_every_name_is_there(name):
    if name != "callbacks" or sys.modules.get("sklearn.callback") is not None:
        assert getattr(skrbm, name) is not None


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'skrbm' has no attribute 'nonsense'"):
        skrbm.nonsense  # noqa: B018


def test_modules_import_themselves_at_first_use():
    code = "import sys, skrbm; print('torch' in sys.modules); skrbm.datasets.load_digits; print(sorted(dir(skrbm))[0])"
    assert in_a_new_process(code) == ["False", "BernoulliRBMTorch"]


def test_tab_completion():
    code = "import rlcompleter, skrbm; c = rlcompleter.Completer({'skrbm': skrbm})\nprint(c.complete('skrbm.pl', 0))"
    assert in_a_new_process(code) == ["skrbm.plots"]


def test_doctests_sources_and_types():
    model = skrbm.BernoulliRBMTorch
    assert "class BernoulliRBMTorch(BaseRBM)" in inspect.getsource(model)
    assert "self._learn(rows, coding, settings, start, listener)" in inspect.getsource(model.fit)
    assert "sample_weight" in typing.get_type_hints(model.fit)
    found = {test.name for cls in model.__mro__[:2] for test in doctest.DocTestFinder().find(cls) if test.examples}
    assert {"BernoulliRBMTorch", "BaseRBM.log_partition", "BaseRBM.complete"} <= found


def test_names_are_told_to_type_checkers_too():
    """What is late by name is imported by the same name for those that only read."""
    source = inspect.getsource(skrbm)
    for name in skrbm.__all__:
        assert source.count(name) >= 2


BASE = "import sys, torch, sklearn.base, sklearn.utils.validation; before = set(sys.modules)\n"
FIT = """
import warnings
import numpy as np
from skrbm import BernoulliRBMTorch
warnings.simplefilter("ignore")
rbm = BernoulliRBMTorch({arguments}).fit(np.eye(20))
rbm.transform(np.eye(20)), rbm.sample(3, n_steps=2), rbm.partial_fit(np.eye(20))
"""


def test_an_estimator_imports_little_beside_torch_and_scikit_learn():
    """Each new process pays for it: a worker of a grid search, a command."""
    code = BASE + "from skrbm import BernoulliRBMTorch\nprint(*set(sys.modules) - before)"
    others = [
        name for name in in_a_new_process(code) if name.split(".")[0] not in ("skrbm", "rich")
    ]  # of its callbacks
    assert len(others) < 60
    assert not {"sklearn.metrics", "sklearn.model_selection", "scipy.cluster"} & set(others)


def test_the_core_imports_no_statistics():
    code = "import sys, skrbm.training, skrbm.likelihood, skrbm.diagnostics\nprint(*sys.modules)"
    assert not {"scipy.stats", "scipy.optimize", "scipy.cluster", "sklearn"} & set(in_a_new_process(code))


@pytest.mark.parametrize("arguments", ["", "momentum=0.9, optimizer='nesterov', learning_rate_schedule='cosine'"])
def test_a_fit_imports_no_compiler(arguments):
    """As the first optimiser of torch does, for nothing."""
    found = in_a_new_process("import sys" + FIT.format(arguments=arguments) + "print(*sys.modules)")
    assert "sklearn.base" in found
    assert not {"torch._dynamo", "sympy"} & set(found)


def test_fitted_attributes_are_declared_but_not_there_before_a_fit():
    """For type checkers and editors; `hasattr` still tells whether an estimator is fitted."""
    from skrbm.estimators.fitted import ATTRIBUTES, TENSORS

    declared = skrbm.BernoulliRBMTorch.__mro__[1].__annotations__
    names = [name for name in (*TENSORS.values(), *ATTRIBUTES.values()) if not name.startswith("_")]
    assert {*names, "n_features_in_", "feature_names_in_"} <= set(declared)
    assert not any(hasattr(skrbm.BernoulliRBMTorch(), name) for name in declared)


def test_the_names_that_types_allow_are_those_that_are_taken():
    from skrbm.estimators.parameters import CONSTRAINTS

    n_literals = 0
    for parameter, hint in typing.get_type_hints(skrbm.BernoulliRBMTorch.__init__).items():
        of_hint = [hint, *typing.get_args(hint)]
        for name in [name for of in of_hint if typing.get_origin(of) is typing.Literal for name in typing.get_args(of)]:
            n_literals += 1
            CONSTRAINTS[parameter](parameter, name)
    assert n_literals == 25
