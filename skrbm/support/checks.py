"""Checks of arguments, packages that may be missing, and warnings that point at the user's line."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

# Files that a warning passes over: a user's call reaches skrbm through a pipeline, a wrapper or a context manager.
_PACKAGES = ("skrbm", "sklearn", "joblib", "torch")
_SKRBM = f"{Path(__file__).parents[1]}{os.sep}"


def check_choice(name: str, value: Any, choices: tuple[str, ...], other: str = "") -> None:
    """Raise a ValueError if `value` is not one of `choices`; `other` says what else the parameter takes."""
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices)) + (f", or {other}" if other else "")
        raise ValueError(f"{name}={value!r} is not known. Choose one of: {known}.")


def optional(module: str, purpose: str, extra: str | None = None) -> Any:
    """A module of a package that comes with an extra of skrbm, or, without `extra`, on its own.

    Raises
    ------
    ImportError
        If it is missing: what needs it, and how to install it.
    """
    try:
        import_module(module.partition(".")[0])
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        what = package if extra is None else f'"skrbm[{extra}]"'
        raise ImportError(f"{purpose} needs {package}. Install it with: pip install {what}") from error


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, at the line of the user that led here: the innermost one outside skrbm and what wraps its calls."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_passed_over(frame.f_globals.get("__name__", ""), frame.f_code.co_filename):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_passed_over(module: str, path: str) -> bool:
    package = module.partition(".")[0]
    return path.startswith(_SKRBM) or package in _PACKAGES or package == "contextlib"
