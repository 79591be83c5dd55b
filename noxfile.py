"""What can be checked, by name: `nox -l` lists it, `nox` does what a change needs, `nox -s slow` one of them.

All but `oldest` and `typed` use the environment that nox is in: `pip install -c constraints.txt -e ".[test]"` makes it.
What stands behind `--` goes to pytest: `nox -s test -- tests/training -k momentum`.
"""

import os
import sys

import nox

nox.options.sessions = ["lint", "types", "test", "docs"]

# Their tests know nothing of scikit-learn, so its oldest version has nothing to say about them.
CORE = ("support", "machines", "rows", "backends", "sampling", "likelihood", "diagnostics", "training")


def check(session: nox.Session, module: str, *args: str) -> None:
    """Run a module of the environment that nox is in."""
    session.run(sys.executable, "-m", module, *args, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Style, format, spelling."""
    check(session, "ruff", "check", ".")
    check(session, "ruff", "format", "--check", ".")
    check(session, "codespell_lib")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Types of the package, and of code that uses it: tests/typed_use.py."""
    check(session, "mypy")


@nox.session(venv_backend="venv")
def typed(session: nox.Session) -> None:
    """What type checkers see of the installed package: how much of it has types, and a wrong call elsewhere."""
    session.install("-q", "-c", "constraints.txt", "basedpyright")  # pyright with its node, 280 MB
    session.run(sys.executable, ".ci/typed.py", f"{session.bin}/basedpyright", external=True)


@nox.session(venv_backend="none")
def test(session: nox.Session) -> None:
    """The tests of each day, doctests among them."""
    check(session, "pytest", "-q", *session.posargs)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """The Python blocks of README.md and docs/ run."""
    session.run(sys.executable, ".ci/readme_examples.py", external=True)


@nox.session(venv_backend="none")
def sdist(session: nox.Session) -> None:
    """The sdist has all that is in git, and its tests run in it."""
    session.run(sys.executable, ".ci/sdist.py", *session.posargs, external=True)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Tests that take more than some ten seconds each."""
    check(session, "pytest", "-q", "-m", "slow and not mnist", *session.posargs)


@nox.session(venv_backend="none")
def mnist(session: nox.Session) -> None:
    """Tests on MNIST, whose idx files lie in the folder that SKRBM_MNIST names."""
    if not os.environ.get("SKRBM_MNIST"):
        session.skip("SKRBM_MNIST names no folder")
    check(session, "pytest", "-q", "-m", "mnist", *session.posargs)


@nox.session(venv_backend="venv")
def oldest(session: nox.Session) -> None:
    """The oldest scikit-learn that is supported, in an environment of its own, without any extra."""
    tools = ("pytest", "pytest-xdist", "hypothesis", "pandas")
    session.install("-q", "-c", "constraints-oldest.txt", "-e", ".", *tools)
    left_out = [f"--ignore=tests/{folder}" for folder in CORE]
    session.run("pytest", "-q", "-p", "no:cacheprovider", *left_out, *session.posargs)
