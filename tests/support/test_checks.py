import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from skrbm.support.checks import check_choice, optional, warn


@pytest.mark.parametrize("value", ["b", "auto"])
def test_known_choices(value):
    check_choice("kind", value, ("auto", "b"))


@pytest.mark.parametrize("value", ["c", None, 3, ["auto"], True])
def test_unknown_choices(value):
    with pytest.raises(ValueError, match=r"kind=.* is not known. Choose one of: 'auto', 'b'\.$"):
        check_choice("kind", value, ("auto", "b"))
    with pytest.raises(ValueError, match=r"'auto', 'b', or an array\.$"):
        check_choice("kind", value, ("auto", "b"), "an array")


def test_packages_that_are_there_or_missing(monkeypatch):
    assert optional("json.decoder", "Reading", "files").JSONDecoder
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'^Reading needs pyarrow. Install it with: pip install "skrbm\[parquet\]"$'):
        optional("pyarrow.parquet", "Reading", "parquet")


def line_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    (warning,) = caught
    assert warning.category is UserWarning
    return warning.filename, warning.lineno


@torch.no_grad()
def wrapped():
    warn("through torch's wrapper")


@contextmanager
def context():
    yield
    warn("at the end of a block")


def in_a_block():
    with context():
        pass


def test_warnings_point_at_the_line_outside_of_skrbm_and_its_wrappers():
    own = __file__, line_of.__code__.co_firstlineno + 3  # the call in `line_of` where the warner itself is passed over
    assert line_of(lambda: warn("directly"))[0] == own[0]
    namespace = {"__name__": "skrbm.somewhere", "warn": warn}
    exec("def inner():\n    warn('from inside')\ndef outer():\n    inner()", namespace)
    assert line_of(namespace["outer"]) == own
    namespace = {"__name__": "sklearn.pipeline", "inner": namespace["outer"]}
    exec("def outer():\n    inner()", namespace)
    assert line_of(namespace["outer"]) == own
    for call in (wrapped, in_a_block):
        assert line_of(call)[0] == __file__


def test_warnings_where_all_is_skrbm():
    """As in `python -m skrbm`, where no frame is the user's."""
    code = "import warnings; from skrbm.support.checks import warn; warn('alone')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "UserWarning: alone" in found.stderr


def test_files_that_begin_like_skrbm_are_the_users():
    import skrbm

    path = f"{Path(skrbm.__file__).parent}_of_mine.py"
    namespace = {"__name__": "my_experiment", "warn": warn}
    exec(compile("def call():\n    warn('mine')", path, "exec"), namespace)
    assert line_of(namespace["call"]) == (path, 2)
