"""The command `skrbm`. Imports everything."""
