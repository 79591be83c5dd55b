"""What `import skrbm` shows: names, doctests, sources and types, though each is imported at its first use."""

import doctest
import inspect
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
    assert "self._learn(rows, settings, start, listener)" in inspect.getsource(model.fit)
    assert "sample_weight" in typing.get_type_hints(model.fit)
    found = {test.name for cls in model.__mro__[:2] for test in doctest.DocTestFinder().find(cls) if test.examples}
    assert {"BernoulliRBMTorch", "BaseRBM.log_partition", "BaseRBM.complete"} <= found


def test_names_are_told_to_type_checkers_too():
    """What is late by name is imported by the same name for those that only read."""
    source = inspect.getsource(skrbm)
    for name in skrbm.__all__:
        assert source.count(name) >= 2
