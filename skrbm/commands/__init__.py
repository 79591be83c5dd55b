"""The command `skrbm`. Imports everything; only `__main__` imports it."""

from skrbm.commands.cli import main

__all__ = ["main"]
