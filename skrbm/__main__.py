"""`python -m skrbm` is `skrbm`."""

from skrbm.commands.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
